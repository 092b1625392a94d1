package probe

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/grace"
)

// The phases that a Watch has beside Before, During and After.
const (
	// Migrated is once the migrations have run and before any unit is changed.
	Migrated = "migrated"
	// Interrupted is while nobody serves, as was announced.
	Interrupted = "interrupted"
)

// Calm is how long a Watch measures before the first and after the last change.
const Calm = 2 * time.Second

// regained is how long what needs a service may take to find it again after it was away.
const regained = 15 * time.Second

// Watch is the probe of a release, whose failures have a budget; a nil one measures nothing.
type Watch struct {
	*Probe
	// Silent is set when nothing answered before the first change: then there are
	// no users yet who could lose anything, until the release is over.
	Silent bool
	// Broken is set when what serves does not work with the database that was migrated: no failure
	// stops what ends that.
	Broken bool
	done   bool
	report Report
	// timeout is how long one request may take.
	timeout time.Duration
}

// Begin starts the probe and takes the figures of the quiet system first: the phase is Before
// until somebody marks another.
func Begin(ctx context.Context, c Config) (*Watch, error) {
	p, err := Start(ctx, c)
	if err != nil {
		return nil, err
	}
	w := &Watch{Probe: p, timeout: cmp.Or(c.Timeout, DefaultTimeout)}
	w.Quiet(ctx, Before)
	w.Silent = p.Report().Phases[Before].unanswered()
	return w, nil
}

// Quiet measures the quiet system. Where packets are dropped or the service hangs no
// request has ended by then: those that were sent are waited for, since their silence
// is no answer, until one is a success or all of them have timed out.
func (w *Watch) Quiet(ctx context.Context, phase string) {
	w.Mark(phase)
	err := grace.Pause(ctx, Calm)
	if w.Report().Phases[phase].Requests > 0 {
		return
	}
	for end := time.Now().Add(w.timeout); err == nil && time.Now().Before(end); err = grace.Pause(ctx, Calm/20) {
		if r := w.Report().Phases[phase]; r.Requests > r.Failed {
			return
		}
	}
}

// Away measures apart what is lost while a step leaves nobody who serves: the plan says so before
// anything is changed, and a budget of 0 would have such a release fail each time. It is over
// once requests succeed again and none fails any more; one that fails on is the release's doing.
func (w *Watch) Away(ctx context.Context, over bool) {
	switch {
	case w == nil || w.done || w.Silent || w.Broken: // nothing is counted, and nobody waits for that
		return
	case !over:
		w.Mark(Interrupted)
		return
	}
	end, was := time.Now().Add(regained), w.Report().Phases[Interrupted]
	if w.Report().Phases[Before].Failed > 0 {
		end = time.Now() // what fails anyhow says nothing of that
	}
	for time.Now().Before(end) && grace.Pause(ctx, Calm/2) == nil {
		is := w.Report().Phases[Interrupted]
		if is.Failed == was.Failed && is.Requests > was.Requests {
			break
		}
		was = is
	}
	w.Mark(During)
}

// Within tells whether the failures since the first change are in the budget.
func (w *Watch) Within(budget int) error {
	if w == nil || w.done || w.Silent || w.Broken {
		return nil
	}
	if n := w.FailuresIn(During) + w.FailuresIn(Migrated); n > budget {
		return w.exceeds("during the release", n, budget)
	}
	return nil
}

// Finish measures the quiet system again and decides.
func (w *Watch) Finish(ctx context.Context, budget int) error {
	if w == nil {
		return nil
	}
	w.Quiet(ctx, After)
	if err := w.Within(budget); err != nil {
		return err
	}
	r := w.Report()
	after := r.Phases[After]
	if w.Broken && !after.MostFail() {
		return nil // what served before would lose more
	}
	if w.Broken {
		budget = 0 // whoever allows much allows no outage that goes on
	}
	if after.Failed > budget {
		err := w.exceeds("after the last change", after.Failed, budget)
		if w.Silent && after.unanswered() {
			err = fmt.Errorf("%w; nothing answered before the release either (%s): is probe-url right, and does it lead there from here?", err, r.Classes())
		}
		return err
	}
	return nil
}

// End ends the probe and gives its report, nil when nothing was measured.
func (w *Watch) End() *Report {
	if w == nil {
		return nil
	}
	if !w.done {
		w.report, w.done = w.Stop(), true
	}
	return &w.report
}

// Exceeded says that more requests failed than the budget allows. It is of no kind of fault:
// before anything is changed it refuses, after that it fails.
type Exceeded struct{ Text, Hint string }

// Error gives the text.
func (e *Exceeded) Error() string { return e.Text }

// exceeds is made at once: what fails on the way back is another matter.
func (w *Watch) exceeds(when string, n, budget int) error {
	return &Exceeded{fmt.Sprintf("the probe counted %d failed requests %s, more than probe-budget %d", n, when, budget),
		fmt.Sprintf("requests failed as %s; see `more than probe-budget` in docs/troubleshooting.md", w.Report().Classes())}
}

// Classes names what failed: a status is of a gateway or a service that is ill, the rest mostly of
// the way there.
func (r Report) Classes() string {
	return strings.Join(slices.Sorted(maps.Keys(r.Failures)), ", ")
}

// MostFail tells that more than half of the requests failed.
func (p PhaseReport) MostFail() bool { return 2*p.Failed > p.Requests }

// unanswered tells that requests were sent and all of them failed.
func (p PhaseReport) unanswered() bool { return p.Requests > 0 && p.Failed == p.Requests }
