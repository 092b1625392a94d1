package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/stack"
)

// undoBudget bounds the way back, beside what the file gives its units.
const undoBudget = 2 * time.Minute

// wayBack is how long the whole way back of a batch may take. New units end and old
// ones start within the times of the file: one that starts slowly is not given up, it
// would be replaced by one that starts as slowly.
func (b *batch) wayBack() time.Duration {
	return undoBudget + b.budget() + 2*b.svc.StopGrace + 2*b.traffic.drain()
}

// errUndo says of a service that it is not what it was before its batch.
var errUndo = errors.New("while going back")

// awayEvery is how often an act of the way back is tried while the engine is not reached.
const awayEvery = time.Second

// lastGrace is how long units get to end, or are waited for, when the release
// was cancelled while they were stopping. It is short of the time that is left for acts.
const lastGrace = 2 * time.Second

// errAway says of a cancelled release that it could not leave a service serving.
var errAway = errors.New("it may not serve")

// errBefore says of a service that was ill that what is there is still of another release.
var errBefore = errors.New("what was there before is of another release")

// back undoes what the batch did, or is cancelled meanwhile; err is why.
func (b *batch) back(ctx context.Context, err error) error {
	cause := err
	err = b.undone(ctx, cause)
	if ctx.Err() == nil {
		return err
	}
	err = halfBack(err, cause)
	if away := b.leaveBefore(ctx); away != nil {
		return fmt.Errorf("%w; %w", err, away)
	}
	return err
}

// undone undoes what the batch did, act by act.
func (b *batch) undone(ctx context.Context, err error) error {
	back, cancel := context.WithTimeout(ctx, b.wayBack())
	defer cancel()
	if lost := b.lost(back); lost != nil {
		return halfBack(fmt.Errorf("%w (after: %w)", lost, err), err)
	}
	b.say(event.Warning, b.svc.Name, "%v; going back", err)
	defer b.span("undo", b.svc.Name)()
	switch {
	case b.takesItsPlace():
		b.undo = []func(context.Context) error{b.succeed}
	case b.step.Anew:
		err = fmt.Errorf("%w; %w", err, errBefore)
	}
	var stuck []error
	for _, u := range slices.Backward(b.undo) {
		uerr := b.outlast(back, u)
		if fault.Of(uerr) == fault.Interrupted {
			return halfBack(fmt.Errorf("%w (after: %w)", uerr, err), err) // somebody else has the lock
		}
		stuck = append(stuck, uerr)
		if ctx.Err() != nil || uerr != nil && (b.held || !b.step.Action.StopsFirst()) {
			break // the new units may be who serves: none of them is stopped
		}
	}
	if uerr := errors.Join(stuck...); uerr != nil {
		return fmt.Errorf("%w; %w: %w", err, errUndo, uerr)
	}
	if b.loud {
		return err // the pins keep out who failed
	}
	// What runs is the serving set again, so the pins say nothing new.
	if cerr := b.outlast(back, b.unpin); cerr != nil {
		return fmt.Errorf("%w; %w: %w", err, errUndo, cerr)
	}
	if b.whole() {
		b.note(func(report *Report) { report.Undone = append(report.Undone, b.svc.Name) })
	}
	return err
}

// whole tells whether a batch that was undone is all that its step has changed.
func (b *batch) whole() bool {
	return !b.removed && len(b.good) == len(b.step.Good) && len(b.step.Files)+len(b.step.Leftovers) == 0
}

// lost tells whether the right to change the project is gone. Then nothing is
// undone: what is there may be another release's by now, and whoever comes next
// heals what is left.
func (s *service) lost(ctx context.Context) error {
	if err := s.ask(ctx); fault.Of(err) == fault.Interrupted {
		return err
	}
	return nil
}

// outlast carries an act of the way back out; see Outlast.
func (s *service) outlast(ctx context.Context, act func(context.Context) error) error {
	tell := func(err error) {
		s.say(event.Warning, s.svc.Name, "the engine does not answer (%v); going back once it does", err)
	}
	return Outlast(ctx, tell, s.lost, act)
}

