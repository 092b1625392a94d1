package kind

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
)

// fakeMonitor answers the API's paths as a test says, for the faults that a real
// Prometheus, Alertmanager or Grafana does not show on demand. "!" before an
// answer makes it a 503, "^" breaks the connection off.
func fakeMonitor(sound map[string]string, changes ...string) func(*testing.T) *Scene {
	answers := with(sound, changes...)
	return handled(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.Path]
		switch {
		case text == "^":
			panic(http.ErrAbortHandler)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case text != "" && text[0] == '!':
			w.WriteHeader(http.StatusServiceUnavailable)
			text = text[1:]
		}
		_, _ = io.WriteString(w, text)
	})
}

// grafanaAnswers are in the form that Grafana 10 gives them.
var grafanaAnswers = map[string]string{
	"/api/health":                      `{"commit":"849c612fcb","database":"ok","version":"10.1.5"}`,
	"/api/datasources/uid/prom/health": `{"message":"Successfully queried the Prometheus API.","status":"OK"}`,
	"/api/dashboards/uid/api": `{"meta":{"type":"db","slug":"api","version":1},"dashboard":{"id":1,"uid":"api","title":"API","schemaVersion":38,
		"panels":[{"id":1,"type":"timeseries","title":"rate","datasource":{"type":"prometheus","uid":"prom"},"targets":[{"refId":"A","expr":"up","datasource":{"type":"prometheus","uid":"prom"}}]}]}}`,
	"/api/ds/query": `{"results":{"A":{"status":200,"frames":[{"schema":{"refId":"A","fields":[{"name":"Time","type":"time"},{"name":"Value","type":"number"}]},"data":{"values":[[1700000000000],[1]]}}]}}}`,
}

// fakeGrafana answers as Grafana does, for Grafana cannot be had here; changes may come
// while it runs.
func fakeGrafana(changes map[string]string) func(*testing.T) *Scene {
	return handled(func(w http.ResponseWriter, r *http.Request) {
		text, ok := changes[r.URL.Path]
		if !ok {
			text = grafanaAnswers[r.URL.Path]
		}
		if text != "" && text[0] == '!' {
			w.WriteHeader(http.StatusServiceUnavailable)
			text = text[1:]
		}
		_, _ = io.WriteString(w, text)
	})
}

