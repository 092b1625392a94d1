package rollout_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// cancelledAtStop carries a release out that is cancelled when its first old units
// are told to stop.
func cancelledAtStop(t *testing.T, h *fakeHost, st *stack.Stack, guard func(context.Context) error) error {
	t.Helper()
	h.late = true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.onAct = func(act string) {
		if strings.HasPrefix(act, "stop ") {
			cancel()
		}
	}
	_, err := guarded(ctx, h, st, guard)
	require.Equal(t, fault.Interrupted, fault.Of(err))
	return err
}

func held(context.Context) error { return nil }

// alone is an API of which only one can run: it holds a port, and may have a name
// of its own.
func alone(name string) *stack.Stack {
	st := shop(stack.StopFirst, 0)
	api := st.Services["api"]
	api.Replicas, api.ContainerName, api.HostPorts = 1, name, []string{"8000/tcp"}
	return st
}

// cancelledAt carries a release of it out that is cancelled at an act, on an engine
// that goes on with what nobody waits for any more. No act: it is not cancelled.
func cancelledAt(t *testing.T, name string, at int, edit func(*fakeHost)) (*fakeHost, error) {
	t.Helper()
	h := newFakeHost(unit("api", 1, "old"), unit("gateway", 9, "same"))
	h.late, h.busy = true, true
	if edit != nil {
		edit(h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := -1
	h.onAct = func(string) {
		if n++; n == at {
			cancel()
		}
	}
	_, err := carry(ctx, h, alone(name))
	for _, id := range h.stopping {
		if u := h.units[id]; u != nil {
			u.State, u.Addresses = stack.Exited, map[string]string{"edge": ""}
		}
	}
	return h, err
}

// Whenever a release is cancelled that has to stop the only unit, one runs once all
// that was under way is over, and it is the one that the gateway has.
func TestRun_CancelledWhileTheOnlyUnitIsReplaced(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "the-api"} {
		clean, err := cancelledAt(t, name, -1, nil)
		require.NoError(t, err)
		for at, act := range clean.log {
			h, err := cancelledAt(t, name, at, nil)
			if err != nil {
				assert.Equal(t, fault.Interrupted, fault.Of(err))
				assert.Contains(t, fault.Hint(err), "users are served", "%q", act)
			}
			var up []string
			for _, u := range h.units {
				if u.Service == "api" && u.State == stack.Running {
					up = append(up, u.Addresses["edge"])
				}
			}
			assert.Len(t, up, 1, "%s cancelled at %q: %v", name, act, h.log)
			assert.Equal(t, up, h.loaded["api"], "%s cancelled at %q: %v", name, act, h.log)
		}
	}
}

// What could not be left serving is not said to serve.
func TestRun_CancelledAndNothingStarts(t *testing.T) {
	t.Parallel()
	for _, fail := range []string{"start", "reload"} {
		clean, err := cancelledAt(t, "", -1, nil)
		require.NoError(t, err)
		for at, act := range clean.log {
			if !strings.HasPrefix(act, "stop api-1") {
				continue
			}
			_, err := cancelledAt(t, "", at, func(h *fakeHost) { h.fail[fail], h.fail["restart"] = errBroken, errBroken })
			assert.Equal(t, fault.Interrupted, fault.Of(err))
			assert.Contains(t, fault.Hint(err), "users may get no answer of api", fail)
		}
	}
}

// A unit that the file gives long to end may be writing its data: a second stop would
// kill it in the middle of that, and a successor beside it would write to the same.
func TestRun_CancelledWhileAUnitHasLongToEnd(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]bool{"it needs all of it": false, "it is soon over": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := alone("")
				st.Services["api"].StopGrace = 10 * time.Minute
				h := newFakeHost(unit("api", 1, "old"), unit("gateway", 9, "same"))
				h.busy = true
				looks := 0
				h.onLook = func(u *stack.Unit, _ int) {
					if u.ID != "api-1" || len(h.stopping) == 0 {
						return
					}
					if looks++; ends && looks == 3 {
						u.State, u.Addresses = stack.Exited, map[string]string{"edge": ""}
					}
				}
				err := cancelledAtStop(t, h, st, held)
				assert.Equal(t, []time.Duration{10 * time.Minute}, h.graces, "nobody cuts it short: %v", h.log)
				if ends {
					assert.Contains(t, fault.Hint(err), "users are served")
					assert.Contains(t, h.log, "start api-101")
					assert.Equal(t, []string{"10.0.0.101"}, h.loaded["api"])
					return
				}
				assert.Contains(t, fault.Hint(err), "users may get no answer of api")
				assert.NotContains(t, h.log, "start api-101")
			})
		})
	}
}

// Where others serve, nobody has to be hurried.
func TestRun_CancelledWhileOneOfManyStops(t *testing.T) {
	t.Parallel()
	h := oldShop()
	err := cancelledAtStop(t, h, shop(stack.StopFirst, 1), held)
	assert.Contains(t, fault.Hint(err), "users are served")
	assert.Contains(t, fault.Hint(err), "run the same again", "it may be a rollback, which a deploy would undo")
	assert.Equal(t, []time.Duration{stack.DefaultGrace}, h.graces, "%v", h.log)
	assert.Equal(t, "start api-101", h.log[len(h.log)-1])

	h = oldShop()
	h.fail["start"], h.fail["restart"] = errBroken, errBroken
	err = cancelledAtStop(t, h, shop(stack.StopFirst, 1), held)
	assert.Contains(t, fault.Hint(err), "users are served", "by the others")
}

// Nor is it said where nobody may start anything any more: somebody else has the lock.
func TestRun_CancelledAndTheLockIsGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host *fakeHost
		st   *stack.Stack
		want string
	}{
		{newFakeHost(unit("api", 1, "old"), unit("gateway", 9, "same")), alone(""), "users may get no answer of api"},
		{oldShop(), shop(stack.StopFirst, 1), "users are served"},
	} {
		err := cancelledAtStop(t, c.host, c.st, func(context.Context) error {
			if len(c.host.graces) > 0 {
				return fault.New(fault.Interrupted, "", "", "lock lost")
			}
			return nil
		})
		assert.Contains(t, fault.Hint(err), c.want)
		assert.Equal(t, "stop api-1", c.host.log[len(c.host.log)-1], "nothing is done without it")
	}
}