// Outlast carries an act of a way back out, and once more a second later as long as
// the engine is not reached: it restarts, and nothing can be put right before it is
// back. The act has to be one that may be done twice. tell hears of the first try
// that came to nothing; allowed is asked before each further one and ends the wait
// with its error.
func Outlast(ctx context.Context, tell func(error), allowed, act func(context.Context) error) error {
	var away error
	for {
		err := act(ctx)
		switch {
		case err != nil && away != nil && ctx.Err() != nil:
			return away // it says more than that the time is over
		case !NotReached(err):
			return err
		case away == nil:
			tell(err)
		}
		away = err
		if grace.Pause(ctx, awayEvery) != nil {
			return away
		}
		if err := allowed(ctx); err != nil {
			return err
		}
	}
}

// NotReached tells that the engine does not answer. A connection that is lost is the
// host's matter: it is made again there.
func NotReached(err error) bool { return engine.NotReached(err) && !host.IsConnectionLost(err) }

// revive starts the old units again and waits until they are well.
func (b *batch) revive(ctx context.Context) error {
	if b.svc.Ext.Idle != nil {
		// One that was told to take no more work begins anew.
		b.renews = true
		if err := b.stop(ctx, b.svc.Name, b.old, b.svc.StopGrace); err != nil {
			return err
		}
		b.renews = false
	}
	if err := b.Units.Restart(ctx, b.old); err != nil {
		return fmt.Errorf("start the old units again: %w", err)
	}
	g := &service{Rollout: b.Rollout, svc: b.svc, step: b.step}
	for _, id := range b.old {
		if err := g.again(ctx, id); err != nil {
			err = fmt.Errorf("the old units do not come back: %w", err)
			if !b.step.Ill || ctx.Err() != nil || NotReached(err) {
				return err
			}
			b.say(event.Warning, b.svc.Name, "%v; they were ill before", err)
		}
	}
	b.takeBack()
	return nil
}

// retry has the engine go on with its tries to start units that were dead before: what
// they lack may come back. One that cannot be started is as dead as it was. One that had
// ended by itself is what it was too: down, and up with the host where its policy says so.
func (b *batch) retry(ctx context.Context) error {
	err := b.Units.Restart(ctx, b.retried, b.exited...)
	if err != nil && !NotReached(err) {
		b.say(event.Warning, b.svc.Name, "what was dead before cannot be started again: %v", err)
		return nil
	}
	if err == nil && len(b.retried) > 0 {
		b.takeBack()
	}
	return err
}

// takesItsPlace tells whether the new unit of a service that was ill before stays although
// it is ill too: the one before had to go, or is of another release than all the rest, and
// the engine goes on with its tries to start this one.
func (b *batch) takesItsPlace() bool {
	return b.step.Tolerated && len(b.new) > 0 && (b.svc.ContainerName != "" || b.step.Anew && b.started)
}

// succeed takes away what the new units take the place of.
func (b *batch) succeed(ctx context.Context) error {
	before := b.dead
	if !b.removed {
		before = slices.Concat(b.old, b.dead)
	}
	if len(before) == 0 {
		return nil
	}
	return b.Units.Remove(ctx, before)
}

// dark tells whether nothing serves while the batch's old units are stopped.
func (b *batch) dark() bool { return b.step.Action.StopsFirst() && len(b.without()) == 0 }

// leaveServing is what a cancelled release still does: if the old units are down
// and the new ones not up, it starts them, and has the gateway find who is up;
// whoever comes next gates them.
func (b *batch) leaveServing(ctx context.Context) error {
	if !b.down && !b.away {
		return nil
	}
	last, cancel := grace.Last(ctx, grace.Acts)
	defer cancel()
	if b.lost(last) != nil {
		return b.unserved()
	}
	if b.down {
		if err := b.rise(last); err != nil {
			b.say(event.Error, b.svc.Name, "could not be started again before the release ended: %v", err)
			return b.unserved()
		}
	}
	if b.away {
		if err := b.traffic.wake(last, b.well); err != nil {
			b.say(event.Error, b.svc.Name, "runs, but its gateway could not be led to it before the release ended: %v", err)
			return errAway
		}
	}
	return nil
}

