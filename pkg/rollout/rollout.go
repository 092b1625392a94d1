// Package rollout carries a plan out on one host: it starts, gates, switches,
// drains and retires units. Every act knows its undo; a batch that fails leaves
// its service as it was.
package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// Units makes, starts, stops and removes units. A new unit takes over what one of after
// keeps in volumes without a name; Restart starts ids as they were, and leaves ended, which had
// ended by themselves before they were stopped, to what their own policy says; Remove leaves these where they are, Scrap takes away
// what a unit wrote there, and TellLeft tells of those that nobody has any more.
type Units interface {
	Create(ctx context.Context, s *stack.Stack, service string, n int, after ...string) ([]string, error)
	Start(ctx context.Context, s *stack.Stack, service string, ids []string) error
	Restart(ctx context.Context, ids []string, ended ...string) error
	Stop(ctx context.Context, ids []string, grace time.Duration) error
	StopService(ctx context.Context, s *stack.Stack, service string, ids []string, grace time.Duration) error
	Remove(ctx context.Context, ids []string) error
	Scrap(ctx context.Context, ids []string) error
	TellLeft(ctx context.Context)
}

// Eyes looks at units.
type Eyes interface {
	Observe(ctx context.Context, project string) (stack.Observed, error)
	Inspect(ctx context.Context, id string) (stack.Unit, error)
	Tail(ctx context.Context, id string, lines int) (string, error)
}

// Ground makes what units stand on.
type Ground interface {
	EnsureNetworks(ctx context.Context, s *stack.Stack, keys []string) error
	EnsureVolumes(ctx context.Context, s *stack.Stack, keys []string) error
}

// Shell runs a command in a unit. Signals are sent by it too: the engine counts
// every signal it sends itself as a manual stop, and a unit with `restart:
// unless-stopped` would not come back when the host boots.
type Shell interface {
	Exec(ctx context.Context, id string, argv []string, stdin []byte) (stdout, stderr string, exit int, err error)
}

// Gateway moves traffic between units; *gateway.Nginx is one.
type Gateway interface {
	Set(ctx context.Context, service string, addrs []string) error
	Clear(ctx context.Context, service string) error
	Reload(ctx context.Context) (gateway.Generation, error)
	Latest(ctx context.Context) (gateway.Generation, error)
	Drained(ctx context.Context, gen gateway.Generation, budget time.Duration) (left gateway.Left, end gateway.Fingerprint, err error)
	Held(ctx context.Context, gen gateway.Generation, addrs []string) (to, unasked int, err error)
	Fingerprint(ctx context.Context) (gateway.Fingerprint, error)
}

// Live hands changed files to running units. Swap puts the new content in place
// and gives the way back; Confirm records that the units use it.
type Live interface {
	Swap(ctx context.Context, svc *stack.Service) (undo func(context.Context) error, err error)
	Confirm(ctx context.Context, svc *stack.Service) error
}

// How says how a plan is carried out, whatever carries it out. Guard is asked before
// every act that changes something and ends the rollout with its error (the lock is
// gone). WaitTimeout is the longest that units may take to be well. Login is for the
// registry of the images, where somebody else pulls them.
type How struct {
	Guard       func(ctx context.Context) error
	WaitTimeout time.Duration
	Login       engine.Auth
	// Release is the number of the release, for labels.
	Release int
	// Back says that the plan takes back what was refused.
	Back bool
	// Away, where it is set, hears that a step begins which leaves nobody who serves, and that it
	// is over: what users lose meanwhile the plan has said.
	Away func(ctx context.Context, over bool)
}

// Carrier carries one step out. In which order steps come, the guard, what a failure
// means and the report are the rollout's all the same.
type Carrier func(ctx context.Context, step plan.Step) error

// Rollout has everything a plan needs to be carried out. Stack is what is
// wanted; Gateway gives the mover of traffic for a gateway's unit; Dial tries a TCP connection to a new unit from the host and
// may be nil where the host allows none.
type Rollout struct {
	Stack   *stack.Stack
	Units   Units
	Eyes    Eyes
	Ground  Ground
	Shell   Shell
	Gateway func(unit stack.Unit, opts ...gateway.Option) Gateway
	Live    Live
	Dial    func(ctx context.Context, addr string) error
	How
	Sink event.Sink
	// Carrier, where it is set, carries each step out in the place of this package. Of
	// the parts above Stack and Ground are used then, and Eyes and Shell by Quiet.
	Carrier Carrier

	hands chan struct{}
	// outlasted are the gateways whose former workers were waited for.
	outlasted map[string]bool
	// awaited are the ports of the host that are given up and that nobody has yet.
	awaited []handover

	asking  sync.Mutex
	writing sync.Mutex // guards report
	report  Report
}

