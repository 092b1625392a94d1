package swarm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// timed is a task of the service api or of its gateway: when it is made, takes
// requests and is ended, 0 for never.
type timed struct {
	service, hash      string
	made, serves, ends time.Duration
}

// fakeRolling is a manager whose updater keeps to a timetable. Task i has the
// address 10.0.0.i.
type fakeRolling struct {
	client.APIClient
	began     time.Time
	timetable []timed
	completed time.Duration
	gateways  map[string]*fakeNginx
}

// fakeNginx is one unit of the gateway; it fails once its task has ended.
type fakeNginx struct {
	away                func() bool
	pinned, loaded      []string
	stands, reloads     int
	clearedAfterReloads int
}

func (g *fakeNginx) act() error {
	if g.away() {
		return errors.New("no such container")
	}
	return nil
}

func (g *fakeNginx) Set(_ context.Context, _ string, addrs []string) error {
	g.pinned = addrs
	return g.act()
}

func (g *fakeNginx) Clear(context.Context, string) error {
	g.pinned, g.clearedAfterReloads = nil, g.reloads
	return g.act()
}

func (g *fakeNginx) Reload(context.Context) (gateway.Generation, error) {
	g.loaded = g.pinned
	g.reloads++
	return gateway.Generation{}, g.act()
}

func (g *fakeNginx) StandIn(context.Context, string, string, time.Duration) error {
	g.stands++
	return g.act()
}

// gateway is the nginx of a unit.
func (f *fakeRolling) gateway(u stack.Unit) Gateway {
	g := f.gateways[u.ID]
	if g == nil {
		var i int
		_, _ = fmt.Sscanf(u.ID, "t%d", &i)
		g = &fakeNginx{away: func() bool { return f.task(i).DesiredState != swarm.TaskStateRunning }}
		f.gateways[u.ID] = g
	}
	return g
}

func (f *fakeRolling) task(i int) swarm.Task {
	at, now := f.timetable[i], time.Since(f.began)
	state, desired := "running", "running"
	switch {
	case at.ends > 0 && now >= at.ends:
		state, desired = "shutdown", "shutdown"
	case now < at.serves:
		state = "starting"
	}
	t := taskOf(i, fmt.Sprintf("%d %s %s %s", i, at.hash, state, desired))
	t.ServiceID = at.service
	t.NetworksAttachments = []swarm.NetworkAttachment{{Network: swarm.Network{Spec: swarm.NetworkSpec{Annotations: swarm.Annotations{Name: "shop_front"}}},
		Addresses: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", i))}}}
	return t
}

func (f *fakeRolling) service(name string) swarm.Service {
	replicas := uint64(2)
	svc := swarm.Service{ID: name, Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "shop_" + name},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}}}
	if name == "api" {
		svc.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateUpdating}
		if time.Since(f.began) >= f.completed {
			svc.UpdateStatus.State = swarm.UpdateStateCompleted
		}
	}
	return svc
}

func (f *fakeRolling) ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error) {
	return client.ServiceListResult{Items: []swarm.Service{f.service("api"), f.service("nginx")}}, nil
}

func (f *fakeRolling) ServiceInspect(context.Context, string, client.ServiceInspectOptions) (client.ServiceInspectResult, error) {
	return client.ServiceInspectResult{Service: f.service("api")}, nil
}

func (f *fakeRolling) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	var out client.TaskListResult
	for i, at := range f.timetable {
		if time.Since(f.began) >= at.made {
			out.Items = append(out.Items, f.task(i))
		}
	}
	return out, nil
}

func (f *fakeRolling) ServiceRemove(context.Context, string, client.ServiceRemoveOptions) (client.ServiceRemoveResult, error) {
	return client.ServiceRemoveResult{}, nil
}

func (f *fakeRolling) TaskInspect(context.Context, string, client.TaskInspectOptions) (client.TaskInspectResult, error) {
	return client.TaskInspectResult{}, errdefs.ErrNotFound
}

func (f *fakeRolling) NodeList(context.Context, client.NodeListOptions) (client.NodeListResult, error) {
	return client.NodeListResult{}, nil
}

func (f *fakeRolling) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{Items: []network.Summary{}}, nil
}

// rolling is a change of api from tasks 0 and 1 to tasks 2 and 3, with the given tasks
// of its gateway.
func rolling(step plan.Step, gateways ...timed) (*fakeRolling, *change) {
	const ms = time.Millisecond
	m := &fakeRolling{began: time.Now(), completed: 2 * time.Second, gateways: map[string]*fakeNginx{}, timetable: append([]timed{
		{"api", "old", 0, 0, 600 * ms}, {"api", "old", 0, 0, 1600 * ms},
		{"api", "new", 200 * ms, 500 * ms, 0}, {"api", "new", 800 * ms, 1500 * ms, 0},
	}, gateways...)}
	before := m.service("api")
	step.Service = "api"
	return m, &change{
		Swarm: &Swarm{Host: Host{API: m, Sink: event.Discard, Gateway: m.gateway}, where: map[string]string{}},
		st:    &stack.Stack{Name: "shop"}, svc: &stack.Service{Name: "api", Replicas: 2, Update: stack.Update{FailureAction: stack.Rollback}, Ext: stack.Extension{Gateway: "nginx"}}, step: step,
		how:  Order{Guard: func(context.Context) error { return nil }},
		span: func(string, string) func() { return func() {} },
		id:   "api", before: &before, goal: goal{hash: "new", replicas: 2},
	}
}

