package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
)

// Verification is a finished verification as it is told. Its JSON is the `report`
// output; check.Schema is the version of the checks in it.
type Verification struct {
	Project string        `json:"project"`
	Host    string        `json:"host"`
	Release int           `json:"release"`
	Version string        `json:"version,omitempty"`
	Outcome string        `json:"outcome"`
	Started time.Time     `json:"started"`
	Seconds float64       `json:"seconds"`
	Checks  *check.Report `json:"checks"`
	// Error and Hint tell why the outcome is not the wanted one.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Fail records why the outcome is not the wanted one; nil changes nothing.
func (v *Verification) Fail(err error) {
	if err == nil {
		return
	}
	v.Error, v.Hint = err.Error(), fault.Hint(err)
	if v.Outcome == "" {
		v.Outcome = fault.Of(err).String()
	}
}

// JSON gives it as one line of JSON.
func (v *Verification) JSON() ([]byte, error) {
	c := *v
	if c.Checks == nil {
		c.Checks = &check.Report{Schema: check.Schema, Results: []check.Result{}}
	}
	return json.Marshal(&c)
}

// Headline says how it ended in one sentence.
func (v *Verification) Headline() string {
	name := clean(v.Project)
	if v.Host != "" {
		name += " on " + clean(v.Host)
	}
	what := ""
	if v.Release > 0 {
		what = fmt.Sprintf("release %d ", v.Release)
		if v.Version != "" {
			what = fmt.Sprintf("release %d (%s) ", v.Release, clean(v.Version))
		}
	}
	return fmt.Sprintf("%s: %s%s after %s: %s", name, what, clean(v.Outcome), seconds(v.Seconds), tally(v.Checks))
}

// tally counts outcomes.
func tally(r *check.Report) string {
	if r == nil || len(r.Results) == 0 {
		return "nothing was checked"
	}
	var parts []string
	for _, o := range []struct {
		outcome check.Outcome
		word    string
	}{{check.Pass, "passed"}, {check.Warn, "warned"}, {check.Fail, "failed"}, {check.Unknown, "unknown"}, {check.Skip, "skipped"}} {
		if n := r.Count(o.outcome); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o.word))
		}
	}
	return plural(len(r.Results), "check") + ", " + strings.Join(parts, ", ")
}

// Text gives a table for a console: a line a check, and below those that did not
// pass what was expected and found.
func (v *Verification) Text() string { return CheckTable(v.Checks) + v.Headline() + "\n" }

// CheckTable gives the results as a table for a console.
func CheckTable(r *check.Report) string {
	if r == nil {
		return ""
	}
	name, kind := len("CHECK"), len("KIND")
	for _, c := range r.Results {
		name, kind = max(name, len(clean(c.Name))), max(kind, len(c.Kind))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s  %-*s  %-*s  %6s  %s\n", "OUTCOME", name, "CHECK", kind, "KIND", "TOOK", "FOUND")
	for _, c := range r.Results {
		about := clean(c.Found)
		if c.Outcome == check.Pass {
			fmt.Fprintf(&b, "%-7s  %-*s  %-*s  %6s  %s\n", c.Outcome, name, clean(c.Name), kind, c.Kind, seconds(c.Seconds), shorten(about, 100))
			continue
		}
		fmt.Fprintf(&b, "%-7s  %-*s  %-*s  %6s  %s\n", c.Outcome, name, clean(c.Name), kind, c.Kind, seconds(c.Seconds), about)
		for _, line := range [][2]string{{"at", c.Where}, {"expected", c.Expected}, {"do", c.Hint}} {
			if line[1] != "" {
				fmt.Fprintf(&b, "%9s%-8s %s\n", "", line[0], clean(line[1]))
			}
		}
	}
	return b.String()
}

// Markdown gives it as a job summary.
func (v *Verification) Markdown() string {
	sign := map[string]string{"verified": "✅", "unknown": "❔", "bad-input": "⛔", "refused": "⛔", "interrupted": "⚠️"}[v.Outcome]
	if sign == "" {
		sign = "❌"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s\n\n", sign, escape(v.Headline()))
	if v.Error != "" {
		fmt.Fprintf(&b, "> **%s**\n", escape(v.Error))
		if v.Hint != "" {
			fmt.Fprintf(&b, ">\n> %s\n", escape(v.Hint))
		}
		b.WriteString("\n")
	}
	if v.Checks != nil {
		b.WriteString(checksMarkdown(v.Checks))
	}
	return b.String()
}

// signs show the outcome of a check.
var signs = map[check.Outcome]string{check.Pass: "✅", check.Warn: "⚠️", check.Fail: "❌", check.Skip: "⏭️", check.Unknown: "❔"}

// checksMarkdown shows what needs a reader's eye with its evidence, and what
// passed folded.
func checksMarkdown(r *check.Report) string {
	var passed, others []check.Result
	for _, c := range r.Results {
		if c.Outcome == check.Pass {
			passed = append(passed, c)
		} else {
			others = append(others, c)
		}
	}
	var b strings.Builder
	if len(others) > 0 {
		checkRows(&b, others)
		for _, c := range others {
			lastProbes(&b, c)
		}
	}
	if len(passed) > 0 {
		fmt.Fprintf(&b, "<details><summary>%s passed</summary>\n\n", plural(len(passed), "check"))
		checkRows(&b, passed)
		b.WriteString("</details>\n\n")
	}
	return b.String()
}

// maxCell is how many bytes of a value fit into a cell of a table.
const maxCell = 300

func checkRows(b *strings.Builder, results []check.Result) {
	b.WriteString("| Outcome | Check | Kind | Where | Expected | Found | Took |\n|---|---|---|---|---|---|--:|\n")
	for _, c := range results {
		found := c.Found
		if c.Hint != "" && c.Outcome != check.Pass {
			found += " (" + c.Hint + ")"
		}
		fmt.Fprintf(b, "| %s %s | %s | %s | %s | %s | %s | %s |\n", signs[c.Outcome], escape(string(c.Outcome)), escape(c.Name), escape(c.Kind),
			escape(c.Where), escape(shorten(c.Expected, maxCell)), escape(shorten(found, maxCell)), seconds(c.Seconds))
	}
	b.WriteString("\n")
}

// lastProbes shows what a check asked last, and what came back.
func lastProbes(b *strings.Builder, c check.Result) {
	if len(c.Evidence) == 0 {
		return
	}
	fmt.Fprintf(b, "<details><summary>%s: the last probes</summary>\n\n<pre>\n", escape(c.Name))
	for _, e := range c.Evidence {
		fmt.Fprintf(b, "%s  %s\n    %s\n", e.At.UTC().Format("15:04:05"), pre(clean(e.Probe)), pre(clean(e.Found)))
	}
	b.WriteString("</pre>\n\n</details>\n\n")
}
