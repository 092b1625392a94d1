package host

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

// quick is a configuration whose clocks suit a test.
func quick(c Config) Config {
	c.ConnectTimeout, c.KeepAlive, c.ReconnectBudget = 10*time.Second, 2*time.Second, 20*time.Second
	return c
}

func echo(t *testing.T, h *Host) error {
	t.Helper()
	out, err := h.Run(t.Context(), []string{"echo", "here"}, nil)
	if err == nil {
		assert.Equal(t, "here\n", string(out.Stdout))
	}
	return err
}

// useAll uses everything that goes over the connection.
func useAll(t *testing.T, h *Host, server *sshd, dir string) {
	t.Helper()
	require.NoError(t, echo(t, h))
	files, err := h.Files(t.Context())
	require.NoError(t, err)
	require.NoError(t, files.Write(t.Context(), filepath.Join(dir, "file"), []byte("x"), 0o600))
	api, err := h.Docker(t.Context())
	require.NoError(t, err)
	_, err = api.Info(t.Context(), client.InfoOptions{})
	require.NoError(t, err)
	p, err := h.Start(t.Context(), []string{"cat"})
	require.NoError(t, err)
	defer p.Close()
	_, err = io.WriteString(p.Stdin, "x")
	require.NoError(t, err)
	_, err = p.Stdout.Read(make([]byte, 1))
	require.NoError(t, err)
	c, err := h.DialTCP(t.Context(), server.addr)
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// openFolder is a folder that the tester may write in.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hosttest")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

func TestOneConnectionForEverything(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	h := dial(t, server.through(way))
	dir := openFolder(t)
	for range 3 {
		useAll(t, h, server, dir)
	}
	assert.EqualValues(t, 1, way.accepted.Load())
	assert.Zero(t, h.Reconnected())
}

func TestCutConnectionIsMadeAgain(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	h := dial(t, quick(server.through(way)))
	dir := openFolder(t)
	useAll(t, h, server, dir)

	p, err := h.Start(t.Context(), []string{"cat"})
	require.NoError(t, err)
	c, err := h.DialDocker(t.Context())
	require.NoError(t, err)
	running := make(chan error)
	go func() {
		_, err := h.Run(t.Context(), []string{"sleep", "60"}, nil)
		running <- err
	}()
	require.Eventually(t, func() bool { return strings.Count(server.log.String(), "Starting session") >= 5 }, patience, 10*time.Millisecond)
	way.cut()
	assert.True(t, IsConnectionLost(<-running), "the command under way")
	assert.True(t, IsConnectionLost(p.Wait()), "the process")
	_, err = p.Stdout.Read(make([]byte, 1))
	assert.True(t, IsConnectionLost(err), "its output, which did not simply end: %v", err)
	_, err = c.Read(make([]byte, 1))
	assert.True(t, IsConnectionLost(err), "the raw connection: %v", err)

	useAll(t, h, server, dir)
	assert.Equal(t, 1, h.Reconnected())
	assert.EqualValues(t, 2, way.accepted.Load())
}

func TestHalfOpenConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	c := quick(server.through(way))
	c.KeepAlive = 500 * time.Millisecond
	h := dial(t, c)
	require.NoError(t, echo(t, h))
	running := make(chan error)
	go func() {
		_, err := h.Run(t.Context(), []string{"sleep", "60"}, nil)
		running <- err
	}()
	require.Eventually(t, func() bool { return strings.Count(server.log.String(), "Starting session") >= 2 }, patience, 10*time.Millisecond)
	began := time.Now()
	way.hole.Store(true) // no end of file, no reset: only silence
	err := <-running
	assert.True(t, IsConnectionLost(err))
	assert.ErrorContains(t, err, "no answer to 3 keepalives (1.5s)")
	assert.Less(t, time.Since(began), 10*time.Second)
	way.hole.Store(false)
	require.NoError(t, echo(t, h))
	assert.Equal(t, 1, h.Reconnected())
}

func TestKeepAliveLeavesAQuietConnection(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	c := server.config()
	c.KeepAlive = 500 * time.Millisecond
	h := dial(t, c)
	_, err := h.Run(t.Context(), []string{"sleep", "3"}, nil)
	require.NoError(t, err)
	assert.Zero(t, h.Reconnected())
}

func TestReconnectIsSharedAndCheckedFirst(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	h := dial(t, quick(server.through(way)))
	dir := openFolder(t)
	var checks, early atomic.Int64
	var checked atomic.Bool
	h.OnReconnect(func(ctx context.Context) error {
		checks.Add(1)
		out, err := h.Run(ctx, []string{"echo", "fence"}, nil)
		if err != nil {
			return err
		}
		files, err := h.Files(ctx)
		if err != nil {
			return err
		}
		err = files.Write(ctx, filepath.Join(dir, "fence"), out.Stdout, 0o600)
		time.Sleep(100 * time.Millisecond)
		checked.Store(true)
		return err
	})
	way.cut()
	require.Eventually(t, func() bool { return h.link.lost() }, patience, time.Millisecond)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			assert.NoError(t, echo(t, h))
			if !checked.Load() {
				early.Add(1)
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, checks.Load())
	assert.Zero(t, early.Load(), "nobody may use the connection before it was checked")
	assert.Equal(t, 1, h.Reconnected())
	assert.EqualValues(t, 2, way.accepted.Load())
}

