package report

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/shiksha/actions/pkg/check"
)

const (
	// maxLogs units' last lines are kept, each cut to its last maxLog bytes: they
	// are part of an output of the step.
	maxLogs = 5
	maxLog  = 8 << 10
)

// AddLog keeps the last lines of a unit that failed.
func (r *Release) AddLog(unit, text string) {
	if len(r.Logs) >= maxLogs || strings.TrimSpace(text) == "" {
		return
	}
	if len(text) > maxLog {
		text = strings.ToValidUTF8(text[len(text)-maxLog:], "")
		text = "...\n" + text[strings.IndexByte(text, '\n')+1:]
	}
	r.Logs = append(r.Logs, Log{Unit: unit, Text: text})
}

func (r *Release) logs() string {
	var b strings.Builder
	for _, l := range r.Logs {
		text := strings.TrimRight(strings.ReplaceAll(l.Text, "\r", ""), "\n")
		fmt.Fprintf(&b, "<details open><summary>Last lines of %s</summary>\n\n<pre>\n%s\n</pre>\n\n</details>\n\n", escape(l.Unit), pre(text))
	}
	return b.String()
}

// signs show the outcome of a check.
var signs = map[check.Outcome]string{check.Pass: "✅", check.Warn: "⚠️", check.Fail: "❌", check.Skip: "⏭️", check.Unknown: "❔"}

// checks shows what needs a reader's eye, and the rest folded.
func (r *Release) checks() string {
	if r.Checks == nil || len(r.Checks.Results) == 0 {
		return ""
	}
	var passed, others []string
	for _, c := range r.Checks.Results {
		row := fmt.Sprintf("| %s %s | %s | %s | %s | %s |\n", signs[c.Outcome], escape(string(c.Outcome)), escape(c.Name), escape(c.Where),
			escape(shorten(c.Expected, maxCell)), escape(shorten(found(c), maxCell)))
		if c.Outcome == check.Pass {
			passed = append(passed, row)
		} else {
			others = append(others, row)
		}
	}
	const head = "| Outcome | Check | Where | Expected | Found |\n|---|---|---|---|---|\n"
	text := "### Checks: " + r.Checked() + "\n\n"
	if len(others) > 0 {
		text += head + strings.Join(others, "") + "\n"
	}
	if len(passed) > 0 {
		text += "<details><summary>" + plural(len(passed), "check") + " passed</summary>\n\n" + head + strings.Join(passed, "") + "\n</details>\n\n"
	}
	return text
}

// Checked counts the checks by their outcomes, the bad ones first; "" without any.
func (r *Release) Checked() string {
	if r.Checks == nil {
		return ""
	}
	var counts []string
	for _, o := range []check.Outcome{check.Fail, check.Unknown, check.Warn, check.Skip, check.Pass} {
		if n := r.Checks.Count(o); n > 0 {
			counts = append(counts, number(n)+" "+string(o))
		}
	}
	return strings.Join(counts, ", ")
}

// maxCell is how many bytes of a value fit into a cell of a table.
const maxCell = 300

func found(c check.Result) string {
	if c.Hint == "" || c.Outcome == check.Pass {
		return c.Found
	}
	return c.Found + " (" + c.Hint + ")"
}

// Link is a page that a reader may want next.
type Link struct{ Text, URL string }

// Links lists the pages that there are: the result, what changed, the run.
func (r *Release) Links() []Link {
	place := r.Environment
	if place == "" {
		place = r.Project
	}
	var all []Link
	for _, l := range []Link{{"Open " + place, r.EnvironmentURL}, {"What changed", r.CompareURL}, {"The run", r.RunURL}} {
		if web(l.URL) {
			all = append(all, l)
		}
	}
	return all
}

func (r *Release) links() string {
	var all []string
	for _, l := range r.Links() {
		all = append(all, anchor(l.Text, l.URL))
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, " · ") + "\n\n"
}

// web tells whether an address is a page of the web.
func web(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// anchor makes a link of an address of the web, "" of anything else.
func anchor(text, address string) string {
	if !web(address) {
		return ""
	}
	return fmt.Sprintf(`<a href="%s">%s</a>`, entities(clean(address), "&\"<>"), escape(text))
}
