package converge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

const (
	// keptOutput bounds what a record keeps of a migration's output, in bytes.
	keptOutput = 16 << 10
	// shown is how many of its last lines an error shows.
	shown = 15
	// askTime bounds the command that says which revision a database is at.
	askTime = time.Minute
)

// migrating lists the services whose migration this release runs, in the order of
// the plan. A rollback runs none: old code does not know the newer schema.
func (d *transition) migrating() (names []string) {
	for _, m := range d.plan.Migrations {
		names = append(names, m.Service)
	}
	return names
}

// swapped tells whether a run that was cut short may have brought the database back
// to an older schema. Code that runs already has to migrate it again then.
func (f *facts) swapped() bool {
	return slices.ContainsFunc(unended(f.since), func(r release.Record) bool { return r.RestoresDatabase != "" })
}

// had tells whether the last verified release had a service.
func (f *facts) had(service string) bool {
	return f.verified != nil && f.verified.Names(service)
}

// halfFilled tells whether a way back that was refused may have left a fresh database
// that it filled, as one that was told to end does.
func (f *facts) halfFilled() bool {
	n := f.newest
	return n != nil && n.RestoresDatabase != "" && n.Outcome == release.Refused
}

// heal ends what a killed run left at work in the databases, and says how they
// stand: a migration that lost its client goes on in the server by itself.
func (d *transition) heal(ctx context.Context) error {
	atWork := func(r release.Record) bool { return r.RestoresDatabase != "" || len(r.Migrations) > 0 }
	n := d.facts.acted
	// The one after it may have been killed before it came to heal that.
	for _, r := range unended(d.facts.since) {
		if atWork(r) {
			n = &r
		}
	}
	cut := n != nil && !n.Outcome.Clean() && atWork(*n)
	if !cut && !d.facts.uncertain && !d.facts.halfFilled() {
		return nil
	}
	states, err := d.settleDatabases(ctx)
	if err != nil && !cut {
		// What the last run did is not known, or the database in use is not concerned.
		d.Say(event.Warning, "heal", "", "%v", err)
		return nil
	}
	for _, state := range states {
		if cut && n.RestoresDatabase != "" {
			d.Say(event.Warning, "heal", "", "release %d was cut short while it brought the database back to backup %s: %s", n.Number, n.RestoresDatabase, state)
		}
	}
	return err
}

// settleDatabases heals every database that runs and says how each stands.
func (d *transition) settleDatabases(ctx context.Context) (states []backup.State, err error) {
	seen, err := d.on.Observe(ctx, d.opts.Stack.Name)
	if err != nil {
		return nil, err
	}
	var databases []target.Database
	for _, name := range d.opts.Stack.Order {
		one, err := d.Databases(ctx, d.on, d.opts.Stack, seen, release.Record{}, d.allBut(name)...)
		if errors.Is(err, target.ErrStopped) {
			continue // nothing is at work in a database that does not run
		}
		if err != nil {
			return nil, err
		}
		databases = append(databases, one...)
	}
	for _, db := range databases {
		store, err := d.Backups(ctx, db.Node, d.opts.Stack.Name)
		if err != nil {
			return states, err
		}
		state, err := store.Heal(ctx, db.Source)
		states = append(states, state)
		if err != nil {
			return states, err
		}
	}
	return states, nil
}

// allBut names the stack's services without some of them.
func (d *transition) allBut(some ...string) []string {
	return slices.DeleteFunc(slices.Clone(d.opts.Stack.Order), func(name string) bool { return slices.Contains(some, name) })
}

// unprotected refuses a migration of a database that nobody backs up.
func (d *transition) unprotected() {
	for _, svc := range d.opts.Stack.Services {
		if svc.Ext.Backups != nil {
			return
		}
	}
	for _, name := range d.migrating() {
		if !d.opts.Stack.Services[name].Ext.Migrate.Elsewhere {
			d.plan.Refusals = append(d.plan.Refusals, fmt.Sprintf("service %s has x-shiksha.migrate, and a migration never runs without a backup: "+
				"give the database's service x-shiksha.backups (PostgreSQL only), or say backed-up-elsewhere: true in migrate", name))
		}
	}
}

// secure makes ready for the migrations: a backup that was read back whole. What that and they need
// and does not run yet is brought up first.
func (d *transition) secure(ctx context.Context) error {
	names := d.migrating()
	if len(names) == 0 {
		return nil
	}
	if err := d.ground(ctx, names); err != nil {
		return err
	}
	return d.backUp(ctx)
}

