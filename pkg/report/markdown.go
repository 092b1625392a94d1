package report

import (
	"fmt"
	"strings"
)

// maxMarkdown is how long a summary may be, in bytes. GitHub shows nothing of one
// over 1 MiB, and a step may add more to it.
const maxMarkdown = 900 << 10

// Markdown gives the release as a job summary: the outcome first, then what
// happened to each service, what users saw, the checks, when it all was, the
// plan. A part that is too long is left out, with a note.
func (r *Release) Markdown() string { return r.markdown(maxMarkdown) }

// maxComment is how long a comment may be, in bytes. GitHub refuses one of more than
// 65,536 characters.
const maxComment = 64_000

// Comment is Markdown for a comment of a pull request.
func (r *Release) Comment() string { return r.markdown(maxComment) }

func (r *Release) markdown(limit int) string {
	var b strings.Builder
	for _, part := range []struct{ name, text string }{
		{"outcome", r.outcome()}, {"last lines of the failed units", r.logs()}, {"table of services", r.services()},
		{"figures of the probe", r.Probe.markdown()}, {"table of checks", r.checks()}, {"timeline", r.gantt()},
		{"list of notes", r.notes()}, {"plan", r.folded()},
	} {
		if b.Len()+len(part.text) > limit {
			part.text = fmt.Sprintf("> The %s is left out here: it has %s bytes. The log has everything.\n\n", part.name, number(len(part.text)))
		}
		b.WriteString(part.text)
	}
	return b.String()
}

// Problem gives a job summary for a run of which there is no more to tell than its
// outcome and why.
func Problem(outcome, text string) string {
	return fmt.Sprintf("## %s %s\n\n<pre>\n%s\n</pre>\n", (&Release{Outcome: outcome}).Sign(), escape(outcome), pre(text))
}

func (r *Release) outcome() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s\n\n", r.Sign(), escape(r.Headline()))
	if r.Error != "" {
		fmt.Fprintf(&b, "> **%s**\n", escape(Brief(r.Error)))
		if r.Hint != "" {
			fmt.Fprintf(&b, ">\n> %s\n", escape(Brief(r.Hint)))
		}
		b.WriteString("\n")
	}
	r.facts(&b)
	return b.String() + r.links()
}

func (r *Release) notes() string {
	var b strings.Builder
	for _, refused := range r.Refusals {
		fmt.Fprintf(&b, "- ⛔ %s\n", escape(refused))
	}
	for _, d := range r.Drift {
		fmt.Fprintf(&b, "- ⚠️ changed by hand: %s\n", escape(d))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", escape(n))
	}
	if r.Preflight != nil {
		b.WriteString("\n" + (&Checks{Title: "Preflight", Report: *r.Preflight}).section())
	}
	return b.String()
}

func (r *Release) folded() string {
	if r.Plan == "" {
		return ""
	}
	return fmt.Sprintf("\n<details><summary>The plan</summary>\n\n<pre>\n%s</pre>\n\n</details>\n", pre(r.Plan))
}

// Sign shows the outcome at a glance.
func (r *Release) Sign() string {
	switch r.Outcome {
	case "verified", "unchanged":
		return "✅"
	case "planned":
		return "📋"
	case "refused", "locked", "bad-input":
		return "⛔"
	case "interrupted":
		return "⚠️"
	}
	return "❌"
}

func (r *Release) facts(b *strings.Builder) {
	rows := [][2]string{{"Serving", escape(Brief(r.Serving))}, {"Version", escape(r.Version)}, {"Before", escape(r.Before())}}
	commit := anchor(r.Commit[:min(len(r.Commit), 12)], r.CommitURL)
	if commit == "" {
		commit = escape(r.Commit)
	}
	rows = append(rows, [2]string{"Commit", commit}, [2]string{"By", escape(r.Actor)}, [2]string{"Environment", escape(r.Environment)})
	var lines []string
	for _, row := range rows {
		if row[1] != "" {
			lines = append(lines, fmt.Sprintf("**%s** %s", row[0], row[1]))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "%s\n\n", strings.Join(lines, " · "))
	}
}

// Before names the release that served before; "" for none.
func (r *Release) Before() string {
	if r.Previous == 0 {
		return ""
	}
	if r.PreviousVersion == "" {
		return fmt.Sprintf("release %d", r.Previous)
	}
	return fmt.Sprintf("release %d (%s)", r.Previous, Brief(r.PreviousVersion))
}

func (r *Release) services() string {
	if len(r.Services) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| Service | Action | Result | Units | Why | Users notice | Took |\n|---|---|---|--:|---|---|--:|\n")
	for _, s := range r.Services {
		took := ""
		if s.Seconds > 0 {
			took = seconds(s.Seconds)
		}
		reasons := make([]string, len(s.Reasons))
		for i, reason := range s.Reasons {
			reasons[i] = escape(shorten(Brief(reason), maxCell))
		}
		notice := escape(s.Interruption)
		if notice == "" {
			notice = "nothing"
		}
		if s.Cut > 0 {
			notice += "; " + plural(s.Cut, "connection") + " ended by the drain budget"
		}
		result := escape(s.Result)
		if s.Result == "failed" || s.Result == Ill {
			result = "**" + s.Result + "**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %s | %s | %s |\n", escape(s.Name), escape(s.Action), result, s.Replicas,
			strings.Join(reasons, "<br>"), notice, took)
	}
	return b.String() + "\n"
}

func (p *Probe) markdown() string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### What users saw\n\n%s", plural(p.Requests, "request"))
	if p.URL != "" {
		fmt.Fprintf(&b, " to %s", escape(p.URL))
	}
	fmt.Fprintf(&b, ", **%s failed** (budget %s). Longest gap without an answer: %s.\n\n",
		number(p.Failed), number(p.Budget), millis(p.LongestGap))
	if p.Dropped > 0 {
		fmt.Fprintf(&b, "%s more were due but never sent, because too many were unanswered.\n\n", number(p.Dropped))
	}
	b.WriteString("| Latency | before | during |\n|---|--:|--:|\n")
	fmt.Fprintf(&b, "| p50 | %s | %s |\n| p99 | %s | %s |\n\n", millis(p.P50Before), millis(p.P50During),
		millis(p.P99Before), millis(p.P99During))
	if classes := p.classes(); classes != "" {
		fmt.Fprintf(&b, "Failures by class: %s.\n\n", escape(classes))
	}
	return b.String()
}

// markup is every character that could start something in Markdown, in HTML or
// on GitHub (a mention, a reference, a formula). As entities they are only text.
const markup = "\\`*_[]<>|~&@#$!\"'"

// escape makes a text of unknown content safe inside a paragraph or table cell.
func escape(text string) string { return entities(clean(text), markup) }

// pre makes a text of several lines safe inside <pre>.
func pre(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		// A line that is blank would end the HTML block.
		if lines[i] = entities(clean(line), markup); strings.TrimSpace(line) == "" && i < len(lines)-1 {
			lines[i] = "&nbsp;"
		}
	}
	return strings.Join(lines, "\n")
}

func entities(text, special string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(special, r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
