package converge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// survey asks the host about itself: what it has free, its clock, who listens. A
// host that does not tell is no reason to stop.
func (d *transition) survey(ctx context.Context) onhost.Facts {
	asked := time.Now()
	out, err := d.Host.Run(ctx, []string{"sh", "-c", onhost.Probe}, nil)
	if err != nil {
		d.Say(event.Debug, "preflight", "", "the host does not say what it has: %v", err)
	}
	return onhost.ReadProbe(string(out.Stdout), asked)
}

// lacking is a platform that is given what others have made.
type lacking interface {
	Lacks(ctx context.Context, st *stack.Stack) (map[string][]string, error)
}

// look over the host, under the lock: what the plan will meet there.
func (d *transition) preflight(ctx context.Context) error {
	h := d.facts.host
	info, err := d.Engine.Info(ctx)
	if err != nil {
		return err
	}
	h.Version, h.GPURuntime, h.Damaged = info.Version, info.GPU, d.facts.uncertain || len(d.ledger.Damage()) > 0
	h.RootDir, h.Resolved = info.RootDir, len(d.facts.images)
	if err := d.weigh(ctx, info, &h); err != nil {
		return err
	}
	if err := d.databases(ctx, &h); err != nil {
		return err
	}
	if h.Unforwarded, err = d.forwards(ctx, d.Reachable); err != nil {
		return err
	}
	if h.Missing, err = d.imagesGone(ctx); err != nil {
		return err
	}
	if d.noWayBack, err = d.unopened(ctx); err != nil {
		return err
	}
	h.Lost = d.noWayBack
	if on, ok := d.on.(lacking); ok {
		if h.Lacks, err = on.Lacks(ctx, d.opts.Stack); err != nil {
			return err
		}
	}
	found := onhost.Look(d.opts.Stack, d.plan, d.facts.observed, h)
	d.found(found)
	for _, r := range found {
		switch {
		case r.Outcome == check.Warn, r.Outcome == check.Fail && d.opts.Lenient:
			d.plan.Notes = append(d.plan.Notes, r.Name+": "+r.Found+"; mend: "+r.Hint)
		case r.Outcome == check.Fail:
			d.plan.Refusals = append(d.plan.Refusals, r.Name+": "+r.Found+"; mend: "+r.Hint)
		}
	}
	return nil
}

// planned is the plan as people read it: where a database is brought back, with who is stopped
// for that. What is left to do then is planned anew once it was.
func (d *transition) planned() *plan.Plan {
	if !d.restores() {
		return d.plan
	}
	b := d.opts.Back
	idle := func(name string) bool { return len(idsUp(d.facts.observed.Units[name])) == 0 }
	stopped := slices.DeleteFunc(slices.Clone(b.Writers), idle)
	return d.plan.Restoring(plan.Restore{Service: b.Service, Backup: b.Backup}, stopped, d.opts.Stack)
}

// found adds to what the preflight says.
func (d *transition) found(results []check.Result) {
	if d.result.Preflight == nil {
		d.result.Preflight = &check.Report{Schema: check.Schema}
	}
	d.result.Preflight.Results = append(d.result.Preflight.Results, results...)
}

