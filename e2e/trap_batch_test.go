package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// One at a time means one: three replicas are replaced by exactly three new units,
// and there are never more than four.
func TestTrap_ExactlyOneNewUnitABatch(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml", "parallelism: 3", "parallelism: 1")
	f.Deploy("v1", 0)
	before := f.MustUnits()["app"]
	require.Len(t, before, 3)

	events := trapWatch(t, f, "app")
	load := trapProbe(t, f, "/")
	f.Deploy("v2", 0)
	trapLossless(t, load.Stop())

	units, most := 3, 3
	created := map[string]bool{}
	for _, line := range events.all() {
		switch action, id, _ := strings.Cut(line, " "); action {
		case "create":
			created[id] = true
			units++
		case "destroy":
			units--
		}
		most = max(most, units)
	}
	assert.Len(t, created, 3, "new units: %v", events.all())
	assert.Equal(t, 4, most, "units at a time")
	assert.Equal(t, 3, units)
	for _, id := range f.MustUnits()["app"] {
		assert.True(t, created[id], "%s is not one of the new units", id)
	}
}

// The API's v2 is good and takes over; then the worker's v2 fails. The whole
// release goes back: the API serves v1 again, and nobody notices either way.
func TestTrap_FailureInTheSecondServiceTakesTheFirstBack(t *testing.T) {
	f := trapQuick(t, lab.Release{Version: "second-1"}, lab.Release{Version: "second-2"})
	trapEdit(t, f, "compose.yaml", `command: ["worker"]`, `command: ["${WORKER:-worker}"]`)
	f.Deploy("second-1", 0)
	before := f.MustUnits()

	trapVariables(t, f, "WORKER=nonsense")
	load := f.Load()
	load.Mark(probe.During)
	run := trapDeploy(t, f, "second-2")
	run.await(t, "worker: step: gate")
	assert.Equal(t, "second-2", lab.Serving(t.Context(), f.URL()), "the API's new version had taken over")
	run.exit(t, 1)
	report, err := load.Stop(t.Context())
	require.NoError(t, err)

	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(t, report.PostsLost+report.PostsDoubled)
	assert.Equal(t, "second-1", lab.Serving(t.Context(), f.URL()))
	assert.Contains(t, run.output(), `unknown command "nonsense"`, "the failed unit's last words")
	assert.Contains(t, run.output(), "second-1 serves again")
	after := f.MustUnits()
	assert.Len(t, after["api"], 3)
	assert.Equal(t, before["worker"], after["worker"], "the worker that was stopped for the new one runs again")
	assert.Equal(t, before["postgres"], after["postgres"])
	trapEdit(t, f, lab.EnvFile, "WORKER=nonsense\n", "")
	assert.Contains(t, f.Deploy("second-1", 0).Stdout, "nothing to change", "what runs is the release before, to the letter")
}

// A first release that fails leaves nothing that serves, and says so; the next one
// needs no cleanup.
func TestTrap_FirstReleaseThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml", "touch /run/ready", "touch /run/${MARK:-ready}", "retries: 20", "retries: 2", "start_period: 120s", "start_period: 0s")
	trapVariables(t, f, "MARK=else")
	result := f.Deploy("v1", 1)
	assert.Contains(t, result.Stdout, "nothing serves")
	assert.Contains(t, result.Stderr, "this was the first release, so nothing serves")
	assert.Contains(t, result.Stderr, "unhealthy")
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	assert.Empty(t, all, "units that are left")
	assert.Regexp(t, `(?m)^ +1 +v1 +failed`, f.Shiksha("history").Stdout)

	trapEdit(t, f, lab.EnvFile, "MARK=else\n", "")
	f.Deploy("v1", 0)
	assert.Equal(t, "v1", lab.Serving(t.Context(), f.URL()))
}
