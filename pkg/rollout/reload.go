package rollout

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/stack"
)

// reload hands changed files to the running units of a service: swap, test,
// signal, confirm. A failed test puts the old files back before anything read
// the new ones.
func (s *service) reload(ctx context.Context) error {
	undo, err := s.Live.Swap(ctx, s.svc)
	if err != nil {
		return fmt.Errorf("put the new files in place: %w", err)
	}
	if err := s.reloadUnits(ctx, s.survives); err != nil {
		return errors.Join(err, s.reloadOld(ctx, undo))
	}
	s.say(event.Info, s.svc.Name, "reloaded with %s", names(s.step.Files))
	return s.Live.Confirm(ctx, s.svc)
}

// reloadOld puts the old files back and has the units read them. A cancelled release
// watches nobody: its seconds are for every unit, and for the record of its end.
func (s *service) reloadOld(ctx context.Context, undo func(context.Context) error) error {
	back, cancel := grace.Last(ctx, undoBudget)
	defer cancel()
	if err := undo(back); err != nil {
		return fmt.Errorf("put the old files back: %w", err)
	}
	watch := func(_ context.Context, u stack.Unit) error {
		err := s.survives(ctx, u)
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	read := func(ctx context.Context) error { return s.reloadUnits(ctx, watch) }
	if err := s.outlast(back, read); err != nil {
		return fmt.Errorf("reload the old files: %w", err)
	}
	return nil
}

func names(targets []string) string {
	var out []string
	for _, t := range targets {
		out = append(out, path.Base(t))
	}
	return strings.Join(out, ", ")
}

// reloadUnits has the units that stay read the files that are there now. What cannot
// confirm it is watched.
func (s *service) reloadUnits(ctx context.Context, watch func(context.Context, stack.Unit) error) error {
	for _, id := range s.good {
		u, err := s.Eyes.Inspect(ctx, id)
		if err != nil {
			return err
		}
		if err := s.test(ctx, u); err != nil {
			return err
		}
		if isNginx(s.svc.Ext.Reload) {
			_, err = s.Gateway(u).Reload(ctx)
		} else {
			err = s.signal(ctx, u, watch)
		}
		if err != nil {
			return fmt.Errorf("reload %s: %w", u.Name, err)
		}
	}
	return nil
}

// isNginx tells whether nginx's own confirmation (new worker processes) can be
// asked for.
func isNginx(r *stack.Reload) bool { return len(r.Test) > 0 && path.Base(r.Test[0]) == "nginx" }

func (s *service) test(ctx context.Context, u stack.Unit) error {
	how := s.svc.Ext.Reload
	if len(how.Test) == 0 {
		return nil
	}
	stdout, stderr, exit, err := s.Shell.Exec(ctx, u.ID, how.Test, nil)
	if err != nil {
		return fmt.Errorf("test the new files in %s: %w", u.Name, err)
	}
	if exit != 0 {
		return fmt.Errorf("the new files do not pass %q in %s: %s", strings.Join(how.Test, " "), u.Name, s.Stack.HideSecrets(strings.TrimSpace(stdout+stderr)))
	}
	return nil
}

// signal reloads any other service, and has it watched.
func (s *service) signal(ctx context.Context, u stack.Unit, watch func(context.Context, stack.Unit) error) error {
	kill := []string{"sh", "-c", `kill -s "$1" 1`, "shiksha", strings.TrimPrefix(s.svc.Ext.Reload.Signal, "SIG")}
	_, stderr, exit, err := s.Shell.Exec(ctx, u.ID, kill, nil)
	if err != nil {
		return err
	}
	if exit != 0 {
		return fmt.Errorf("send %s to its first process: %s", s.svc.Ext.Reload.Signal, strings.TrimSpace(stderr))
	}
	return watch(ctx, u)
}

// survives watches a unit that got a signal.
func (s *service) survives(ctx context.Context, u stack.Unit) error {
	if err := grace.Pause(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	return s.stays(ctx, u)
}

// swapBefore puts changed live files in place for a service that gets new units;
// they read them when they start. Units that stay are reloaded before, as long as a
// failed test can put the old files back. Should the batch fail, the way back to
// the release before puts its files there again.
func (s *service) swapBefore(ctx context.Context) error {
	if len(s.good) > 0 && s.svc.Ext.Reload != nil {
		return s.reload(ctx)
	}
	if _, err := s.Live.Swap(ctx, s.svc); err != nil {
		return fmt.Errorf("put the new files in place: %w", err)
	}
	return nil
}
