package gateway_test

import (
	"io"
	"net"
	"strings"
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
	left, _, err := g.Drained(t.Context(), gen, 300*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, gateway.Left{Kept: 1}, left)
	select {
	case <-ended:
		t.Error("the answer was cut")
	case <-time.After(500 * time.Millisecond):
	}
	held, unasked, err := g.Held(t.Context(), gen, addrs)
	require.NoError(t, err)
	assert.Equal(t, 1, held)
	assert.Zero(t, unasked)
	l.remove("old-1")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the answer goes on without its unit")
	}
}

// A client that has sent nothing yet is known, and what it asks in time is answered by a
// unit that is still there.
func TestClientsThatHaveNotAskedYet(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addrs := l.units("old-1")
	g := l.start(gateway.KeepOldWorkers())
	require.NoError(t, g.Set(t.Context(), "api", addrs))
	const many = 5
	var clients []net.Conn
	for range many {
		c, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(l.url, "http://"), "/")+":80")
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		clients = append(clients, c)
	}
	l.stream()
	gen, err := g.Reload(t.Context())
	require.NoError(t, err)
	left, _, err := g.Drained(t.Context(), gen, 300*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, gateway.Left{Kept: many + 1}, left)
	held, unasked, err := g.Held(t.Context(), gen, addrs)
	require.NoError(t, err)
	assert.Equal(t, 1, held)
	assert.Equal(t, many, unasked)
	for _, c := range clients {
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		answer, _ := io.ReadAll(c)
		assert.Contains(t, string(answer), "200 OK")
	}
	_, unasked, err = g.Held(t.Context(), gen, addrs)
	require.NoError(t, err)
	assert.Zero(t, unasked)
}
