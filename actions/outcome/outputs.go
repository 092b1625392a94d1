// Package outcome tells what a release came to: outputs of the step, the job
// summary and lines for people. The doors of all verbs that release share it.
package outcome

import (
	"strconv"
	"strings"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/report"
)

// Output is one output of an action that releases.
type Output struct {
	// Name and Help go to action.yml and the README.
	Name, Help string
	value      func(r *report.Release, json []byte) string
}

// Outputs are set after every run, also after one that failed.
var Outputs = []Output{
	{"release", "Number of this release in the host's ledger; empty when none was begun.",
		func(r *report.Release, _ []byte) string { return count(r.Number) }},
	{"previous-release", "Number of the release that served before; empty for the first one.",
		func(r *report.Release, _ []byte) string { return count(r.Previous) }},
	{"outcome", "verified, unchanged, planned, or what went wrong: failed, refused, bad-input, locked, interrupted, stuck.",
		func(r *report.Release, _ []byte) string { return r.Outcome }},
	{"changed-services", "Services that were (or, of a dry run, would be) changed, separated by commas; of a release that did not succeed, those that did not go back.",
		func(r *report.Release, _ []byte) string { return strings.Join(r.Changed, ",") }},
	{"plan", "The plan, as it is printed.",
		func(r *report.Release, _ []byte) string { return strings.TrimRight(r.Plan, "\n") }},
	{"report", "Everything about the release as one JSON object.",
		func(_ *report.Release, json []byte) string { return string(json) }},
	{"probe-requests", "Requests that the probe sent; empty without a probe.",
		func(r *report.Release, _ []byte) string {
			return probed(r, func(p *report.Probe) int { return p.Requests })
		}},
	{"probe-failures", "Requests of the probe that failed; empty without a probe.",
		func(r *report.Release, _ []byte) string {
			return probed(r, func(p *report.Probe) int { return p.Failed })
		}},
}

// write sets the outputs of the step and adds to its summary.
func write(s *door.Session, told *report.Release, data []byte) {
	for _, out := range Outputs {
		s.Output(out.Name, out.value(told, data))
	}
	s.Summary(told.Markdown())
}

// show prints the result for the caller; an error alone is the door's to print.
func show(s *door.Session, told *report.Release, data []byte, asJSON bool, err error) {
	switch {
	case asJSON:
		s.Print(string(data) + "\n")
	case err == nil || told.Number > 0:
		s.Print(told.Text())
	}
}

// Sink is where the events of a release go: a plan that was asked for is the
// result of the command and is printed to where it can be piped to.
func Sink(s *door.Session, a About) event.Sink {
	if a.DryRun && !a.JSON {
		return planSink{s.Sink, s.Print, s.Color()}
	}
	return s.Sink
}

// planSink prints the plan as the result of the command, to where it can be
// piped to, instead of as one of its messages.
type planSink struct {
	event.Sink
	print func(string)
	color bool
}

// Emit prints a plan and passes on everything else.
func (p planSink) Emit(e event.Event) {
	if e.Phase == "plan" && e.Level == event.Info {
		text := strings.TrimRight(e.Text, "\n") + "\n"
		if p.color {
			text = report.PaintPlan(text)
		}
		p.print(text)
		return
	}
	p.Sink.Emit(e)
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func probed(r *report.Release, figure func(*report.Probe) int) string {
	if r.Probe == nil {
		return ""
	}
	return strconv.Itoa(figure(r.Probe))
}
