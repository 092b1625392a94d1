package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// hungUp is what it says of an engine that goes away in the middle of a call.
func hungUp(t *testing.T) error {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "docker.sock"))
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}()
	return asked(t, listener.Addr().String())
}

// notListening is what the Docker client says where nobody listens.
func notListening(t *testing.T) error {
	t.Helper()
	return asked(t, filepath.Join(t.TempDir(), "docker.sock"))
}

// asked is what comes of a call of the Docker client.
func asked(t *testing.T, socket string) error {
	t.Helper()
	api, err := client.New(client.WithHost("unix://" + socket))
	require.NoError(t, err)
	defer api.Close()
	_, err = api.ContainerInspect(t.Context(), "api-1", client.ContainerInspectOptions{})
	require.Error(t, err)
	return fmt.Errorf("look at api-1: %w", err)
}

// ill is a release of the only unit to a version that is ill, on an engine that goes
// away for a while at an act of the way back. No act: it stays.
func ill(ctx context.Context, h *fakeHost, at int, away error, lasts time.Duration, guard func(context.Context) error) (*event.Recorder, error) {
	h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
	h.away = away
	n, going := 0, false
	h.onAct = func(act string) {
		if going = going || act == "stop api-101"; !going {
			return
		}
		if n++; n == at {
			h.back = time.Now().Add(lasts)
		}
	}
	step := plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 1, Old: []string{"api-1"}, Batch: 1}
	return followUntil(ctx, h, alone(""), func(r *rollout.Rollout) { r.Guard = guard }, step)
}

func aloneHost() *fakeHost { return newFakeHost(unit("api", 1, "old"), unit("gateway", 9, "same")) }

func waits(told *event.Recorder) (n int) {
	for _, e := range told.Events() {
		if e.Level == event.Warning && strings.Contains(e.Text, "the engine does not answer") {
			n++
		}
	}
	return n
}

// Whenever the engine restarts while a batch goes back, the old unit serves in the end.
func TestAWayBackOutlastsARestartOfTheEngine(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]error{"nobody listens": notListening(t), "cut off": hungUp(t), "a command cut off": fmt.Errorf("read its output: %w", io.EOF)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clean := aloneHost()
			_, err := ill(t.Context(), clean, 0, away, 0, held)
			require.ErrorContains(t, err, "is unhealthy")
			acts := 0
			for i, act := range clean.log {
				if act == "stop api-101" {
					acts = len(clean.log) - i
				}
			}
			require.Greater(t, acts, 5, "%v", clean.log)
			for at := range acts {
				synctest.Test(t, func(t *testing.T) {
					h := aloneHost()
					told, err := ill(t.Context(), h, at+1, away, 20*time.Second, held)
					require.ErrorContains(t, err, "is unhealthy")
					require.NotContains(t, err.Error(), "going back", "%v", h.log)
					assert.Equal(t, stack.Running, h.units["api-1"].State)
					assert.NotContains(t, h.units, "api-101")
					assert.Equal(t, []string{h.units["api-1"].Addresses["edge"]}, h.loaded["api"])
					assert.Equal(t, 1, waits(told), "%v", told.Events())
				})
			}
		})
	}
}

// An engine that stays away is waited for no longer than the way back has.
func TestAWayBackOnAnEngineThatStaysAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := ill(t.Context(), aloneHost(), 1, io.EOF, time.Hour, held)
		require.ErrorContains(t, err, "while going back: stop the new units: EOF")
		// Two minutes, and what the file gives: 30 s to start, twice 10 s to end and a minute to drain.
		assert.InDelta(t, 290, time.Since(began).Seconds(), 2)
	})
}

// What the engine itself says no to is asked once.
func TestAWayBackAsksOnceWhatIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told, err := ill(t.Context(), aloneHost(), 1, errBroken, 20*time.Second, held)
		require.ErrorContains(t, err, "stop the new units: broken on purpose")
		assert.Zero(t, waits(told))
	})
}

// Who waited and has lost the lock meanwhile undoes nothing more.
func TestAWayBackWhoseLockIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := aloneHost()
		_, err := ill(t.Context(), h, 1, io.EOF, 5*time.Second, func(context.Context) error {
			if time.Now().Before(h.back) {
				return fault.New(fault.Interrupted, "", "", "lock lost")
			}
			return nil
		})
		require.ErrorContains(t, err, "lock lost")
		assert.Equal(t, fault.Interrupted, fault.Of(err))
		assert.Equal(t, "start api-101", h.log[len(h.log)-1])
	})
}

// Who loses the lock or the host on the way forward was refused nothing: the same may be
// run again.
func TestALockThatIsLostOnTheWayForwardRefusesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		acts string // the act after which the lock is gone
		edit func(h *fakeHost)
		half bool
	}{
		"before well units are let in": {acts: "start api-101"},
		"before the old ones stop":     {acts: "drain"},
		"the host is gone as well":     {acts: "start api-101", edit: func(h *fakeHost) { h.fail["start"] = host.ErrConnectionLost }},
		"something had failed":         {acts: "start api-101", edit: func(h *fakeHost) { h.fail["start"] = errBroken }, half: true},
	} {
		h := oldShop()
		if c.edit != nil {
			c.edit(h)
		}
		gone := false
		h.onAct = func(act string) { gone = gone || strings.HasPrefix(act, c.acts) }
		_, err := guarded(t.Context(), h, shop(stack.StartFirst, 0), func(context.Context) error {
			if gone {
				return fault.New(fault.Interrupted, "", "see who releases now with: shiksha status", "the lock is lost")
			}
			return nil
		})
		require.ErrorContains(t, err, "the lock is lost", name)
		assert.Equal(t, fault.Interrupted, fault.Of(err), name)
		assert.Equal(t, c.half, rollout.HalfBack(err), "%s: %v", name, err)
		assert.Equal(t, "see who releases now with: shiksha status", fault.Hint(err), name)
	}
}

// Units that got the old files back read them, too, when the engine is there again.
func TestOldFilesAreReadOnceTheEngineIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, st := oldShop(), shop(stack.StartFirst, 0)
		st.Services["gateway"].Ext.Reload = &stack.Reload{Test: []string{"nginx", "-t"}}
		h.fail["reload"] = errors.New("worker exited")
		h.away = io.EOF
		h.onLook = func(u *stack.Unit, n int) {
			if u.ID == "gateway-9" && n == 2 { // the first was before the new files
				h.back = time.Now().Add(10 * time.Second)
			}
		}
		step := plan.Step{Service: "gateway", Action: plan.Reload, Replicas: 1, Good: []string{"gateway-9"}, Files: []string{"/etc/nginx/nginx.conf"}}
		told, err := follow(t, h, st, nil, step)
		require.ErrorContains(t, err, "worker exited")
		require.NotContains(t, err.Error(), "reload the old files")
		assert.Equal(t, "reload", h.log[len(h.log)-1])
		assert.Equal(t, 1, waits(told))
	})
}
