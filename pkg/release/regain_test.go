package release

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

// far is a host behind a network that may stall: what is under way then is late, and
// nothing is lost. It lets go of the lock of whom it does not hear, as the script does.
type far struct {
	mu    sync.Mutex
	until time.Time // when the stall is over
	files map[string][]byte
	deny  string // what who asks for the lock hears instead of "held"
	cut   error  // what the next reading comes to
}

func newFar() *far { return &far{files: map[string][]byte{}} }

func (f *far) stall(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = time.Now().Add(d)
}

// pass is the way there and back.
func (f *far) pass(ctx context.Context) error {
	for {
		f.mu.Lock()
		left := time.Until(f.until)
		f.mu.Unlock()
		if left <= 0 {
			return ctx.Err()
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// connect is the command that the watcher runs.
func (f *far) connect(ctx context.Context) error {
	if err := f.pass(ctx); err != nil {
		return err
	}
	time.Sleep(750 * time.Millisecond)
	return ctx.Err()
}

func (f *far) start(ctx context.Context, _ []string) (Process, error) {
	if err := f.pass(ctx); err != nil {
		return Process{}, err
	}
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	open, closed := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer out.Close()
		f.mu.Lock()
		word := f.deny
		f.mu.Unlock()
		if word != "" {
			_, _ = io.WriteString(out, word+"\n")
			return
		}
		time.Sleep(time.Second)
		_, _ = io.WriteString(out, "held\n")
		for beat := make([]byte, 1); ; {
			began := time.Now()
			if _, err := io.ReadFull(in, beat); err != nil || time.Since(began) > DefaultHeartbeat {
				return
			}
			_ = f.pass(open)
			if _, err := io.WriteString(out, ".\n"); err != nil {
				return
			}
		}
	}()
	return Process{Stdin: stdin, Stdout: stdout, Wait: func() error { <-ended; return nil }, Close: func() error {
		closed()
		_ = stdout.Close()
		return in.Close()
	}}, nil
}

func (f *far) Read(ctx context.Context, name string) ([]byte, error) {
	if err := f.pass(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.cut; err != nil {
		f.cut = nil
		return nil, err
	}
	data, ok := f.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (f *far) Write(_ context.Context, name string, data []byte, _ fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[name] = data
	return nil
}

func (f *far) List(context.Context, string) ([]fs.FileInfo, error) { return nil, nil }
func (f *far) MkdirAll(context.Context, string, fs.FileMode) error { return nil }
func (f *far) Remove(context.Context, string) error                { return nil }
func (f *far) acquire(t *testing.T) *Lock {
	t.Helper()
	lock, err := Acquire(t.Context(), f.start, f, "/shop", Holder{Actor: "ann"}, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Release(context.Background()) })
	return lock
}

// kept is a lock with somebody who takes it again, as a release has.
func (f *far) kept(t *testing.T, connect func(context.Context) error) (*Lock, chan error) {
	t.Helper()
	lock, ended := f.acquire(t), make(chan error, 1)
	go func() { ended <- lock.Keep(t.Context(), connect) }()
	synctest.Wait()
	return lock, ended
}

// A network that stalls longer than a heartbeat and not long enough to end the
// connection ends no release: neither who asks in the stall, nor who asks after it,
// before the lock is taken again, nor many of them.
func TestAStallIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, stall := range []time.Duration{5 * time.Second, 16 * time.Second, 20 * time.Second, 40 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			host := newFar()
			lock, _ := host.kept(t, host.connect)
			time.Sleep(7 * time.Second)
			host.stall(stall)
			var all sync.WaitGroup
			ask := func() {
				for range 3 {
					all.Go(func() { assert.NoError(t, lock.Check(t.Context()), "a stall of %s", stall) })
				}
			}
			ask()
			time.Sleep(stall - time.Second)
			ask()
			time.Sleep(1100 * time.Millisecond)
			ask()
			all.Wait()
			assert.EqualValues(t, 1, lock.Fence())
		})
	}
}

// A connection that is cut ends the reading of the fence first, and then the hold; or
// only the reading, where it was made again meanwhile.
func TestACutWhileTheFenceIsReadIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, heard := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			host := newFar()
			lock, _ := host.kept(t, host.connect)
			host.cut = io.ErrUnexpectedEOF
			if heard {
				time.AfterFunc(300*time.Millisecond, func() { lost(t, lock) })
			}
			assert.NoError(t, lock.Check(t.Context()))
			assert.Nil(t, host.cut, "it was read")
		})
	}
}

