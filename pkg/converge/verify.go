package converge

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// Verifier decides whether a release stays.
type Verifier interface {
	// Before looks at what is ill before the first change; it is not held against
	// the release.
	Before(ctx context.Context, t *target.Target, r Released)
	// Dials gives the addresses that its checks have to connect to on the host of a stack,
	// by check; only of those that decide.
	Dials(st *stack.Stack) map[string]Way
	// After looks at what was released. An error fails the release, and the report
	// says why.
	After(ctx context.Context, t *target.Target, r Released) (*check.Report, error)
}

// Way is a TCP connection that a release needs on the host.
type Way struct {
	// Service is whose units are there, "" for another address.
	Service string
	// Addr is host:port; for units the host's own, since theirs are not known yet.
	Addr string
}

// Released is what a Verifier looks at: all that runs, also what a release of some
// services only did not touch.
type Released struct {
	Stack  *stack.Stack
	Record *release.Record
	// On is where its units are.
	On target.Sight
	// Ill are services that were ill before the release and stay so. What nobody asked to
	// be checked is not held against it for them.
	Ill []string
	// Gone are the IDs of units that a Swarm had given up on a node before the release.
	Gone []string
}

// baseline lets the verifier look before the first change.
func (d *transition) baseline(ctx context.Context) {
	if d.opts.Verify != nil {
		d.opts.Verify.Before(ctx, d.Target, Released{Stack: d.opts.Stack, Record: d.record, On: d.on})
	}
}

// withoutJoining leaves out what a Swarm is at on nodes that have just come to it: each gets a
// task of what runs on every node, and that was not released.
func withoutJoining(seen stack.Observed) stack.Observed {
	units := map[string][]stack.Unit{}
	for service, all := range seen.Units {
		units[service] = slices.DeleteFunc(slices.Clone(all), func(u stack.Unit) bool { return u.Joining })
	}
	seen.Units = units
	return seen
}

// givenUp are the IDs of what a Swarm tries no more on a node.
func givenUp(seen stack.Observed) (ids []string) {
	for _, units := range seen.Units {
		for _, u := range units {
			if u.GivenUp {
				ids = append(ids, u.ID)
			}
		}
	}
	return ids
}

// givenUp are those that were so before the release.
func (f *facts) givenUp() []string {
	if f == nil {
		return nil
	}
	return givenUp(f.observed)
}

// halfGone names the services of which a Swarm had given a task up and that the release left as
// they were, as it does with what was ill before.
func (d *transition) halfGone() (names []string) {
	if len(d.facts.givenUp()) == 0 {
		return nil
	}
	for name, units := range d.facts.observed.Units {
		step := d.plan.Step(name)
		if len(givenUp(stack.Observed{Units: map[string][]stack.Unit{name: units}})) > 0 && (step == nil || !step.Replaces()) {
			names = append(names, name)
		}
	}
	return names
}

// forwards finds what a release has to connect to through sshd, which does not let it: the
// ports of units that a running gateway is led to, and what checks ask. A new unit's address
// is not known yet, but sshd's answer is mostly the same for the host's own. Where it allows
// a fixed one only, it allows that of the unit that runs or of the Compose file.
func (d *transition) forwards(ctx context.Context, dial func(ctx context.Context, addr string) error) ([]string, error) {
	if d.idle() {
		return nil, nil
	}
	asked := map[string]Way{}
	if v := d.opts.Verify; v != nil {
		runs, err := d.runs(ctx)
		if err != nil {
			return nil, err
		}
		for name, way := range v.Dials(runs) {
			asked[fmt.Sprintf("what the check %q asks", name)] = way
		}
	}
	for _, step := range d.plan.Steps {
		svc := d.opts.Stack.Services[step.Service]
		if svc == nil || svc.Ext.Port == 0 || !step.Replaces() || d.facts.observed.Scheduled || !d.runsNow(step.Gateway) {
			continue
		}
		port := strconv.Itoa(svc.Ext.Port)
		asked[fmt.Sprintf("port %s of %s (x-shiksha.port)", port, svc.Name)] = Way{svc.Name, net.JoinHostPort("127.0.0.1", port)}
	}
	ctx, cancel := context.WithTimeout(ctx, dialing)
	defer cancel()
	var closed []string
	for _, what := range slices.Sorted(maps.Keys(asked)) {
		forbidden := func(addr string) bool { return host.ForbidsForwarding(dial(ctx, addr)) }
		if forbidden(asked[what].Addr) && !slices.ContainsFunc(d.own(asked[what]), func(addr string) bool { return !forbidden(addr) }) {
			closed = append(closed, what)
		}
	}
	return closed, nil
}

