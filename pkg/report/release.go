package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode"

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
	// PreviousVersion is what that one was called.
	PreviousVersion string `json:"previous_version,omitempty"`
	// Actor is who released; Environment what GitHub calls the place.
	Actor       string `json:"actor,omitempty"`
	Environment string `json:"environment,omitempty"`
	// Outcome is "verified", "unchanged", "planned" or the kind of the error that
	// ended it ("failed", "refused", "bad-input", "locked", "interrupted", "stuck").
	Outcome string `json:"outcome"`
	// Serving names what serves now ("v2", "release 12"), "" for nothing and where that is not
	// known: something of a release that did not succeed stays.
	Serving string    `json:"serving,omitempty"`
	DryRun  bool      `json:"dry_run"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	// Changed names the services that were (or would be) changed, in order.
	Changed  []string  `json:"changed_services"`
	Services []Service `json:"services"`
	// Plan is the plan as it prints itself.
	Plan  string `json:"plan,omitempty"`
	Probe *Probe `json:"probe,omitempty"`
	// Backups are the databases that are dumped before the services in Migrations
	// change them. Drift is what was changed by hand; Refusals forbid the release.
	Backups    []string `json:"backups,omitempty"`
	Migrations []string `json:"migrations,omitempty"`
	Drift      []string `json:"drift,omitempty"`
	Refusals   []string `json:"refusals,omitempty"`
	Notes      []string `json:"notes,omitempty"`
	// RestoresDatabase is the backup that a database goes back to before services change.
	RestoresDatabase string `json:"restores_database,omitempty"`
	// FreeMemory is what the host has available, in bytes; 0 where that is not known.
	FreeMemory int64 `json:"free_memory_bytes,omitempty"`
	// Preflight is what was found before, nil when nobody looked.
	Preflight *check.Report `json:"preflight,omitempty"`
	// Checks is what was verified, nil when nothing was.
	Checks *check.Report `json:"checks,omitempty"`
	// Spans are the timed parts of the release, Logs the last words of units that
	// failed.
	Spans []Span `json:"spans,omitempty"`
	Logs  []Log  `json:"logs,omitempty"`
	// Error and Hint tell why the outcome is not the wanted one.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// RunURL is the page of the run that made the release, CommitURL that of its
	// commit, CompareURL shows what it changed and EnvironmentURL the result.
	RunURL         string `json:"run_url,omitempty"`
	CommitURL      string `json:"commit_url,omitempty"`
	CompareURL     string `json:"compare_url,omitempty"`
	EnvironmentURL string `json:"environment_url,omitempty"`
}

// Span is one timed part of a release. Section is what it belongs to: the
// release as a whole, a service, a service on its way back.
type Span struct {
	Section string    `json:"section"`
	Name    string    `json:"name"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	// Failed is set for the part that the release failed in.
	Failed bool `json:"failed,omitempty"`
}

// Log is the last lines that a unit printed before it was taken away; nobody
// vouches for what they say.
type Log struct {
	Unit string `json:"unit"`
	Text string `json:"text"`
}

// Service is what happened to one service.
type Service struct {
	Name   string `json:"name"`
	Action string `json:"action"`
	// Result is "done", "unchanged", "failed", "went back", "not begun", "ill as before" or
	// "changed" where it is left half way; "" for a plan.
	Result string `json:"result,omitempty"`
	// Reasons say why, with names only.
	Reasons  []string `json:"reasons,omitempty"`
	Replicas int      `json:"replicas"`
	Image    string   `json:"image,omitempty"`
	// Seconds is how long it took, 0 when nothing was done.
	Seconds float64 `json:"seconds,omitempty"`
	// Interruption says what users notice, "" for nothing.
	Interruption string `json:"interruption,omitempty"`
	// InterruptionSeconds is for how long, by the record of its last start; 0 where
	// that is not known.
	InterruptionSeconds float64 `json:"interruption_seconds,omitempty"`
	// Memory is what it needs beside what runs, Pulled what of its image the host
	// lacks; both in bytes, 0 where that is not known.
	Memory int64 `json:"memory_bytes,omitempty"`
	Pulled int64 `json:"pull_bytes,omitempty"`
	// Cut counts the connections that outlived the drain budget and were ended.
	Cut int `json:"cut,omitempty"`
}

// Ill is the result of a service that was ill before the release, and stays so.
const Ill = "ill as before"

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

