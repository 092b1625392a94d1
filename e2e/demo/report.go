package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// Report is what .demo/report.json says.
type Report struct {
	Steps []Step `json:"steps"`
}

// Step is what was measured in one step. Failed leaves out the resets by nginx's
// own reload, which Failures has as "reset_on_reload". Seconds is the deploy
// alone; Restarted counts the containers that were replaced, by service.
type Step struct {
	Name         string         `json:"name"`
	Requests     int            `json:"requests"`
	Failed       int            `json:"failed"`
	Failures     map[string]int `json:"failures"`
	LongestGapMS float64        `json:"longest_gap_ms"`
	P99BeforeMS  float64        `json:"p99_before_ms"`
	P99DuringMS  float64        `json:"p99_during_ms"`
	PostsLost    int            `json:"posts_lost"`
	PostsDoubled int            `json:"posts_doubled"`
	Seconds      float64        `json:"seconds"`
	ExitCode     int            `json:"exit_code"`
	Serving      string         `json:"serving"`
	Restarted    map[string]int `json:"restarted"`
}

// newStep takes what the load saw.
func newStep(name string, load lab.LoadReport) Step {
	failures := maps.Clone(load.Failures)
	if failures == nil {
		failures = map[string]int{}
	}
	failed := load.Failed
	// Requests that were due and never sent are the load's own failure, and must
	// not look like success.
	if load.Dropped > 0 {
		failures["not_sent"] = load.Dropped
		failed += load.Dropped
	}
	return Step{
		Name: name, Requests: load.Requests, Failed: failed, Failures: failures,
		LongestGapMS: milliseconds(load.LongestGap), P99BeforeMS: milliseconds(load.P99Before), P99DuringMS: milliseconds(load.P99During),
		PostsLost: load.PostsLost, PostsDoubled: load.PostsDoubled, Restarted: map[string]int{},
	}
}

// restarted counts the containers that ran before and do not run any more, or
// were started again, by service.
func restarted(before, after map[string][]string) map[string]int {
	counts := map[string]int{}
	for service, units := range before {
		for _, unit := range units {
			if !slices.Contains(after[service], unit) {
				counts[service]++
			}
		}
	}
	return counts
}

// resetsAllowed is how many POSTs nginx itself may reset with one reload.
const resetsAllowed = 3

// promise is what a step has to show.
type promise struct {
	text string
	kept func(Step) bool
}

var (
	nothingFailed = promise{"0 failed", func(s Step) bool { return s.Failed == 0 && s.Failures[probe.ResetOnReload] <= resetsAllowed }}
	ordersKept    = promise{"0 posts lost, 0 doubled", func(s Step) bool { return s.PostsLost == 0 && s.PostsDoubled == 0 }}
	exits0        = promise{"exit code 0", func(s Step) bool { return s.ExitCode == 0 }}
	exits1        = promise{"exit code 1", func(s Step) bool { return s.ExitCode == 1 }}
	servesV2      = promise{"serving v2", func(s Step) bool { return s.Serving == "v2" }}
	noneReplaced  = promise{"no container replaced", func(s Step) bool { return len(s.Restarted) == 0 }}
	databaseKept  = promise{"postgres not restarted", func(s Step) bool { return s.Restarted["postgres"] == 0 }}
)

// promises by step.
var promises = map[string][]promise{
	"v1": {exits0, {"serving v1", func(s Step) bool { return s.Serving == "v1" }}},
	"v2": {
		exits0, servesV2, nothingFailed, ordersKept, databaseKept,
		{"at least 3,000 requests", func(s Step) bool { return s.Requests >= 3000 }},
	},
	"never-healthy": {exits1, servesV2, nothingFailed, ordersKept, databaseKept},
	"dies-late":     {exits1, servesV2, nothingFailed, ordersKept, databaseKept},
	"again": {
		exits0, servesV2, nothingFailed, ordersKept, noneReplaced,
		{"under 3 s", func(s Step) bool { return s.Seconds < 3 }},
	},
	"reload": {exits0, servesV2, nothingFailed, ordersKept, noneReplaced},
	"rollback": {
		exits0, {"serving v1", func(s Step) bool { return s.Serving == "v1" }}, nothingFailed, ordersKept, databaseKept,
		{"under 15 s", func(s Step) bool { return s.Seconds < 15 }},
	},
}

// Broken gives the promises that were not kept, as sentences; a step that never
// came keeps none.
func (r Report) Broken(all []step) []string {
	var broken []string
	for i, planned := range all {
		if i >= len(r.Steps) {
			broken = append(broken, planned.name+": was not reached")
			continue
		}
		for _, p := range promises[planned.name] {
			if !p.kept(r.Steps[i]) {
				broken = append(broken, planned.name+": "+p.text)
			}
		}
	}
	return broken
}

// Table is the report for people.
func (r Report) Table() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "step\tserving\texit\tseconds\trequests\tfailed\tlongest gap\tp99 before\tduring\tposts lost\tdoubled\t  replaced")
	for _, s := range r.Steps {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\t%s\t%d\t%s\t%s\t%s\t%d\t%d\t  %s\n",
			s.Name, s.Serving, s.ExitCode, s.Seconds, thousands(s.Requests), s.Failed, s.ms(s.LongestGapMS), s.ms(s.P99BeforeMS),
			s.ms(s.P99DuringMS), s.PostsLost, s.PostsDoubled, listed(s.Restarted))
	}
	_ = w.Flush()
	for _, s := range r.Steps {
		if len(s.Failures) > 0 {
			_, _ = fmt.Fprintf(&text, "%s: %s\n", s.Name, listed(s.Failures))
		}
	}
	return text.String()
}

// ms is a duration in the table; a step without load has none.
func (s Step) ms(value float64) string {
	if s.Requests == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f ms", value)
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// listed writes counts as "api 3, worker 1", or "-".
func listed(counts map[string]int) string {
	if len(counts) == 0 {
		return "-"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}

func milliseconds(d time.Duration) float64 { return rounded(float64(d) / float64(time.Millisecond)) }

func rounded(value float64) float64 { return math.Round(value*100) / 100 }

// write puts the report where the promises are checked by machines.
func (r Report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
