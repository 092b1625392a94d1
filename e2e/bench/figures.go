package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// row is one thing that was measured, several times. Ours and Theirs are paired:
// the n-th of both were measured right after each other.
type row struct {
	Name string `json:"name"`
	// Unit is ms, MB, or nothing for a count.
	Unit string    `json:"unit,omitempty"`
	Ours []float64 `json:"ours"`
	// Against says what Theirs are of, when there is something to compare with.
	Against string    `json:"against,omitempty"`
	Theirs  []float64 `json:"theirs,omitempty"`
	Target  target    `json:"target"`
}

// target is what a row has to reach; the zero value asks for nothing.
type target struct {
	// Of is what is judged: ratio (ours to theirs) or value (ours alone).
	Of string `json:"of,omitempty"`
	// Limit is the most that is allowed. Below excludes the limit itself, Exactly
	// excludes everything else.
	Limit   float64 `json:"limit,omitempty"`
	Below   bool    `json:"below,omitempty"`
	Exactly bool    `json:"exactly,omitempty"`
}

// figure is a row with its medians and the verdict.
type figure struct {
	row
	OursMedian   float64 `json:"ours_median"`
	OursWorst    float64 `json:"ours_worst"`
	TheirsMedian float64 `json:"theirs_median,omitempty"`
	// Ratio is the median of the pairs' ratios: what slows the machine down for a
	// while slows both of a pair.
	Ratio float64 `json:"ratio,omitempty"`
	// Verdict is met, MISSED, or nothing without a target.
	Verdict string `json:"verdict,omitempty"`
}

const (
	met    = "met"
	failed = "MISSED"
)

func judge(rows []row) []figure {
	var out []figure
	for _, r := range rows {
		f := figure{row: r, OursMedian: median(r.Ours), TheirsMedian: median(r.Theirs)}
		if len(r.Ours) > 0 {
			f.OursWorst = slices.Max(r.Ours)
		}
		// Of counts there is nothing to divide: the peer may well have none.
		if len(r.Theirs) > 0 && r.Unit != "" {
			f.Ratio = median(ratios(r.Ours, r.Theirs))
		}
		f.Verdict = r.Target.verdict(f)
		out = append(out, f)
	}
	return out
}

// verdict: a target of a value has to be met by every run, one of a ratio by the
// median.
func (t target) verdict(f figure) string {
	reached := len(f.Ours) > 0
	switch t.Of {
	case "":
		return ""
	case "ratio":
		reached = reached && len(f.Theirs) > 0 && t.allows(f.Ratio)
	default:
		for _, v := range f.Ours {
			reached = reached && t.allows(v)
		}
	}
	if reached {
		return met
	}
	return failed
}

func (t target) allows(v float64) bool {
	switch {
	case t.Exactly:
		return v == t.Limit
	case t.Below:
		return v < t.Limit
	}
	return v <= t.Limit
}

func anyMissed(figures []figure) bool {
	return slices.ContainsFunc(figures, func(f figure) bool { return f.Verdict == failed })
}

// median is 0 of nothing.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// ratios divides pair by pair.
func ratios(ours, theirs []float64) []float64 {
	var out []float64
	for i := range min(len(ours), len(theirs)) {
		// Nothing took no time at all; below a microsecond is not measured.
		out = append(out, ours[i]/math.Max(theirs[i], 1e-3))
	}
	return out
}

// write keeps the figures with what they depend on.
func write(path string, runs int, figures []figure) error {
	data, err := json.MarshalIndent(struct {
		Taken   time.Time `json:"taken"`
		Runs    int       `json:"runs"`
		CPUs    int       `json:"cpus"`
		Missed  bool      `json:"missed"`
		Figures []figure  `json:"figures"`
	}{time.Now().UTC(), runs, runtime.NumCPU(), anyMissed(figures), figures}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
