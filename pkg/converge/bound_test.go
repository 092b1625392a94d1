package converge

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeBound is a host whose worker a failed release replaced, and whose API it did not
// come to.
type fakeBound struct {
	fakeIll
	worker stack.State // "" for running
	api    stack.Unit
}

func (f *fakeBound) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"worker": {{ID: "worker-2", Hash: "v2", State: cmp.Or(f.worker, stack.Running)}}, "api": {f.api}}}, nil
}

func (f *fakeBound) Carry(_ context.Context, p *plan.Plan, _ *stack.Stack, _ rollout.How) (rollout.Report, error) {
	for _, s := range p.Steps {
		if s.Changes() {
			f.back = append(f.back, s.Service)
		}
	}
	return rollout.Report{}, nil
}

// A way back takes along what restarts with what it replaces, although the release failed
// before it came to that: its link leads to a unit that is gone.
func TestAWayBackTakesAlongWhatRestartsWithIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dependency stack.Dependency
		api        stack.State
		planned    plan.Action
		writes     bool
		back       string
	}{
		"linked":                        {stack.Dependency{Linked: true}, stack.Running, plan.StopFirst, false, "worker api"},
		"restarts":                      {stack.Dependency{Restart: true}, stack.Running, plan.StopFirst, false, "worker api"},
		"only needs it":                 {stack.Dependency{}, stack.Running, plan.StopFirst, false, "worker"},
		"the release left it alone":     {stack.Dependency{Linked: true}, stack.Running, plan.Unchanged, false, "worker"},
		"it does not run":               {stack.Dependency{Linked: true}, stack.Exited, plan.StopFirst, false, "worker"},
		"it writes to a newer database": {stack.Dependency{Linked: true}, stack.Running, plan.StopFirst, true, "worker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := illShop(t)
			c.dependency.Service = "worker"
			st.Services["api"].DependsOn = []stack.Dependency{c.dependency}
			sealed, err := st.Seal()
			require.NoError(t, err)
			on := &fakeBound{api: stack.Unit{ID: "api-1", Hash: st.Services["api"].Hash, State: c.api}}
			d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, record: &release.Record{}, facts: &facts{standing: &standing{1, sealed}},
				plan:   &plan.Plan{Steps: []plan.Step{{Service: "worker", Action: plan.StopFirst}, {Service: "api", Action: c.planned}}},
				opts:   Options{Stack: st, RollbackOnFailure: true, Lock: &release.Lock{}},
				result: &Result{Rollout: &rollout.Report{Touched: []string{"worker"}}}}
			if c.writes {
				d.writers = []string{"api"}
			}
			assert.Equal(t, fault.Failed, fault.Of(d.fail(t.Context(), errors.New("web is ill"))))
			assert.Equal(t, c.back, strings.Join(on.back, " "))

			on.back, on.worker = nil, stack.Exited
			d.result.Rollout.Touched = []string{"worker"}
			assert.Equal(t, fault.Failed, fault.Of(d.fail(t.Context(), errors.New("web is ill"))))
			assert.Equal(t, c.back, strings.Join(on.back, " "), "the worker has died since")
		})
	}
}