// migrate brings the database to the schema of the new release, before any unit is replaced.
func (d *transition) migrate(ctx context.Context) error {
	names := d.migrating()
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		// What was lost is asked once, after the last: between two nothing new could serve.
		if err := d.locked(ctx); err != nil {
			return err
		}
		if err := d.migrateOne(ctx, name); err != nil {
			return err
		}
	}
	return d.outlived(ctx)
}

// ground creates what the migrating services depend on and nothing runs of (on the
// first release the database itself), and waits for what is starting. So it does with
// other databases that are to be dumped: what does not run cannot be. What left the stack
// and has its volume goes before.
func (d *transition) ground(ctx context.Context, names []string) error {
	first := &plan.Plan{Project: d.plan.Project, Networks: d.plan.Networks, Volumes: d.plan.Volumes}
	rest := *d.plan
	rest.Steps = nil
	down := func(name string) bool {
		step := d.plan.Step(name)
		return step != nil && (step.Action == plan.Create || step.Starting)
	}
	var dumped []string
	for _, name := range d.plan.Backups {
		if down(name) {
			dumped = append(dumped, name)
		}
	}
	comes := func(name string) bool {
		needed := slices.Contains(dumped, name) || d.needed(names, name) || d.needed(dumped, name)
		return needed && down(name) && !slices.Contains(names, name)
	}
	for _, step := range d.plan.Steps {
		switch {
		case comes(step.Service):
			first.Steps = append(first.Steps, step)
		case slices.ContainsFunc(step.Before, comes):
			first.Steps = append(first.Steps, step)
		default:
			rest.Steps = append(rest.Steps, step)
		}
	}
	d.rest = &rest
	report, err := d.carry(ctx, d.opts.Stack, first, d.guard)
	d.result.Rollout = &report
	return err
}

// needed tells whether one of names depends on a service, directly or not.
func (d *transition) needed(names []string, service string) bool {
	for _, name := range names {
		var below []string
		for _, dep := range d.opts.Stack.Services[name].DependsOn {
			below = append(below, dep.Service)
		}
		if slices.Contains(below, service) || len(below) > 0 && d.needed(below, service) {
			return true
		}
	}
	return false
}

// backUp takes a backup, read back whole, of every database that may hold something, as
// the plan says. One of those that does not run even now ends the release.
func (d *transition) backUp(ctx context.Context) error {
	defer d.timed("back up")()
	seen, err := d.on.Observe(ctx, d.opts.Stack.Name)
	if err != nil {
		return err
	}
	var serving release.Record
	if d.facts.verified != nil {
		serving = *d.facts.verified
	}
	databases, err := d.Databases(ctx, d.on, d.opts.Stack, seen, serving, d.allBut(d.plan.Backups...)...)
	if errors.Is(err, target.ErrStopped) {
		err = fault.New(fault.Of(err), "", "see what it is with shiksha status; name it in services too where they leave it out, or take its x-shiksha.backups out of the file where none of it is to run", "%w", err)
	}
	if err != nil {
		return err
	}
	for _, db := range databases {
		store, err := d.Backups(ctx, db.Node, d.opts.Stack.Name)
		if err != nil {
			return err
		}
		if err := d.dump(ctx, store, db.Source); err != nil {
			return err
		}
	}
	return d.ledger.Update(ctx, d.record)
}

// dump takes the backup of one database. One that this release has brought up, or waited
// for, may not listen yet, and what is to be dumped of the former may not be there. Of one
// that the last verified release had, whose server was only down, it is there or is named wrong.
func (d *transition) dump(ctx context.Context, store *backup.Store, from backup.Source) (err error) {
	step := d.plan.Step(from.Service)
	if step != nil && (step.Action == plan.Create || step.Starting) {
		err = store.Await(ctx, from, d.opts.WaitTimeout)
	}
	if err == nil && (step != nil && step.Action == plan.Create || d.facts.lastMade(from.Unit)) && !d.facts.had(from.Service) {
		from, err = store.Begun(ctx, from)
	}
	if errors.Is(err, backup.ErrAbsent) {
		d.Say(event.Warning, "backup", from.Service, "%v, so nothing is dumped before the migration, which may make it; "+
			"if its data is in another, name that with x-shiksha.backups.database", err)
		return nil
	}
	if err != nil {
		return err
	}
	b, err := store.Take(ctx, from)
	if err != nil {
		return err
	}
	d.record.Backups = append(d.record.Backups, b.ID)
	if err := store.CopyOut(ctx, from, b.ID); err != nil && ctx.Err() == nil {
		// The backup on the host does for the migration; the release does not wait for another host.
		d.Say(event.Warning, "backup", from.Service, "%v; %s", err, fault.Hint(err))
	}
	return nil
}

