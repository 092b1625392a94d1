package converge

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/content"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// facts is everything that is known before anything changes.
type facts struct {
	stack    *stack.Stack
	observed stack.Observed
	images   map[string]engine.Image
	pins     target.Pins
	live     map[string][]string
	missing  []stack.File
	// networks and volumes exist with another definition.
	networks, volumes []string
	// newest is the ledger's last record, acted the last of a release that may have
	// changed something, verified its last verified one; nil when there is none.
	newest, acted, verified *release.Record
	// since are the releases after the last verified one that may have changed something.
	since []release.Record
	// restores are the releases that brought a database back, or may have.
	restores []release.Record
	// uncertain is set when what the last run left cannot be read: it is then looked
	// at as if it was interrupted.
	uncertain bool
	// standing is what runs where the newest record cannot be read; nil where that
	// is not known, or where the record says it.
	standing *standing
	// host is what it says of itself, away how long services were away before.
	host onhost.Facts
	away map[string]time.Duration
	// made are the hashes of what the releases which a rollback undoes made, by service;
	// created the services that a release created where nothing was, nil where that is not known.
	made    map[string][]string
	created map[string]bool
}

// gather looks at everything at once; none of it changes anything.
func (d *transition) gather(ctx context.Context) (*facts, error) {
	st, l := d.opts.Stack, d.ledger
	f := &facts{stack: st, live: map[string][]string{}}
	f.know(l)
	if err := d.stayBehind(ctx, f); err != nil {
		return nil, err
	}
	eg, looking := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		if f.observed, err = d.on.Observe(looking, st.Name); err != nil {
			return err
		}
		f.pins, err = d.Pins(looking, d.on, st, f.observed)
		return err
	})
	eg.Go(func() (err error) {
		f.images, err = d.opts.Images(looking, f.verified)
		return err
	})
	eg.Go(func() error {
		f.host = d.survey(looking)
		return nil
	})
	f.away, f.made = away(l.All(), st), d.made(ctx)
	eg.Go(func() error { return f.look(looking, d.Store(st.Name)) })
	err := eg.Wait()
	if err != nil {
		return nil, err
	}
	pinned := map[string]string{}
	for _, name := range st.Order {
		img := f.images[name]
		pinned[name] = img.Pinned
		d.tellImage(name, img)
	}
	if err := st.Pin(pinned); err != nil {
		return nil, fault.As(fault.Refused, err)
	}
	f.standing = d.stands(ctx, f)
	f.networks, f.volumes, err = d.on.Compare(ctx, st, f.observed)
	return f, err
}

// know reads what the ledger says of the runs before.
func (f *facts) know(l *release.Ledger) {
	f.newest, f.acted, f.verified = optional(l.Latest()), optional(l.LatestChange()), optional(l.LatestVerified())
	f.uncertain, f.created = l.Uncertain(), created(l)
	for _, r := range l.All() {
		if (f.verified == nil || r.Number > f.verified.Number) && !r.ChangedNothing() {
			f.since = append(f.since, r)
		}
		if r.BroughtBack() {
			f.restores = append(f.restores, r)
		}
	}
}

// standing is a release whose record cannot be read and whose sealed stack is, by
// the labels of all that runs, what runs.
type standing struct {
	number int
	sealed []byte
}

// stands finds out whether a release after the last verified one is what runs
// although its record is damaged.
func (d *transition) stands(ctx context.Context, f *facts) *standing {
	for _, damage := range slices.Backward(d.ledger.Damage()) {
		for n := max(damage.Number, damage.Through); n >= damage.Number && n > 0; n-- {
			if f.verified != nil && n < f.verified.Number {
				return nil
			}
			sealed, err := d.ledger.ReadSealed(ctx, n)
			if err == nil && d.isRunning(ctx, sealed, f.observed) {
				return &standing{n, sealed}
			}
		}
	}
	return nil
}

// isRunning tells whether a sealed stack is what runs. It has a checksum of its own, and
// each unit the hash of what it was made of: where they agree in every service
// nothing is guessed.
func (d *transition) isRunning(ctx context.Context, sealed []byte, seen stack.Observed) bool {
	st, err := stack.Unseal(sealed)
	if err != nil {
		return false
	}
	// What is found for this stack is nothing that another one has to have.
	seen.Networks, seen.Volumes = maps.Clone(seen.Networks), maps.Clone(seen.Volumes)
	if _, _, err := d.on.Compare(ctx, st, seen); err != nil {
		return false
	}
	for name, svc := range st.Services {
		serving := 0
		for _, u := range seen.Units[name] {
			switch {
			case u.OneOff || !u.Serving():
			case u.Hash != svc.UnitHash() || len(st.Elsewhere(name, u)) > 0:
				return false
			default:
				serving++
			}
		}
		if serving != svc.Replicas && !svc.Job { // one that has ended serves nobody
			return false
		}
	}
	return true
}

