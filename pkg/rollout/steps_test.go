package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// follow carries given steps out, as a plan that knows more than what runs would
// have them.
func follow(t *testing.T, h *fakeHost, st *stack.Stack, edit func(*rollout.Rollout), steps ...plan.Step) (*event.Recorder, error) {
	return followUntil(t.Context(), h, st, edit, steps...)
}

// followUntil is follow in a context that a test ends.
func followUntil(ctx context.Context, h *fakeHost, st *stack.Stack, edit func(*rollout.Rollout), steps ...plan.Step) (*event.Recorder, error) {
	told := &event.Recorder{}
	r := &rollout.Rollout{
		Stack: st, Units: h, Eyes: h, Ground: h, Shell: h, Live: h, Sink: told,
		Gateway: h.gateway,
		How:     rollout.How{Guard: func(context.Context) error { return nil }},
	}
	if edit != nil {
		edit(r)
	}
	_, err := r.Run(ctx, &plan.Plan{Steps: steps})
	return told, err
}

func TestScaleAndRemove(t *testing.T) {
	t.Parallel()
	api := []string{"api-1", "api-2", "api-3"}
	for name, c := range map[string]struct {
		step plan.Step
		fail string
		want string
	}{
		"fewer units, first out of the gateway": {step: plan.Step{Service: "api", Action: plan.Scale, Replicas: 1, Good: api}, want: `
			pin api 10.0.0.1
			reload
			drain
			stop api-2 api-3
			remove api-2 api-3
			unpin api`},
		"what serves nobody goes first, behind a gateway that is reloaded": {
			step: plan.Step{Service: "api", Action: plan.Heal, Replicas: 2, Good: api[:2], Leftovers: api[2:]}, want: `
			pin api 10.0.0.1 10.0.0.2
			reload
			drain
			stop api-3
			remove api-3
			unpin api`},
		"a gateway on addresses that nobody has, before the files": {
			step: plan.Step{Service: "api", Action: plan.Reload, Replicas: 3, Good: api, Files: []string{"/etc/api.yml"}, Stale: true}, want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			reload
			drain
			swap
			exec api-1 sh -c kill -s "$1" 1 shiksha HUP
			exec api-2 sh -c kill -s "$1" 1 shiksha HUP
			exec api-3 sh -c kill -s "$1" 1 shiksha HUP
			confirm api
			unpin api`},
		"and before the gate": {step: plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: api, Stale: true}, want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			reload
			drain
			unpin api`},
		"a look at what runs reloads nobody's gateway": {step: plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: api}, want: `
			unpin api`},
		"a gateway may have asked for the names of what was starting before they were there": {
			step: plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: api, Starting: true}, want: `
			pin api 10.0.0.1 10.0.0.2 10.0.0.3
			reload
			drain
			unpin api`},
		"a service that left the stack": {step: plan.Step{Service: "old-worker", Action: plan.Remove, Old: []string{"api-3"}, Reasons: []string{"not in the Compose file"}}, want: `
			look at old workers
			drain
			stop api-3
			remove api-3`},
		"a removal that fails is told": {step: plan.Step{Service: "old-worker", Action: plan.Remove, Old: []string{"api-3"}, Reasons: []string{"not in the Compose file"}},
			fail: "remove", want: `
			look at old workers
			drain
			stop api-3
			remove api-3`},
		"a stop that fails keeps the unit": {step: plan.Step{Service: "old-worker", Action: plan.Remove, Old: []string{"api-3"}, Reasons: []string{"not in the Compose file"}},
			fail: "stop", want: `
			look at old workers
			drain
			stop api-3`},
		"changed live files are there before the new units, and confirmed after": {
			step: plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 3, Old: api, Batch: 3, Files: []string{"/etc/api.yml"}}, want: `
			swap
			create api 3
			stop api-1 api-2 api-3
			start api-101 api-102 api-103
			pin api 10.0.0.101 10.0.0.102 10.0.0.103
			reload
			drain
			remove api-1 api-2 api-3
			confirm api
			unpin api`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := oldShop()
			if c.fail != "" {
				h.fail[c.fail] = errBroken
			}
			st := shop(stack.StartFirst, 0)
			st.Services["api"].Ext.Reload = &stack.Reload{Signal: "SIGHUP"}
			_, err := follow(t, h, st, nil, c.step)
			assert.Equal(t, c.fail != "", errors.Is(err, errBroken), "%v", err)
			assert.Equal(t, lines(c.want), h.log)
		})
	}
}

