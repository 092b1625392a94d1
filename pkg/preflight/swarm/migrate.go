package swarm

import (
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// migration tells what the commands of x-shiksha.migrate lack that the service's tasks have:
// they run in a container of the manager's engine, which Compose makes. It would be found only
// when the database was dumped.
func (l *look) migration(svc *stack.Service, c types.ServiceConfig) {
	if svc.Ext.Migrate == nil {
		return
	}
	for _, ref := range c.Configs {
		l.migrationHas(svc, "configs", ref.Source, types.FileObjectConfig(l.Stack.Project.Configs[ref.Source]))
	}
	for _, ref := range c.Secrets {
		l.migrationHas(svc, "secrets", ref.Source, types.FileObjectConfig(l.Stack.Project.Secrets[ref.Source]))
	}
	for _, key := range finding.SortedKeys(c.Networks) {
		if n := l.Stack.Project.Networks[key]; n.Driver == "overlay" && !n.Attachable && !bool(n.External) {
			l.Fail("P17.migrate", at(svc, "networks"), "take driver out of the network, or write attachable: true; one that is there already stays as it is, so give it another key, in a release without x-shiksha.migrate",
				"its migration runs in a container of the manager, which cannot join %s: that is not attachable", key)
		}
	}
}

// migrationHas is about one config or secret of a service that migrates.
func (l *look) migrationHas(svc *stack.Service, kind, name string, o types.FileObjectConfig) {
	switch {
	case bool(o.External):
		l.Fail("P17.migrate", at(svc, kind), "give it `file:`, or `content:` or `environment:`",
			"its migration runs in a container of the manager, which cannot have the external %s.%s", kind, name)
	case l.Stack.Project.Services[svc.Name].ReadOnly && o.File == "":
		l.Fail("P17.migrate", at(svc, kind), "give it a `file:`, which is mounted, or make the service writable",
			"its migration runs in a container of the manager, and the content of %s.%s cannot be put into a read-only one", kind, name)
	}
}
