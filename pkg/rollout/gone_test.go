package rollout_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// gone is the step of a service that left the stack.
func gone(service string, ids ...string) plan.Step {
	return plan.Step{Service: service, Action: plan.Remove, Old: ids, Reasons: []string{"not in the Compose file any more"}}
}

func TestRemove_WaitsForTheGatewaysOldWorkers(t *testing.T) {
	t.Parallel()
	const waits = `
		look at old workers
		drain
		stop search-4
		remove search-4`
	const goes = `
		stop search-4
		remove search-4`
	for name, c := range map[string]struct {
		edit   func(h *fakeHost, st *stack.Stack)
		want   string
		budget time.Duration
		told   string
	}{
		"by default": {want: waits, budget: stack.DefaultDrain},
		"as long as any service behind the gateway asks for": {edit: func(_ *fakeHost, st *stack.Stack) {
			st.Services["api"].Ext.Drain = 2 * time.Minute
		}, want: waits, budget: 2 * time.Minute},
		"at a gateway that serves nobody else any more": {edit: func(_ *fakeHost, st *stack.Stack) {
			st.Services["api"].Ext.Gateway = ""
			st.Services["gateway"].Ext.Reload = &stack.Reload{Signal: "SIGHUP", Test: []string{"nginx", "-t"}}
		}, want: waits, budget: stack.DefaultDrain},
		"no longer than the budget": {edit: func(h *fakeHost, _ *stack.Stack) { h.cut = 2 },
			want: waits, budget: stack.DefaultDrain, told: "2 connections through gateway-9 outlived the drain budget of 30s; those to it end with it"},
		"not where the gateway does not reach it": {edit: func(h *fakeHost, _ *stack.Stack) {
			h.units["search-4"].Addresses = map[string]string{"inner": "10.1.0.4"}
		}, want: goes},
		"not where it does not run":      {edit: func(h *fakeHost, _ *stack.Stack) { h.units["search-4"].State = stack.Exited }, want: goes},
		"not for a gateway that is down": {edit: func(h *fakeHost, _ *stack.Stack) { h.units["gateway-9"].State = stack.Exited }, want: goes},
		"not where nothing is a gateway": {edit: func(_ *fakeHost, st *stack.Stack) { st.Services["api"].Ext.Gateway = "" }, want: goes},
		"not for one that cannot be looked at": {edit: func(h *fakeHost, _ *stack.Stack) { h.fail["look"] = errBroken }, want: `
			look at old workers
			stop search-4
			remove search-4`, told: "requests that it may still have through gateway-9 are not waited for: broken on purpose"},
		"not for one that restarts meanwhile": {edit: func(h *fakeHost, _ *stack.Stack) { h.fail["drain"] = errBroken }, want: waits,
			budget: stack.DefaultDrain, told: "requests that it may still have through gateway-9 are not waited for: broken on purpose"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, st := newFakeHost(unit("api", 1, "new"), unit("search", 4, "old"), unit("gateway", 9, "same")), shop(stack.StartFirst, 0)
			if c.edit != nil {
				c.edit(h, st)
			}
			told, err := follow(t, h, st, nil, gone("search", "search-4"))
			require.NoError(t, err)
			assert.Equal(t, lines(c.want), h.log)
			if c.budget > 0 {
				assert.Equal(t, []time.Duration{c.budget}, h.budgets)
			}
			var said []string
			for _, e := range told.Events() {
				said = append(said, e.Text)
			}
			if c.told != "" {
				assert.Contains(t, said, c.told)
			}
		})
	}
}

func TestRemove_SeveralServicesWaitOnce(t *testing.T) {
	t.Parallel()
	h := newFakeHost(unit("search", 4, "old"), unit("suggest", 5, "old"), unit("gateway", 9, "same"))
	_, err := follow(t, h, shop(stack.StartFirst, 0), nil, gone("search", "search-4"), gone("suggest", "suggest-5"))
	require.NoError(t, err)
	assert.Equal(t, lines(`
		look at old workers
		drain
		stop search-4
		remove search-4
		stop suggest-5
		remove suggest-5`), h.log)
}

// Nobody knows any more what the file gave it; its container does.
func TestRemove_HasTheTimeThatItWasMadeWith(t *testing.T) {
	t.Parallel()
	h := newFakeHost(unit("worker", 4, "old"))
	told, err := follow(t, h, shop(stack.StartFirst, 0), nil, gone("worker", "worker-4"))
	require.NoError(t, err)
	assert.Equal(t, []time.Duration{stack.OwnGrace}, h.graces)
	var said []string
	for _, e := range told.Events() {
		said = append(said, e.Text)
	}
	assert.Contains(t, said, "removing: not in the Compose file any more; it ends within the stop_grace_period that it was made with")
}

func TestRemove_CancelledWhileItWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	h := newFakeHost(unit("search", 4, "old"), unit("gateway", 9, "same"))
	h.fail["drain"] = errBroken
	h.onAct = func(act string) {
		if act == "drain" {
			cancel(errors.New("told to end"))
		}
	}
	_, err := followUntil(ctx, h, shop(stack.StartFirst, 0), nil, gone("search", "search-4"))
	require.ErrorContains(t, err, "told to end")
	assert.Equal(t, fault.Interrupted, fault.Of(err))
	assert.Equal(t, lines("look at old workers\ndrain"), h.log, "it is not stopped")
}

func TestRemove_TheLockIsLostWhileItWaits(t *testing.T) {
	t.Parallel()
	h, held := newFakeHost(unit("search", 4, "old"), unit("gateway", 9, "same")), true
	h.onAct = func(act string) { held = held && act != "drain" }
	_, err := follow(t, h, shop(stack.StartFirst, 0), func(r *rollout.Rollout) {
		r.Guard = func(context.Context) error {
			if !held {
				return errBroken
			}
			return nil
		}
	}, gone("search", "search-4"))
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, lines("look at old workers\ndrain"), h.log, "it is not stopped")
}

// Several units beside each other, and beside their successors, keep in a volume without a
// name what each of them alone needs: it goes with them, or each release would leave some.
// What one unit alone has there may be all there is.
func TestRun_WhatSeveralUnitsKeepWithoutANameGoesWithThem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order         stack.Order
		run, replicas int
		want          string
	}{
		"three":             {stack.StartFirst, 3, 3, "api-1 api-2 api-3"},
		"one":               {stack.StartFirst, 1, 1, ""},
		"one becomes three": {stack.StartFirst, 1, 3, ""},
		"three become one":  {stack.StartFirst, 3, 1, ""},
		"they stop first":   {stack.StopFirst, 3, 3, ""},
	} {
		h := newFakeHost(unit("gateway", 9, "same"))
		for n := 1; n <= c.run; n++ {
			u := unit("api", n, "old")
			h.units[u.ID] = &u
		}
		st := shop(c.order, 0)
		st.Services["api"].Replicas = c.replicas
		_, err := carry(t.Context(), h, st)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, strings.Join(h.scrapped, " "), name)
		assert.Nil(t, h.units["api-1"], name)
	}
}
