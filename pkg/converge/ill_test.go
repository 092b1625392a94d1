package converge

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
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

// fakeIll is a host on which the worker is ill whatever is done, the API well.
type fakeIll struct {
	Platform
	worker, api string // their hashes; no worker for ""
	back        []string
}

func (*fakeIll) Adapt(context.Context, *stack.Stack) error { return nil }

func (*fakeIll) HoldsImages() bool { return false }

func (*fakeIll) Compare(context.Context, *stack.Stack, stack.Observed) (networks, volumes []string, err error) {
	return nil, nil, nil
}

func (f *fakeIll) Observe(context.Context, string) (stack.Observed, error) {
	units := map[string][]stack.Unit{"api": {{ID: "api-1", Hash: f.api, State: stack.Running}}}
	if f.worker != "" {
		units["worker"] = []stack.Unit{{ID: "worker-1", Hash: f.worker, State: stack.Restarting}}
	}
	return stack.Observed{Units: units}, nil
}

func (f *fakeIll) Carry(_ context.Context, p *plan.Plan, _ *stack.Stack, _ rollout.How) (report rollout.Report, err error) {
	for _, s := range p.Steps {
		switch {
		case !s.Changes():
			continue
		case s.Service == "worker" && !s.Tolerated:
			return report, errors.New("worker-2 restarted 5 times")
		case s.Tolerated:
			report.Ill = append(report.Ill, s.Service)
		}
		f.back = append(f.back, s.Service)
	}
	return report, nil
}

// illShop is a stack of which one service was ill before.
func illShop(t *testing.T) *stack.Stack {
	t.Helper()
	st := &stack.Stack{Name: "shop", Order: []string{"worker", "api"}, Services: map[string]*stack.Service{}, Project: &types.Project{Name: "shop", Services: types.Services{}}}
	for _, name := range st.Order {
		c := types.ServiceConfig{Name: name}
		c.Image = name
		st.Services[name], st.Project.Services[name] = &stack.Service{Name: name, Image: name, Replicas: 1}, c
	}
	require.NoError(t, st.Pin(map[string]string{"worker": "sha256:1", "api": "sha256:2"}))
	return st
}

// What was ill before the release is no reason that it could not be taken back, and no
// second try is made of what is as it was.
func TestAWayBackLeavesAsIllWhatWasIll(t *testing.T) {
	t.Parallel()
	st := illShop(t)
	was := st.Services["worker"].Hash
	for name, c := range map[string]struct {
		worker, failed string
		back, kind     string
		says           string
		starting       bool
	}{
		"another failed":          {was, "api", "api", "failed", "; worker was ill before", false},
		"it was only waited for":  {was, "api", "api worker", "failed", "; worker was starting before, and does not get well", true},
		"it was to be mended":     {was, "worker", "api", "failed", "released by itself with shiksha deploy --services api", false},
		"nothing is left of it":   {"", "worker", "api worker", "failed", "worker was ill before", false},
		"it is of the new stack":  {"v2", "api", "api worker", "failed", "worker was ill before", false},
		"waited for in vain":      {was, "worker", "api worker", "failed", "; worker was starting before, and does not get well", true},
		"as no release had it":    {"v0", "worker", "", "stuck", "release a version that works", true},
		"nothing failed but time": {was, "", "api", "failed", "; worker was ill before", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := illShop(t)
			if c.kind == "stuck" {
				require.NoError(t, before.Pin(map[string]string{"worker": "sha256:0", "api": "sha256:2"}))
			}
			sealed, err := before.Seal()
			require.NoError(t, err)
			on := &fakeIll{worker: c.worker, api: "v2"}
			d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, record: &release.Record{}, facts: &facts{standing: &standing{1, sealed}},
				plan:   &plan.Plan{Steps: []plan.Step{{Service: "worker", Action: plan.Create, Ill: !c.starting, Starting: c.starting}, {Service: "api", Action: plan.StopFirst}}},
				opts:   Options{Stack: st, RollbackOnFailure: true, Lock: &release.Lock{}},
				result: &Result{Rollout: &rollout.Report{Touched: []string{"worker", "api"}, Failed: c.failed}}}
			err = d.fail(t.Context(), errors.New("it is ill"))
			assert.Equal(t, c.kind, fault.Of(err).String(), "%v", err)
			assert.Equal(t, c.back, strings.Join(on.back, " "))
			assert.Contains(t, fault.Hint(err), c.says)
		})
	}
}

