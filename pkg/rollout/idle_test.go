package rollout_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
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

// What a worker prints when it is told to take no more work may be a secret, its own or that
// of the release it is of.
func TestRun_AWorkerThatCannotBeToldPrintsNoSecret(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Minute)
	st.Services["worker"].Environment = map[string]string{"BROKER_PASSWORD": "new-one"}
	st.Follows([]string{"old-one"})
	h.fail["exec worker-1 pause"] = errors.New("cannot log in with old-one or new-one")
	told := &event.Recorder{}
	r := &rollout.Rollout{Stack: st, Eyes: h, Ground: h, Shell: h, Sink: told}
	require.NoError(t, r.Quiet(t.Context(), st.Services["worker"], []string{"worker-1"}))
	assert.Contains(t, said(told), "cannot log in with *** or ***")
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

// A gateway that is restarted while workers finish has read Docker's DNS again, with
// those that are about to stop in it.
func TestRun_AGatewayThatRestartsWhileWorkersFinishIsSwitchedAgain(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]plan.Step{
		"stop first": {Service: "api", Action: plan.Drain, Replicas: 3, Batch: 1, Old: []string{"api-1", "api-2", "api-3"}},
		"surge":      {Service: "api", Action: plan.Surge, Replicas: 3, Batch: 3, Old: []string{"api-1", "api-2", "api-3"}},
		"fewer":      {Service: "api", Action: plan.Scale, Replicas: 2, Good: []string{"api-2", "api-3", "api-1"}},
	} {
		h, st := oldShop(), shop(stack.StopFirst, 1)
		st.Services["api"].Ext.Idle = &stack.Idle{Stop: []string{"pause"}, Wait: []string{"idle"}, Budget: time.Minute}
		h.onAct = func(act string) {
			switch {
			case act == "exec api-1 idle":
				h.pinned, h.units["gateway-9"].StartedAt = map[string][]string{}, time.Now()
				_, _ = fakeGateway{fakeHost: h, unit: "gateway-9"}.Reload(t.Context())
				assert.Contains(t, h.loaded["api"], "10.0.0.1", name)
			case strings.HasPrefix(act, "stop api-1"):
				assert.NotEmpty(t, h.loaded["api"], name)
				assert.NotContains(t, h.loaded["api"], "10.0.0.1", name)
			}
		}
		_, err := follow(t, h, st, nil, step)
		require.NoError(t, err, name)
		assert.NotContains(t, h.units, "api-1", name)
	}
}
