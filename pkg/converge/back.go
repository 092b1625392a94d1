package converge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// backBudget bounds the whole way back of a failed release, beside what the file gives the
// units that it replaces.
const backBudget = 15 * time.Minute

// backTime is the time of a way back. What it takes is known only once it is planned.
type backTime struct {
	timer *time.Timer
	until time.Time
}

// limit gives the context of the way back, which ends with the time, or is cancelled.
func (b *backTime) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	back, end := context.WithCancelCause(ctx)
	b.until = time.Now().Add(backBudget)
	b.timer = time.AfterFunc(backBudget, func() { end(errors.New("the time of the way back is over")) })
	return back, func() { b.timer.Stop(); end(nil) }
}

// add makes the time longer.
func (b *backTime) add(more time.Duration) {
	if b.timer != nil {
		b.until = b.until.Add(more)
		b.timer.Reset(time.Until(b.until))
	}
}

// fail takes back what a failed release changed in any service. What was
// interrupted is left for the next run to heal: it may have only seconds.
func (d *transition) fail(ctx context.Context, cause error) error {
	if fault.Of(cause) == fault.Interrupted {
		return d.interruptedBy(ctx, cause)
	}
	if ctx.Err() != nil {
		// What was cut off calls itself failed or refused.
		hint := "run it again" + d.former(", or ")
		if len(d.writers) > 0 {
			hint = d.unanswered()
		}
		return fault.New(fault.Interrupted, "", hint, "interrupted: %w", cause)
	}
	// What a release before this one left unproved was proved ill with it.
	touched := slices.Concat(d.unproved, d.result.Rollout.Touched)
	// A database that was brought back is no state to be left in.
	if why := d.staysAs(); why != "" && d.undoDatabase == nil {
		return d.leave(cause, why, touched)
	}
	back, cancel := d.backTime.limit(ctx)
	defer cancel()
	found := taken{touched: touched}
	err := d.outlast(back, func(ctx context.Context) (err error) {
		found, err = d.takenOver(ctx, touched)
		return err
	})
	lost := found.lost()
	switch {
	case err == nil && lost != "":
		err = fmt.Errorf("%s, and what ran before the first release cannot be made again", lost)
	case err == nil && found.replaced:
		return fault.New(fault.Failed, "", "mend it and release again"+d.startedIn(),
			"%w; what ran before the first release cannot be made again, so what was changed stays: %v", cause, touched)
	case err == nil:
		err = d.takeBack(back, found.touched)
	}
	if lost == "" && d.backCut(ctx, back, err) {
		return d.halfway(ctx, fmt.Errorf("%w; and it could not all be taken back: %w", cause, err))
	}
	if err != nil {
		return fault.New(fault.Stuck, "", d.byHand()+d.startedIn()+d.stillIll(), "%w; and it could not be taken back: %w", cause, err)
	}
	d.tookBack, d.cleared, d.result.Unsure = !d.first(), true, false
	return fault.New(fault.Failed, "", d.why(cause)+d.servesNow()+d.migrated()+d.stillIll(), "%w", cause)
}

// staysAs says why a release that failed stays as it is, or nothing.
func (d *transition) staysAs() string {
	svc := d.opts.Stack.Services[d.result.Rollout.Failed]
	switch {
	case svc != nil && svc.Update.FailureAction == stack.Pause:
		return "failure_action is pause"
	case !d.opts.RollbackOnFailure:
		return "rollback-on-failure is off"
	}
	return ""
}

// leave ends a release that failed and stays as it is. What its own batch has undone is
// not told as changed.
func (d *transition) leave(cause error, why string, touched []string) error {
	r := d.result.Rollout
	left := slices.DeleteFunc(slices.Clone(touched), func(name string) bool { return slices.Contains(r.Undone, name) })
	if len(left) == 0 && len(r.Undone) > 0 {
		d.cleared = true
		return fault.New(fault.Failed, "", d.servesNow()+d.migrated(), "%w; %s, and nothing of it stays", cause, why)
	}
	hint := "mend it and release again" + d.former(", or ")
	return fault.New(fault.Failed, "", hint, "%w; %s, so what was changed stays: %v", cause, why, left)
}

// first tells whether there is no release to go back to.
func (d *transition) first() bool { return d.facts.verified == nil && d.facts.standing == nil }

// outlast carries out a part of the way back that may be done twice, and again as long
// as the engine is away.
func (d *transition) outlast(ctx context.Context, part func(context.Context) error) error {
	tell := func(err error) {
		d.Say(event.Warning, "roll back", "", "the engine does not answer (%v); going back once it does", err)
	}
	return rollout.Outlast(ctx, tell, d.opts.Lock.Check, part)
}

