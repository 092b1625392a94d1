package rollout_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// handsOver is a rollout in which api gives a port of the host up to the gateway, which is new,
// or search, which has left, does.
func handsOver(t *testing.T, h *fakeHost, order stack.Order, from string, cancelAt string, edits ...func(st *stack.Stack, steps []plan.Step)) error {
	t.Helper()
	h.late = true
	st := shop(order, 0)
	st.Services["api"].Replicas, st.Services["api"].Ext.Gateway = 1, ""
	steps := []plan.Step{
		{Service: "api", Action: map[stack.Order]plan.Action{stack.StartFirst: plan.Surge, stack.StopFirst: plan.StopFirst}[order], Replicas: 1, Batch: 1, Old: []string{"api-1"}},
		gone("search", "search-4"),
		{Service: "gateway", Action: plan.Create, Replicas: 1, Batch: 1},
	}
	i := slices.IndexFunc(steps, func(s plan.Step) bool { return s.Service == from })
	steps[i].Yields, steps[i].Interruption = []string{"gateway"}, "until gateway is well"
	for _, edit := range edits {
		edit(st, steps)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.onAct = func(act string) {
		if act == cancelAt {
			cancel()
		}
	}
	r := &rollout.Rollout{Stack: st, Units: h, Eyes: h, Ground: h, Shell: h, Live: h, Sink: event.Discard, Gateway: h.gateway, How: rollout.How{Guard: held}}
	_, err := r.Run(ctx, &plan.Plan{Project: "shop", Steps: steps})
	return err
}

// From when a port of the host is given up until who gets it is up nobody answers there: who is
// told to end meanwhile does not say that users are served.
func TestRun_CancelledWhileAPortIsHandedOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order stack.Order
		from  string
		at    string
		away  bool
	}{
		"before the old unit stops":       {stack.StartFirst, "api", "start api-101", false},
		"as the old unit stops":           {stack.StartFirst, "api", "stop api-1", true},
		"as it stops first":               {stack.StopFirst, "api", "stop api-1", true},
		"before it stops first":           {stack.StopFirst, "api", "create api 1", false},
		"while another goes":              {stack.StartFirst, "api", "stop search-4", true},
		"as one that left goes":           {stack.StartFirst, "search", "stop search-4", true},
		"before one that left goes":       {stack.StartFirst, "search", "remove api-1", false},
		"once one that left has gone":     {stack.StartFirst, "search", "remove search-4", true},
		"as who gets the port is to come": {stack.StartFirst, "api", "create gateway 1", true},
	} {
		h := newFakeHost(unit("api", 1, "old"), unit("search", 4, "old"))
		err := handsOver(t, h, c.order, c.from, c.at)
		require.Equal(t, fault.Interrupted, fault.Of(err), name)
		assert.Equal(t, c.away, rollout.Away(err), "%s: %v", name, err)
		said := "users are served; run the same again"
		if c.away {
			said = "users may get no answer of gateway; run the same again"
		}
		assert.True(t, strings.HasPrefix(fault.Hint(err), said), "%s: %s", name, fault.Hint(err))
	}
	h := newFakeHost(unit("api", 1, "old"), unit("search", 4, "old"))
	require.NoError(t, handsOver(t, h, stack.StartFirst, "api", ""))
}

// Who was told to end and has its old unit again, port and all, is answered there.
func TestRun_CancelledWhileAPortIsTakenBack(t *testing.T) {
	t.Parallel()
	named := func(st *stack.Stack, _ []plan.Step) { st.Services["api"].ContainerName = "the-api" }
	both := func(_ *stack.Stack, steps []plan.Step) { steps[1].Yields = []string{"gateway"} }
	batches := func(st *stack.Stack, steps []plan.Step) {
		st.Services["api"].Replicas, steps[0].Replicas, steps[0].Old = 2, 2, []string{"api-1", "api-2"}
	}
	leftOver := func(_ *stack.Stack, steps []plan.Step) {
		steps[0].Action, steps[0].Ill, steps[0].Old, steps[0].Leftovers = plan.Create, true, nil, []string{"api-1"}
	}
	turned := func(_ *stack.Stack, steps []plan.Step) { steps[0], steps[1] = steps[1], steps[0] }
	for name, c := range map[string]struct {
		order stack.Order
		ill   string // the new unit that is
		fail  string
		at    string
		edits []func(*stack.Stack, []plan.Step)
		away  string
	}{
		"as the old unit starts again":           {order: stack.StopFirst, ill: "api-101", at: "restart api-1"},
		"after that":                             {order: stack.StopFirst, ill: "api-101", at: "remove api-101"},
		"before that":                            {order: stack.StopFirst, ill: "api-101", at: "stop api-101"},
		"it does not start again":                {order: stack.StopFirst, ill: "api-101", fail: "restart api-1", at: "stop api-101", away: "api, gateway"},
		"beside the new one":                     {order: stack.StartFirst, fail: "stop api-1", at: "stop api-101"},
		"the old unit is all that there is":      {order: stack.StopFirst, at: "stop api-1", edits: []func(*stack.Stack, []plan.Step){named}},
		"the new one starts, and not the old":    {order: stack.StopFirst, at: "stop api-1", away: "gateway"},
		"the new one does not, and the old does": {order: stack.StopFirst, fail: "start api-101", at: "stop api-1"},
		"what was ill is tried again":            {order: stack.StopFirst, ill: "api-101", at: "restart api-1", edits: []func(*stack.Stack, []plan.Step){leftOver}},
		"before it is":                           {order: stack.StopFirst, ill: "api-101", at: "stop api-101", edits: []func(*stack.Stack, []plan.Step){leftOver}, away: "gateway"},
		"another has gone":                       {order: stack.StopFirst, ill: "api-101", at: "remove api-101", edits: []func(*stack.Stack, []plan.Step){both, turned}, away: "gateway"},
		"a batch before has gone":                {order: stack.StopFirst, ill: "api-102", at: "remove api-102", edits: []func(*stack.Stack, []plan.Step){batches}, away: "gateway"},
	} {
		h := newFakeHost(unit("api", 1, "old"), unit("api", 2, "old"), unit("search", 4, "old"))
		h.onStart = func(u *stack.Unit) {
			if u.ID == c.ill {
				u.Health = stack.HealthFailed
			}
		}
		if c.fail != "" {
			h.fail[c.fail] = errBroken
		}
		err := handsOver(t, h, c.order, "api", c.at, c.edits...)
		require.Equal(t, fault.Interrupted, fault.Of(err), "%s: %v", name, err)
		assert.Equal(t, c.away != "", rollout.Away(err), "%s: %v %v", name, err, h.log)
		said := "users are served; "
		if c.away != "" {
			said = "users may get no answer of " + c.away + "; "
		}
		assert.True(t, strings.HasPrefix(fault.Hint(err), said), "%s: %s %v", name, fault.Hint(err), h.log)
	}
}

