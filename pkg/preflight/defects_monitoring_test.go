package preflight_test

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

func replace(text, from, to string) string {
	if !strings.Contains(text, from) {
		panic("the fixture does not hold " + from)
	}
	return strings.Replace(text, from, to, 1)
}

// pinned loads a stack and pins every image.
func pinned(t *testing.T, f files) *stack.Stack {
	t.Helper()
	st, _, err := load(t, f, "")
	require.NoError(t, err)
	images := map[string]string{}
	for _, name := range st.Order {
		images[name] = "example/" + name + "@sha256:" + strings.Repeat("1", 64)
	}
	require.NoError(t, st.Pin(images))
	return st
}

// memory is a host's files in memory.
type memoryFiles map[string][]byte

func (m memoryFiles) Read(_ context.Context, path string) ([]byte, error) {
	if data, ok := m[path]; ok {
		return data, nil
	}
	return nil, fs.ErrNotExist
}
func (m memoryFiles) List(_ context.Context, dir string) ([]fs.FileInfo, error) {
	var out []fs.FileInfo
	for path := range m {
		if name, ok := strings.CutPrefix(path, dir+"/"); ok && !strings.Contains(name, "/") {
			out = append(out, fileName(name))
		}
	}
	return out, nil
}
func (m memoryFiles) Write(_ context.Context, path string, data []byte, _ fs.FileMode) error {
	m[path] = data
	return nil
}
func (memoryFiles) MkdirAll(context.Context, string, fs.FileMode) error { return nil }
func (m memoryFiles) Remove(_ context.Context, path string) error       { delete(m, path); return nil }

// fileName is a regular file of that name.
type fileName string

func (n fileName) Name() string     { return string(n) }
func (fileName) Size() int64        { return 1 }
func (fileName) Mode() fs.FileMode  { return 0o600 }
func (fileName) ModTime() time.Time { return time.Time{} }
func (fileName) IsDir() bool        { return false }
func (fileName) Sys() any           { return nil }

// ledger is a real ledger that has recorded some releases.
func ledger(t *testing.T, records ...release.Record) *release.Ledger {
	t.Helper()
	l, err := release.Open(t.Context(), memoryFiles{}, "/var/lib/shiksha", "shop")
	require.NoError(t, err)
	for _, r := range records {
		outcome := r.Outcome
		r.Outcome = release.Started
		require.NoError(t, l.Append(t.Context(), &r))
		r.Outcome = outcome
		require.NoError(t, l.Update(t.Context(), &r))
	}
	return l
}

func monitoring() files {
	return files{
		"compose.yaml": `services:
  api:
    image: example/api:v1
  prometheus:
    image: prom/prometheus:v2.47.0
    volumes:
      - ./prometheus.yml:/etc/prometheus/prometheus.yml:ro
      - ./alerts.yml:/etc/prometheus/rules/alerts.yml:ro
  alertmanager:
    image: prom/alertmanager:v0.26.0
    volumes: ["./alertmanager.yml:/etc/alertmanager/alertmanager.yml:ro"]
`,
		"prometheus.yml": `rule_files: [rules/alerts.yml]
scrape_configs:
  - job_name: api
    static_configs:
      - targets: ["api:8000"]
alerting:
  alertmanagers:
    - static_configs: [{targets: ["alertmanager:9093"]}]
`,
		"alerts.yml": `groups:
  - name: api
    rules:
      - alert: APIDown
        expr: up{job="api"} == 0
        labels: {severity: critical}
      - alert: SlowDatabaseQueries
        expr: histogram_quantile(0.95, rate(db_query_seconds_bucket[5m])) > 1
        labels: {severity: warning}
`,
		"alertmanager.yml": `route:
  receiver: all
  routes:
    - receiver: dba
      matchers: ['alertname=~"(Slow)?Database.*|SlowDatabase.*"']
    - receiver: critical
      matchers: ['severity="critical"']
receivers:
  - name: all
  - name: dba
  - name: critical
    slack_configs: [{api_url_file: /run/secrets/slack, channel: "#alerts"}]
`,
	}
}

func TestMonitoringThatIsSound(t *testing.T) {
	t.Parallel()
	r := look(t, monitoring(), "")
	for _, name := range []string{"P07.prometheus", "P08.alertmanager"} {
		require.Len(t, about(r, name), 1, name)
		assert.Equal(t, check.Pass, about(r, name)[0].Outcome)
	}
}

func TestD29_RulesThatAreMountedElsewhere(t *testing.T) {
	t.Parallel()
	f := monitoring()
	f["prometheus.yml"] = replace(f["prometheus.yml"], "rules/alerts.yml", "rules/shop-alerts.yml")
	reported(t, look(t, f, ""), "P07.rules", check.Fail, "prometheus.yml:1", "nothing is mounted at /etc/prometheus/rules/shop-alerts.yml")
	f = monitoring()
	f["alerts.yml"] = replace(f["alerts.yml"], "up{job", "up{{job")
	reported(t, look(t, f, ""), "P07.rules", check.Fail, "alerts.yml:5", "APIDown")
}

