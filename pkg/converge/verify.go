package converge

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/host"
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
	d.result.Checks, err = d.opts.Verify.After(ctx, d.Target, Released{Stack: runs, Record: d.record, On: d.on, Ill: slices.Concat(d.result.Rollout.Ill, d.halfGone())})
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
	units := slices.DeleteFunc(slices.Clone(d.facts.observed.Units[name]), func(u stack.Unit) bool { return u.OneOff })
	return len(units) > 0 && !slices.ContainsFunc(units, func(u stack.Unit) bool {
		return u.Serving() || u.Hash != svc.UnitHash() || u.Health == stack.HealthStart
	})
}

// asIll tells whether a service that was ill before is again what it was: nothing of it is
// left of the release, and another try would end as it did.
func (d *transition) asIll(before *stack.Stack, seen stack.Observed, name string) bool {
	svc := before.Services[name]
	units := slices.DeleteFunc(slices.Clone(seen.Units[name]), func(u stack.Unit) bool { return u.OneOff })
	other := func(u stack.Unit) bool { return u.Hash != svc.UnitHash() || len(before.Elsewhere(name, u)) > 0 }
	if svc == nil || svc.Ext.Reload != nil || slices.Contains(d.writers, name) || !slices.Contains(d.ill(), name) {
		return false
	}
	// Where its try could not be undone as many do not run as before.
	ran := len(running(d.facts.observed.Units[name]))
	return len(units) > 0 && !slices.ContainsFunc(units, other) && (ran == 0 || ran == len(running(units)))
}

// stillIll says of a release that went back who was ill before it, and how to release the
// rest where that is why it failed.
func (d *transition) stillIll() string {
	ill, failed := d.ill(), d.result.Rollout.Failed
	if d.wasIll(failed) && !slices.Contains(ill, failed) {
		ill = append(ill, failed)
	}
	text := ""
	starting := slices.Compact(slices.Sorted(slices.Values(d.inVain)))
	if starting = slices.DeleteFunc(starting, func(name string) bool { return slices.Contains(ill, name) }); len(starting) > 0 {
		text = fmt.Sprintf("; %s was starting before, and does not get well", strings.Join(starting, ", "))
	}
	if len(ill) == 0 {
		return text
	}
	text += fmt.Sprintf("; %s was ill before", strings.Join(ill, ", "))
	others := slices.DeleteFunc(d.plan.Changed(), func(name string) bool {
		return slices.Contains(ill, name) || d.opts.Stack.Services[name] == nil
	})
	if slices.Contains(ill, failed) && len(others) > 0 && d.opts.Back == nil {
		text += ": what else changes is released by itself with shiksha deploy --services " + strings.Join(others, ",")
	}
	return text
}
