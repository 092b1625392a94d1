package kind

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Prometheus looks whether the monitoring itself works, and what it says.
type Prometheus struct {
	Monitor       `yaml:",inline"`
	Jobs          []string    `yaml:"jobs" help:"Scrape jobs that have to have targets, all of them up."`
	Targets       *bool       `yaml:"targets" help:"Whether a target of any job that is down fails. Default: false; jobs names those that matter."`
	Rules         int         `yaml:"rules" jsonschema:"exclusiveMinimum=0" help:"How many alerting rules have to be loaded. Default: any number."`
	Alerts        *Alerts     `yaml:"alerts" help:"Firing alerts that fail, unless they fired before the release or have been active since before it. Default: severity critical."`
	Alertmanagers int         `yaml:"alertmanagers" help:"How many Alertmanagers it has to know. Default: 0."`
	Queries       []PromQuery `yaml:"queries" help:"More questions."`
}

// Alerts says which firing alerts matter.
type Alerts struct {
	Severity []string `yaml:"severity" help:"Values of the label severity. Default: [critical]."`
	Ignore   []string `yaml:"ignore" help:"Names of alerts that do not matter."`
}

// PromQuery is one query: every series of its answer has to be as expected, and
// no series is no data.
type PromQuery struct {
	Query  string `yaml:"query" jsonschema:"required" help:"A PromQL expression. An answer without data is unknown, and so is one that is no number (NaN)."`
	Expect Match  `yaml:"expect" jsonschema:"required" help:"What the value of every series has to be."`
}

// Manner is how it is looked at. By default it scrapes and evaluates once a minute, and before
// the first time of each nothing is known.
func (p *Prometheus) Manner() Manner {
	m := p.Monitor.Manner()
	m.Timeout = 90 * time.Second
	return m
}

// firstTurn is what to do where the first scrape or evaluation was not waited for.
const firstTurn = "Prometheus has not come to it since it started or was reloaded: give the check a timeout longer than its scrape_interval and evaluation_interval"

func (p *Prometheus) dials() (service, addr string) { return p.dialsAt(9090) }

// Look asks.
func (p *Prometheus) Look(s *Sight) {
	for _, a := range p.apis(s, 9090, nil) {
		p.look(a)
	}
}

func (p *Prometheus) look(a api) {
	ready, err := a.get("/-/ready", nil)
	if err != nil {
		a.absent("prometheus.answer", err, "an answer")
		return
	}
	if !a.need("prometheus.ready", ready.status == http.StatusOK, "to be ready", fmt.Sprintf("status %d: %s", ready.status, quoted(ready.body))) {
		return
	}
	p.configuration(a)
	p.targets(a)
	p.rules(a)
	p.alerts(a)
	if p.Alertmanagers > 0 {
		if r, ok := a.json("prometheus.api", "/api/v1/alertmanagers", nil); ok {
			n := len(r.Get("data.activeAlertmanagers").Array())
			a.need("prometheus.alertmanagers", n >= p.Alertmanagers, fmt.Sprintf("%d active Alertmanagers", p.Alertmanagers), fmt.Sprintf("%d active", n))
		}
	}
	for _, q := range p.Queries {
		p.query(a, q)
	}
	a.settle("pass", "monitoring that works", "ready, configuration and rules loaded, no new alert", "")
}

// configuration asks whether the last reload took.
func (p *Prometheus) configuration(a api) {
	metrics, err := a.get("/metrics", nil)
	if err != nil {
		a.blind(err)
		return
	}
	reloaded(a, metrics.body, "prometheus_config_last_reload_successful", "prometheus")
}

// reloaded reads from metrics whether the last reload of a configuration took.
func reloaded(a api, metrics, name, kind string) {
	value := ""
	for _, line := range strings.Split(metrics, "\n") {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			value = v
		}
	}
	if a.know(kind+".metric", value != "", "the metric "+name, "none") {
		a.need(kind+".reload", value == "1", "the configuration to be loaded", "the last reload failed", "read its log")
	}
}

func (p *Prometheus) targets(a api) {
	if len(p.Jobs) == 0 && (p.Targets == nil || !*p.Targets) {
		return
	}
	r, ok := a.json("prometheus.api", "/api/v1/targets", url.Values{"state": {"active"}})
	if !ok {
		return
	}
	up, all := map[string]int{}, p.Targets != nil && *p.Targets
	for _, target := range r.Get("data.activeTargets").Array() {
		job, health := target.Get("labels.job").String(), target.Get("health").String()
		up[job]++
		if !all && !slices.Contains(p.Jobs, job) {
			continue
		}
		found := fmt.Sprintf("%s of %s is %s: %s", target.Get("labels.instance"), job, health, quoted(target.Get("lastError").String()))
		// Before its first scrape nothing is known of a target.
		if a.know("prometheus.scraped", health != "unknown", "every target scraped", found, firstTurn) {
			a.need("prometheus.target", health == "up", "every target up", found)
		}
	}
	if all {
		a.know("prometheus.targets", len(up) > 0, "targets that are scraped", "none", "is the file that --config.file names the one that is mounted?")
	}
	for _, job := range p.Jobs {
		a.need("prometheus.job", up[job] > 0, "a target of the job "+job, "none; there are "+quoted(strings.Join(slices.Sorted(maps.Keys(up)), ", ")))
	}
}

