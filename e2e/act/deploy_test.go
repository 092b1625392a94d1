package act

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

const (
	staging    = ".github/workflows/deploy-staging.yml"
	production = ".github/workflows/deploy-production.yml"
	back       = ".github/workflows/rollback.yml"
	example    = "examples/quickstart/.github/workflows/deploy.yml"
)

// ours is a checkout with this repository's own workflows.
func ours(t *testing.T, f *lab.Fixture) *workspace {
	t.Helper()
	return checkout(t, f, map[string]string{
		staging: staging, production: production, back: back, "e2e/act/testdata/told.yml": ".github/workflows/told.yml",
		"e2e/act/testdata/verify.yml":          ".github/workflows/verify.yml",
		"examples/quickstart/compose.yaml":     "examples/quickstart/compose.yaml",
		"examples/quickstart/nginx/nginx.conf": "examples/quickstart/nginx/nginx.conf",
	})
}

func push(branch string) map[string]any { return map[string]any{"ref": "refs/heads/" + branch} }

func version(v string) map[string]any {
	return map[string]any{"inputs": map[string]any{"version": v, "dry-run": "false"}}
}

// A push to develop is released to staging; production gets a version that dies
// soon after it became healthy, and goes back while users are served; the steps
// after it learn what happened. No secret is in any log.
func TestStagingThenABadVersionInProduction(t *testing.T) {
	wanted(t)
	f := lab.New(t)
	w := ours(t, f)
	commit := w.git("rev-parse", "HEAD")
	f.MustPublish(lab.Release{Version: commit})
	f.MustPublish(lab.Release{Version: "bad", Behaviour: "dies-late"})

	first := w.run(staging, w.event("push", push("develop")))
	require.Zero(t, first.exit, first.log)
	assert.Equal(t, "verified", first.outputs["outcome"])
	assert.Equal(t, "1", first.outputs["release"])
	assert.Equal(t, commit, lab.Serving(t.Context(), f.URL()))
	assert.Contains(t, first.summary, "## ✅")
	assert.Equal(t, []string{"success"}, first.jobs)
	t.Logf("staging took %s", first.took.Round(time.Second))

	load := f.Load()
	load.Mark(probe.During)
	bad := w.run(production, w.event("workflow_dispatch", version("bad")))
	assert.Equal(t, 1, bad.exit, bad.log)
	assert.Contains(t, bad.log, "exit with `FAILURE`: 1", "the action's exit code")
	assert.Equal(t, "failed", bad.outputs["outcome"])
	assert.Equal(t, "2", bad.outputs["release"])
	assert.Equal(t, "0", bad.outputs["probe-failures"])
	assert.Contains(t, bad.summary, "## ❌")
	assert.Equal(t, []string{"failure"}, bad.jobs)
	t.Logf("the bad version took %s", bad.took.Round(time.Second))

	// The step after the action asserts by itself; it fails the job when it is wrong.
	after := w.run(".github/workflows/told.yml", w.event("workflow_dispatch", version("bad")))
	assert.Zero(t, after.exit, after.log)
	assert.Contains(t, after.log, "told: failed, release 3 after 1")
	users, err := load.Stop(t.Context())
	require.NoError(t, err)
	assert.Zero(t, users.Failed, "%v %v", users.Failures, users.Samples)
	assert.Zero(t, users.PostsLost+users.PostsDoubled)
	assert.Equal(t, commit, lab.Serving(t.Context(), f.URL()), "what served before serves again")
	noSecrets(t, f, first, bad, after)
}

// noSecrets looks for the secrets in what act printed.
func noSecrets(t *testing.T, f *lab.Fixture, runs ...told) {
	t.Helper()
	key := strings.Split(string(f.Host.Key), "\n")[2]
	for _, run := range runs {
		require.NotEmpty(t, run.log)
		assert.NotContains(t, run.log, key)
		assert.NotContains(t, run.log, password)
		assert.NotContains(t, run.summary, password)
	}
}