func TestAUnitWithAFixedNameIsRemovedBeforeItsSuccessor(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 1, Old: []string{"api-1"}, Batch: 1}
	h, st := newFakeHost(unit("api", 1, "old"), unit("gateway", 9, "same")), shop(stack.StopFirst, 1)
	st.Services["api"].ContainerName = "the-api"
	_, err := follow(t, h, st, nil, step)
	require.NoError(t, err)
	assert.Equal(t, lines(`
		stop api-1
		remove api-1
		create api 1
		start api-101
		pin api 10.0.0.101
		reload
		drain
		remove api-1
		unpin api`), h.log)
}

func TestAUnitThatListensNowhereIsNotAdmitted(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "api", Action: plan.Surge, Replicas: 3, Old: []string{"api-1", "api-2", "api-3"}, Batch: 3}
	h, st := oldShop(), shop(stack.StartFirst, 0)
	st.Services["api"].Ext.Port = 8000
	var asked []string
	_, err := follow(t, h, st, func(r *rollout.Rollout) {
		r.Dial = func(_ context.Context, addr string) error {
			if asked = append(asked, addr); addr == "10.0.0.102:8000" {
				return errBroken
			}
			return nil
		}
	}, step)
	require.ErrorContains(t, err, "the unit at 10.0.0.102 does not accept connections on port 8000")
	assert.Equal(t, []string{"10.0.0.101:8000", "10.0.0.102:8000"}, asked)
	assert.NotContains(t, h.log, "reload", "no request was sent to it")
	assert.Len(t, h.units, 4, "the old units and their gateway stay, the new ones are gone")
}

// Units of a network without IPv4 are asked and pinned at their IPv6 addresses; where they
// share one with IPv4 as well it is that, since not all that listen do so on IPv6.
func TestUnitsOfANetworkWithoutIPv4(t *testing.T) {
	t.Parallel()
	for name, networks := range map[string]struct{ addresses, gateway map[string]string }{
		"fd00::a":  {map[string]string{"edge": "fd00::a"}, map[string]string{"edge": "fd00::9"}},
		"10.0.0.7": {map[string]string{"a": "fd00::a", "edge": "10.0.0.7"}, map[string]string{"a": "fd00::9", "edge": "10.0.0.9"}},
		"fd00::b":  {map[string]string{"a": "fd00::b", "edge": "10.0.0.7"}, map[string]string{"a": "fd00::9", "front": "10.0.0.9"}},
	} {
		h, st := oldShop(), shop(stack.StartFirst, 0)
		st.Services["api"].Ext.Port = 8000
		h.units["gateway-9"].Addresses, h.units["api-1"].Addresses = networks.gateway, networks.addresses
		h.onStart = func(u *stack.Unit) { u.Addresses = networks.addresses }
		var asked []string
		_, err := follow(t, h, st, func(r *rollout.Rollout) {
			r.Dial = func(_ context.Context, addr string) error {
				asked = append(asked, addr)
				return nil
			}
		}, plan.Step{Service: "api", Action: plan.Surge, Replicas: 1, Old: []string{"api-1"}, Batch: 1})
		require.NoError(t, err, name)
		assert.Equal(t, []string{net.JoinHostPort(name, "8000")}, asked)
		assert.Contains(t, h.log, "pin api "+name)
	}
}

