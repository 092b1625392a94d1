package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/backup"
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
	settings.recall(st, st)
	checks, err := settings.resolve(st)
	if err != nil {
		return nil, err
	}
	gate := &Gate{checks: checks, settings: settings}
	return gate, gate.named(st)
}

// named refuses checks that decide and name what nothing gives a value: they could only be
// unknown, and that after everything was changed.
func (g *Gate) named(st *stack.Stack) error {
	known := []string{"version", "release", "project", "url"}
	if st != nil {
		for _, service := range st.Order {
			known = append(known, "image."+service, "digest."+service)
		}
	}
	for i := range g.checks {
		c := &g.checks[i]
		if c.LeftOut != "" {
			continue
		}
		for _, name := range c.Variables() {
			if hint := near(name, known); hint != "" {
				return fault.New(fault.Input, g.settings.where(st, c), hint, "check %q: nothing gives {{%s}} a value", c.Name, name)
			}
		}
	}
	return nil
}

// Addressed refuses checks that decide and ask the address that users come in by, where
// nobody knows it: they could only be unknown, and that after everything was changed.
func (g *Gate) Addressed() error {
	if name := g.naming("url"); g.settings.URL == "" && name != "" {
		return fault.New(fault.Input, "url", "give the input url, or leave the check out with skip-checks",
			"the check %q asks the address that users come in by, and nobody has given it", name)
	}
	return nil
}

// Versioned refuses checks that decide and name the version of a release that has none.
func (g *Gate) Versioned(version string) error {
	if name := g.naming("version"); version == "" && name != "" {
		return fault.New(fault.Input, "version", "give the input version, or leave the check out with skip-checks",
			"the check %q names {{version}}, and this release has none", name)
	}
	return nil
}

// naming is the first check that decides and needs a variable, "" for none.
func (g *Gate) naming(variable string) string {
	for i := range g.checks {
		if c := &g.checks[i]; c.LeftOut == "" && slices.Contains(c.Variables(), variable) {
			return c.Name
		}
	}
	return ""
}

// Before looks which alerts are active before the first change: they are not the
// release's doing. Where that cannot be asked, it is asked later since when each is.
func (g *Gate) Before(ctx context.Context, t *target.Target, r converge.Released) {
	scene := newScene(t, r.On, g.settings, r.Stack, nil)
	g.before = map[string][]string{}
	for i := range g.checks {
		c := &g.checks[i]
		if c.LeftOut != "" {
			continue
		}
		var active []string
		all := true
		for _, p := range c.Prometheuses() {
			looking, cancel := context.WithTimeout(ctx, 10*time.Second)
			some, answered := p.Baseline(scene.Begin(looking, c.Name))
			cancel()
			active, all = append(active, some...), all && answered
		}
		if all {
			g.before[c.Name] = active
		}
	}
}

// Dials gives what the checks that decide connect to on the host of a stack, by check.
func (g *Gate) Dials(st *stack.Stack) map[string]converge.Way {
	out := map[string]converge.Way{}
	checks := g.of(st)
	for i := range checks {
		if service, addr := checks[i].Dials(); addr != "" && checks[i].LeftOut == "" && checks[i].Level != kind.LevelWarn {
			out[checks[i].Name] = converge.Way{Service: service, Addr: addr}
		}
	}
	return out
}

// After runs the checks on what was released.
func (g *Gate) After(ctx context.Context, t *target.Target, r converge.Released) (*check.Report, error) {
	report := perform(ctx, t, g.scene(t, r), g.of(r.Stack, r.Ill...), g.settings)
	if err := ctx.Err(); err != nil {
		return report, context.Cause(ctx)
	}
	return report, Verdict(report, g.settings.FailOn)
}

// scene puts the host, and what is known of it from before the release, before the checks.
func (g *Gate) scene(t *target.Target, r converge.Released) *kind.Scene {
	scene := newScene(t, r.On, g.settings, r.Stack, r.Record)
	scene.Before, scene.Gone = g.before, r.Gone
	if g.settings.Window == 0 {
		scene.Window = longestMonitor(r.Stack)
	}
	return scene
}

