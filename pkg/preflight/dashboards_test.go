package preflight_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
)

// grafana is a stack that shows one dashboard, with a Prometheus and a Loki.
func grafana(dashboard string) files {
	return files{
		"compose.yaml": `services:
  grafana:
    image: grafana/grafana:10.1.5
    volumes:
      - ./dashboards:/var/lib/grafana/dashboards:ro
      - ./provisioning:/etc/grafana/provisioning:ro
`,
		"provisioning/dashboards/p.yml":   "providers: [{name: shop, options: {path: /var/lib/grafana/dashboards}}]\n",
		"provisioning/datasources/ds.yml": "datasources:\n  - {name: Prometheus, uid: prom, type: prometheus, isDefault: true}\n  - {name: Loki, uid: logs, type: loki}\n",
		"dashboards/a.json":               dashboard,
	}
}

// asking is a dashboard of one panel: its data source and its target, as JSON.
func asking(source, target string) string {
	return `{"uid":"a","title":"A","schemaVersion":38,` +
		`"__inputs":[{"name":"DS_LOGS","type":"datasource","pluginId":"loki"},{"name":"DS_METRICS","type":"datasource","pluginId":"prometheus"}],` +
		`"templating":{"list":[{"name":"logs","type":"datasource","query":"loki"},{"name":"job","type":"query","query":{"refId":"x"}}]},` +
		`"panels":[{"title":"panel","datasource":` + source + `,"targets":[` + target + `]}]}`
}

func TestOnlyWhatPrometheusIsAskedIsPromQL(t *testing.T) {
	t.Parallel()
	const logQL = `"expr":"{job=\"api\"} |= \"error\""`
	for name, dashboard := range map[string]string{
		"the target's type":            asking(`null`, `{"datasource":{"type":"loki","uid":"logs"},`+logQL+`}`),
		"the panel's type":             asking(`{"type":"loki","uid":"logs"}`, `{`+logQL+`}`),
		"the uid of a provisioned one": asking(`{"uid":"logs"}`, `{`+logQL+`}`),
		"the name of a provisioned":    asking(`"Loki"`, `{`+logQL+`}`),
		"an input":                     asking(`"${DS_LOGS}"`, `{`+logQL+`}`),
		"a variable":                   asking(`{"uid":"$logs"}`, `{`+logQL+`}`),
		"a mixed panel":                asking(`{"type":"datasource","uid":"-- Mixed --"}`, `{"datasource":"Loki",`+logQL+`}`),
	} {
		r := look(t, grafana(dashboard), "")
		sound(t, r, "P09.dashboard")
		assert.Len(t, about(r, "P09.dashboards"), 1, name)
	}
	for _, source := range []string{`null`, `{"type":"prometheus"}`, `{"uid":"prom"}`, `"Prometheus"`, `"${DS_METRICS}"`, `"default"`, `"-- Mixed --"`} {
		reported(t, look(t, grafana(asking(source, `{`+logQL+`}`)), ""), "P09.dashboard", check.Fail, "dashboards/a.json:1", `panel "panel"`)
	}
	reported(t, look(t, grafana(asking(`"Loki"`, `{"datasource":{"uid":"prom"},`+logQL+`}`)), ""), "P09.dashboard", check.Fail, "dashboards/a.json:1", `panel "panel"`)

	f := grafana(asking(`null`, `{`+logQL+`}`))
	f["provisioning/datasources/ds.yml"] = "datasources: [{name: Loki, type: loki}]\n"
	sound(t, look(t, f, ""), "P09.dashboard")
	f = grafana(asking(`"its-logs"`, `{`+logQL+`}`))
	told := about(look(t, f, ""), "P09.dashboard")
	require.Len(t, told, 1)
	assert.Equal(t, check.Skip, told[0].Outcome, "what kind of data source it is cannot be known")
}

