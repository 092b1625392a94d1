package probe

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	maxPhases   = 16
	maxReleases = 16
	maxUnknown  = 10000
	maxStatuses = 64 // classes of failure
	// longest is the longest latency that is told from longer ones.
	longest = 10 * time.Minute
	// otherReleases counts the values of the release header beyond maxReleases.
	otherReleases = "(others)"
)

// tally counts in bounded memory, however long the probe runs.
type tally struct {
	mu       sync.Mutex
	quick    bool // there is a quick kind, so gaps mean something
	began    time.Time
	ended    time.Time // zero while running
	phases   []*phase
	marks    []mark
	kinds    map[string]KindReport
	classes  map[string]int
	samples  map[string]string
	last     time.Time // of the last success of a quick kind
	gap      time.Duration
	lag      time.Duration
	dropped  int
	retried  int
	canceled int
	sent     int
	acked    int
	unknown  []string
	unsure   int
}

type mark struct {
	at    time.Time
	phase *phase
}

type phase struct {
	name     string
	requests int
	failed   int
	gap      time.Duration
	latency  *hdrhistogram.Histogram // microseconds, of quick kinds
	releases map[string]int
	away     int    // answers that redirect elsewhere
	awayTo   string // where the last of them leads
}

func newTally(began time.Time, quick bool) *tally {
	t := &tally{quick: quick, began: began, last: began, kinds: map[string]KindReport{}, classes: map[string]int{}, samples: map[string]string{}}
	t.mark(Before, began)
	return t
}

func (t *tally) mark(name string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ph := t.find(name)
	if ph == nil && len(t.phases) == maxPhases {
		return
	}
	if ph == nil {
		ph = &phase{name: name, latency: hdrhistogram.New(1, int64(longest/time.Microsecond), 3), releases: map[string]int{}}
		t.phases = append(t.phases, ph)
	}
	if len(t.marks) > 0 && t.marks[len(t.marks)-1].phase == ph {
		return
	}
	t.marks = append(t.marks, mark{at, ph})
	// Nothing is due that long ago any more.
	if len(t.marks) > 4*maxPhases {
		t.marks = t.marks[len(t.marks)-2*maxPhases:]
	}
}

func (t *tally) find(name string) *phase {
	for _, ph := range t.phases {
		if ph.name == name {
			return ph
		}
	}
	return nil
}

// at gives the phase that a time is in.
func (t *tally) at(when time.Time) *phase {
	for i := len(t.marks) - 1; i > 0; i-- {
		if !when.Before(t.marks[i].at) {
			return t.marks[i].phase
		}
	}
	return t.marks[0].phase
}

func (t *tally) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropped++
}

// count takes the end of one request.
func (t *tally) count(l *lane, id string, a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lag = max(t.lag, a.lag)
	t.account(l, id, a)
	if a.abandoned {
		t.canceled++
		return
	}
	if a.retried {
		t.retried++
	}
	ph, kind := t.at(a.due), t.kinds[l.Name]
	kind.Requests++
	ph.requests++
	if !l.Slow && (a.class == "" || a.class == Timeout) {
		ph.time(a.finished.Sub(a.due))
	}
	if a.class != "" {
		t.fail(ph, &kind, a)
	} else if !l.Slow {
		t.succeed(a)
	}
	t.kinds[l.Name] = kind
	if a.elsewhere != "" {
		ph.away++
		ph.awayTo = a.elsewhere
	}
	if a.status != 0 && a.release != "" {
		ph.serve(a.release)
	}
}

func (t *tally) fail(ph *phase, kind *KindReport, a answer) {
	class := a.class
	if _, known := t.classes[class]; !known && len(t.classes) >= maxStatuses {
		class = Other
	}
	t.classes[class]++
	if t.samples[class] == "" {
		t.samples[class] = a.detail
	}
	if class == ResetOnReload {
		kind.ResetOnReload++
		return
	}
	kind.Failed++
	ph.failed++
}

func (p *phase) time(latency time.Duration) {
	// Clamped, so that it is always in range.
	_ = p.latency.RecordValue(min(max(latency.Microseconds(), 1), int64(longest/time.Microsecond)))
}

func (t *tally) succeed(a answer) {
	if !a.finished.After(t.last) {
		return // answers are counted nearly, not quite, in the order they came
	}
	ph, gap := t.at(a.finished), a.finished.Sub(t.last)
	t.gap, ph.gap = max(t.gap, gap), max(ph.gap, gap)
	t.last = a.finished
}

func (p *phase) serve(release string) {
	if len(release) > 64 {
		release = release[:64]
	}
	if _, known := p.releases[release]; !known && len(p.releases) >= maxReleases {
		release = otherReleases
	}
	p.releases[release]++
}

// account keeps the account of a request with a body.
func (t *tally) account(l *lane, id string, a answer) {
	if l.Body == nil {
		return
	}
	t.sent++
	switch {
	case a.class == "" && !a.abandoned:
		t.acked++
	case a.status >= 400 && a.status < 500, a.class == Refused, a.class == DNS, a.class == TLS:
		// Refused before or without being done.
	default:
		// A 5xx, too: a gateway's 502 may come after the backend did the work.
		t.unsure++
		if len(t.unknown) < maxUnknown {
			t.unknown = append(t.unknown, id)
		}
	}
}

// end is the moment the load ended; a gap that was open then counts up to it.
func (t *tally) end(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = at
}

func (t *tally) failuresIn(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ph := t.find(name); ph != nil {
		return ph.failed
	}
	return 0
}

func (t *tally) elsewhere(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ph := t.find(name); ph != nil && ph.away == ph.requests {
		return ph.awayTo
	}
	return ""
}

func (t *tally) ids() IDs {
	t.mu.Lock()
	defer t.mu.Unlock()
	return IDs{Sent: t.sent, Acknowledged: t.acked, Unknown: append([]string(nil), t.unknown...), UnknownCount: t.unsure}
}

func (t *tally) report(now time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	until := now
	if !t.ended.IsZero() {
		until = t.ended
	}
	open := time.Duration(0) // the gap that no success has ended yet
	if t.quick {
		open = until.Sub(t.last)
	}
	r := Report{
		Dropped: t.dropped, Retried: t.retried, Abandoned: t.canceled, Failures: maps.Clone(t.classes), Samples: maps.Clone(t.samples),
		LongestGap: max(t.gap, open), MaxLag: t.lag, Duration: until.Sub(t.began),
		Phases: map[string]PhaseReport{}, Kinds: maps.Clone(t.kinds),
	}
	for _, ph := range t.phases {
		r.Requests += ph.requests
		r.Failed += ph.failed
		r.Phases[ph.name] = ph.report()
	}
	if now := t.at(until); open > now.gap {
		reported := r.Phases[now.name]
		reported.LongestGap = open
		r.Phases[now.name] = reported
	}
	r.P99Before, r.P99During = r.Phases[Before].P99, r.Phases[During].P99
	return r
}
