package swarm

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeNodes is a manager of a service that runs on every node.
type fakeNodes struct {
	fakeManager
	service  swarm.Service
	tasks    []swarm.Task
	networks []network.Summary
}

func (f *fakeNodes) ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error) {
	return client.ServiceListResult{Items: []swarm.Service{f.service}}, nil
}

func (f *fakeNodes) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	return client.TaskListResult{Items: f.tasks}, nil
}

func (f *fakeNodes) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{Items: f.networks}, nil
}

// agent is a Swarm of m1, w1 and w2 on which a service runs, with tasks of w2 as taskOf reads them.
func agent(mode swarm.ServiceMode, onW2 ...string) (*Swarm, *fakeNodes) {
	s := newSwarm(true)
	f := &fakeNodes{fakeManager: *s.API.(*fakeManager)}
	f.service = stateWith("").service
	f.service.Spec.Name, f.service.Spec.Mode = "shop_agent", mode
	f.service.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Labels: map[string]string{hashLabel: "new"}}
	add := func(node, text string) {
		t := taskOf(len(f.tasks), text)
		t.NodeID, t.CreatedAt = node, time.Now().Add(time.Duration(len(f.tasks)-60)*time.Second)
		f.tasks = append(f.tasks, t)
	}
	add("id-m1", "0 new running")
	add("id-w1", "0 new running")
	for _, text := range onW2 {
		add("id-w2", text)
	}
	s.Host = Host{API: f, Sink: event.Discard}
	return s, f
}

var onEveryNode = swarm.ServiceMode{Global: &swarm.GlobalService{}}

// What a restart policy allows no further try leaves no task that is wanted: on every node
// nothing else tells that there is one missing.
func TestObserveWhatIsTriedNoMore(t *testing.T) {
	t.Parallel()
	again := []string{"0 new failed shutdown", "0 new failed shutdown: task: non-zero exit (1)"}
	for name, c := range map[string]struct {
		mode   swarm.ServiceMode
		onW2   []string
		change func(f *fakeNodes)
		gaveUp bool
	}{
		"failed as often as it may":       {onEveryNode, again, nil, true},
		"ended with 0":                    {onEveryNode, []string{"0 new complete shutdown"}, nil, true},
		"tried again":                     {onEveryNode, append(again, "0 new ready ready"), nil, false},
		"of another release":              {onEveryNode, []string{"0 old failed shutdown"}, nil, false},
		"a new one failed beside the old": {onEveryNode, []string{"0 new running", "0 new failed shutdown"}, nil, false},
		"drained":                         {onEveryNode, []string{"0 new shutdown shutdown"}, nil, false},
		"its node is paused":              {onEveryNode, again, func(f *fakeNodes) { f.nodes[2].Spec.Availability = swarm.NodeAvailabilityPause }, false},
		"its node is away":                {onEveryNode, again, func(f *fakeNodes) { f.nodes[2].Status.State = swarm.NodeStateDown }, false},
		"its node is not meant": {onEveryNode, again, func(f *fakeNodes) {
			f.service.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.role == manager"}}
		}, false},
		"one that is counted": {swarm.ServiceMode{Replicated: &swarm.ReplicatedService{}}, again, nil, false},
	} {
		s, f := agent(c.mode, c.onW2...)
		if c.change != nil {
			c.change(f)
		}
		seen, err := s.Observe(t.Context(), "shop")
		require.NoError(t, err)
		var gone []stack.Unit
		for _, u := range seen.Units["agent"] {
			assert.Equal(t, c.mode.Global != nil, u.Global, name)
			if u.GivenUp {
				gone = append(gone, u)
			}
		}
		assert.Equal(t, c.gaveUp, len(gone) == 1, name)
		if len(gone) > 0 {
			assert.Equal(t, "w2", gone[0].Node)
			assert.Equal(t, stack.Exited, gone[0].State)
		}
	}
}