func TestVariablesOfAnExpression(t *testing.T) {
	t.Parallel()
	expression := func(expr string) files {
		return grafana(asking(`null`, `{"expr":"`+strings.ReplaceAll(expr, `"`, `\"`)+`"}`))
	}
	for _, good := range []string{
		`topk($n, sum by ($label) (up))`, `topk([[n]], sum by ([[label]]) (up{job="$job"}))`, `$metric{job=~"${job:regex}"} > $threshold`,
		`$aggregation by (${label}) (rate(x_total[$__rate_interval])) $op $n`, `sum(increase(x_total[${__range_s}s]))`, `up offset $ago`,
		`up{$filters}`, `max_over_time(up[$a:$b])`, `topk($a, sum by ($b, $c, $d, $e, $f) (up))`,
	} {
		r := look(t, expression(good), "")
		sound(t, r, "P09.dashboard")
		assert.Len(t, about(r, "P09.dashboards"), 1, good)
	}
	for _, bad := range []string{`topk($n, sum by ($label) (up)`, `sum((rate(x_total{job="$job"}[$__interval]))`, `$a $b $c (`} {
		reported(t, look(t, expression(bad), ""), "P09.dashboard", check.Fail, "dashboards/a.json:1", `panel "panel"`)
	}
	told := about(look(t, expression(`f($a, $b, $c, $d, $e, $f) by`), ""), "P09.dashboard")
	require.Len(t, told, 1)
	assert.Equal(t, check.Skip, told[0].Outcome, "%+v", told[0])
}

func TestTheLineOfAnExpression(t *testing.T) {
	t.Parallel()
	f := grafana(strings.ReplaceAll(asking(`null`, `{"expr":"up > (1 < 2"}`), `,"panels"`, ",\n\"panels\""))
	reported(t, look(t, f, ""), "P09.dashboard", check.Fail, "dashboards/a.json:2", `panel "panel"`)
}

func TestDashboardsOfOtherSchemas(t *testing.T) {
	t.Parallel()
	rows := `{"uid":"a","title":"A","schemaVersion":14,"rows":[{"title":"one","panels":[{"title":"old","datasource":null,"targets":[{"expr":"up"}]}]}]}`
	r := look(t, grafana(rows), "")
	sound(t, r, "P09.dashboard")
	assert.Len(t, about(r, "P09.dashboards"), 1)
	reported(t, look(t, grafana(replace(rows, `"up"`, `"up("`)), ""), "P09.dashboard", check.Fail, "dashboards/a.json:1", `panel "old"`)

	for _, resource := range []string{
		`{"apiVersion":"dashboard.grafana.app/v2beta1","kind":"Dashboard","metadata":{"name":"a"},"spec":{"title":"A","elements":{"panel-1":{"kind":"Panel"}}}}`,
		`{"title":"A","elements":{"panel-1":{"kind":"Panel"}},"layout":{"kind":"GridLayout"}}`,
	} {
		told := about(look(t, grafana(resource), ""), "P09.dashboard")
		require.Len(t, told, 1)
		assert.Equal(t, check.Skip, told[0].Outcome, "%+v", told[0])
	}
	for _, empty := range []string{`{"uid":"a","title":"A","schemaVersion":38,"panels":[]}`, `{"uid":"a","rows":[{"panels":[]}]}`, `{"dashboard":{"panels":[{}]},"meta":{}}`} {
		reported(t, look(t, grafana(empty), ""), "P09.dashboard", check.Fail, "dashboards/a.json", "it has no panels")
	}
}

func TestDataSourcesThatGrafanaBringsAlong(t *testing.T) {
	t.Parallel()
	own := `{"datasource":{"type":"__expr__","uid":"__expr__"},"expression":"$A > 1"}`
	r := look(t, grafana(asking(`null`, `{"expr":"up"},`+own)), "")
	sound(t, r, "P09.datasource")
	assert.Len(t, about(r, "P09.dashboards"), 1)
	reported(t, look(t, grafana(asking(`null`, replace(own, `"uid":"__expr__"`, `"uid":"nosuch"`))), ""), "P09.datasource", check.Warn, "dashboards/a.json:1", "nosuch")
}

func TestDashboardsThatTheComposeFileHolds(t *testing.T) {
	t.Parallel()
	compose := `services:
  grafana:
    image: grafana/grafana:10.1.5
    configs:
      - {source: board, target: /var/lib/grafana/dashboards/a.json}
      - {source: provider, target: /etc/grafana/provisioning/dashboards/p.yml}
configs:
  board: {content: '{"uid":"a","title":"A","schemaVersion":38,"panels":[{"title":"p","targets":[{"expr":"up"}]}]}'}
  provider: {content: "providers: [{name: shop, options: {path: /var/lib/grafana/dashboards}}]"}
`
	r := look(t, files{"compose.yaml": compose}, "")
	sound(t, r, "P09.provider")
	assert.Len(t, about(r, "P09.dashboards"), 1)
	elsewhere := files{"compose.yaml": replace(compose, "path: /var/lib/grafana/dashboards}", "path: /var/lib/grafana/dash}")}
	reported(t, look(t, elsewhere, ""), "P09.provider", check.Warn, "compose.yaml:2", "shows none")
}