// Where all that a failed release touched is as ill as it was, nothing is left to take back.
func TestAWayBackWithNothingToDo(t *testing.T) {
	t.Parallel()
	st := illShop(t)
	sealed, err := st.Seal()
	require.NoError(t, err)
	on := &fakeIll{worker: st.Services["worker"].Hash, api: "v2"}
	d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, record: &release.Record{}, facts: &facts{standing: &standing{1, sealed}},
		plan:   &plan.Plan{Steps: []plan.Step{{Service: "worker", Action: plan.Create, Ill: true}}},
		opts:   Options{Stack: st, RollbackOnFailure: true, Lock: &release.Lock{}},
		result: &Result{Rollout: &rollout.Report{Touched: []string{"worker"}, Failed: "worker"}}}
	assert.Equal(t, fault.Failed, fault.Of(d.fail(t.Context(), errors.New("it is ill"))))
	assert.Empty(t, on.back)
}

// A release that passed over what was ill before is complete without it.
func TestCompleteWithoutWhatWasIll(t *testing.T) {
	t.Parallel()
	for ill, left := range map[string]string{"": "worker", "worker": "", "worker api": ""} {
		st := illShop(t)
		on := &fakeIll{worker: st.Services["worker"].Hash, api: st.Services["api"].Hash}
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, opts: Options{Stack: st},
			result: &Result{Rollout: &rollout.Report{Ill: strings.Fields(ill)}}}
		step, err := d.left(t.Context())
		require.NoError(t, err)
		assert.Equal(t, left != "", step != nil, "%q", ill)
	}
}

// A service that was ill before a run which does not pass over it is named where it failed:
// after a run that was cut off it may have been made ill by that.
func TestTheHintNamesWhatFailedAndWasIllBefore(t *testing.T) {
	t.Parallel()
	st := illShop(t)
	was, again := st.Services["worker"].Hash, ": what else changes is released by itself with shiksha deploy --services api"
	for name, c := range map[string]struct {
		unit   stack.Unit
		back   *Back
		failed string
		says   string
	}{
		"restarting":            {stack.Unit{Hash: was, State: stack.Restarting}, nil, "worker", "; worker was ill before" + again},
		"a rollback":            {stack.Unit{Hash: was, State: stack.Restarting}, &Back{}, "worker", "; worker was ill before"},
		"ended":                 {stack.Unit{Hash: was, State: stack.Exited}, nil, "worker", "; worker was ill before" + again},
		"another failed":        {stack.Unit{Hash: was, State: stack.Restarting}, nil, "api", ""},
		"it served":             {stack.Unit{Hash: was, State: stack.Running}, nil, "worker", ""},
		"it was starting":       {stack.Unit{Hash: was, State: stack.Running, Health: stack.HealthStart}, nil, "worker", ""},
		"it is another now":     {stack.Unit{Hash: "v2", State: stack.Restarting}, nil, "worker", ""},
		"somebody's command is": {stack.Unit{Hash: was, State: stack.Exited, OneOff: true}, nil, "worker", ""},
	} {
		d := &transition{facts: &facts{verified: &release.Record{Services: map[string]release.ServiceRecord{"worker": {Hash: was}}}},
			plan:   &plan.Plan{Steps: []plan.Step{{Service: "worker", Action: plan.Create}, {Service: "api", Action: plan.StopFirst}}},
			opts:   Options{Stack: st, Back: c.back},
			result: &Result{Rollout: &rollout.Report{Failed: c.failed}}}
		d.facts.observed.Units = map[string][]stack.Unit{"worker": {c.unit}}
		assert.Equal(t, c.says, d.stillIll(), name)
		d.rest = d.plan
		assert.Empty(t, d.stillIll(), "%s, and what was seen last is what the release made", name)
		d.rest, d.facts.verified = nil, nil
		assert.Empty(t, d.stillIll(), "%s, and no release was verified with it", name)
	}
}

// What was ill before is taken back where its try could not be undone: nothing of what ran
// runs, or the try beside it.
func TestAWayBackTakesBackWhatIsNotAsIllAsItWas(t *testing.T) {
	t.Parallel()
	st := illShop(t)
	units := func(states ...stack.State) (out []stack.Unit) {
		for _, state := range states {
			out = append(out, stack.Unit{ID: string(state), Hash: st.Services["worker"].Hash, State: state})
		}
		return out
	}
	for name, c := range map[string]struct {
		was, is []stack.Unit
		as      bool
	}{
		"it is":                   {units(stack.Running), units(stack.Running), true},
		"it is started again yet": {units(stack.Restarting), units(stack.Running), true},
		"it does not run":         {units(stack.Running), units(stack.Exited), false},
		"its try runs, too":       {units(stack.Running), units(stack.Running, stack.Restarting), false},
		"it did not run before":   {units(stack.Exited), units(stack.Exited), true},
		"its successor runs":      {units(stack.Exited), units(stack.Restarting), true},
	} {
		d := &transition{facts: &facts{observed: stack.Observed{Units: map[string][]stack.Unit{"worker": c.was}}},
			plan: &plan.Plan{Steps: []plan.Step{{Service: "worker", Ill: true}}}}
		assert.Equal(t, c.as, d.asIll(st, stack.Observed{Units: map[string][]stack.Unit{"worker": c.is}}, "worker"), name)
	}
}
