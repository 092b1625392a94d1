package deploy

import (
	"context"
	"fmt"
	"strings"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/preflight"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// What the findings of a preflight do to a release.
const (
	// On refuses what cannot work and tells what should not be.
	On = "on"
	// Strict refuses both, Warn neither.
	Strict = "strict"
	Warn   = "warn"
	// Off does not look.
	Off = "off"
)

// Preflight looks at everything about the stack of the workspace that can be known
// without a host.
func Preflight(ctx context.Context, o Options, sink event.Sink) (*check.Report, string, error) {
	st, err := o.load(ctx, release.DefaultStateDir)
	if err != nil {
		return nil, "", err
	}
	report := o.static(ctx, st, o.asksForSwarm(st))
	return report, st.Name, o.decide(report)
}

// asksForSwarm tells whether it is known without a host that the stack is to run on a
// Swarm.
func (o Options) asksForSwarm(st *stack.Stack) bool {
	return o.Engine == platform.Swarm || (o.Engine == "" || o.Engine == platform.Auto) && st.Engine == platform.Swarm
}

// hostDecides tells whether a stack is refused on one host and not on a Swarm, and only its
// host knows whether it runs on one already.
func (o Options) hostDecides(ctx context.Context, st *stack.Stack) bool {
	auto := func(engine string) bool { return engine == "" || engine == platform.Auto }
	if o.Host.Address == "" || !auto(o.Engine) || !auto(st.Engine) {
		return false
	}
	refused := func(swarm bool) bool { return o.decide(o.static(ctx, st, swarm)) != nil }
	return refused(false) && !refused(true)
}

func (o Options) static(ctx context.Context, st *stack.Stack, swarm bool) *check.Report {
	return preflight.Static(ctx, st, preflight.Options{Workspace: o.Workspace, Images: o.Images, Swarm: swarm, Services: o.Services, WaitTimeout: o.WaitTimeout})
}

// look looks at everything that can be known without the host, and gives what
// refuses the release. A plan is refused by Strict alone.
func (o Options) look(ctx context.Context, st *stack.Stack, swarm bool, sink event.Sink, result *converge.Result) error {
	if o.Preflight == Off {
		return nil
	}
	result.Preflight = o.static(ctx, st, swarm)
	tell(sink, result.Preflight)
	if swarm && o.DryRun {
		differences(sink, result.Preflight)
	}
	if o.DryRun && o.Preflight != Strict {
		return nil // a plan tells what would be refused, and is none the worse
	}
	return o.decide(result.Preflight)
}

// decide refuses by what was found, as Preflight says.
func (o Options) decide(report *check.Report) error {
	failOn := check.Fail
	switch o.Preflight {
	case Warn, Off:
		return nil
	case Strict:
		failOn = check.Warn
	}
	if report.Worst(failOn) != check.Fail {
		return nil
	}
	var against []check.Result
	for _, r := range report.Results {
		if r.Outcome == check.Fail || failOn == check.Warn && r.Outcome == check.Warn {
			against = append(against, r)
		}
	}
	first := against[0]
	more := ""
	if len(against) > 1 {
		more = fmt.Sprintf(" (and %d more: see shiksha preflight)", len(against)-1)
	}
	hint := first.Hint
	if o.Preflight != Strict {
		hint += "; the input preflight: warn releases all the same"
	}
	return fault.New(fault.Refused, strings.TrimSpace(first.Name+" "+position(first)), strings.TrimPrefix(hint, "; "), "%s%s", first.Found, more)
}

func position(r check.Result) string {
	switch {
	case r.File == "":
		return ""
	case r.Line == 0:
		return r.File
	}
	return fmt.Sprintf("%s:%d", r.File, r.Line)
}

// differences names in a plan all that a Swarm ignores or does otherwise.
func differences(sink event.Sink, report *check.Report) {
	for _, r := range report.Results {
		if r.Outcome == check.Warn && strings.HasPrefix(r.Name, "P17.") {
			sink.Emit(event.Event{Level: event.Info, Phase: "preflight", Service: r.Where, Text: fmt.Sprintf("%s: %s %s; mend: %s", r.Name, position(r), r.Found, r.Hint)})
		}
	}
}

// tell says what a release finds before it needs a host: failures one by one, the
// rest as a count, since policy that did not stop the last release is no news.
func tell(sink event.Sink, report *check.Report) {
	say := func(level event.Level, text string) {
		sink.Emit(event.Event{Level: level, Phase: "preflight", Text: text})
	}
	for _, r := range report.Results {
		level := event.Debug
		if r.Outcome == check.Fail {
			level = event.Warning
		}
		if r.Outcome == check.Fail || r.Outcome == check.Warn {
			say(level, fmt.Sprintf("%s: %s %s; mend: %s", r.Name, position(r), r.Found, r.Hint))
		}
	}
	say(event.Info, fmt.Sprintf("looked at the stack: %d pass, %d warn, %d fail (shiksha preflight lists them)",
		report.Count(check.Pass), report.Count(check.Warn), report.Count(check.Fail)))
}
