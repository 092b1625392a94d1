package deploy

import (
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/report"
)

// output is one output of the action.
type output struct {
	// Name and Help go to action.yml and the README.
	Name, Help string
	value      func(r *report.Release, json []byte) string
}

// outputs are set after every run, also after one that failed.
var outputs = []output{
	{"release", "Number of this release in the host's ledger; empty when none was begun.",
		func(r *report.Release, _ []byte) string { return count(r.Number) }},
	{"previous-release", "Number of the release that served before; empty for the first one.",
		func(r *report.Release, _ []byte) string { return count(r.Previous) }},
	{"outcome", "verified, unchanged, planned, or what went wrong: failed, refused, bad-input, locked, interrupted, stuck.",
		func(r *report.Release, _ []byte) string { return r.Outcome }},
	{"changed-services", "Services that were (or, of a dry run, would be) changed, separated by commas.",
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