// leaveBefore is what a cancelled release still does for a batch that stops first and was
// going back: it starts the old units again, or those that took their place for good, and
// has the gateway find them.
func (b *batch) leaveBefore(ctx context.Context) error {
	serves := len(b.well) > 0 && !b.leaves // new units that passed their gate, and were let in
	if !b.halted || serves || !b.step.Action.StopsFirst() || b.takesItsPlace() {
		return nil
	}
	last, cancel := grace.Last(ctx, grace.Acts)
	defer cancel()
	if b.lost(last) != nil {
		return b.unserved()
	}
	up, err := b.reinstate(last)
	if err == nil && b.dark() {
		err = b.traffic.wake(last, up)
	}
	if err != nil {
		b.say(event.Error, b.svc.Name, "could not be started again before the release ended: %v", err)
		return b.unserved()
	}
	return nil
}

// reinstate ends the new units and starts the old ones again. Where these are gone for good
// new ones start once more, well or not.
func (b *batch) reinstate(ctx context.Context) (up []string, err error) {
	if b.renews {
		if err := b.settle(ctx); err != nil {
			return nil, err
		}
	}
	if b.dark() && len(b.new) > 0 {
		// What failed is not waited for, but for the work of a worker.
		if err := b.end(ctx, b.new, b.needed()); err != nil {
			return nil, err
		}
	}
	if b.removed && b.scrapped {
		if err := b.Units.Scrap(ctx, b.new); err != nil {
			return nil, fmt.Errorf("remove the new units: %w", err)
		}
		b.new = nil
	}
	if b.removed && len(b.new) > 0 {
		return b.new, b.Units.Restart(ctx, b.new)
	}
	err = b.restart(ctx)
	if err == nil || !b.removed {
		return b.old, err
	}
	err = b.rise(ctx)
	return b.new, err
}

// unserved is errAway, unless others serve.
func (b *batch) unserved() error {
	if b.dark() {
		return errAway
	}
	return nil
}

// rise starts the new units in the place of the old ones, or the old ones again
// where there are no new ones yet or they do not start.
func (b *batch) rise(ctx context.Context) error {
	if err := b.settle(ctx); err != nil {
		return err
	}
	if b.removed && len(b.new) == 0 {
		if err := b.Units.Remove(ctx, b.old); err != nil {
			return fmt.Errorf("remove the old unit: %w", err)
		}
		if err := b.create(ctx); err != nil {
			return err
		}
	}
	if len(b.new) == 0 {
		return b.restart(ctx)
	}
	err := b.Units.Start(ctx, b.Stack, b.svc.Name, b.new)
	if err == nil {
		b.answered(func(h handover) bool { return h.to == b.svc.Name })
	}
	if err == nil || b.removed {
		return err
	}
	if again := b.restart(ctx); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

// settle sees a stop through that was under way. The engine carries on with it
// though nobody waits for it any more. Until it is over the old units hold their
// ports and files, and after it nothing would run.
func (b *batch) settle(ctx context.Context) error {
	if !b.dark() || b.removed {
		return nil // others serve, or it is over
	}
	return b.end(ctx, b.old, b.Back && b.needed())
}

// end sees to it that units have ended before others take their place. Hurried are those
// of a version that was refused: what is needed is not to be away for them.
func (b *batch) end(ctx context.Context, ids []string, hurried bool) error {
	if b.svc.StopGrace > stack.DefaultGrace && !hurried {
		return b.ended(ctx, ids)
	}
	if err := b.Units.Stop(ctx, ids, lastGrace); err != nil {
		return fmt.Errorf("end the units before: %w", err)
	}
	return nil
}

// ended waits for units that the file gives longer than usual: they finish a
// job or write their data, and another stop would kill them before the first does. One that
// never ran, or is gone, has nothing to end.
func (b *batch) ended(ctx context.Context, ids []string) error {
	until := time.Now().Add(lastGrace)
	for _, id := range ids {
		for {
			u, err := b.Eyes.Inspect(ctx, id)
			if err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			if err != nil || !u.Up() && u.State != stack.Removing {
				break
			}
			if time.Now().After(until) {
				return fmt.Errorf("%s may still be ending, it has %s for that (stop_grace_period)", u.Name, b.svc.StopGrace)
			}
			if err := grace.Pause(ctx, pollSoon); err != nil {
				return err
			}
		}
	}
	return nil
}
