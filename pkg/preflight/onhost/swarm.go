package onhost

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// manager is the address of units on the node that we speak to.
const manager = "127.0.0.1"

// migrations tells what keeps the migrations of a plan from their database on a Swarm: they run
// in containers of the manager's engine. It would be found after the dump, or never.
func (f findings) migrations(p *plan.Plan, seen stack.Observed) {
	if !seen.Scheduled {
		return
	}
	for _, m := range p.Migrations {
		f.closed(m.Service, seen)
		f.elsewhere(m.Service, seen)
	}
}

// lacks is about what somebody else makes: a Swarm says that it is missing only when it is given
// the service, which may be after the migration of another.
func (f findings) lacks(p *plan.Plan, h Facts) {
	for _, step := range p.Steps {
		if !step.Replaces() {
			continue
		}
		for _, what := range h.Lacks[step.Service] {
			kind, name, _ := strings.Cut(what, " ")
			mend := "make it: docker " + kind + " create " + name + " FILE"
			if kind == "network" {
				mend = "make it: docker network create --driver overlay --attachable " + name
			}
			f.Fail("P17.external", finding.At(step.Service, kind+"s"), mend, "%s is declared external and is not on the Swarm", what)
		}
	}
}

// closed is about networks that another tool made: what is there stays as it is. The migration
// comes before its database could be on another network, so that takes a release of its own.
func (f findings) closed(service string, seen stack.Observed) {
	for _, key := range f.Stack.Services[service].Networks {
		n := f.Stack.Project.Networks[key]
		if !slices.Contains(seen.Closed, n.Name) {
			continue
		}
		hint := "release once without x-shiksha.migrate, with " + service + " on another network, and its database and whoever else speaks to it on both: one by another key, which the release makes attachable; " +
			"or end the stack (docker stack rm " + f.Stack.Name + "; its volumes stay) and release it anew, which makes that one so"
		if n.External {
			hint = "release once without x-shiksha.migrate, with " + service + " on another network, and its database and whoever else speaks to it on both: docker network create --driver overlay --attachable NAME"
		}
		f.Fail("P17.migrate", finding.At(service, "networks"), hint,
			"its migration runs in a container of the manager, which cannot join %s: that network is there and is not attachable", n.Name)
	}
}

// elsewhere is about a database that is a file: where its volume is on another node the
// migration makes an empty one, and ends well. What is in a volume only its path tells: it
// refuses only what the migration is for by all that the service says.
func (f findings) elsewhere(service string, seen stack.Observed) {
	beside := slices.ContainsFunc(f.Stack.Order, func(name string) bool { return f.Stack.Services[name].Ext.Backups != nil }) || f.asks(service)
	for _, m := range f.Stack.Project.Services[service].Volumes {
		v := f.Stack.Project.Volumes[m.Source]
		shared := v.Driver != "" && v.Driver != "local" // the manager may have it as well
		if m.Type != types.VolumeTypeVolume || m.ReadOnly || v.Name == "" || bool(v.External) || shared {
			continue
		}
		node := writer(seen, v.Name)
		named, meant := f.fileIn(service, m.Target)
		if node == "" || !named && beside {
			continue
		}
		tell := f.Warn
		if meant && !f.asks(service) {
			tell = f.Fail
		}
		tell("P17.migrate-file", finding.At(service, "volumes"), "have "+service+" migrate as it starts, without x-shiksha.migrate; or, where its database is not there, "+
			"write that: x-shiksha: {exempt: {P17.migrate-file: \"...\"}}",
			"its migration runs on the manager, and %s is on %s: a database in a file there is not migrated", v.Name, node)
	}
}

// server is how the address of a database begins that is no file.
var server = regexp.MustCompile(`(?i)\b(postgres|mysql|mariadb|mongodb|mssql|sqlserver|oracle|cockroach)[a-z0-9+]*://`)

// asks tells whether a service has a database of its own in the stack that migrations are of, or
// names one elsewhere.
func (f findings) asks(service string) bool {
	svc := f.Stack.Services[service]
	said := slices.Concat(svc.Ext.Migrate.Command, slices.Collect(maps.Values(svc.Environment)))
	return slices.ContainsFunc(said, server.MatchString) || slices.ContainsFunc(plan.Ahead(f.Stack, service), f.Stack.IsMigrated)
}

// writer is a node beside the manager with a unit that writes to a volume, "" where one on the
// manager does, or none.
func writer(seen stack.Observed, volume string) (node string) {
	for _, units := range seen.Units {
		for _, u := range units {
			switch {
			case !slices.Contains(u.Writes, volume):
			case u.NodeAddress == manager:
				return ""
			case node == "" || u.Node < node:
				node = u.Node
			}
		}
	}
	return node
}

// addresses are the variables in which a service says where its database is.
var addresses = []string{"DATABASE_URL", "DATABASE_URI", "DB_URL", "DB_URI", "SQLALCHEMY_DATABASE_URL", "SQLALCHEMY_DATABASE_URI"}

// fileIn tells whether a service names what looks like a database in a file below a folder, and
// whether that is meant by the migration: its command or the service's database address says it.
func (f findings) fileIn(service, folder string) (named, meant bool) {
	svc := f.Stack.Services[service]
	is := func(text string) bool {
		file := strings.Contains(strings.ToLower(text), "sqlite") || slices.Contains([]string{".db", ".db3"}, path.Ext(text))
		return file && strings.Contains(text, strings.TrimSuffix(folder, "/")+"/")
	}
	meant = slices.ContainsFunc(svc.Ext.Migrate.Command, is)
	for variable, value := range svc.Environment {
		named = named || is(value)
		meant = meant || is(value) && slices.Contains(addresses, variable)
	}
	return named || meant, meant
}
