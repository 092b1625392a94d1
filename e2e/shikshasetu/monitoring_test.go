package shikshasetu

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

const monitoring = "../../examples/shikshasetu/monitoring"

// tool runs one of Prometheus's programs, which `make test` installs.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	_, err := exec.LookPath(name)
	require.NoError(t, err, "install Debian's prometheus and prometheus-alertmanager (make test does)")
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = monitoring
	out, err := cmd.CombinedOutput()
	return string(out), err
}

type rule struct {
	Alert, Expr string
	Labels      map[string]string
	Annotations map[string]string
}

// rules are the alerts by group.
func rules(t *testing.T) map[string][]rule {
	t.Helper()
	found := map[string][]rule{}
	paths, err := filepath.Glob(filepath.Join(monitoring, "prometheus", "rules", "*.yml"))
	require.NoError(t, err)
	require.Len(t, paths, 3)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var file struct {
			Groups []struct {
				Name  string
				Rules []rule
			}
		}
		require.NoError(t, yaml.Unmarshal(text, &file))
		for _, group := range file.Groups {
			found[group.Name] = append(found[group.Name], group.Rules...)
		}
	}
	return found
}

func TestRules_AreNineteenAndNameTheirRunbook(t *testing.T) {
	t.Parallel()
	found := rules(t)
	for group, n := range map[string]int{"critical": 7, "warning": 10, "ml": 2} {
		assert.Len(t, found[group], n, group)
	}
	runbook, err := os.ReadFile(filepath.Join(monitoring, "..", "docs", "DEPLOYMENT_RUNBOOK.md"))
	require.NoError(t, err)
	for group, list := range found {
		for _, r := range list {
			want := group
			if group == "ml" {
				want = "warning"
				assert.Equal(t, "ml", r.Labels["team"], r.Alert)
			}
			assert.Equal(t, want, r.Labels["severity"], r.Alert)
			assert.Equal(t, "DEPLOYMENT_RUNBOOK.md#"+strings.ToLower(r.Alert), r.Annotations["runbook"])
			assert.Contains(t, string(runbook), "\n### "+r.Alert+"\n", "what to do at 3 a.m.")
		}
	}
}

// Each alert fires in one case of the rule tests and is silent in another.
func TestRules_FireAndAreSilent(t *testing.T) {
	t.Parallel()
	out, err := tool(t, "promtool", "test", "rules", "prometheus/tests/critical_test.yml", "prometheus/tests/warning_test.yml", "prometheus/tests/ml_test.yml")
	require.NoError(t, err, out)
	firing := cases(t)
	for _, list := range rules(t) {
		for _, r := range list {
			for name, want := range map[string]float64{r.Alert + " fires": 1, r.Alert + " is silent": 0} {
				asked := fmt.Sprintf(`count(ALERTS{alertname=%q,alertstate="firing"}) or vector(0)`, r.Alert)
				if assert.Contains(t, firing, name) {
					assert.Equal(t, map[string]float64{asked: want}, firing[name], name)
				}
			}
		}
	}
}

// cases are what the rule tests expect: the values of expressions by the case's name.
func cases(t *testing.T) map[string]map[string]float64 {
	t.Helper()
	found := map[string]map[string]float64{}
	for _, group := range []string{"critical", "warning", "ml"} {
		text, err := os.ReadFile(filepath.Join(monitoring, "prometheus", "tests", group+"_test.yml"))
		require.NoError(t, err)
		var file struct {
			Tests []struct {
				Name   string
				Expect []struct {
					Expr    string
					Samples []struct{ Value float64 } `yaml:"exp_samples"`
				} `yaml:"promql_expr_test"`
			}
		}
		require.NoError(t, yaml.Unmarshal(text, &file))
		for _, one := range file.Tests {
			require.NotContains(t, found, one.Name, "two cases of one name")
			found[one.Name] = map[string]float64{}
			for _, expect := range one.Expect {
				require.Len(t, expect.Samples, 1, one.Name)
				found[one.Name][expect.Expr] = expect.Samples[0].Value
			}
		}
	}
	return found
}