func TestFailedCheckPoisons(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	h := dial(t, quick(server.through(way)))
	h.OnReconnect(func(context.Context) error { return fault.New(fault.Locked, "lock", "", "somebody else holds it") })
	way.cut()
	require.Eventually(t, func() bool { return h.link.lost() }, patience, time.Millisecond)
	for range 2 {
		err := echo(t, h)
		assert.ErrorContains(t, err, "lock: somebody else holds it")
		assert.Equal(t, fault.Locked, fault.Of(err))
		assert.False(t, IsConnectionLost(err))
	}
	assert.EqualValues(t, 2, way.accepted.Load(), "no further connection")
}

func TestReconnectBudget(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	c := quick(server.through(way))
	c.ReconnectBudget = 700 * time.Millisecond
	h := dial(t, c)
	way.shut.Store(true)
	way.cut()
	require.Eventually(t, func() bool { return h.link.lost() }, patience, time.Millisecond)
	err := echo(t, h)
	assert.True(t, IsConnectionLost(err))
	assert.ErrorContains(t, err, "not made again within 700ms")
	assert.Equal(t, fault.Failed, fault.Of(err), "not the bad input it would be at the start")
	tries := way.settled(t)
	assert.Greater(t, tries, int64(2))
	assert.True(t, IsConnectionLost(echo(t, h)))
	assert.Equal(t, tries+1, way.settled(t), "the budget is spent once for a loss")
	way.shut.Store(false)
	assert.NoError(t, echo(t, h), "back is back")
}

func TestChangedKeyOnReconnect(t *testing.T) {
	t.Parallel()
	server, impostor := startSSHD(t), startSSHD(t, "LogLevel DEBUG1")
	way := startProxy(t, server.addr)
	h := dial(t, quick(server.through(way)))
	way.target.Store(impostor.addr)
	way.cut()
	require.Eventually(t, func() bool { return h.link.lost() }, patience, time.Millisecond)
	err := echo(t, h)
	assert.ErrorContains(t, err, "is not the recorded one")
	assert.False(t, impostor.attempted())
}

func TestCancelWhileReconnecting(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	h := dial(t, quick(server.through(way)))
	way.shut.Store(true)
	way.cut()
	require.Eventually(t, func() bool { return h.link.lost() }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := h.Run(ctx, []string{"true"}, nil)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	began := time.Now()
	require.NoError(t, h.Close(), "while somebody redials")
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.ErrorIs(t, echo(t, h), ErrClosed)
}

// settled is how many connections came, once no more are on their way: a connect
// succeeds before it is accepted.
func (p *proxy) settled(t *testing.T) int64 {
	t.Helper()
	last := int64(-1)
	require.Eventually(t, func() bool {
		before := last
		last = p.accepted.Load()
		return before == last
	}, patience, 100*time.Millisecond)
	return last
}

// leftovers are the goroutines that a Host would have left behind.
func leftovers() string {
	buffer := make([]byte, 4<<20)
	var left []string
	for _, stack := range strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
		if strings.Contains(stack, "_test.go") {
			continue
		}
		if strings.Contains(stack, "actions/pkg/host.") || strings.Contains(stack, "crypto/ssh.") || strings.Contains(stack, "pkg/sftp.") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

// Not parallel: it looks at every goroutine there is.
func TestNothingIsLeftBehind(t *testing.T) {
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	dir := openFolder(t)
	h, err := Dial(t.Context(), quick(server.through(way)))
	require.NoError(t, err)
	useAll(t, h, server, dir)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = h.Start(ctx, []string{"sleep", "60"})
	require.NoError(t, err)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = h.Run(ctx, []string{"sleep", "60"}, nil)
	require.ErrorIs(t, err, context.Canceled)
	way.cut()
	_ = echo(t, h)
	require.NoError(t, echo(t, h))
	_, err = Dial(t.Context(), Config{Address: "u@" + way.addr(), Key: server.key, Fingerprint: "SHA256:" + strings.Repeat("A", 43)})
	require.Error(t, err)
	require.NotEmpty(t, leftovers(), "the search finds what there is")
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	assert.Eventually(t, func() bool { return leftovers() == "" }, patience, 50*time.Millisecond)
	assert.Empty(t, leftovers())
	for _, use := range []func() error{
		func() error { return echo(t, h) },
		func() error { _, err := h.Files(t.Context()); return err },
		func() error { _, err := h.DialDocker(t.Context()); return err },
	} {
		assert.True(t, errors.Is(use(), ErrClosed))
	}
}

// sshd counts a session for a moment after its command has ended.
func TestASessionThatIsOneTooManyWaitsForAnotherToEnd(t *testing.T) {
	t.Parallel()
	server := startSSHD(t, "MaxSessions 1")
	h := dial(t, quick(server.config()))
	busy, err := h.Start(t.Context(), []string{"sleep", "0.4"})
	require.NoError(t, err)
	require.NoError(t, echo(t, h))
	require.NoError(t, busy.Wait())
}
