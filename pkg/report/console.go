// Package report tells people and programs what happened: events as lines of a
// console, a finished release as text, as the Markdown of a job summary and as
// JSON, what runs and what ran as tables. It takes plain data, knows of the domain
// only events and the results of checks, and keeps secrets out of all of it.
package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/shiksha/actions/pkg/event"
)

// Workflow is what a log that folds offers: the runner of GitHub Actions.
type Workflow interface {
	Group(title string)
	EndGroup()
	// Verbatim prints untrusted text so that no line of it is a command.
	Verbatim(text string)
}

// Options of a Console. The zero value is a plain console without a clock.
type Options struct {
	// Start is when the run began; lines carry the time since then. Without it
	// the first event starts the clock.
	Start time.Time
	// Color is set for a terminal whose user did not say NO_COLOR.
	Color bool
	// Verbose shows events of level Debug as well.
	Verbose bool
	// Workflow, when set, folds each phase and prints untrusted output apart.
	Workflow Workflow
	// Redact, when set, takes the secrets out of a line that is cut: half of one is not
	// known behind the console any more.
	Redact func(line string) string
	// Annotate, when set, shows warnings and notices prominently instead of as a
	// line.
	Annotate func(level event.Level, text string)
	// AnnotateAt, when set, shows what is about a place in a file beside it.
	AnnotateAt func(level event.Level, file string, line int, text string)
}

// Console is an event.Sink that prints one readable line an event.
type Console struct {
	w   io.Writer
	opt Options

	mu    sync.Mutex
	phase string
	open  bool
}

// NewConsole makes a console that prints to w. Close it to end the last group.
func NewConsole(w io.Writer, opt Options) *Console {
	return &Console{w: w, opt: opt}
}

// Emit prints the event.
func (c *Console) Emit(e event.Event) {
	if e.Level == event.Debug && !c.opt.Verbose {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if c.opt.Start.IsZero() {
		c.opt.Start = e.Time
	}
	c.enter(e.Phase)
	if e.Text != "" {
		c.line(e)
	}
	if e.Output != "" {
		c.output(e.Output)
	}
}

// Close ends the last group.
func (c *Console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
	return nil
}

func (c *Console) enter(phase string) {
	if phase == "" || phase == c.phase {
		return
	}
	c.leave()
	c.phase = phase
	if c.opt.Workflow != nil {
		c.opt.Workflow.Group(c.clean(phase))
		c.open = true
		return
	}
	fmt.Fprintln(c.w, c.paint(bold, c.clean(phase)))
}

func (c *Console) leave() {
	if c.open {
		c.opt.Workflow.EndGroup()
		c.open = false
	}
	c.phase = ""
}

func (c *Console) line(e event.Event) {
	lines := strings.Split(strings.TrimRight(subject(e)+e.Text, "\n"), "\n")
	for i := range lines {
		lines[i] = c.clean(lines[i])
	}
	if c.opt.AnnotateAt != nil && e.File != "" && e.Level > event.Info {
		c.opt.AnnotateAt(e.Level, e.File, e.Line, strings.Join(lines, "\n"))
		return
	}
	if c.opt.Annotate != nil && (e.Level == event.Warning || e.Level == event.Notice) {
		c.opt.Annotate(e.Level, strings.Join(lines, "\n"))
		return
	}
	word, color := "", ""
	switch e.Level {
	case event.Error:
		word, color = "error: ", red
	case event.Warning:
		word, color = "warning: ", yellow
	case event.Debug:
		color = dim
	}
	elapsed := fmt.Sprintf("%8s", seconds(e.Time.Sub(c.opt.Start).Seconds()))
	fmt.Fprintf(c.w, "%s  %s\n", c.paint(dim, elapsed), c.paint(color, word+lines[0]))
	margin := "          "
	if c.opt.Workflow != nil {
		margin = "        | " // the runner obeys a command behind white space
	}
	for _, line := range lines[1:] {
		fmt.Fprintln(c.w, strings.TrimRight(margin+line, " "))
	}
}

func (c *Console) output(text string) {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimRight(text, "\r\n"), "\n") {
		line = clean(strings.TrimRight(line, "\r"))
		if c.opt.Redact != nil {
			line = c.opt.Redact(line)
		}
		b.WriteString("            | " + shorten(line, maxLine) + "\n")
	}
	if c.opt.Workflow != nil {
		c.opt.Workflow.Verbatim(b.String())
		return
	}
	_, _ = io.WriteString(c.w, b.String())
}

// maxLine is how many bytes of one line of untrusted output are shown.
const maxLine = 2000

// clean makes a text of ours fit for one line. Parts of it come from elsewhere
// (names, errors of a host), and the runner obeys `##[command]` anywhere in a
// line.
func (c *Console) clean(text string) string {
	text = clean(text)
	if c.opt.Workflow != nil {
		text = strings.ReplaceAll(text, "##[", "## [")
	}
	return text
}

// subject names what an event is about; a unit's name says its service already.
func subject(e event.Event) string {
	switch {
	case e.Unit != "":
		return e.Unit + ": "
	case e.Service != "":
		return e.Service + ": "
	}
	return ""
}

// The colours of a terminal, as SGR codes.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	yellow = "33"
)

func (c *Console) paint(color, text string) string {
	if !c.opt.Color || color == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}
