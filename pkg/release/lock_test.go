package release

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

const (
	soon = 10 * time.Second // a busy machine's patience, not a measure
	tick = 20 * time.Millisecond
)

func take(t *testing.T, dir, actor string, o Options) (*Lock, error) {
	t.Helper()
	lock, err := Acquire(t.Context(), startLocal, localFiles{}, dir, Holder{Actor: actor, RunURL: "https://example.org/" + actor}, o)
	if err == nil {
		t.Cleanup(func() { _ = lock.Release(context.Background()) })
	}
	return lock, err
}

func TestLockIsHeldByOneAndNamesIt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	first, err := take(t, dir, "ann", Options{})
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	_, err = take(t, dir, "ben", Options{})
	require.Error(t, err)
	assert.Equal(t, fault.Locked, fault.Of(err))
	assert.Regexp(t, `held by ann since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(https://example\.org/ann\)`, err.Error())
	assert.Contains(t, fault.Hint(err), "--lock-wait")
	assert.NoError(t, first.Check(t.Context()), "the other's try must not disturb the holder")

	require.NoError(t, first.Release(t.Context()))
	assert.NoFileExists(t, filepath.Join(dir, "lock.json"))
	assert.Error(t, first.Check(t.Context()), "a released lock is not ours")
	require.NoError(t, first.Release(t.Context()), "twice is harmless")
	second, err := take(t, dir, "ben", Options{})
	require.NoError(t, err, "free when Release has come back")
	assert.Greater(t, second.Fence(), first.Fence())
}

func TestLockSurvivesTheContextItWasTakenWith(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	lock, err := Acquire(ctx, startLocal, localFiles{}, t.TempDir(), Holder{}, Options{Heartbeat: 2 * time.Second})
	require.NoError(t, err)
	cancel()
	select {
	case <-lock.Lost():
		require.Fail(t, "undoing after a cancel still needs the lock")
	case <-time.After(2500 * time.Millisecond): // longer than the heartbeat
	}
	require.NoError(t, lock.Check(t.Context()))
	require.NoError(t, lock.Release(t.Context()))
}

// A host that takes the connection and starts nothing must not hold a run that was
// cancelled, nor the check after a reconnect that everybody waits for.
func TestAStartThatHangsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	hangs := func(ctx context.Context, _ []string) (Process, error) {
		select {
		case <-ctx.Done():
			return Process{}, context.Cause(ctx)
		case <-time.After(soon):
			return Process{}, errors.New("it hung")
		}
	}
	_, err := Acquire(ctx, hangs, localFiles{}, t.TempDir(), Holder{}, Options{})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestOnlyOneOfManyAtOnceGetsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var fences sync.Map
	for range 15 {
		var won, lost atomic.Int32
		var group sync.WaitGroup
		release := make(chan struct{})
		tried := make(chan struct{}, 4)
		for range 4 {
			group.Go(func() {
				lock, err := Acquire(t.Context(), startLocal, localFiles{}, dir, Holder{Actor: "x"}, Options{})
				tried <- struct{}{}
				if err != nil {
					assert.Equal(t, fault.Locked, fault.Of(err), "%v", err)
					lost.Add(1)
					return
				}
				won.Add(1)
				_, twice := fences.LoadOrStore(lock.Fence(), true)
				assert.False(t, twice, "fence %d was given twice", lock.Fence())
				<-release
				assert.NoError(t, lock.Check(t.Context()))
				assert.NoError(t, lock.Release(t.Context()))
			})
		}
		for range 4 {
			<-tried
		}
		close(release)
		group.Wait()
		require.EqualValues(t, 1, won.Load())
		require.EqualValues(t, 3, lost.Load())
	}
}

func TestTwoProcessesAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 10 {
		a, b := startDeployer(t, dir, "a", DefaultHeartbeat), startDeployer(t, dir, "b", DefaultHeartbeat)
		said := []string{a.hear(t), b.hear(t)}
		held := 0
		for _, s := range said {
			if strings.HasPrefix(s, "held") {
				held++
			} else {
				assert.Contains(t, s, "the project is locked")
			}
		}
		require.Equal(t, 1, held, "%v", said)
		a.stop()
		b.stop()
		require.NoError(t, a.Wait())
		require.NoError(t, b.Wait())
	}
}

func TestKilledHolderFreesTheLockAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := startDeployer(t, dir, "killed", time.Minute)
	require.Equal(t, "held 1", other.hear(t))
	require.NoError(t, other.Process.Kill())
	began := time.Now()
	var lock *Lock
	require.Eventually(t, func() (ok bool) {
		var err error
		lock, err = take(t, dir, "next", Options{})
		return err == nil
	}, soon, tick)
	assert.Less(t, time.Since(began), soon, "not after the heartbeat timeout of a minute")
	assert.EqualValues(t, 2, lock.Fence())
}

func TestStoppedHolderLosesTheLockWithItsHeartbeat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := startDeployer(t, dir, "stopped", 5*time.Second)
	require.Equal(t, "held 1", other.hear(t))
	require.NoError(t, other.Process.Signal(syscall.SIGSTOP))

	// Its connection is still open, so it holds on for now. Nothing but the missed
	// heartbeat frees the lock. When is not measured: the host starts programs to miss a
	// beat, and this side some to take the lock, which takes seconds on a busy machine.
	var waited Holder
	lock, err := take(t, dir, "next", Options{Wait: time.Minute, Waiting: func(h Holder) { waited = h }})
	require.NoError(t, err)
	assert.Equal(t, "stopped", waited.Actor)
	assert.EqualValues(t, 2, lock.Fence())

	require.NoError(t, other.Process.Signal(syscall.SIGCONT))
	other.stop()
	assert.Contains(t, other.hear(t), "checked the lock is lost")
	assert.NoError(t, lock.Check(t.Context()), "the one that came back must not disturb the new holder")
	assert.FileExists(t, filepath.Join(dir, "lock.json"), "nor take its name away")
}

func TestWaitEndsInALockedFaultAndTellsOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := take(t, dir, "ann", Options{})
	require.NoError(t, err)
	told := 0
	began := time.Now()
	_, err = take(t, dir, "ben", Options{Wait: 1200 * time.Millisecond, Waiting: func(h Holder) {
		told++
		assert.Equal(t, "ann", h.Actor)
	}})
	assert.Equal(t, fault.Locked, fault.Of(err))
	assert.ErrorContains(t, err, "after waiting 1.2s")
	assert.GreaterOrEqual(t, time.Since(began), 1200*time.Millisecond)
	assert.Equal(t, 1, told)
}

func TestWaitGetsTheLockWhenItIsGivenBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := take(t, dir, "ann", Options{})
	require.NoError(t, err)
	second, err := take(t, dir, "ben", Options{Wait: time.Minute, Waiting: func(Holder) {
		assert.NoError(t, first.Release(context.Background()))
	}})
	require.NoError(t, err)
	assert.Equal(t, first.Fence()+1, second.Fence())
}

func TestCancelledWaitLeavesNoWaiter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := take(t, dir, "ann", Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = Acquire(ctx, startLocal, localFiles{}, dir, Holder{Actor: "ben"}, Options{Wait: time.Minute, Waiting: func(Holder) {
		cancel(errors.New("cancelled by the user"))
	}})
	require.ErrorContains(t, err, "cancelled by the user")
	require.NoError(t, first.Release(t.Context()))
	_, err = take(t, dir, "cem", Options{Wait: soon})
	require.NoError(t, err)
}

func TestLockFilesDoNotDecide(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"stale":   `{"actor":"ghost","fence":7}`,
		"damaged": `{"actor":`,
		"empty":   ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "lock.json"), []byte(content), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
			_, err := take(t, dir, "ann", Options{})
			require.NoError(t, err)
			_, err = take(t, dir, "ben", Options{})
			require.ErrorContains(t, err, "held by ann")
		})
	}
}

func TestStaleNameIsNotGivenForAHolderThatHasNotSigned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock.json"), []byte(`{"actor":"ghost","fence":7}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fence"), []byte("8\n"), 0o600))
	h, err := startHold(t.Context(), startLocal, filepath.Join(dir, "lock"), 0, DefaultHeartbeat)
	require.NoError(t, err)
	_, err = take(t, dir, "ben", Options{})
	require.ErrorContains(t, err, "a run that has not said who it is")
	require.NoError(t, h.release(t.Context()))
}

func TestDamagedFenceStillGrows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fence"), []byte("4\x00x"), 0o600))
	lock, err := take(t, dir, "ann", Options{})
	require.NoError(t, err)
	assert.Greater(t, lock.Fence(), int64(1_000_000_000))
}

func TestCheckFailsWhenSomebodyTookOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := take(t, dir, "ann", Options{})
	require.NoError(t, err)
	require.NoError(t, lock.Check(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock.json"), []byte(`{"actor":"ben","fence":9}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fence"), []byte("9\n"), 0o600))
	err = lock.Check(t.Context())
	assert.Equal(t, fault.Interrupted, fault.Of(err))
	assert.EqualError(t, err, "the lock is lost: ben took it over (fence 9, ours was 1)")
}

// cuttable remembers the processes it started, so that a test can cut them off.
type cuttable struct {
	mu   sync.Mutex
	last Process
}

func (c *cuttable) start(ctx context.Context, argv []string) (Process, error) {
	p, err := startLocal(ctx, argv)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = p
	return p, err
}

func TestEndedProcessLosesTheLockAndRegainTakesItBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var host cuttable
	lock, err := Acquire(t.Context(), host.start, localFiles{}, dir, Holder{Actor: "ann"}, Options{Heartbeat: 2 * time.Second})
	require.NoError(t, err)
	lost := lock.Lost()
	require.NoError(t, host.last.Stdin.Close()) // what a cut connection does at the host's end
	select {
	case <-lost:
	case <-time.After(soon):
		require.Fail(t, "the end of the process was not noticed")
	}
	err = lock.Check(t.Context())
	require.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)

	fence := lock.Fence()
	require.NoError(t, lock.Regain(t.Context()))
	assert.NoError(t, lock.Check(t.Context()))
	assert.Equal(t, fence, lock.Fence())
	select {
	case <-lock.Lost():
		require.Fail(t, "the regained lock has a channel of its own")
	default:
	}
	_, err = take(t, dir, "ben", Options{})
	require.ErrorContains(t, err, "held by ann")
	require.NoError(t, lock.Release(t.Context()))
}

func TestRegainIsRefusedAfterSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"still there": false, "gone again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var host cuttable
			lock, err := Acquire(t.Context(), host.start, localFiles{}, dir, Holder{Actor: "ann"}, Options{Heartbeat: time.Second})
			require.NoError(t, err)
			require.NoError(t, host.last.Stdin.Close())
			<-lock.Lost()
			other, err := take(t, dir, "ben", Options{Wait: soon})
			require.NoError(t, err)
			if gone {
				require.NoError(t, other.Release(t.Context()))
			}
			err = lock.Regain(t.Context())
			require.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
			assert.ErrorContains(t, err, "took it over (fence 2, ours was 1)")
			assert.Error(t, lock.Check(t.Context()))
			if !gone {
				assert.NoError(t, other.Check(t.Context()))
			}
		})
	}
}

// A host that is alive but whose answers do not come (half open the other way):
// this side must give up no later than the host does.
func TestUnansweredHeartbeatLosesTheLock(t *testing.T) {
	t.Parallel()
	var pid atomic.Int64
	lock, err := Acquire(t.Context(), func(_ context.Context, argv []string) (Process, error) {
		cmd := exec.Command(argv[0], argv[1:]...)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		pid.Store(int64(cmd.Process.Pid))
		return Process{Stdin: in, Stdout: out, Wait: cmd.Wait, Close: cmd.Process.Kill}, nil
	}, localFiles{}, t.TempDir(), Holder{}, Options{Heartbeat: time.Second})
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(int(pid.Load()), syscall.SIGSTOP))
	stopped := time.Now()
	select {
	case <-lock.Lost():
		assert.Less(t, time.Since(stopped), 2*time.Second)
	case <-time.After(soon):
		require.Fail(t, "the silence was not noticed")
	}
	assert.ErrorContains(t, lock.Check(t.Context()), "did not answer for 1s")
}

func TestStateDirThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A folder in the lock's place: also root cannot write it as a file.
	require.NoError(t, os.Mkdir(filepath.Join(dir, "lock"), 0o700))
	_, err := take(t, dir, "ann", Options{})
	require.Equal(t, fault.Refused, fault.Of(err), "%v", err)
	assert.ErrorContains(t, err, "state-dir: the lock file")
}

func TestHolderNames(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, h := range map[string]Holder{
		"a run that has not said who it is": {},
		"ann":                               {Actor: "ann"},
		"somebody (https://x)":              {RunURL: "https://x"},
		"ann since 2030-01-02 03:04:05 UTC (https://x/run)": {Actor: "ann", Since: at, RunURL: "https://x/run"},
	} {
		assert.Equal(t, want, h.String())
	}
}
