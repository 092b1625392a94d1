package outcome

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
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
	// Server is where people see GitHub; Environment and EnvironmentURL are what
	// the place is called and where users find it.
	Server, Environment, EnvironmentURL string
	// JSON asks for the report on standard output instead of lines for people.
	JSON bool
}

// Tell makes plain data for the renderers of a result; it is never nil.
func Tell(result *converge.Result, a About, err error) *report.Release {
	if result == nil {
		result = converge.Begin(a.Version)
	}
	if result.Commit != "" {
		// A rollback releases another commit than the run was started for.
		a.Run.Commit = result.Commit
	}
	r := &report.Release{
		Project: result.Project, Host: result.Host, Number: result.Release, Previous: result.Previous,
		Version: result.Version, Commit: a.Run.Commit, RunURL: a.Run.URL, Outcome: result.Outcome,
		DryRun: a.DryRun, Serving: result.Serving, Changed: result.Changed, Started: result.Started,
		PreviousVersion: result.PreviousVersion, Actor: a.Run.Actor, Environment: a.Environment, EnvironmentURL: a.EnvironmentURL,
		Spans: spans(result, err != nil),
	}
	r.CommitURL, r.CompareURL = pages(a, result.PreviousCommit)
	if !result.Ended.IsZero() {
		r.Seconds = result.Ended.Sub(result.Started).Seconds()
	}
	switch {
	case result.Unsure:
		r.Serving = ""
	case r.Serving == "":
		r.Serving = serving(result)
	}
	if p := result.Plan; p != nil {
		r.Plan, r.Notes = p.String(), p.Notes
		r.Backups, r.Drift, r.Refusals, r.FreeMemory = p.Backups, p.Drift, p.Refusals, p.FreeMemory
		if p.Restores != nil {
			r.RestoresDatabase = p.Restores.Backup
		}
		for _, m := range p.Migrations {
			r.Migrations = append(r.Migrations, m.Service)
		}
	}
	r.Probe, r.Checks = measured(result.Probe, a), result.Checks
	r.Services = services(result, a.DryRun)
	r.Preflight = result.Preflight
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

// pages are GitHub's, of the commit and of what changed since the commit before.
func pages(a About, before string) (commit, compare string) {
	if a.Server == "" || a.Run.Repository == "" || a.Run.Commit == "" {
		return "", ""
	}
	repository := a.Server + "/" + a.Run.Repository
	if before != "" && before != a.Run.Commit {
		compare = repository + "/compare/" + url.PathEscape(before) + "..." + a.Run.Commit
	}
	return repository + "/commit/" + a.Run.Commit, compare
}

func services(result *converge.Result, dryRun bool) []report.Service {
	if result.Plan == nil {
		return nil
	}
	took := map[string]float64{}
	var cut map[string]int
	if result.Rollout != nil {
		cut = result.Rollout.Cut
		for _, span := range result.Rollout.Spans {
			if whole(result.Plan, span) {
				took[span.Service] += span.Ended.Sub(span.Started).Seconds()
			}
		}
	}
	var list []report.Service
	for _, step := range result.Plan.Steps {
		s := report.Service{
			Name: step.Service, Action: string(step.Action), Reasons: step.Reasons, Replicas: step.Replicas,
			Interruption: step.Interruption, InterruptionSeconds: step.InterruptionSeconds, Memory: step.Memory, Seconds: took[step.Service], Cut: cut[step.Service],
		}
		for _, pull := range result.Plan.Pulls {
			if pull.Service == step.Service {
				s.Pulled = pull.Bytes
			}
		}
		if !dryRun {
			s.Result = came(result, step)
		}
		list = append(list, s)
	}
	return list
}

// came says in words what came of a service's step.
func came(result *converge.Result, step plan.Step) string {
	r := result.Rollout
	switch {
	case !step.Changes():
		return "unchanged"
	case r == nil || !slices.Contains(r.Touched, step.Service):
		return "not begun"
	case r.Failed == step.Service:
		return "failed"
	case slices.Contains(r.Ill, step.Service):
		return report.Ill
	case result.Outcome == converge.Verified:
		return "done"
	case result.Outcome == fault.Failed.String() && len(result.Changed) == 0:
		return "went back"
	}
	return "changed"
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
