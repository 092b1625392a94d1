package rollout_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

var errBroken = errors.New("broken on purpose")

// shop is an API of three units behind a gateway.
func shop(order stack.Order, parallelism int) *stack.Stack {
	return &stack.Stack{Name: "shop", Project: &types.Project{}, Order: []string{"api", "gateway"}, Services: map[string]*stack.Service{
		"api": {Name: "api", Replicas: 3, Hash: "new", StopGrace: stack.DefaultGrace,
			Update: stack.Update{Order: order, Parallelism: parallelism, FailureAction: stack.Rollback},
			Ext:    stack.Extension{Gateway: "gateway"}},
		"gateway": {Name: "gateway", Replicas: 1, Hash: "same", HostPorts: []string{"80/tcp"}},
	}}
}

func oldShop() *fakeHost {
	return newFakeHost(unit("api", 1, "old"), unit("api", 2, "old"), unit("api", 3, "old"), unit("gateway", 9, "same"))
}

// carry plans from what the fake host runs and carries the plan out.
func carry(ctx context.Context, h *fakeHost, st *stack.Stack) (rollout.Report, error) {
	return guarded(ctx, h, st, func(context.Context) error { return nil })
}

// guarded is carry with a lock.
func guarded(ctx context.Context, h *fakeHost, st *stack.Stack, guard func(context.Context) error) (rollout.Report, error) {
	for _, s := range st.Services {
		s.Pinned = "image"
	}
	seen, _ := h.Observe(ctx, "shop")
	st.Project = &types.Project{}
	p := plan.Make(plan.Input{Desired: st, Observed: seen})
	r := &rollout.Rollout{
		Stack: st, Units: h, Eyes: h, Ground: h, Shell: h, Live: h, Sink: event.Discard,
		Gateway: h.gateway,
		How:     rollout.How{Guard: guard},
	}
	return r.Run(ctx, p)
}

func TestRun_Acts(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		stack *stack.Stack
		edit  func(h *fakeHost)
		want  string
		fails bool
	}{
		"surge of all": {stack: shop(stack.StartFirst, 0), want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 3
			start api-101 api-102 api-103
			pin api 10.0.0.101 10.0.0.102 10.0.0.103
			reload
			drain
			stop api-1 api-2 api-3
			remove api-1 api-2 api-3
			unpin api`},
		"surge one by one keeps the whole serving set": {stack: shop(stack.StartFirst, 1), want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 1
			start api-101
			pin api 10.0.0.101 10.0.0.2 10.0.0.3
			reload
			drain
			stop api-1
			remove api-1
			create api 1
			start api-102
			pin api 10.0.0.101 10.0.0.102 10.0.0.3
			reload
			drain
			stop api-2
			remove api-2
			create api 1
			start api-103
			pin api 10.0.0.101 10.0.0.102 10.0.0.103
			reload
			drain
			stop api-3
			remove api-3
			unpin api`},
		"stop-first takes units out of the gateway before they stop": {stack: shop(stack.StopFirst, 2), want: `
			create api 2
			pin api 10.0.0.3
			reload
			drain
			stop api-1 api-2
			start api-101 api-102
			pin api 10.0.0.101 10.0.0.102 10.0.0.3
			reload
			drain
			remove api-1 api-2
			create api 1
			pin api 10.0.0.101 10.0.0.102
			reload
			drain
			stop api-3
			start api-103
			pin api 10.0.0.101 10.0.0.102 10.0.0.103
			reload
			drain
			remove api-3
			unpin api`},
		"a unit that never becomes well goes, nobody noticed": {stack: shop(stack.StartFirst, 0), fails: true,
			edit: func(h *fakeHost) { h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed } },
			want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 3
			start api-101 api-102 api-103
			stop api-101 api-102 api-103
			remove api-101 api-102 api-103
			unpin api`},
		"a create that fails changes nothing": {stack: shop(stack.StartFirst, 0), fails: true,
			edit: func(h *fakeHost) { h.fail["create"] = errBroken },
			want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 3
			unpin api`},
		"a reload that fails goes back to the old set": {stack: shop(stack.StartFirst, 0), fails: true,
			edit: func(h *fakeHost) { h.fail["reload"] = errBroken },
			want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 3
			start api-101 api-102 api-103
			pin api 10.0.0.101 10.0.0.102 10.0.0.103
			reload
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			reload
			drain
			stop api-101 api-102 api-103
			remove api-101 api-102 api-103
			unpin api`},
		"a stop that fails brings the old units back": {stack: shop(stack.StartFirst, 0), fails: true,
			edit: func(h *fakeHost) { h.fail["stop api-1 "] = errBroken },
			want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			create api 3
			start api-101 api-102 api-103
			pin api 10.0.0.101 10.0.0.102 10.0.0.103
			reload
			drain
			stop api-1 api-2 api-3
			restart api-1 api-2 api-3
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			reload
			drain
			stop api-101 api-102 api-103
			remove api-101 api-102 api-103
			unpin api`},
		"stop-first brings the old unit back when the new one dies": {stack: shop(stack.StopFirst, 0), fails: true,
			edit: func(h *fakeHost) { h.onStart = func(u *stack.Unit) { u.State, u.ExitCode = stack.Exited, 1 } },
			want: `
			create api 3
			stop api-1 api-2 api-3
			start api-101 api-102 api-103
			stop api-101 api-102 api-103
			restart api-1 api-2 api-3
			pin api 10.0.0.104 10.0.0.105 10.0.0.106
			reload
			drain
			remove api-101 api-102 api-103
			unpin api`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := oldShop()
			if c.edit != nil {
				c.edit(h)
			}
			_, err := carry(t.Context(), h, c.stack)
			assert.Equal(t, c.fails, err != nil, "%v", err)
			assert.Equal(t, lines(c.want), h.log)
		})
	}
}

