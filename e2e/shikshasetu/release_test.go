package shikshasetu

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/report"
)

// units are the 15 units of 12 services.
var units = map[string]int{
	"nginx": 1, "api": 3, "frontend": 1, "celery_worker": 2, "celery_beat": 1, "postgres": 1, "redis": 1,
	"postgres_backup": 1, "vllm": 1, "prometheus": 1, "alertmanager": 1, "grafana": 1,
}

// TestTheStack is one story, because to build it takes minutes. Each stage can be run
// alone on a stack that is left standing.
func TestTheStack(t *testing.T) {
	if !*whole {
		t.Skip("releases 15 units: make e2e-shikshasetu")
	}
	s := open(t, Files)
	if *teardown {
		require.NoError(t, s.TearDown())
		return
	}
	stop := s.weigh()
	defer stop()
	s.first()
	for _, stage := range []struct {
		name string
		run  func(*site)
	}{
		{"units", func(s *site) { s.complete(units) }},
		{"edge", (*site).edge},
		{"exempt", (*site).exempt},
		{"limits", (*site).limits},
		{"verify", (*site).verified},
		{"metrics", (*site).scraped},
		{"million", (*site).million},
		{"roll", (*site).rolls},
		{"bad", (*site).badRelease},
		{"restore", (*site).restores},
		{"documents", (*site).documented},
		{"alerts", (*site).alerts},
		{"back", (*site).goesBack},
	} {
		began := time.Now()
		passed := t.Run(stage.name, func(t *testing.T) { stage.run(s.at(t)) })
		t.Logf("%s: %s", stage.name, time.Since(began).Round(time.Second))
		if !passed && stage.name == "units" {
			break // what follows would fail for the same reason
		}
	}
}

// complete asserts that all units run and are healthy.
func (s *site) complete(units map[string]int) {
	s.t.Helper()
	running := s.MustUnits()
	for service, n := range units {
		assert.Len(s.t, running[service], n, "units of %s", service)
		for _, id := range running[service] {
			state, err := s.Docker(s.t.Context(), "inspect", "--format", "{{.State.Status}} {{.State.Health.Status}} {{.RestartCount}} {{.State.OOMKilled}}", id)
			require.NoError(s.t, err)
			assert.Equal(s.t, "running healthy 0 false", state, service)
		}
	}
}