func monitorLooks() map[string]look {
	out := map[string]look{}
	add := func(prefix, text string, sound map[string]string) func(name, point string, o check.Outcome, found string, changes ...string) {
		return func(name, point string, o check.Outcome, found string, changes ...string) {
			out[prefix+" "+name] = look{point, text, fakeMonitor(sound, changes...), o, found}
		}
	}
	const alert = `{"data":{"alerts":[{"state":"firing","activeAt":"2026-01-02T00:00:00Z","labels":{"alertname":"ApiDown","severity":"critical"}}]}}`
	prometheus := map[string]string{
		"/-/ready": "ready", "/metrics": "prometheus_config_last_reload_successful 1\n", "/api/v1/alerts": `{"data":{"alerts":[]}}`,
		"/api/v1/targets":       `{"data":{"activeTargets":[{"labels":{"job":"api","instance":"a:1"},"health":"up"}]}}`,
		"/api/v1/rules":         `{"data":{"groups":[{"rules":[{"name":"ApiDown","health":"ok"}]}]}}`,
		"/api/v1/alertmanagers": `{"data":{"activeAlertmanagers":[{"url":"x"}]}}`,
		"/api/v1/query":         `{"data":{"resultType":"vector","result":[{"value":[1,"1"]}]}}`,
	}
	p := add("prometheus", "prometheus: {url: '{{url}}', jobs: [api], rules: 1, alertmanagers: 1, queries: [{query: up, expect: 1}]}", prometheus)
	p("sound", "", check.Pass, "no new alert")
	const down = `{"data":{"activeTargets":[{"labels":{"job":"api","instance":"a:1"},"health":"up"},{"labels":{"job":"db","instance":"d:1"},"health":"down","lastError":"refused"}]}}`
	for name, c := range map[string]struct {
		text    string
		outcome check.Outcome
	}{
		"no job asked for": {"rules: 1", check.Pass}, "another job down": {"jobs: [api]", check.Pass}, "the job down": {"jobs: [db]", check.Fail},
		"any target asked for": {"targets: true", check.Fail}, "no target asked for": {"targets: false", check.Pass}, "any target, beside a job": {"jobs: [api], targets: true", check.Fail},
		"a job, not any target": {"jobs: [api], targets: false", check.Pass},
	} {
		out["prometheus, "+name] = look{"", "prometheus: {url: '{{url}}', " + c.text + "}", fakeMonitor(prometheus, "/api/v1/targets", down, "/api/v1/alertmanagers", "!none"), c.outcome, ""}
	}
	p("words for JSON", "prometheus.api", check.Unknown, "status 200: a page", "/api/v1/targets", "a page")
	p("scalar", "", check.Pass, "no new alert", "/api/v1/query", `{"data":{"resultType":"scalar","result":[1,"1"]}}`)
	p("scalar of another value", "match.equals", check.Fail, "up is 2", "/api/v1/query", `{"data":{"resultType":"scalar","result":[1,"2"]}}`)
	const pending = `{"data":{"alerts":[{"state":"pending","activeAt":"2026-01-02T00:00:00Z","labels":{"alertname":"ApiDown","severity":"critical"}}]}}`
	p("alert that does not fire yet", "", check.Pass, "no new alert", "/api/v1/alerts", pending)
	p("alert that only warns", "", check.Pass, "no new alert", "/api/v1/alerts", `{"data":{"alerts":[{"state":"firing","labels":{"alertname":"Slow","severity":"warning"}}]}}`)
	add("prometheus", "prometheus: {url: '{{url}}', alerts: {severity: [warning]}}", prometheus)("warning asked for", "prometheus.alert", check.Fail, "Slow fires", "/api/v1/alerts", `{"data":{"alerts":[{"state":"firing","labels":{"alertname":"Slow","severity":"warning"}}]}}`)
	add("prometheus", "prometheus: {url: '{{url}}', alerts: {ignore: [ApiDown]}}", prometheus)("alert that does not matter", "", check.Pass, "no new alert", "/api/v1/alerts", alert)
	p("not ready", "prometheus.ready", check.Fail, "starting", "/-/ready", "!starting")
	p("reload failed", "prometheus.reload", check.Fail, "the last reload failed", "/metrics", "prometheus_config_last_reload_successful 0\n")
	p("no metric", "prometheus.metric", check.Unknown, "none", "/metrics", "")
	p("target down", "prometheus.target", check.Fail, "a:1 of api is down: refused", "/api/v1/targets", `{"data":{"activeTargets":[{"labels":{"job":"api","instance":"a:1"},"health":"down","lastError":"refused"}]}}`)
	p("target not scraped yet", "prometheus.scraped", check.Unknown, "is unknown", "/api/v1/targets", `{"data":{"activeTargets":[{"labels":{"job":"api","instance":"a:1"},"health":"unknown"}]}}`)
	p("job without a target", "prometheus.job", check.Fail, "none", "/api/v1/targets", `{"data":{"activeTargets":[]}}`)
	p("job of another name", "prometheus.job", check.Fail, "none; there are db, web", "/api/v1/targets",
		`{"data":{"activeTargets":[{"labels":{"job":"web"},"health":"up"},{"labels":{"job":"db"},"health":"down"}]}}`)
	add("prometheus", "prometheus: {url: '{{url}}', targets: true}", prometheus)("no target at all", "prometheus.targets", check.Unknown, "none", "/api/v1/targets", `{"data":{"activeTargets":[]}}`)
	p("group not loaded", "prometheus.rules", check.Fail, "0", "/api/v1/rules", `{"data":{"groups":[]}}`)
	p("rule broken", "prometheus.rule", check.Fail, "err", "/api/v1/rules", `{"data":{"groups":[{"rules":[{"name":"ApiDown","health":"err","lastError":"many-to-many"}]}]}}`)
	p("rule not evaluated", "prometheus.evaluated", check.Unknown, "unknown", "/api/v1/rules", `{"data":{"groups":[{"rules":[{"name":"ApiDown","health":"unknown"}]}]}}`)
	p("new alert", "prometheus.alert", check.Fail, "ApiDown fires", "/api/v1/alerts", alert)
	p("no alertmanager", "prometheus.alertmanagers", check.Fail, "0", "/api/v1/alertmanagers", `{"data":{"activeAlertmanagers":[]}}`)
	p("query without data", "prometheus.data", check.Unknown, "without data", "/api/v1/query", `{"data":{"resultType":"vector","result":[]}}`)
	p("query of nothing", "prometheus.number", check.Unknown, "NaN", "/api/v1/query", `{"data":{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"NaN"]}]}}`)
	p("query of nothing, and a wrong one", "match.equals", check.Fail, "up is 2", "/api/v1/query", `{"data":{"resultType":"vector","result":[{"value":[1,"NaN"]},{"value":[1,"2"]}]}}`)
	add("prometheus", "prometheus: {url: '{{url}}', queries: [{query: up, expect: {not: 1}}]}", prometheus)("nothing is not another value", "prometheus.number", check.Unknown, "NaN",
		"/api/v1/query", `{"data":{"resultType":"scalar","result":[1,"NaN"]}}`)
	p("query refused", "prometheus.query", check.Unknown, "bad expression", "/api/v1/query", "!bad expression")
	p("query value", "match.equals", check.Fail, "up is 0", "/api/v1/query", `{"data":{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"0"]}]}}`)
	p("broken off", "", check.Unknown, "EOF", "/metrics", "^")
	p("no API", "prometheus.api", check.Unknown, "status 503", "/api/v1/targets", "!not now")
	before := out["prometheus new alert"]
	scene := before.scene
	out["prometheus alert that was active before"] = look{"prometheus.alert-old", before.check, func(t *testing.T) *Scene {
		s := scene(t)
		s.Before = map[string][]string{"it": {"alertname=ApiDown,severity=critical"}}
		return s
	}, check.Warn, "active before the release"}
	out["prometheus alert begun after the release did"] = look{"prometheus.alert", before.check, func(t *testing.T) *Scene {
		s := scene(t)
		s.Began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		return s
	}, check.Fail, "ApiDown fires"}
	out["prometheus alert that nobody saw before"] = look{"prometheus.alert", before.check, func(t *testing.T) *Scene {
		s := scene(t)
		s.Before, s.Began = map[string][]string{"it": {"alertname=Other,severity=critical"}}, time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
		return s
	}, check.Fail, "ApiDown fires"}
	out["prometheus alert of which nobody could be asked before"] = look{"prometheus.alert-old", before.check, func(t *testing.T) *Scene {
		s := scene(t)
		s.Before, s.Began = map[string][]string{"another": nil}, time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
		return s
	}, check.Warn, "active before the release"}
	out["prometheus alert where none was before"] = look{"prometheus.alert", before.check, func(t *testing.T) *Scene {
		s := scene(t)
		s.Before, s.Began = map[string][]string{"it": nil}, time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
		return s
	}, check.Fail, "ApiDown fires"}
	out["prometheus alert active before the release"] = look{"prometheus.alert-old", before.check, func(t *testing.T) *Scene {
		s := scene(t)
		s.Began = time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
		return s
	}, check.Warn, "active before the release"}

	manager := map[string]string{"/-/ready": "OK", "/metrics": "alertmanager_config_last_reload_successful 1\n", "/api/v2/status": `{"cluster":{}}`, "/api/v2/receivers": `[{"name":"pager"}]`}
	m := add("alertmanager", "alertmanager: {url: '{{url}}', receivers: [pager]}", manager)
	m("sound", "", check.Pass, "1 receivers")
	m("not ready", "alertmanager.ready", check.Fail, "no", "/-/ready", "!no")
	m("reload failed", "alertmanager.reload", check.Fail, "reload failed", "/metrics", "alertmanager_config_last_reload_successful 0\n")
	m("no metric", "alertmanager.metric", check.Unknown, "none", "/metrics", "x 1\n")
	m("no status", "alertmanager.status", check.Unknown, "status 503", "/api/v2/status", "!{}")
	m("broken off", "", check.Unknown, "EOF", "/metrics", "^")
	m("no status, whatever its receivers", "alertmanager.status", check.Unknown, "status 503", "/api/v2/status", "!{}", "/api/v2/receivers", "[]")
	m("receivers that cannot be read", "alertmanager.status", check.Unknown, "status 503", "/api/v2/receivers", "!{}")
	m("no receiver", "alertmanager.receiver", check.Fail, "other", "/api/v2/receivers", `[{"name":"other"}]`)

	g := add("grafana", "grafana: {url: '{{url}}', datasources: [prom], dashboards: [{uid: api, panels: 1, data: true}]}", grafanaAnswers)
	g("sound", "", check.Pass, "database ok")
	g("ill though its database is ok", "grafana.health", check.Fail, "status 503", "/api/health", `!{"database":"ok"}`)
	add("grafana", "grafana: {url: '{{url}}', dashboards: [{uid: api}]}", grafanaAnswers)("panels of any number", "", check.Pass, "database ok", "/api/ds/query", `!{}`)
	add("grafana", "grafana: {url: '{{url}}', dashboards: [{uid: api, data: true}]}", grafanaAnswers)("panel with a source of its own", "", check.Pass, "database ok",
		"/api/dashboards/uid/api", `{"dashboard":{"panels":[{"title":"rate","datasource":{"uid":"prom"},"targets":[{"expr":"up"}]},{"title":"words","type":"text"}]}}`)
	g("broken off", "", check.Unknown, "EOF", "/api/ds/query", "^")
	g("data source broken off", "", check.Unknown, "EOF", "/api/datasources/uid/prom/health", "^")
	g("dashboard broken off", "", check.Unknown, "EOF", "/api/dashboards/uid/api", "^")
	g("database", "grafana.health", check.Fail, "failing", "/api/health", `{"database":"failing"}`)
	g("data source", "grafana.datasource", check.Fail, "ERROR", "/api/datasources/uid/prom/health", `{"status":"ERROR"}`)
	g("no dashboard", "grafana.dashboard", check.Fail, "status 503", "/api/dashboards/uid/api", `!{}`)
	g("panels", "grafana.panels", check.Fail, "0", "/api/dashboards/uid/api", `{"dashboard":{"panels":[]}}`)
	data := add("grafana", "grafana: {url: '{{url}}', dashboards: [{uid: api, data: true}]}", grafanaAnswers)
	const empty = `{"results":{"A":{"frames":[{"data":{"values":[]}}]}}}`
	for name, dashboard := range map[string]string{
		"without panels": `{"dashboard":{"panels":[]}}`, "of words": `{"dashboard":{"panels":[{"title":"words","type":"text"}]}}`,
		"of the new schema": `{"dashboard":{"elements":{"panel-1":{"kind":"Panel"}}}}`, "of an empty row": `{"dashboard":{"panels":[{"type":"row","panels":[]}]}}`,
	} {
		data(name+" has no data", "grafana.queries", check.Unknown, "no query", "/api/dashboards/uid/api", dashboard)
	}
	const row = `{"dashboard":{"panels":[{"type":"row","collapsed":true,"panels":[{"title":"inner","targets":[{"expr":"up"}]}]}]}}`
	data("collapsed row", "", check.Pass, "database ok", "/api/dashboards/uid/api", row)
	data("collapsed row without data", "grafana.data", check.Unknown, "without data", "/api/dashboards/uid/api", row, "/api/ds/query", empty)
	// A row is no panel, whether it is folded up or open; what is in it counts.
	count := add("grafana", "grafana: {url: '{{url}}', dashboards: [{uid: api, panels: 3}]}", grafanaAnswers)
	const folded = `{"type":"row","collapsed":true,"title":"Database","panels":[{"type":"timeseries","title":"a"},{"type":"stat","title":"b"}]}`
	count("folded row", "", check.Pass, "database ok", "/api/dashboards/uid/api", `{"dashboard":{"panels":[{"type":"stat","title":"c"},`+folded+`]}}`)
	count("open row", "", check.Pass, "database ok", "/api/dashboards/uid/api",
		`{"dashboard":{"panels":[{"type":"row","collapsed":false,"panels":[]},{"type":"stat"},{"type":"stat"},{"type":"stat"}]}}`)
	count("rows are no panels", "grafana.panels", check.Fail, "2 panels", "/api/dashboards/uid/api", `{"dashboard":{"panels":[`+folded+`]}}`)
	// Grafana 9.1 and later give a library panel's name in the dashboard and no more.
	const library = `{"dashboard":{"panels":[{"type":"row","collapsed":true,"panels":[{"id":4,"type":"library-panel-ref","libraryPanel":{"uid":"lib1","name":"Errors"}}]}]}}`
	const element = `{"result":{"uid":"lib1","name":"Errors","kind":1,"type":"timeseries","model":{"title":"Errors","datasource":{"uid":"prom"},"targets":[{"refId":"A","expr":"up"}]}}}`
	data("library panel", "", check.Pass, "database ok", "/api/dashboards/uid/api", library, "/api/library-elements/lib1", element)
	data("library panel without data", "grafana.data", check.Unknown, "without data", "/api/dashboards/uid/api", library, "/api/library-elements/lib1", element, "/api/ds/query", empty)
	data("library panel that is gone", "grafana.library", check.Fail, "status 404", "/api/dashboards/uid/api", library)
	data("library panel broken off", "", check.Unknown, "EOF", "/api/dashboards/uid/api", library, "/api/library-elements/lib1", "^")
	// Grafana does not ask a query that is hidden.
	data("hidden query beside another", "", check.Pass, "database ok", "/api/dashboards/uid/api", `{"dashboard":{"panels":[{"targets":[{"expr":"up"},{"expr":"","hide":true}]}]}}`)
	data("hidden query alone", "grafana.queries", check.Unknown, "no query", "/api/dashboards/uid/api", `{"dashboard":{"panels":[{"targets":[{"expr":"up","hide":true}]}]}}`)
	g("query", "grafana.query", check.Fail, "status 503", "/api/ds/query", `!{}`)
	g("no data", "grafana.data", check.Unknown, "without data", "/api/ds/query", `{"results":{"A":{"frames":[{"data":{"values":[]}}]}}}`)
	for kind, text := range map[string]string{"prometheus": "prometheus: {url: '{{url}}'}", "alertmanager": "alertmanager: {url: '{{url}}'}", "grafana": "grafana: {url: '{{url}}'}"} {
		out[kind+" down"] = look{kind + ".answer", text, nobody, check.Fail, "refused"}
	}
	return out
}

