package rollout_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

// workers is a stack of one worker that is drained before it is replaced.
func workers(budget time.Duration) (*stack.Stack, *fakeHost) {
	st := &stack.Stack{Name: "shop", Order: []string{"worker"}, Services: map[string]*stack.Service{"worker": {
		Name: "worker", Replicas: 1, Hash: "new", Update: stack.Update{Order: stack.StopFirst, Parallelism: 1, FailureAction: stack.Rollback},
		Ext: stack.Extension{Idle: &stack.Idle{Stop: []string{"pause"}, Wait: []string{"idle"}, Budget: budget}},
	}}}
	return st, newFakeHost(unit("worker", 1, "old"))
}

func before(log []string) []string { return log[:min(len(log), 5)] }

func TestRun_AWorkerFinishesFirst(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Minute)
	h.fail["exec worker-1 idle"] = errors.New("it has work") // once
	_, err := carry(t.Context(), h, st)
	require.NoError(t, err)
	assert.Equal(t, []string{"create worker 1", "exec worker-1 pause", "exec worker-1 idle", "exec worker-1 idle", "stop worker-1"}, before(h.log))
}

func TestRun_AWorkerWithoutAnEndIsStoppedAfterItsBudget(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Millisecond)
	h.onAct = func(act string) {
		if strings.HasSuffix(act, " idle") {
			h.fail["exec worker-1 idle"] = errors.New("it has work")
		}
	}
	_, err := carry(t.Context(), h, st)
	require.NoError(t, err)
	assert.Contains(t, h.log, "stop worker-1")
}

func TestRun_AWorkerThatCannotBeToldIsStopped(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Minute)
	h.fail["exec worker-1 pause"] = errors.New("not found")
	_, err := carry(t.Context(), h, st)
	require.NoError(t, err)
	assert.NotContains(t, h.log, "exec worker-1 idle")
	assert.Contains(t, h.log, "stop worker-1")
}

// One that was told to take no more work begins anew when the release goes back.
func TestRun_AWorkerIsWokenWhenTheReleaseGoesBack(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Minute)
	h.fail["start worker-101"] = errors.New("broken")
	_, err := carry(t.Context(), h, st)
	require.Error(t, err)
	last := h.log[len(h.log)-1]
	all := strings.Join(h.log, "\n")
	assert.Contains(t, all, "restart worker-1", last)
	assert.Equal(t, stack.Running, h.units["worker-1"].State)
}
