package preflight_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
)

func TestRulesThatAreNotInTheWorkspace(t *testing.T) {
	t.Parallel()
	const mount = "./alerts.yml:/etc/prometheus/rules/alerts.yml:ro"
	for name, f := range map[string]files{
		"a volume":             {"compose.yaml": replace(monitoring()["compose.yaml"], mount, "rules:/etc/prometheus/rules:ro") + "volumes: {rules: {}}\n"},
		"a volume inside ours": {"compose.yaml": replace(monitoring()["compose.yaml"], mount, "./all:/etc/prometheus/all\n      - rules:/etc/prometheus/rules") + "volumes: {rules: {}}\n", "all/x.yml": ""},
		"a file of the host":   {"compose.yaml": replace(monitoring()["compose.yaml"], mount, "/srv/alerts.yml:/etc/prometheus/rules/alerts.yml:ro")},
	} {
		told := about(look(t, monitoring().with(f), ""), "P07.rules")
		require.Len(t, told, 1, name)
		assert.Equal(t, check.Skip, told[0].Outcome, name)
		assert.NotEmpty(t, told[0].Hint)
	}
	// A folder of the workspace is read: what is not in it is not there.
	f := monitoring().with(files{"rules/other.yml": "groups: []\n"})
	f["compose.yaml"] = replace(f["compose.yaml"], mount, "./rules:/etc/prometheus/rules:ro")
	reported(t, look(t, f, ""), "P07.rules", check.Fail, "prometheus.yml:1", "nothing is mounted at /etc/prometheus/rules/alerts.yml")
	// Nor does a volume elsewhere hold it.
	f = monitoring()
	f["compose.yaml"] = replace(f["compose.yaml"], mount, "data:/prometheus") + "volumes: {data: {}}\n"
	reported(t, look(t, f, ""), "P07.rules", check.Fail, "prometheus.yml:1", "nothing is mounted at /etc/prometheus/rules/alerts.yml")
}

// hostDown is an alert over a metric that only the node exporter has.
const hostDown = "      - alert: HostDisk\n        expr: node_filesystem_avail_bytes < 1\n        labels: {severity: critical}\n"

func TestWhatIsScrapedOutsideOfTheStackMayExportAnything(t *testing.T) {
	t.Parallel()
	jobs := func(more string) files {
		f := monitoring()
		f["alerts.yml"] += hostDown
		f["prometheus.yml"] = replace(f["prometheus.yml"], "alerting:", more+"alerting:")
		return f
	}
	host := func(target string) string {
		return "  - job_name: hosts\n    static_configs: [{targets: ['" + target + "']}]\n"
	}
	for _, more := range []string{
		host("host.docker.internal:9100"), host("10.0.0.7:9100"), host("[fd00::7]:9100"), host("metrics.example.org"),
		"  - job_name: hosts\n    dns_sd_configs: [{names: [tasks.exporters], type: A, port: 9100}]\n",
		"  - job_name: hosts\n    static_configs: [{targets: [a]}]\n    relabel_configs: [{source_labels: [__address__], target_label: __address__, replacement: '$1.example.org:9100'}]\n",
		"scrape_config_files: [more/*.yml]\n",
	} {
		told := about(look(t, jobs(more), ""), "P07.metrics")
		require.Len(t, told, 1, more)
		assert.Equal(t, check.Skip, told[0].Outcome, more)
		assert.Contains(t, told[0].Found, "HostDisk")
	}
	f := jobs(host("localhost:9100"))
	reported(t, look(t, f, ""), "P07.metrics", check.Warn, "alerts.yml", "alert HostDisk can never fire")
	f["compose.yaml"] = replace(f["compose.yaml"], "    image: prom/prometheus:v2.47.0\n", "    image: prom/prometheus:v2.47.0\n    network_mode: host\n")
	sound(t, look(t, f, ""), "P07.metrics")
	// A name that does not resolve exports nothing, and Prometheus itself no disks.
	for _, more := range []string{host("exporter:9100"), host("prometheus:9090"), "  - job_name: empty\n"} {
		reported(t, look(t, jobs(more), ""), "P07.metrics", check.Warn, "alerts.yml", "alert HostDisk can never fire")
	}
	f = jobs(host("disks:9100"))
	f["compose.yaml"] += "  exporter:\n    image: prom/node-exporter:v1\n    networks: {default: {aliases: [disks]}}\n"
	r := look(t, f, "")
	sound(t, r, "P07.metrics")
	assert.Len(t, about(r, "P07.prometheus"), 1)
}