// Grafana is asked as who the check says.
func TestGrafana_Credentials(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", ", token: {env: PASSWORD, service: api}": "Bearer hunter2-and-more", ", user: admin, password: {env: PASSWORD, service: api}": "Basic YWRtaW46aHVudGVyMi1hbmQtbW9yZQ==",
		", user: admin, password: {env: PASSWORD, service: api}, token: {env: PASSWORD, service: api}": "Bearer hunter2-and-more",
	} {
		var got string
		s := handled(func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Get("Authorization")
			_, _ = io.WriteString(w, grafanaAnswers[r.URL.Path])
		})(t)
		units := one("api", nil)(t)
		s.Units, s.Shell = units.Units, units.Shell
		f := look{check: "grafana: {url: '{{url}}'" + text + "}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
		if f.Outcome != check.Pass || got != want {
			t.Errorf("%s: sent %q, want %q: %+v", text, got, want, f)
		}
	}
}

// What is active before a release is remembered, also what fires only later, with since when;
// where nobody answers, nothing is known.
func TestPrometheus_Baseline(t *testing.T) {
	t.Parallel()
	s := fakeMonitor(map[string]string{"/api/v1/alerts": `{"data":{"alerts":[{"state":"firing","labels":{"severity":"critical","alertname":"A"}},{"state":"pending","activeAt":"2026-01-02T00:00:00Z","labels":{"alertname":"B"}}]}}`})(t)
	checks, err := ReadFile("v.yml", []byte("- {name: it, all: [{disk: {}}, {prometheus: {url: '{{url}}'}}]}"))
	if err != nil || len(checks[0].Prometheuses()) != 1 {
		t.Fatal(err)
	}
	active, answered := checks[0].Prometheuses()[0].Baseline(s.Begin(t.Context(), "it"))
	assert.Equal(t, []string{"alertname=A,severity=critical", "alertname=B since 2026-01-02T00:00:00Z"}, active)
	assert.True(t, answered)
	for name, s := range map[string]*Scene{"nobody": nobody(t), "it is starting": fakeMonitor(map[string]string{"/api/v1/alerts": "!Service Unavailable"})(t)} {
		active, answered = checks[0].Prometheuses()[0].Baseline(s.Begin(t.Context(), "it"))
		assert.Empty(t, active, name)
		assert.False(t, answered, name)
	}
}

