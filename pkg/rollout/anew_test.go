package rollout_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// startsAnew is a gateway that ends and is started again: what was pinned is gone, and
// it loads whom Docker's DNS names.
func (h *fakeHost) startsAnew(id string) {
	h.units[id].StartedAt = longAgo.Add(time.Duration(h.reloads+1) * time.Hour)
	h.reloads++
	clear(h.pinned)
	clear(h.loaded)
	for _, u := range h.units {
		if u.State == stack.Running {
			h.loaded[u.Service] = append(h.loaded[u.Service], u.Addresses["edge"])
		}
	}
}

// illUnits are new units that do not pass their gate. meanwhile happens at the first look
// at one of them, with the engine held.
func illUnits(h *fakeHost, meanwhile func()) {
	h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
	h.onLook = func(u *stack.Unit, n int) {
		if u.ID == "api-101" && n == 1 {
			meanwhile()
		}
	}
}

// A gateway that started anew has loaded the units that are being gated too: before they
// are stopped it is led to those that serve.
func TestAGatewayThatStartsAnewWhileUnitsAreGated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order       stack.Order
		parallelism int
		edit        func(h *fakeHost)
		want        string
	}{
		"a surge": {order: stack.StartFirst, want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 3
			start api-101 api-102 api-103
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			reload
			drain
			stop api-101 api-102 api-103
			remove api-101 api-102 api-103
			unpin api`},
		"a surge, and an old unit that the engine did not start again": {order: stack.StartFirst,
			edit: func(h *fakeHost) {
				h.units["api-2"].State, h.units["api-2"].Addresses = stack.Exited, map[string]string{"edge": ""}
			}, want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 3
			start api-101 api-102 api-103
			pin api 10.0.0.1 10.0.0.3
			reload
			drain
			stop api-101 api-102 api-103
			remove api-101 api-102 api-103
			unpin api`},
		"stop-first, beside others": {order: stack.StopFirst, parallelism: 1, want: `
			create api 1
			pin api 10.0.0.2 10.0.0.3
			reload
			drain
			stop api-1
			start api-101
			pin api 10.0.0.2 10.0.0.3
			reload
			drain
			stop api-101
			restart api-1
			pin api 10.0.0.102 10.0.0.2 10.0.0.3
			reload
			drain
			remove api-101
			unpin api`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := oldShop()
			illUnits(h, func() {
				if c.edit != nil {
					c.edit(h)
				}
				h.startsAnew("gateway-9")
			})
			_, err := carry(t.Context(), h, shop(c.order, c.parallelism))
			require.ErrorContains(t, err, "is unhealthy")
			assert.NotContains(t, err.Error(), "while going back")
			assert.Equal(t, lines(c.want), h.log)
		})
	}
}

// Whenever it starts anew, whether the release succeeds or fails: in the end the gateway
// is on units that run, and no batch begins or ends with it on others.
func TestAGatewayThatStartsAnewAnywhere(t *testing.T) {
	t.Parallel()
	for _, order := range []stack.Order{stack.StartFirst, stack.StopFirst} {
		for _, parallelism := range []int{0, 1, 2} {
			for _, ill := range []string{"", "api-101", "api-103"} {
				anewAnywhere(t, order, parallelism, ill)
			}
		}
	}
}

// anewAnywhere carries one release out as often as it has acts.
func anewAnywhere(t *testing.T, order stack.Order, parallelism int, ill string) {
	t.Helper()
	fresh := func() *fakeHost {
		h := oldShop()
		h.onStart = func(u *stack.Unit) {
			if u.ID == ill {
				u.Health = stack.HealthFailed
			}
		}
		return h
	}
	clean := fresh()
	_, err := carry(t.Context(), clean, shop(order, parallelism))
	require.Equal(t, ill != "", err != nil, "%v", err)
	for at := range clean.log {
		h, n := fresh(), -1
		where := fmt.Sprintf("%s %d %q: act %d", order, parallelism, ill, at)
		h.onAct = func(act string) {
			if strings.HasPrefix(act, "create") {
				onWhoRuns(t, h, where)
			}
			if n++; n != at {
				return
			}
			h.startsAnew("gateway-9")
			if verb, _, _ := strings.Cut(act, " "); verb == "pin" || verb == "reload" || verb == "drain" || verb == "unpin" {
				h.fail[act] = errBroken // it is cut short by that
			}
		}
		_, err := carry(t.Context(), h, shop(order, parallelism))
		require.Equal(t, ill != "", err != nil, "%s: %v", where, err)
		onWhoRuns(t, h, where)
		if t.Failed() {
			t.Log(strings.Join(h.log, "\n"))
			return
		}
	}
}

