// Package check has the words that checks report in, before a release
// (preflight) and after it (verify): five outcomes, and for each result what was
// expected, what was found and the evidence. Missing data is never a pass.
package check

import (
	"slices"
	"time"
)

// Outcome says what a check found out.
type Outcome string

// The outcomes. Unknown is a check that could not decide: it got no data, or its
// probe could not run. It never counts as a pass.
const (
	Pass    Outcome = "pass"
	Warn    Outcome = "warn"
	Fail    Outcome = "fail"
	Skip    Outcome = "skip"
	Unknown Outcome = "unknown"
)

// Result is what one check found.
type Result struct {
	// Name is unique in a report; Kind is the kind of check (http, postgres, ...),
	// Where what it looked at: a unit, an address, a file.
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Where string `json:"where,omitempty"`
	// Place is where the probe ran: runner, host or unit.
	Place string `json:"place,omitempty"`
	// Required results decide; the others only inform.
	Required bool    `json:"required"`
	Outcome  Outcome `json:"outcome"`
	// Expected and Found are one line each, Hint says what to do next.
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	Hint     string `json:"hint,omitempty"`
	// File (relative to the workspace) and Line say where the mend belongs.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Evidence holds the last probes, the oldest first.
	Evidence []Evidence `json:"evidence,omitempty"`
	Attempts int        `json:"attempts,omitempty"`
	// Seconds is how long the check took, waiting included.
	Seconds float64 `json:"seconds"`
}

// Difference says in one line what was expected and found.
func (r Result) Difference() string {
	if r.Expected == "" {
		return r.Found
	}
	return "expected " + r.Expected + ", found " + r.Found
}

// Evidence is one probe: what was asked, what came back (cut, without secrets).
type Evidence struct {
	At    time.Time `json:"at,omitzero"`
	Probe string    `json:"probe"`
	Found string    `json:"found"`
}

// Schema is the version of the report's JSON form.
const Schema = 1

// Report is the results of one run, in a fixed order.
type Report struct {
	Schema  int      `json:"schema"`
	Results []Result `json:"results"`
}

// With lists the results that have one of the outcomes.
func (r *Report) With(outcomes ...Outcome) (list []Result) {
	for _, result := range r.Results {
		if slices.Contains(outcomes, result.Outcome) {
			list = append(list, result)
		}
	}
	return list
}

// Count tells how many results have an outcome.
func (r *Report) Count(o Outcome) int {
	n := 0
	for _, result := range r.Results {
		if result.Outcome == o {
			n++
		}
	}
	return n
}

// Worst is the outcome that decides: fail before unknown before pass. Of checks
// that are not required only those count that warn, fail or know nothing, where failOn
// is Warn. A required check that was skipped could not decide. A report without results decides nothing.
func (r *Report) Worst(failOn Outcome) Outcome {
	worst := Pass
	if len(r.Results) == 0 {
		return Unknown
	}
	for _, result := range r.Results {
		switch {
		case result.Required && result.Outcome == Fail, failOn == Warn && (result.Outcome == Warn || result.Outcome == Fail):
			return Fail
		case result.Required && (result.Outcome == Unknown || result.Outcome == Skip), failOn == Warn && result.Outcome == Unknown:
			worst = Unknown
		}
	}
	return worst
}
