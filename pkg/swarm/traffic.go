package swarm

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// patience is how long a gateway may fail to be switched before that fails the
// change.
const patience = 10 * time.Second

// Gateway moves traffic between tasks; *gateway.Nginx is one.
type Gateway interface {
	Set(ctx context.Context, service string, addrs []string) error
	Clear(ctx context.Context, service string) error
	Reload(ctx context.Context) (gateway.Generation, error)
}

// follower keeps a gateway on the tasks that serve, while Swarm replaces them: nginx
// resolves names only when it loads, and with dnsrr nothing stands between it and
// the tasks. A nil follower follows nothing.
type follower struct {
	*change
	gates []gate
	// on is the set that the gateways are on, ill since when they cannot be switched.
	on  []string
	ill time.Time
}

type gate struct {
	unit stack.Unit
	Gateway
}

// openTraffic finds the gateways of a service and pins what serves now, so that a
// reload by somebody else sends no request to a task that is not well.
func (c *change) openTraffic(ctx context.Context) (*follower, error) {
	name := c.svc.Ext.Gateway
	if name == "" || c.svc.Virtual {
		return nil, nil
	}
	seen, err := c.Observe(ctx, c.st.Name)
	if err != nil {
		return nil, err
	}
	f := &follower{change: c}
	for _, u := range seen.Units[name] {
		if u.State == stack.Running {
			f.gates = append(f.gates, gate{u, c.Gateway(u)})
		}
	}
	if len(f.gates) == 0 {
		return nil, nil
	}
	return f, f.pin(ctx)
}

// pin writes what serves now into the gateways, without a reload: they are on that
// set already, unless a release that was cut off left them somewhere else.
func (f *follower) pin(ctx context.Context) error {
	if f.before == nil || f.step.Action == plan.Heal || len(f.step.Leftovers) > 0 {
		return nil
	}
	s, err := f.state(ctx)
	if err != nil {
		return err
	}
	tasks := serving(s)
	if len(tasks) == 0 {
		return nil
	}
	defer f.span("pin", f.svc.Name)()
	for _, g := range f.gates {
		addrs, err := addresses(g.unit, s.service, tasks)
		if err != nil {
			return err
		}
		if err := g.Set(ctx, f.svc.Name, addrs); err != nil {
			return fmt.Errorf("pin the serving tasks in %s: %w", g.unit.Name, err)
		}
	}
	f.on = idsOf(tasks)
	return nil
}

func idsOf(tasks []swarm.Task) []string {
	var ids []string
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	return ids
}

// sync moves the gateways to the tasks that serve at this moment. Where none does,
// they stay where they are.
func (f *follower) sync(ctx context.Context, s state) error {
	if f == nil {
		return nil
	}
	serving := serving(s)
	ids := idsOf(serving)
	if len(ids) == 0 || slices.Equal(ids, f.on) {
		return nil
	}
	err := f.move(ctx, s, serving)
	switch {
	case err == nil:
		f.on, f.ill = ids, time.Time{}
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case f.ill.IsZero():
		f.ill = time.Now()
		f.say(event.Warning, f.svc.Name, "%v; trying again", err)
	case time.Since(f.ill) > patience:
		return err
	}
	return nil
}

// move writes the addresses into each gateway and has it load them.
func (f *follower) move(ctx context.Context, s state, tasks []swarm.Task) error {
	defer f.span("switch", f.svc.Name)()
	for _, g := range f.gates {
		addrs, err := addresses(g.unit, s.service, tasks)
		if err != nil {
			return err
		}
		if err := g.Set(ctx, f.svc.Name, addrs); err != nil {
			return fmt.Errorf("switch %s: %w", g.unit.Name, err)
		}
		if _, err := g.Reload(ctx); err != nil {
			return fmt.Errorf("reload %s: %w", g.unit.Name, err)
		}
	}
	f.say(event.Info, f.svc.Name, "its gateway sends requests to %d tasks", len(tasks))
	return nil
}

// close takes the pins out: Swarm's DNS says the same now.
func (f *follower) close(ctx context.Context) error {
	if f == nil {
		return nil
	}
	defer f.span("unpin", f.svc.Name)()
	for _, g := range f.gates {
		if err := g.Clear(ctx, f.svc.Name); err != nil {
			return fmt.Errorf("take the pins out of %s: %w", g.unit.Name, err)
		}
	}
	return nil
}

// serving are the tasks that may get requests: they run, are well, and Swarm does not
// want to end them.
func serving(s state) []swarm.Task {
	return slices.DeleteFunc(current(s.service, s.tasks), func(t swarm.Task) bool {
		return t.Status.State != swarm.TaskStateRunning || t.DesiredState != swarm.TaskStateRunning
	})
}

// addresses are those of tasks on a network that the gateway shares.
func addresses(g stack.Unit, svc swarm.Service, tasks []swarm.Task) ([]string, error) {
	var out []string
	for _, t := range tasks {
		u := unitOf(svc, t, nil)
		var shared []string
		for name := range u.Addresses {
			if _, ok := g.Addresses[name]; ok && name != "ingress" {
				shared = append(shared, name)
			}
		}
		if len(shared) == 0 {
			return nil, fmt.Errorf("%s shares no network with its gateway %s", u.Name, g.Name)
		}
		slices.Sort(shared)
		out = append(out, u.Addresses[shared[0]])
	}
	slices.Sort(out)
	return out, nil
}
