package report

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// clean takes out of a text what would do something to a terminal instead of
// being read: control characters, escape sequences, marks that turn the
// direction of writing. Line ends and tabs become spaces.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, stripEscapes(text))
}

// stripEscapes takes whole escape sequences out, so that "\x1b[31mred" leaves
// "red" and not "[31mred".
func stripEscapes(text string) string {
	if !strings.Contains(text, "\x1b") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\x1b' {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == '[' {
			// CSI: parameters up to a final byte of @ to ~.
			i += 2
			for i < len(text) && (text[i] < '@' || text[i] > '~') {
				i++
			}
		}
	}
	return b.String()
}

var commits = regexp.MustCompile(`\b[0-9a-f]{40}\b`)

// Brief shows the commits in a text by their first twelve digits, as their links do:
// a version that is one would push everything else off the page.
func Brief(text string) string {
	return commits.ReplaceAllStringFunc(text, func(commit string) string { return commit[:12] })
}

// shorten cuts text to at most limit bytes, never inside a character.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + " ..."
}

// seconds prints a length of time for people: 0.4s, 12.3s, 2m05s, 1h02m, 3d.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", max(0, d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// number prints a count with separators: 3,120.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural prints a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// millis prints milliseconds with the digits that matter.
func millis(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return number(int(ms+0.5)) + " ms"
}

// moment prints a point in time in UTC, to the minute.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// dash stands for a value that is not known.
func dash(s string) string {
	if s = clean(s); s == "" {
		return "-"
	}
	return s
}

// Error makes the text of an error fit to be printed: its lines stay, what a
// terminal or a runner would obey goes. Errors quote what hosts answered.
func Error(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		lines[i] = strings.ReplaceAll(indent+clean(strings.TrimLeft(line, " ")), "##[", "## [")
	}
	return strings.Join(lines, "\n")
}

// actions are the words that a line of a plan may have after its name, by colour.
var actions = regexp.MustCompile(`^(  \S+ +)(?:(create|surge|scale|reload|gate|heal|pull)|(stop-first|drain|remove|migrate|back up)|(unchanged|keep))\b(.*)$`)

// PaintPlan gives a plan the colours of a terminal: what users notice and what is lost
// stands out, what stays as it is steps back.
func PaintPlan(text string) string {
	paint := func(color, text string) string {
		if text == "" {
			return ""
		}
		return "\x1b[" + color + "m" + text + "\x1b[0m"
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		plain := strings.TrimSpace(line)
		switch m := actions.FindStringSubmatch(line); {
		case strings.HasPrefix(plain, "refused: "):
			lines[i] = paint(red, line)
		case strings.HasPrefix(plain, "drift: "), strings.HasPrefix(plain, "interruption: "):
			lines[i] = paint(yellow, line)
		case strings.HasPrefix(plain, "note: "):
			lines[i] = paint(dim, line)
		case m != nil && m[4] != "":
			lines[i] = paint(dim, line)
		case m != nil:
			lines[i] = m[1] + paint(green, m[2]) + paint(yellow, m[3]) + m[5]
		}
	}
	return strings.Join(lines, "\n")
}

func age(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return seconds(max(0, now.Sub(then).Seconds()))
}

// table prints rows in aligned columns without trailing space.
func table(b *strings.Builder, head []string, rows int, row func(int) []string) {
	var raw strings.Builder
	w := tabwriter.NewWriter(&raw, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for i := range rows {
		cells := row(i)
		for j, cell := range cells {
			cells[j] = dash(cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	for _, line := range strings.Split(strings.TrimRight(raw.String(), "\n"), "\n") {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}
