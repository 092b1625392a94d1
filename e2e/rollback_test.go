package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// past is what history says of a release.
type past struct {
	Release   int
	Version   string
	Outcome   string
	RollsBack int `json:"rolls_back"`
	Restores  int
	Reason    string
	Lacks     string
	Serves    bool
}

func history(t *testing.T, f *lab.Fixture) []past {
	t.Helper()
	result := f.Shiksha("history", "--json")
	require.Zero(t, result.Exit, result.Stderr)
	var told struct{ Releases []past }
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &told))
	return told.Releases
}

// rollback runs the verb and fails the test unless it ends with the wanted code.
func rollback(t *testing.T, f *lab.Fixture, want int, more ...string) lab.Result {
	t.Helper()
	result := f.Shiksha("rollback", more...)
	require.Equal(t, want, result.Exit, "rollback %v\n%s%s", more, result.Stdout, result.Stderr)
	return result
}

// A whole release comes back under load with its checkout deleted and its registry
// stopped, and nobody notices. What cannot come back is refused before anything
// changes.
func TestRollback_UnderLoadWithoutCheckoutAndRegistry(t *testing.T) {
	f := lab.New(t)
	quick(t, f)
	registry, err := f.StartRegistry(t.Context(), lab.RegistryOptions{})
	require.NoError(t, err)
	stop := func() { require.NoError(t, registry.Stop(context.WithoutCancel(t.Context()))) }
	t.Cleanup(stop)
	trapVariables(t, f, "REGISTRY="+registry.Address)
	refs := map[string]string{}
	for _, version := range []string{"k1", "k2"} {
		refs[version] = registry.Address + "/quickstart/api:" + version
		require.NoError(t, f.Build(t.Context(), refs[version], lab.Release{Version: version}))
		require.NoError(t, registry.Push(t.Context(), refs[version]))
	}
	f.Deploy("k1", 0)
	before := f.MustUnits()
	f.Deploy("k2", 0)
	stop()
	require.NoError(t, os.RemoveAll(f.Dir))
	require.NoError(t, os.MkdirAll(f.Dir, 0o755))

	silent := watchEngine(t, f.Project)
	assert.Regexp(t, `api +surge 3 +image .*:k2 -> :k1`, rollback(t, f, 0, "--dry-run").Stdout)
	silent()

	load := f.Load()
	load.Mark(probe.During)
	back := rollback(t, f, 0, "--reason", "orders were slow")
	report, err := load.Stop(t.Context())
	require.NoError(t, err)
	t.Logf("rolled back in %s, %d requests", back.Took, report.Requests)
	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(t, report.PostsLost+report.PostsDoubled, "orders lost or doubled")
	assert.Equal(t, "k1", lab.Serving(t.Context(), f.URL()))
	assert.Equal(t, before["postgres"], f.MustUnits()["postgres"], "the database was never touched")

	told := history(t, f)
	require.Len(t, told, 3)
	assert.Equal(t, past{Release: 3, Version: "k1", Outcome: "verified", RollsBack: 2, Restores: 1, Reason: "orders were slow", Serves: true}, told[0])
	again := rollback(t, f, 2)
	assert.Contains(t, again.Stderr, "no verified release before release 3 (k1)")
	assert.Contains(t, again.Stderr, "release 2 (k2)")

	imagesGone(t, f, refs["k2"])
}

// imagesGone takes the image of k2 off the host, whose registry is stopped.
func imagesGone(t *testing.T, f *lab.Fixture, ref string) {
	t.Helper()
	pinned, err := f.Pinned(t.Context(), ref)
	require.NoError(t, err)
	for _, name := range []string{"api", "worker"} {
		trapDocker(t, f, "rmi", "shiksha.local/"+f.Project+"/"+name+":release-2")
	}
	trapDocker(t, f, "rmi", ref)
	_, _ = f.Docker(t.Context(), "rmi", pinned) // gone with its last name, or not
	units := f.MustUnits()
	told := history(t, f)
	assert.Contains(t, told[1].Lacks, "api, worker")
	assert.Empty(t, told[2].Lacks)
	gone := rollback(t, f, 2, "--version", "k2")
	assert.Contains(t, gone.Stderr, "release 2 (k2) cannot be restored")
	assert.Contains(t, gone.Stderr, "hint: ")
	assert.Equal(t, units, f.MustUnits())
	assert.Len(t, history(t, f), 3, "a refusal is no release")
}

// miniStack has nothing but what a ledger needs to be filled quickly.
const miniStack = `
services:
  app:
    image: nginx:1.22
    pull_policy: never
    environment: { VERSION: "${VERSION}" }
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
  #extra
`

func mini(t *testing.T) *lab.Fixture {
	t.Helper()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", miniStack)
	return f
}

