package converge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// earlier is what runs before a release may have left otherwise than the last verified one
// had it: since are those runs; uncertain is set where the record of one cannot be read.
type earlier struct {
	since     []release.Record
	uncertain bool
}

// leaves finds what runs before may have left: nothing where what runs is known to be of one
// release.
func (f *facts) leaves() earlier {
	if f.standing != nil || f.whole() {
		return earlier{}
	}
	return earlier{f.since, f.uncertain}
}

// unended are those of some runs that did not end well, after the last of them that failed
// and went back.
func unended(runs []release.Record) []release.Record {
	last := 0
	for i, r := range runs {
		if r.Outcome.Clean() {
			last = i + 1
		}
	}
	return runs[last:]
}

// othersSecrets are those of the releases whose units may run, which a rollback has from
// nobody else. One that cannot be read is told where that matters.
func (d *transition) othersSecrets(ctx context.Context) (secrets []string) {
	add := func(st *stack.Stack, err error) {
		if err == nil {
			secrets = append(secrets, st.Secrets()...)
		}
	}
	if s := d.facts.standing; s != nil {
		add(stack.Open(s.sealed))
	}
	runs := slices.Clone(unended(d.facts.since))
	if v := d.facts.verified; v != nil {
		runs = append(runs, *v)
	}
	for _, r := range runs {
		add(d.ledger.Stack(ctx, r.Number))
	}
	return secrets
}

// any tells whether there is such a run.
func (e earlier) any() bool { return e.uncertain || len(e.since) > 0 }

// unfinished tells whether the last of them did not end.
func (e earlier) unfinished() bool { return e.uncertain || len(unended(e.since)) > 0 }

// by names the last of them.
func (e earlier) by() string {
	if e.uncertain {
		return "a release whose record cannot be read"
	}
	return fmt.Sprintf("release %d", e.since[len(e.since)-1].Number)
}

// meant gives those of some runs that were to change a service.
func meant(runs []release.Record, name string) []release.Record {
	return slices.DeleteFunc(slices.Clone(runs), func(r release.Record) bool { return r.Services[name].Stays() })
}

// heals tells whether a way back is of more than this release has touched.
func (d *transition) heals() bool { return d.earlier.any() && !d.first() }

// toTakeBack names the services that a way back is of: what the release touched, but for what
// was ill and is so again, and what runs before it left. told are units that may have been told
// to take no more work. What writes to a database that was brought back is for takeBack to say.
func (d *transition) toTakeBack(ctx context.Context, before *stack.Stack, seen stack.Observed, touched []string) (names, told []string, err error) {
	names = slices.DeleteFunc(slices.Clone(touched), func(name string) bool { return d.asIll(before, seen, name) })
	if !d.heals() {
		return names, nil, nil
	}
	left, told, err := d.leftOver(ctx, before, seen)
	left = slices.DeleteFunc(left, func(name string) bool { return slices.Contains(touched, name) || slices.Contains(d.writers, name) })
	return slices.Concat(names, left), told, err
}

// takenAway names what left the stack and does not run: a run that was cut off may have
// taken it away before what has its volume now came up, and this one did not touch it.
func (d *transition) takenAway(before *stack.Stack, seen stack.Observed) (names []string) {
	for _, name := range before.Order {
		if d.facts.cutOff() && d.opts.Stack.Services[name] == nil && len(seen.Units[name]) == 0 {
			names = append(names, name)
		}
	}
	return names
}

// leftOver names the services that runs before this one left otherwise than the release
// before has them, and gives the units that they may have told to take no more work. What
// they were not to change is left alone, as is what only is ill, as that release made it.
func (d *transition) leftOver(ctx context.Context, before *stack.Stack, seen stack.Observed) (names, told []string, err error) {
	every := slices.AppendSeq(slices.Collect(maps.Keys(before.Services)), maps.Keys(seen.Units))
	slices.Sort(every)
	for _, name := range slices.Compact(every) {
		runs, svc := meant(d.earlier.since, name), before.Services[name]
		if len(runs) == 0 && !d.earlier.uncertain {
			continue
		}
		units := seen.Of(name)
		var other bool
		var quiet []string
		if svc == nil {
			other = slices.ContainsFunc(units, func(u stack.Unit) bool { return u.Hash != "" && madeBy(runs, name, u) })
		} else if svc, err = beside(before, svc, seen); err != nil {
			return nil, nil, err
		} else if other, err = d.isOther(ctx, before, svc, units); err != nil {
			return nil, nil, err
		} else {
			quiet = d.told(svc, units)
		}
		if other || len(quiet) > 0 {
			names, told = append(names, name), append(told, quiet...)
		}
	}
	return names, told, nil
}

