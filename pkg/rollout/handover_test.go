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
func handsOver(t *testing.T, h *fakeHost, order stack.Order, from string, cancelAt string) error {
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
