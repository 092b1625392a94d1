package rollback

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// ground is what the stack runs on: only that can stop what writes, and keep it stopped.
type ground interface {
	target.Sight
	Stop(ctx context.Context, project string, services []string) error
}

// restoring is a database on its way back to the moment of a backup.
type restoring struct {
	*target.Target
	on     ground
	store  *backup.Store
	backup backup.Backup
	into   backup.Source
	stack  *stack.Stack
	needs  needs
}

// restoring finds the named backup and the database it is of, before anything
// changes.
func (o Options) restoring(ctx context.Context, t *target.Target, on ground, l *release.Ledger, to release.Record, n needs, seen stack.Observed) (*restoring, error) {
	st := n.backedUp()
	r := &restoring{Target: t, on: on, stack: st, needs: n}
	var all []*backup.Store
	// Another may be down, perhaps by the release that is to be undone: it is not touched.
	if service := backup.ServiceOf(o.RestoreDatabase); asksForBackups(st, service) {
		db, err := r.Database(ctx, on, st, seen, to, service)
		if err != nil {
			return nil, err
		}
		if r.store, err = t.Backups(ctx, db.Node, o.Project); err != nil {
			return nil, err
		}
		r.into, all = db.Source, append(all, r.store)
	}
	copies := places(st)
	var err error
	if r.backup, err = backup.Find(ctx, o.RestoreDatabase, all); err != nil {
		others, err := t.Stores(ctx, o.Project)
		if err != nil {
			return nil, err
		}
		all = slices.Concat(all, others)
		if r.backup, err = backup.Find(ctx, o.RestoreDatabase, all, copies...); err != nil {
			return nil, err
		}
	}
	if err := n.suits(r.backup, l, st, to); err != nil {
		return nil, err
	}
	if doubt := doubted(r.backup, l, st, to); doubt != "" {
		t.Say(event.Warning, "look", "", "%s", doubt)
	}
	if r.store == nil || r.into.Service != r.backup.Service {
		return nil, fault.New(fault.Refused, "restore-database", "name a backup of a database that the release has",
			"backup %s is of service %s, which %s does not back up", r.backup.ID, r.backup.Service, to.Title())
	}
	r.backup, err = r.store.Claim(ctx, r.backup, all, copies...)
	return r, err
}

// suits asks the ledger whether a backup may come back with a release.
func (n needs) suits(b backup.Backup, l *release.Ledger, st *stack.Stack, to release.Record) error {
	records := n.about(b.Service, l.All())
	s := follow(records, l.Damage(), st)
	s.pruned = l.Pruned
	return suits(b, s, records, to)
}

// doubted says why a backup that suits may have another schema all the same, "" where nothing
// speaks for that. To deploy its version first helps where that makes the schema anew, not on
// the host whose database went on since.
func doubted(b backup.Backup, l *release.Ledger, st *stack.Stack, to release.Record) string {
	if !migrates(st) || takenHere(b, l.All()) || b.Version == to.Version || named(l.All(), b.ID) {
		return ""
	}
	if l.Pruned(b.Release) {
		return fmt.Sprintf("backup %s was taken while %q served, and release %d, which it is of, is not remembered any more: that %s was left with its schema is not certain", b.ID, b.Version, b.Release, to.Title())
	}
	return fmt.Sprintf("backup %s was taken while %q served, perhaps on another host, and %s is not that version: "+
		"where they have different schemas, deploy %q, restore it, then deploy the newer one, which migrates it", b.ID, b.Version, to.Title(), b.Version)
}

// backedUp is the stack that comes back with the `backups` of its services, and where their
// copies are, as the first stack says that has some: they come with the first migration, so
// that the release before it has none.
func (n needs) backedUp() *stack.Stack {
	st := *n.stacks[0]
	st.Services = maps.Clone(st.Services)
	for name, svc := range st.Services {
		var found stack.Backups
		any := false
		for _, s := range n.stacks {
			if !asksForBackups(s, name) {
				continue
			}
			said := *s.Services[name].Ext.Backups
			if !any {
				found, any = said, true
			}
			if found.Copy == nil {
				found.Copy = said.Copy
			}
		}
		if any {
			as := *svc
			as.Ext.Backups, st.Services[name] = &found, &as
		}
	}
	return &st
}

// asksForBackups tells whether a stack has a service that is backed up.
func asksForBackups(st *stack.Stack, service string) bool {
	svc := st.Services[service]
	return svc != nil && svc.Ext.Backups != nil
}

// places are where the databases of a stack have copies of their backups.
func places(st *stack.Stack) (copies []*stack.Copy) {
	for _, name := range st.Order {
		if asksForBackups(st, name) && st.Services[name].Ext.Backups.Copy != nil {
			copies = append(copies, st.Services[name].Ext.Backups.Copy)
		}
	}
	return copies
}

// named tells whether a release of the ledger took a backup before it migrated.
func named(all []release.Record, id string) bool {
	return slices.ContainsFunc(all, func(r release.Record) bool { return slices.Contains(r.Backups, id) })
}

// writers are the services that are stopped while the database goes back.
func (r *restoring) writers() []string { return r.needs.above(r.into.Service) }

// run restores into a fresh database beside the one in use, stops the writers and
// swaps names. undo swaps back; it is for a release that fails afterwards.
func (r *restoring) run(ctx context.Context) (stopped []string, undo func(context.Context) error, err error) {
	restored, err := r.store.Restore(ctx, r.backup, r.into)
	if err != nil {
		return nil, nil, err
	}
	services := r.writers()
	r.Say(event.Warning, "restore", "", "users are not served from here until the release is up: stopping what writes to %s (%s), each within the stop_grace_period that it was made with",
		restored.Database, strings.Join(services, ", "))
	if err := r.on.Stop(ctx, r.stack.Name, services); err != nil {
		return services, nil, fmt.Errorf("stop what writes to the database: %w", err)
	}
	return services, func(ctx context.Context) error { return r.undo(ctx, restored) }, restored.Swap(ctx)
}

// undo swaps back. The release may have replaced the database's unit, or removed it.
func (r *restoring) undo(ctx context.Context, restored *backup.Restored) error {
	seen, err := r.on.Observe(ctx, r.stack.Name)
	if err != nil {
		return err
	}
	db, err := r.Running(ctx, r.on, r.stack, seen, r.into.Service)
	if err != nil {
		return fmt.Errorf("swap the database back: %w", err)
	}
	store := r.store
	if db.Node.Name != store.Node {
		if store, err = r.Backups(ctx, db.Node, r.stack.Name); err != nil {
			return err
		}
	}
	return restored.Undo(ctx, store, db.Source)
}
