package outcome

import (
	"fmt"
	"net/url"
	"time"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/report"
)

// About is what the caller of a release asked for and the result does not repeat.
type About struct {
	Version     string
	DryRun      bool
	Run         converge.Origin
	ProbeURL    string
	ProbeBudget int
	// JSON asks for the report on standard output instead of lines for people.
	JSON bool
}

// Tell makes plain data for the renderers of a result; it is never nil.
func Tell(result *converge.Result, a About, err error) *report.Release {
	if result == nil {
		result = converge.Begin(a.Version)
	}
	r := &report.Release{
		Project: result.Project, Host: result.Host, Number: result.Release, Previous: result.Previous,
		Version: result.Version, Commit: a.Run.Commit, RunURL: a.Run.URL, Outcome: result.Outcome,
		DryRun: a.DryRun, Serving: result.Serving, Changed: result.Changed, Started: result.Started,
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
	r.Services, r.Preflight = services(result), result.Preflight
	r.Probe = measured(result.Probe, a)
	r.Fail(err)
	return r
}

// serving names what serves of a release without a version.
func serving(result *converge.Result) string {
	n := result.Previous
	if result.Outcome == converge.Verified {
		n = result.Release
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("release %d", n)
}

func services(result *converge.Result) []report.Service {
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
func measured(p *probe.Report, a About) *report.Probe {
	if p == nil {
		return nil
	}
	before, during := p.Phases[probe.Before], p.Phases[probe.During]
	return &report.Probe{
		URL: withoutPassword(a.ProbeURL), Requests: p.Requests, Failed: p.Failed, Budget: a.ProbeBudget, Failures: p.Failures,
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