// imagesGone names the services whose image of the last verified release the host has no
// more.
func (d *transition) imagesGone(ctx context.Context) ([]string, error) {
	if d.facts.verified == nil || !d.on.HoldsImages() {
		return nil, nil
	}
	var missing []string
	present := map[string]bool{}
	for name, s := range d.facts.verified.Services {
		there, asked := present[s.Pinned]
		if !asked && s.Pinned != "" {
			var err error
			if there, err = d.Engine.ImagePresent(ctx, s.Pinned); err != nil {
				return nil, err
			}
			present[s.Pinned] = there
		}
		if !there && s.Pinned != "" {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// unopened opens the release that this one would go back to, and says why it cannot: a
// release that failed would be the first to ask. "" is for one that can be, or none.
func (d *transition) unopened(ctx context.Context) (string, error) {
	if d.first() {
		return "", nil
	}
	before, err := d.before(ctx)
	switch {
	case err == nil:
		d.judges = judges(before)
		return "", nil
	case unreached(ctx, err):
		return "", err // which says nothing of the release
	}
	return fmt.Sprintf("%s cannot be brought back: %v", d.beforeTitle(), err), nil
}

// unreached tells whether an error is that the host was not asked to the end.
func unreached(ctx context.Context, err error) bool {
	return ctx.Err() != nil || engine.NotReached(err) || host.IsConnectionLost(err)
}

// judges tells whether the code of a release can be asked which schema it can read.
func judges(st *stack.Stack) bool {
	for _, svc := range st.Services {
		if svc.Ext.Migrate != nil && len(svc.Ext.Migrate.Compatible) > 0 {
			return true
		}
	}
	return false
}

// olderTime bounds how long the code that serves is asked: users may wait for the new one.
const olderTime = 30 * time.Second

// askOlder asks the code that serves whether it can read what the database was migrated to: until
// the new one serves users get what it makes of that, and so they do after a way back. It is told
// and decides nothing: the database stays migrated whatever the release does.
func (d *transition) askOlder(ctx context.Context) {
	if !d.judges || d.earlier.any() {
		return // of what an earlier run left nobody knows who serves
	}
	before, err := d.before(ctx)
	if err != nil {
		return // the preflight has read it; who goes back hears why it cannot be read now
	}
	for _, m := range d.record.Migrations {
		svc := before.Services[m.Service]
		if m.Nothing() || svc == nil || svc.Ext.Migrate == nil || len(svc.Ext.Migrate.Compatible) == 0 || ctx.Err() != nil {
			continue
		}
		asked, cancel := context.WithTimeout(ctx, olderTime)
		ended, err := d.Engine.RunService(asked, before, m.Service, stack.Task{Name: "compatible", Command: svc.Ext.Migrate.Compatible})
		cancel()
		switch {
		case err != nil:
			d.Say(event.Info, "migrate", m.Service, "%s cannot be asked whether it can read the migrated database: %v", d.beforeTitle(), err)
		case ended.Exit >= 125: // by convention of the engine, a shell or a signal
			d.Say(event.Info, "migrate", m.Service, "%s cannot be asked whether it can read the migrated database: exit code %d", d.beforeTitle(), ended.Exit)
		case ended.Exit != 0:
			said, _ := at(strings.TrimSpace(before.Hide(ended.Output)))
			d.blind = strings.TrimSuffix(fmt.Sprintf("%s says of itself that it cannot read it (exit code %d): %s", d.beforeTitle(), ended.Exit, said), ": ")
			d.Say(event.Warning, "migrate", m.Service, "the database is migrated, and %s; its users may get errors until what is new serves, and where the release goes back", d.blind)
		}
	}
}

// leftBehind refuses a release that gives a service another gateway while a former one runs
// and sends requests to it: nobody leads that one to the new units, in this release or in a
// later one, since no file says any more that it balances them.
func (d *transition) leftBehind(ctx context.Context) error {
	formers, err := d.formers(ctx)
	if err != nil {
		return err
	}
	for _, name := range d.opts.Stack.Order {
		svc := d.opts.Stack.Services[name]
		if svc.Ext.Gateway == "" || svc.Virtual || d.plan.Step(name) == nil {
			continue
		}
		for _, former := range formers[name] {
			if former == svc.Ext.Gateway {
				continue
			}
			var units []string
			for _, u := range d.facts.observed.Units[former] {
				if u.OneOff || u.State != stack.Running {
					continue
				}
				f, err := d.Nginx(d.on, u).Sends(ctx, svc.Name, d.names(svc)...)
				if err != nil {
					return fmt.Errorf("read the configuration of %s: %w", u.Name, err)
				}
				if loses(f) {
					units = append(units, u.Name)
				}
			}
			if len(units) > 0 {
				d.plan.Refusals = append(d.plan.Refusals, d.handOver(svc, former, units))
			}
		}
	}
	return nil
}

// formers are the gateways that each service had in what may run: the release that serves,
// and those after it that may have left something. Where one cannot be read, nothing is known of it.
func (d *transition) formers(ctx context.Context) (map[string][]string, error) {
	var stacks []*stack.Stack
	runs := slices.Clone(d.earlier.since)
	if s := d.facts.standing; s != nil {
		if st, err := stack.Open(s.sealed); err == nil {
			stacks = append(stacks, st)
		}
	} else if v := d.facts.verified; v != nil {
		runs = append(runs, *v)
	}
	for _, r := range runs {
		st, err := d.ledger.Stack(ctx, r.Number)
		switch {
		case err == nil:
			stacks = append(stacks, st)
		case unreached(ctx, err):
			return nil, err
		}
	}
	out := map[string][]string{}
	for _, st := range stacks {
		for name, svc := range st.Services {
			if g := svc.Ext.Gateway; g != "" && !slices.Contains(out[name], g) {
				out[name] = append(out[name], g)
			}
		}
	}
	return out, nil
}

// comeBy gives services of a release that comes back the gateway that users come by: that of
// the release which failed, since a former one was let go of before it. One that the way back
// takes away, or that cannot reach them, leads nobody.
func comeBy(before, now *stack.Stack) {
	for name, svc := range before.Services {
		other := now.Services[name]
		if other == nil || before.Services[other.Ext.Gateway] == nil {
			continue
		}
		reached := before.Services[other.Ext.Gateway].Networks
		if slices.ContainsFunc(svc.Networks, func(key string) bool { return slices.Contains(reached, key) }) {
			svc.Ext.Gateway = other.Ext.Gateway
		}
	}
}

// stayBehind leaves services behind the gateways that lead them where a rollback is to a stack
// that says the former ones: it was sealed while these became others, or its services were not
// released meanwhile. That a run after the verified one did not end is no matter: it began once
// the former was let go of. Both gateways have to stay as they are; else users may come by either.
func (d *transition) stayBehind(ctx context.Context, f *facts) error {
	if d.opts.Back == nil || f.verified == nil || f.uncertain {
		return nil
	}
	for _, r := range slices.Concat([]release.Record{*f.verified}, f.since) {
		now, err := d.ledger.Stack(ctx, r.Number)
		switch {
		case err == nil:
			comeBy(d.opts.Stack, ledNow(d.opts.Stack, now))
		case unreached(ctx, err):
			return err
		} // of one that cannot be read nothing is known
	}
	return nil
}

// ledNow is what runs, as far as a stack that comes back leaves the gateways of it as they are:
// those that lead services, and those that it says itself.
func ledNow(to, now *stack.Stack) *stack.Stack {
	stays := func(name string) bool {
		a, b := to.Services[name], now.Services[name]
		same := func(a, b stack.File) bool { return a.Target == b.Target && a.Sum == b.Sum }
		return a != nil && b != nil && a.Hash == b.Hash && slices.EqualFunc(a.Files, b.Files, same)
	}
	led := &stack.Stack{Services: map[string]*stack.Service{}}
	for name, svc := range now.Services {
		was := to.Services[name]
		if was == nil || was.Ext.Gateway == "" || !stays(svc.Ext.Gateway) {
			continue
		}
		if to.Services[was.Ext.Gateway] == nil || stays(was.Ext.Gateway) {
			led.Services[name] = svc
		}
	}
	return led
}

// loses tells whether a gateway that nobody leads stays on addresses of a service that are
// gone. One that asks DNS each time does not; what could not be looked into may.
func loses(f gateway.Finding) bool {
	resolved := func(u gateway.Use) bool { return u.Kind != gateway.Resolve && u.Kind != gateway.Variable }
	none := f.Kind == gateway.NotReferenced || f.Kind == gateway.NotNginx
	return !none && (len(f.Uses) == 0 || slices.ContainsFunc(f.Uses, resolved))
}

// handOver words that a service may not change its gateway yet, and how it can.
func (d *transition) handOver(svc *stack.Service, former string, units []string) string {
	next, stop := svc.Ext.Gateway, d.opts.Stack.StopIt(d.facts.observed, former, units...)
	alone := func(name string) string {
		return fmt.Sprintf("release %s alone (input services: %[1]s, or --services %[1]s)", name)
	}
	mend := fmt.Sprintf("%s, have it load what runs (docker exec NAME nginx -s reload) and lead users there, then take %s out of what %s sends requests to and %s, or stop it (%s), then release the rest",
		alone(next), svc.Name, former, alone(former), stop)
	switch {
	case d.opts.Back != nil:
		mend = "deploy the version to go back to with x-shiksha.gateway: " + former
		if to := d.opts.Stack.Services; to[next] != nil && to[former] == nil { // else it would be started again, or be the only one
			mend += fmt.Sprintf(", or stop %s first (%s), which nobody comes by any more then", former, stop)
		}
	case d.opts.Stack.Services[former] == nil:
		mend = fmt.Sprintf("keep its name, or stop it (%s), %s, then the rest: users wait from the stop until %s runs; on other ports it can be released before that",
			stop, alone(next), next)
	}
	return fmt.Sprintf("gateway %s, where %s was until now, runs and sends requests to it; with gateway %s nobody would lead it to the new units: %s",
		former, svc.Name, next, mend)
}

// writes tells whether a service may write to the database that a backup is of. One that depends
// only on others that are backed up does not; one that says nothing may, and where the backup is
// of nothing in the stack nobody knows.
func (f *facts) writes(name, id string) bool {
	database, ahead := backup.ServiceOf(id), plan.Ahead(f.stack, name)
	other := func(name string) bool { return f.stack.Services[name].Ext.Backups != nil }
	return f.stack.Services[database] == nil || slices.Contains(ahead, database) || !slices.ContainsFunc(ahead, other)
}

// away is how long each service will be away when it is replaced, by the record of
// when it last was: from the stop of its old unit until the new one was well; of one
// that never was, how long its first start took. Services of several units are not in
// it, since some always run.
func away(records []release.Record, st *stack.Stack) map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, r := range slices.Backward(records) {
		for name, svc := range st.Services {
			past := r.Services[name]
			if _, known := out[name]; known || r.Outcome != release.Verified || !startedAlone(past) {
				continue
			}
			var sum time.Duration
			for _, s := range r.Steps {
				if s.Service != name {
					continue
				}
				switch took := s.Ended.Sub(s.Started); s.Name {
				case "stop", "start":
					sum += took
				case "gate":
					// The gate goes on watching a unit that answers already.
					sum += max(0, took-svc.Update.Monitor)
				}
			}
			if sum > 0 {
				out[name] = sum
			}
		}
	}
	return out
}

// startedAlone tells whether a record has a start of a service's only unit.
func startedAlone(s release.ServiceRecord) bool {
	return s.Replicas == 1 && (s.Action == string(plan.StopFirst) || s.Action == string(plan.Create))
}