// beside gives a service with the hash of its units beside what was seen, where they share.
func beside(st *stack.Stack, svc *stack.Service, seen stack.Observed) (*stack.Service, error) {
	if len(svc.Shares) == 0 {
		return svc, nil
	}
	made, err := st.ResolvedHash(svc.Name, seen)
	is := *svc
	is.Made = made
	return &is, err
}

// madeBy tells whether one of some runs made a unit of a service: by its hash, or where no
// record knows that since it shares with another, as the run created it where nothing was.
func madeBy(runs []release.Record, name string, u stack.Unit) bool {
	return slices.ContainsFunc(runs, func(r release.Record) bool {
		s := r.Services[name]
		return s.Hash == u.Hash || s.Action == string(plan.Create) && u.Created.After(r.Started) && r.Sharing()[name]
	})
}

// hides refuses a release of some services only where a run before it left others otherwise
// than they were, or may have: this one would be verified, and nobody looked at those again.
func (d *transition) hides(ctx context.Context) error {
	if len(d.opts.Services) == 0 || d.idle() || !d.earlier.any() {
		return nil
	}
	before, err := d.before(ctx)
	if err != nil {
		return nil // that the release before cannot be read is said already
	}
	names, _, err := d.leftOver(ctx, before, d.facts.observed)
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(d.opts.Services, name) })
	if len(names) == 0 {
		return err
	}
	d.judges = judges(before)
	// A rollback that names none goes further back where what it looks at runs as it was.
	mend := "release all services, or name those too" + d.home(", or first ")
	d.plan.Refusals = append(d.plan.Refusals, fmt.Sprintf("%s did not end well and may have left %s otherwise than before; a release of %s alone would hide that: %s",
		d.earlier.by(), strings.Join(names, ", "), strings.Join(d.opts.Services, ", "), mend))
	return nil
}

// underWay says in a plan that a release is at work: a dry run waits for nobody, and plans
// as if that one had been cut off where it is now.
func (d *transition) underWay(ctx context.Context, look func(ctx context.Context, project string) release.Sight) {
	n := d.facts.newest
	if !d.opts.DryRun || n == nil || n.Outcome != release.Started {
		return
	}
	if seen := look(ctx, d.opts.Stack.Name); seen.Of(*n) == release.UnderWay {
		d.plan.Notes = append(d.plan.Notes, n.Told(seen)+": this plan takes it for interrupted, so plan again when it has ended")
	}
}

// anyHash stands for the units of a service that was created and shares with another: no
// record knows their hash.
const anyHash = "*"

// made gives the hashes of what the releases after the one to go back to may have made, by
// service. Of a record that cannot be read its sealed stack says it.
func (d *transition) made(ctx context.Context) map[string][]string {
	if d.opts.Back == nil {
		return nil
	}
	made := map[string][]string{}
	for _, r := range d.ledger.All() {
		sharing := r.Sharing()
		for name, s := range r.Services {
			switch {
			case r.Number <= d.opts.Back.Restores || !r.Made(name):
			case sharing[name] && s.Action == string(plan.Create):
				made[name] = append(made[name], anyHash)
			default:
				made[name] = append(made[name], s.Hash)
			}
		}
	}
	for _, damage := range d.ledger.Damage() {
		for n := max(damage.Number, d.opts.Back.Restores+1); n <= max(damage.Number, damage.Through); n++ {
			st, err := d.ledger.Stack(ctx, n)
			if err != nil {
				continue // what nobody can say stays
			}
			for name, svc := range st.Services {
				made[name] = append(made[name], svc.Hash)
			}
		}
	}
	return made
}

// madeByUndone gives the units that the releases which a rollback undoes made. The service's name
// does not tell: one of that name may have been started by hand before.
func (f *facts) madeByUndone() (ids []string) {
	for name, units := range f.observed.Units {
		for _, u := range units {
			if slices.Contains(f.made[name], u.Hash) || slices.Contains(f.made[name], anyHash) {
				ids = append(ids, u.ID)
			}
		}
	}
	return ids
}