// The workflow that users copy: a pull request gets a plan and changes nothing, a
// push to main releases. The events are the samples of examples/act.
func TestPullRequestIsPlannedAndPushReleased(t *testing.T) {
	wanted(t)
	f := lab.New(t)
	w := checkout(t, f, map[string]string{
		example: ".github/workflows/deploy.yml", "examples/quickstart/compose.yaml": "compose.yaml",
		"examples/quickstart/nginx/nginx.conf": "nginx/nginx.conf",
		"examples/act/pull_request.json":       "pull_request.json", "examples/act/push.json": "push.json",
		"examples/act/dispatch.json": "dispatch.json",
	})
	commit := w.git("rev-parse", "HEAD")
	const head = "0123456789abcdef0123456789abcdef01234567" // of the sample's pull request
	f.MustPublish(lab.Release{Version: commit})
	f.MustPublish(lab.Release{Version: head})

	pushed := w.run(".github/workflows/deploy.yml", []string{"push", "--eventpath", "push.json"})
	require.Zero(t, pushed.exit, pushed.log)
	assert.Equal(t, "verified", pushed.outputs["outcome"])
	units := f.MustUnits()

	planned := w.run(".github/workflows/deploy.yml", []string{"pull_request", "--eventpath", "pull_request.json"})
	assert.Zero(t, planned.exit, planned.log)
	assert.Equal(t, "planned", planned.outputs["outcome"])
	assert.Contains(t, planned.outputs["plan"], "api")
	assert.Contains(t, planned.outputs["changed-services"], "api")
	assert.Contains(t, planned.summary, "## 📋")
	assert.Equal(t, units, f.MustUnits(), "a plan changes nothing")
	assert.Equal(t, commit, lab.Serving(t.Context(), f.URL()))

	f.MustPublish(lab.Release{Version: "v2"})
	dispatched := w.run(".github/workflows/deploy.yml", []string{"workflow_dispatch", "--eventpath", "dispatch.json"})
	assert.Zero(t, dispatched.exit, dispatched.log)
	assert.Equal(t, "v2", lab.Serving(t.Context(), f.URL()))
	again := w.run(".github/workflows/deploy.yml", []string{"workflow_dispatch", "--input", "version=v2"})
	assert.Zero(t, again.exit, again.log)
	assert.Equal(t, "unchanged", again.outputs["outcome"], "the other way to start it, as the documentation shows it")

	// A stranger's pull request has no host and no secret; its plan is for an empty host.
	sample, err := os.ReadFile(filepath.Join(w.dir, "pull_request.json"))
	require.NoError(t, err)
	w.write("fork.json", strings.Replace(string(sample), "team/shop", "stranger/shop", 1))
	w.write(".act/secrets.yaml", "")
	fork := w.run(".github/workflows/deploy.yml", []string{"pull_request", "--eventpath", "fork.json"})
	assert.Zero(t, fork.exit, fork.log)
	assert.Equal(t, "planned", fork.outputs["outcome"])
	assert.Contains(t, fork.summary, "no host was given")
	assert.Equal(t, []string{"success"}, fork.jobs, "the other job is not for it")
	noSecrets(t, f, pushed, planned, dispatched, again, fork)
}

// The action's container is stopped, as docker does it, while old and new units
// run side by side: users are served, the step ends with 5 in time, and the next
// run heals.
func TestStoppedInTheMiddleOfARollout(t *testing.T) {
	wanted(t)
	f := lab.New(t)
	w := ours(t, f)
	f.MustPublish(lab.Release{Version: "v1"})
	f.MustPublish(lab.Release{Version: "v2", WarmUp: "3s"})
	first := w.run(production, w.event("workflow_dispatch", version("v1")))
	require.Zero(t, first.exit, first.log)

	load := f.Load()
	load.Mark(probe.During)
	wait := w.start(production, w.event("workflow_dispatch", version("v2")))
	require.Eventually(t, func() bool { return len(f.MustUnits()["api"]) == 6 }, time.Minute, 50*time.Millisecond)
	took := stop(t, f)
	stopped := wait()
	assert.Equal(t, 1, stopped.exit, stopped.log)
	assert.Contains(t, stopped.log, "exit with `FAILURE`: 5", "the action's exit code")
	assert.Equal(t, "interrupted", stopped.outputs["outcome"])
	assert.Less(t, took, 7*time.Second, "the runner kills what takes longer")
	assert.Equal(t, "v1", lab.Serving(t.Context(), f.URL()))
	t.Logf("the action ended %s after the signal", took.Round(10*time.Millisecond))

	healed := w.run(production, w.event("workflow_dispatch", version("v2")))
	assert.Zero(t, healed.exit, healed.log)
	assert.Equal(t, "verified", healed.outputs["outcome"])
	users, err := load.Stop(t.Context())
	require.NoError(t, err)
	assert.Zero(t, users.Failed, "%v %v", users.Failures, users.Samples)
	assert.Zero(t, users.PostsLost+users.PostsDoubled)
	assert.Equal(t, "v2", lab.Serving(t.Context(), f.URL()))
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	assert.Len(t, all["api"], 3, "nothing is left of the run that was stopped")
}