// edge asserts what users see of nginx.
func (s *site) edge() {
	t := s.t
	plain, err := s.get(fmt.Sprintf("http://localhost:%d/x?y=1", s.Port))
	require.NoError(t, err)
	defer plain.Body.Close()
	assert.Equal(t, http.StatusMovedPermanently, plain.StatusCode)
	assert.Equal(t, "https://localhost/x?y=1", plain.Header.Get("Location"))

	challenge := "/.well-known/acme-challenge/token"
	require.NoError(t, os.MkdirAll(filepath.Join(acme(), filepath.Dir(challenge)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(acme(), challenge), []byte("the answer"), 0o644))
	answered, err := s.get(fmt.Sprintf("http://localhost:%d%s", s.Port, challenge))
	require.NoError(t, err)
	defer answered.Body.Close()
	answer, err := io.ReadAll(answered.Body)
	require.NoError(t, err)
	assert.Equal(t, "the answer", string(answer), "what certbot puts there is shown")

	s.in("nginx", "sh", "-c", "test ! -w /var/www/uploads && test -d /var/www/uploads")
	for path, status := range map[string]int{
		"/": 200, "/deep/link": 200, "/health": 200, "/api/v1/nope": 404, "/api/v1/curriculum/standards": 200, "/docs": 200,
		"/uploads/none.txt": 404, "/assets/none.js": 404, "/metrics": 403, "/.git/config": 404, "/openapi.json": 200,
	} {
		answer, err := s.get(s.url(path))
		require.NoError(t, err, path)
		_ = answer.Body.Close()
		assert.Equal(t, status, answer.StatusCode, path)
		for _, name := range []string{"Strict-Transport-Security", "X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy"} {
			assert.Len(t, answer.Header.Values(name), 1, "%s: %s", path, name)
		}
		assert.GreaterOrEqual(t, int(answer.TLS.Version), 0x0303, path)
	}
	asked, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/"), nil)
	require.NoError(t, err)
	asked.Host = "monitoring.localhost"
	monitoring, err := http.DefaultClient.Do(asked)
	require.NoError(t, err)
	_ = monitoring.Body.Close()
	assert.Equal(t, "grafana", monitoring.Header.Get("X-Stand-In"))
}

// exempt takes the limits off the address that this machine has for nginx: a
// changed file, which is a reload and no replacement.
func (s *site) exempt() {
	s.t.Helper()
	before := s.MustUnits()
	gateways, err := s.Docker(s.t.Context(), "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}", before["nginx"][0])
	require.NoError(s.t, err)
	var text strings.Builder
	for _, address := range strings.Fields(gateways) {
		fmt.Fprintf(&text, "%s/32 0;\n", address)
	}
	s.write("nginx/exempt/addresses.conf", text.String())
	s.release(s.serving(), 0)
	assert.Equal(s.t, before, s.MustUnits(), "a changed file reloads and replaces nothing")
}

// burst sends requests at once; prints how many were let through, how many seconds it
// took, and the answers by status.
const burst = `
import collections, concurrent.futures, ssl, sys, time, urllib.error, urllib.request
context = ssl._create_unverified_context()
def ask(_):
    try:
        return urllib.request.urlopen(urllib.request.Request(sys.argv[1], method=sys.argv[2], data=b"{}" if sys.argv[2] == "POST" else None,
            headers={"Content-Type": "application/json"}), context=context, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
began = time.time()
with concurrent.futures.ThreadPoolExecutor(24) as pool:
    codes = collections.Counter(pool.map(ask, range(150)))
print(150 - codes[429], time.time() - began, *(f"{code}={n}" for code, n in sorted(codes.items())))
`

// limits asserts that an address that is not exempt gets its burst, its requests a
// second and beyond them 429, and no outage.
func (s *site) limits() {
	for _, limit := range []struct {
		method, path, answer string
		rate, burst          float64
	}{
		{"GET", "/api/v1/curriculum/standards/SCI-6-01", " 200=", 10, 20},
		{"POST", "/api/v1/auth/login", " 422=", 5, 10},
		{"POST", "/api/v1/content/simplify", " 401=", 2, 5},
	} {
		out := s.in("api", "python", "-c", burst, "https://nginx"+limit.path, limit.method)
		s.t.Logf("150 at once to %s: %s", limit.path, out)
		var passed, took float64
		_, err := fmt.Sscan(out, &passed, &took)
		require.NoError(s.t, err, out)
		assert.GreaterOrEqual(s.t, passed, limit.burst+1, limit.path)
		assert.LessOrEqual(s.t, passed, limit.burst+2+limit.rate*took, limit.path)
		assert.Contains(s.t, out, " 429=", limit.path)
		assert.NotRegexp(s.t, ` 5\d\d=`, out, limit.path)
		assert.Contains(s.t, out, limit.answer, limit.path)
	}
}

// verified asserts that all thirteen checks pass on what runs.
func (s *site) verified() {
	t := s.t
	// The first sign of the beat comes within a minute of its start; until then it is a warning.
	require.Eventually(t, func() bool { return strings.TrimSpace(s.in("redis", "redis-cli", "EXISTS", "shikshasetu:beat")) == "1" }, 2*time.Minute, time.Second)
	r := s.shiksha("verify", "--checks", "verify.yml", "--url", s.url(""), "--json")
	var told report.Verification
	require.NoError(t, json.Unmarshal([]byte(r.Stdout), &told), r.Stdout+r.Stderr)
	passed := 0
	for _, check := range told.Checks.Results {
		if assert.Equal(t, "pass", string(check.Outcome), "%s: %+v", check.Name, check) {
			passed++
		}
	}
	t.Logf("%d checks passed in %s", passed, r.Took.Round(time.Second))
	assert.Equal(t, 13, passed)
	assert.Zero(t, r.Exit, r.Stderr)
}

// million is the data that is migrated, backed up and restored.
func (s *site) million() {
	s.sql("INSERT INTO standards (code, grade, subject, description) SELECT 'BULK-' || i, 1 + i % 12, 'Bulk', repeat('x', 60) FROM generate_series(1, 1000000) i ON CONFLICT DO NOTHING")
	assert.Equal(s.t, "1000005", s.sql("SELECT count(*) FROM standards"))
	logs, err := s.Docker(s.t.Context(), "logs", s.MustUnits()["postgres"][0])
	require.NoError(s.t, err)
	assert.NotContains(s.t, logs, "terminating any other active server processes", "the database crashed")
}

// kept must be the same containers after a release of the application.
var kept = []string{"postgres", "redis", "vllm", "nginx", "prometheus", "alertmanager", "grafana"}

// rolls releases a version with a migration under load, while tasks run.
func (s *site) rolls() {
	t := s.t
	version, asset := "v2"+s.suffix, s.asset()
	other := Change{File: "frontend/src/app.js", Old: "Try again in a minute.", New: "Try again soon. " + version}
	require.NoError(t, Publish(t.Context(), s.Lab, version, []Change{other}, Parts...))
	before, run := s.MustUnits(), "job"+s.suffix
	load, jobs := s.load(100), s.feed(run)
	time.Sleep(10 * time.Second) // a baseline to compare with
	load.Mark(probe.During)
	// A renewed certificate's reload in the middle must not disturb it.
	renewed := make(chan error, 1)
	time.AfterFunc(20*time.Second, func() { renewed <- s.renew() })
	r := s.release(version, 0, "--checks", "verify.yml", "--url", s.url(""))
	load.Mark(probe.After)
	require.NoError(t, <-renewed)
	time.Sleep(5 * time.Second)
	s.lossless(load.Stop())
	if testing.Verbose() {
		t.Log(r.Stderr)
	}
	after := s.MustUnits()
	for _, service := range kept {
		assert.Equal(t, before[service], after[service], "%s was not to be touched", service)
	}
	assert.Equal(t, version, s.serving())
	assert.NotEqual(t, asset, s.asset(), "the page of this release has an asset of its own")
	assert.Equal(t, http.StatusOK, s.status(asset), "the page of the release before, open in a browser, still finds its own")
	assert.Equal(t, "0002", s.sql("SELECT version_num FROM alembic_version"))
	s.complete(units)
	sent := jobs()
	of := fmt.Sprintf(" FROM job_results WHERE job_id LIKE '%s-%%'", run)
	assert.Eventually(t, func() bool { return s.sql("SELECT count(*)"+of) == sent }, 2*time.Minute, time.Second, "no job is lost")
	assert.Equal(t, sent, s.sql("SELECT sum(runs)"+of), "no job is done twice")
	t.Logf("%s jobs sent all the while, each done once, by workers %s", sent, s.sql("SELECT string_agg(DISTINCT worker, ' ')"+of))
}

// asset loads the page and its program, as a browser does, and gives the program's path.
func (s *site) asset() string {
	s.t.Helper()
	page, err := s.get(s.url("/"))
	require.NoError(s.t, err)
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	require.NoError(s.t, err)
	path := regexp.MustCompile(`/assets/app\.\w+\.js`).FindString(string(text))
	require.NotEmpty(s.t, path, "%s", text)
	require.Equal(s.t, http.StatusOK, s.status(path))
	return path
}

// status is what the edge answers for a path.
func (s *site) status(path string) int {
	s.t.Helper()
	answer, err := s.get(s.url(path))
	require.NoError(s.t, err)
	_ = answer.Body.Close()
	return answer.StatusCode
}

// feeder sends four jobs a second, each of which takes one, until a file is there.
const feeder = `
import os, sys, time
from celery import Celery
app, sent = Celery(broker=os.environ["CE_BROKER_URL"]), 0
while not os.path.exists("/tmp/" + sys.argv[1]):
    app.send_task("pipeline.process", (f"{sys.argv[1]}-{sent}", 1.0), queue="pipeline")
    sent += 1
    time.sleep(0.25)
print(sent)
`

// feed sends jobs from a unit that no release touches, until the returned function is
// asked how many there were.
func (s *site) feed(run string) (stop func() string) {
	s.t.Helper()
	unit, sent := s.MustUnits()["celery_exporter"][0], make(chan string, 1)
	ctx := s.t.Context()
	go func() {
		out, err := s.Docker(ctx, "exec", unit, "python", "-c", feeder, run)
		if err != nil {
			out = err.Error()
		}
		sent <- out
	}()
	return func() string {
		_, err := s.Docker(ctx, "exec", unit, "touch", "/tmp/"+run)
		require.NoError(s.t, err)
		return <-sent
	}
}

// load asks pages, standards and registrations of the edge, rate a second.
func (s *site) load(rate int) *probe.Probe {
	s.t.Helper()
	load, err := probe.Start(s.t.Context(), probe.Config{URL: s.url("/"), Rate: rate, Timeout: 10 * time.Second, Kinds: []probe.Kind{
		{Name: "page", Weight: 4, Path: "/"},
		{Name: "standard", Weight: 10, Path: "/api/v1/curriculum/standards/SCI-6-01"},
		{Name: "fresh", Weight: 3, Path: "/api/v1/curriculum/standards/SCI-7-03", Fresh: true},
		{Name: "register", Every: 500 * time.Millisecond, Method: http.MethodPost, Path: "/api/v1/auth/register", ContentType: "application/json",
			Body: func(id string) []byte {
				return fmt.Appendf(nil, `{"email":"%s@lab.test","password":"a long password"}`, id)
			}},
	}})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { load.Stop() })
	return load
}

