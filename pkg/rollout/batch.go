package rollout

import (
	"context"
	"fmt"
	"slices"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
)

// batch replaces some units of a service. undo holds the way back, newest act
// last; it is empty once the old units are removed (the point of no return).
//
// Its flags, who sets them, and who asks for them:
//
//	down      stopOld, until start             leaveServing
//	away      stopOld, until admit             leaveServing
//	started   start                            takesItsPlace
//	well      admit                            leaveServing, leaveBefore
//	halted    stopOld                          leaveBefore
//	removed   remake                           whole, succeed, reinstate, rise, settle
//	loud      commit                           undone
//	held      the undo of start and of shift   undone
//	leaves    the undo of start                leaveBefore
//	scrapped  the undo of create               reinstate
//	renews    revive, until they have ended    reinstate
//
// leaveServing ends a way forward that is cancelled, leaveBefore a way back.
type batch struct {
	*service
	n    int
	old  []string
	new  []string
	undo []func(context.Context) error
	// down is set while the old units are stopped and the new ones not started, away
	// while the gateway has nobody who serves: the moments in which a cancelled
	// release must still act. removed is set when an old unit was removed before its
	// successor was made, held when traffic could not be moved back, loud when units
	// that failed may run on, started once the new ones were; well is who passed the gate.
	down, away, removed, held, loud, started bool
	well                                     []string
	// halted is set once old units were to stop. On the way back leaves is set once the new
	// ones are to stop, scrapped once they are to go, renews while old ones end to begin anew.
	halted, leaves, scrapped, renews bool
}

// run carries the batch out, or leaves the service as it was.
func (b *batch) run(ctx context.Context) error {
	err := b.forward(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		if away := b.leaveServing(ctx); away != nil {
			return fmt.Errorf("%w; %w", err, away)
		}
		return err
	}
	return b.back(ctx, err)
}

func (b *batch) forward(ctx context.Context) error {
	if len(b.retried)+len(b.exited) > 0 {
		b.undo = append(b.undo, b.retry)
	}
	if b.step.Action.StopsFirst() {
		return b.stopFirst(ctx)
	}
	return b.surge(ctx)
}

// surge starts the new units beside the old ones and retires the old ones when
// traffic has moved.
func (b *batch) surge(ctx context.Context) error {
	if err := b.traffic.pin(ctx, b.serving()); err != nil {
		return err
	}
	if err := b.create(ctx); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	well, err := b.gate(ctx, b.new)
	if err != nil {
		return err
	}
	if err := b.admit(ctx, well); err != nil {
		return err
	}
	if err := b.stopOld(ctx, b.with(well)); err != nil {
		return err
	}
	return b.commit(ctx, well)
}