// What became of the lock decides, however long somebody waited for it.
func TestALockThatIsNotTakenAgainIsLost(t *testing.T) {
	t.Parallel()
	taken := func(host *far) { // by somebody who has ended since
		host.files["/shop/fence"] = []byte("2\n")
	}
	for name, lose := range map[string]func(*far){
		"taken by another one": taken,
		"held by another one":  func(host *far) { taken(host); host.deny = "busy" },
		"held by nobody knows": func(host *far) { host.deny = "busy" },
		"no longer to be had":  func(host *far) { host.deny = "denied" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				host := newFar()
				lock, ended := host.kept(t, host.connect)
				host.stall(18 * time.Second)
				lose(host)
				time.Sleep(16 * time.Second)
				begun := time.Now()
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() { assert.Equal(t, fault.Interrupted, fault.Of(lock.Check(t.Context()))) })
				}
				all.Wait()
				assert.Greater(t, time.Since(begun), 2*time.Second, "it was not known before")
				assert.Error(t, <-ended)
				assert.Less(t, time.Since(begun), 5*time.Second)
			})
		})
	}
}

// lost is a lock that the host has let go of, at this moment.
func lost(t *testing.T, lock *Lock) {
	t.Helper()
	lock.current().end(errors.New("the host did not answer"))
}

// took tells how long an answer took, which is that the lock is lost.
func took(t *testing.T, ctx context.Context, check func(context.Context) error) time.Duration {
	t.Helper()
	begun := time.Now()
	err := check(ctx)
	assert.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
	return time.Since(begun)
}

func TestWhereNobodyTakesTheLockAgainNobodyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := newFar()
		lock := host.acquire(t)
		host.stall(time.Minute)
		time.Sleep(DefaultHeartbeat)
		assert.Zero(t, took(t, t.Context(), lock.Check))
	})
	synctest.Test(t, func(t *testing.T) {
		host := newFar()
		lock, ended := host.kept(t, func(context.Context) error { return errors.New("the host is gone") })
		lost(t, lock)
		require.Error(t, <-ended)
		assert.Zero(t, took(t, t.Context(), lock.Check), "the watcher has ended")
	})
}

// hangs is a connection that is never made.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// One loss is waited for once, also by those who ask one after another, as before a
// step or a write of the ledger; and never longer than who asks has time.
func TestTheWaitForALockHasAnEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lock, _ := newFar().kept(t, hangs)
		lost(t, lock)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		assert.Zero(t, took(t, done, lock.Check), "who is cancelled does not wait")

		short, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		assert.Equal(t, 4*time.Second, took(t, short, lock.Check))

		most := DefaultHeartbeat + lock.missed() + slowStart
		ledger := &Ledger{}
		ledger.Guard(lock.Check)
		waited := took(t, t.Context(), ledger.writable)
		assert.InDelta(t, most, 4*time.Second+waited, float64(2*time.Second))
		assert.Zero(t, took(t, t.Context(), lock.Check), "the time is over for all")
	})
}

// A lock that is given back while it is taken again is not taken, and nobody waits for it.
func TestALockThatIsGivenBackMeanwhileStaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := newFar()
		lock, ended := host.kept(t, host.connect)
		lost(t, lock)
		time.AfterFunc(1200*time.Millisecond, func() { assert.NoError(t, lock.Release(t.Context())) })
		assert.InDelta(t, 1200*time.Millisecond, took(t, t.Context(), lock.Check), float64(2*glance))
		assert.NoError(t, <-ended)
		assert.True(t, lock.current().stale(), "what was taken meanwhile is given back")
		begun := time.Now()
		assert.NoError(t, lock.Regain(t.Context()), "a reconnect after that needs no lock")
		assert.Zero(t, time.Since(begun))
		assert.Error(t, lock.Check(t.Context()))
	})
}

// A reconnect takes the lock by itself, with a watcher (which finds it taken) or without.
func TestAReconnectIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, kept := range map[string]bool{"with a watcher": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				host, lock := newFar(), (*Lock)(nil)
				if kept {
					lock, _ = host.kept(t, func(ctx context.Context) error { return lock.Regain(ctx) })
				} else {
					lock = host.acquire(t)
				}
				lost(t, lock)
				if !kept {
					go func() { assert.NoError(t, lock.Regain(t.Context())) }()
					synctest.Wait()
				}
				begun := time.Now()
				assert.NoError(t, lock.Check(t.Context()))
				assert.InDelta(t, time.Second, time.Since(begun), float64(2*glance))
			})
		})
	}
}