// The images of releases that are forgotten lose their names, those of services
// that have left the stack as well; the kept ones stay.
func TestRollback_ForgottenReleasesLetTheirImagesGo(t *testing.T) {
	f := mini(t)
	trapEdit(t, f, "compose.yaml", "#extra", "extra: { image: \"nginx:1.22\", pull_policy: never, stop_grace_period: 0s }")
	f.Deploy("m1", 0)
	trapWrite(t, f, "compose.yaml", miniStack)
	f.Deploy("m2", 0, "--remove-orphans")
	f.Deploy("m3", 0)
	assert.Equal(t, []string{"app:release-1", "app:release-2", "app:release-3", "extra:release-1"}, releaseTags(t, f))
	f.Deploy("m4", 0, "--keep-releases", "2")
	assert.Equal(t, []string{"app:release-3", "app:release-4"}, releaseTags(t, f))

	// Bad input names what there is, and changes nothing.
	for _, c := range []struct {
		exit  int
		flags []string
		says  []string
	}{
		{3, []string{"--release", "9"}, []string{"release 9", "release 4 (m4), release 3 (m3)"}},
		{3, []string{"--version", "m1"}, []string{`"m1"`, "release 3 (m3)"}},
		{3, []string{"--release", "3", "--version", "m3"}, []string{"not both"}},
	} {
		result := rollback(t, f, c.exit, c.flags...)
		for _, words := range append(c.says, "hint: ") {
			assert.Contains(t, result.Stderr, words)
		}
	}
	rollback(t, f, 0, "--version", "m3")
	assert.Len(t, releaseTags(t, f), 3, "a rollback prunes nothing")
}

func releaseTags(t *testing.T, f *lab.Fixture) []string {
	t.Helper()
	out := trapDocker(t, f, "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=shiksha.local/"+f.Project+"/*")
	var tags []string
	for _, line := range strings.Fields(out) {
		tags = append(tags, strings.TrimPrefix(line, "shiksha.local/"+f.Project+"/"))
	}
	slices.Sort(tags)
	return tags
}

// A record that cannot be read is neither gone back to nor guessed at: what runs
// and the records around it say where to go.
func TestRollback_WithADamagedLedger(t *testing.T) {
	f := mini(t)
	f.Deploy("d1", 0)
	f.Deploy("d2", 0)
	f.Deploy("d3", 0)
	record := filepath.Join(f.Host.StateDir, f.Project, "releases", "3.json")
	text, err := os.ReadFile(record)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(record, []byte(strings.Replace(string(text), `"d3"`, `"d9"`, 1)), 0o600))

	// A release that fails goes back to what ran, which is no verified record's.
	bad := strings.Replace(miniStack, "deploy:", "healthcheck: { test: [CMD, \"false\"], interval: 1s, retries: 1 }\n    deploy:", 1)
	trapWrite(t, f, "compose.yaml", bad)
	assert.Contains(t, f.Deploy("d4", 1).Stderr, "release 3, which ran and whose record is damaged, serves again")
	assert.Contains(t, trapDocker(t, f, "inspect", "--format", "{{.Config.Env}}", f.MustUnits()["app"][0]), "VERSION=d3")

	assert.Contains(t, rollback(t, f, 2, "--release", "3").Stderr, "the record of release 3 cannot be used")
	back := rollback(t, f, 0)
	assert.Contains(t, back.Stderr, "the ledger is damaged: release 3")
	assert.Contains(t, back.Stderr, "back to release 2 (d2)", "d3 runs, and no record that can be read is of it")
	told := history(t, f)
	assert.Equal(t, 5, told[0].Release)
	assert.Equal(t, 4, told[0].RollsBack)
	assert.Equal(t, "d2", told[0].Version)

	// What runs is release 2 again: a damaged failure after it changes nothing about that.
	assert.Contains(t, rollback(t, f, 0, "--dry-run").Stdout, "back to release 1 (d1)")
}

// jobStack has a job that works once and never again, as a migration by an older
// code does: web comes before it and app after it.
const jobStack = `
x-unit: &unit
  image: postgres:15
  pull_policy: never
  entrypoint: [sh, -c]
  environment: { VERSION: "${VERSION}" }
  stop_grace_period: 0s
  deploy: { update_config: { monitor: 0s } }
services:
  web: { <<: *unit, command: ["exec sleep 100000"] }
  job:
    <<: *unit
    command: ["${JOB}"]
    volumes: ["state:/state"]
    depends_on: { web: { condition: service_started } }
  app: { <<: *unit, command: ["exec sleep 100000"], depends_on: { job: { condition: service_completed_successfully } } }
volumes: { state: {} }
`

// A way back runs no job again: neither the one of a release that failed, nor the
// one that a person asks for. What the older code had to prepare is prepared.
func TestRollback_RunsNoJobAgain(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", jobStack)
	deploy := func(version, job string, want int) lab.Result {
		trapVariables(t, f, "JOB="+job)
		return f.Deploy(version, want)
	}
	runs := func(service string) string {
		return trapDocker(t, f, "exec", f.MustUnits()[service][0], "sh", "-c", "echo $VERSION")
	}
	deploy("v1", "mkdir /state/once", 0)
	failed := deploy("v2", "exit 7", 1)
	assert.Contains(t, failed.Stderr, "ended with exit code 7")
	assert.Contains(t, failed.Stderr, "v1 serves again")
	assert.Equal(t, []string{"v1", "v1"}, []string{runs("web"), runs("app")})
	verified := f.Shiksha("verify", "--stability-window", "1s")
	assert.Zero(t, verified.Exit, verified.Stdout+verified.Stderr)

	deploy("v3", "true", 0)
	assert.Equal(t, "v3", runs("web"))
	rollback(t, f, 0)
	assert.Equal(t, []string{"v1", "v1"}, []string{runs("web"), runs("app")})
	// What v3 left of the job is nobody's doing by hand, and keeps no release out.
	assert.NotContains(t, f.Shiksha("status").Stdout, "not of this release")
	deploy("v4", "true", 0)
	assert.Equal(t, []string{"v4", "v4"}, []string{runs("web"), runs("app")})
}