// A way that sshd closed says nothing about the unit.
func TestAUnitThatCannotBeSeenIsNotBlamed(t *testing.T) {
	t.Parallel()
	h, st := oldShop(), shop(stack.StartFirst, 0)
	st.Services["api"].Ext.Port = 8000
	_, err := follow(t, h, st, func(r *rollout.Rollout) {
		r.Dial = func(context.Context, string) error {
			return fmt.Errorf("sshd does not forward: %w", &ssh.OpenChannelError{Reason: ssh.Prohibited})
		}
	}, plan.Step{Service: "api", Action: plan.Surge, Replicas: 3, Old: []string{"api-1", "api-2", "api-3"}, Batch: 3})
	require.ErrorContains(t, err, "whether the unit at 10.0.0.101 accepts connections on port 8000 (x-shiksha.port) cannot be seen: sshd does not forward")
	assert.NotContains(t, err.Error(), "127.0.0.1 only")
}

// A unit that listens on 127.0.0.1 only refuses at once; silence is the way's from the host.
func TestAUnitThatTheHostCannotReach(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"dropped":         fmt.Errorf("while opening a channel on host: %w", context.DeadlineExceeded),
		"nobody is there": &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "No route to host"},
		"refused":         &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, st := oldShop(), shop(stack.StartFirst, 0)
			st.Services["api"].Ext.Port = 8000
			_, err := follow(t, h, st, func(r *rollout.Rollout) {
				r.Dial = func(context.Context, string) error { return failure }
			}, plan.Step{Service: "api", Action: plan.Surge, Replicas: 3, Old: []string{"api-1", "api-2", "api-3"}, Batch: 3})
			require.ErrorIs(t, err, failure)
			require.ErrorContains(t, err, "the unit at 10.0.0.101 does not accept connections on port 8000 (x-shiksha.port) although it is healthy")
			assert.Equal(t, name == "refused", strings.Contains(err.Error(), "127.0.0.1 only"), err)
			assert.Equal(t, name != "refused", strings.Contains(err.Error(), "firewall (OUTPUT) or a macvlan network"), err)
		})
	}
}

func TestAWayBackThatFailsIsToldWithItsReason(t *testing.T) {
	t.Parallel()
	h, st := oldShop(), shop(stack.StopFirst, 0)
	h.fail["restart"] = errors.New("no space left")
	h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
	_, err := follow(t, h, st, nil, plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 3, Old: []string{"api-1", "api-2", "api-3"}, Batch: 3})
	require.ErrorContains(t, err, "is unhealthy")
	require.ErrorContains(t, err, "while going back: start the old units again: no space left", "both are told: what failed and what the way back lacks")
}

// Its restarts of last month are no reason to say that it does not come back.
func TestAWayBackToAUnitThatOnceRestarted(t *testing.T) {
	t.Parallel()
	h, st := oldShop(), shop(stack.StopFirst, 0)
	h.units["api-2"].Restarts, h.units["api-2"].OOMKilled = 2, true
	h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
	_, err := follow(t, h, st, nil, plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 3, Old: []string{"api-1", "api-2", "api-3"}, Batch: 3})
	require.ErrorContains(t, err, "is unhealthy")
	require.NotContains(t, err.Error(), "going back")
}

func TestBetweenBatches(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "api", Action: plan.Surge, Replicas: 3, Old: []string{"api-1", "api-2", "api-3"}, Batch: 2}
	h, st := oldShop(), shop(stack.StartFirst, 2)
	st.Services["api"].Update.Delay, h.cut = 50*time.Millisecond, 2
	told, err := follow(t, h, st, nil, step)
	require.NoError(t, err)
	var words []string
	for _, e := range told.Events() {
		if e.Level == event.Warning {
			words = append(words, e.Text)
		}
	}
	assert.Equal(t, []string{"2 connections outlived the drain budget of 30s and were ended", "2 connections outlived the drain budget of 30s and were ended"}, words)

	asked := 0
	h = oldShop()
	_, err = follow(t, h, st, func(r *rollout.Rollout) {
		r.Guard = func(context.Context) error {
			// Once before the step, twice within a batch, once after it.
			if asked++; asked == 4 {
				return errBroken
			}
			return nil
		}
	}, step)
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, "remove api-1 api-2", h.log[len(h.log)-1], "no second batch begins")
}