// stop stops the container that runs the action and says how long it took to end.
func stop(t *testing.T, f *lab.Fixture) time.Duration {
	t.Helper()
	list, err := f.Docker(t.Context(), "ps", "--no-trunc", "--format", "{{.Image}} {{.ID}}")
	require.NoError(t, err)
	for line := range strings.Lines(list) {
		image, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		if image != stage.image {
			continue
		}
		began := time.Now()
		_, err := f.Docker(context.WithoutCancel(t.Context()), "stop", id)
		require.NoError(t, err)
		return time.Since(began)
	}
	require.Fail(t, "no container runs the action", "%s\n%s", stage.image, list)
	return 0
}

// The workflow rollback brings the release before back, without a checkout, while
// users are served; the ledger keeps why.
func TestBackToTheReleaseBefore(t *testing.T) {
	wanted(t)
	f := lab.New(t)
	w := ours(t, f)
	f.MustPublish(lab.Release{Version: "v1"})
	f.MustPublish(lab.Release{Version: "v2"})
	for _, v := range []string{"v1", "v2"} {
		deployed := w.run(production, w.event("workflow_dispatch", version(v)))
		require.Zero(t, deployed.exit, deployed.log)
	}
	load := f.Load()
	load.Mark(probe.During)
	const reason = "orders fail since v2"
	went := w.run(back, w.event("workflow_dispatch", map[string]any{"inputs": map[string]any{"reason": reason}}))
	users, err := load.Stop(t.Context())
	require.NoError(t, err)
	require.Zero(t, went.exit, went.log)
	assert.Equal(t, "verified", went.outputs["outcome"])
	assert.Equal(t, "3", went.outputs["release"], "a rollback is a release of its own")
	assert.Equal(t, "v1", lab.Serving(t.Context(), f.URL()))
	assert.Zero(t, users.Failed, "%v %v", users.Failures, users.Samples)
	record, err := os.ReadFile(filepath.Join(f.Host.StateDir, f.Project, "releases", "3.json"))
	require.NoError(t, err)
	assert.Contains(t, string(record), reason, "the ledger keeps why")
	noSecrets(t, f, went)
}

// An input that is missing is named, with its mend, before anything is connected
// to: the step ends with 3 and the run says so.
func TestMissingInputIsNamed(t *testing.T) {
	wanted(t)
	w := ours(t, lab.New(t))
	w.write(".act/vars.yaml", "DEPLOY_HOST: ''\n")
	missing := w.run(production, w.event("workflow_dispatch", version("v1")))
	assert.Equal(t, 1, missing.exit, missing.log)
	assert.Contains(t, missing.log, "exit with `FAILURE`: 3", "the action's exit code")
	assert.Contains(t, missing.log, "host")
	assert.Contains(t, missing.log, "known-hosts")
	assert.Equal(t, "bad-input", missing.outputs["outcome"])
	assert.Contains(t, missing.summary, "## ⛔ bad-input")
	assert.Contains(t, missing.summary, "host: is required")
	assert.Equal(t, []string{"failure"}, missing.jobs)
	noSecrets(t, w.Fixture, missing)
}
