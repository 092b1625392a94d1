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
// change; comesUp how long one that is starting is waited for at the end of it.
const patience, comesUp = 10 * time.Second, time.Minute

// standsIn is how long a gateway follows DNS by itself, should this program be killed.
const standsIn = time.Hour

// Gateway moves traffic between tasks; *gateway.Nginx is one.
type Gateway interface {
	Set(ctx context.Context, service string, addrs []string) error
	Clear(ctx context.Context, service string) error
	Reload(ctx context.Context) (gateway.Generation, error)
	StandIn(ctx context.Context, service, name string, limit time.Duration) error
}

// follower keeps a gateway on the tasks that serve, while Swarm replaces them: nginx
// resolves names only when it loads, and with dnsrr nothing stands between it and
// the tasks. A nil follower follows nothing.
type follower struct {
	*change
	gates []*gate
	// coming is set while units of the gateway are to come, starting while some of them
	// start: these may have resolved names already.
	coming, starting bool
	// on is the set that the gateways are on, ill since when they cannot be switched,
	// late since when all else has ended and one still starts.
	on        []string
	ill, late time.Time
}

type gate struct {
	unit stack.Unit
	Gateway
	// stands is set when somebody stands in there.
	stands bool
}

// openTraffic finds the gateways of a service and pins what serves now, so that a
// reload by somebody else sends no request to a task that is not well.
func (c *change) openTraffic(ctx context.Context) (*follower, error) {
	if c.svc.Ext.Gateway == "" || c.svc.Virtual {
		return nil, nil
	}
	f := &follower{change: c}
	// One that comes up beside a new service is not followed: others may come up beside
	// it that would move the same gateway at once.
	if err := f.find(ctx); err != nil || len(f.gates) == 0 && (!f.coming || c.step.Action == plan.Create) {
		return nil, err
	}
	return f, f.pin(ctx)
}

// find looks for the gateway's units as they are now. One that is new is not on the
// set that serves.
func (f *follower) find(ctx context.Context) error {
	seen, err := f.Observe(ctx, f.st.Name)
	if err != nil {
		return err
	}
	known := f.gates
	f.gates, f.coming, f.starting = nil, false, false
	for _, u := range seen.Units[f.svc.Ext.Gateway] {
		if u.State != stack.Running || u.Health == stack.HealthStart {
			f.coming, f.starting = true, f.starting || u.State == stack.Running
			continue
		}
		i := slices.IndexFunc(known, func(g *gate) bool { return g.unit.ID == u.ID })
		if i >= 0 {
			f.gates = append(f.gates, known[i])
			continue
		}
		f.gates, f.on = append(f.gates, &gate{unit: u, Gateway: f.Gateway(u)}), nil
	}
	return nil
}

// pin writes what serves now into the gateways, without a reload: they are on that
// set already, unless a release that was cut off left them somewhere else.
func (f *follower) pin(ctx context.Context) error {
	if len(f.gates) == 0 || f.before == nil || f.step.Action == plan.Heal || f.step.Action == plan.Gate || len(f.step.Leftovers) > 0 {
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
		if err := f.standIn(ctx, g); err != nil {
			return err
		}
	}
	f.on = idsOf(tasks)
	return nil
}

// standIn has somebody stand in where addresses are pinned: Swarm goes on although
// this program may be killed, and ends what is pinned.
func (f *follower) standIn(ctx context.Context, g *gate) error {
	if g.stands {
		return nil
	}
	err := g.StandIn(ctx, f.svc.Name, "tasks."+f.svc.Name, standsIn)
	g.stands = err == nil
	return err
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
	if len(ids) == 0 {
		return nil
	}
	var err error
	if len(f.gates) == 0 || f.coming {
		err = f.find(ctx)
	}
	if err == nil && len(f.gates) > 0 && !slices.Equal(ids, f.on) {
		err = f.move(ctx, s, serving)
	}
	switch {
	case err == nil && len(f.gates) == 0:
		// Whoever comes up is not on this set.
		f.on, f.ill = nil, time.Time{}
		return nil
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
	// Swarm may have put another gateway in its place, which knows no pins.
	f.gates = nil
	return nil
}

// behind tells whether a gateway is not yet on the tasks that serve: it could not be
// switched, or it starts and may have resolved names that have changed since. In front
// of a new service it has none to forget.
func (f *follower) behind(s state) bool {
	if f == nil || len(serving(s)) == 0 {
		return false
	}
	if !f.starting || f.step.Action == plan.Create {
		return !f.ill.IsZero()
	}
	if f.late.IsZero() {
		f.late = time.Now()
		f.say(event.Info, f.svc.Name, "waiting for its gateway, which starts")
	}
	if time.Since(f.late) < comesUp {
		return true
	}
	f.say(event.Warning, f.svc.Name, "its gateway still starts after %s and may send requests to tasks that are gone: reload it once it runs", comesUp)
	return false
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
		if err := f.standIn(ctx, g); err != nil {
			return err
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
	var err error
	if len(f.gates) == 0 {
		err = f.find(ctx)
	}
	if err == nil {
		err = f.clear(ctx)
	}
	if err != nil && f.find(ctx) == nil {
		err = f.clear(ctx) // of those that there are now
	}
	return err
}

func (f *follower) clear(ctx context.Context) error {
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
