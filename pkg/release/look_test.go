package release

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func lookAt(t *testing.T, dir string) Sight {
	t.Helper()
	return Look(t.Context(), startLocal, localFiles{}, dir)
}

// Who looks is told who holds the lock, also of a holder whose own flock is gone by
// then, and that nobody does once it was given back or its process was killed.
func TestALookSaysWhoHoldsTheLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	assert.Equal(t, Sight{Hand: Free}, lookAt(t, dir), "nothing was released yet")
	first, err := take(t, dir, "ann", Options{})
	require.NoError(t, err)
	seen := lookAt(t, dir)
	assert.Equal(t, Held, seen.Hand)
	assert.Equal(t, []any{"ann", "https://example.org/ann", first.Fence()}, []any{seen.Holder.Actor, seen.Holder.RunURL, seen.Fence})
	assert.WithinDuration(t, time.Now(), seen.Holder.Since, time.Minute)

	// One that had to wait has it by a flock(1) of its own.
	second := make(chan *Lock, 1)
	go func() {
		lock, err := take(t, dir, "ben", Options{Wait: time.Minute, Waiting: func(Holder) {
			_ = first.Release(context.Background())
		}})
		assert.NoError(t, err)
		second <- lock
	}()
	lock := <-second
	require.NotNil(t, lock)
	assert.Equal(t, "ben", lookAt(t, dir).Holder.Actor)
	require.NoError(t, lock.Release(t.Context()))
	assert.Equal(t, Sight{Hand: Free}, lookAt(t, dir))

	other := startDeployer(t, dir, "killed", time.Minute)
	require.Equal(t, "held 3", other.hear(t))
	require.NoError(t, other.Process.Kill())
	require.Eventually(t, func() bool { return lookAt(t, dir) == Sight{Hand: Free} }, soon, tick)
	assert.FileExists(t, filepath.Join(dir, "lock.json"), "what is left in files does not decide")
}

// Looks take no lock for any moment: somebody who tries without waiting while others
// look and look gets it each time.
func TestALookIsNotNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	looked := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			Look(ctx, startLocal, localFiles{}, dir)
			n++
		}
		looked <- n
	}()
	for range 20 {
		lock, err := take(t, dir, "ann", Options{})
		require.NoError(t, err)
		require.NoError(t, lock.Check(t.Context()))
		require.NoError(t, lock.Release(t.Context()))
	}
	stop()
	assert.Positive(t, <-looked)
}

// On every shell that a host may have, and with no other program.
func TestALookOnEveryShell(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash", "busybox"} {
		program, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here: not tried", shell)
			continue
		}
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			bin, dir := t.TempDir(), t.TempDir()
			require.NoError(t, os.Symlink(program, filepath.Join(bin, "sh")))
			look := func() Sight { return Look(t.Context(), startWithPath(bin), localFiles{}, dir) }
			assert.Equal(t, Sight{Hand: Free}, look())
			lock, err := take(t, dir, "ann", Options{})
			require.NoError(t, err)
			assert.Equal(t, "ann", look().Holder.Actor)
			require.NoError(t, lock.Release(t.Context()))
			assert.Equal(t, Sight{Hand: Free}, look())
		})
	}
}

// What the host does not tell is not taken for a lock that is free.
func TestALookThatSeesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "lock"))
	require.NoError(t, err)
	defer file.Close()
	// Somebody has the file and no lock on it, as a kernel that does not tell has it.
	cmd := exec.Command("sh", "-c", `exec 9>>"$1"; echo open; read -r _`, "x", file.Name())
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 5))
	require.NoError(t, err)
	seen := lookAt(t, dir)
	assert.Equal(t, Unseen, seen.Hand)
	assert.Contains(t, seen.Why, "somebody is at the lock")
	require.NoError(t, in.Close())
	_ = cmd.Wait()

	seen = Look(t.Context(), func(context.Context, []string) (Process, error) { return Process{}, errors.New("it is away") }, localFiles{}, dir)
	assert.Equal(t, Sight{Hand: Unseen, Why: "look at the lock: it is away"}, seen)
}

func TestHowAReleaseStands(t *testing.T) {
	t.Parallel()
	started := Record{Number: 11, Fence: 7, Outcome: Started}
	for _, c := range []struct {
		seen   Sight
		record Record
		want   Standing
	}{
		{Sight{Hand: Held, Fence: 7}, started, UnderWay},
		{Sight{Hand: Held, Fence: 8}, started, CutOff},
		{Sight{Hand: Held}, started, Unknown},
		{Sight{Hand: Free}, started, CutOff},
		{Sight{Hand: Unseen}, started, Unknown},
		{Sight{}, started, Unknown},
		{Sight{Hand: Held, Fence: 8}, Record{Outcome: Started}, UnderWay},
		{Sight{Hand: Free}, Record{Fence: 7, Outcome: Interrupted}, Ended},
		{Sight{Hand: Held, Fence: 7}, Record{Fence: 7, Outcome: Verified}, Ended},
	} {
		assert.Equal(t, c.want, c.seen.Of(c.record), "%+v", c)
	}
}

func TestWhatIsToldOfARelease(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	r := Record{Number: 12, Version: "v2", Actor: "ann", RunURL: "https://example.org/1", Started: at, Ended: at.Add(time.Minute), Outcome: Started}
	held := Sight{Hand: Held, Fence: 7, Holder: Holder{Actor: "ann", Since: at}}
	assert.Equal(t, "release 12 (v2) is under way, by ann since 2026-03-01 09:00:00 UTC", r.Told(held))
	assert.Equal(t, "release 12 (v2) by ann (https://example.org/1), begun at 2026-03-01 09:00:00 UTC, was cut off", r.Told(Sight{Hand: Free}))
	assert.Equal(t, "release 12 (v2) by ann (https://example.org/1), begun at 2026-03-01 09:00:00 UTC, has recorded no end", r.Told(Sight{}))
	r.Outcome = Verified
	assert.Equal(t, "release 12 (v2) by ann (https://example.org/1) ended as verified at 2026-03-01 09:01:00 UTC", r.Told(held))
	assert.Equal(t, "release 3 by a run that has not said who it is ended as failed at 2026-03-01 09:00:00 UTC", Record{Number: 3, Outcome: Failed, Ended: at}.Told(Sight{}))
}