func TestMetricsThatRulesMake(t *testing.T) {
	t.Parallel()
	f := monitoring()
	f["alerts.yml"] += "      - {record: 'redis_errors:ratio', expr: 'sum(rate(api_redis_errors_total[5m]))'}\n" +
		"      - {alert: Errors, expr: 'redis_errors:ratio > 1', labels: {severity: critical}}\n"
	sound(t, look(t, f, ""), "P07.metrics")
	// What it is made of has to come from somewhere, and one rule may name itself.
	f["alerts.yml"] = replace(f["alerts.yml"], "api_redis_errors_total[5m]))", "redis_errors_total[5m])) or redis_errors:ratio")
	reported(t, look(t, f, ""), "P07.metrics", check.Warn, "alerts.yml", "alert Errors can never fire: nothing that is scraped exports redis_errors_total")
}

// What an alert does without a metric depends on how it asks for it.
func TestWhatAnAlertDoesWithoutItsMetric(t *testing.T) {
	t.Parallel()
	const rules = "      - {record: 'down:redis', expr: 'absent(redis_up)'}\n      - {record: 'errors:redis', expr: 'rate(redis_errors_total[5m])'}\n"
	for expr, does := range map[string]string{
		"redis_up == 0": "can never fire", "count(redis_up) == 0": "can never fire", "up == 0 and redis_up": "can never fire", "absent(absent(redis_up))": "can never fire",
		"redis_up unless up": "can never fire", "histogram_quantile(0.9, rate(redis_seconds_bucket[5m])) > 1": "can never fire", "time() - redis_saved > 60": "can never fire",
		"errors:redis > 1": "can never fire", "topk(1, redis_up)": "can never fire", "-redis_up > 0": "can never fire", "max_over_time(redis_up[1h:1m]) > 0": "can never fire",
		"absent(redis_up)": "fires all the time", "absent_over_time(redis_up{job='redis'}[10m])": "fires all the time", "absent(redis_up) or redis_up == 0": "fires all the time",
		"sum(absent(redis_up))": "fires all the time", "absent(errors:redis)": "fires all the time", "absent(redis_up) unless redis_errors_total": "fires all the time",
		"redis_up or vector(0)": "fires all the time",
		"absent(redis_up) == 1": "does not see", "absent(redis_up) and up == 0": "does not see", "redis_up == 0 or up == 0": "does not see", "up == 0 unless redis_up": "does not see",
		"down:redis": "does not see", "topk(1, absent(redis_up))": "does not see", "vector(scalar(redis_up)) > 1": "does not see", "absent(redis_up or up)": "does not see",
	} {
		f := monitoring()
		f["alerts.yml"] += rules + "      - alert: Redis\n        expr: " + expr + "\n        labels: {severity: critical}\n"
		told := about(look(t, f, ""), "P07.metrics")
		require.NotEmpty(t, told, expr)
		assert.Equal(t, check.Warn, told[0].Outcome, expr)
		assert.Contains(t, told[0].Found, "alert Redis "+does, expr)
		assert.Contains(t, told[0].Found, "nothing that is scraped exports redis_", expr)
	}
}

// Several rules may record one metric: it is missing where none of them can.
func TestMetricsThatSeveralRulesMake(t *testing.T) {
	t.Parallel()
	for first, does := range map[string]string{"api_errors_total # ours": "does not see", "redis_other_total # redis's": "can never fire"} {
		f := monitoring()
		f["alerts.yml"] += "      - {record: errors, expr: '" + strings.ReplaceAll(first, "'", "''") + "', labels: {of: api}}\n" +
			"      - {record: errors, expr: redis_errors_total, labels: {of: redis}}\n      - {alert: Errors, expr: 'errors > 1', labels: {severity: critical}}\n"
		reported(t, look(t, f, ""), "P07.metrics", check.Warn, "alerts.yml", "alert Errors "+does)
	}
}

func TestEachPrometheusHasRulesOfItsOwn(t *testing.T) {
	t.Parallel()
	f := monitoring().with(files{
		"other.yml": "rule_files: [rules.yml]\nscrape_configs: [{job_name: redis, static_configs: [{targets: ['redis-exporter:9121']}]}]\n",
		"redis.yml": "groups: [{name: redis, rules: [{alert: RedisDown, expr: redis_up == 0}]}]\n",
	})
	f["compose.yaml"] = replace(f["compose.yaml"], "services:\n", "services:\n  other:\n    image: prom/prometheus:v2.47.0\n"+
		"    volumes: ['./other.yml:/etc/prometheus/prometheus.yml', './redis.yml:/etc/prometheus/rules.yml']\n"+
		"  redis-exporter:\n    image: oliver006/redis_exporter:v1\n")
	r := look(t, f, "")
	sound(t, r, "P07.metrics")
	passed := about(r, "P07.prometheus")
	require.Len(t, passed, 2)
	assert.Contains(t, passed[0].Found, "other: 1 scrape jobs, 1 alerts")
	assert.Contains(t, passed[1].Found, "prometheus: 1 scrape jobs, 2 alerts")
}