// An alert that was pending when the release began is old as long as it has been active since
// then; one that was inactive in between is the release's doing.
func TestPrometheus_PendingBefore(t *testing.T) {
	t.Parallel()
	answer := func(state, zone, since string) map[string]string {
		return map[string]string{
			"/-/ready": "ready", "/metrics": "prometheus_config_last_reload_successful 1\n", "/api/v1/rules": `{"data":{"groups":[]}}`,
			"/api/v1/alerts": fmt.Sprintf(`{"data":{"alerts":[{"state":%q,"activeAt":%q,"labels":{"alertname":"ApiDown","severity":"critical","zone":%q}}]}}`, state, since, zone),
		}
	}
	began := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		state, zone, before, after string
		want                       check.Outcome
	}{
		"active without a break":              {"pending", "a", "2026-01-02T11:59:00Z", "2026-01-02T11:59:00Z", check.Warn},
		"by a clock that runs ahead":          {"pending", "a", "2026-01-02T12:00:30Z", "2026-01-02T12:00:30Z", check.Warn},
		"active anew":                         {"pending", "a", "2026-01-02T11:59:00Z", "2026-01-02T12:09:00Z", check.Fail},
		"told anew by a Prometheus restarted": {"pending", "a", "2026-01-02T11:59:00Z", "2026-01-02T11:59:20Z", check.Warn},
		"another one":                         {"pending", "ab", "2026-01-02T11:59:00Z", "2026-01-02T11:59:00Z", check.Fail},
		"firing, whatever came later":         {"firing", "a", "2026-01-02T11:59:00Z", "2026-01-02T12:09:00Z", check.Warn},
	} {
		begins := fakeMonitor(answer(c.state, c.zone, c.before))(t)
		before, _ := (&Prometheus{Monitor: Monitor{URL: begins.URL}}).Baseline(begins.Begin(t.Context(), "it"))
		f := look{check: "prometheus: {url: '{{url}}'}", scene: func(t *testing.T) *Scene {
			s := fakeMonitor(answer("firing", "a", c.after))(t)
			s.Before, s.Began = map[string][]string{"it": before}, began
			return s
		}}.at(t, "")
		assert.Equal(t, c.want, f.Outcome, "%s: %+v", name, f)
	}
}

