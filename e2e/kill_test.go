package e2e

import (
	"bufio"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// Every instant is safe: the deployer is killed (SIGKILL) as each step of a
// rollout begins. Users are served all the time, and the next deploy, of the same
// or of another version, converges without any cleanup by hand. Leftovers of the
// killed release never pass for the next one.
func TestKilledAtEachStep_UsersAreServedAndTheNextDeployConverges(t *testing.T) {
	f := lab.New(t)
	quick(t, f)
	edit(t, f, "monitor: 1s", "monitor: 0s")
	for _, v := range []string{"k0", "k1", "k2", "k3"} {
		f.MustPublish(lab.Release{Version: v})
	}
	f.Deploy("k0", 0)
	clean := steps(t, f, "k1", -1)
	require.GreaterOrEqual(t, len(clean), 10, "the rollout names its steps: %v", clean)

	versions := []string{"k0", "k1", "k2", "k3"}
	serving := 1
	for at := range clean {
		if os.Getenv("SHIKSHA_EVERY_STEP") == "" && !interesting(clean[at]) {
			continue
		}
		began := time.Now()
		load := f.Load()
		load.Mark(probe.During)
		next := (serving + 1) % len(versions)
		reached := steps(t, f, versions[next], at)
		// The same version converges on odd rounds, yet another one on even ones.
		if at%2 == 0 {
			next = (next + 1) % len(versions)
		}
		f.Deploy(versions[next], 0, "--lock-wait", "30s")
		report, err := load.Stop(t.Context())
		require.NoError(t, err)
		assert.Zero(t, report.Failed, "killed at %q (step %d): %v %v", reached[len(reached)-1], at, report.Failures, report.Samples)
		assert.Zero(t, report.PostsLost+report.PostsDoubled, "killed at %q", clean[at])
		converged(t, f, versions[next])
		serving = next
		t.Logf("killed at %q, converged on %s: %d requests in %s, %d failed, %v", clean[at], versions[next], report.Requests,
			time.Since(began).Round(time.Second), report.Failed, report.Failures)
	}
}

// short are the steps of the short run; the kill of another leaves the host as
// one of these does. SHIKSHA_EVERY_STEP=1 kills at each.
var short = []string{
	"record the start", "api: step: create", "api: step: start", "api: step: gate", "api: step: switch",
	"api: step: reload", "api: step: drain", "api: step: stop", "api: step: remove", "record the end",
}

func interesting(step string) bool {
	return slices.ContainsFunc(short, func(s string) bool { return strings.HasSuffix(step, s) })
}

// quick makes the quickstart's waits short: what is tested is not how long they are.
func quick(t *testing.T, f *lab.Fixture) {
	t.Helper()
	edit(t, f, "monitor: 5s", "monitor: 1s")
	edit(t, f, "stop-first\n        monitor: 1s", "stop-first\n        monitor: 0s")
	atOnce(t, f)
}

// atOnce is for the services of the quickstart that releases leave alone: they are
// not watched after their start, and everybody is asked for health each second.
func atOnce(t *testing.T, f *lab.Fixture) {
	t.Helper()
	trapEdit(t, f, "compose.yaml",
		"interval: 2s", "interval: 1s", "interval: 2s", "interval: 1s",
		"node.role==manager\"]\n", "node.role==manager\"]\n      update_config: { monitor: 0s }\n",
		"quickstart.data==true\"]\n", "quickstart.data==true\"]\n      update_config: { monitor: 0s }\n")
}

// edit replaces text of the fixture's Compose file.
func edit(t *testing.T, f *lab.Fixture, old, with string) {
	t.Helper()
	path := f.Dir + "/compose.yaml"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), old, with, 1)), 0o644))
}

// steps deploys a version and kills the deployer when the step of that index
// begins (-1: never). It gives the steps that began.
func steps(t *testing.T, f *lab.Fixture, version string, kill int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd, err := f.Command(ctx, f.Dir, []string{"RUNNER_DEBUG=1"}, f.Args("deploy", "--version", version, "--lock-wait", "30s")...)
	require.NoError(t, err)
	out, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var seen, log []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		log = append(log, lines.Text())
		_, step, ok := strings.Cut(lines.Text(), "s  ")
		if !ok || !strings.Contains(step, "step: ") {
			continue
		}
		seen = append(seen, step)
		if len(seen) == kill+1 && kill >= 0 {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	err = cmd.Wait()
	if kill < 0 {
		require.NoError(t, err, strings.Join(log, "\n"))
	}
	require.NotEmpty(t, seen, strings.Join(log, "\n"))
	return seen
}

// converged asserts that exactly one release runs, in the right number of units,
// and that nothing is left of any other.
func converged(t *testing.T, f *lab.Fixture, version string) {
	t.Helper()
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	for service, want := range map[string]int{"api": 3, "nginx": 1, "postgres": 1, "worker": 1} {
		assert.Len(t, all[service], want, "units of %s, stopped ones included", service)
	}
	for _, id := range append(all["api"], all["worker"]...) {
		image, err := f.Docker(t.Context(), "inspect", "--format", "{{index .Config.Image}}", id)
		require.NoError(t, err)
		want, err := f.Pinned(t.Context(), f.Registry+"/quickstart/api:"+version)
		require.NoError(t, err)
		assert.Equal(t, want, image)
	}
	hosts, err := f.Docker(t.Context(), "exec", all["nginx"][0], "cat", "/etc/hosts")
	require.NoError(t, err)
	assert.NotContains(t, hosts, "shiksha", "no pin is left in the gateway")
	assert.Equal(t, version, lab.Serving(t.Context(), f.URL()))
}
