package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/report"
)

// checkFile writes a file of checks into the fixture's folder.
func checkFile(t *testing.T, f *lab.Fixture, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(f.Dir, "verify.yml"), []byte(content), 0o644))
}

// outcomes are the outcomes of the checks by name.
func outcomes(t *testing.T, stdout string) (told report.Verification, by map[string]check.Outcome) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(stdout), &told), stdout)
	by = map[string]check.Outcome{}
	for _, r := range told.Checks.Results {
		by[r.Name] = r.Outcome
	}
	return told, by
}

const verifyCanary = "hunter2-TRAP-and-more"

// Verification decides about a release, and about what runs at any later time.
func TestVerify_DecidesAboutWhatRuns(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	quick(t, f)
	trapVariables(t, f, "POSTGRES_PASSWORD="+verifyCanary)
	f.MustPublish(lab.Release{Version: "w1"})
	f.MustPublish(lab.Release{Version: "w2"})
	checkFile(t, f, `
checks:
  - name: version
    window: 1s
    http: {path: /, expect: {body: {contains: "{{version}}"}}}
  - name: database
    postgres: {service: postgres, password: {env: POSTGRES_PASSWORD}}
`)
	f.Deploy("w1", 0, "--checks", "verify.yml", "--url", f.URL())

	t.Run("a check that fails takes the release back", func(t *testing.T) {
		checkFile(t, f, "checks:\n  - name: never\n    timeout: 1s\n    http: {path: /, expect: {status: 418}}\n")
		failed := f.Deploy("w2", 1, "--checks", "verify.yml", "--url", f.URL())
		assert.Contains(t, failed.Stderr, "verification failed: never")
		assert.Contains(t, failed.Stderr, "expected status 418, found status 200")
		converged(t, f, "w1")
	})
	t.Run("one that cannot decide too, and says so", func(t *testing.T) {
		checkFile(t, f, "checks:\n  - name: gpu\n    timeout: 1s\n    gpu: {service: postgres}\n")
		failed := f.Deploy("w2", 1, "--checks", "verify.yml")
		assert.Contains(t, failed.Stderr, "could not decide, which is not a pass")
		converged(t, f, "w1")
	})
	t.Run("no secret is shown, wherever it is told", func(t *testing.T) { verifyShowsNoSecret(t, f) })
	t.Run("without checks what the Compose file promises", func(t *testing.T) {
		fine := f.Shiksha("verify", "--stability-window", "2s", "--json", "--junit", "out/verify.xml")
		require.Zero(t, fine.Exit, fine.Stdout+fine.Stderr)
		told, by := outcomes(t, fine.Stdout)
		assert.Equal(t, map[string]check.Outcome{"containers": check.Pass, "nginx port " + portOf(f): check.Pass}, by)
		assert.Equal(t, "verified", told.Outcome)
		assert.Equal(t, "w1", told.Version)
		assert.FileExists(t, filepath.Join(f.Dir, "out", "verify.xml"))
	})
	t.Run("what is left out is told, and decides nothing", func(t *testing.T) {
		fine := f.Shiksha("verify", "--stability-window", "1s", "--only", "nginx port "+portOf(f), "--json")
		require.Zero(t, fine.Exit, fine.Stdout+fine.Stderr)
		_, by := outcomes(t, fine.Stdout)
		assert.Equal(t, map[string]check.Outcome{"containers": check.Skip, "nginx port " + portOf(f): check.Pass}, by)
	})
	t.Run("and a unit that is killed and not restarted is seen", func(t *testing.T) {
		api := f.MustUnits()["api"][0]
		out, err := exec.Command("docker", "kill", api).CombinedOutput()
		require.NoError(t, err, string(out))
		broken := f.Shiksha("verify", "--stability-window", "1s")
		assert.Equal(t, 1, broken.Exit, broken.Stdout+broken.Stderr)
		assert.Contains(t, broken.Stdout, "exited, exit code 137")
		assert.Contains(t, broken.Stdout, "expected running")
	})
}

