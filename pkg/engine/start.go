package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/stack"
)

// Start starts exactly the units ids of a service, whichever others are stopped.
// Configs and secrets with content are put into them first and post_start hooks
// run after, as Compose does; it does not wait for dependencies nor for health. A
// unit that runs already is left alone.
//
// The SDK starts unit after unit. Where a service has no post_start hook, which
// needs its unit running, and no published port, which Compose serialises because
// of port ranges, the engine gets the starts at once.
func (e *Engine) Start(ctx context.Context, s *stack.Stack, service string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	st := &starting{Engine: e, ids: ids, seen: map[string]bool{}}
	if err := st.run(ctx, s, service); err != nil {
		return fmt.Errorf("start %s: %w", service, err)
	}
	return nil
}

// starting is one Start under way.
type starting struct {
	*Engine
	ids []string

	mu   sync.Mutex
	seen map[string]bool
}

func (st *starting) run(ctx context.Context, s *stack.Stack, service string) error {
	project, err := narrow(s, service)
	if err != nil {
		return err
	}
	svc := project.Services[service]
	svc.DependsOn = nil
	svc.SetScale(len(st.ids))
	project.Services[service] = svc

	atOnce, begun := errgroup.WithContext(ctx)
	v := &view{APIClient: st.api, sees: st.sees}
	v.start = func(ctx context.Context, id string, o client.ContainerStartOptions) error {
		if !slices.Contains(st.ids, id) {
			return refused("start container", id)
		}
		if len(svc.PostStart) > 0 || len(svc.Ports) > 0 {
			return st.begin(ctx, id, o)
		}
		atOnce.Go(func() error { return st.begin(begun, id, o) })
		return nil
	}
	sdk, done, err := st.sdk(v, concurrency)
	if err != nil {
		return err
	}
	defer done()
	err = sdk.Start(ctx, s.Name, api.StartOptions{Project: project, Services: []string{service}})
	if err := errors.Join(err, atOnce.Wait()); err != nil {
		return err
	}
	for _, id := range st.ids {
		if !st.seen[id] {
			return fmt.Errorf("%s is gone", st.unit(id))
		}
	}
	return nil
}

// sees shows the units to start and those that run: whether some run decides if
// Compose runs pre_start hooks.
func (st *starting) sees(c container.Summary) (container.Summary, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if slices.Contains(st.ids, c.ID) {
		st.seen[c.ID] = true
		return c, true
	}
	return c, c.State == container.StateRunning
}

func (st *starting) begin(ctx context.Context, id string, o client.ContainerStartOptions) error {
	if _, err := st.api.ContainerStart(ctx, id, o); err != nil {
		return fmt.Errorf("%s: %w", st.unit(id), err)
	}
	return nil
}

// Restart starts stopped units again as they were, all at once. Configs and
// secrets that Start put into them are still there, and the restart policy that Stop
// has held is theirs again. A running unit is left alone. Those of ended had ended by
// themselves before they were stopped: their policy is theirs again, and no more.
func (e *Engine) Restart(ctx context.Context, ids []string, ended ...string) error {
	return e.each(slices.Concat(ids, ended), func(id string) error {
		if err := e.letGo(ctx, id); slices.Contains(ended, id) {
			return err
		}
		if _, err := e.api.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
			return fmt.Errorf("start %s again: %w", e.unit(id), err)
		}
		return nil
	})
}

// each runs f for all ids at once and joins their errors: one unit's failure does
// not keep the others from being acted on.
func (e *Engine) each(ids []string, f func(id string) error) error {
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { errs[i] = f(id) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
