package swarm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// ready lists the nodes that take tasks, by name.
func (s *Swarm) ready(ctx context.Context) ([]swarm.Node, error) {
	res, err := s.API.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the nodes of the Swarm: %w", err)
	}
	out := slices.DeleteFunc(res.Items, func(n swarm.Node) bool {
		return n.Status.State != swarm.NodeStateReady || n.Spec.Availability != swarm.NodeAvailabilityActive
	})
	slices.SortFunc(out, func(a, b swarm.Node) int { return strings.Compare(a.Description.Hostname, b.Description.Hostname) })
	return out, nil
}

// constraints are what the file says about where a service runs.
func constraints(c types.ServiceConfig) []string {
	if c.Deploy == nil {
		return nil
	}
	return c.Deploy.Placement.Constraints
}

// eligible are the nodes that fulfil all constraints, as Swarm reads them. One that
// is not understood excludes nothing: Swarm will say what it thinks of it.
func eligible(nodes []swarm.Node, constraints []string) []swarm.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n swarm.Node) bool {
		return slices.ContainsFunc(constraints, func(c string) bool { return !fulfils(n, c) })
	})
}

func fulfils(n swarm.Node, constraint string) bool {
	key, value, equal := strings.Cut(constraint, "==")
	if !equal {
		var differs bool
		if key, value, differs = strings.Cut(constraint, "!="); !differs {
			return true
		}
	}
	has, known := attribute(n, strings.TrimSpace(key))
	return !known || strings.EqualFold(has, strings.TrimSpace(value)) == equal
}

// attribute is what a constraint compares.
func attribute(n swarm.Node, key string) (value string, known bool) {
	switch key {
	case "node.id":
		return n.ID, true
	case "node.hostname":
		return n.Description.Hostname, true
	case "node.role":
		return string(n.Spec.Role), true
	case "node.platform.os":
		return n.Description.Platform.OS, true
	case "node.platform.arch":
		return n.Description.Platform.Architecture, true
	}
	if label, ok := strings.CutPrefix(key, "node.labels."); ok {
		return n.Spec.Labels[label], true
	}
	if label, ok := strings.CutPrefix(key, "engine.labels."); ok {
		return n.Description.Engine.Labels[label], true
	}
	return "", false
}