// What Prometheus has not come to yet is told with what to do.
func TestPrometheus_BeforeItsFirstTurn(t *testing.T) {
	t.Parallel()
	for path, answer := range map[string]string{
		"/api/v1/targets": `{"data":{"activeTargets":[{"labels":{"job":"api"},"health":"unknown"}]}}`,
		"/api/v1/rules":   `{"data":{"groups":[{"rules":[{"name":"ApiDown","health":"unknown"}]}]}}`,
	} {
		f := look{check: "prometheus: {url: '{{url}}', targets: true}", scene: fakeMonitor(map[string]string{
			"/-/ready": "ready", "/metrics": "prometheus_config_last_reload_successful 1\n", "/api/v1/alerts": `{"data":{"alerts":[]}}`,
			"/api/v1/targets": `{"data":{"activeTargets":[{"labels":{"job":"api"},"health":"up"}]}}`, "/api/v1/rules": `{"data":{"groups":[]}}`,
		}, path, answer)}.at(t, "")
		assert.Equal(t, check.Unknown, f.Outcome, "%+v", f)
		assert.Contains(t, f.Hint, "timeout longer than its scrape_interval", path)
	}
}

// A panel's query goes to the datasource of the query, or else of the panel.
func TestGrafana_Datasources(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ panel, want string }{
		"its own":     {`{"title":"p","datasource":{"uid":"panels"},"targets":[{"expr":"up","datasource":{"uid":"its-own"}}]}`, `"uid":"its-own"`},
		"the panel's": {`{"title":"p","datasource":{"uid":"panels"},"targets":[{"expr":"up"}]}`, `"uid":"panels"`},
	} {
		var asked string
		s := handled(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasPrefix(r.URL.Path, "/api/dashboards/uid/"):
				_, _ = fmt.Fprintf(w, `{"dashboard":{"panels":[%s]}}`, c.panel)
			case r.URL.Path == "/api/ds/query":
				body, _ := io.ReadAll(r.Body)
				asked = r.Header.Get("Content-Type") + " " + string(body)
				_, _ = io.WriteString(w, `{"results":{"A":{"frames":[{"data":{"values":[[1],[2]]}}]}}}`)
			default:
				_, _ = io.WriteString(w, grafanaAnswers[r.URL.Path])
			}
		})
		f := look{check: "grafana: {url: '{{url}}', dashboards: [{uid: d, data: true}]}", scene: s}.at(t, "")
		assert.Contains(t, asked, c.want, "%s: %+v", name, f)
		assert.Contains(t, asked, "application/json {")
	}
}

// A monitor that is a service is asked in each of its units, by plain requests.
func TestPrometheus_OfAService(t *testing.T) {
	t.Parallel()
	var asked []string
	s := handled(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type"))
		_, _ = io.WriteString(w, `{"status":"success","data":{"alerts":[],"activeTargets":[]}}`)
	})(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	s.URL, s.Units = "", one("prometheus", nil)(t).Units
	f := look{check: "prometheus: {service: prometheus, port: " + port + "}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
	assert.Equal(t, "shop-prometheus-1", f.Where, "%+v", f)
	assert.Contains(t, asked, "GET /-/ready ")
}
