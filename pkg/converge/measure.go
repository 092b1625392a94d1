package converge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/stack"
)

// calm is how long the probe measures before the first and after the last change.
const calm = 2 * time.Second

// measurement is the probe of a release; a nil one measures nothing.
type measurement struct {
	*probe.Probe
	done   bool
	report probe.Report
	// silent is set when nothing answered before the first change: then there are
	// no users yet who could lose anything, until the release is over.
	silent bool
	// broken is set when what serves does not work with the database that was migrated: no failure
	// stops what ends that.
	broken bool
	// timeout is how long one request may take.
	timeout time.Duration
}

// measure starts the probe and takes the figures of the quiet system first. A
// probe that cannot start measures nothing and says so: the release is not worse
// for it.
func (d *transition) measure(ctx context.Context) *measurement {
	if d.opts.Probe.URL == "" {
		return nil
	}
	p, err := probe.Start(ctx, d.opts.Probe)
	if err != nil {
		d.Say(event.Warning, "probe", "", "not measured: %v", err)
		return nil
	}
	m := &measurement{Probe: p, timeout: cmp.Or(d.opts.Probe.Timeout, probe.DefaultTimeout)}
	m.quiet(ctx, "before")
	r := p.Report()
	before := r.Phases["before"]
	switch m.silent = nothingAnswers(before); {
	case m.silent:
		d.sayUnanswered(r)
	case before.Failed > 0:
		d.Say(event.Warning, "probe", "", "%d of %d requests fail already (%s): what fails goes on counting against probe-budget %d; "+
			"where requests are limited, lower probe-rate", before.Failed, before.Requests,
			classes(r), d.opts.ProbeBudget)
	}
	if to := p.Elsewhere("before"); to != "" {
		d.Say(event.Warning, "probe", "", "every answer at the probe's address is a redirect to %s: what is behind it is not measured; "+
			"give probe-url an address that answers itself", to)
	}
	// What fails before the first change is not the release's doing.
	p.Mark("during")
	return m
}

// quiet measures the quiet system. Where packets are dropped or the service hangs no
// request has ended by then: those that were sent are waited for, since their silence
// is no answer, until one is a success or all of them have timed out.
func (m *measurement) quiet(ctx context.Context, phase string) {
	m.Mark(phase)
	err := grace.Pause(ctx, calm)
	if m.Report().Phases[phase].Requests > 0 {
		return
	}
	for end := time.Now().Add(m.timeout); err == nil && time.Now().Before(end); err = grace.Pause(ctx, calm/20) {
		if r := m.Report().Phases[phase]; r.Requests > r.Failed {
			return
		}
	}
}

// sayUnanswered tells that nothing answers before the first change. Where a release
// serves that is an outage, which this release may end, or a wrong address.
func (d *transition) sayUnanswered(r probe.Report) {
	const counts = "its failures count once the release is over"
	if v := d.facts.verified; v != nil {
		d.Say(event.Warning, "probe", "", "nothing answers at the probe's address (all %d requests: %s), though %s serves: is probe-url right, and does it lead there from here? %s",
			r.Failed, classes(r), title(v.Version, v.Number), counts)
		return
	}
	d.Say(event.Notice, "probe", "", "nothing answers at the probe's address yet: %s", counts)
}

// classes names what failed: a status is of a gateway or a service that is ill, the rest mostly of
// the way there.
func classes(r probe.Report) string {
	return strings.Join(slices.Sorted(maps.Keys(r.Failures)), ", ")
}

// mostFail tells that more than half of the requests failed.
func mostFail(p probe.PhaseReport) bool { return 2*p.Failed > p.Requests }

// nothingAnswers tells that requests were sent and all of them failed.
func nothingAnswers(p probe.PhaseReport) bool { return p.Requests > 0 && p.Failed == p.Requests }

// regained is how long what needs a service may take to find it again after it was away.
const regained = 15 * time.Second

// away is who hears of announced interruptions: a way back asks no budget, and waits for nobody.
func (d *transition) away(st *stack.Stack) func(ctx context.Context, over bool) {
	if st != d.opts.Stack {
		return nil
	}
	return d.probe.away
}

// away measures apart what is lost while a step leaves nobody who serves: the plan says so before
// anything is changed, and a budget of 0 would have such a release fail each time. It is over
// once requests succeed again and none fails any more; one that fails on is the release's doing.
func (m *measurement) away(ctx context.Context, over bool) {
	switch {
	case m == nil || m.done || m.silent || m.broken: // nothing is counted, and nobody waits for that
		return
	case !over:
		m.Mark("interrupted")
		return
	}
	end, was := time.Now().Add(regained), m.Report().Phases["interrupted"]
	if m.Report().Phases["before"].Failed > 0 {
		end = time.Now() // what fails anyhow says nothing of that
	}
	for time.Now().Before(end) && grace.Pause(ctx, calm/2) == nil {
		is := m.Report().Phases["interrupted"]
		if is.Failed == was.Failed && is.Requests > was.Requests {
			break
		}
		was = is
	}
	m.Mark("during")
}

// within tells whether the failures since the first change are in the budget.
func (m *measurement) within(budget int) error {
	if m == nil || m.done || m.silent || m.broken {
		return nil
	}
	if n := m.FailuresIn("during") + m.FailuresIn("migrated"); n > budget {
		return m.exceeds("during the release", n, budget)
	}
	return nil
}

// exceeded says that more requests failed than the budget allows. It is of no kind of fault:
// before anything is changed it refuses, after that it fails.
type exceeded struct{ text, hint string }

