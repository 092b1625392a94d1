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
	Project  string        `json:"project"`
	Host     string        `json:"host"`
	Release  int           `json:"release"`
	Restores int           `json:"restores,omitempty"`
	Version  string        `json:"version,omitempty"`
	Outcome  string        `json:"outcome"`
	Started  time.Time     `json:"started"`
	Seconds  float64       `json:"seconds"`
	Checks   *check.Report `json:"checks"`
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
	what := ""
	if v.Release > 0 {
		what = fmt.Sprintf("release %d ", v.Release)
		if v.Version != "" {
			what = fmt.Sprintf("release %d (%s) ", v.Release, clean(v.Version))
		}
	}
	return fmt.Sprintf("%s%s%s after %s: %s", about(v.Project, v.Host), what, clean(v.Outcome), seconds(v.Seconds), tally(v.Checks))
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
func (v *Verification) Text() string { return checkTable(v.Checks) + v.Headline() + "\n" }

// checkTable gives the results as a table for a console.
func checkTable(r *check.Report) string {
	if r == nil {
		return ""
	}
	return resultTable(r.Results, style{timed: true})
}

// style is how results are shown: what was measured has a kind and a time, what was
// read has a place in a file. paint may be nil.
type style struct {
	timed bool
	paint func(check.Outcome, string) string
}

// where is what a result is about.
func (s style) where(c check.Result) string {
	if s.timed {
		return c.Where
	}
	return position(c)
}

// resultTable gives results as lines for a console, each that did not pass with what it is
// about, what was expected and what to do.
func resultTable(results []check.Result, s style) string {
	name, kind := len("CHECK"), len("KIND")
	for _, c := range results {
		name, kind = max(name, len(clean(c.Name))), max(kind, len(c.Kind))
	}
	var b strings.Builder
	line := func(outcome, check, what, took, found string) {
		fmt.Fprintf(&b, "%s  %-*s  ", outcome, name, check)
		if s.timed {
			fmt.Fprintf(&b, "%-*s  %6s  ", kind, what, took)
		}
		b.WriteString(found + "\n")
	}
	if s.timed || len(results) > 0 {
		line(fmt.Sprintf("%-7s", "OUTCOME"), "CHECK", "KIND", "TOOK", "FOUND")
	}
	for _, c := range results {
		about, outcome := clean(c.Found), fmt.Sprintf("%-7s", c.Outcome)
		if c.Outcome == check.Pass {
			about = shorten(about, 100)
		}
		if s.paint != nil {
			outcome = s.paint(c.Outcome, outcome)
		}
		line(outcome, clean(c.Name), c.Kind, seconds(c.Seconds), about)
		for _, more := range [][2]string{{"at", s.where(c)}, {"expected", c.Expected}, {"do", c.Hint}} {
			if more[1] != "" && c.Outcome != check.Pass {
				fmt.Fprintf(&b, "%9s%-8s %s\n", "", more[0], clean(more[1]))
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
		rows(&b, others, style{timed: true})
		for _, c := range others {
			lastProbes(&b, c)
		}
	}
	if len(passed) > 0 {
		fmt.Fprintf(&b, "<details><summary>%s passed</summary>\n\n", plural(len(passed), "check"))
		rows(&b, passed, style{timed: true})
		b.WriteString("</details>\n\n")
	}
	return b.String()
}

// maxCell is how many bytes of a value fit into a cell of a table.
const maxCell = 300

// rows gives results as a table of Markdown; nothing for none.
func rows(b *strings.Builder, results []check.Result, s style) {
	if len(results) == 0 {
		return
	}
	if s.timed {
		b.WriteString("| Outcome | Check | Kind | Where | Expected | Found | Took |\n|---|---|---|---|---|---|--:|\n")
	} else {
		b.WriteString("| Outcome | Check | Where | Found |\n|---|---|---|---|\n")
	}
	for _, c := range results {
		found, limit := c.Found, maxCell
		if c.Hint != "" && c.Outcome != check.Pass {
			found += " (" + c.Hint + ")"
		}
		if !s.timed {
			limit = len(found)
		}
		fmt.Fprintf(b, "| %s %s | %s | ", signs[c.Outcome], escape(string(c.Outcome)), escape(c.Name))
		if s.timed {
			fmt.Fprintf(b, "%s | ", escape(c.Kind))
		}
		fmt.Fprintf(b, "%s | ", escape(s.where(c)))
		if s.timed {
			fmt.Fprintf(b, "%s | ", escape(shorten(c.Expected, maxCell)))
		}
		b.WriteString(escape(shorten(found, limit)) + " |")
		if s.timed {
			b.WriteString(" " + seconds(c.Seconds) + " |")
		}
		b.WriteString("\n")
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
