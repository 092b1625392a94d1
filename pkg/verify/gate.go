package verify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
	"github.com/shiksha/actions/pkg/verify/kind"
)

// phase is the stage of events.
const phase = "verify"

// Gate decides with checks whether a release stays. It is what a verb that
// releases gives to converge.
type Gate struct {
	checks   []kind.Check
	settings Settings
	before   map[string][]string
}

var _ converge.Verifier = (*Gate)(nil)

// NewGate makes the gate of a stack, before a host is needed: what is wrong with
// the checks is bad input.
func NewGate(st *stack.Stack, settings Settings) (*Gate, error) {
	checks, err := settings.resolve(st)
	if err != nil {
		return nil, err
	}
	return &Gate{checks: checks, settings: settings}, nil
}

// Before looks which alerts fire before the first change: they are not the
// release's doing. What cannot be asked yet fires nothing.
func (g *Gate) Before(ctx context.Context, t *target.Target, r converge.Released) {
	scene := newScene(t, g.settings, r.Stack, nil)
	for i := range g.checks {
		for _, p := range g.checks[i].Prometheuses() {
			looking, cancel := context.WithTimeout(ctx, 10*time.Second)
			firing := p.Baseline(scene.Begin(looking, g.checks[i].Name))
			cancel()
			if g.before == nil {
				g.before = map[string][]string{}
			}
			g.before[g.checks[i].Name] = append(g.before[g.checks[i].Name], firing...)
		}
	}
}

// After runs the checks on what was released.
func (g *Gate) After(ctx context.Context, t *target.Target, r converge.Released) (*check.Report, error) {
	scene := newScene(t, g.settings, r.Stack, r.Record)
	scene.Before = g.before
	if g.settings.Window == 0 {
		scene.Window = longestMonitor(r.Stack)
	}
	report := perform(ctx, t, scene, g.of(r.Stack), g.settings)
	if err := ctx.Err(); err != nil {
		return report, context.Cause(ctx)
	}
	return report, Verdict(report, g.settings.FailOn)
}

// of are the checks of what runs. A release of some services only promises
// nothing of a service that was never released.
func (g *Gate) of(runs *stack.Stack) (checks []kind.Check) {
	if !g.settings.promised(runs) {
		return g.checks
	}
	for _, c := range promise(runs, g.settings.URL) {
		if !slices.Contains(g.settings.Skip, c.Name) {
			checks = append(checks, c)
		}
	}
	return checks
}

// longestMonitor is how long the gates of a stack's services watched new units: a
// unit that passed its gate has been well for that long already.
func longestMonitor(st *stack.Stack) time.Duration {
	longest := time.Duration(0)
	for _, svc := range st.Services {
		longest = max(longest, svc.Update.Monitor)
	}
	return longest
}

// newScene puts the host before the checks.
func newScene(t *target.Target, settings Settings, st *stack.Stack, r *release.Record) *kind.Scene {
	s := &kind.Scene{
		Ground: t.Host, Units: t.Steady(), Shell: t.Engine, Dial: direct.DialContext, Project: settings.Project,
		Stack: st, URL: settings.URL, Window: settings.Window, Protect: settings.Protect,
	}
	if st != nil {
		s.Project = st.Name
	}
	if r != nil {
		s.Services, s.Version, s.Number, s.Began = r.Services, r.Version, r.Number, r.Started
	}
	s.HideEnvironment()
	return s
}

// perform runs the checks within the time for all and tells each as it ends.
func perform(ctx context.Context, t *target.Target, scene *kind.Scene, checks []kind.Check, settings Settings) *check.Report {
	limit := settings.Timeout
	if limit == 0 {
		limit = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	width := 0
	for i := range checks {
		width = max(width, len(checks[i].Name))
	}
	t.Say(event.Info, phase, "", "%d checks", len(checks))
	return run(ctx, scene, checks, func(r check.Result) {
		level := event.Info
		if r.Outcome == check.Fail || r.Outcome == check.Unknown {
			level = event.Warning
		}
		line := fmt.Sprintf("%-7s %-*s  %5.1fs", r.Outcome, width, r.Name, r.Seconds)
		if r.Outcome != check.Pass {
			line += "  " + found(r)
		}
		t.Say(level, phase, "", "%s", line)
	})
}

// found says in one line what a result expected and found.
func found(r check.Result) string {
	text := fmt.Sprintf("expected %s, found %s", r.Expected, r.Found)
	if r.Where != "" {
		text = r.Where + ": " + text
	}
	return text
}

// Verdict is nil for a report that verifies; else it says what does not hold.
func Verdict(report *check.Report, failOn check.Outcome) error {
	switch report.Worst(failOn) {
	case check.Pass:
		return nil
	case check.Fail:
		bad := report.With(check.Fail)
		if failOn == check.Warn {
			bad = report.With(check.Fail, check.Warn)
		}
		return fault.New(fault.Failed, "", hintOf(bad), "verification failed: %s", list(bad))
	}
	dark := report.With(check.Unknown, check.Skip)
	return fault.New(fault.Failed, "", hintOf(dark), "verification could not decide, which is not a pass: %s", list(dark))
}

func hintOf(results []check.Result) string {
	for _, r := range results {
		if r.Hint != "" {
			return r.Hint
		}
	}
	return ""
}

// list names what does not hold, the first three in full.
func list(results []check.Result) string {
	text := ""
	for i, r := range results {
		if i == 3 {
			return fmt.Sprintf("%s; and %d more", text, len(results)-i)
		}
		if i > 0 {
			text += "; "
		}
		text += r.Name + ": " + found(r)
	}
	return text
}
