package outcome

import (
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/report"
	"github.com/shiksha/actions/pkg/rollout"
)

const (
	// wholeRelease is the section of what belongs to no service.
	wholeRelease = "release"
	// undo and rollBack are the ways back: they follow what failed.
	undo     = "undo"
	rollBack = "roll back"
)

// spans gives the timed parts of a release, and marks the one that it failed in.
func spans(result *converge.Result, failed bool) []report.Span {
	var out []report.Span
	broken := -1
	for _, s := range result.Phases {
		section := wholeRelease
		if s.Service != "" {
			section = s.Service + ", " + rollBack
		}
		if s.Service == "" && s.Name != rollBack {
			broken = len(out)
		}
		out = append(out, span(section, s))
	}
	if r := result.Rollout; r != nil {
		for _, s := range r.Spans {
			if r.Failed != "" && s.Service == r.Failed && s.Name != undo && !whole(result.Plan, s) {
				broken = len(out)
			}
			out = append(out, span(s.Service, s))
		}
	}
	if failed && broken >= 0 {
		out[broken].Failed = true
	}
	return out
}

func span(section string, s rollout.Span) report.Span {
	return report.Span{Section: section, Name: s.Name, Started: s.Started, Ended: s.Ended}
}

// whole tells whether a span is a service's whole step, which the others are in.
func whole(p *plan.Plan, s rollout.Span) bool {
	if p == nil {
		return false
	}
	step := p.Step(s.Service)
	return step != nil && s.Name == string(step.Action)
}
