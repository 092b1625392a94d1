package rollout_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

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
