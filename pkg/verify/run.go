package verify

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/verify/kind"
)

const (
	// atOnce bounds the looks that are under way: the host gives one connection few
	// sessions.
	atOnce = 6
	// defaultTimeout is how long a check may take to pass where its kind says nothing else.
	defaultTimeout = 30 * time.Second
	// oneLook bounds a single look, but one that reads something large or asks often.
	oneLook = 30 * time.Second
)

// contract is how patient a check is.
type contract struct {
	timeout, interval, window time.Duration
	passes                    int
	// look bounds a single one.
	look time.Duration
	// back is how far a look looks back; within it a look may have to wait.
	back time.Duration
}

// contractOf fills in what a check does not say.
func contractOf(c *kind.Check, window time.Duration) contract {
	m := c.Manner()
	out := contract{timeout: time.Duration(c.Timeout), interval: time.Duration(c.Interval), passes: c.Passes, look: oneLook}
	if out.timeout == 0 {
		out.timeout = cmp.Or(m.Timeout, defaultTimeout)
	}
	if m.Long {
		out.look = max(oneLook, out.timeout)
	}
	if out.interval == 0 {
		out.interval = m.Interval
	}
	if out.passes == 0 {
		out.passes = m.Passes
	}
	if c.Window != nil {
		window = time.Duration(*c.Window)
	}
	if m.Watched || c.Window != nil && !m.Back {
		out.window = window
	}
	if m.Back {
		out.back = window
	}
	return out
}

// run runs the checks at once, within a bound of looks, and gives their results in
// the order of the checks. tell is called as each one ends. What is not over when
// ctx ends is unknown.
func run(ctx context.Context, scene *kind.Scene, checks []kind.Check, tell func(check.Result)) *check.Report {
	report := &check.Report{Schema: check.Schema, Results: make([]check.Result, len(checks))}
	looks := make(chan struct{}, atOnce)
	var telling sync.Mutex
	var all sync.WaitGroup
	var decided atomic.Bool
	for i := range checks {
		all.Go(func() {
			result := leftOut(&checks[i])
			if checks[i].LeftOut == "" {
				result = patient{scene, &checks[i], contractOf(&checks[i], scene.Window), looks, &decided}.result(ctx)
			}
			if result.Required && (result.Outcome == check.Fail || result.Outcome == check.Unknown) {
				decided.Store(true)
			}
			report.Results[i] = result
			telling.Lock()
			defer telling.Unlock()
			tell(result)
		})
	}
	all.Wait()
	return report
}

// leftOut is the result of a check that nobody wanted looked at. It does not decide.
func leftOut(c *kind.Check) check.Result {
	return check.Result{Name: c.Name, Kind: c.KindName(), Place: c.Manner().Place, Outcome: check.Skip, Found: c.LeftOut}
}

// patient is one check with its contract.
type patient struct {
	scene *kind.Scene
	check *kind.Check
	contract
	looks chan struct{}
	// decided is set once a check that decides has not passed: who goes back for that does
	// not wait longer for the others.
	decided *atomic.Bool
}

// free is what of a wait for a turn does not count.
func (p patient) free(waited time.Duration) time.Duration {
	if p.decided.Load() {
		return 0
	}
	return waited
}

// row is a row of looks that passed without a break.
type row struct {
	passes int
	since  time.Time
	// worst is the worst of them: a warning stays one.
	worst kind.Finding
}

// result looks until enough looks in a row pass, over at least the window, or the
// time is up. One look that does not pass begins the row anew, so a service that
// comes and goes does not pass. What a look waits for its turn is not the time of its
// check: how many others there are says nothing of the service.
func (p patient) result(ctx context.Context) check.Result {
	begun := time.Now()
	end := begun.Add(p.timeout + p.window + p.back)
	var r row
	var broken *kind.Finding
	var evidence []check.Evidence
	for attempts := 1; ; attempts++ {
		asked := time.Now()
		f, waited, looked := p.look(ctx, p.until(end, r, broken))
		end = end.Add(p.free(waited))
		evidence = lastOf(append(evidence, f.Evidence...))
		switch {
		case !looked:
			f = p.late(f, broken)
		case !kind.Worse(f.Outcome, check.Warn):
			if r.passes == 0 {
				r.since, r.worst = asked.Add(waited), f
			}
			r.passes++
			if f.Outcome == check.Warn || r.worst.Outcome == check.Pass {
				r.worst = f
			}
			if r.passes >= p.passes && time.Since(r.since) >= p.window {
				return p.tell(r.worst, evidence, attempts, begun)
			}
		default:
			if r.passes > 0 {
				f.Found = fmt.Sprintf("%s, after %d looks that passed", f.Found, r.passes)
			}
			r, broken = row{}, &f
		}
		if f.Final {
			return p.tell(f, evidence, attempts, begun)
		}
		if !looked || !p.pause(ctx, p.until(end, r, broken)) {
			if looked && r.passes > 0 {
				f = p.unsteady(f, r, broken)
			}
			return p.tell(f, evidence, attempts, begun)
		}
	}
}

