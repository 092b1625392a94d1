package e2e

import (
	"syscall"
	"testing"

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
	f := trapMini(t)
	f.Deploy("v1", 0)
	load := trapProbe(t, f, "/")
	trapVariables(t, f, "WARMUP=20")
	run := trapBegin(t, f, trapAda(f), f.Args("deploy", "--version", "v2")...)
	run.await(t, "app: step: gate")
	require.NoError(t, run.cmd.Process.Kill())
	<-run.ended

	trapEdit(t, f, lab.EnvFile, "WARMUP=20\n", "")
	// Far less than the heartbeat, which only a silent connection has to wait for.
	f.Deploy("v3", 0, "--lock-wait", "3s")
	trapLossless(t, load.Stop())
	assert.Equal(t, "v3", lab.Serving(t.Context(), f.URL()))
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	assert.Len(t, all["app"], 3, "units, leftovers included")
}

// A deployer that falls silent (its process is stopped here; to the host that is
// what a cut network looks like) keeps the lock for its heartbeat. Whoever comes
// meanwhile is told who has it. When it comes back after another release, it
// does nothing any more.
func TestTrap_SilentDeployerLosesTheLockWithItsHeartbeat(t *testing.T) {
	f := trapMini(t)
	f.Deploy("v1", 0)
	load := trapProbe(t, f, "/")
	trapVariables(t, f, "WARMUP=8")
	run := trapBegin(t, f, trapAda(f), f.Args("deploy", "--version", "v2")...)
	run.await(t, "app: step: gate")
	require.NoError(t, run.cmd.Process.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = run.cmd.Process.Kill() })

	trapEdit(t, f, lab.EnvFile, "WARMUP=8\n", "")
	locked := f.Deploy("v3", 4, "--lock-wait", "0s")
	assert.Regexp(t, `held by ada since .*https://github.example/ada/shop/actions/runs/77`, locked.Stderr)
	waited := f.Deploy("v3", 0, "--lock-wait", "60s")
	assert.Contains(t, waited.Stderr, "waiting for ada")
	units := f.MustUnits()
	gate := trapHostsPath(t, f, units["gate"][0])

	events := trapWatch(t, f, "")
	look := trapWatchPins(t, f, units["gate"][0], "app")
	require.NoError(t, run.cmd.Process.Signal(syscall.SIGCONT))
	run.exit(t, 5)
	assert.Empty(t, events.all(), "it acted on units although it had lost the lock\n%s", run.output())
	assert.Len(t, look()["app"], 1, "it moved traffic although it had lost the lock")
	assert.Equal(t, units, f.MustUnits())
	addrs, _ := trapPins(gate, "app")
	assert.Empty(t, addrs)
	assert.Contains(t, run.output(), "lock")
	trapLossless(t, load.Stop())
	assert.Equal(t, "v3", lab.Serving(t.Context(), f.URL()))
	history := f.Shiksha("history").Stdout
	assert.Regexp(t, `(?m)^\* +3 +v3 +verified`, history)
	assert.NotRegexp(t, `v2 +(verified|failed)`, history)
	assert.Contains(t, f.Deploy("v3", 0).Stdout, "nothing to change")
}

// The same, stopped while another release is under way when it comes back: what it
// would undo is the other's now.
func TestTrap_SilentDeployerDoesNotUndoAnothersRelease(t *testing.T) {
	f := trapMini(t)
	f.Deploy("v1", 0)
	load := trapProbe(t, f, "/")
	trapVariables(t, f, "WARMUP=15")
	first := trapBegin(t, f, trapAda(f), f.Args("deploy", "--version", "v2")...)
	first.await(t, "app: step: gate")
	require.NoError(t, first.cmd.Process.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = first.cmd.Process.Kill() })

	second := trapDeploy(t, f, "v3", "--lock-wait", "60s")
	second.await(t, "app: step: gate")
	gate := f.MustUnits()["gate"][0]
	pinned, whole := trapPins(trapHostsPath(t, f, gate), "app")
	require.True(t, whole)
	require.Len(t, pinned, 3, "the second release has the serving units pinned")
	look := trapWatchPins(t, f, gate, "app")
	require.NoError(t, first.cmd.Process.Signal(syscall.SIGCONT))
	first.exit(t, 5)
	sets := look()["app"]
	assert.Len(t, sets, 1, "the pins of the second release stay while it gates: %v\n%s", sets, first.output())
	second.exit(t, 0)
	trapLossless(t, load.Stop())
	assert.Equal(t, "v3", lab.Serving(t.Context(), f.URL()))
}
