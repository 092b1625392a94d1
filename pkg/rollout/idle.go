package rollout

import (
	"context"
	"errors"
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
	// askLimit is how long one question may take. A command that hangs, because what
	// it asks is down, says nothing of the worker, which may have work.
	askLimit = 30 * time.Second
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
	w := &waiting{service: s, began: time.Now(), told: time.Now()}
	var busy []string
	for _, id := range ids {
		u, err := s.Eyes.Inspect(ctx, id)
		if err != nil {
			return err
		}
		if u.State != stack.Running {
			continue
		}
		out, errs, exit, err := w.ask(ctx, id, idle.Stop)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errNoAnswer):
			s.say(event.Warning, s.svc.Name, "%s was told to take no more work, but %q does not end; it is waited for", u.Name, strings.Join(idle.Stop, " "))
			busy = append(busy, id)
		case err != nil || exit != 0:
			s.say(event.Warning, s.svc.Name, "%s could not be told to take no more work (exit code %d %v %s); it is stopped within its stop_grace_period",
				u.Name, exit, err, s.Stack.HideSecrets(strings.TrimSpace(out+errs)))
		default:
			busy = append(busy, id)
		}
		if err := w.tell(ctx, len(busy)); err != nil {
			return err
		}
	}
	return w.idle(ctx, busy)
}

// waiting is the wait for the workers of a service.
type waiting struct {
	*service
	began, told time.Time
}

// errNoAnswer is why a command in a worker was waited for no longer.
var errNoAnswer = errors.New("it does not answer")

// ask runs a command in a worker, for as long as the budget lasts and one question
// may take.
func (w *waiting) ask(ctx context.Context, id string, argv []string) (stdout, stderr string, exit int, err error) {
	left := w.svc.Ext.Idle.Budget - time.Since(w.began)
	ctx, cancel := context.WithTimeoutCause(ctx, min(max(left, askIdle), askLimit), errNoAnswer)
	defer cancel()
	stdout, stderr, exit, err = w.Shell.Exec(ctx, id, argv, nil)
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		err = errNoAnswer
	}
	return stdout, stderr, exit, err
}

// idle waits until none of the workers has work left.
func (w *waiting) idle(ctx context.Context, busy []string) error {
	budget := w.svc.Ext.Idle.Budget
	for len(busy) > 0 {
		var still []string
		for _, id := range busy {
			if w.works(ctx, id) {
				still = append(still, id)
			}
			if err := w.tell(ctx, len(busy)); err != nil {
				return err
			}
		}
		busy = still
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(busy) == 0 {
			break
		}
		if time.Since(w.began) > budget {
			w.say(event.Warning, w.svc.Name, "%d of its units still have work after %s and are stopped within their stop_grace_period", len(busy), budget)
			return nil
		}
		if err := grace.Pause(ctx, askIdle); err != nil {
			return err
		}
	}
	w.say(event.Info, w.svc.Name, "its old units have no work left after %s", time.Since(w.began).Round(100*time.Millisecond))
	return nil
}

// tell says from time to time that the waiting goes on, and looks at the lock.
func (w *waiting) tell(ctx context.Context, busy int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if time.Since(w.told) < toldIdle {
		return nil
	}
	w.told = time.Now()
	w.say(event.Info, w.svc.Name, "%d units finish their work, %s of %s so far", busy, time.Since(w.began).Round(time.Second), w.svc.Ext.Idle.Budget)
	return w.Guard(ctx)
}

// works tells whether a worker has work left. One that cannot be asked has, unless
// it does not run any more.
func (w *waiting) works(ctx context.Context, id string) bool {
	_, _, exit, err := w.ask(ctx, id, w.svc.Ext.Idle.Wait)
	if err == nil {
		return exit != 0
	}
	u, err := w.Eyes.Inspect(ctx, id)
	return err != nil || u.State == stack.Running
}
