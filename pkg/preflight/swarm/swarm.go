// Package swarm is the part of the preflight about moving to Docker Swarm: what a
// Compose file says that a Swarm ignores, or does otherwise than one host. Its
// findings are all P17. What cannot work there, loses data or opens what was closed
// is a failure; the rest is told.
//
// What is the same on both is not spoken of. That includes keys which `docker stack
// deploy` refuses or ignores but which are read before any engine sees them: extends,
// profiles, env_file, label_file, include, scale, variables.
package swarm

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// Look adds what would be otherwise on a Swarm to the findings about a stack.
func Look(f *finding.Findings) {
	l := &look{Findings: f}
	before := len(f.Results)
	for _, name := range f.Stack.Order {
		svc, c := f.Stack.Services[name], f.Stack.Project.Services[name]
		l.ignored(svc, c)
		l.scheduling(svc, c)
		l.files(svc, c)
		l.ports(svc, c)
		l.attachments(svc, c)
		l.migration(svc, c)
	}
	l.volumes()
	l.networks()
	if len(f.Results) == before {
		f.Pass("P17.swarm", "a Swarm does all of it as one host does")
	}
}

// look is one Look under way.
type look struct{ *finding.Findings }

// at is a key of a service.
func at(svc *stack.Service, key string) finding.Place { return finding.At(svc.Name, key) }

// deploy is what a service says below deploy, never nil.
func deploy(c types.ServiceConfig) types.DeployConfig {
	if c.Deploy == nil {
		return types.DeployConfig{}
	}
	return *c.Deploy
}

// pins are the constraints of a service that a single node can be chosen by, sorted
// and without spaces. A role is none of them: a Swarm has several managers.
func pins(c types.ServiceConfig) []string {
	var out []string
	for _, constraint := range deploy(c).Placement.Constraints {
		constraint = strings.Join(strings.Fields(constraint), "")
		key, _, equal := strings.Cut(constraint, "==")
		if equal && (key == "node.id" || key == "node.hostname" || strings.HasPrefix(key, "node.labels.") || strings.HasPrefix(key, "engine.labels.")) {
			out = append(out, constraint)
		}
	}
	slices.Sort(out)
	return out
}

// pinHint says how a service is kept on one node.
func pinHint(label string) string {
	return "label the node that has it (docker node update --label-add " + label + "=true NODE) and write deploy: {placement: {constraints: [\"node.labels." +
		label + "==true\"]}}"
}
