package rollout_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
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

// deaf is a worker whose command to take no more work ends with a code and words, for the
// first times that it is run; work is what its idle ends with.
type deaf struct {
	*fakeHost
	times, exit int
	work        func() int
	then        func()
}

func (d *deaf) Exec(ctx context.Context, id string, argv []string, stdin []byte) (string, string, int, error) {
	_, _, _, _ = d.fakeHost.Exec(ctx, id, argv, stdin)
	if argv[0] == "idle" {
		return "", "", d.work(), nil
	}
	if d.times--; d.times < 0 {
		return "", "", 0, nil
	}
	if d.then != nil {
		d.then()
	}
	return "", "No nodes replied", d.exit, nil
}

// quieted gives what was run in a worker that does not hear, what was told, and how long it took.
func quieted(t *testing.T, budget time.Duration, make func(*fakeHost) *deaf) (log []string, told string, took time.Duration) {
	st, h := workers(budget)
	sink, began := &event.Recorder{}, time.Now()
	r := &rollout.Rollout{Stack: st, Eyes: h, Ground: h, Shell: make(h), Sink: sink}
	r.Guard = func(context.Context) error { return nil }
	require.NoError(t, r.Quiet(t.Context(), st.Services["worker"], []string{"worker-1"}))
	return h.log, said(sink), time.Since(began)
}

// A worker in the middle of a task may be what does not hear: it is told again, and waited for.
func TestQuiet_AWorkerThatDoesNotHearIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, told, took := quieted(t, time.Minute, func(h *fakeHost) *deaf {
			began := time.Now()
			return &deaf{fakeHost: h, times: 2, exit: 69, work: func() int {
				if time.Since(began) < 20*time.Second {
					return 1
				}
				return 0
			}}
		})
		assert.InDelta(t, 20*time.Second, took, float64(2*time.Second))
		pauses := 0
		for _, act := range log {
			if act == "exec worker-1 pause" {
				pauses++
			}
		}
		assert.Equal(t, 3, pauses, "twice in vain, then no more")
		assert.Contains(t, told, "worker-1 could not be told to take no more work (exit code 69 No nodes replied); it is told again, and waited for at most 1m0s")
		assert.Equal(t, 1, strings.Count(told, "could not be told"))
		assert.Contains(t, told, "worker-1 was told to take no more work at last")
	})
}

// One that never hears is waited for while it has work, and not beyond the budget; one
// without work is told a few times.
func TestQuiet_AWorkerThatNeverHearsIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		idle  int
		least time.Duration
		most  time.Duration
	}{
		"with work":    {1, time.Minute, 65 * time.Second},
		"without work": {0, time.Second, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, told, took := quieted(t, time.Minute, func(h *fakeHost) *deaf {
				return &deaf{fakeHost: h, times: 1000, exit: 1, work: func() int { return c.idle }}
			})
			assert.GreaterOrEqual(t, took, c.least, name)
			assert.LessOrEqual(t, took, c.most, name)
			assert.Equal(t, c.idle == 1, strings.Contains(told, "1 of its units still have work after 1m0s"), name)
		})
	}
}

// No budget is spent on one that cannot hear: it lacks the command, has not come up, or has ended.
func TestQuiet_AWorkerThatCannotHearIsNotWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		exit   int
		before func(*stack.Unit)
		then   func(*fakeHost)
		told   bool
	}{
		"no such command": {exit: 127, told: true},
		"not executable":  {exit: 126, told: true},
		"starting":        {exit: 1, before: func(u *stack.Unit) { u.Health = stack.HealthStart }, told: true},
		"ended":           {exit: 137, then: func(h *fakeHost) { h.units["worker-1"].State = stack.Exited }},
		"restarting":      {exit: 137, then: func(h *fakeHost) { h.units["worker-1"].State = stack.Restarting }},
		"removed":         {exit: 137, then: func(h *fakeHost) { delete(h.units, "worker-1") }},
	} {
		synctest.Test(t, func(t *testing.T) {
			log, told, took := quieted(t, time.Minute, func(h *fakeHost) *deaf {
				if c.before != nil {
					c.before(h.units["worker-1"])
				}
				d := &deaf{fakeHost: h, times: 1000, exit: c.exit, work: func() int { return 1 }}
				if c.then != nil {
					d.then = func() { c.then(h) }
				}
				return d
			})
			assert.Zero(t, took, name)
			assert.Equal(t, []string{"exec worker-1 pause"}, log, name)
			assert.Equal(t, c.told, strings.Contains(told, "it is stopped within its stop_grace_period"), name)
			assert.NotContains(t, told, "no work left", name)
		})
	}
}

func TestRun_AWorkerThatCannotBeToldIsStopped(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Minute)
	h.fail["exec worker-1 pause"] = errors.New("not found") // once
	_, err := carry(t.Context(), h, st)
	require.NoError(t, err)
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