// lossless says what users saw and asserts that nothing of it failed.
func (s *site) lossless(report probe.Report) {
	s.t.Helper()
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	before, during := report.Phases[probe.Before], report.Phases[probe.During]
	s.t.Logf("%d requests, %d failed %v, p95 before %s, during %s, p99 during %s, longest gap %s, dropped %d", report.Requests, report.Failed,
		report.Failures, round(before.P95), round(during.P95), round(during.P99), round(report.LongestGap), report.Dropped)
	assert.Zero(s.t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(s.t, report.Dropped, "the load was less than asked for")
	assert.NotZero(s.t, report.Requests)
}

// badRelease asserts that a version that never becomes healthy goes back by
// itself and that users see nothing of it.
func (s *site) badRelease() {
	t := s.t
	good, version := s.serving(), "v3"+s.suffix
	require.NoError(t, Publish(t.Context(), s.Lab, version, Bad, Parts...))
	// The bad one is given up soon.
	overlay, err := os.ReadFile(s.Dir + "/docker-compose.lab.yml")
	require.NoError(t, err)
	const usual = "healthcheck: { interval: 5s, retries: 20 }\n    deploy: { update_config: { monitor: 5s } }"
	require.Contains(t, string(overlay), usual)
	s.write("docker-compose.lab.yml", strings.Replace(string(overlay), usual,
		"healthcheck: { interval: 3s, retries: 3, start_period: 15s }\n    deploy: { update_config: { monitor: 5s } }", 1))
	load := s.load(50)
	r := s.release(version, 1)
	s.lossless(load.Stop())
	assert.Contains(t, r.Stderr, "api")
	assert.Equal(t, good, s.serving())
	s.complete(units)
	s.write("docker-compose.lab.yml", string(overlay))
}

// goesBack asserts that v1 comes back across the migration of v2.
func (s *site) goesBack() {
	t := s.t
	before := s.MustUnits()
	load := s.load(50)
	r := s.shiksha("rollback", "--version", "v1", "--reason", "the test says so")
	s.lossless(load.Stop())
	t.Logf("rollback to v1: exit %d in %s", r.Exit, r.Took.Round(time.Second))
	require.Zero(t, r.Exit, r.Stdout+r.Stderr)
	assert.Equal(t, "v1", s.serving())
	assert.Equal(t, "0002", s.sql("SELECT version_num FROM alembic_version"), "the schema stays")
	s.complete(units)
	after := s.MustUnits()
	for _, service := range []string{"postgres", "redis", "vllm"} {
		assert.Equal(t, before[service], after[service], service)
	}
}