// mayTakeAway gives the units that a way back may take away: what this release made, or one before
// it that did not end well.
func (d *transition) mayTakeAway(seen stack.Observed) (ids []string) {
	for name, units := range seen.Units {
		svc := d.opts.Stack.Services[name]
		for _, u := range units {
			was := slices.ContainsFunc(d.facts.observed.Units[name], func(was stack.Unit) bool { return was.ID == u.ID })
			if !was || svc != nil && u.Hash == svc.UnitHash() || madeBy(d.earlier.since, name, u) {
				ids = append(ids, u.ID)
			}
		}
	}
	return ids
}

// created names the services that a release created where nothing was. It is nil where a
// record cannot be read.
func created(l *release.Ledger) map[string]bool {
	if len(l.Damage()) > 0 {
		return nil
	}
	names := map[string]bool{}
	for _, r := range l.All() {
		for name, s := range r.Services {
			names[name] = names[name] || s.Action == string(plan.Create) && !r.ChangedNothing()
		}
	}
	return names
}

// over names the services of some units that no release created: one replaced what another
// tool had made.
func over(seen stack.Observed, made []string, created map[string]bool) (names []string) {
	for name, units := range seen.Units {
		ours := slices.ContainsFunc(units, func(u stack.Unit) bool { return slices.Contains(made, u.ID) })
		if ours && created != nil && !created[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// staysOver finds what a way back keeps since no release created it, for the plan and the hint.
// A first release has looked at that itself.
func (d *transition) staysOver(before *stack.Stack, in *plan.Input) {
	if in.Made = d.mayTakeAway(in.Observed); d.facts.verified == nil {
		return
	}
	in.TakenOver = over(in.Observed, in.Made, created(d.ledger)) // with the record of this run
	d.keptOver = slices.DeleteFunc(slices.Clone(in.TakenOver), func(name string) bool {
		return before.Services[name] != nil || !slices.Contains(in.Only, name)
	})
}

// leftStopped tells of what was stopped since it writes to the database that came back, and
// that no step of the rollback started or took away: a service that other hands made.
func (d *transition) leftStopped() {
	for _, name := range d.writers {
		taken := slices.ContainsFunc(d.rest.Steps, func(s plan.Step) bool { return s.Service == name && s.Action != plan.Keep })
		var units []string
		for _, u := range d.ran.Units[name] {
			if !u.OneOff && u.Up() {
				units = append(units, u.Name)
			}
		}
		if taken || len(units) == 0 || d.opts.Stack.Services[name] != nil {
			continue
		}
		d.Say(event.Warning, "record", name, "it was stopped, since it writes to the database, and it stays so: the release that came back does not have it. "+
			"Where it fits the restored database, start it with: %s", d.opts.Stack.StartIt(d.ran, name, units...))
	}
}

// atHome refuses a first release of what was released with another state folder, as by another
// user: its ledger, its backups and its lock are there, and two runs would know nothing of each
// other. Where that folder is lost there is nothing to keep to.
func (d *transition) atHome(ctx context.Context, exists func(context.Context, string) (bool, error)) error {
	if d.facts.newest != nil || len(d.ledger.Damage()) > 0 {
		return nil
	}
	here, name, other := path.Clean(d.StateDir), d.opts.Stack.Name, ""
	for _, service := range slices.Sorted(maps.Keys(d.facts.observed.Units)) {
		for _, u := range d.facts.observed.Units[service] {
			if !u.OneOff && u.StateDir != "" && u.StateDir != here {
				other = u.StateDir
			}
		}
	}
	if other == "" {
		return nil
	}
	there, err := exists(ctx, path.Join(other, name, release.ChainFile))
	switch {
	case err != nil && !errors.Is(err, fs.ErrPermission): // what may not be seen may be there
		return err
	case err == nil && !there:
		d.Say(event.Warning, "preflight", "", "%s was released with the state folder %s, which is lost: this is a first release", name, other)
		return nil
	}
	return fault.New(fault.Refused, "state-dir", fmt.Sprintf("log in as the user that it belongs to, or let this one own what is of the project (sudo chown -R USER %s, in a folder that this one may enter), "+
		"and give state-dir: %s; if its releases are lost, that begins anew there", path.Join(other, name), other),
		"%s was released on this host with the state folder %s, and this run's is %s: it would know nothing of those releases and their backups, "+
			"and have another lock", name, other, here)
}
