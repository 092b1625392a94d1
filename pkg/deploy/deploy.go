package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// defaultStateDir stands in for the host's state folder until the host says
// where it is.
const defaultStateDir = "/var/lib/shiksha"

// deployment is one release on its way.
type deployment struct {
	*session
	opts   Options
	stack  *stack.Stack
	ledger *release.Ledger
	lock   *release.Lock
	facts  *facts
	plan   *plan.Plan
	record *release.Record
	probe  *measurement
	result *Result
}

// Run releases the stack of the workspace, or only plans it with DryRun. The
// result is never nil: it says how far the release came also when it failed.
func Run(ctx context.Context, o Options, sink event.Sink) (*Result, error) {
	d := &deployment{opts: o, result: &Result{Version: o.Version, Started: time.Now().UTC()}}
	err := d.run(ctx, sink)
	d.result.Ended = time.Now().UTC()
	if err != nil {
		d.result.Outcome, d.result.Message = fault.Of(err).String(), err.Error()
	}
	return d.result, err
}

func (d *deployment) run(ctx context.Context, sink event.Sink) error {
	if err := d.load(ctx, defaultStateDir); err != nil {
		return err
	}
	var err error
	if d.session, err = open(ctx, d.opts, sink); err != nil {
		return fault.As(fault.Refused, err)
	}
	defer d.close()
	d.result.Host = d.host.String()
	if d.stateDir != defaultStateDir {
		if err := d.load(ctx, d.stateDir); err != nil {
			return err
		}
	}
	if !d.opts.DryRun {
		if d.lock, err = d.acquire(ctx, d.opts, d.stack.Name); err != nil {
			return fault.As(fault.Refused, err)
		}
		// A lock that is not given back is let go by the host itself.
		defer func() { _ = d.lock.Release(context.WithoutCancel(ctx)) }()
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		go d.watchLock(ctx, cancel)
	}
	d.mark("look")
	if err := d.prepare(ctx); err != nil {
		return fault.As(fault.Refused, err)
	}
	if d.opts.DryRun || d.plan.Empty() {
		return d.nothing(ctx)
	}
	return d.release(ctx)
}

// load reads the stack and checks the inputs against it; it needs no host.
func (d *deployment) load(ctx context.Context, stateDir string) error {
	o := d.opts
	if err := o.check(); err != nil {
		return err
	}
	if o.StateDir != "" {
		stateDir = o.StateDir
	}
	st, err := stack.Load(ctx, stack.LoadOptions{
		Workspace: o.Workspace, Files: o.ComposeFiles, Project: o.Project, EnvFile: o.EnvFile, EnvFileName: o.EnvFileName,
		Environment: o.Environment, Profiles: o.Profiles, StateDir: stateDir,
	})
	if err != nil {
		return fault.As(fault.Input, err)
	}
	d.stack, d.result.Project = st, st.Name
	if err := checkServices("services", o.Services, st.Order); err != nil {
		return err
	}
	var given []string
	for name := range o.Images {
		given = append(given, name)
	}
	return checkServices("images", given, st.Order)
}

// prepare looks at the host and plans.
func (d *deployment) prepare(ctx context.Context) error {
	var err error
	if d.ledger, err = release.Open(ctx, d.files, d.stateDir, d.stack.Name); err != nil {
		return err
	}
	for _, damage := range d.ledger.Damage() {
		d.say(event.Warning, "preflight", "", "the ledger is damaged: %s", damage)
	}
	if d.lock != nil {
		d.ledger.Guard(d.lock.Check)
	}
	if d.facts, err = d.gather(ctx, d.opts, d.stack, d.ledger); err != nil {
		return err
	}
	key, err := d.ledger.Key(ctx)
	if err != nil {
		return err
	}
	d.plan = plan.Make(d.facts.input(d.opts, key))
	d.plan.Notes = append(d.plan.Notes, d.stack.Warnings...)
	if err := d.classify(ctx); err != nil {
		return err
	}
	d.result.Plan, d.result.Changed = d.plan, d.plan.Changed()
	if f := d.facts; f.verified != nil {
		d.result.Previous, d.result.Serving = f.verified.Number, f.verified.Version
	}
	d.say(event.Info, "plan", "", "%s", d.heading()+"\n"+d.plan.String())
	if len(d.plan.Refusals) > 0 && !d.opts.DryRun {
		return fault.New(fault.Refused, "", "mend the stack as said, then release again", "%s", d.plan.Refusals[0])
	}
	return d.room(ctx)
}

func (d *deployment) heading() string {
	if d.facts.verified == nil {
		return fmt.Sprintf("plan for %s on %s: first release", d.stack.Name, d.host)
	}
	v := d.facts.verified
	return fmt.Sprintf("plan for %s on %s: %s after %s", d.stack.Name, d.host, title(d.opts.Version, d.ledger.Next()), title(v.Version, v.Number))
}

