package rollout

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// service is the rollout of one service: what stays (good), what is still to be
// replaced (old), and how it is done.
type service struct {
	*Rollout
	svc  *stack.Service
	step plan.Step

	good, old []string
	// dead are units that serve nobody, stopped, which the new ones follow: they stay
	// until these are proved. The engine tried to start those of retried again and again,
	// and is to go on with it where the new ones fail. Those of exited had ended by
	// themselves, and some may be to start with the host.
	dead            []string
	retried, exited []string
	failed          int
	traffic         *traffic

	looking sync.Mutex            // guards seen
	seen    map[string]stack.Unit // who is waited for, as the last look saw them
}

// run rolls the service: leftovers first, then batch by batch.
func (s *service) run(ctx context.Context) error {
	if err := s.openTraffic(ctx); err != nil {
		return err
	}
	if err := s.clean(ctx); err != nil {
		return err
	}
	if s.step.Action == plan.Reload {
		if err := s.reload(ctx); err != nil {
			return err
		}
		return s.traffic.close(ctx)
	}
	if len(s.step.Files) > 0 {
		if err := s.swapBefore(ctx); err != nil {
			return err
		}
	}
	if s.step.Action == plan.Gate {
		if err := s.gateAgain(ctx); err != nil {
			return err
		}
	}
	if err := s.batches(ctx); err != nil {
		return err
	}
	return s.finish(ctx)
}

// gateAgain gates units that run already. A gateway that came up beside those that were
// starting may have asked for their names before they had addresses: it is led to them.
func (s *service) gateAgain(ctx context.Context) error {
	well, err := s.gate(ctx, s.good)
	if err != nil || !s.step.Starting {
		return err
	}
	return s.traffic.to(ctx, well)
}

// batches replaces the units, step.Batch at a time.
func (s *service) batches(ctx context.Context) error {
	for missing := s.step.Missing(); missing > 0; {
		n := min(s.step.Batch, missing)
		last := missing == n
		b := &batch{service: s, n: n, old: s.nextOld(n, last)}
		if err := b.run(ctx); err != nil {
			return err
		}
		missing -= n
		if !last && s.svc.Update.Delay > 0 {
			s.say(event.Info, s.svc.Name, "waiting %s before the next batch", s.svc.Update.Delay)
			if err := grace.Pause(ctx, s.svc.Update.Delay); err != nil {
				return err
			}
		}
		if !last {
			if err := s.ask(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextOld takes the old units that a batch of n replaces; the last batch takes
// all that are left, so that scaling down ends with the right number.
func (s *service) nextOld(n int, last bool) []string {
	if last || n > len(s.old) {
		n = len(s.old)
	}
	return s.old[:n]
}

// clean takes away what serves nobody. Where the gateway has a pinned set its
// workers may still be on addresses of an earlier one (a release killed between
// writing and reloading), or on some that no unit has any more (these restarted
// since): it is reloaded with the set that serves and drained first. What new units
// follow is only stopped here.
func (s *service) clean(ctx context.Context) error {
	if s.traffic != nil && (len(s.step.Leftovers) > 0 || s.step.Stale || s.step.Action == plan.Heal) {
		if err := s.traffic.to(ctx, s.serving()); err != nil {
			return fmt.Errorf("heal the gateway: %w", err)
		}
	}
	if len(s.step.Leftovers) == 0 {
		return nil
	}
	s.say(event.Info, s.svc.Name, "removing %d units that serve nobody", len(s.step.Leftovers))
	if len(s.serving()) == 0 {
		s.giveUp(s.step) // no other has its ports
	}
	if s.step.Action == plan.Surge || s.svc.ContainerName != "" || s.step.Missing() <= len(s.old) {
		return s.retire(ctx, s.svc.Name, s.step.Leftovers, s.svc.StopGrace)
	}
	s.dead = s.step.Leftovers
	for _, id := range s.dead {
		u, err := s.Eyes.Inspect(ctx, id)
		switch {
		case err != nil:
		case u.State == stack.Restarting, s.step.Ill && u.State == stack.Running:
			s.retried = append(s.retried, id)
		case u.State == stack.Exited:
			s.exited = append(s.exited, id)
		}
	}
	if err := s.stop(ctx, s.svc.Name, s.dead, s.svc.StopGrace); err != nil {
		return fmt.Errorf("stop units: %w", err)
	}
	return nil
}

// finish takes away old units that no batch replaced (scaling down) and the
// gateway's pins.
func (s *service) finish(ctx context.Context) error {
	surplus := s.old
	if s.step.Action == plan.Scale && len(s.good) > s.step.Replicas {
		surplus = append(surplus, s.good[s.step.Replicas:]...)
		s.good = s.good[:s.step.Replicas]
	}
	s.old = nil
	if len(s.dead) > 0 {
		if err := s.Units.Remove(ctx, s.dead); err != nil {
			return fmt.Errorf("remove units: %w", err)
		}
	}
	if len(surplus) > 0 {
		if err := s.traffic.to(ctx, s.good); err != nil {
			return err
		}
		if err := s.quiet(ctx, surplus); err != nil {
			return err
		}
		if err := s.traffic.still(ctx, s.good); err != nil {
			return err
		}
		s.giveUp(s.step)
		if err := s.retire(ctx, s.svc.Name, surplus, s.svc.StopGrace); err != nil {
			return err
		}
	}
	if len(s.step.Files) > 0 {
		if err := s.Live.Confirm(ctx, s.svc); err != nil {
			return err
		}
	}
	return s.unpin(ctx)
}

// unpin takes the pins out, where no gateway is on units that went any more.
func (s *service) unpin(ctx context.Context) error {
	if err := s.traffic.regain(ctx, s.serving()); err != nil {
		return err
	}
	return s.traffic.close(ctx)
}

// serving is the whole set that may get requests right now.
func (s *service) serving() []string {
	return append(append([]string(nil), s.good...), s.old...)
}

// needed tells whether users come to the service, or another one cannot do without it.
func (s *service) needed() bool {
	if s.svc.Ext.Gateway != "" || len(s.svc.HostPorts) > 0 {
		return true
	}
	for _, other := range s.Stack.Services {
		if slices.ContainsFunc(other.DependsOn, func(d stack.Dependency) bool { return d.Service == s.svc.Name }) {
			return true
		}
	}
	return false
}

// Longest is how long the file allows a step of a plan, for who has to bound a rollout:
// in each batch the new units start, and the old ones where those fail; work ends, requests
// end, units stop. Once more for what is left over or too much.
func Longest(step plan.Step, svc *stack.Service, how How) time.Duration {
	s := &service{Rollout: &Rollout{How: how}, svc: svc}
	turn := 2*(s.budget()+svc.StopGrace) + svc.Update.Monitor + svc.Update.Delay
	if svc.Ext.Gateway != "" || step.Action == plan.Remove {
		turn += 2 * patience(svc)
	}
	if svc.Ext.Idle != nil {
		turn += svc.Ext.Idle.Budget
	}
	turns := 1
	if step.Batch > 0 {
		turns += (step.Missing() + step.Batch - 1) / step.Batch
	}
	return time.Duration(turns) * turn
}
