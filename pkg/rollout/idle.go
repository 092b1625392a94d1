package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

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
	// deafTries is how often a worker that has no work is told to take none before it is
	// stopped without having heard.
	deafTries = 3
)

// Quiet is for a Carrier: it lets the workers of a service finish before they are
// replaced.
func (r *Rollout) Quiet(ctx context.Context, svc *stack.Service, ids []string) error {
	s := &service{Rollout: r, svc: svc}
	return s.quiet(ctx, ids)
}

// quiet lets workers finish: each is told to take no more work and waited for until
// it has none left, all at once, at most for their budget.
func (s *service) quiet(ctx context.Context, ids []string) error {
	if s.svc.Ext.Idle == nil || len(ids) == 0 {
		return nil
	}
	defer s.span("drain", s.svc.Name)()
	w := &waiting{service: s, began: time.Now(), told: time.Now()}
	var busy []*worker
	for _, id := range ids {
		u, err := s.Eyes.Inspect(ctx, id)
		if err != nil {
			return err
		}
		if u.State != stack.Running {
			continue
		}
		if k := (&worker{id: id, name: u.Name}); w.stop(ctx, k) {
			busy = append(busy, k)
		}
		if err := w.tell(ctx, len(busy)); err != nil {
			return err
		}
	}
	if len(busy) == 0 {
		return nil
	}
	return w.idle(ctx, busy)
}

// worker is one that is waited for.
type worker struct {
	id, name string
	// told is whether it heard that it is to take no more work, tries how often it did not.
	told  bool
	tries int
}

// stop tells a worker to take no more work, and gives whether it is to be waited for. One
// that does not hear may be in the middle of a task, and so is told again later. One that
// can never hear, or has not come up, is stopped as any other unit would be.
func (w *waiting) stop(ctx context.Context, k *worker) bool {
	argv, budget := w.svc.Ext.Idle.Stop, w.svc.Ext.Idle.Budget
	out, errs, exit, err := w.ask(ctx, k.id, argv)
	hangs := errors.Is(err, errNoAnswer)
	switch {
	case ctx.Err() != nil:
		return true
	case hangs && k.tries == 0:
		w.say(event.Warning, w.svc.Name, "%s was told to take no more work, but %q does not end; it is waited for", k.name, strings.Join(argv, " "))
	case err == nil && exit == 0 && k.tries > 0:
		w.say(event.Info, w.svc.Name, "%s was told to take no more work at last", k.name)
	}
	if hangs || err == nil && exit == 0 {
		k.told = true
		return true
	}
	ended, starts := w.state(ctx, k.id)
	if ended {
		return false
	}
	never := starts || err == nil && (exit == 126 || exit == 127)
	then := fmt.Sprintf("it is told again, and waited for at most %s (docker stop %s on the host ends that)", budget, k.name)
	if never {
		then = "it is stopped within its stop_grace_period"
	}
	if never || k.tries == 0 {
		w.say(event.Warning, w.svc.Name, "%s could not be told to take no more work (%s); %s", k.name, w.why(exit, err, out+errs), then)
	}
	k.tries++
	return !never
}

// why says what came of a command, without secrets.
func (w *waiting) why(exit int, err error, said string) string {
	if err != nil {
		return w.Stack.HideSecrets(err.Error())
	}
	return w.Stack.HideSecrets(strings.TrimSpace(fmt.Sprintf("exit code %d %s", exit, strings.TrimSpace(said))))
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

// idle waits until none of the workers has work left. Those that were not told are, again
// and again: they would go on taking work.
func (w *waiting) idle(ctx context.Context, busy []*worker) error {
	budget := w.svc.Ext.Idle.Budget
	for first := true; len(busy) > 0; first = false {
		var still []*worker
		for _, k := range busy {
			stays := first || k.told || w.stop(ctx, k)
			if stays && (w.works(ctx, k.id) || !k.told && k.tries < deafTries) {
				still = append(still, k)
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
	ended, _ := w.state(ctx, id)
	return !ended
}

// state tells whether a worker has ended, or has not come up since it started. One that
// cannot be looked at has done neither.
func (w *waiting) state(ctx context.Context, id string) (ended, starts bool) {
	u, err := w.Eyes.Inspect(ctx, id)
	if err != nil {
		return errdefs.IsNotFound(err), false
	}
	return u.State != stack.Running, u.Health == stack.HealthStart
}
