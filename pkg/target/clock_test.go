package target_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/target"
)

// fakeClock is an engine whose host has a time of its own, for the clock of a real one is
// this machine's.
func fakeClock(t *testing.T, says func() string) *target.Node {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"SystemTime":%q}`, says())
	}))
	t.Cleanup(server.Close)
	api, err := client.New(client.WithHost("tcp://"+strings.TrimPrefix(server.URL, "http://")), client.WithAPIVersion("1.41"))
	require.NoError(t, err)
	e, err := engine.New(api, nil)
	require.NoError(t, err)
	return &target.Node{Engine: e}
}

func TestTheClockOfAUnitsHost(t *testing.T) {
	t.Parallel()
	by := func(ahead time.Duration) func() string {
		return func() string { return time.Now().Add(ahead).Format(time.RFC3339Nano) }
	}
	on := fakeWhere{
		"fast": fakeClock(t, by(time.Minute)), "slow": fakeClock(t, by(-time.Minute)), "same": fakeClock(t, by(0)),
		"mute": fakeClock(t, func() string { return "" }),
		"far": fakeClock(t, func() string {
			// It answers a minute ahead, and its answer is long on its way.
			at := by(time.Minute)()
			time.Sleep(400 * time.Millisecond)
			return at
		}),
		"far and same": fakeClock(t, func() string {
			at := by(0)()
			time.Sleep(400 * time.Millisecond)
			return at
		}),
	}
	units := (&target.Target{}).Steady(on)
	for unit, want := range map[string]time.Duration{"fast": time.Minute, "slow": -time.Minute, "far": time.Minute} {
		ahead, err := units.Ahead(t.Context(), unit)
		require.NoError(t, err, unit)
		assert.InDelta(t, want.Seconds(), ahead.Seconds(), 2, unit)
	}
	for _, unit := range []string{"same", "far and same"} {
		ahead, err := units.Ahead(t.Context(), unit)
		require.NoError(t, err, unit)
		assert.Zero(t, ahead, "%s: what the way explains is no difference", unit)
	}
	_, err := units.Ahead(t.Context(), "mute")
	require.ErrorContains(t, err, "does not tell its host's time")
	_, err = units.Ahead(t.Context(), "gone")
	require.Error(t, err)
}