func TestD30_TargetsThatDoNotExist(t *testing.T) {
	t.Parallel()
	f := monitoring()
	f["prometheus.yml"] = replace(f["prometheus.yml"], `"api:8000"`, `"api-1:8000", "redis-exporter:9121"`)
	bad := look(t, f, "")
	reported(t, bad, "P07.targets", check.Warn, "prometheus.yml:5", "no service is called api-1")
	reported(t, bad, "P07.targets", check.Warn, "prometheus.yml:5", "no service is called redis-exporter")
	sound(t, look(t, monitoring(), ""), "P07.targets")
}

func TestD31_AlertsOverMetricsThatNothingExports(t *testing.T) {
	t.Parallel()
	f := monitoring()
	f["alerts.yml"] += "      - alert: RedisDown\n        expr: redis_up == 0\n        labels: {severity: critical}\n"
	reported(t, look(t, f, ""), "P07.metrics", check.Warn, "alerts.yml", "alert RedisDown can never fire")
	f["compose.yaml"] += "  redis-exporter:\n    image: oliver006/redis_exporter:v1\n"
	f["prometheus.yml"] = replace(f["prometheus.yml"], `"api:8000"`, `"api:8000", "redis-exporter:9121"`)
	sound(t, look(t, f, ""), "P07.metrics")
}

func TestD32_VariablesThatNobodyFills(t *testing.T) {
	t.Parallel()
	f := monitoring()
	f["alertmanager.yml"] = replace(f["alertmanager.yml"], "api_url_file: /run/secrets/slack", `api_url: "${SLACK_WEBHOOK_URL}"`)
	reported(t, look(t, f, ""), "P08.variables", check.Fail, "alertmanager.yml:12", "${SLACK_WEBHOOK_URL} stays as it is")
	sound(t, look(t, monitoring(), ""), "P08.variables")
}

func TestD33_RoutesThatNoAlertReaches(t *testing.T) {
	t.Parallel()
	f := monitoring()
	f["alertmanager.yml"] = `route:
  receiver: all
  routes:
    - receiver: critical
      match: {severity: critical}
    - receiver: warning
      match: {severity: warning}
    - receiver: dba
      match_re: {alertname: ".*Database.*"}
receivers: [{name: all}, {name: critical}, {name: warning}, {name: dba}]
`
	reported(t, look(t, f, ""), "P08.routes", check.Warn, "alertmanager.yml:9", "takes SlowDatabaseQueries")
	f["alertmanager.yml"] = replace(f["alertmanager.yml"], "match: {severity: warning}", "match: {severity: warning}\n      continue: true")
	sound(t, look(t, f, ""), "P08.routes")
}

func TestD34_DashboardsThatNobodyShows(t *testing.T) {
	t.Parallel()
	f := files{
		"compose.yaml":      "services:\n  grafana:\n    image: grafana/grafana:10.1.5\n    volumes:\n      - ./dashboards:/var/lib/grafana/dashboards:ro\n",
		"dashboards/a.json": `{"uid":"a","title":"API","schemaVersion":38,"panels":[{"title":"rate","type":"graph","targets":[{"expr":"sum by (code) (rate(http_requests_total{job=\"$job\"}[$__rate_interval]))"}]}]}`,
	}
	reported(t, look(t, f, ""), "P09.provider", check.Warn, "compose.yaml:4", "shows none")
	f["compose.yaml"] += "      - ./provider.yml:/etc/grafana/provisioning/dashboards/provider.yml:ro\n"
	f["provider.yml"] = "apiVersion: 1\nproviders: [{name: shop, options: {path: /var/lib/grafana/dashboards}}]\n"
	r := look(t, f, "")
	sound(t, r, "P09.provider")
	assert.NotEmpty(t, about(r, "P09.dashboards"))
	f["dashboards/a.json"] = replace(f["dashboards/a.json"], "sum by (code) (rate", "sum by (code) ((rate")
	reported(t, look(t, f, ""), "P09.dashboard", check.Fail, "dashboards/a.json:1", `panel "rate"`)
}

// D36 and D37 are scripts that end at their first success, or at their first
// failure, before the summary. Ours looks at everything and tells all of it.
func TestD36_D37_EverythingIsLookedAt(t *testing.T) {
	t.Parallel()
	f := monitoring()
	f["prometheus.yml"] = "rule_files: ["
	f["alertmanager.yml"] = "route: {}"
	f["compose.yaml"] += "  postgres:\n    image: postgres:15\n    ports: [\"5432:5432\"]\n"
	r := look(t, f, "")
	assert.NotZero(t, r.Count(check.Pass))
	assert.GreaterOrEqual(t, r.Count(check.Fail), 3, "one failure does not hide the next")
	assert.Equal(t, check.Pass, r.Results[0].Outcome, "nor does a success end it")
}
