package report

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/shiksha/actions/pkg/check"
)

// Checks is what checks found, as it is told.
type Checks struct {
	// Title says what was checked: "preflight of shop".
	Title string
	check.Report
	// All shows what passed too, one line each; without it passes are only counted.
	All bool
	// Color is set for a terminal.
	Color bool
}

// Headline counts the outcomes: "2 fail, 3 warn, 20 pass".
func (c *Checks) Headline() string {
	var parts []string
	for _, o := range []check.Outcome{check.Fail, check.Unknown, check.Warn, check.Skip, check.Pass} {
		if n := c.Count(o); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", number(n), o))
		}
	}
	if len(parts) == 0 {
		return clean(c.Title) + ": nothing was checked"
	}
	return clean(c.Title) + ": " + strings.Join(parts, ", ")
}

// Text gives the results as a table, the worst first, each with its place and its
// mend.
func (c *Checks) Text() string {
	return resultTable(c.ordered(), style{paint: c.paint}) + c.Headline() + "\n"
}

func (c *Checks) paint(o check.Outcome, text string) string {
	color := map[check.Outcome]string{check.Fail: red, check.Unknown: red, check.Warn: yellow, check.Skip: dim, check.Pass: green}[o]
	if !c.Color || color == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

const green = "32"

// ordered lists the results that are shown, the worst first and else as they came. What is
// said of many services alike is said once, but for what stops a release.
func (c *Checks) ordered() []check.Result {
	var out []check.Result
	for _, o := range []check.Outcome{check.Fail, check.Unknown, check.Warn, check.Skip, check.Pass} {
		var some []check.Result
		for _, r := range c.Results {
			if r.Outcome == o && (c.All || o != check.Pass) {
				some = append(some, r)
			}
		}
		if o == check.Warn || o == check.Skip {
			some = alike(some)
		}
		out = append(out, some...)
	}
	return out
}

// many is how many results that say the same are told as one.
const many = 3

// alike puts results that say the same of different services into one, at the place of
// the first.
func alike(results []check.Result) []check.Result {
	type saying struct{ check, found, hint string }
	of := func(r check.Result) saying {
		name, _, _ := strings.Cut(r.Name, " ")
		return saying{name, r.Found, r.Hint}
	}
	said := map[saying][]check.Result{}
	for _, r := range results {
		said[of(r)] = append(said[of(r)], r)
	}
	var out []check.Result
	for _, r := range results {
		s := of(r)
		same := said[s]
		switch {
		case len(same) < many:
			out = append(out, r)
			continue
		case r.Name != same[0].Name:
			continue
		}
		var places []string
		for _, one := range same {
			places = append(places, topic(one))
		}
		r.Name, r.File, r.Line = fmt.Sprintf("%s (%d)", s.check, len(same)), strings.Join(places, ", "), 0
		out = append(out, r)
	}
	return out
}

// topic is what a result is about: the service in its name, or where it is.
func topic(r check.Result) string {
	if _, service, named := strings.Cut(r.Name, " "); named && !strings.HasPrefix(service, "#") {
		return service
	}
	return position(r)
}

// position is where a mend belongs: "compose.yaml:12".
func position(r check.Result) string {
	if r.File == "" {
		return ""
	}
	if r.Line == 0 {
		return clean(r.File)
	}
	return fmt.Sprintf("%s:%d", clean(r.File), r.Line)
}

// Markdown gives the results for a job summary.
func (c *Checks) Markdown() string {
	var b strings.Builder
	sign := "✅"
	if c.Count(check.Fail)+c.Count(check.Unknown) > 0 {
		sign = "⛔"
	} else if c.Count(check.Warn) > 0 {
		sign = "⚠️"
	}
	fmt.Fprintf(&b, "## %s %s\n\n", sign, escape(c.Headline()))
	rows(&b, c.ordered(), style{})
	return b.String()
}

// section gives the results as a part of a larger summary, folded away when none of
// them stops a release.
func (c *Checks) section() string {
	open := ""
	if c.Count(check.Fail)+c.Count(check.Unknown) > 0 {
		open = " open"
	}
	var b strings.Builder
	if rows(&b, c.ordered(), style{}); b.Len() == 0 {
		return escape(c.Headline()) + "\n"
	}
	return fmt.Sprintf("<details%s><summary>%s</summary>\n\n%s</details>\n", open, escape(c.Headline()), b.String())
}

// JSON gives the results as one line of JSON, with all that passed.
func (c *Checks) JSON() ([]byte, error) {
	r := c.Report
	if r.Results == nil {
		r.Results = []check.Result{}
	}
	return json.Marshal(&r)
}
