package shikshasetu

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/probe"
)

// units are the 15 units of 12 services.
var units = map[string]int{
	"nginx": 1, "api": 3, "frontend": 1, "celery_worker": 2, "celery_beat": 1, "postgres": 1, "redis": 1,
	"postgres_backup": 1, "vllm": 1, "prometheus": 1, "alertmanager": 1, "grafana": 1,
}

// TestTheStack is one story, because to build it takes minutes: a first release,
// its edge, a release with a migration under load, a bad one, and the alerts.
func TestTheStack(t *testing.T) {
	s := start(t)
	s.complete()
	s.edge()
	s.exempt()
	s.limits()
	s.rollsUnderLoad()
	s.badRelease()
	s.restores()
	s.alerts()
}

// complete asserts that all units run and are healthy.
func (s *site) complete() {
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

	s.in("nginx", "sh", "-c", "test ! -w /var/www/uploads && test -d /var/www/uploads")
	for path, status := range map[string]int{
		"/": 200, "/deep/link": 200, "/health": 200, "/api/v1/nope": 404, "/api/v1/curriculum/standards": 200, "/docs": 200,
		"/uploads/none.txt": 404, "/metrics": 403, "/.git/config": 404, "/openapi.json": 200,
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
	s.release("v1", 0)
	assert.Equal(s.t, before, s.MustUnits(), "a changed file reloads and replaces nothing")
}

// limits asserts that an address that is not exempt gets 429, and no outage.
func (s *site) limits() {
	const burst = `
import collections, concurrent.futures, ssl, sys, urllib.error, urllib.request
context = ssl._create_unverified_context()
def ask(_):
    try:
        return urllib.request.urlopen(urllib.request.Request(sys.argv[1], method=sys.argv[2], data=b"{}" if sys.argv[2] == "POST" else None,
            headers={"Content-Type": "application/json"}), context=context, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
with concurrent.futures.ThreadPoolExecutor(24) as pool:
    print(*(f"{code}={n}" for code, n in sorted(collections.Counter(pool.map(ask, range(150))).items())))
`
	for path, expect := range map[string]string{
		"GET /api/v1/curriculum/standards": "200=", "POST /api/v1/auth/login": "422=", "POST /api/v1/content/simplify": "40|42",
	} {
		method, path, _ := strings.Cut(path, " ")
		out := s.in("api", "python", "-c", burst, "https://nginx"+path, method)
		s.t.Logf("150 at once to %s: %s", path, out)
		assert.Contains(s.t, out, "429=", path)
		assert.NotContains(s.t, out, "50", path)
		assert.Regexp(s.t, expect, out, path)
	}
}

// kept must be the same containers after a release of the application.
var kept = []string{"postgres", "redis", "vllm", "nginx", "prometheus", "alertmanager", "grafana"}

func (s *site) rollsUnderLoad() {
	t := s.t
	s.sql("INSERT INTO standards (code, grade, subject, description) SELECT 'BULK-' || i, 1 + i % 12, 'Bulk', repeat('x', 60) FROM generate_series(1, 1000000) i")
	require.NoError(t, Publish(t.Context(), s.Lab, "v2", nil))
	before := s.MustUnits()
	load, err := probe.Start(t.Context(), probe.Config{URL: s.url("/"), Rate: 100, Timeout: 10 * time.Second, Kinds: []probe.Kind{
		{Name: "page", Weight: 4, Path: "/"},
		{Name: "standard", Weight: 10, Path: "/api/v1/curriculum/standards/SCI-6-01"},
		{Name: "fresh", Weight: 3, Path: "/api/v1/curriculum/standards/SCI-7-03", Fresh: true},
		{Name: "register", Every: 500 * time.Millisecond, Method: http.MethodPost, Path: "/api/v1/auth/register", ContentType: "application/json",
			Body: func(id string) []byte {
				return fmt.Appendf(nil, `{"email":"%s@lab.test","password":"a long password"}`, id)
			}},
	}})
	require.NoError(t, err)
	defer load.Stop()
	const jobs = 120
	s.in("api", "python", "-c", fmt.Sprintf("from backend.tasks.pipeline import process\nfor i in range(%d): process.delay(f'job-{i}', 4)", jobs))
	time.Sleep(10 * time.Second) // a baseline to compare with
	load.Mark(probe.During)
	// A renewed certificate's reload in the middle must not disturb it.
	renewal := time.AfterFunc(20*time.Second, func() {
		_, _ = s.Docker(t.Context(), "exec", before["nginx"][0], "nginx", "-s", "reload")
	})
	defer renewal.Stop()
	s.release("v2", 0)
	load.Mark(probe.After)
	time.Sleep(5 * time.Second)
	report := load.Stop()
	after := s.MustUnits()
	t.Logf("%d requests, %d failed %v, longest gap %s, p99 before %s, during %s, dropped %d", report.Requests, report.Failed, report.Failures,
		report.LongestGap.Round(time.Millisecond), report.P99Before.Round(time.Millisecond), report.P99During.Round(time.Millisecond), report.Dropped)
	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(t, report.Dropped, "the load was less than asked for")
	for _, service := range kept {
		assert.Equal(t, before[service], after[service], "%s was not to be touched", service)
	}
	assert.Equal(t, "0002", s.sql("SELECT version_num FROM alembic_version"))
	s.complete()
	assert.Eventually(t, func() bool { return s.sql("SELECT count(*) FROM job_results") == fmt.Sprint(jobs) }, 2*time.Minute, time.Second, "no job is lost")
	assert.Equal(t, fmt.Sprint(jobs), s.sql("SELECT sum(runs) FROM job_results"), "no job is done twice")
}

// badRelease asserts that a version that never becomes healthy goes back by
// itself and that users see nothing of it.
func (s *site) badRelease() {
	t := s.t
	require.NoError(t, Publish(t.Context(), s.Lab, "v3", Bad))
	// The bad one is given up soon.
	overlay, err := os.ReadFile(s.Dir + "/docker-compose.lab.yml")
	require.NoError(t, err)
	s.write("docker-compose.lab.yml", strings.Replace(string(overlay), "healthcheck: { interval: 5s, retries: 20 }", "healthcheck: { interval: 3s, retries: 3, start_period: 15s }", 1))
	load, err := probe.Start(t.Context(), probe.Config{URL: s.url("/api/v1/curriculum/standards/SCI-6-01"), Rate: 50})
	require.NoError(t, err)
	r := s.release("v3", 1)
	report := load.Stop()
	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Contains(t, r.Stderr, "api")
	answer, err := s.get(s.url("/version"))
	require.NoError(t, err)
	_ = answer.Body.Close()
	assert.Equal(t, "v2", answer.Header.Get("X-Release"))
	s.complete()
	s.write("docker-compose.lab.yml", string(overlay))
}

// restores takes a backup of a million rows and proves it by a real restore.
func (s *site) restores() {
	t := s.t
	began := time.Now()
	dump := s.in("postgres_backup", "python", "-c", "from backend.backup import Keeper; print(Keeper.of_environment().take())")
	took := time.Since(began)
	began = time.Now()
	s.in("postgres", "createdb", "-U", "shikshasetu", "proof")
	s.in("postgres_backup", "pg_restore", "--exit-on-error", "--no-password", "--dbname", "proof", dump)
	rows := s.in("postgres", "psql", "-U", "shikshasetu", "-d", "proof", "-AtXc", "SELECT count(*) FROM standards")
	t.Logf("backup of 1,000,005 rows: %s, restore: %s", took.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))
	assert.Equal(t, s.sql("SELECT count(*) FROM standards"), rows)
	s.in("postgres", "dropdb", "-U", "shikshasetu", "proof")
}

// alerts stops parts and waits until Slack was told.
func (s *site) alerts() {
	t := s.t
	running := s.MustUnits()
	stop := []string{running["postgres"][0], running["redis"][0], running["api"][0], running["api"][1]}
	_, err := s.Docker(t.Context(), append([]string{"stop", "--time", "5"}, stop...)...)
	require.NoError(t, err)
	for _, want := range []struct{ channel, alert string }{
		{"#dba-alerts", "PostgresDown"}, {"#alerts-critical", "PostgresDown"},
		{"#dba-alerts", "RedisDown"}, {"#alerts-critical", "ApiDown"},
	} {
		assert.Eventually(t, func() bool { return s.slack.has(want.channel, want.alert) }, 4*time.Minute, time.Second, "%s in %s", want.alert, want.channel)
	}
	firing := s.in("prometheus", "wget", "-qO-", "http://127.0.0.1:9090/api/v1/alerts")
	for _, alert := range []string{"PostgresDown", "RedisDown", "ApiDown"} {
		assert.Contains(t, firing, `"alertname":"`+alert+`"`)
	}
}