func TestConfigurations(t *testing.T) {
	t.Parallel()
	out, err := tool(t, "promtool", "check", "config", "prometheus/prometheus.yml")
	assert.NoError(t, err, out)
	out, err = tool(t, "amtool", "check-config", "alertmanager/alertmanager.yml")
	assert.NoError(t, err, out)
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	for labels, want := range map[string]string{
		"alertname=VllmDown severity=warning team=ml":          "slack-ml",
		"alertname=ModelGone severity=critical team=ml":        "slack-ml",
		"alertname=ApiDown severity=critical area=api":         "pagerduty,slack-critical",
		"alertname=PostgresDown severity=critical area=data":   "pagerduty,slack-database,slack-critical",
		"alertname=RedisMemoryHigh severity=warning area=data": "slack-database",
		"alertname=ScrapeTargetDown severity=warning area=x":   "slack-warnings",
		"alertname=SomethingElse":                              "slack-default",
	} {
		args := []string{"config", "routes", "test", "--config.file=alertmanager/alertmanager.yml", "--verify.receivers=" + want}
		out, err := tool(t, "amtool", append(args, strings.Fields(labels)...)...)
		assert.NoError(t, err, "%s: %s", labels, out)
	}
	_, err := tool(t, "amtool", "config", "routes", "test", "--config.file=alertmanager/alertmanager.yml",
		"--verify.receivers=slack-warnings", "severity=critical")
	assert.Error(t, err, "a wrong route is seen")
}

// dashboard is the part of Grafana's JSON that is looked at.
type dashboard struct {
	UID           string
	SchemaVersion int
	Annotations   struct{ List []struct{ Expr string } }
	Panels        []struct {
		Title      string
		Datasource struct{ UID string }
		Targets    []struct{ Expr string }
	}
}

func panels(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "grafana", "dashboards", "shikshasetu.json"))
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	return d
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	d := panels(t)
	assert.Equal(t, "shikshasetu", d.UID)
	assert.Equal(t, 38, d.SchemaVersion)
	assert.Len(t, d.Panels, 6)
	var sources struct{ Datasources []struct{ UID string } }
	text, err := os.ReadFile(filepath.Join(monitoring, "grafana", "provisioning", "datasources", "prometheus.yml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &sources))
	require.Len(t, sources.Datasources, 1)
	for _, p := range d.Panels {
		assert.Equal(t, sources.Datasources[0].UID, p.Datasource.UID, p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
	}
}

// exported are the metrics of testdata/metrics.txt; running only those that the
// whole test can ask for.
func exported(t *testing.T, running bool) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("testdata/metrics.txt")
	require.NoError(t, err)
	known := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		job, names, found := strings.Cut(line, ": ")
		if strings.HasPrefix(line, "#") || !found || running && strings.HasSuffix(job, "-") {
			continue
		}
		for _, name := range strings.Fields(names) {
			known[name] = true
		}
	}
	require.NotEmpty(t, known)
	return known
}

// ghosts are the metrics that an expression names and nobody exports.
func ghosts(t *testing.T, expr string, known map[string]bool) []string {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	require.NoError(t, err, expr)
	var found []string
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok && !known[v.Name] {
			found = append(found, v.Name)
		}
		return nil
	})
	return found
}

func TestMetrics_NoRuleOrPanelNamesAGhost(t *testing.T) {
	t.Parallel()
	known := exported(t, false)
	for _, list := range rules(t) {
		for _, r := range list {
			assert.Empty(t, ghosts(t, r.Expr, known), r.Alert)
		}
	}
	d := panels(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			assert.Empty(t, ghosts(t, target.Expr, known), p.Title)
		}
	}
	for _, a := range d.Annotations.List {
		assert.Empty(t, ghosts(t, a.Expr, known), "annotation")
	}
	assert.Equal(t, []string{"celery_task_suceeded_total"}, ghosts(t, "rate(celery_task_suceeded_total[5m])", known), "a misspelt one is found")
}

// scraped asserts that the running Prometheus has every metric that a rule or a panel
// names, those of parts that the lab has no real one of apart.
func (s *site) scraped() {
	var told struct{ Data []string }
	missing := func() (gone []string) {
		out := s.in("prometheus", "wget", "-qO-", "http://127.0.0.1:9090/api/v1/label/__name__/values")
		require.NoError(s.t, json.Unmarshal([]byte(out), &told))
		known := map[string]bool{}
		for _, name := range told.Data {
			known[name] = true
		}
		for name := range exported(s.t, true) {
			if !known[name] {
				gone = append(gone, name)
			}
		}
		return gone
	}
	// A counter of tasks is there from the first task on.
	assert.Eventually(s.t, func() bool { return len(missing()) == 0 }, 90*time.Second, time.Second)
	assert.Empty(s.t, missing(), "of %d metrics", len(told.Data))
	s.t.Logf("all %d metrics that rules and panels name are among the %d scraped", len(exported(s.t, true)), len(told.Data))
}