// optional makes a pointer of a record that may not be there.
func optional(r release.Record, ok bool) *release.Record {
	if !ok {
		return nil
	}
	return &r
}

// look finds the files that the host lacks and the live files that differ there.
func (f *facts) look(ctx context.Context, store *content.Store) error {
	var all []stack.File
	for _, name := range f.stack.Order {
		svc := f.stack.Services[name]
		all = append(all, svc.Files...)
		if svc.Ext.Reload == nil {
			continue
		}
		changed, err := store.Changed(ctx, svc)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			f.live[name] = changed
		}
	}
	var err error
	f.missing, err = store.Missing(ctx, all)
	return err
}

// input is what planning looks at.
func (f *facts) input(o Options, key []byte) plan.Input {
	in := plan.Input{
		Desired: f.stack, Observed: f.observed, Serving: f.pins.Serving, Stale: f.pins.Stale,
		Environment: f.stack.EnvironmentHashes(key), Live: f.live, Back: o.Back != nil,
		DivergedNetworks: f.networks, DivergedVolumes: f.volumes,
		Only: o.Services, Replace: o.Strategy == Replace, RemoveOrphans: o.RemoveOrphans, Made: f.madeByUndone(),
		FreeMemory: f.host.FreeMemory, Adopt: o.Adopt || o.Back != nil, Away: f.away, Settled: f.settled(), Whole: f.whole(),
	}
	if f.observed.Scheduled {
		in.FreeMemory = 0 // each node has its own, and the scheduler knows it
	}
	in.Interrupted, in.TakenOver = f.cutOff(), over(f.observed, in.Made, f.created)
	in.SchemaBack, in.Lost, in.Gone = f.swapped(), f.workLost(), f.givenUp()
	if f.verified != nil {
		in.Past = past(f.verified)
	}
	return in
}

// cutOff tells whether a run that may have changed something did not end, and none that did
// went back after it: one that got stuck may not have come to what the other left.
func (f *facts) cutOff() bool {
	cut := func(r release.Record) bool { return r.Outcome == release.Started || r.Outcome == release.Interrupted }
	return f.uncertain || slices.ContainsFunc(unended(f.since), cut)
}

// settled tells whether nothing changed the stack since the last verified release.
func (f *facts) settled() bool {
	return !f.uncertain && f.acted != nil && f.acted.Outcome == release.Verified
}

// whole tells whether the stack is what the last verified release made it, well or not: no
// other changed it since, or one that failed and went back, of which nothing is left.
func (f *facts) whole() bool {
	if f.settled() {
		return true
	}
	if f.uncertain || f.verified == nil || f.acted == nil || f.acted.Outcome != release.Failed {
		return false
	}
	once, sharing := f.verified.Jobs(), f.verified.Sharing()
	for name, units := range f.observed.Units {
		if sharing[name] {
			continue // its hash is of a container that may be gone; what it shares with tells
		}
		names := func(r release.Record) bool { return r.Names(name) }
		if !names(*f.verified) && !slices.ContainsFunc(f.since, names) {
			continue // somebody started it beside the releases
		}
		others := func(u stack.Unit) bool {
			ended := once[name] && !u.Up() // no way back runs a job again
			return !u.OneOff && !ended && u.Hash != f.verified.Services[name].Hash
		}
		if slices.ContainsFunc(units, others) {
			return false
		}
	}
	return true
}

// lastMade tells whether a run since the last verified release made a unit: all of them may
// have ended before the first migration of that, or in it.
func (f *facts) lastMade(u stack.Unit) bool {
	made := func(r release.Record) bool { return r.Services[u.Service].Hash == u.Hash && u.Created.After(r.Started) }
	return slices.ContainsFunc(f.since, made)
}

// workLost gives the units of jobs that were made between a backup and the way back to it: what
// they wrote to its database went with that, or may have.
func (f *facts) workLost() (ids []string) {
	for _, name := range f.stack.Order {
		for _, u := range f.observed.Units[name] {
			went := func(r release.Record) bool {
				taken, known := backup.TakenAt(r.RestoresDatabase)
				return known && !u.Created.Before(taken) && u.Created.Before(r.Started) && f.writes(name, r.RestoresDatabase)
			}
			if f.stack.Services[name].Job && slices.ContainsFunc(f.restores, went) {
				ids = append(ids, u.ID)
			}
		}
	}
	return ids
}

// past is what a record knows of its services, for the reasons of a plan.
func past(r *release.Record) map[string]plan.Past {
	out, jobs, sharing := map[string]plan.Past{}, r.Jobs(), r.Sharing()
	for name, s := range r.Services {
		out[name] = plan.Past{Image: s.Image, Pinned: s.Pinned, Hash: s.Hash, Replicas: s.Replicas, Environment: s.Environment, Files: s.Files,
			Job: jobs[name], Sharing: sharing[name]}
	}
	return out
}