// nothing ends a dry run, or a release that finds everything as it should be.
func (d *deployment) nothing(ctx context.Context) error {
	if d.opts.DryRun {
		d.result.Outcome = Planned
		return nil
	}
	d.result.Outcome, d.result.Release = Unchanged, d.result.Previous
	d.say(event.Info, "done", "", "nothing to do: %s runs as it should", d.stack.Name)
	return d.closeInterrupted(ctx)
}

// release carries the plan out, from the record's start to its end.
func (d *deployment) release(ctx context.Context) error {
	d.mark("record the start")
	if err := d.begin(ctx); err != nil {
		return fault.As(fault.Refused, err)
	}
	if err := d.fetch(ctx); err != nil {
		return d.refuse(ctx, err)
	}
	d.mark("measure")
	d.probe = d.measure(ctx)
	err := d.roll(ctx)
	if err == nil {
		err = d.verify(ctx)
	}
	if err == nil {
		err = d.probe.finish(ctx, d.opts.ProbeBudget)
	}
	if err != nil {
		err = d.fail(ctx, err)
	}
	d.result.Probe = d.probe.stop()
	if err != nil {
		d.end(ctx, err)
		return err
	}
	return d.settle(ctx)
}

// roll carries the plan out; its guard is asked before every step.
func (d *deployment) roll(ctx context.Context) error {
	report, err := d.rollout(d.stack, d.guard).Run(ctx, d.plan)
	d.result.Rollout = &report
	return err
}

// guard is asked before every act: the lock has to be ours and the measured
// failures within the budget.
func (d *deployment) guard(ctx context.Context) error {
	if err := d.lock.Check(ctx); err != nil {
		return fault.New(fault.Interrupted, "", "see who releases now with: shiksha status", "%w", err)
	}
	return d.probe.within(d.opts.ProbeBudget)
}

// verify decides whether the release stays: everything runs as planned, and the
// caller's own checks pass.
func (d *deployment) verify(ctx context.Context) error {
	d.mark("verify")
	if err := d.complete(ctx); err != nil {
		return err
	}
	if d.opts.Verify == nil {
		return nil
	}
	return d.opts.Verify(ctx)
}

// settling is how long what was released may take to look as it should: on a busy
// machine a healthcheck misses a beat.
const settling = 10 * time.Second

// complete looks once more and plans again: a release is complete when there is
// nothing left to do.
func (d *deployment) complete(ctx context.Context) error {
	for until := time.Now().Add(settling); ; {
		left, err := d.left(ctx)
		if err != nil || left == nil {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s does not run as it should after the release: %s", left.Service, strings.Join(left.Reasons, "; "))
		}
		pause(ctx, time.Second)
	}
}

// left gives the first step that a plan would still have, or nil.
func (d *deployment) left(ctx context.Context) (*plan.Step, error) {
	seen, err := d.engine.Observe(ctx, d.stack.Name)
	if err != nil {
		return nil, err
	}
	if err := rehash(d.stack, seen); err != nil {
		return nil, err
	}
	for _, s := range plan.Make(plan.Input{Desired: d.stack, Observed: seen, Only: d.opts.Services}).Steps {
		if s.Changes() && !d.tolerated(s) {
			return &s, nil
		}
	}
	return nil, nil
}

// tolerated tells whether all that a service lacks are units within its
// max_failure_ratio.
func (d *deployment) tolerated(s plan.Step) bool {
	svc := d.stack.Services[s.Service]
	return svc != nil && len(s.Old) == 0 && float64(s.Missing()) <= svc.Update.MaxFailureRatio*float64(s.Replicas) && s.Missing() > 0
}

// rollout makes the machine that carries a plan out for a stack.
func (d *deployment) rollout(st *stack.Stack, guard func(context.Context) error) *rollout.Rollout {
	return &rollout.Rollout{
		Stack: st, Units: d.steady(), Eyes: d.steady(), Ground: d.engine, Shell: d.steady(),
		Gateway: func(u stack.Unit) rollout.Gateway { return d.nginx(u) },
		Live:    d.store(st.Name), Dial: d.reachable, Guard: guard, Sink: d.sink, WaitTimeout: d.opts.WaitTimeout,
	}
}

// mark tells on request which act begins, as rollouts do.
func (s *session) mark(name string) { s.say(event.Debug, "release", "", "step: %s", name) }

func (s *session) say(level event.Level, phase, service, format string, args ...any) {
	s.sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: phase, Service: service, Text: fmt.Sprintf(format, args...)})
}
