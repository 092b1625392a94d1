package probe

import (
	"encoding/json"
	"maps"
	"math"
	"time"
)

// Report is what a probe measured. In JSON the durations are milliseconds, in
// names that end in _ms.
type Report struct {
	// Requests had an end of some kind; Failed of them were no success (a status
	// from 200 to 399), resets on reload apart.
	Requests, Failed int
	// Failures counts by class, ResetOnReload included; Samples has one message each.
	Failures map[string]int
	Samples  map[string]string
	// Dropped were due but never sent, because too many were unanswered: the load
	// was then less than asked for, which a report has to say. MaxLag is the
	// longest that a request left after it was due.
	Dropped int
	MaxLag  time.Duration
	// Retried went out a second time by the HTTP transport itself, as any client
	// would, after an idle connection turned out to be closed. Abandoned were under
	// way when the probe's context ended.
	Retried, Abandoned int
	Duration           time.Duration
	// LongestGap is the longest time without any success of a quick kind.
	LongestGap time.Duration
	// P99Before and P99During are those of the phases Before and During.
	P99Before, P99During time.Duration
	Phases               map[string]PhaseReport
	Kinds                map[string]KindReport
}

// PhaseReport is the part of the requests that were due in one phase. The
// latencies, from when a request was due to the last byte of its answer, are those
// of quick kinds that got a success or waited for one in vain (timeout). LongestGap
// is of the gaps that ended in the phase. Releases counts answers by release header.
type PhaseReport struct {
	Requests, Failed int
	P50, P95, P99    time.Duration
	Max, LongestGap  time.Duration
	Releases         map[string]int
}

// KindReport is the part of the requests of one kind.
type KindReport struct {
	Requests      int `json:"requests"`
	Failed        int `json:"failed"`
	ResetOnReload int `json:"reset_on_reload"`
}

func (p *phase) report() PhaseReport {
	quantile := func(q float64) time.Duration {
		return time.Duration(p.latency.ValueAtQuantile(q)) * time.Microsecond
	}
	return PhaseReport{
		Requests: p.requests, Failed: p.failed, LongestGap: p.gap, Releases: maps.Clone(p.releases),
		P50: quantile(50), P95: quantile(95), P99: quantile(99), Max: time.Duration(p.latency.Max()) * time.Microsecond,
	}
}

type reportJSON struct {
	Requests    int                    `json:"requests"`
	Failed      int                    `json:"failed"`
	Failures    map[string]int         `json:"failures"`
	Samples     map[string]string      `json:"samples,omitempty"`
	Dropped     int                    `json:"dropped"`
	Retried     int                    `json:"retried"`
	Abandoned   int                    `json:"abandoned,omitempty"`
	MaxLagMS    float64                `json:"max_lag_ms"`
	DurationMS  float64                `json:"duration_ms"`
	LongestGap  float64                `json:"longest_gap_ms"`
	P99BeforeMS float64                `json:"p99_before_ms"`
	P99DuringMS float64                `json:"p99_during_ms"`
	Phases      map[string]PhaseReport `json:"phases"`
	Kinds       map[string]KindReport  `json:"kinds"`
}

type phaseJSON struct {
	Requests   int            `json:"requests"`
	Failed     int            `json:"failed"`
	P50MS      float64        `json:"p50_ms"`
	P95MS      float64        `json:"p95_ms"`
	P99MS      float64        `json:"p99_ms"`
	MaxMS      float64        `json:"max_ms"`
	LongestGap float64        `json:"longest_gap_ms"`
	Releases   map[string]int `json:"releases,omitempty"`
}

// ms gives milliseconds with three digits, which is what is measured.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func fromMS(v float64) time.Duration {
	return time.Duration(math.Round(v*1000)) * time.Microsecond
}

// MarshalJSON writes durations as milliseconds.
func (r Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(reportJSON{
		Requests: r.Requests, Failed: r.Failed, Failures: r.Failures, Samples: r.Samples, Dropped: r.Dropped, Retried: r.Retried,
		Abandoned: r.Abandoned, MaxLagMS: ms(r.MaxLag), DurationMS: ms(r.Duration), LongestGap: ms(r.LongestGap),
		P99BeforeMS: ms(r.P99Before), P99DuringMS: ms(r.P99During), Phases: r.Phases, Kinds: r.Kinds,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Report) UnmarshalJSON(data []byte) error {
	var j reportJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*r = Report{
		Requests: j.Requests, Failed: j.Failed, Failures: j.Failures, Samples: j.Samples, Dropped: j.Dropped, Retried: j.Retried,
		Abandoned: j.Abandoned, MaxLag: fromMS(j.MaxLagMS), Duration: fromMS(j.DurationMS), LongestGap: fromMS(j.LongestGap),
		P99Before: fromMS(j.P99BeforeMS), P99During: fromMS(j.P99DuringMS), Phases: j.Phases, Kinds: j.Kinds,
	}
	return nil
}

// MarshalJSON writes durations as milliseconds.
func (p PhaseReport) MarshalJSON() ([]byte, error) {
	return json.Marshal(phaseJSON{p.Requests, p.Failed, ms(p.P50), ms(p.P95), ms(p.P99), ms(p.Max), ms(p.LongestGap), p.Releases})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *PhaseReport) UnmarshalJSON(data []byte) error {
	var j phaseJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = PhaseReport{j.Requests, j.Failed, fromMS(j.P50MS), fromMS(j.P95MS), fromMS(j.P99MS), fromMS(j.MaxMS), fromMS(j.LongestGap), j.Releases}
	return nil
}
