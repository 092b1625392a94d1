package deploy

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/report"
)

// planSink prints the plan as the result of the command, to where it can be
// piped to, instead of as one of its messages.
type planSink struct {
	event.Sink
	print func(string)
}

// Emit prints a plan and passes on everything else.
func (p planSink) Emit(e event.Event) {
	if e.Phase == "plan" && e.Level == event.Info {
		p.print(strings.TrimRight(e.Text, "\n") + "\n")
		return
	}
	p.Sink.Emit(e)
}

// tell makes plain data for the renderers of the verb's result; it is never nil.
func tell(result *verb.Result, o verb.Options, err error) *report.Release {
	if result == nil {
		result = &verb.Result{Version: o.Version}
	}
	r := &report.Release{
		Project: result.Project, Host: result.Host, Number: result.Release, Previous: result.Previous,
		Version: result.Version, Commit: o.Run.Commit, RunURL: o.Run.URL, Outcome: result.Outcome,
		DryRun: o.DryRun, Serving: result.Serving, Changed: result.Changed, Started: result.Started,
	}
	if !result.Ended.IsZero() {
		r.Seconds = result.Ended.Sub(result.Started).Seconds()
	}
	if r.Serving == "" {
		r.Serving = serving(result)
	}
	if p := result.Plan; p != nil {
		r.Plan, r.Notes = p.String(), p.Notes
	}
	r.Services = services(result)
	r.Probe = measured(result.Probe, o)
	r.Fail(err)
	return r
}

// serving names what serves of a release without a version.
func serving(result *verb.Result) string {
	n := result.Previous
	if result.Outcome == verb.Verified {
		n = result.Release
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("release %d", n)
}

func services(result *verb.Result) []report.Service {
	if result.Plan == nil {
		return nil
	}
	took := map[string]float64{}
	var cut map[string]int
	if result.Rollout != nil {
		cut = result.Rollout.Cut
		for _, span := range result.Rollout.Spans {
			took[span.Service] += span.Ended.Sub(span.Started).Seconds()
		}
	}
	var list []report.Service
	for _, step := range result.Plan.Steps {
		list = append(list, report.Service{
			Name: step.Service, Action: string(step.Action), Reasons: step.Reasons, Replicas: step.Replicas,
			Interruption: step.Interruption, Seconds: took[step.Service], Cut: cut[step.Service],
		})
	}
	return list
}

// measured makes plain data of the probe's report; nil stays nil.
func measured(p *probe.Report, o verb.Options) *report.Probe {
	if p == nil {
		return nil
	}
	before, during := p.Phases[probe.Before], p.Phases[probe.During]
	return &report.Probe{
		URL: withoutPassword(o.Probe.URL), Requests: p.Requests, Failed: p.Failed, Budget: o.ProbeBudget, Failures: p.Failures,
		Dropped:    p.Dropped,
		LongestGap: millis(p.LongestGap),
		P50Before:  millis(before.P50), P50During: millis(during.P50),
		P99Before: millis(before.P99), P99During: millis(during.P99),
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// withoutPassword gives an address that may be shown.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Redacted()
}
