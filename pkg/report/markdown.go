package report

import (
	"fmt"
	"strings"
)

// Markdown gives the release as a job summary: the outcome first, then what
// happened to each service, what the probe measured, the plan.
func (r *Release) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s\n\n", r.sign(), escape(r.Headline()))
	if r.Error != "" {
		fmt.Fprintf(&b, "> **%s**\n", escape(r.Error))
		if r.Hint != "" {
			fmt.Fprintf(&b, ">\n> %s\n", escape(r.Hint))
		}
		b.WriteString("\n")
	}
	r.facts(&b)
	r.services(&b)
	if r.Probe != nil {
		r.Probe.markdown(&b)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", escape(n))
	}
	if r.Preflight != nil {
		b.WriteString("\n" + (&Checks{Title: "Preflight", Report: *r.Preflight}).section())
	}
	if r.Plan != "" {
		fmt.Fprintf(&b, "\n<details><summary>The plan</summary>\n\n<pre>\n%s</pre>\n\n</details>\n", pre(r.Plan))
	}
	return b.String()
}

func (r *Release) sign() string {
	switch r.Outcome {
	case "verified", "unchanged":
		return "✅"
	case "planned":
		return "📋"
	case "refused", "locked", "bad-input":
		return "⛔"
	case "interrupted", "rolled-back":
		return "⚠️"
	}
	return "❌"
}

func (r *Release) facts(b *strings.Builder) {
	rows := [][2]string{{"Serving", r.Serving}, {"Version", r.Version}, {"Commit", r.Commit}}
	if r.Previous > 0 {
		rows = append(rows, [2]string{"Release before", fmt.Sprint(r.Previous)})
	}
	var lines []string
	for _, row := range rows {
		if row[1] != "" {
			lines = append(lines, fmt.Sprintf("**%s** %s", row[0], escape(row[1])))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "%s\n\n", strings.Join(lines, " · "))
	}
}

func (r *Release) services(b *strings.Builder) {
	if len(r.Services) == 0 {
		return
	}
	b.WriteString("| Service | Action | Units | Why | Users notice | Took |\n|---|---|--:|---|---|--:|\n")
	for _, s := range r.Services {
		took := ""
		if s.Seconds > 0 {
			took = seconds(s.Seconds)
		}
		reasons := make([]string, len(s.Reasons))
		for i, reason := range s.Reasons {
			reasons[i] = escape(reason)
		}
		notice := escape(s.Interruption)
		if notice == "" {
			notice = "nothing"
		}
		fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %s |\n", escape(s.Name), escape(s.Action), s.Replicas,
			strings.Join(reasons, "<br>"), notice, took)
	}
	b.WriteString("\n")
}

func (p *Probe) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "### What users saw\n\n%s", plural(p.Requests, "request"))
	if p.URL != "" {
		fmt.Fprintf(b, " to %s", escape(p.URL))
	}
	fmt.Fprintf(b, ", **%s failed** (budget %s). Longest gap without an answer: %s.\n\n",
		number(p.Failed), number(p.Budget), millis(p.LongestGap))
	if p.Dropped > 0 {
		fmt.Fprintf(b, "%s more were due but never sent, because too many were unanswered.\n\n", number(p.Dropped))
	}
	b.WriteString("| Latency | before | during |\n|---|--:|--:|\n")
	fmt.Fprintf(b, "| p50 | %s | %s |\n| p99 | %s | %s |\n\n", millis(p.P50Before), millis(p.P50During),
		millis(p.P99Before), millis(p.P99During))
	if classes := p.classes(); classes != "" {
		fmt.Fprintf(b, "Failures by class: %s.\n\n", escape(classes))
	}
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