func lines(text string) []string {
	var out []string
	for l := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		out = append(out, strings.TrimSpace(l))
	}
	return out
}

// Whatever act fails, the old units or the new ones serve afterwards, and the
// gateway has loaded exactly units that run.
func TestRun_AnyFailureLeavesAServingSet(t *testing.T) {
	t.Parallel()
	for _, order := range []stack.Order{stack.StartFirst, stack.StopFirst} {
		for _, parallelism := range []int{0, 1, 2} {
			clean := oldShop()
			_, err := carry(t.Context(), clean, shop(order, parallelism))
			require.NoError(t, err)
			for at := range clean.log {
				h := oldShop()
				n := -1
				h.onAct = func(act string) {
					if n++; n == at {
						h.fail[act] = errBroken
					}
				}
				_, err := carry(t.Context(), h, shop(order, parallelism))
				require.Error(t, err, "%s %d: act %d %q", order, parallelism, at, clean.log[at])
				serves(t, h, clean.log[at])
			}
		}
	}
}

// serves asserts that whoever the gateway has loaded for the API runs; without a
// loaded set Docker's DNS decides, and three units of it run.
func serves(t *testing.T, h *fakeHost, at string) {
	t.Helper()
	var up []string
	for _, u := range h.units {
		if u.Service == "api" && u.State == stack.Running {
			up = append(up, u.Addresses["edge"])
		}
	}
	assert.GreaterOrEqual(t, len(up), 3, "after a failure at %q", at)
	assert.Subset(t, up, h.loaded["api"], "after a failure at %q", at)
}

func TestRun_CancelledBeforeAStepChangesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := oldShop()
	_, err := carry(ctx, h, shop(stack.StartFirst, 0))
	assert.Equal(t, fault.Interrupted, fault.Of(err))
	assert.Empty(t, h.log)
}

// A cancelled release starts no new act but the one that keeps a service up.
func TestRun_CancelledAnywhereKeepsServing(t *testing.T) {
	t.Parallel()
	for _, order := range []stack.Order{stack.StartFirst, stack.StopFirst} {
		clean := oldShop()
		_, err := carry(t.Context(), clean, shop(order, 0))
		require.NoError(t, err)
		for at := range clean.log {
			h := oldShop()
			ctx, cancel := context.WithCancel(t.Context())
			n := -1
			h.onAct = func(string) {
				if n++; n == at {
					cancel()
				}
			}
			_, err := carry(ctx, h, shop(order, 0))
			cancel()
			if err != nil {
				assert.Equal(t, fault.Interrupted, fault.Of(err))
			}
			serves(t, h, clean.log[at])
		}
	}
}

