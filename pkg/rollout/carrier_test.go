package rollout_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeShell loses the connection when a worker is asked whether it has work left.
type fakeShell struct {
	*fakeHost
	lost func()
}

func (s fakeShell) Exec(ctx context.Context, id string, argv []string, stdin []byte) (string, string, int, error) {
	if argv[0] == "idle" {
		s.lost()
		return "", "", 0, errors.New("connection lost")
	}
	return s.fakeHost.Exec(ctx, id, argv, stdin)
}

// carried has a Carrier quiet the worker, as a Swarm does, and gives the report.
func carried(ctx context.Context, h *fakeHost, st *stack.Stack, lost func()) (rollout.Report, error) {
	r := &rollout.Rollout{Stack: st, Eyes: h, Ground: h, Shell: fakeShell{h, lost}, Sink: event.Discard,
		How: rollout.How{Guard: func(context.Context) error { return nil }}}
	r.Carrier = func(ctx context.Context, step plan.Step) error {
		defer r.Span("replace", step.Service)()
		return r.Quiet(ctx, st.Services[step.Service], step.Old)
	}
	return r.Run(ctx, &plan.Plan{Project: st.Name, Steps: []plan.Step{{Service: "worker", Action: plan.Drain, Old: []string{"worker-1"}, Reasons: []string{"image"}}}})
}

// A worker that ended while it was asked has no work left, and its acts are timed.
func TestCarrier_AWorkerThatEndsHasNoWorkLeft(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Minute)
	report, err := carried(t.Context(), h, st, func() { h.units["worker-1"].State = stack.Exited })
	require.NoError(t, err)
	var names []string
	for _, s := range report.Spans {
		names = append(names, s.Name)
		assert.False(t, s.Ended.Before(s.Started), s.Name)
	}
	assert.Subset(t, names, []string{"drain", "replace"})
}

// One that cannot be asked and runs may have work: it is waited for within its budget.
func TestCarrier_AWorkerThatCannotBeAskedIsWaitedFor(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Millisecond)
	asked := 0
	_, err := carried(t.Context(), h, st, func() { asked++ })
	require.NoError(t, err)
	assert.GreaterOrEqual(t, asked, 1)
	assert.Equal(t, stack.Running, h.units["worker-1"].State, "to stop it is the Carrier's")
}

// Told to end, a release waits for no worker.
func TestCarrier_InterruptedWhileAWorkerFinishes(t *testing.T) {
	t.Parallel()
	st, h := workers(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := carried(ctx, h, st, cancel)
	require.ErrorIs(t, err, context.Canceled)
}

// hungShell never answers, as a worker whose broker is down.
type hungShell struct {
	*fakeHost
	asked int
}

func (s *hungShell) Exec(ctx context.Context, _ string, _ []string, _ []byte) (string, string, int, error) {
	s.asked++
	<-ctx.Done()
	return "", "", 0, context.Cause(ctx)
}

// Commands that hang use up the budget, and no more of it; the lock is looked at meanwhile.
func TestCarrier_AWorkerThatNeverAnswersIsStoppedAfterItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, h := workers(2 * time.Minute)
		shell, asked, began := &hungShell{fakeHost: h}, 0, time.Now()
		told := &event.Recorder{}
		r := &rollout.Rollout{Stack: st, Eyes: h, Ground: h, Shell: shell, Sink: told}
		r.Guard = func(context.Context) error { asked++; return nil }
		require.NoError(t, r.Quiet(t.Context(), st.Services["worker"], []string{"worker-1"}))
		took := time.Since(began)
		assert.InDelta(t, 2*time.Minute, took, float64(5*time.Second))
		assert.GreaterOrEqual(t, asked, 3, "the lock")
		assert.GreaterOrEqual(t, shell.asked, 4)
		var words string
		for _, e := range told.Events() {
			words += e.Text + "\n"
		}
		assert.Contains(t, words, `worker-1 was told to take no more work, but "pause" does not end`)
		assert.Contains(t, words, "1 of its units still have work after 2m0s")
	})
}

// A Carrier that is told to end while it takes back what failed has the hint of that.
func TestCarrier_InterruptedWhileItGoesBack(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{false, true} {
		st, h := workers(0)
		ctx, cancel := context.WithCancel(t.Context())
		r := &rollout.Rollout{Stack: st, Eyes: h, Ground: h, Sink: event.Discard, How: rollout.How{Guard: func(context.Context) error { return nil }}}
		r.Carrier = func(context.Context, plan.Step) error {
			cancel()
			if back {
				return rollout.GoingBack(errors.New("worker is ill"))
			}
			return errors.New("worker is ill")
		}
		_, err := r.Run(ctx, &plan.Plan{Project: st.Name, Steps: []plan.Step{{Service: "worker", Action: plan.Surge, Reasons: []string{"image"}}}})
		assert.Equal(t, fault.Interrupted, fault.Of(err))
		assert.Equal(t, back, rollout.HalfBack(err))
		if back {
			assert.Contains(t, fault.Hint(err), "shiksha rollback")
			assert.NotContains(t, fault.Hint(err), "run the same again")
		}
	}
}
