package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// trapAda is a run of GitHub Actions by Ada, as the lock names it.
func trapAda(f *lab.Fixture) []string {
	return []string{
		"GITHUB_ACTIONS=true", "GITHUB_ACTOR=ada", "GITHUB_SERVER_URL=https://github.example", "GITHUB_REPOSITORY=ada/shop",
		"GITHUB_RUN_ID=77", "GITHUB_WORKSPACE=" + f.Dir,
	}
}

// A deployer that is killed loses the lock at once: its connection ends with it.
// What it left is healed by whoever comes next.
func TestTrap_KilledDeployerLosesTheLockAtOnce(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	f.Deploy("v1", 0)
	load := trapProbe(t, f, "/")
	trapVariables(t, f, "WARMUP=60")
	run := trapBegin(t, f, trapAda(f), f.Args("deploy", "--version", "v2")...)
	run.await(t, "app: step: gate")
	require.NoError(t, run.cmd.Process.Kill())
	<-run.ended

	trapEdit(t, f, lab.EnvFile, "WARMUP=60\n", "")
	// Far less than the heartbeat, which only a silent connection has to wait for.
	f.Deploy("v3", 0, "--lock-wait", "3s")
	trapLossless(t, load.Stop())
	assert.Equal(t, "v3", lab.Serving(t.Context(), f.URL()))
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	assert.Len(t, all["app"], 3, "units, leftovers included")
}

// trapSilent begins a release by Ada that is stopped while its units warm up, with
// the output of another one that waits for the lock: v3, whose units are healthy
// after warmUp seconds. A stopped process is to the host what a cut network is.
func trapSilent(t *testing.T, f *lab.Fixture, warmUp string) (silent, waiting *trapRun) {
	t.Helper()
	trapVariables(t, f, "WARMUP=90")
	silent = trapBegin(t, f, trapAda(f), f.Args("deploy", "--version", "v2")...)
	silent.await(t, "app: step: gate")
	t.Cleanup(func() { _ = silent.cmd.Process.Kill() })
	locked := f.Deploy("v3", 4, "--lock-wait", "0s")
	assert.Regexp(t, `held by ada since .*https://github.example/ada/shop/actions/runs/77`, locked.Stderr)

	trapEdit(t, f, lab.EnvFile, "WARMUP=90", "WARMUP="+warmUp)
	waiting = trapDeploy(t, f, "v3", "--lock-wait", "90s")
	waiting.await(t, "waiting for ada since")
	require.NoError(t, silent.cmd.Process.Signal(syscall.SIGSTOP))
	return silent, waiting
}

// A deployer that falls silent keeps the lock for its heartbeat and no longer.
// Whoever comes meanwhile is told who has it. When it comes back after another
// release, it does nothing any more.
func TestTrap_SilentDeployerLosesTheLockWithItsHeartbeat(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	f.Deploy("v1", 0)
	load := trapProbe(t, f, "/")
	silent, waiting := trapSilent(t, f, "0")
	began := time.Now()
	waiting.await(t, "app: step: pin")
	assert.Less(t, time.Since(began), 40*time.Second, "the heartbeat is 15 s")
	waiting.exit(t, 0)
	units := f.MustUnits()

	events := trapWatch(t, f, "")
	look := trapWatchPins(t, f, units["gate"][0], "app")
	require.NoError(t, silent.cmd.Process.Signal(syscall.SIGCONT))
	silent.exit(t, 5)
	assert.Empty(t, events.all(), "it acted on units although it had lost the lock\n%s", silent.output())
	assert.Equal(t, [][]string{nil}, look()["app"], "it moved traffic although it had lost the lock")
	assert.Equal(t, units, f.MustUnits())
	assert.Contains(t, silent.output(), "lock")
	trapLossless(t, load.Stop())
	assert.Equal(t, "v3", lab.Serving(t.Context(), f.URL()))
	history := f.Shiksha("history").Stdout
	assert.Regexp(t, `(?m)^\* +3 +v3 +verified`, history)
	assert.NotRegexp(t, `v2 +(verified|failed)`, history)
	assert.Contains(t, f.Deploy("v3", 0).Stdout, "nothing to change")
}

// The same, but it comes back while the other release is under way: what it would
// undo is the other's now.
func TestTrap_SilentDeployerDoesNotUndoAnothersRelease(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	f.Deploy("v1", 0)
	load := trapProbe(t, f, "/")
	silent, waiting := trapSilent(t, f, "20")
	waiting.await(t, "app: step: gate")
	gate := f.MustUnits()["gate"][0]
	pinned, whole := trapPins(trapHostsPath(t, f, gate), "app")
	require.True(t, whole)
	require.Len(t, pinned, 3, "the second release has the serving units pinned")
	look := trapWatchPins(t, f, gate, "app")
	require.NoError(t, silent.cmd.Process.Signal(syscall.SIGCONT))
	silent.exit(t, 5)
	sets := look()["app"]
	assert.Len(t, sets, 1, "the pins of the second release stay while it gates: %v\n%s", sets, silent.output())
	waiting.exit(t, 0)
	trapLossless(t, load.Stop())
	assert.Equal(t, "v3", lab.Serving(t.Context(), f.URL()))
	assert.Len(t, f.MustUnits()["app"], 3)
}