func TestRun_SwitchesAgainWhenSomebodyElseReloads(t *testing.T) {
	t.Parallel()
	h := oldShop()
	h.meddle = 2 // the second look: between the switch and the retirement
	_, err := carry(t.Context(), h, shop(stack.StartFirst, 0))
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(strings.Join(h.log, "\n"), "reload"), "switched once more")
	assert.Less(t, lastIndex(h.log, "reload"), lastIndex(h.log, "stop api-1 api-2 api-3"), "before the old units stop")
}

// A restart clears what is pinned and cuts the act short that it falls into. The
// act is done again; it is no failure of the release.
func TestRun_SwitchesAgainWhenSomebodyElseRestarts(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"pin api 10.0.0.1 ", "pin api 10.0.0.101 ", "reload", "drain", "unpin"} {
		h := oldShop()
		h.fail[cut] = errBroken
		h.onAct = func(act string) {
			if strings.HasPrefix(act, cut) && h.fail[cut] != nil {
				h.pinned = map[string][]string{}
				h.units["gateway-9"].StartedAt = time.Now()
			}
		}
		_, err := carry(t.Context(), h, shop(stack.StartFirst, 0))
		require.NoError(t, err, "restarted at %q", cut)
		serves(t, h, cut)
		assert.Equal(t, []string{"10.0.0.101", "10.0.0.102", "10.0.0.103"}, h.loaded["api"])
		assert.Less(t, lastIndex(h.log, "reload"), lastIndex(h.log, "stop api-1 api-2 api-3"), "before the old units stop")
	}
}

// A gateway that was started a moment ago may not be up yet, though it has its new
// start: that is no fault of the release either.
func TestRun_SwitchesAgainWhenTheGatewayIsComingUp(t *testing.T) {
	t.Parallel()
	h := oldShop()
	h.onAct = func(act string) {
		if act == "reload" && h.reloads == 0 && h.starting == 0 {
			h.fail[act], h.starting = errBroken, 2
		}
	}
	_, err := carry(t.Context(), h, shop(stack.StartFirst, 0))
	require.NoError(t, err)
	serves(t, h, "reload")
	assert.Equal(t, []string{"10.0.0.101", "10.0.0.102", "10.0.0.103"}, h.loaded["api"])
}

// Whoever lost the lock does nothing more, undoing included: what is there may be
// another release's by now.
func TestRun_WithoutTheLockNothingIsUndone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		order    stack.Order
		lost     string // the act during which the lock is lost
		fails    bool   // and which fails
		lastDone string
	}{
		{stack.StartFirst, "create api", true, "create api"},
		{stack.StartFirst, "start api-101", false, "start api-101"},
		{stack.StartFirst, "start api-101", true, "start api-101"},
		{stack.StartFirst, "drain", false, "drain"},
		{stack.StartFirst, "stop api-1 ", true, "stop api-1 "},
		{stack.StopFirst, "create api", false, "create api"},
		{stack.StopFirst, "start api-101", false, "start api-101"},
	} {
		h := oldShop()
		var lost error
		h.onAct = func(act string) {
			if strings.HasPrefix(act, c.lost) && lost == nil {
				lost = fault.New(fault.Interrupted, "", "", "the lock is lost")
				if c.fails {
					h.fail[c.lost] = errBroken
				}
			}
		}
		_, err := guarded(t.Context(), h, shop(c.order, 0), func(context.Context) error { return lost })
		assert.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
		assert.True(t, strings.HasPrefix(h.log[len(h.log)-1], c.lastDone), "%+v: %v", c, h.log)
	}
}

func lastIndex(log []string, act string) int {
	for i := len(log) - 1; i >= 0; i-- {
		if log[i] == act {
			return i
		}
	}
	return -1
}

func TestRun_GivesUpWhenTheGatewayNeverHoldsStill(t *testing.T) {
	t.Parallel()
	h := oldShop()
	h.meddle = -1
	_, err := carry(t.Context(), h, shop(stack.StartFirst, 0))
	require.ErrorContains(t, err, "again and again")
	serves(t, h, "meddling")
	assert.NotContains(t, h.log, "stop api-1 api-2 api-3")
}

func TestRun_ContinueGoesOnWithTheOthers(t *testing.T) {
	t.Parallel()
	st := shop(stack.StartFirst, 0)
	st.Services["api"].Update.FailureAction = stack.Continue
	st.Services["gateway"].Hash = "changed"
	h := oldShop()
	h.fail["create api"] = errBroken
	report, err := carry(t.Context(), h, st)
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, []string{"api", "gateway"}, report.Touched)
}
