// Package converge makes a host run a stack: it looks, plans, fetches, rolls,
// verifies, records and prunes, and takes back what a failed release changed. Every
// verb that releases goes through it, wherever its stack comes from.
package converge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// transition is one release on its way. Who fills it: prepare the ledger, facts, earlier, plan,
// unproved, noWayBack and judges; begin others and record; restore undoDatabase, writers and
// ran; replan facts anew, and rest; ground rest, where a migration needs units; release probe;
// outlived blind; fail what is of the way back; end and halfway turnedDown.
type transition struct {
	*target.Target
	on     Platform
	opts   Options
	ledger *release.Ledger
	facts  *facts
	plan   *plan.Plan
	// rest is what is left of the plan when a migration needed a part of it first.
	rest   *plan.Plan
	record *release.Record
	// unproved are the services that a release which did not end well left as they are to
	// be now, and that no release was verified with.
	unproved []string
	// earlier is what runs before this one may have left; tookBack is set once this one failed
	// and went back for that, too; cleared once nothing of this one is left.
	earlier           earlier
	tookBack, cleared bool
	// turnedDown is set once this one failed and what is there is not all of the release before.
	turnedDown bool
	// undoDatabase takes back that the database was brought back; writers are the
	// services that were stopped for it, ran is what ran before they were.
	undoDatabase func(context.Context) error
	writers      []string
	ran          stack.Observed
	backTime     backTime
	// inVain are the services that the way back tried once and passed over.
	inVain []string
	// keptOver are services that a way back kept, since no release created them.
	keptOver []string
	// others are the secrets of the releases whose units may run when this one begins.
	others []string
	// noWayBack says why the release before cannot be brought back, "" where it can; judges is set
	// where that release says itself which schema it can read.
	noWayBack string
	judges    bool
	// blind says why what served before does not work with the database as it was migrated, ""
	// where nobody knows that.
	blind  string
	probe  *probe.Watch
	result *Result
}

// Run makes the host run the stack on what it is to run on, or only plans it with
// DryRun, and says in the result how far it came. A verb calls it once it has the
// stack and, unless it only plans, the lock.
func Run(ctx context.Context, t *target.Target, on Platform, o Options, result *Result) error {
	d := &transition{Target: t, on: on, opts: o, result: result}
	return d.keepTrue(d.run(ctx))
}

func (d *transition) run(ctx context.Context) error {
	d.result.Project, d.result.Host, d.result.Commit = d.opts.Stack.Name, d.Host.String(), d.opts.Run.Commit
	looked := d.timed("look")
	err := d.prepare(ctx)
	looked()
	if err != nil {
		return fault.Early(ctx, err)
	}
	if d.opts.DryRun || d.idle() {
		return d.nothing(ctx)
	}
	return d.release(ctx)
}

// prepare looks at the host and plans.
func (d *transition) prepare(ctx context.Context) error {
	err := d.on.Adapt(ctx, d.opts.Stack)
	if err != nil {
		return err
	}
	if d.ledger, err = d.Ledger(ctx, d.opts.Stack.Name); err != nil {
		return err
	}
	if d.opts.Lock != nil {
		d.ledger.Guard(d.opts.Lock.Check)
	}
	if d.facts, err = d.gather(ctx); err != nil {
		return err
	}
	if err := d.atHome(ctx, d.Files.Exists); err != nil {
		return err
	}
	d.earlier = d.facts.leaves()
	key, err := d.ledger.Key(ctx)
	if err != nil {
		return err
	}
	d.plan = plan.Make(d.facts.input(d.opts, key))
	if d.opts.Back != nil {
		d.plan.Reverse()
	}
	d.plan.Notes = append(d.plan.Notes, d.opts.Stack.Warnings...)
	d.unprotected()
	d.announce()
	if err := d.parted(ctx); err != nil {
		return err
	}
	d.unproved = d.neverVerified(ctx)
	if err := d.hides(ctx); err != nil {
		return err
	}
	if err := d.classify(ctx); err != nil {
		return err
	}
	if err := d.preflight(ctx); err != nil {
		return err
	}
	d.overtook()
	d.underWay(ctx, d.LockOf)
	d.result.Plan = d.planned()
	d.result.Changed = d.result.Plan.Changed()
	d.was()
	d.Say(event.Info, "plan", "", "%s", d.heading()+"\n"+d.result.Plan.String())
	if len(d.plan.Refusals) > 0 && !d.opts.DryRun {
		return fault.New(fault.Refused, "", "mend the stack as said, then release again", "%s", d.plan.Refusals[0])
	}
	return nil
}

