package act

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// The action verify says that what was released runs; when a unit is gone it
// fails, and its outputs, summary and JUnit file say which check did.
func TestVerifySeesWhatRuns(t *testing.T) {
	wanted(t)
	f := lab.New(t)
	w := ours(t, f)
	f.MustPublish(lab.Release{Version: "v1"})
	first := w.run(production, w.event("workflow_dispatch", version("v1")))
	require.Zero(t, first.exit, first.log)

	well := w.run(".github/workflows/verify.yml", w.event("workflow_dispatch", version("v1")))
	require.Zero(t, well.exit, well.log)
	assert.Equal(t, "verified", well.outputs["outcome"])
	assert.Equal(t, "0", well.outputs["failed"])
	passed, err := strconv.Atoi(well.outputs["passed"])
	require.NoError(t, err)
	assert.Positive(t, passed)
	assert.Contains(t, well.log, "told: verified, "+well.outputs["passed"]+" passed, 0 failed")
	assert.Contains(t, well.summary, "## ✅")
	t.Logf("verify took %s", well.took)

	_, err = f.Docker(t.Context(), "rm", "--force", f.MustUnits()["worker"][0])
	require.NoError(t, err)
	ill := w.run(".github/workflows/verify.yml", w.event("workflow_dispatch", version("v1")))
	assert.Equal(t, 1, ill.exit, ill.log)
	assert.Contains(t, ill.log, "exit with `FAILURE`: 1", "the action's exit code")
	assert.Equal(t, "failed", ill.outputs["outcome"])
	assert.Equal(t, "1", ill.outputs["failed"])
	assert.Contains(t, ill.log, "told: failed, ", "the step after it has the outputs too")
	assert.Contains(t, ill.summary, "worker")
	assert.Equal(t, []string{"failure"}, ill.jobs)
	noSecrets(t, f, first, well, ill)
}