// migrateOne runs one service's migration. That it begins is in the record before it
// does: whoever comes after a kill knows that the schema may have changed.
func (d *transition) migrateOne(ctx context.Context, name string) error {
	defer d.timed("migrate")()
	m := d.opts.Stack.Services[name].Ext.Migrate
	was := release.Migration{Service: name, Command: m.Command, Exit: -1, Started: time.Now().UTC()}
	was.Before, was.BeforeSum = d.revision(ctx, name)
	d.record.Migrations = append(d.record.Migrations, was)
	if err := d.ledger.Update(ctx, d.record); err != nil {
		return err
	}
	kept := &d.record.Migrations[len(d.record.Migrations)-1]
	d.Say(event.Info, "migrate", name, "migrating from revision %s: %s", release.Revision(kept.Before), strings.Join(m.Command, " "))
	limited, cancel := context.WithTimeoutCause(ctx, m.Timeout, fmt.Errorf("it took longer than %s (x-shiksha.migrate.timeout)", m.Timeout))
	ended, err := d.task(limited, name, "migrate", m.Command)
	cancel()
	if err != nil && ctx.Err() == nil {
		// Its client is gone; what it was at in the server has to end as well.
		_, settling := d.settleDatabases(ctx)
		err = errors.Join(err, settling)
	}
	kept.Ended, kept.Exit = time.Now().UTC(), ended.Exit
	if err != nil {
		kept.Exit = -1
	}
	kept.Output = cut(d.opts.Stack.Hide(ended.Output))
	if ctx.Err() == nil {
		kept.After, kept.AfterSum = d.revision(ctx, name)
	}
	if err == nil && ended.Exit != 0 {
		err = fmt.Errorf("it ended with %d:\n%s", ended.Exit, lastLines(kept.Output))
	}
	if err != nil {
		return fault.New(fault.Failed, "", d.afterFailure(*kept), "the migration of %s failed before any unit was changed; the database is at revision %s, it was at %s: %w",
			name, release.Revision(kept.After), release.Revision(kept.Before), err)
	}
	d.Say(event.Notice, "migrate", name, "the database is at revision %s, it was at %s", release.Revision(kept.After), release.Revision(kept.Before))
	return d.ledger.Update(ctx, d.record)
}

// revision asks a service's own command which revision its database is at: the last line
// and a sum of all lines; "" when it has none or it does not say.
func (d *transition) revision(ctx context.Context, name string) (last, sum string) {
	m := d.opts.Stack.Services[name].Ext.Migrate
	if len(m.Current) == 0 {
		return "", ""
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	ended, err := d.task(ctx, name, "current", m.Current)
	if err != nil || ended.Exit != 0 {
		d.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "migrate", Service: name, Output: lastLines(d.opts.Stack.Hide(ended.Output)),
			Text: fmt.Sprintf("the revision of its database is not known: x-shiksha.migrate.current ended with %d %v", ended.Exit, err)})
		return "", ""
	}
	// What it logs beside its answer has times and process numbers in it.
	return at(strings.TrimSpace(d.opts.Stack.Hide(cmp.Or(ended.Printed, ended.Output))))
}

// at is what is kept of what a service says of its database's revision.
func at(text string) (last, sum string) {
	if text == "" {
		return "", ""
	}
	return text[strings.LastIndex(text, "\n")+1:], fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

// task runs a command of a service in a container of its own, its statements
// bounded in how long they wait for locks.
func (d *transition) task(ctx context.Context, service, name string, argv []string) (stack.Ended, error) {
	svc := d.opts.Stack.Services[service]
	env := svc.Ext.Migrate.Session(svc.Environment)
	variable, session := backup.SessionName(name, d.opts.Stack.Name)
	env[variable] = session
	return d.Engine.RunService(ctx, d.opts.Stack, service, stack.Task{Name: name, Command: argv, Env: env})
}

// endBefore ends a release whose backup, migration or restore failed. Nothing that
// serves was changed, unless what the migration needed had to be created first, or
// what writes to the database was stopped. A way back that is told to end before
// either has left the database in use alone, and its record says no less.
func (d *transition) endBefore(ctx context.Context, cause error) error {
	cut := ctx.Err() != nil && d.record.RestoresDatabase == ""
	switch {
	case cut || d.undoDatabase != nil || d.result.Rollout != nil && len(d.result.Rollout.Touched) > 0:
		cause = d.fail(ctx, cause)
	case len(d.record.Migrations) == 0:
		return d.refuse(ctx, cause)
	}
	d.end(ctx, cause)
	return cause
}

// cut keeps the end of a long output.
func cut(text string) string {
	if len(text) > keptOutput {
		return "...\n" + strings.ToValidUTF8(text[len(text)-keptOutput:], "")
	}
	return text
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-shown):], "\n")
}