// onWhoRuns asserts that the gateway has loaded nobody who does not run.
func onWhoRuns(t *testing.T, h *fakeHost, where string) {
	t.Helper()
	var up []string
	for _, u := range h.units {
		if u.Service == "api" && u.State == stack.Running {
			up = append(up, u.Addresses["edge"])
		}
	}
	assert.NotEmpty(t, h.loaded["api"], where)
	assert.Subset(t, up, h.loaded["api"], where)
}

// One that ended serves nobody, and asks who there is when it starts; one that is gone
// cannot be led. Neither keeps units that failed.
func TestAGatewayThatIsDownOrGoneWhileUnitsAreGated(t *testing.T) {
	t.Parallel()
	h := oldShop()
	illUnits(h, func() {
		h.startsAnew("gateway-9")
		h.units["gateway-9"].State = stack.Exited
	})
	_, err := carry(t.Context(), h, shop(stack.StartFirst, 0))
	require.ErrorContains(t, err, "is unhealthy")
	assert.NotContains(t, h.log, "reload")
	assert.Len(t, h.units, 4, "the new units are gone: %v", h.log)

	h = oldShop()
	illUnits(h, func() { delete(h.units, "gateway-9") })
	_, err = carry(t.Context(), h, shop(stack.StartFirst, 0))
	require.ErrorContains(t, err, "while going back: take the pins out of gateway-9", "it is told all the same")
	assert.Len(t, h.units, 3, "the new units are gone: %v", h.log)
}

// Of several gateways the one that started anew is led, and no other: a reload has its price.
func TestOneOfTwoGatewaysStartsAnew(t *testing.T) {
	t.Parallel()
	h := oldShop()
	h.units["gateway-8"] = new(unit("gateway", 8, "same"))
	illUnits(h, func() { h.startsAnew("gateway-8") })
	_, err := follow(t, h, shop(stack.StartFirst, 0), nil,
		plan.Step{Service: "api", Action: plan.Surge, Replicas: 3, Old: []string{"api-1", "api-2", "api-3"}, Batch: 3})
	require.ErrorContains(t, err, "is unhealthy")
	assert.Equal(t, 1, strings.Count(strings.Join(h.log, "\n"), "reload"), "%v", h.log)
	onWhoRuns(t, h, "in the end")
}

// One that cannot be led keeps the new units too: it sends users to them.
func TestAGatewayThatStartedAnewAndCannotBeLed(t *testing.T) {
	t.Parallel()
	for _, order := range []stack.Order{stack.StartFirst, stack.StopFirst} {
		h := oldShop()
		illUnits(h, func() {
			h.startsAnew("gateway-9")
			h.fail["reload"] = errBroken
		})
		_, err := carry(t.Context(), h, shop(order, 2))
		require.ErrorContains(t, err, "while going back: reload gateway-9: broken on purpose")
		assert.NotContains(t, strings.Join(h.log, "\n"), "stop api-101", order)
		onWhoRuns(t, h, string(order))
	}
}

// So it is where units go at the end: those that are too many, and those that failed
// within max_failure_ratio.
func TestAGatewayThatStartsAnewWhileUnitsGoAtTheEnd(t *testing.T) {
	t.Parallel()
	api := []string{"api-1", "api-2", "api-3"}
	for at, step := range map[string]plan.Step{
		"stop api-2 api-3": {Service: "api", Action: plan.Scale, Replicas: 1, Good: api},
		"stop api-102":     {Service: "api", Action: plan.Surge, Replicas: 3, Old: api, Batch: 3},
	} {
		h, st := oldShop(), shop(stack.StartFirst, 0)
		st.Services["api"].Update.MaxFailureRatio = 0.5
		h.onStart = func(u *stack.Unit) {
			if u.ID == "api-102" {
				u.Health = stack.HealthFailed
			}
		}
		h.onAct = func(act string) {
			if act == at {
				h.startsAnew("gateway-9")
			}
		}
		_, err := follow(t, h, st, nil, step)
		require.NoError(t, err)
		assert.Greater(t, lastIndex(h.log, "reload"), lastIndex(h.log, at), "%v", h.log)
		onWhoRuns(t, h, at)
	}
}