// rolls follows the change and tells how long that was.
func rolls(t *testing.T, step plan.Step, gateways ...timed) (*fakeRolling, time.Duration) {
	t.Helper()
	m, c := rolling(step, gateways...)
	follow, err := c.openTraffic(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.watch(t.Context(), follow))
	took := time.Since(m.began)
	require.NoError(t, follow.close(t.Context()))
	return m, took
}

// A gateway that comes up while its service rolls has resolved names that are gone a
// moment later: it is led to the tasks that serve at the end.
func TestAGatewayThatComesUpInARollout(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		gateways []timed
		last     string // of the gateway's tasks
	}{
		"there all along":              {[]timed{{"nginx", "g", 0, 0, 0}}, "t4"},
		"starting when the step began": {[]timed{{"nginx", "g", 0, 700 * ms, 0}}, "t4"},
		"another in its place":         {[]timed{{"nginx", "g", 0, 0, 400 * ms}, {"nginx", "g", 400 * ms, 1100 * ms, 0}}, "t5"},
		"only once all have switched":  {[]timed{{"nginx", "g", 0, 0, 400 * ms}, {"nginx", "g", 400 * ms, 1900 * ms, 0}}, "t5"},
		"after the update":             {[]timed{{"nginx", "g", 0, 0, 400 * ms}, {"nginx", "g", 400 * ms, 9 * time.Second, 0}}, "t5"},
		"one of two":                   {[]timed{{"nginx", "g", 0, 0, 0}, {"nginx", "g", 0, 0, 400 * ms}, {"nginx", "g", 400 * ms, 1900 * ms, 0}}, "t6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, took := rolls(t, plan.Step{Action: plan.Surge}, c.gateways...)
				require.Contains(t, m.gateways, c.last)
				for id, g := range m.gateways {
					if g.away() {
						continue
					}
					assert.Equal(t, []string{"10.0.0.2", "10.0.0.3"}, g.loaded, id)
					assert.Positive(t, g.stands, "%s: somebody stands in", id)
					assert.Empty(t, g.pinned, id)
					assert.Equal(t, g.reloads, g.clearedAfterReloads, id)
				}
				assert.Less(t, took, 10*time.Second)
			})
		})
	}
}

// One that never comes up does not fail the service behind it, and one that was there
// is not waited for when it does not even start.
func TestAGatewayThatDoesNotComeUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, took := rolls(t, plan.Step{Action: plan.Surge}, timed{"nginx", "g", 0, time.Hour, 0})
		assert.Empty(t, m.gateways)
		assert.Less(t, took, comesUp+5*time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		_, took := rolls(t, plan.Step{Action: plan.Surge})
		assert.Less(t, took, 3*time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		m, took := rolls(t, plan.Step{Action: plan.Create}, timed{"nginx", "g", 0, time.Second, 0})
		assert.Empty(t, m.gateways, "others come up beside it")
		assert.Less(t, took, 3*time.Second)
	})
}

// Whatever a release begins with, somebody stands in as soon as addresses are pinned:
// Swarm goes on when it is killed.
func TestSomebodyStandsInWhereverTasksArePinned(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]plan.Step{
		"surge": {Action: plan.Surge}, "heal": {Action: plan.Heal}, "gate": {Action: plan.Gate}, "leftovers": {Action: plan.Surge, Leftovers: []string{"t9"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, _ := rolls(t, step, timed{"nginx", "g", 0, 0, 0})
				assert.Equal(t, []string{"10.0.0.2", "10.0.0.3"}, m.gateways["t4"].loaded)
				assert.Equal(t, 1, m.gateways["t4"].stands)
			})
		})
	}
}

// A new service that is taken away again leaves no pins behind.
func TestANewServiceThatFailsLeavesNoPins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, c := rolling(plan.Step{Action: plan.Create}, timed{"nginx", "g", 0, 0, 0})
		c.before = nil
		follow, err := c.openTraffic(t.Context())
		require.NoError(t, err)
		require.NoError(t, c.watch(t.Context(), follow))
		require.NotEmpty(t, m.gateways["t4"].pinned)
		require.NoError(t, c.undo(t.Context(), follow))
		assert.Empty(t, m.gateways["t4"].pinned)
	})
}