func (e *exceeded) Error() string { return e.text }

// exceeds is made at once: what fails on the way back is another matter.
func (m *measurement) exceeds(when string, n, budget int) error {
	return &exceeded{fmt.Sprintf("the probe counted %d failed requests %s, more than probe-budget %d", n, when, budget),
		fmt.Sprintf("requests failed as %s; see `more than probe-budget` in docs/troubleshooting.md", classes(m.Report()))}
}

// why begins the hint of a release that went back: what is known of the failure, or where to look.
func (d *transition) why(cause error) string {
	var over *exceeded
	switch {
	case errors.As(cause, &over):
		return over.hint + "; " // all units may be well
	case d.result.Rollout.Failed != "":
		return cmp.Or(fault.Hint(cause), "the last lines of the failed unit say why") + "; "
	}
	return ""
}

// outlived looks, after the migrations and before any unit is changed, whether users still get
// answers. What they lost is the release's doing. Where what serves answers again the release
// fails as with any budget that is exceeded: ending it costs nobody anything. Where most requests
// fail, what serves does not work with the migrated database, and it stays migrated: ending would
// leave the outage to last, and so would any way back. The new code was made for that database, so
// going on ends it, whatever it takes. What says itself that it cannot read it is no better.
func (d *transition) outlived(ctx context.Context) error {
	m := d.probe
	if m == nil || m.silent {
		d.askOlder(ctx)
		return nil
	}
	m.quiet(ctx, "migrated")
	r := m.Report()
	m.Mark("during")
	now := r.Phases["migrated"]
	if ctx.Err() != nil {
		return nil // who was told to end is by the rollout
	}
	if m.broken = mostFail(now) && !mostFail(r.Phases["before"]); m.broken {
		// The older code need not be asked: users have, and wait for the new one.
		d.blind = fmt.Sprintf("with it %d of %d requests of the probe failed (%s)", now.Failed, now.Requests, classes(r))
		d.Say(event.Warning, "probe", "", "the database stays migrated, and %s: %s does not seem to work with it; "+
			"the release goes on whatever is lost, since what is new was made for it", d.blind, cmp.Or(d.result.Serving, "what serves"))
		return nil
	}
	d.askOlder(ctx)
	m.broken = d.blind != ""
	err := m.within(d.opts.ProbeBudget)
	if err == nil {
		return nil
	}
	hint := "what the migration kept users from (by a lock, for one) it does no more, so that it can be run again"
	if now.Failed > 0 {
		hint = fmt.Sprintf("%d of %d requests fail yet: see why, then run it again, with a probe-budget for what fails on", now.Failed, now.Requests)
	}
	return fault.New(fault.Failed, "", "what served before serves on"+d.migrated()+"; "+hint,
		"%w (%s): they failed while the database was migrated, before any unit was changed", err, classes(r))
}

// migrated says what a release that went back leaves of its migrations.
func (d *transition) migrated() string {
	if d.record == nil || len(d.record.Migrations) == 0 {
		return ""
	}
	last := d.record.Migrations[len(d.record.Migrations)-1]
	text := fmt.Sprintf("; the database stays migrated, at revision %s", known(last.After))
	if d.blind == "" {
		return text
	}
	text += ", and " + d.blind + ": release a version that works"
	if v := d.facts.verified; v != nil && len(d.record.Backups) == 1 {
		text += fmt.Sprintf(", or bring the database back, which loses what was written since: shiksha rollback --release %d --restore-database %s",
			v.Number, d.record.Backups[0])
	}
	return text
}

// finish measures the quiet system again and decides. What ended an outage that its own migration
// made is told and stays: it answers, and what served before would only begin that again.
func (d *transition) finish(ctx context.Context) error {
	m, budget := d.probe, d.opts.ProbeBudget
	if err := m.finish(ctx, budget); err != nil || m == nil {
		return err
	}
	if n := m.FailuresIn("interrupted"); n > 0 {
		d.Say(event.Notice, "probe", "", "%d requests failed in interruptions that the plan announces; they do not count against probe-budget", n)
	}
	if !m.broken {
		return nil
	}
	if lost := m.FailuresIn("migrated") + m.FailuresIn("during") + m.FailuresIn("after"); lost > budget {
		d.Say(event.Warning, "probe", "", "the probe counted %d failed requests, more than probe-budget %d: what served before does not work with the migrated database, and %s does, so it stays",
			lost, budget, title(d.opts.Version, d.result.Release))
	}
	return nil
}

// finish measures the quiet system again and decides.
func (m *measurement) finish(ctx context.Context, budget int) error {
	if m == nil {
		return nil
	}
	m.quiet(ctx, "after")
	if err := m.within(budget); err != nil {
		return err
	}
	r := m.Report()
	after := r.Phases["after"]
	if m.broken && !mostFail(after) {
		return nil // what served before would lose more
	}
	if m.broken {
		budget = 0 // whoever allows much allows no outage that goes on
	}
	if after.Failed > budget {
		err := m.exceeds("after the last change", after.Failed, budget)
		if m.silent && nothingAnswers(after) {
			err = fmt.Errorf("%w; nothing answered before the release either (%s): is probe-url right, and does it lead there from here?", err, classes(r))
		}
		return err
	}
	return nil
}

// stop ends the probe and gives its report, nil when nothing was measured.
func (m *measurement) stop() *probe.Report {
	if m == nil {
		return nil
	}
	if !m.done {
		m.report, m.done = m.Stop(), true
	}
	return &m.report
}