// was says in the result what served before, as far as that is known.
func (d *transition) was() {
	if f := d.facts; f.verified != nil {
		d.result.Previous, d.result.Serving = f.verified.Number, f.verified.Version
		d.result.PreviousVersion, d.result.PreviousCommit = f.verified.Version, f.verified.Commit
	}
	if s := d.facts.standing; s != nil {
		d.result.Serving = called("", s.number)
	}
	d.result.Unsure = d.earlier.any()
}

// overtook tells which releases ended while this one waited for the lock: who asked for it had
// not seen them. It is no reason to refuse, since this one may be what mends them.
func (d *transition) overtook() {
	if d.opts.Seen == nil || d.idle() {
		return
	}
	var told []string
	for _, r := range d.ledger.Since(*d.opts.Seen) {
		told = append(told, r.Told(release.Sight{Hand: release.Free})) // the lock is ours: no run is at it
	}
	if len(told) == 0 {
		return
	}
	text := fmt.Sprintf("%s, while this one waited for the lock: %s may go over it", strings.Join(told, "; "), called(d.opts.Version, d.ledger.Next()))
	d.Say(event.Warning, "lock", "", "%s", text)
	d.plan.Notes = append(d.plan.Notes, text)
}

func (d *transition) heading() string {
	if d.facts.verified == nil {
		return fmt.Sprintf("plan for %s on %s: first release", d.opts.Stack.Name, d.Host)
	}
	v := d.facts.verified
	if b := d.opts.Back; b != nil {
		return fmt.Sprintf("plan for %s on %s: back to release %d (%s), undoing release %d", d.opts.Stack.Name, d.Host, b.Restores,
			called(d.opts.Version, b.Restores), b.Undoes)
	}
	return fmt.Sprintf("plan for %s on %s: %s after %s", d.opts.Stack.Name, d.Host, called(d.opts.Version, d.ledger.Next()), called(v.Version, v.Number))
}

// idle tells whether there is nothing to do, nor to prove.
func (d *transition) idle() bool {
	return d.plan.Empty() && !d.restores() && !d.facts.swapped() && len(d.unproved) == 0
}

// nothing ends a dry run, or a release that finds everything as it should be.
func (d *transition) nothing(ctx context.Context) error {
	if d.opts.DryRun {
		d.result.Outcome = Planned
		return nil
	}
	if err := errors.Join(d.Engine.ClearTasks(ctx, d.opts.Stack.Name), d.heal(ctx), d.keepSaid(ctx)); err != nil {
		return fault.As(fault.Refused, err)
	}
	d.result.Outcome, d.result.Release, d.result.Unsure = Unchanged, d.result.Previous, false
	d.Say(event.Info, "done", "", "nothing to do: %s runs as it should", d.opts.Stack.Name)
	return d.closeInterrupted(ctx)
}

// release carries the plan out, from the record's start to its end.
func (d *transition) release(ctx context.Context) error {
	d.Step("record the start")
	if err := d.begin(ctx); err != nil {
		if d.record != nil && d.record.Number > 0 {
			return d.refuse(ctx, err) // its record is there, what belongs to it is not
		}
		return fault.Early(ctx, err)
	}
	if d.opts.Began != nil {
		d.opts.Began(d.result)
	}
	if err := errors.Join(d.Engine.ClearTasks(ctx, d.opts.Stack.Name), d.heal(ctx), d.fetch(ctx)); err != nil {
		return d.refuse(ctx, err)
	}
	if err := d.try(ctx); err != nil {
		return d.refuse(ctx, err)
	}
	d.baseline(ctx)
	// Who is away while a database is brought back is meant to be, and a dump of an hour takes
	// nothing from users; what a migration does to them is the release's doing.
	if err := d.restore(ctx); err != nil {
		return d.endBefore(ctx, err)
	}
	if err := d.secure(ctx); err != nil {
		return d.endBefore(ctx, err)
	}
	d.Step("measure")
	d.probe = d.measure(ctx)
	if err := d.migrate(ctx); err != nil {
		return d.endBefore(ctx, err)
	}
	err := d.roll(ctx)
	if err == nil {
		err = d.verify(ctx)
	}
	if err == nil {
		err = d.finish(ctx)
	}
	if err != nil {
		err = d.fail(ctx, err)
	}
	d.result.Probe = d.probe.End()
	if err != nil {
		d.end(ctx, err)
		return err
	}
	return d.settle(ctx)
}

