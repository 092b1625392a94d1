package host

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

func TestJumpHostThatHangsHasATimeLimit(t *testing.T) {
	t.Parallel()
	var way *proxy
	ready := make(chan struct{})
	addr, key := fakeServer(t, func(c ssh.NewChannel) {
		<-ready
		if _, requests, err := c.Accept(); err == nil {
			go ssh.DiscardRequests(requests)
		}
		time.Sleep(100 * time.Millisecond) // the answer is on its way
		way.hole.Store(true)
	})
	way = startProxy(t, addr)
	close(ready)
	c := fakeConfig(t, way.addr(), key)
	c.Address, c.Jump = "deploy@inside:22", "deploy@"+way.addr()
	c.KnownHosts = append(c.KnownHosts, "inside "+authorized(key)...)
	err := soon(t, func() error { _, err := Dial(t.Context(), c); return err })
	assert.ErrorContains(t, err, "cannot be reached: 3 tries in ")
	assert.Equal(t, fault.Input, fault.Of(err))
}

func TestAgentThatHangsHasATimeLimit(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "agent")
	agent, err := net.Listen("unix", socket) // takes connections and says nothing
	require.NoError(t, err)
	t.Cleanup(func() { _ = agent.Close() })
	addr, key := fakeServer(t, func(c ssh.NewChannel) { _ = c.Reject(ssh.Prohibited, "no") })
	c := fakeConfig(t, addr, key)
	c.Key, c.AgentSocket = nil, socket
	err = soon(t, func() error { _, err := Dial(t.Context(), c); return err })
	assert.ErrorContains(t, err, "ssh-key: the ssh-agent does not answer")
}

func TestCancelledIsNotRefused(t *testing.T) {
	t.Parallel()
	dialled := func(t *testing.T, take func(ssh.NewChannel)) *Host {
		addr, key := fakeServer(t, take)
		return dial(t, fakeConfig(t, addr, key))
	}
	interrupted := func(t *testing.T, err error) {
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		var known *fault.Error
		assert.NotErrorAs(t, err, &known, "nothing was refused for good")
	}
	t.Run("while sftp starts", func(t *testing.T) {
		h := dialled(t, func(c ssh.NewChannel) {
			if _, requests, err := c.Accept(); err == nil {
				for request := range requests {
					_ = request.Reply(true, nil)
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := soon(t, func() error { _, err := h.Files(ctx); return err })
		interrupted(t, err)
	})
	t.Run("while it waits for a session", func(t *testing.T) {
		h := dialled(t, func(c ssh.NewChannel) { _ = c.Reject(ssh.ResourceShortage, "full") })
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := soon(t, func() error { _, err := h.Run(ctx, []string{"true"}, nil); return err })
		interrupted(t, err)
	})
}

// slowly is a channel whose reader takes its time.
type slowly struct{ ssh.Channel }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.Channel.Read(p)
}

// distant is a channel from afar: it hands on at once what came within a moment, and
// counts how often it did, which is how many round trips its client waited for.
type distant struct {
	ssh.Channel
	came  chan []byte
	rest  []byte
	trips atomic.Int64
}

func (d *distant) receive() {
	defer close(d.came)
	for {
		piece := make([]byte, 32<<10)
		n, err := d.Channel.Read(piece)
		if err != nil {
			return
		}
		d.came <- piece[:n]
	}
}

func (d *distant) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		first, ok := <-d.came
		if !ok {
			return 0, io.EOF
		}
		d.rest = first
		d.trips.Add(1)
		for moment := time.After(20 * time.Millisecond); ; {
			select {
			case more := <-d.came:
				d.rest = append(d.rest, more...)
				continue
			case <-moment:
			}
			break
		}
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// A ledger has hundreds of files, and a host may be 250 ms away.
func TestReadTakesFewRoundTrips(t *testing.T) {
	t.Parallel()
	far := &distant{came: make(chan []byte, 64)}
	files := served(t, func(c ssh.Channel) ssh.Channel {
		far.Channel = c
		go far.receive()
		return far
	})
	name := filepath.Join(t.TempDir(), "record.json")
	for _, size := range []int{0, 1500, 30_000, 32 << 10, 100_000, 200_000, 256 << 10} {
		content := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		require.NoError(t, os.WriteFile(name, content, 0o600))
		before := far.trips.Load()
		got, err := files.Read(t.Context(), name)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got), "%d bytes", size)
		assert.LessOrEqual(t, far.trips.Load()-before, int64(6), "%d bytes: open, content, end, close, and what a busy machine adds", size)
	}
}

// slowFiles is this machine's file system over SFTP that takes its time.
func slowFiles(t *testing.T) *Files {
	t.Helper()
	return served(t, func(c ssh.Channel) ssh.Channel { return slowly{c} })
}

// served is this machine's file system over SFTP through a channel of the test's.
func served(t *testing.T, through func(ssh.Channel) ssh.Channel) *Files {
	t.Helper()
	addr, key := fakeServer(t, func(c ssh.NewChannel) {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for request := range requests {
				_ = request.Reply(true, nil)
			}
		}()
		if server, err := sftp.NewServer(through(channel)); err == nil {
			_ = server.Serve()
		}
	})
	files, err := dial(t, fakeConfig(t, addr, key)).Files(t.Context())
	require.NoError(t, err)
	return files
}

// A disk may fill at any moment. What the old content takes is not given away before the
// new one is there, so that it can always go back.
func TestOverwriteGivesNoRoomAwayBeforeItIsDone(t *testing.T) {
	t.Parallel()
	files, name := slowFiles(t), filepath.Join(t.TempDir(), "live.conf")
	next := bytes.Repeat([]byte("n"), 1<<20)
	require.NoError(t, os.WriteFile(name, bytes.Repeat([]byte("o"), 1<<20+1), 0o644))
	before, done := inode(t, name), make(chan struct{})
	smallest := make(chan int64)
	go func() {
		least := int64(1 << 30)
		for {
			if info, err := os.Stat(name); err == nil {
				least = min(least, info.Size())
			}
			select {
			case <-done:
				smallest <- least
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	require.NoError(t, files.Overwrite(t.Context(), name, next, 0o640))
	close(done)
	assert.GreaterOrEqual(t, <-smallest, int64(1<<20))
	assert.True(t, bytes.Equal(next, readFile(t, name)), "and no end of the old content is left")
	assert.Equal(t, before, inode(t, name))
	info, err := os.Stat(name)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o640), info.Mode())
}

// Whoever puts the old content back after a cancelled Overwrite must not meet it still
// writing the new one.
func TestOverwriteThatIsCancelledHasEndedWhenItReturns(t *testing.T) {
	t.Parallel()
	files := slowFiles(t)
	name, next := filepath.Join(t.TempDir(), "live.conf"), bytes.Repeat([]byte("next"), 1<<20)
	require.NoError(t, os.WriteFile(name, []byte("old"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if info, err := os.Stat(name); err == nil && info.Size() > 3 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	require.NoError(t, soon(t, func() error { return files.Overwrite(ctx, name, next, 0o600) }), "begun, so finished")
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	assert.True(t, bytes.Equal(next, readFile(t, name)), "the whole of it")
	assert.ErrorIs(t, files.Overwrite(ctx, name, nil, 0o600), context.Canceled, "not begun any more")
}
