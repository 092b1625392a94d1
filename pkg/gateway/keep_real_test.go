package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/gateway"
)

func TestOldWorkersAreKept(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addrs := l.units("old-1")
	g := l.start(gateway.KeepOldWorkers())
	require.NoError(t, g.Set(t.Context(), "api", addrs))
	ended := l.stream()
	gen, err := g.Reload(t.Context())
	require.NoError(t, err)
	cut, _, err := g.Drained(t.Context(), gen, 300*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, 1, cut)
	select {
	case <-ended:
		t.Error("the answer was cut")
	case <-time.After(500 * time.Millisecond):
	}
	held, err := g.Held(t.Context(), gen, addrs)
	require.NoError(t, err)
	assert.Equal(t, 1, held)
	l.remove("old-1")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the answer goes on without its unit")
	}
}