// until is when the time of a check is up. One that has passed every look so far has a
// look's time more: on a busy host looks are slow, and what works is not given up because
// the clock left too little for the last of them.
func (p patient) until(end time.Time, r row, broken *kind.Finding) time.Time {
	if r.passes > 0 && broken == nil {
		return end.Add(p.contract.look)
	}
	return end
}

// look takes a turn, tells how long it waited for that, and looks once; false when there
// was no time for it.
func (p patient) look(ctx context.Context, end time.Time) (kind.Finding, time.Duration, bool) {
	asked := time.Now()
	select {
	case p.looks <- struct{}{}:
		defer func() { <-p.looks }()
	case <-ctx.Done():
		return kind.Finding{Outcome: check.Unknown}, 0, false
	}
	waited := time.Since(asked)
	if ctx.Err() != nil {
		return kind.Finding{Outcome: check.Unknown}, waited, false
	}
	limit := min(max(time.Until(end.Add(p.free(waited))), time.Second), p.contract.look)
	looking, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit.Round(time.Millisecond)))
	defer cancel()
	s := p.scene.Begin(looking, p.check.Name)
	s.Back = p.back
	p.carefully(s)
	return s.Finding, waited, ctx.Err() == nil
}

// carefully looks, and outlives a panic: the door cannot catch one of this goroutine,
// and a release would end between its switch and its way back.
func (p patient) carefully(s *kind.Sight) {
	defer func() {
		if mistake := recover(); mistake != nil {
			s.Broke(mistake)
		}
	}()
	p.check.Look(s)
}

// late is what is known of a check whose time was up for all.
func (p patient) late(f kind.Finding, broken *kind.Finding) kind.Finding {
	out := kind.Finding{Outcome: check.Unknown, Expected: "an answer in time", Found: "the time for all checks was up", Evidence: f.Evidence,
		Hint: "give all checks more time (timeout of verify, check-timeout of deploy and rollback), or this one less with a timeout of its own"}
	if broken != nil {
		out.Found += "; before: " + broken.Found
		out.Expected = broken.Expected
	}
	return out
}

// unsteady is the finding of a check that passed at the end, but not for long
// enough.
func (p patient) unsteady(f kind.Finding, r row, broken *kind.Finding) kind.Finding {
	out := f
	out.Outcome = check.Fail
	out.Expected = fmt.Sprintf("%d looks in a row that pass, over %s", p.passes, kind.Duration(p.window))
	out.Hint = "every look passed, and there was no time for more: raise its timeout, or lower its interval"
	out.Found = fmt.Sprintf("%d in %s", r.passes, time.Since(r.since).Round(100*time.Millisecond))
	if broken != nil {
		out.Outcome = broken.Outcome
		out.Where, out.Hint = broken.Where, broken.Hint
		out.Found += ", before that: " + broken.Found
	}
	return out
}

// pause waits for the next look; false when the time is up.
func (p patient) pause(ctx context.Context, end time.Time) bool {
	if time.Now().Add(p.interval).After(end) {
		return false
	}
	select {
	case <-ctx.Done():
	case <-time.After(p.interval):
	}
	return true
}

func (p patient) tell(f kind.Finding, evidence []check.Evidence, attempts int, begun time.Time) check.Result {
	level := p.check.Level
	if level == kind.LevelWarn && f.Outcome == check.Fail {
		f.Outcome = check.Warn
	}
	return check.Result{
		Name: p.check.Name, Kind: p.check.KindName(), Where: f.Where, Place: p.check.Manner().Place, Required: level != kind.LevelWarn, Outcome: f.Outcome,
		Expected: f.Expected, Found: f.Found, Hint: f.Hint, Evidence: evidence, Attempts: attempts,
		Seconds: time.Since(begun).Seconds(),
	}
}

// keptEvidence is how many probes of a check stay in the report.
const keptEvidence = 8

func lastOf(list []check.Evidence) []check.Evidence {
	return list[max(0, len(list)-keptEvidence):]
}