// roll carries the plan out; its guard is asked before every step.
func (d *transition) roll(ctx context.Context) error {
	p := d.plan
	if d.rest != nil {
		p = d.rest
	}
	report, err := d.carry(ctx, d.opts.Stack, p, d.guard)
	d.result.Rollout = joined(d.result.Rollout, report)
	return err
}

// guard is asked before every act: the lock has to be ours and the measured
// failures within the budget.
func (d *transition) guard(ctx context.Context) error {
	if err := d.locked(ctx); err != nil {
		return err
	}
	return d.probe.Within(d.opts.ProbeBudget)
}

// locked makes sure that the lock is ours.
func (d *transition) locked(ctx context.Context) error {
	if err := d.opts.Lock.Check(ctx); err != nil {
		return fault.New(fault.Interrupted, "", "see who releases now with: shiksha status", "%w", err)
	}
	return nil
}

// verify decides whether the release stays: everything runs as planned, and the
// caller's own checks pass.
func (d *transition) verify(ctx context.Context) error {
	defer d.timed("verify")()
	if err := d.complete(ctx); err != nil {
		return err
	}
	return d.inspect(ctx)
}

// settling is how long what was released may take to look as it should: on a busy
// machine a healthcheck misses a beat.
const settling = 10 * time.Second

// complete looks once more and plans again: a release is complete when there is
// nothing left to do.
func (d *transition) complete(ctx context.Context) error {
	for until := time.Now().Add(settling); ; {
		left, err := d.left(ctx)
		if err != nil || left == nil {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s does not run as it should after the release: %s", left.Service, strings.Join(left.Reasons, "; "))
		}
		_ = grace.Pause(ctx, time.Second)
	}
}

// left gives the first step that a plan would still have, or nil.
func (d *transition) left(ctx context.Context) (*plan.Step, error) {
	seen, err := d.on.Observe(ctx, d.opts.Stack.Name)
	if err != nil {
		return nil, err
	}
	if _, _, err := d.on.Compare(ctx, d.opts.Stack, seen); err != nil {
		return nil, err
	}
	only := d.wanted()
	if only != nil && len(only) == 0 {
		return nil, nil
	}
	for _, s := range plan.Make(plan.Input{Desired: d.opts.Stack, Observed: withoutJoining(seen), Gone: d.facts.givenUp(), Only: only, Back: d.opts.Back != nil}).Steps {
		if s.Changes() && !d.tolerated(s) {
			return &s, nil
		}
	}
	return nil, nil
}

// wanted names the services that have to run as they should, nil for all: what was
// ill before and stays so does not.
func (d *transition) wanted() []string {
	if d.result.Rollout == nil || len(d.result.Rollout.Ill) == 0 {
		return d.opts.Services
	}
	selected := d.opts.Services
	if len(selected) == 0 {
		selected = d.opts.Stack.Order
	}
	ill := func(name string) bool { return slices.Contains(d.result.Rollout.Ill, name) }
	return slices.DeleteFunc(slices.Clone(selected), ill)
}

// tolerated tells whether all that a service lacks are units within its
// max_failure_ratio.
func (d *transition) tolerated(s plan.Step) bool {
	svc := d.opts.Stack.Services[s.Service]
	return svc != nil && len(s.Old) == 0 && float64(s.Missing()) <= svc.Update.MaxFailureRatio*float64(s.Replicas) && s.Missing() > 0
}

// carry carries a plan out for a stack; guard is asked before every act.
func (d *transition) carry(ctx context.Context, st *stack.Stack, p *plan.Plan, guard func(context.Context) error) (rollout.Report, error) {
	// What ends prints what it was made with: on the way back what this release made.
	st.Follows(slices.Concat(d.others, d.opts.Stack.Secrets()))
	return d.on.Carry(ctx, p, st, rollout.How{Guard: guard, WaitTimeout: d.opts.WaitTimeout, Login: d.opts.Registry, Release: d.record.Number,
		Back: st != d.opts.Stack, Away: d.away(st)})
}

// joined adds up the reports of two rollouts of one release. What the second has undone is
// as the first left it.
func joined(a *rollout.Report, b rollout.Report) *rollout.Report {
	if a == nil {
		return &b
	}
	b.Undone = slices.DeleteFunc(slices.Clone(b.Undone), func(name string) bool { return slices.Contains(a.Touched, name) })
	b.Touched, b.Spans = slices.Concat(a.Touched, b.Touched), slices.Concat(a.Spans, b.Spans)
	b.Ill = slices.Concat(a.Ill, b.Ill)
	if b.Cut == nil {
		b.Cut = map[string]int{}
	}
	for service, n := range a.Cut {
		b.Cut[service] += n
	}
	return &b
}
