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

// A client that has sent nothing yet is no reason to keep a worker. In one that is kept for
// another it is known, and what it asks in time is answered by a unit that is still there.
func TestClientsThatHaveNotAskedYet(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addrs := l.units("old-1")
	g := l.start(gateway.KeepOldWorkers())
	require.NoError(t, g.Set(t.Context(), "api", addrs))
	const many = 12 // of two workers one has the stream; the kernel hands clients to both
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
	held, unasked, err := g.Held(t.Context(), gen, addrs)
	require.NoError(t, err)
	assert.Equal(t, 1, held)
	assert.Equal(t, unasked+1, left.Kept)
	open := 0
	for _, c := range clients {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if answer, _ := io.ReadAll(c); strings.Contains(string(answer), "200 OK") {
			open++
		} else {
			assert.Empty(t, string(answer), "it was closed before it asked")
		}
	}
	t.Logf("%d of %d clients were with the worker that is kept", open, many)
	assert.Equal(t, unasked, open)
	assert.Equal(t, many, open+left.Cut)
}
