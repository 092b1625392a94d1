package report

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
)

// Release is a finished release, a failed one or a plan, as it is told. Its
// JSON is the `report` output.
type Release struct {
	Project string `json:"project"`
	Host    string `json:"host"`
	// Number is the release's own number in the ledger, 0 when none was begun;
	// Previous is the one that served before, 0 for none.
	Number   int    `json:"release"`
	Previous int    `json:"previous_release"`
	Version  string `json:"version,omitempty"`
	Commit   string `json:"commit,omitempty"`
	// Outcome is "verified", "unchanged", "planned", "rolled-back" or the kind of
	// the error that ended it ("failed", "refused", "bad-input", "locked",
	// "interrupted", "stuck").
	Outcome string `json:"outcome"`
	// Serving names what serves now ("v2", "release 12"), "" for nothing.
	Serving string    `json:"serving,omitempty"`
	DryRun  bool      `json:"dry_run"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	// Changed names the services that were (or would be) changed, in order.
	Changed  []string  `json:"changed_services"`
	Services []Service `json:"services"`
	// Plan is the plan as it prints itself.
	Plan  string   `json:"plan,omitempty"`
	Probe *Probe   `json:"probe,omitempty"`
	Notes []string `json:"notes,omitempty"`
	// Preflight is what was found before, nil when nobody looked.
	Preflight *check.Report `json:"preflight,omitempty"`
	// Error and Hint tell why the outcome is not the wanted one.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// RunURL is the page of the run that made the release.
	RunURL string `json:"run_url,omitempty"`
}

// Service is what happened to one service.
type Service struct {
	Name   string `json:"name"`
	Action string `json:"action"`
	// Reasons say why, with names only.
	Reasons  []string `json:"reasons,omitempty"`
	Replicas int      `json:"replicas"`
	Image    string   `json:"image,omitempty"`
	// Seconds is how long it took, 0 when nothing was done.
	Seconds float64 `json:"seconds,omitempty"`
	// Interruption says what users notice, "" for nothing.
	Interruption string `json:"interruption,omitempty"`
	// Cut counts the connections that outlived the drain budget and were ended.
	Cut int `json:"cut,omitempty"`
}

// Probe is what users would have seen, measured from before the first change
// until after the last.
type Probe struct {
	URL      string `json:"url,omitempty"`
	Requests int    `json:"requests"`
	Failed   int    `json:"failed"`
	Budget   int    `json:"budget"`
	// Dropped were due but never sent: the load was less than asked for.
	Dropped int `json:"dropped,omitempty"`
	// Failures counts by class ("502", "refused", "timeout", ...).
	Failures map[string]int `json:"failures"`
	// LongestGap is the longest time without an answer, the others are
	// latencies; all in milliseconds.
	LongestGap float64 `json:"longest_gap_ms"`
	P50Before  float64 `json:"p50_before_ms"`
	P50During  float64 `json:"p50_during_ms"`
	P99Before  float64 `json:"p99_before_ms"`
	P99During  float64 `json:"p99_during_ms"`
}

// JSON gives the release as one line of JSON.
func (r *Release) JSON() ([]byte, error) {
	// Lists that are empty print as [] so that readers need no second case.
	c := *r
	if c.Changed == nil {
		c.Changed = []string{}
	}
	if c.Services == nil {
		c.Services = []Service{}
	}
	return json.Marshal(&c)
}

// Headline says how it ended in one sentence.
func (r *Release) Headline() string {
	name := clean(r.Project)
	if r.Host != "" {
		name += " on " + clean(r.Host)
	}
	switch {
	case r.DryRun && r.Outcome == "planned" && len(r.Changed) == 0:
		return name + ": nothing to change"
	case r.DryRun && r.Outcome == "planned":
		return fmt.Sprintf("%s: %s would change; this was a plan, nothing was changed", name, plural(len(r.Changed), "service"))
	case r.Outcome == "unchanged":
		return fmt.Sprintf("%s: nothing to change, %s serves", name, r.label())
	case r.Outcome == "verified":
		return fmt.Sprintf("%s: %s verified in %s", name, r.label(), seconds(r.Seconds))
	}
	line := fmt.Sprintf("%s: %s %s after %s", name, r.label(), clean(r.Outcome), seconds(r.Seconds))
	if r.Serving != "" {
		return line + ", " + clean(r.Serving) + " serves"
	}
	if r.Outcome == "failed" && r.Previous == 0 {
		return line + ", nothing serves"
	}
	return line
}

// label names the release: "release 12 (v2)".
func (r *Release) label() string {
	label := "release"
	if r.Number > 0 {
		label = fmt.Sprintf("release %d", r.Number)
	}
	if r.Version != "" {
		label += " (" + clean(r.Version) + ")"
	}
	return label
}

// Text gives the release as the last lines of a console.
func (r *Release) Text() string {
	var b strings.Builder
	b.WriteString(r.Headline() + "\n")
	if len(r.Changed) > 0 && !r.DryRun {
		fmt.Fprintf(&b, "  changed  %s\n", clean(strings.Join(r.Changed, ", ")))
	}
	if r.Probe != nil {
		fmt.Fprintf(&b, "  probe    %s\n", r.Probe.text())
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note     %s\n", clean(n))
	}
	return b.String()
}

func (p *Probe) text() string {
	text := fmt.Sprintf("%s, %s failed", plural(p.Requests, "request"), number(p.Failed))
	if classes := p.classes(); classes != "" {
		text += " (" + classes + ")"
	}
	if p.Dropped > 0 {
		text += fmt.Sprintf(", %s never sent because too many were unanswered", number(p.Dropped))
	}
	return text + fmt.Sprintf(", longest gap %s, p99 %s before and %s during",
		millis(p.LongestGap), millis(p.P99Before), millis(p.P99During))
}

// classes lists the failures by class, the most frequent first.
func (p *Probe) classes() string {
	names := make([]string, 0, len(p.Failures))
	for name, n := range p.Failures {
		if n > 0 {
			names = append(names, name)
		}
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := p.Failures[names[i]], p.Failures[names[j]]
		return a > b || a == b && names[i] < names[j]
	})
	for i, name := range names {
		names[i] = number(p.Failures[name]) + " " + clean(name)
	}
	return strings.Join(names, ", ")
}

// Fail records why the outcome is not the wanted one; nil changes nothing. An
// outcome that is not set yet is the error's kind.
func (r *Release) Fail(err error) {
	if err == nil {
		return
	}
	r.Error, r.Hint = err.Error(), fault.Hint(err)
	if r.Outcome == "" {
		r.Outcome = fault.Of(err).String()
	}
}
