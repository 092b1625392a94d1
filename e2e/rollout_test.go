package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// The product's one big promise, on real parts: a release rolls under load and
// loses nothing; a bad one goes back and loses nothing.
func TestRollout_UnderLoadLosesNothing(t *testing.T) {
	f := lab.New(t)
	quick(t, f)
	f.MustPublish(lab.Release{Version: "r1"})
	f.MustPublish(lab.Release{Version: "r2"})
	f.MustPublish(lab.Release{Version: "r3", Behaviour: "dies-late"})
	edit(t, f, "monitor: 1s", "monitor: 5s")
	f.Deploy("r1", 0)
	before := f.MustUnits()

	load := f.Load()
	load.Mark(probe.During)
	f.Deploy("r2", 0)
	workers := nginxWorkers(t, before["nginx"][0])
	f.Deploy("r3", 1)
	assert.Equal(t, workers, nginxWorkers(t, before["nginx"][0]), "what fails at its gate reloads no gateway")
	report, err := load.Stop(t.Context())
	require.NoError(t, err)

	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(t, report.PostsLost, "orders lost")
	assert.Zero(t, report.PostsDoubled, "orders doubled")
	assert.Greater(t, report.Requests, 1000)
	assert.Zero(t, report.Dropped, "the load kept up")
	converged(t, f, "r2")
	after := f.MustUnits()
	assert.Equal(t, before["postgres"], after["postgres"], "the database was never touched")
	assert.Equal(t, before["nginx"], after["nginx"], "the gateway was never replaced")
	for _, id := range before["api"] {
		assert.NotContains(t, after["api"], id)
	}
}

// nginxWorkers are the worker processes of an nginx that are not on their way out: a reload
// gives it others.
func nginxWorkers(t *testing.T, id string) (pids []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "top", id, "-eo", "pid,args").Output()
	require.NoError(t, err)
	for line := range strings.SplitSeq(string(out), "\n") {
		if pid, what, _ := strings.Cut(strings.TrimSpace(line), " "); strings.Contains(what, "nginx: worker process") && !strings.Contains(what, "shutting down") {
			pids = append(pids, pid)
		}
	}
	require.NotEmpty(t, pids, "%s", out)
	return pids
}

// A dry run tells what would happen and changes nothing: the engine's own event
// stream stays silent.
func TestDryRun_ChangesNothing(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	quick(t, f)
	f.MustPublish(lab.Release{Version: "d1"})
	second := f.MustPublish(lab.Release{Version: "d2"})
	require.NoError(t, f.Forget(t.Context(), second))

	first := f.Shiksha("plan", "--version", "d1")
	assert.Equal(t, 0, first.Exit, first.Stderr)
	assert.Contains(t, first.Stdout, "create 3", "a plan for an empty host")
	f.Deploy("d1", 0)

	silent := watchEngine(t, f.Project)
	plan := f.Deploy("d2", 0, "--dry-run")
	assert.Regexp(t, `api +surge 3 +image .*quickstart/api:d1 -> :d2`, plan.Stdout)
	assert.Regexp(t, `api +pull +\S+ [KMG]iB of .*quickstart/api@sha256:`, plan.Stdout, "what the host lacks, by its registry")
	assert.Regexp(t, `postgres +unchanged`, plan.Stdout)
	assert.Regexp(t, `worker +stop-first 1`, plan.Stdout)
	assert.Regexp(t, `interruption: about \d+s: stops before it starts`, plan.Stdout, "by the record of its first start")
	early := f.Deploy("d3", 0, "--dry-run") // of a pull request, whose image is built after the merge
	assert.Regexp(t, `api +surge 3 +image .*quickstart/api:d1 -> :d3`, early.Stdout)
	assert.Contains(t, early.Stderr, "quickstart/api:d3 is in no registry yet")
	silent()
	assert.Equal(t, "d1", lab.Serving(t.Context(), f.URL()))
	history := f.Shiksha("history", "--json")
	assert.Equal(t, 1, strings.Count(history.Stdout, `"release":`), "a dry run is no release:\n%s", history.Stdout)
}

// watchEngine records the engine's events of a project's containers, networks and
// volumes; the function it gives asserts that there were none but looks inside
// running units (exec), which change nothing.
func watchEngine(t *testing.T, project string) (silent func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "docker", "events", "--filter", "label=com.docker.compose.project="+project, "--format", "{{json .Action}}")
	var out strings.Builder
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	time.Sleep(300 * time.Millisecond) // docker events says nothing when it is ready
	return func() {
		t.Helper()
		time.Sleep(300 * time.Millisecond)
		cancel()
		_ = cmd.Wait()
		for line := range strings.SplitSeq(out.String(), "\n") {
			if line != "" && !strings.HasPrefix(line, `"exec_`) && !strings.HasPrefix(line, `"health_status`) {
				t.Errorf("the engine reported %q", line)
			}
		}
	}
}