// stopFirst stops the old units before it starts their successors. The
// successors are created before, so that the gap is only stop and start.
func (b *batch) stopFirst(ctx context.Context) error {
	named := b.svc.ContainerName != "" && len(b.old) > 0
	if !named {
		if err := b.create(ctx); err != nil {
			return err
		}
	}
	rest := b.without()
	if len(rest) > 0 {
		if err := b.shift(ctx, b.serving(), rest); err != nil {
			return err
		}
	}
	if err := b.stopOld(ctx, rest); err != nil {
		return err
	}
	if named {
		if err := b.remake(ctx); err != nil {
			return err
		}
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	well, err := b.gate(ctx, b.new)
	if err != nil {
		return err
	}
	if err := b.admit(ctx, well); err != nil {
		return err
	}
	return b.commit(ctx, well)
}

// remake is for a unit with a fixed name: the old one has to be removed before
// the new one can be made, so there is no way back within the batch.
func (b *batch) remake(ctx context.Context) error {
	b.removed = true
	if err := b.Units.Remove(ctx, b.old); err != nil {
		return fmt.Errorf("remove the old unit: %w", err)
	}
	b.undo = nil
	return b.create(ctx)
}

func (b *batch) create(ctx context.Context) error {
	defer b.span("create", b.svc.Name)()
	defer b.hand()()
	ids, err := b.Units.Create(ctx, b.Stack, b.svc.Name, b.n, b.forebears()...)
	if err != nil {
		return fmt.Errorf("create %d units: %w", b.n, err)
	}
	b.new = ids
	// The undo of their start, which comes first, stops them.
	b.undo = append(b.undo, func(ctx context.Context) error {
		b.scrapped = true
		if err := b.Units.Scrap(ctx, ids); err != nil {
			return fmt.Errorf("remove the new units: %w", err)
		}
		return nil
	})
	return nil
}

// forebears are the units whose anonymous volumes the new ones take over. Beside old
// units that serve new ones begin empty.
func (b *batch) forebears() []string {
	if b.step.Action == plan.Surge {
		return nil
	}
	return slices.Concat(b.old, b.dead)
}

func (b *batch) start(ctx context.Context) error {
	defer b.span("start", b.svc.Name)()
	defer b.hand()()
	b.undo = append(b.undo, func(ctx context.Context) error {
		// A gateway that started anew meanwhile has loaded the new units as well.
		err := b.traffic.regain(ctx, b.meanwhile())
		if b.held = err != nil; b.held {
			return err
		}
		b.leaves = true
		if err := b.stop(ctx, b.svc.Name, b.new, b.svc.StopGrace); err != nil {
			return fmt.Errorf("stop the new units: %w", err)
		}
		return nil
	})
	if err := b.Units.Start(ctx, b.Stack, b.svc.Name, b.new); err != nil {
		return fmt.Errorf("start the new units: %w", err)
	}
	b.down, b.started = false, true
	return nil
}

// admit lets the gated units take requests, after they proved to be reachable.
func (b *batch) admit(ctx context.Context, well []string) error {
	if err := b.ask(ctx); err != nil {
		return err
	}
	if err := b.traffic.answer(ctx, well); err != nil {
		return err
	}
	b.well = well
	if err := b.shift(ctx, b.meanwhile(), b.with(well)); err != nil {
		return err
	}
	b.away = false
	return nil
}

// shift moves traffic to a set of units; the way back is the set before.
func (b *batch) shift(ctx context.Context, before, to []string) error {
	b.undo = append(b.undo, func(ctx context.Context) error {
		err := b.traffic.to(ctx, before)
		b.held = err != nil
		return err
	})
	return b.traffic.to(ctx, to)
}

// stopOld stops the old units; serving is who gets the requests meanwhile.
func (b *batch) stopOld(ctx context.Context, serving []string) error {
	if len(b.old) == 0 {
		return nil
	}
	if err := b.ask(ctx); err != nil {
		return err
	}
	if b.dark() {
		// A unit that is started again may get another address than the gateway has.
		before := b.serving()
		b.undo = append(b.undo, func(ctx context.Context) error { return b.traffic.to(ctx, before) })
	}
	b.undo, b.halted = append(b.undo, b.revive), true
	if err := b.quiet(ctx, b.old); err != nil {
		return err
	}
	if err := b.traffic.still(ctx, serving); err != nil {
		return err
	}
	defer b.span("stop", b.svc.Name)()
	b.down, b.away = b.step.Action.StopsFirst(), b.dark()
	b.giveUp(b.step)
	if err := b.stop(ctx, b.svc.Name, b.old, b.svc.StopGrace); err != nil {
		return fmt.Errorf("stop the old units: %w", err)
	}
	return b.traffic.regain(ctx, serving) // a gateway that started anew meanwhile has loaded them again
}

// commit removes the old units: from here on there is no way back within the
// batch.
func (b *batch) commit(ctx context.Context, well []string) error {
	b.undo, b.retried, b.exited = nil, nil, nil
	rest := slices.DeleteFunc(slices.Clone(b.service.old), func(id string) bool { return slices.Contains(b.old, id) })
	b.good, b.service.old = append(b.good, well...), rest
	if err := b.silence(ctx, well); err != nil {
		b.loud = true
		return err
	}
	if len(b.old) == 0 {
		return nil
	}
	b.mark("remove", b.svc.Name)
	remove := b.Units.Remove
	if b.step.Scraps() {
		remove = b.Units.Scrap
	}
	if err := remove(ctx, b.old); err != nil {
		return fmt.Errorf("remove the old units: %w", err)
	}
	b.say(event.Info, b.svc.Name, "retired %d old units", len(b.old))
	return nil
}

// silence stops the units that failed within max_failure_ratio: once the pins are
// out, whoever reloads the gateway would find them in Docker's DNS. They are kept
// for whoever wants to know why, and the next release replaces them.
func (b *batch) silence(ctx context.Context, well []string) error {
	failed := slices.DeleteFunc(slices.Clone(b.new), func(id string) bool { return slices.Contains(well, id) })
	if len(failed) == 0 {
		return nil
	}
	if err := b.stop(ctx, b.svc.Name, failed, b.svc.StopGrace); err != nil {
		return fmt.Errorf("stop the units that failed: %w", err)
	}
	return nil
}

// with is the serving set after the batch: what stays, the new units, and the
// old ones that later batches replace.
func (b *batch) with(new []string) []string {
	return append(b.without(), new...)
}

// meanwhile is the serving set until the new units are in it: old units that stop first
// have no address any more.
func (b *batch) meanwhile() []string {
	if b.step.Action.StopsFirst() {
		return b.without()
	}
	return b.serving()
}

// without is the serving set while the batch's old units are stopped.
func (b *batch) without() []string {
	return slices.DeleteFunc(b.serving(), func(id string) bool { return slices.Contains(b.old, id) })
}
