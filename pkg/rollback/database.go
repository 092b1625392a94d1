package rollback

import (
	"context"
	"fmt"
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
	st := n.stacks[0]
	r := &restoring{Target: t, on: on, stack: st, needs: n}
	databases, err := r.Databases(ctx, on, st, seen, to)
	if err != nil {
		return nil, err
	}
	var copies []*stack.Copy
	stores := make([]*backup.Store, len(databases))
	for i, db := range databases {
		if stores[i], err = t.Backups(ctx, db.Node, o.Project); err != nil {
			return nil, err
		}
		if db.Options.Copy != nil {
			copies = append(copies, db.Options.Copy)
		}
	}
	all := stores
	if r.backup, err = backup.Find(ctx, o.RestoreDatabase, all); err != nil {
		others, err := t.Stores(ctx, o.Project)
		if err != nil {
			return nil, err
		}
		all = slices.Concat(stores, others)
		if r.backup, err = backup.Find(ctx, o.RestoreDatabase, all, copies...); err != nil {
			return nil, err
		}
	}
	records := n.about(r.backup.Service, l.All())
	if err := suits(r.backup, follow(records, l.Damage(), st), records, to); err != nil {
		return nil, err
	}
	if migrates(st) && !takenHere(r.backup, l.All()) && r.backup.Version != to.Version && !named(l.All(), r.backup.ID) {
		t.Say(event.Warning, "look", "", "backup %s was taken while %q served, perhaps on another host, and %s is not that version: "+
			"where they have different schemas, deploy %q, restore it, then deploy the newer one, which migrates it", r.backup.ID, r.backup.Version, title(to), r.backup.Version)
	}
	i := slices.IndexFunc(databases, func(db target.Database) bool { return db.Service == r.backup.Service })
	if i < 0 {
		return nil, fault.New(fault.Refused, "restore-database", "name a backup of a database that the release has",
			"backup %s is of service %s, which %s does not back up", r.backup.ID, r.backup.Service, title(to))
	}
	r.into, r.store = databases[i].Source, stores[i]
	r.backup, err = r.store.Claim(ctx, r.backup, all, copies...)
	return r, err
}

// named tells whether a release of the ledger took a backup before it migrated.
func named(all []release.Record, id string) bool {
	return slices.ContainsFunc(all, func(r release.Record) bool { return slices.Contains(r.Backups, id) })
}

// run restores into a fresh database beside the one in use, stops the writers and
// swaps names. undo swaps back; it is for a release that fails afterwards.
func (r *restoring) run(ctx context.Context) (stopped []string, undo func(context.Context) error, err error) {
	restored, err := r.store.Restore(ctx, r.backup, r.into)
	if err != nil {
		return nil, nil, err
	}
	services := r.needs.above(r.into.Service)
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