func (p *Prometheus) rules(a api) {
	r, ok := a.json("prometheus.api", "/api/v1/rules", url.Values{"type": {"alert"}})
	if !ok {
		return
	}
	n := 0
	for _, group := range r.Get("data.groups").Array() {
		for _, rule := range group.Get("rules").Array() {
			n++
			found := fmt.Sprintf("%s is %s: %s", rule.Get("name"), rule.Get("health"), quoted(rule.Get("lastError").String()))
			if a.know("prometheus.evaluated", rule.Get("health").String() != "unknown", "every rule evaluated", found, firstTurn) {
				a.need("prometheus.rule", rule.Get("health").String() == "ok", "every rule healthy", found)
			}
		}
	}
	if p.Rules > 0 {
		a.need("prometheus.rules", n == p.Rules, fmt.Sprintf("%d alerting rules", p.Rules), fmt.Sprintf("%d are loaded", n), "is the file that rule_files names the one that is mounted?")
	}
}

// Baseline lists the alerts that are active now, for the comparison after a release, and tells
// whether every server has answered. A pending one fires in its time without the release, if
// it stays active; most end by themselves, so that it is listed with since when it is.
func (p *Prometheus) Baseline(s *Sight) (active []string, answered bool) {
	apis := p.apis(s, 9090, nil)
	answered = len(apis) > 0
	for _, a := range apis {
		r, ok := a.json("prometheus.api", "/api/v1/alerts", nil)
		answered = answered && ok
		if !ok {
			continue
		}
		for _, alert := range r.Get("data.alerts").Array() {
			name := fingerprint(alert)
			if alert.Get("state").String() == "pending" {
				name += pendingSince + alert.Get("activeAt").String()
			}
			active = append(active, name)
		}
	}
	return active, answered
}

// pendingSince stands between a pending alert of a Baseline and the moment that it is active from.
const pendingSince = " since "

// fingerprint tells alerts apart by all their labels.
func fingerprint(alert gjson.Result) string {
	var labels []string
	alert.Get("labels").ForEach(func(k, v gjson.Result) bool {
		labels = append(labels, k.String()+"="+v.String())
		return true
	})
	slices.Sort(labels)
	return strings.Join(labels, ",")
}

func (p *Prometheus) alerts(a api) {
	r, ok := a.json("prometheus.api", "/api/v1/alerts", nil)
	if !ok {
		return
	}
	which := Alerts{}
	if p.Alerts != nil {
		which = *p.Alerts
	}
	if len(which.Severity) == 0 {
		which.Severity = []string{"critical"}
	}
	for _, alert := range r.Get("data.alerts").Array() {
		name, severity := alert.Get("labels.alertname").String(), alert.Get("labels.severity").String()
		if alert.Get("state").String() != "firing" || !slices.Contains(which.Severity, severity) || slices.Contains(which.Ignore, name) {
			continue
		}
		since := alert.Get("activeAt").String()
		found := fmt.Sprintf("%s fires since %s: %s", name, since, fingerprint(alert))
		if a.activeBefore(alert, since) {
			a.want("prometheus.alert-old", false, "no firing alert of severity "+severity, found+"; it was active before the release")
			continue
		}
		a.need("prometheus.alert", false, "no new alert of severity "+severity, found)
	}
}

// activeBefore tells whether an alert is not the release's doing: it fired when somebody
// looked before, was pending then and has been active since, or, where nobody could look, is
// so since before the release began. Prometheus moves what was pending a little when it starts
// anew: that is told by the beginning too. A unit says it in its host's time; whose an address
// keeps is not known.
func (a api) activeBefore(alert gjson.Result, since string) bool {
	before, seen := a.Before[a.Name]
	name := fingerprint(alert)
	if slices.Contains(before, name) || slices.Contains(before, name+pendingSince+since) {
		return true
	}
	pending := slices.ContainsFunc(before, func(b string) bool { return strings.HasPrefix(b, name+pendingSince) })
	at, err := time.Parse(time.RFC3339Nano, since)
	if err != nil || seen && !pending {
		return false
	}
	var there clock
	if a.unit != nil {
		if there, err = a.clock(a.Ctx, *a.unit); err != nil {
			a.blind(err)
			return false
		}
	}
	return at.Before(there.of(a.Began))
}

func (p *Prometheus) query(a api, q PromQuery) {
	expression, err := a.expand(q.Query)
	if err != nil {
		a.blind(err)
		return
	}
	r, ok := a.json("prometheus.query", "/api/v1/query", url.Values{"query": {expression}})
	if !ok {
		return
	}
	values := r.Get("data.result.#.value.1").Array()
	if r.Get("data.resultType").String() == "scalar" {
		values = []gjson.Result{r.Get("data.result.1")}
	}
	if !a.know("prometheus.data", len(values) > 0, "data for "+expression, "an answer without data") {
		return
	}
	for _, v := range values {
		// Nothing divided by nothing: a share of no requests, say.
		if !a.know("prometheus.number", v.String() != "NaN", "a number for "+expression, "NaN", "say what counts where it divides by 0: (a / (b > 0)) or vector(0)") {
			continue
		}
		q.Expect.check(a.Sight, expression, v.String(), true)
	}
}