// Deploying what runs already restarts nothing and makes no release; changing only
// the gateway's configuration reloads it in place.
func TestAgainAndReload_ReplaceNothing(t *testing.T) {
	f := lab.New(t)
	quick(t, f)
	f.MustPublish(lab.Release{Version: "a1"})
	f.Deploy("a1", 0)
	before := f.MustUnits()

	again := f.Deploy("a1", 0)
	assert.Contains(t, again.Stdout, "nothing to change")
	assert.Equal(t, before, f.MustUnits())

	conf := filepath.Join(f.Dir, "nginx", "nginx.conf")
	text, err := os.ReadFile(conf)
	require.NoError(t, err)
	changed := strings.Replace(string(text), "location / {", "location = /reloaded { return 200 \"yes\"; }\n    location / {", 1)
	require.NotEqual(t, string(text), changed)
	require.NoError(t, os.WriteFile(conf, []byte(changed), 0o644))
	load := f.Load()
	f.Deploy("a1", 0)
	report, err := load.Stop(t.Context())
	require.NoError(t, err)
	assert.Zero(t, report.Failed, "%v", report.Failures)
	assert.Equal(t, before, f.MustUnits(), "reloaded, not replaced")
	out, err := exec.CommandContext(t.Context(), "curl", "-s", f.URL()+"/reloaded").Output()
	require.NoError(t, err)
	assert.Equal(t, "yes", string(out))

	// A configuration that does not pass nginx's own test is refused and never read.
	require.NoError(t, os.WriteFile(conf, []byte(changed+"\nnonsense;\n"), 0o644))
	bad := f.Deploy("a1", 2)
	assert.Contains(t, bad.Stderr, "nonsense")
	require.NoError(t, os.WriteFile(conf, []byte(changed), 0o644))
	assert.Contains(t, f.Deploy("a1", 0).Stdout, "nothing to change", "the file on the host is the good one again")
	assert.Equal(t, before, f.MustUnits())
}

// What runs and what was released is readable by people and programs.
func TestStatusAndHistory(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	quick(t, f)
	f.MustPublish(lab.Release{Version: "s1"})
	f.MustPublish(lab.Release{Version: "s2", Behaviour: "dies-late"})
	f.Deploy("s1", 0)
	edit(t, f, "monitor: 1s", "monitor: 5s")
	f.Deploy("s2", 1)

	status := f.Shiksha("status")
	assert.Equal(t, 0, status.Exit, status.Stderr)
	assert.Regexp(t, `release 1 \(s1\)`, status.Stdout)
	assert.Regexp(t, `api +3/3 +ok`, status.Stdout)
	var told struct {
		Services []struct{ Service string }
	}
	require.NoError(t, json.Unmarshal([]byte(f.Shiksha("status", "--json").Stdout), &told))
	assert.Len(t, told.Services, 4)

	history := f.Shiksha("history")
	assert.Regexp(t, `(?m)^ +2 +s2 +failed`, history.Stdout)
	assert.Regexp(t, `(?m)^\* +1 +s1 +verified`, history.Stdout)
}

// More failed requests than the budget allows roll a release back that its own
// healthcheck would have let pass.
func TestProbe_OverBudgetRollsBack(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	quick(t, f)
	f.MustPublish(lab.Release{Version: "p1"})
	f.MustPublish(lab.Release{Version: "p2"})
	f.Deploy("p1", 0)
	// A page that is not there fails from the first request on: over any budget.
	r := f.Deploy("p2", 1, "--probe-url", f.URL()+"/no-such-page", "--probe-rate", "50")
	assert.Contains(t, r.Stderr, "probe-budget")
	converged(t, f, "p1")

	ok := f.Deploy("p2", 0, "--probe-url", f.URL()+"/", "--probe-rate", "50", "--json")
	var report struct {
		Probe struct{ Requests, Failed int }
	}
	require.NoError(t, json.Unmarshal([]byte(ok.Stdout), &report))
	assert.Greater(t, report.Probe.Requests, 100)
	assert.Zero(t, report.Probe.Failed)
	converged(t, f, "p2")

	// A gateway that stops before it starts loses requests, as the plan says.
	edit(t, f, "image: nginx:1.22\n", "image: nginx:1.22\n    environment: { TZ: UTC }\n")
	r = f.Deploy("p2", 0, "--probe-url", f.URL()+"/", "--probe-rate", "50")
	assert.Contains(t, r.Stderr, "failed in interruptions that the plan announces")
	converged(t, f, "p2")
}
