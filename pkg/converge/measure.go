package converge

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/stack"
)

// measure starts the probe and takes the figures of the quiet system first. A
// probe that cannot start measures nothing and says so: the release is not worse
// for it.
func (d *transition) measure(ctx context.Context) *probe.Watch {
	if d.opts.Probe.URL == "" {
		return nil
	}
	w, err := probe.Begin(ctx, d.opts.Probe)
	if err != nil {
		d.Say(event.Warning, "probe", "", "not measured: %v", err)
		return nil
	}
	r := w.Report()
	before := r.Phases[probe.Before]
	switch {
	case w.Silent:
		d.sayUnanswered(r)
	case before.Failed > 0:
		d.Say(event.Warning, "probe", "", "%d of %d requests fail already (%s): what fails goes on counting against probe-budget %d; "+
			"where requests are limited, lower probe-rate", before.Failed, before.Requests,
			r.Classes(), d.opts.ProbeBudget)
	}
	if to := w.Elsewhere(probe.Before); to != "" {
		d.Say(event.Warning, "probe", "", "every answer at the probe's address is a redirect to %s: what is behind it is not measured; "+
			"give probe-url an address that answers itself", to)
	}
	// What fails before the first change is not the release's doing.
	w.Mark(probe.During)
	return w
}

// sayUnanswered tells that nothing answers before the first change. Where a release
// serves that is an outage, which this release may end, or a wrong address.
func (d *transition) sayUnanswered(r probe.Report) {
	const counts = "its failures count once the release is over"
	if v := d.facts.verified; v != nil {
		d.Say(event.Warning, "probe", "", "nothing answers at the probe's address (all %d requests: %s), though %s serves: is probe-url right, and does it lead there from here? %s",
			r.Failed, r.Classes(), title(v.Version, v.Number), counts)
		return
	}
	d.Say(event.Notice, "probe", "", "nothing answers at the probe's address yet: %s", counts)
}

// away is who hears of announced interruptions: a way back asks no budget, and waits for nobody.
func (d *transition) away(st *stack.Stack) func(ctx context.Context, over bool) {
	if st != d.opts.Stack {
		return nil
	}
	return d.probe.Away
}

// why begins the hint of a release that went back: what is known of the failure, or where to look.
func (d *transition) why(cause error) string {
	var over *probe.Exceeded
	switch {
	case errors.As(cause, &over):
		return over.Hint + "; " // all units may be well
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
	w := d.probe
	if w == nil || w.Silent {
		d.askOlder(ctx)
		return nil
	}
	w.Quiet(ctx, probe.Migrated)
	r := w.Report()
	w.Mark(probe.During)
	now := r.Phases[probe.Migrated]
	if ctx.Err() != nil {
		return nil // who was told to end is by the rollout
	}
	if w.Broken = now.MostFail() && !r.Phases[probe.Before].MostFail(); w.Broken {
		// The older code need not be asked: users have, and wait for the new one.
		d.blind = fmt.Sprintf("with it %d of %d requests of the probe failed (%s)", now.Failed, now.Requests, r.Classes())
		d.Say(event.Warning, "probe", "", "the database stays migrated, and %s: %s does not seem to work with it; "+
			"the release goes on whatever is lost, since what is new was made for it", d.blind, cmp.Or(d.result.Serving, "what serves"))
		return nil
	}
	d.askOlder(ctx)
	w.Broken = d.blind != ""
	err := w.Within(d.opts.ProbeBudget)
	if err == nil {
		return nil
	}
	hint := "what the migration kept users from (by a lock, for one) it does no more, so that it can be run again"
	if now.Failed > 0 {
		hint = fmt.Sprintf("%d of %d requests fail yet: see why, then run it again, with a probe-budget for what fails on", now.Failed, now.Requests)
	}
	return fault.New(fault.Failed, "", "what served before serves on"+d.migrated()+"; "+hint,
		"%w (%s): they failed while the database was migrated, before any unit was changed", err, r.Classes())
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
	w, budget := d.probe, d.opts.ProbeBudget
	if err := w.Finish(ctx, budget); err != nil || w == nil {
		return err
	}
	if n := w.FailuresIn(probe.Interrupted); n > 0 {
		d.Say(event.Notice, "probe", "", "%d requests failed in interruptions that the plan announces; they do not count against probe-budget", n)
	}
	if !w.Broken {
		return nil
	}
	if lost := w.FailuresIn(probe.Migrated) + w.FailuresIn(probe.During) + w.FailuresIn(probe.After); lost > budget {
		d.Say(event.Warning, "probe", "", "the probe counted %d failed requests, more than probe-budget %d: what served before does not work with the migrated database, and %s does, so it stays",
			lost, budget, title(d.opts.Version, d.result.Release))
	}
	return nil
}
