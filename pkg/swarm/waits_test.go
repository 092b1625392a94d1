package swarm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeFullSwarm is a manager with an old task that takes a while to end, and a new one that
// waits for a node until then and a while more. Why it waits is written down once, as Swarm
// does: nothing of the task changes meanwhile.
type fakeFullSwarm struct {
	client.APIClient
	began       time.Time
	ends, waits time.Duration
	// away is when the manager does not answer, for a second.
	away time.Duration
}

func (f *fakeFullSwarm) ServiceInspect(context.Context, string, client.ServiceInspectOptions) (client.ServiceInspectResult, error) {
	if since := time.Since(f.began); f.away > 0 && since >= f.away && since < f.away+time.Second {
		return client.ServiceInspectResult{}, errors.New("EOF")
	}
	return client.ServiceInspectResult{Service: stateWith("").service}, nil
}

func (f *fakeFullSwarm) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	old, fresh := "1 old running shutdown", "1 new pending: no suitable node"
	if time.Since(f.began) >= f.ends {
		old = "1 old shutdown shutdown"
	}
	if time.Since(f.began) >= f.ends+f.waits {
		fresh = "1 new running"
	}
	return client.TaskListResult{Items: stateWith("", old, fresh).tasks}, nil
}

// A task that no node takes fails the release within a time of its own, by our clock. Room that
// an old task has yet is waited for as long as that may take to end.
func TestATaskThatNoNodeTakes(t *testing.T) {
	t.Parallel()
	const s, never = time.Second, time.Hour
	for name, c := range map[string]struct {
		manager fakeFullSwarm
		fails   time.Duration
	}{
		"never":                         {fakeFullSwarm{waits: never}, 45 * s},
		"a while":                       {fakeFullSwarm{waits: 40 * s}, 0},
		"once the old one has ended":    {fakeFullSwarm{ends: 110 * s}, 0},
		"not even then":                 {fakeFullSwarm{ends: 110 * s, waits: never}, 155 * s},
		"of an old one on a node lost":  {fakeFullSwarm{ends: never}, 165 * s},
		"of a manager that was away":    {fakeFullSwarm{waits: never, away: 30 * s}, 76 * s},
		"a while, and the manager went": {fakeFullSwarm{waits: 60 * s, away: 30 * s}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := c.manager
				m.began = time.Now()
				change := &change{Swarm: &Swarm{Host: Host{API: &m, Sink: event.Discard}}, step: plan.Step{Service: "api"}, id: "s",
					svc: &stack.Service{Name: "api", StopGrace: 2 * time.Minute}, how: Order{Guard: func(context.Context) error { return nil }},
					span: func(string, string) func() { return func() {} }, goal: goal{hash: "new", replicas: 1}}
				err := change.watch(t.Context(), nil)
				if c.fails == 0 {
					require.NoError(t, err)
					return
				}
				require.ErrorContains(t, err, "no node takes task 1: no suitable node")
				assert.InDelta(t, c.fails.Seconds(), time.Since(m.began).Seconds(), 1)
			})
		})
	}
}

// What no node takes is told of tasks of this change alone.
func TestWhoWaitsForANode(t *testing.T) {
	t.Parallel()
	s := stateWith("", "1 old pending: no suitable node")
	s.waits = map[string]time.Duration{"t0": time.Hour}
	require.NoError(t, goal{hash: "new"}.unplaced(s))
	require.Error(t, goal{hash: "old"}.unplaced(s))
	s.tasks[0].Status.State = swarm.TaskStateAssigned
	require.NoError(t, goal{hash: "old"}.unplaced(s))
}
