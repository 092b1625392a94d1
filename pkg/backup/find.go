package backup

import (
	"context"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// Find gives one backup; see Find of this package.
func (s *Store) Find(ctx context.Context, id string, copies ...*stack.Copy) (Backup, error) {
	return Find(ctx, id, []*Store{s}, copies...)
}

// Find gives one backup of what stores have, the first that has it whole. Where none
// does, its copy is looked for; one that is nowhere, or whose file is spoiled, is
// refused with what there is.
func Find(ctx context.Context, id string, stores []*Store, copies ...*stack.Copy) (Backup, error) {
	var all []Backup
	var lost error
	for _, s := range stores {
		here, err := s.List(ctx)
		if err != nil {
			return Backup{}, err
		}
		for _, b := range here {
			switch {
			case b.ID == id && b.Lost == "":
				return b, nil
			case b.ID == id:
				lost = fault.New(fault.Refused, "", "name another backup: shiksha backups lists them", "backup %s cannot be used: %s", id, b.Lost)
			}
		}
		all = append(all, here...)
	}
	for _, c := range copies {
		away, err := stores[0].Away(ctx, c)
		if err != nil {
			stores[0].say(event.Warning, "%v", err)
		}
		if i := slices.IndexFunc(away, func(b Backup) bool { return b.ID == id && b.Lost == "" }); i >= 0 {
			return away[i], nil
		}
		all = append(all, away...)
	}
	if lost != nil {
		return Backup{}, lost
	}
	return Backup{}, fault.New(fault.Input, "restore-database", having(all), "the host has no backup %q", id)
}

// having says what there is in the place of what was asked for.
func having(all []Backup) string {
	if len(all) == 0 {
		return "the host has none; take one with shiksha backup"
	}
	var names []string
	for _, b := range all {
		name := b.ID
		if b.Node != "" {
			name += " (on node " + b.Node + ")"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return "the host has " + strings.Join(slices.Compact(names), ", ")
}

// Claim makes of a backup that was found among stores one that this store can restore:
// what it has itself, or a copy that it can fetch. One that only another store has is
// refused with where that is: a database that moved has left its older backups behind.
func (s *Store) Claim(ctx context.Context, b Backup, stores []*Store, copies ...*stack.Copy) (Backup, error) {
	if b.Away || b.Node == s.Node {
		return b, nil
	}
	if own, err := s.Find(ctx, b.ID, copies...); err == nil {
		return own, nil
	}
	i := slices.IndexFunc(stores, func(o *Store) bool { return o.Node == b.Node })
	return Backup{}, fault.New(fault.Refused, "restore-database",
		"bring "+b.ID+".dump and "+b.ID+".json from "+stores[i].Dir+" there to "+s.Dir+" on "+s.place()+"; one that has a copy (x-shiksha.backups.copy) is fetched from there",
		"backup %s is on %s, where its database ran when it was taken; that runs on %s now", b.ID, stores[i].place(), s.place())
}

// place names the host of the store.
func (s *Store) place() string {
	if s.Node == "" {
		return "the host"
	}
	return "node " + s.Node
}
