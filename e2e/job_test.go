package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// A job that was at work when its release was cut off, and did not end well since, has its
// work still to do: the same release again runs it again, before what waits for it.
func TestJob_ThatWasKilledRunsAgain(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", jobStack)
	trapVariables(t, f, "JOB=true")
	f.Deploy("v1", 0)

	// It hangs the first time, as a migration does that waits for a lock.
	trapVariables(t, f, "JOB=test -e /state/begun || { touch /state/begun; exec sleep 100000; }")
	run := trapDeploy(t, f, "v2")
	run.await(t, "job: step: gate")
	hung := f.MustUnits()["job"]
	require.Len(t, hung, 1)
	require.Eventually(t, func() bool {
		_, err := f.Docker(t.Context(), "exec", hung[0], "test", "-e", "/state/begun")
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	require.NoError(t, run.cmd.Process.Kill())
	<-run.ended
	trapDocker(t, f, "stop", "-t", "0", hung[0])
	assert.Equal(t, "137", trapDocker(t, f, "inspect", "--format", "{{.State.ExitCode}}", hung[0]))

	f.Deploy("v2", 0, "--lock-wait", "30s")
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	require.Len(t, all["job"], 1, "units, what was killed included")
	assert.NotEqual(t, hung, all["job"])
	assert.Equal(t, "0", trapDocker(t, f, "inspect", "--format", "{{.State.ExitCode}}", all["job"][0]))
	assert.Equal(t, "v2", trapDocker(t, f, "exec", f.MustUnits()["app"][0], "sh", "-c", "echo $VERSION"))
	done := f.Deploy("v2", 0)
	assert.Contains(t, done.Stdout+done.Stderr, "nothing to do", "once is enough")
}