// Who gets the port and was started as the release was told to end is up.
func TestRun_CancelledWhileWhoGetsAPortBackStops(t *testing.T) {
	t.Parallel()
	back := func(_ *stack.Stack, steps []plan.Step) {
		steps[2].Action, steps[2].Old = plan.StopFirst, []string{"gateway-9"}
	}
	h := newFakeHost(unit("api", 1, "old"), unit("search", 4, "old"), unit("gateway", 9, "old"))
	err := handsOver(t, h, stack.StartFirst, "api", "stop gateway-9", back)
	assert.Contains(t, fault.Hint(err), "users are served")
	assert.Equal(t, "start gateway-102", h.log[len(h.log)-1])

	h = newFakeHost(unit("api", 1, "old"), unit("search", 4, "old"), unit("gateway", 9, "old"))
	h.fail["start gateway-102"] = errBroken // the one before runs again, and has no port
	err = handsOver(t, h, stack.StartFirst, "api", "stop gateway-9", back)
	assert.Contains(t, fault.Hint(err), "users may get no answer of gateway")
	assert.Equal(t, "restart gateway-9", h.log[len(h.log)-1])
}

// Who is to have no unit, and what is left over, gives its port up as it is told to stop.
func TestRun_CancelledWhileTheLastUnitEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step plan.Step
		away bool
	}{
		"none is to be there":         {plan.Step{Service: "api", Action: plan.Scale, Good: []string{"api-1"}}, true},
		"left over":                   {plan.Step{Service: "api", Action: plan.Create, Replicas: 1, Batch: 1, Leftovers: []string{"api-1"}}, true},
		"left over beside who serves": {plan.Step{Service: "api", Action: plan.Surge, Replicas: 1, Batch: 1, Leftovers: []string{"api-1"}, Old: []string{"api-2"}}, false},
	} {
		h := newFakeHost(unit("api", 1, "old"), unit("api", 2, "old"), unit("search", 4, "old"))
		err := handsOver(t, h, stack.StopFirst, "api", "stop api-1", func(st *stack.Stack, steps []plan.Step) {
			st.Services["api"].Replicas = c.step.Replicas
			c.step.Yields, c.step.Interruption = steps[0].Yields, steps[0].Interruption
			steps[0] = c.step
		})
		require.Equal(t, fault.Interrupted, fault.Of(err), "%s: %v", name, err)
		assert.Equal(t, c.away, strings.HasPrefix(fault.Hint(err), "users may get no answer of gateway"), "%s: %s", name, fault.Hint(err))
	}
}

// Once who gets the port is up, users are served.
func TestRun_CancelledOnceAPortIsHandedOver(t *testing.T) {
	t.Parallel()
	st := &stack.Stack{Name: "shop", Order: []string{"web", "gateway", "queue"}, Services: map[string]*stack.Service{"web": {}, "gateway": {}, "queue": {}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := newFakeHost()
	r := &rollout.Rollout{Stack: st, Eyes: h, Ground: h, Sink: event.Discard, How: rollout.How{Guard: held}, Carrier: func(ctx context.Context, step plan.Step) error {
		if step.Service == "queue" {
			cancel()
			return ctx.Err()
		}
		return nil
	}}
	_, err := r.Run(ctx, &plan.Plan{Steps: []plan.Step{
		{Service: "web", Action: plan.Surge, Yields: []string{"gateway"}}, {Service: "gateway", Action: plan.Create}, {Service: "queue", Action: plan.StopFirst},
	}})
	assert.Contains(t, fault.Hint(err), "users are served")
	assert.False(t, rollout.Away(err))
}

// Two that come up side by side do not where one has the other's port.
func TestRun_APortIsGivenUpFirst(t *testing.T) {
	t.Parallel()
	h, begun := newFakeHost(), make(chan struct{})
	r := &rollout.Rollout{Stack: town([]string{"old", "new"}, nil), Eyes: h, Ground: h, Sink: event.Discard, How: rollout.How{Guard: held}, Carrier: func(_ context.Context, step plan.Step) error {
		if step.Service == "new" {
			close(begun)
			return nil
		}
		select {
		case <-begun:
			return errBroken
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	}}
	_, err := r.Run(t.Context(), &plan.Plan{Steps: []plan.Step{{Service: "old", Action: plan.Create, Yields: []string{"new"}}, {Service: "new", Action: plan.Create}}})
	require.NoError(t, err)
}