func TestWithoutGroundNothingIsBegun(t *testing.T) {
	t.Parallel()
	for _, ground := range []string{"networks", "volumes"} {
		h := oldShop()
		h.fail[ground] = errBroken
		_, err := follow(t, h, shop(stack.StartFirst, 0), nil, plan.Step{Service: "api", Action: plan.Surge, Replicas: 3, Old: []string{"api-1"}, Batch: 3})
		require.ErrorContains(t, err, "create "+ground+": broken on purpose")
		assert.Empty(t, h.log)
	}
}

// The new units serve until traffic is back with the old ones: where that fails, they
// are left for whoever takes the release back.
func TestAWayBackThatCannotMoveTrafficKeepsWhoServes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order stack.Order
		fails int // the drain or the stop that fails
		act   string
		stuck string
	}{
		"a surge, the gateway":    {stack.StartFirst, 1, "drain", "pin api 10.0.0.1 "},
		"a surge, an old unit":    {stack.StartFirst, 1, "stop api-1 api-2 ", "restart"},
		"stop-first, the gateway": {stack.StopFirst, 2, "drain", "pin api 10.0.0.3"},
	} {
		h := oldShop()
		n, parallelism := 0, 0
		if c.order == stack.StopFirst {
			parallelism = 2
		}
		h.onAct = func(act string) {
			if !strings.HasPrefix(act, c.act) {
				return
			}
			if n++; n != c.fails {
				return
			}
			h.fail[act], h.fail[c.stuck] = errBroken, errBroken
			if c.stuck == "restart" {
				h.units["api-1"].State, h.units["api-1"].Addresses = stack.Exited, map[string]string{"edge": ""}
			}
		}
		_, err := carry(t.Context(), h, shop(c.order, parallelism))
		require.ErrorContains(t, err, "while going back", name)
		serves(t, h, name)
		assert.NotContains(t, strings.Join(h.log, "\n"), "stop api-101", name)
	}
}

// An old unit that starts slowly has the time that its file gives it on the way back too.
func TestAWayBackToAUnitThatStartsSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, st := newFakeHost(unit("api", 1, "old"), unit("gateway", 9, "same")), alone("")
		st.Services["api"].Health = &stack.Health{StartPeriod: 10 * time.Minute}
		h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
		var again time.Time
		h.onAct = func(act string) {
			if act == "restart api-1" {
				again = time.Now()
			}
		}
		h.onLook = func(u *stack.Unit, _ int) {
			if u.ID == "api-1" && !again.IsZero() {
				u.Health = stack.HealthStart
				if time.Since(again) > 5*time.Minute {
					u.Health = stack.HealthOK
				}
			}
		}
		_, err := follow(t, h, st, nil, plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 1, Old: []string{"api-1"}, Batch: 1})
		require.ErrorContains(t, err, "is unhealthy")
		require.NotContains(t, err.Error(), "going back")
		assert.Equal(t, []string{h.units["api-1"].Addresses["edge"]}, h.loaded["api"])
	})
}

// A unit that failed within max_failure_ratio and cannot be stopped gets no request,
// whoever reloads the gateway.
func TestAUnitThatFailedAndRunsOnStaysOutOfTheGateway(t *testing.T) {
	t.Parallel()
	h, st := oldShop(), shop(stack.StartFirst, 0)
	st.Services["api"].Update.MaxFailureRatio = 0.5
	h.onStart = func(u *stack.Unit) {
		if u.ID == "api-102" {
			u.Health = stack.HealthFailed
		}
	}
	h.fail["stop api-102"] = errBroken
	_, err := carry(t.Context(), h, st)
	require.ErrorContains(t, err, "stop the units that failed")
	_, _ = fakeGateway{fakeHost: h, unit: "gateway-9"}.Reload(t.Context())
	assert.Equal(t, []string{"10.0.0.101", "10.0.0.103"}, h.loaded["api"])
}
