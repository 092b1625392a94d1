package rollback

import (
	"context"
	"slices"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// needs is who depends on what: in the stack that comes back, which is the first, and
// in those that it takes the place of.
type needs struct {
	stacks []*stack.Stack
	// blind are the services of releases whose stack cannot be read, but for those that
	// come back. They may depend on anything.
	blind []string
}

// needing reads the stacks of the last verified release and of what came after it, and that of
// the release which took a backup that is to come back: what was verified since may have none.
func needing(ctx context.Context, l *release.Ledger, to *stack.Stack, backup string) needs {
	n := needs{stacks: []*stack.Stack{to}}
	verified, _ := l.LatestVerified()
	for _, r := range l.All() {
		since := r.Number >= verified.Number && !r.ChangedNothing()
		if !since && !slices.Contains(r.Backups, backup) {
			continue
		}
		if st, err := l.Stack(ctx, r.Number); err == nil {
			n.stacks = append(n.stacks, st)
			continue
		}
		for name := range r.Services {
			if since && to.Services[name] == nil && !slices.Contains(n.blind, name) {
				n.blind = append(n.blind, name)
			}
		}
	}
	slices.Sort(n.blind)
	return n
}

// below are the services that a service depends on directly.
func (n needs) below(service string) (names []string) {
	for _, st := range n.stacks {
		if svc := st.Services[service]; svc != nil {
			for _, d := range svc.DependsOn {
				names = append(names, d.Service)
			}
		}
	}
	return names
}

// reaches tells whether a service depends on another, directly or not.
func (n needs) reaches(service, other string, met map[string]bool) bool {
	if met[service] {
		return false // two stacks together may go round in a circle
	}
	met[service] = true
	return slices.ContainsFunc(n.below(service), func(name string) bool { return name == other || n.reaches(name, other, met) })
}

// above are the services that depend on a database, directly or not, those first that
// others do not wait for. A gateway is none: it writes nothing by itself, and tells users
// that nobody is there.
func (n needs) above(database string) (names []string) {
	gateways := map[string]bool{}
	for _, st := range n.stacks {
		for _, svc := range st.Services {
			gateways[svc.Ext.Gateway] = true
		}
	}
	for _, st := range n.stacks {
		for _, name := range slices.Backward(st.Order) {
			if name != database && !gateways[name] && !slices.Contains(names, name) && n.reaches(name, database, map[string]bool{}) {
				names = append(names, name)
			}
		}
	}
	return append(names, slices.DeleteFunc(slices.Clone(n.blind), func(name string) bool { return slices.Contains(names, name) })...)
}

// databases are the services that are backed up.
func (n needs) databases() (names []string) {
	for _, st := range n.stacks {
		for name, svc := range st.Services {
			if svc.Ext.Backups != nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// migrates are the databases that a service may migrate: the nearest that it depends on.
// Where it depends on none it may be any of them, or "" for one that is none of theirs.
func (n needs) migrates(service string) []string {
	all, met := n.databases(), map[string]bool{}
	for level := []string{service}; len(level) > 0; {
		var found, next []string
		for _, name := range level {
			switch {
			case slices.Contains(all, name):
				found = append(found, name)
			case !met[name]:
				next = append(next, n.below(name)...)
			}
			met[name] = true
		}
		if len(found) > 0 {
			slices.Sort(found)
			return slices.Compact(found)
		}
		level = next
	}
	elsewhere := func(st *stack.Stack) bool {
		svc := st.Services[service]
		return svc != nil && svc.Ext.Migrate != nil && svc.Ext.Migrate.Elsewhere
	}
	if len(all) == 0 || slices.ContainsFunc(n.stacks, elsewhere) {
		return []string{""}
	}
	return all
}

// migrated are the databases that anything migrates, or did.
func (n needs) migrated(all []release.Record) (names []string) {
	for _, st := range n.stacks {
		for name, svc := range st.Services {
			if svc.Ext.Migrate != nil {
				names = append(names, n.migrates(name)...)
			}
		}
	}
	for _, r := range all {
		for _, m := range r.Migrations {
			names = append(names, n.migrates(m.Service)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// about is what the records say of one database. What may be of it is.
func (n needs) about(database string, all []release.Record) []release.Record {
	known := n.databases()
	other := func(id string) bool {
		return backup.ServiceOf(id) != database && slices.Contains(known, backup.ServiceOf(id))
	}
	all = slices.Clone(all)
	for i := range all {
		r := &all[i]
		r.Migrations = slices.DeleteFunc(slices.Clone(r.Migrations), func(m release.Migration) bool { return !slices.Contains(n.migrates(m.Service), database) })
		r.Backups = slices.DeleteFunc(slices.Clone(r.Backups), other)
		if other(r.RestoresDatabase) {
			r.RestoresDatabase = ""
		}
	}
	return all
}