// backTries is how often the way back is planned and carried out when the engine goes
// away under it: one that does so each time is not helped by units that come and go.
const backTries = 3

// back rolls the touched services to the release before, last one first.
func (d *transition) back(ctx context.Context, touched []string) error {
	if len(touched) == 0 && !d.heals() {
		return nil
	}
	for try := 1; ; try++ {
		err := d.rollBack(ctx, touched)
		if try == backTries || ctx.Err() != nil || !rollout.NotReached(err) {
			return err
		}
		d.Say(event.Warning, "roll back", "", "the engine went away meanwhile (%v); looking again at what is left to do", err)
		if err := d.opts.Lock.Check(ctx); err != nil {
			return err
		}
	}
}

// rollBack plans the touched services like any release: what did not change is left
// alone. Services that the release before did not have are removed.
func (d *transition) rollBack(ctx context.Context, touched []string) error {
	before, in := (*stack.Stack)(nil), plan.Input{}
	err := d.outlast(ctx, func(ctx context.Context) (err error) {
		before, in, err = d.wayBack(ctx, touched)
		return err
	})
	if err != nil {
		return err
	}
	if len(in.Only) == 0 {
		return nil // all that was touched is as ill as it was
	}
	p := plan.Make(in)
	p.Reverse()
	d.Say(event.Warning, "roll back", "", "going back to %s\n%s", d.beforeTitle(), p)
	d.backTime.add(d.longest(before, p))
	lockOnly := func(ctx context.Context) error { return d.opts.Lock.Check(ctx) }
	defer d.timed("roll back")()
	gone := d.pullBack(ctx, before, p)
	report, err := d.carry(ctx, before, p, lockOnly)
	if err != nil {
		err = fmt.Errorf("%w%s", err, gone)
	}
	d.result.Phases, d.inVain = append(d.result.Phases, report.Spans...), append(d.inVain, report.Ill...)
	return err
}

// longest is how long the file allows the steps of a way back, that of the release before or
// of the one that failed: units of both end and start.
func (d *transition) longest(before *stack.Stack, p *plan.Plan) (sum time.Duration) {
	for _, step := range p.Steps {
		var longest time.Duration
		for _, st := range []*stack.Stack{before, d.opts.Stack} {
			if svc := st.Services[step.Service]; svc != nil && step.Changes() {
				longest = max(longest, rollout.Longest(step, svc, rollout.How{WaitTimeout: d.opts.WaitTimeout}))
			}
		}
		sum += longest
	}
	return sum
}

// wayBack looks at the release before and at what runs.
func (d *transition) wayBack(ctx context.Context, touched []string) (*stack.Stack, plan.Input, error) {
	before, err := d.before(ctx)
	if err != nil {
		return nil, plan.Input{}, err
	}
	before.GoBack()
	for _, svc := range before.Services {
		// One that cannot go back keeps no other from it.
		svc.Update.FailureAction = stack.Continue
	}
	comeBy(before, d.opts.Stack)
	in, err := d.backInput(ctx, before, touched)
	return before, in, err
}

func (d *transition) backInput(ctx context.Context, before *stack.Stack, touched []string) (plan.Input, error) {
	in := plan.Input{Desired: before, Back: true, Ill: d.illOrStarting(before), RemoveOrphans: true, Live: map[string][]string{}}
	seen, err := d.on.Observe(ctx, d.opts.Stack.Name)
	if err != nil {
		return in, err
	}
	found, err := d.Pins(ctx, d.on, d.opts.Stack, seen)
	if rollout.NotReached(err) {
		return in, err // who is pinned serves, and it will say so
	}
	if err != nil {
		// A gateway that does not run has nothing pinned; going back matters more.
		d.Say(event.Warning, "roll back", "", "the gateway's pins cannot be read: %v", err)
	}
	in.Observed, in.Serving, in.Stale, in.Gone = seen, found.Serving, found.Stale, givenUp(seen)
	if touched, in.Told, err = d.toTakeBack(ctx, before, seen, touched); err != nil {
		return in, err
	}
	in.Only = slices.Concat(touched, d.takenAway(before, seen), d.takenAlong(in, touched))
	d.staysOver(before, &in)
	for _, name := range touched {
		svc := before.Services[name]
		if svc == nil || svc.Ext.Reload == nil {
			continue
		}
		if in.Live[name], err = d.Store(d.opts.Stack.Name).Changed(ctx, svc); err != nil {
			return in, err
		}
	}
	return in, nil
}

