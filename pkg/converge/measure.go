package converge

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/probe"
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
		d.sayUnanswered()
	case before.Failed > 0:
		d.Say(event.Warning, "probe", "", "%d of %d requests fail already (%s): what fails goes on counting against probe-budget %d; "+
			"where requests are limited, lower probe-rate", before.Failed, before.Requests,
			strings.Join(slices.Sorted(maps.Keys(r.Failures)), ", "), d.opts.ProbeBudget)
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
func (d *transition) sayUnanswered() {
	const counts = "its failures count once the release is over"
	if v := d.facts.verified; v != nil {
		d.Say(event.Warning, "probe", "", "nothing answers at the probe's address, though %s serves: is probe-url right, and does it lead there from here? %s",
			title(v.Version, v.Number), counts)
		return
	}
	d.Say(event.Notice, "probe", "", "nothing answers at the probe's address yet: %s", counts)
}

// nothingAnswers tells that requests were sent and all of them failed.
func nothingAnswers(p probe.PhaseReport) bool { return p.Requests > 0 && p.Failed == p.Requests }

// within tells whether the failures since the first change are in the budget.
func (m *measurement) within(budget int) error {
	if m == nil || m.done || m.silent {
		return nil
	}
	if n := m.FailuresIn("during"); n > budget {
		return fmt.Errorf("the probe counted %d failed requests since the first change, more than probe-budget %d", n, budget)
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
	if n := m.FailuresIn("after"); n > budget {
		err := fmt.Errorf("the probe counted %d failed requests after the last change, more than probe-budget %d", n, budget)
		if m.silent && nothingAnswers(m.Report().Phases["after"]) {
			err = fmt.Errorf("%w; nothing answered before the release either: is probe-url right, and does it lead there from here?", err)
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