// Headline says how it ended, and where, in one sentence.
func (r *Release) Headline() string {
	return about(r.Project, r.Host) + r.Sentence()
}

// about begins a headline: "shop on gpu1: ". What ended early knows of neither.
func about(project, host string) string {
	name := clean(project)
	switch {
	case name != "" && host != "":
		name += " on " + clean(host)
	case host != "":
		name = clean(host)
	}
	if name == "" {
		return ""
	}
	return name + ": "
}

// Sentence says how it ended, for readers who know where.
func (r *Release) Sentence() string {
	switch {
	case r.Outcome == "":
		return r.Label() + " begins"
	case r.DryRun && r.Outcome == "planned":
		return r.planned()
	case r.Outcome == "unchanged":
		return fmt.Sprintf("nothing to change, %s serves", r.Label())
	case r.Outcome == "verified":
		return fmt.Sprintf("%s verified in %s", r.Label(), seconds(r.Seconds)) + r.stillIll()
	}
	line := fmt.Sprintf("%s %s after %s", r.Label(), clean(r.Outcome), seconds(r.Seconds))
	left := len(r.Changed) > 0 && !r.DryRun
	switch {
	case r.Serving != "":
		return line + ", " + clean(Brief(r.Serving)) + " serves"
	case r.Outcome == "stuck", r.Outcome == "interrupted" && left:
		return line + ", what serves is not known"
	case r.Outcome == "failed" && left:
		return line + ", what was changed stays"
	case r.Outcome == "failed" && r.Number > 0 && r.Previous == 0:
		return line + ", nothing serves"
	}
	return line
}

// planned says what a release would do, and whether it would come to that.
func (r *Release) planned() string {
	var parts []string
	if r.RestoresDatabase != "" {
		parts = append(parts, "the database would go back to backup "+clean(r.RestoresDatabase))
	}
	switch {
	case len(r.Changed) > 0:
		parts = append(parts, plural(len(r.Changed), "service")+" would change")
	case len(r.Migrations) > 0:
		parts = append(parts, "a database would be migrated")
	}
	would := strings.Join(parts, " and ")
	switch {
	case len(r.Refusals) > 0:
		return cmp.Or(would, "nothing to change") + ", and a release would be refused: " + shorten(clean(Brief(r.Refusals[0])), 160)
	case would == "":
		return "nothing to change"
	}
	return would + "; this was a plan, nothing was changed"
}

// stillIll names what was ill before the release and stays so: a verified one went past it.
func (r *Release) stillIll() string {
	var names []string
	for _, s := range r.Services {
		if s.Result == Ill {
			names = append(names, clean(s.Name))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", but for what is ill as before: " + strings.Join(names, ", ")
}

// Took is how long it took, for people; "" where that is not known.
func (r *Release) Took() string {
	if r.Seconds == 0 {
		return ""
	}
	return seconds(r.Seconds)
}

// Label names the release: "release 12 (v2)".
func (r *Release) Label() string {
	label := "release"
	if r.Number > 0 {
		label = fmt.Sprintf("release %d", r.Number)
	}
	if r.Version != "" {
		label += " (" + clean(Brief(r.Version)) + ")"
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
	if r.Checks != nil {
		fmt.Fprintf(&b, "  verify   %s\n", tally(r.Checks))
	}
	if r.Probe != nil {
		fmt.Fprintf(&b, "  probe    %s\n", r.Probe.Text())
	}
	if r.DryRun {
		return b.String() // the plan stands right above, with its notes
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note     %s\n", clean(n))
	}
	return b.String()
}

// Text gives the figures in one line; "" for no probe.
func (p *Probe) Text() string {
	if p == nil {
		return ""
	}
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

// Production tells whether an environment is one that real users depend on, by
// its name: it begins with prod, whatever follows (prodeu, productive), but for a product, or a word of it
// is prod, production, prd or live, with a number or without (prod-2, prod2, eu-production).
// What is before production (pre-prod) or none (non-prod) is not.
func Production(environment string) bool {
	words := strings.FieldsFunc(strings.ToLower(environment), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(words) > 0 && strings.HasPrefix(words[0], "prod") && (!strings.HasPrefix(words[0], "product") || strings.HasPrefix(words[0], "producti")) {
		return true
	}
	for i, word := range words {
		if strings.Contains(" prod production prd live ", " "+strings.TrimRight(word, "0123456789")+" ") {
			return i == 0 || words[i-1] != "pre" && words[i-1] != "non"
		}
	}
	return false
}