// verifyShowsNoSecret runs checks that meet the database's password at every turn, in
// a release and by themselves, on a runner, and looks for it in all that is told.
func verifyShowsNoSecret(t *testing.T, f *lab.Fixture) {
	checkFile(t, f, `
checks:
  - name: it prints the password
    timeout: 1s
    exec: {service: postgres, command: [sh, -c, 'echo "it is $POSTGRES_PASSWORD"; echo "$POSTGRES_PASSWORD" >&2; exit 3']}
  - name: it is told the password
    timeout: 1s
    exec: {service: postgres, command: [sh, -c, 'echo "$TOLD"; exit 3'], env: {TOLD: {env: POSTGRES_PASSWORD}}}
  - name: it looks for it
    timeout: 1s
    exec: {service: postgres, command: [env], stdout: {not_matches: PASSWORD}}
  - name: it sends it
    timeout: 1s
    http: {url: "`+f.URL()+`/nowhere", headers: {X-Api-Key: {env: POSTGRES_PASSWORD, service: postgres}}}
`)
	home := t.TempDir()
	env := []string{"GITHUB_ACTIONS=true", "GITHUB_WORKSPACE=" + f.Dir, "GITHUB_OUTPUT=" + filepath.Join(home, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(home, "summary"),
		"INPUT_HOST=" + f.Host.Address, "INPUT_SSH-KEY=" + string(f.Host.Key), "INPUT_KNOWN-HOSTS=" + string(f.Host.KnownHosts), "INPUT_STATE-DIR=" + f.Host.StateDir,
		"INPUT_PROJECT=" + f.Project, "INPUT_ENV-FILE=" + lab.EnvFile, "INPUT_VERSION=w2", "INPUT_CHECKS=verify.yml", "INPUT_JUNIT=secrets.xml", "INPUT_STABILITY-WINDOW=1s"}
	for _, verb := range []string{"deploy", "verify"} {
		run := trapBegin(t, f, env, verb)
		run.exit(t, 1)
		assert.Contains(t, run.output(), "it prints the password")
		trapNoSecrets(t, "the log of "+verb, run.output(), []string{verifyCanary})
	}
	texts, err := filepath.Glob(filepath.Join(f.Host.StateDir, f.Project, "releases", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, texts, "what is recorded")
	for _, path := range append(texts, filepath.Join(home, "output"), filepath.Join(home, "summary"), filepath.Join(f.Dir, "secrets.xml")) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		trapNoSecrets(t, path, string(text), []string{verifyCanary})
		if filepath.Dir(path) != filepath.Dir(texts[0]) {
			hidden := strings.ReplaceAll(string(text), "&#42;", "*") // as Markdown has it
			assert.Contains(t, hidden, "***", "%s: it was there to be hidden", path)
		}
	}
}

// watched is a stack that is looked after by a Prometheus of its own: one critical
// alert fires all the time, another when the exporter says that something is broken.
const watched = `
x-idle: &idle
  image: shiksha-lab/services:bookworm
  pull_policy: never
  stop_signal: SIGKILL
  deploy: { update_config: { monitor: 0s } }
services:
  exporter:
    <<: *idle
    command: [python3, -m, http.server, "9000", --directory, /srv]
    configs: [{ source: metrics, target: /srv/metrics }]
  prometheus:
    <<: *idle
    command: [prometheus, --config.file=/etc/prometheus.yml, --storage.tsdb.path=/tmp/data]
    configs: [{ source: prometheus, target: /etc/prometheus.yml }, { source: rules, target: /etc/rules.yml }]
configs:
  metrics: { content: "broken ${BROKEN}\nchange ${CHANGE}\n" }
  prometheus:
    content: |
      global: {scrape_interval: 500ms, evaluation_interval: 500ms, scrape_timeout: 400ms}
      rule_files: [/etc/rules.yml]
      scrape_configs: [{job_name: exporter, static_configs: [{targets: ["exporter:9000"]}]}]
  rules:
    content: |
      groups:
        - name: watched
          rules:
            - {alert: Old, expr: "vector(1)", labels: {severity: critical}}
            - {alert: New, expr: "broken > 0", labels: {severity: critical}}
`

// A critical alert that fired before a release is told and not held against it; one
// that is new fails the release, and it goes back.
func TestVerify_AlertsBeforeAndAfter(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", watched)
	checkFile(t, f, `
checks:
  - name: alerts
    window: 6s
    timeout: 8s
    prometheus: {service: prometheus, jobs: [exporter], rules: 2}
`)
	release := func(change, broken string, want int) lab.Result {
		trapWrite(t, f, lab.EnvFile, "CHANGE="+change+"\nBROKEN="+broken+"\n")
		return f.Deploy("v"+change, want, "--checks", "verify.yml", "--json")
	}
	trapWrite(t, f, lab.EnvFile, "CHANGE=1\nBROKEN=0\n")
	f.Deploy("v1", 0)
	require.Eventually(t, func() bool {
		out, err := f.Docker(t.Context(), "exec", f.MustUnits()["prometheus"][0], "python3", "-c",
			"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/api/v1/alerts').read().decode())")
		return err == nil && strings.Contains(out, `"state":"firing"`)
	}, 30*time.Second, 200*time.Millisecond, "the old alert fires")

	_, by := outcomes(t, release("2", "0", 0).Stdout)
	assert.Equal(t, map[string]check.Outcome{"alerts": check.Warn}, by, "it fired before")

	failed := release("3", "1", 1)
	told, by := outcomes(t, failed.Stdout)
	assert.Equal(t, map[string]check.Outcome{"alerts": check.Fail}, by)
	assert.Contains(t, told.Checks.Results[0].Found, "New fires since")
	assert.Equal(t, "no new alert of severity critical", told.Checks.Results[0].Expected)
	metrics, err := f.Docker(t.Context(), "exec", f.MustUnits()["exporter"][0], "cat", "/srv/metrics")
	require.NoError(t, err)
	assert.Contains(t, metrics, "change 2", "it went back")
}

func portOf(f *lab.Fixture) string { return fmt.Sprint(f.Port) }