// takenAlong names what this release would have replaced with what it touched, and did not
// come to: it is bound to units that are gone. What writes to a database that stays the older
// one is not started so.
func (d *transition) takenAlong(in plan.Input, touched []string) (names []string) {
	if d.plan == nil {
		return nil
	}
	for _, name := range plan.Bound(in, touched) {
		serves := func(u stack.Unit) bool { return !u.OneOff && u.Serving() }
		if slices.Contains(d.plan.Changed(), name) && !slices.Contains(d.writers, name) && slices.ContainsFunc(in.Observed.Units[name], serves) {
			names = append(names, name)
		}
	}
	return names
}

// before is the stack of the last verified release, from the ledger, or the one
// that is known to run where the newest record is damaged; an empty one when there
// was none.
func (d *transition) before(ctx context.Context) (*stack.Stack, error) {
	if s := d.facts.standing; s != nil {
		return d.unseal(ctx, s.sealed)
	}
	if d.facts.verified == nil {
		return &stack.Stack{Name: d.opts.Stack.Name, Services: map[string]*stack.Service{}, Project: &types.Project{Name: d.opts.Stack.Name}}, nil
	}
	sealed, err := d.ledger.ReadSealed(ctx, d.facts.verified.Number)
	if err != nil {
		return nil, fmt.Errorf("read release %d: %w", d.facts.verified.Number, err)
	}
	return d.unseal(ctx, sealed)
}

// unseal opens a stack of the ledger, which may have run on something else.
func (d *transition) unseal(ctx context.Context, sealed []byte) (*stack.Stack, error) {
	st, err := stack.Unseal(sealed)
	if err != nil {
		return nil, err
	}
	return st, d.on.Adapt(ctx, st)
}

// refuse ends a release that failed before anything that serves was changed. One that
// was told to end is recorded no otherwise: there is nothing of it to heal.
func (d *transition) refuse(ctx context.Context, cause error) error {
	cause = fault.As(fault.Refused, cause)
	if ctx.Err() != nil {
		cause = fault.New(fault.Interrupted, "", "run it again", "interrupted before anything was changed: %w", context.Cause(ctx))
	}
	d.conclude(ctx, release.Refused, cause)
	return cause
}

// restores tells whether the release brings a database back.
func (d *transition) restores() bool { return d.opts.Back != nil && d.opts.Back.Database != nil }

// announce says in the plan what bringing a database back means.
func (d *transition) announce() {
	if d.restores() {
		d.plan.Notes = append(d.plan.Notes, "the database goes back to backup "+d.opts.Back.Backup+
			": what writes to it stops first, what was written since is kept in a database of its own")
	}
}

// restore brings the database back and plans again: what wrote to it is stopped.
func (d *transition) restore(ctx context.Context) error {
	if !d.restores() {
		return nil
	}
	defer d.timed("restore the database")()
	if err := d.guard(ctx); err != nil {
		return err
	}
	stopped, undo, err := d.opts.Back.Database(ctx)
	d.undoDatabase, d.writers, d.ran = undo, stopped, d.facts.observed
	// From here on going back means to start again what was stopped.
	d.result.Rollout = joined(d.result.Rollout, rollout.Report{Touched: stopped})
	if err != nil {
		return err
	}
	return d.replan(ctx)
}

// replan looks and plans again. What was known stays where the host does not answer:
// the way back needs it.
func (d *transition) replan(ctx context.Context) error {
	facts, err := d.gather(ctx)
	if err != nil {
		return err
	}
	key, err := d.ledger.Key(ctx)
	if err != nil {
		return err
	}
	d.facts = facts
	// The record that this release began must not count as an interrupted one, nor what its
	// outage made ill as ill before.
	in := d.facts.input(d.opts, key)
	in.Interrupted, in.Begun, in.Ill = false, true, d.ill()
	d.rest = plan.Make(in)
	d.rest.Reverse()
	return nil
}

// takeBack swaps the database back and rolls the touched services back. Where the
// database stays the older one, what writes to it stays as it is: newer code could
// spoil it, which is worse than a service that is away. One that could not be swapped
// because its own unit is down is asked again once the others are back.
func (d *transition) takeBack(ctx context.Context, touched []string) error {
	if d.undoDatabase == nil {
		return d.back(ctx, touched)
	}
	err := d.swapBack(ctx)
	if err == nil {
		return d.back(ctx, touched)
	}
	writes := func(name string) bool { return slices.Contains(d.writers, name) }
	others := slices.DeleteFunc(slices.Clone(touched), writes)
	failed := d.back(ctx, others)
	if failed == nil && len(others) > 0 {
		if err = d.swapBack(ctx); err == nil {
			return d.back(ctx, slices.DeleteFunc(slices.Clone(touched), func(name string) bool { return !writes(name) }))
		}
	}
	err = fmt.Errorf("%w; %v was left as it is, since newer code may not write to the older database", err, d.writers)
	return errors.Join(err, failed)
}
