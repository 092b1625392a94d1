package rollout_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// illWorker is a shop whose worker is ill for another reason than what it is made of: its
// broker is gone, so that no unit of it gets well.
func illWorker(state stack.State, health stack.UnitHealth) *fakeHost {
	worker := unit("worker", 1, "worker")
	worker.State, worker.Health = state, health
	h := newFakeHost(unit("api", 1, "v2"), worker)
	h.onStart = func(u *stack.Unit) {
		if u.Service == "worker" {
			u.State, u.Health = state, health
		}
	}
	return h
}

// backToV1 plans a rollback of what a host runs, which the ledger knows as verified, and
// carries it out.
func backToV1(t *testing.T, h *fakeHost, edit func(*stack.Stack)) (rollout.Report, *event.Recorder, error) {
	t.Helper()
	st := &stack.Stack{Name: "shop", Project: &types.Project{}, Order: []string{"worker", "api"}, Services: map[string]*stack.Service{
		"worker": {Name: "worker", Replicas: 1, Hash: "worker"}, "api": {Name: "api", Replicas: 1, Hash: "v1"}}}
	edit(st)
	seen, err := h.Observe(t.Context(), "shop")
	require.NoError(t, err)
	p := plan.Make(plan.Input{Desired: st, Observed: seen, Back: true, Whole: true, Past: map[string]plan.Past{"api": {Hash: "v2"}, "worker": {Hash: "worker"}}})
	p.Reverse()
	told := &event.Recorder{}
	r := &rollout.Rollout{Stack: st, Units: h, Eyes: h, Ground: h, Shell: h, Live: h, Sink: told,
		How: rollout.How{Guard: held}}
	report, err := r.Run(t.Context(), p)
	return report, told, err
}

// What does not even start is not passed over where the one before is of the release that
// is gone back from: the two would be at work side by side.
func TestWhatWasIllIsNotLeftOfAnotherRelease(t *testing.T) {
	t.Parallel()
	h := illWorker(stack.Restarting, stack.NoHealth)
	h.fail["start worker"] = errBroken
	report, _, err := backToV1(t, h, func(st *stack.Stack) { st.Services["worker"].Hash = "v1" })
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, "worker", report.Failed)
	assert.Equal(t, "restart worker-1", h.log[len(h.log)-1])
}

// said is all that was told, a line each.
func said(told *event.Recorder) string {
	var out []string
	for _, e := range told.Events() {
		out = append(out, e.Text)
	}
	return strings.Join(out, "\n")
}

// What is ill for days, and as it is to be, keeps nobody from going back with the rest. It
// is tried once, after the rest, and else is as it was: the engine goes on with its tries.
func TestWhatWasIllBeforeIsPassedOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state  stack.State
		health stack.UnitHealth
		edit   func(*stack.Stack)
		want   string
		runs   string
	}{
		"restarting": {stack.Restarting, stack.NoHealth, func(*stack.Stack) {}, `
			create api 1
			stop api-1
			start api-101
			remove api-1
			stop worker-1
			create worker 1
			start worker-102
			stop worker-102
			remove worker-102
			restart worker-1`, "worker-1"},
		"unhealthy": {stack.Running, stack.HealthFailed, func(*stack.Stack) {}, `
			create api 1
			stop api-1
			start api-101
			remove api-1
			create worker 1
			stop worker-1
			start worker-102
			stop worker-102
			restart worker-1
			remove worker-102`, "worker-1"},
		"ended": {stack.Exited, stack.NoHealth, func(*stack.Stack) {}, `
			create api 1
			stop api-1
			start api-101
			remove api-1
			stop worker-1
			create worker 1
			start worker-102
			stop worker-102
			remove worker-102
			let go worker-1`, "worker-1"},
		"needed": {stack.Restarting, stack.NoHealth, func(st *stack.Stack) {
			st.Services["api"].DependsOn = []stack.Dependency{{Service: "worker"}}
		}, `
			stop worker-1
			create worker 1
			start worker-101
			stop worker-101
			remove worker-101
			restart worker-1
			create api 1
			stop api-1
			start api-103
			remove api-1`, "worker-1"},
		"of another configuration": {stack.Restarting, stack.NoHealth, func(st *stack.Stack) { st.Services["worker"].Hash = "v1" }, `
			create api 1
			stop api-1
			start api-101
			remove api-1
			stop worker-1
			create worker 1
			start worker-102
			remove worker-1`, "worker-102"},
		"unhealthy, of another configuration": {stack.Running, stack.HealthFailed, func(st *stack.Stack) { st.Services["worker"].Hash = "v1" }, `
			create api 1
			stop api-1
			start api-101
			remove api-1
			create worker 1
			stop worker-1
			start worker-102
			remove worker-1`, "worker-102"},
		"of a fixed name": {stack.Restarting, stack.NoHealth, func(st *stack.Stack) { st.Services["worker"].ContainerName = "worker" }, `
			create api 1
			stop api-1
			start api-101
			remove api-1
			stop worker-1
			remove worker-1
			create worker 1
			start worker-102`, "worker-102"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := illWorker(c.state, c.health)
				report, told, err := backToV1(t, h, c.edit)
				require.NoError(t, err)
				assert.Equal(t, lines(c.want), h.log)
				assert.Empty(t, report.Failed)
				assert.Contains(t, said(told), "worker stays ill, as it was before this release, which goes on without it")
				assert.Contains(t, h.units, c.runs)
				assert.Len(t, h.units, 2)
			})
		})
	}
}

// A unit that crashes again and again runs between two crashes: found so, it is started
// again too.
func TestWhatWasIllIsStartedAgainBetweenTwoCrashes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := illWorker(stack.Restarting, stack.NoHealth)
		h.onLook = func(u *stack.Unit, _ int) {
			if u.ID == "worker-1" {
				u.State = stack.Running
			}
		}
		_, _, err := backToV1(t, h, func(*stack.Stack) {})
		require.NoError(t, err)
		assert.Equal(t, "restart worker-1", h.log[len(h.log)-1])
	})
}

// What was ill and answered all the same is not passed over where the way back of its try
// fails: it is not as it was, and somebody has to look.
func TestWhatWasIllIsNotPassedOverWhereItIsNotAsItWas(t *testing.T) {
	t.Parallel()
	for _, act := range []string{"restart worker-1", "remove worker-102", "stop worker-102"} {
		t.Run(act, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := illWorker(stack.Running, stack.HealthFailed)
				h.fail[act] = errBroken
				report, _, err := backToV1(t, h, func(*stack.Stack) {})
				require.ErrorIs(t, err, errBroken)
				require.ErrorContains(t, err, "; while going back: ")
				assert.Equal(t, "worker", report.Failed)
				assert.Empty(t, report.Ill)
			})
		})
	}
}