// of are the checks of what runs. A release of some services only promises
// nothing of a service that was never released, and none of what is ill as it was before.
func (g *Gate) of(runs *stack.Stack, ill ...string) []kind.Check {
	if !g.settings.promised(runs) {
		return g.checks
	}
	checks := promise(runs, g.settings.URL, ill...)
	g.settings.leaveOut(checks)
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
func newScene(t *target.Target, on target.Sight, settings Settings, st *stack.Stack, r *release.Record) *kind.Scene {
	s := &kind.Scene{
		Ground: t.Host, Units: t.Units(on), Shell: t.Units(on), Dial: direct.DialContext, Project: settings.Project,
		Stack: st, URL: settings.URL, Window: settings.Window, Protect: settings.Protect,
	}
	if st != nil {
		s.Project = st.Name
	}
	if r != nil {
		s.Services, s.Version, s.Number, s.Began = r.Services, r.Version, r.Number, r.Started
	}
	s.Ahead = t.Units(on).Ahead
	s.Backups = func(ctx context.Context, service string) (*backup.Store, kind.Ground, error) {
		n, err := t.Home(ctx, on, s.Project, service)
		if err != nil {
			return nil, nil, err
		}
		store, err := t.Backups(ctx, n, s.Project)
		return store, n.Host, err
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
	width, out := 0, 0
	for i := range checks {
		width = max(width, len(checks[i].Name))
		if checks[i].LeftOut != "" {
			out++
		}
	}
	say := fmt.Sprintf("%d checks", len(checks))
	if len(checks) == 1 {
		say = "1 check"
	}
	if out > 0 {
		say += fmt.Sprintf(", %d of them left out", out)
	}
	t.Say(event.Info, phase, "", "%s", say)
	return run(ctx, scene, checks, func(r check.Result) { t.Say(level(r), phase, "", "%s", line(r, width)) })
}

// level is how loud a result is told.
func level(r check.Result) event.Level {
	if r.Outcome == check.Fail || r.Outcome == check.Unknown {
		return event.Warning
	}
	return event.Info
}

// line tells a result while the others still look.
func line(r check.Result, width int) string {
	text := fmt.Sprintf("%-7s %-*s  %5.1fs", r.Outcome, width, r.Name, r.Seconds)
	if r.Outcome != check.Pass {
		text += "  " + found(r)
	}
	return text
}

// found says in one line what a result expected and found, and where.
func found(r check.Result) string {
	if r.Where == "" {
		return r.Difference()
	}
	return r.Where + ": " + r.Difference()
}

// Verdict is nil for a report that verifies; else it says what does not hold.
func Verdict(report *check.Report, failOn check.Outcome) error {
	switch report.Worst(failOn) {
	case check.Pass:
		return nil
	case check.Fail:
		bad := slices.DeleteFunc(report.With(check.Fail), func(r check.Result) bool { return !r.Required })
		if failOn == check.Warn {
			bad = report.With(check.Fail, check.Warn)
		}
		return fault.New(fault.Failed, "", hintOf(bad), "verification failed: %s", list(bad))
	}
	dark := slices.DeleteFunc(report.With(check.Unknown, check.Skip), func(r check.Result) bool {
		return !r.Required && (failOn != check.Warn || r.Outcome == check.Skip)
	})
	return fault.New(fault.Failed, "", hintOf(dark), "verification could not decide, which is not a pass: %s", list(dark))
}

// hintOf says what to do next, for each of the first three that know it.
func hintOf(results []check.Result) string {
	var hints []string
	for _, r := range results {
		switch {
		case r.Hint == "" || len(hints) == 3:
		case len(results) == 1:
			return r.Hint
		default:
			hints = append(hints, r.Name+": "+r.Hint)
		}
	}
	if len(hints) == 0 {
		return "what was asked last, and the answers, are in the job summary and in the report (--json)"
	}
	return strings.Join(hints, "; ")
}

// list names what does not hold, the first three in full.
func list(results []check.Result) string {
	if len(results) == 0 {
		return "nothing was checked"
	}
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
