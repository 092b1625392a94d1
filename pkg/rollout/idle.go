package rollout

import (
	"context"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	// askIdle is how often a worker is asked whether it has work left.
	askIdle = time.Second
	// toldIdle is how often the waiting is told, and the lock looked at.
	toldIdle = 10 * time.Second
)

// Quiet is for a Carrier: it lets the workers of a service finish before they are
// replaced.
func (r *Rollout) Quiet(ctx context.Context, svc *stack.Service, ids []string) error {
	s := &service{Rollout: r, svc: svc}
	return s.quiet(ctx, ids)
}

// quiet lets workers finish: each is told to take no more work and waited for until
// it has none left, all at once, at most for their budget. A worker that cannot be
// told is stopped as any other unit would be.
func (s *service) quiet(ctx context.Context, ids []string) error {
	idle := s.svc.Ext.Idle
	if idle == nil || len(ids) == 0 {
		return nil
	}
	defer s.span("drain", s.svc.Name)()
	var busy []string
	for _, id := range ids {
		u, err := s.Eyes.Inspect(ctx, id)
		if err != nil {
			return err
		}
		if u.State != stack.Running {
			continue
		}
		out, errs, exit, err := s.Shell.Exec(ctx, id, idle.Stop, nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || exit != 0:
			s.say(event.Warning, s.svc.Name, "%s could not be told to take no more work (exit code %d %v %s); it is stopped within its stop_grace_period",
				u.Name, exit, err, strings.TrimSpace(out+errs))
		default:
			busy = append(busy, id)
		}
	}
	return s.awaitIdle(ctx, busy)
}

// awaitIdle waits until none of the workers has work left.
func (s *service) awaitIdle(ctx context.Context, busy []string) error {
	began, told := time.Now(), time.Now()
	for len(busy) > 0 {
		var still []string
		for _, id := range busy {
			if s.works(ctx, id) {
				still = append(still, id)
			}
		}
		busy = still
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if waited := time.Since(began); len(busy) > 0 && waited > s.svc.Ext.Idle.Budget {
			s.say(event.Warning, s.svc.Name, "%d of its units still have work after %s and are stopped within their stop_grace_period", len(busy), s.svc.Ext.Idle.Budget)
			return nil
		}
		if len(busy) == 0 {
			break
		}
		if time.Since(told) > toldIdle {
			told = time.Now()
			s.say(event.Info, s.svc.Name, "%d units finish their work, %s of %s so far", len(busy), time.Since(began).Round(time.Second), s.svc.Ext.Idle.Budget)
			if err := s.Guard(ctx); err != nil {
				return err
			}
		}
		if err := grace.Pause(ctx, askIdle); err != nil {
			return err
		}
	}
	s.say(event.Info, s.svc.Name, "its old units have no work left after %s", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// works tells whether a worker has work left. One that cannot be asked has, unless
// it does not run any more.
func (s *service) works(ctx context.Context, id string) bool {
	_, _, exit, err := s.Shell.Exec(ctx, id, s.svc.Ext.Idle.Wait, nil)
	if err == nil {
		return exit != 0
	}
	u, err := s.Eyes.Inspect(ctx, id)
	return err != nil || u.State == stack.Running
}