// taken is what a failed first release has done to units that ran before it. No ledger
// says how those were made, so none that is gone can come back.
type taken struct {
	// touched are the services that the way back takes away: nothing ran of them.
	touched []string
	// replaced is set when a unit is gone, or one that ran does not any more; what is new
	// stays then, since the units in its place may need any of it. dark are services that
	// ran and of which nothing runs any more, ports those of the host that no unit holds any more.
	replaced    bool
	dark, ports []string
}

// takenOver looks at what is left of the units that another tool had made, or a release
// that is in no ledger any more.
func (d *transition) takenOver(ctx context.Context, touched []string) (taken, error) {
	ran := slices.ContainsFunc(slices.Collect(maps.Values(d.facts.observed.Units)), func(units []stack.Unit) bool { return len(idsUp(units)) > 0 })
	if !d.first() || !ran {
		return taken{touched: touched}, nil
	}
	seen, err := d.on.Observe(ctx, d.opts.Stack.Name)
	if err != nil {
		return taken{}, err
	}
	t := taken{ports: d.letGo(touched, seen)}
	for _, name := range touched {
		was, is := d.facts.observed.Units[name], seen.Units[name]
		if len(idsUp(was)) == 0 {
			t.touched = append(t.touched, name)
			continue
		}
		// What crashed again and again serves nobody: it is lost only where it is gone.
		served := idsOf(was, func(u stack.Unit) bool { return u.Up() && u.State != stack.Restarting })
		t.replaced = t.replaced || slices.ContainsFunc(idsUp(was), func(id string) bool {
			i := slices.IndexFunc(is, func(u stack.Unit) bool { return u.ID == id })
			return i < 0 || slices.Contains(served, id) && !slices.Contains(idsUp(is), id)
		})
		if svc := d.opts.Stack.Services[name]; svc != nil && len(served) > 0 && len(idsUp(is)) == 0 && svc.Replicas > 0 && !svc.Job {
			t.dark = append(t.dark, name)
		}
	}
	if !t.replaced {
		d.result.Serving = "what ran before"
	}
	return t, nil
}

// idsUp gives the units that are up.
func idsUp(units []stack.Unit) []string { return idsOf(units, stack.Unit.Up) }

// idsOf gives the units that are so, but for commands in them.
func idsOf(units []stack.Unit, so func(stack.Unit) bool) (ids []string) {
	for _, u := range units {
		if !u.OneOff && so(u) {
			ids = append(ids, u.ID)
		}
	}
	return ids
}

// isOther tells whether a service is not as the release before has it, by its units or by its
// live files, where runs before this one were to change these.
func (d *transition) isOther(ctx context.Context, before *stack.Stack, svc *stack.Service, units []stack.Unit) (bool, error) {
	if svc.Job {
		return false, nil // no way back runs it again, nor ends one that is at work
	}
	e, runs := d.earlier, meant(d.earlier.since, svc.Name)
	other := func(u stack.Unit) bool { return u.Hash != svc.UnitHash() || len(before.Elsewhere(svc.Name, u)) > 0 }
	if slices.ContainsFunc(units, other) {
		return true, nil
	}
	scaled := func(r release.Record) bool { return r.Services[svc.Name].Replicas != svc.Replicas }
	// What does not run may be what a run stopped that did not end; not what did not run before it.
	stopped := func(r release.Record) bool {
		return plan.Action(r.Services[svc.Name].Action) != plan.Create || r.Services[svc.Name].Hash != svc.Hash || scaled(r)
	}
	counts := e.uncertain || slices.ContainsFunc(meant(unended(e.since), svc.Name), stopped) || slices.ContainsFunc(runs, scaled)
	if counts && !svc.Global && len(idsUp(units)) != svc.Replicas {
		return true, nil
	}
	filed := func(r release.Record) bool { return !maps.Equal(r.Services[svc.Name].Files, sums(svc)) }
	if svc.Ext.Reload == nil || !e.uncertain && !slices.ContainsFunc(runs, filed) {
		return false, nil
	}
	changed, err := d.Store(d.opts.Stack.Name).Changed(ctx, svc)
	return len(changed) > 0, err
}

// told gives the units of a service that a run which did not end may have told to take no
// more work. Those that were made since were not.
func (d *transition) told(svc *stack.Service, units []stack.Unit) (ids []string) {
	drains := func(r release.Record) bool {
		action := plan.Action(r.Services[svc.Name].Action)
		return (action.StopsFirst() || action == plan.Surge || action == plan.Scale) && r.MayHave("drain", svc.Name)
	}
	if svc.Ext.Idle == nil || !d.earlier.uncertain && !slices.ContainsFunc(unended(d.earlier.since), drains) {
		return nil
	}
	for _, u := range units {
		there := func(was stack.Unit) bool { return was.ID == u.ID }
		if u.Serving() && u.Hash == svc.UnitHash() && slices.ContainsFunc(d.facts.observed.Units[svc.Name], there) {
			ids = append(ids, u.ID)
		}
	}
	return ids
}