// The first task on a node that joined is on its way; one after another that failed is not
// the node's coming.
func TestObserveANodeThatJoins(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		onW2 []string
		age  time.Duration
		want bool
	}{
		"pulls its image":       {[]string{"0 new preparing"}, time.Minute, true},
		"starts":                {[]string{"0 new starting"}, time.Minute, true},
		"is active again":       {[]string{"0 new shutdown shutdown", "0 new preparing"}, time.Minute, true},
		"runs":                  {[]string{"0 new running"}, time.Minute, false},
		"takes no task":         {[]string{"0 new pending: no suitable node (insufficient resources)"}, time.Minute, false},
		"fails again and again": {[]string{"0 new failed shutdown: exit 1", "0 new starting"}, time.Minute, false},
		"never gets it well":    {[]string{"0 new starting"}, time.Hour, false},
	} {
		s, f := agent(onEveryNode, c.onW2...)
		f.tasks[len(f.tasks)-1].CreatedAt = time.Now().Add(-c.age)
		seen, err := s.Observe(t.Context(), "shop")
		require.NoError(t, err)
		units := seen.Units["agent"]
		require.Len(t, units, 3, name)
		joining := 0
		for _, u := range units {
			if u.Joining {
				joining++
			}
		}
		assert.Equal(t, map[bool]int{true: 1}[c.want], joining, name)
	}
}

// Swarm tries again what it has given up only where it is asked for new tasks.
func TestForceWhatIsTriedNoMore(t *testing.T) {
	t.Parallel()
	s, f := agent(onEveryNode)
	f.tasks = []swarm.Task{taskOf(0, "0 new failed shutdown")}
	c := &change{Swarm: s, svc: &stack.Service{Name: "agent", Hash: "new", Global: true}, before: &f.service, step: plan.Step{Action: plan.Create}}
	assert.Equal(t, uint64(1), c.force(f.tasks))
	c.step.Action = plan.Scale
	assert.Equal(t, uint64(0), c.force(f.tasks), "others of it serve")
	c.step.Action, c.svc.Global = plan.Create, false
	assert.Equal(t, uint64(0), c.force(f.tasks), "Swarm goes on with those that are counted")
	c.svc.Global = true
	f.tasks = append(f.tasks, taskOf(1, "0 new pending"))
	c.step.Action = plan.Create
	assert.Equal(t, uint64(0), c.force(f.tasks), "on its way")
}

// Which networks no container of the manager can join is seen before one is to: those of `docker
// stack deploy`, and others that somebody made so.
func TestObserveNetworksThatAreClosed(t *testing.T) {
	t.Parallel()
	s, f := agent(onEveryNode)
	add := func(name, project, scope string, attachable bool) {
		f.networks = append(f.networks, network.Summary{Network: network.Network{Name: name, Scope: scope, Attachable: attachable, Labels: map[string]string{namespaceLabel: project}}})
	}
	add("shop_default", "shop", "swarm", false)
	add("shop_inner", "shop", "swarm", true)
	add("edge", "", "swarm", false)
	add("bridge", "", "local", false)
	seen, err := s.Observe(t.Context(), "shop")
	require.NoError(t, err)
	assert.Equal(t, []string{"edge", "shop_default"}, seen.Closed)
	assert.Equal(t, []string{"default", "inner"}, slices.Sorted(maps.Keys(seen.Networks)), "those of others are not the project's")
}

// A node that is paused keeps its task, and that is replaced only once it is active again.
func TestObserveANodeThatIsPaused(t *testing.T) {
	t.Parallel()
	for mode, want := range map[*swarm.GlobalService]int{onEveryNode.Global: 1, nil: 0} {
		m := swarm.ServiceMode{Global: mode}
		if mode == nil {
			m.Replicated = &swarm.ReplicatedService{}
		}
		s, f := agent(m, "0 new running")
		f.nodes[2].Spec.Availability = swarm.NodeAvailabilityPause
		seen, err := s.Observe(t.Context(), "shop")
		require.NoError(t, err)
		held := slices.DeleteFunc(seen.Units["agent"], func(u stack.Unit) bool { return !u.Held })
		assert.Len(t, held, want)
	}
}