// own gives the addresses of a way's units that are known: of those that run, and those
// that the Compose file gives them.
func (d *transition) own(way Way) (addrs []string) {
	_, port, err := net.SplitHostPort(way.Addr)
	if err != nil || way.Service == "" {
		return nil
	}
	known := func(ip string) {
		if addr := net.JoinHostPort(ip, port); ip != "" && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	for _, u := range d.facts.observed.Units[way.Service] {
		for _, network := range slices.Sorted(maps.Keys(u.Addresses)) {
			if u.State == stack.Running && !u.OneOff {
				known(u.Addresses[network])
			}
		}
	}
	if p := d.opts.Stack.Project; p != nil {
		for key, network := range p.Services[way.Service].Networks {
			if network == nil {
				continue
			}
			known(network.Ipv4Address)
			if v4 := p.Networks[key].EnableIPv4; v4 != nil && !*v4 {
				known(network.Ipv6Address)
			}
		}
	}
	return addrs
}

// dialing bounds the looks at what sshd forwards to. Nobody has to listen there.
const dialing = 5 * time.Second

// runsNow tells whether a service has a running unit.
func (d *transition) runsNow(service string) bool {
	return slices.ContainsFunc(d.facts.observed.Units[service], func(u stack.Unit) bool { return u.State == stack.Running && !u.OneOff })
}

// inspect runs the caller's checks.
func (d *transition) inspect(ctx context.Context) error {
	if d.opts.Verify == nil {
		return nil
	}
	runs, err := d.runs(ctx)
	if err != nil {
		return err
	}
	d.result.Checks, err = d.opts.Verify.After(ctx, d.Target, Released{Stack: runs, Record: d.record, On: d.on,
		Ill: slices.Concat(d.result.Rollout.Ill, d.halfGone()), Gone: d.facts.givenUp()})
	return err
}

// ill names the services that were ill before the release, as the last verified one has them.
func (d *transition) ill() (names []string) {
	if d.plan == nil {
		return nil
	}
	for _, s := range d.plan.Steps {
		if s.Ill {
			names = append(names, s.Service)
		}
	}
	return names
}

// illOrStarting names also those that were only waited for and are as the release before has
// them: the one that failed made none of them what it is.
func (d *transition) illOrStarting(before *stack.Stack) []string {
	names := d.ill()
	if d.plan == nil {
		return names
	}
	for _, s := range d.plan.Steps {
		if was, is := before.Services[s.Service], d.opts.Stack.Services[s.Service]; s.Starting && was != nil && is != nil && was.Hash == is.Hash {
			names = append(names, s.Service)
		}
	}
	return names
}

// wasIll tells whether nothing of a service served before the release although all of it was
// as it is to be: also where a run that was cut off may have made it ill, so that it had to
// get well.
func (d *transition) wasIll(name string) bool {
	svc := d.opts.Stack.Services[name]
	if v := d.facts.verified; svc == nil || svc.Job || d.rest != nil || v == nil || v.Services[name].Hash != svc.Hash {
		return false
	}
	units := d.facts.observed.Of(name)
	return len(units) > 0 && !slices.ContainsFunc(units, func(u stack.Unit) bool {
		return u.Serving() || u.Hash != svc.UnitHash() || u.Health == stack.HealthStart
	})
}

// asIll tells whether a service that was ill before is again what it was: nothing of it is
// left of the release, and another try would end as it did.
func (d *transition) asIll(before *stack.Stack, seen stack.Observed, name string) bool {
	svc := before.Services[name]
	units := seen.Of(name)
	other := func(u stack.Unit) bool { return u.Hash != svc.UnitHash() || len(before.Elsewhere(name, u)) > 0 }
	if svc == nil || svc.Ext.Reload != nil || slices.Contains(d.writers, name) || !slices.Contains(d.ill(), name) {
		return false
	}
	// Where its try could not be undone as many do not run as before.
	ran := len(idsUp(d.facts.observed.Units[name]))
	return len(units) > 0 && !slices.ContainsFunc(units, other) && (ran == 0 || ran == len(idsUp(units)))
}

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
			r.Failed, r.Classes(), called(v.Version, v.Number), counts)
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
			lost, budget, called(d.opts.Version, d.result.Release))
	}
	return nil
}