// Span is one timed act of a rollout, for the record and the report.
type Span struct {
	Name    string    `json:"name"`
	Service string    `json:"service,omitempty"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
}

// Report says what a rollout did. Touched are the services in which anything
// was changed, in order; Undone those of them that are as they were again; Failed is the
// one that stopped it; Ill are those that were ill before and stay so; Cut counts the
// connections that were ended because they outlived the drain budget.
type Report struct {
	Touched []string       `json:"touched"`
	Undone  []string       `json:"-"`
	Failed  string         `json:"failed,omitempty"`
	Ill     []string       `json:"ill,omitempty"`
	Spans   []Span         `json:"spans"`
	Cut     map[string]int `json:"cut,omitempty"`
}

// Run carries the plan out, step by step; services of which nothing runs yet come
// up side by side where none needs another. When a step fails its batch is undone
// and the error returned; what earlier steps changed stays, and Report.Touched
// tells the caller what to take back. A cancelled context starts no new step.
func (r *Rollout) Run(ctx context.Context, p *plan.Plan) (Report, error) {
	r.report, r.hands = Report{Cut: map[string]int{}}, make(chan struct{}, startsAtOnce)
	r.outlasted = map[string]bool{}
	if err := r.Ground.EnsureNetworks(ctx, r.Stack, p.Networks); err != nil {
		return r.report, fmt.Errorf("create networks: %w", err)
	}
	if err := r.Ground.EnsureVolumes(ctx, r.Stack, p.Volumes); err != nil {
		return r.report, fmt.Errorf("create volumes: %w", err)
	}
	var tolerated []error
	for _, steps := range waves(p) {
		w := &wave{Rollout: r, steps: steps}
		if err := w.run(ctx); err != nil {
			return r.report, err
		}
		tolerated = append(tolerated, w.tolerated...)
	}
	if r.Units != nil {
		r.Units.TellLeft(ctx) // not after a failure: the way back may need them
	}
	return r.report, errors.Join(tolerated...)
}

// carry carries one step out. A failure that failure_action tolerates is given
// apart: the release goes on.
func (r *Rollout) carry(ctx context.Context, step plan.Step) (tolerated, err error) {
	if err := r.begin(ctx, step); err != nil {
		return nil, err
	}
	away := r.Away != nil && step.Interrupts()
	if away {
		r.Away(ctx, false)
	}
	defer func() {
		if err == nil && r.replies(step) && away { // else who takes its place ends it
			r.Away(ctx, true)
		}
	}()
	if err = r.step(ctx, step); err == nil {
		return nil, nil
	}
	if step.Tolerated && !errors.Is(err, errBefore) && !errors.Is(err, errUndo) && ctx.Err() == nil && fault.Of(err) != fault.Interrupted && !NotReached(err) {
		r.note(func(report *Report) { report.Ill = append(report.Ill, step.Service) })
		r.say(event.Warning, step.Service, "%s stays ill, as it was before this release, which goes on without it: %v", step.Service, err)
		return nil, nil
	}
	r.note(func(report *Report) { report.Failed = step.Service })
	if ctx.Err() != nil {
		return nil, r.interrupted(ctx, step.Service, err)
	}
	err = fmt.Errorf("%s: %w", step.Service, err)
	svc := r.Stack.Services[step.Service]
	if svc == nil || svc.Update.FailureAction != stack.Continue || fault.Of(err) == fault.Interrupted {
		return nil, err
	}
	r.say(event.Warning, step.Service, "failed; failure_action is continue, so the release goes on: %v", err)
	return err, nil
}

// begin is the last look before a step: nobody cancelled, the lock is ours.
func (r *Rollout) begin(ctx context.Context, step plan.Step) error {
	if ctx.Err() != nil {
		return r.interrupted(ctx, step.Service, context.Cause(ctx))
	}
	if err := r.ask(ctx); err != nil {
		return fmt.Errorf("before %s: %w", step.Service, err)
	}
	r.note(func(report *Report) { report.Touched = append(report.Touched, step.Service) })
	return nil
}

// ask asks the guard, one after another.
func (r *Rollout) ask(ctx context.Context) error {
	r.asking.Lock()
	defer r.asking.Unlock()
	return r.Guard(ctx)
}

// note writes into the report.
func (r *Rollout) note(write func(*Report)) {
	r.writing.Lock()
	defer r.writing.Unlock()
	write(&r.report)
}

// errHalfBack says of a cancelled release that it had failed, and was going back.
var errHalfBack = errors.New("it was going back, and not all of it is back")

// halfBack says so of a way back that was cut short, where something had failed: who has lost
// the lock, the host or the engine was refused nothing.
func halfBack(err, cause error) error {
	if fault.Of(cause) == fault.Interrupted || host.IsConnectionLost(cause) || NotReached(cause) {
		return err
	}
	return fmt.Errorf("%w; %w", err, errHalfBack)
}

// HalfBack tells of an interrupted rollout that one of its batches had failed before: to run the same again
// is to try what was just refused.
func HalfBack(err error) bool { return errors.Is(err, errHalfBack) }

// GoingBack is the error of a Carrier that was told to end while it took back what had failed.
func GoingBack(err error) error { return fmt.Errorf("%w; %w", err, errHalfBack) }

// Away tells of an interrupted rollout that a service could not be left serving, or that nobody has
// its port of the host.
func Away(err error) bool { return errors.Is(err, errAway) }

// interrupted is the error of a rollout that was told to stop.
func (r *Rollout) interrupted(ctx context.Context, service string, err error) error {
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	served, then := "users are served", "run the same again: it heals what was left and goes on"
	if names := r.unanswered(service, err); len(names) > 0 {
		served = "users may get no answer of " + strings.Join(names, ", ")
		if !Away(err) {
			err = fmt.Errorf("%w; a port of the host is given up to %s: %w", err, strings.Join(names, ", "), errAway)
		}
	}
	if r.Back || HalfBack(err) {
		then = "go back to what served before with shiksha rollback, or release a version that works"
	}
	return fault.New(fault.Interrupted, service, served+"; "+then, "interrupted: %w", err)
}

// step carries one step out.
func (r *Rollout) step(ctx context.Context, step plan.Step) error {
	defer r.span(string(step.Action), step.Service)()
	if r.Carrier != nil {
		return r.Carrier(ctx, step)
	}
	if step.Action == plan.Remove {
		return r.gone(ctx, step)
	}
	u := &service{Rollout: r, svc: r.Stack.Services[step.Service], step: step, good: step.Good, old: step.Old}
	return u.run(ctx)
}

// retire stops and removes units for good.
func (r *Rollout) retire(ctx context.Context, service string, ids []string, grace time.Duration) error {
	if len(ids) == 0 {
		return nil
	}
	if err := r.stop(ctx, service, ids, grace); err != nil {
		return fmt.Errorf("stop units: %w", err)
	}
	if err := r.Units.Remove(ctx, ids); err != nil {
		return fmt.Errorf("remove units: %w", err)
	}
	return nil
}

// stop stops units the way their service asks for (pre_stop hooks); a service
// that left the stack asks for nothing any more.
func (r *Rollout) stop(ctx context.Context, service string, ids []string, grace time.Duration) error {
	if r.Stack.Services[service] == nil {
		return r.Units.Stop(ctx, ids, grace)
	}
	return r.Units.StopService(ctx, r.Stack, service, ids, grace)
}

func (r *Rollout) say(level event.Level, service, format string, args ...any) {
	r.Sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: "roll", Service: service, Text: fmt.Sprintf(format, args...)})
}

// mark tells on request which act begins: what a person watches when a release
// hangs, and where tests kill it.
func (r *Rollout) mark(name, service string) { r.say(event.Debug, service, "step: %s", name) }

// Span is for a Carrier: it marks and times an act, until the function it gives is
// called.
func (r *Rollout) Span(name, service string) func() { return r.span(name, service) }

// span marks and times an act: defer r.span("gate", "api")().
func (r *Rollout) span(name, service string) func() {
	r.mark(name, service)
	s := Span{Name: name, Service: service, Started: time.Now()}
	return func() {
		s.Ended = time.Now()
		r.note(func(report *Report) { report.Spans = append(report.Spans, s) })
	}
}
