package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// gone takes away a service that left the stack. The gateway has a configuration
// without it by then, but workers that nginx told to go may have requests to it yet.
func (r *Rollout) gone(ctx context.Context, step plan.Step) error {
	r.say(event.Info, step.Service, "removing: %s; it ends within the stop_grace_period that it was made with", step.Reasons[0])
	waited, err := r.outlast(ctx, step)
	if err != nil {
		return err
	}
	if waited {
		if err := r.ask(ctx); err != nil {
			return err
		}
	}
	r.giveUp(step)
	return r.retire(ctx, step.Service, step.Old, stack.OwnGrace)
}

// outlast waits for the workers on their way out of every gateway that reaches the
// units: which one served them the file does not say any more.
func (r *Rollout) outlast(ctx context.Context, step plan.Step) (waited bool, err error) {
	seen, err := r.Eyes.Observe(ctx, r.Stack.Name)
	if err != nil {
		return false, err
	}
	for _, name := range r.Stack.Order {
		budget := r.longestDrain(name)
		if budget == 0 {
			continue
		}
		for _, g := range seen.Units[name] {
			if g.State != stack.Running || g.OneOff || r.outlasted[g.ID] || !reaches(g, seen, step.Old) {
				continue
			}
			waited = true
			if err := r.drainFormer(ctx, step.Service, g, budget); err != nil {
				return waited, err
			}
		}
	}
	return waited, nil
}

// longestDrain is how long the services behind a gateway let requests take, which is
// the best that is known of one that left them; 0 for what is no gateway.
func (r *Rollout) longestDrain(name string) time.Duration {
	var longest time.Duration
	for _, svc := range r.Stack.Services {
		if svc.Ext.Gateway == name {
			longest = max(longest, drainBudget(svc))
		}
	}
	how := r.Stack.Services[name].Ext.Reload
	if longest == 0 && how != nil && isNginx(how) {
		return stack.DefaultDrain // the last one behind it has gone
	}
	return longest
}

// reaches tells whether a gateway shares a network with one of the units that runs.
func reaches(g stack.Unit, seen stack.Observed, ids []string) bool {
	for _, units := range seen.Units {
		for _, u := range units {
			if slices.Contains(ids, u.ID) && u.State == stack.Running && shared(g, u) != "" {
				return true
			}
		}
	}
	return false
}

// drainFormer waits until the workers that a gateway told to go have gone, once in a
// rollout. A gateway that cannot be asked keeps no unit from going.
func (r *Rollout) drainFormer(ctx context.Context, service string, u stack.Unit, budget time.Duration) error {
	defer r.span("drain", service)()
	r.outlasted[u.ID] = true
	g := r.Gateway(u)
	gen, err := g.Latest(ctx)
	var left gateway.Left
	if err == nil {
		left, _, err = g.Drained(ctx, gen, budget)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("drain %s: %w", u.Name, context.Cause(ctx))
	case err != nil:
		r.say(event.Warning, service, "requests that it may still have through %s are not waited for: %v", u.Name, err)
	case left.Kept > 0:
		r.say(event.Warning, service, "%d connections through %s outlived the drain budget of %s; those to it end with it", left.Kept, u.Name, budget)
	}
	return nil
}
