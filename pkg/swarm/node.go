package swarm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	out := slices.DeleteFunc(res.Items, func(n swarm.Node) bool { return !takes(n) })
	slices.SortFunc(out, func(a, b swarm.Node) int { return strings.Compare(a.Description.Hostname, b.Description.Hostname) })
	return out, nil
}

// takes tells whether a node takes tasks.
func takes(n swarm.Node) bool {
	return n.Status.State == swarm.NodeStateReady && n.Spec.Availability == swarm.NodeAvailabilityActive
}

// givenUp are the last tasks of what runs on every node where Swarm tries no more: they failed
// as often as the restart policy allows, or ended. It wants none there then, so nothing else
// tells that one is missing; of other services their number does.
func givenUp(svc swarm.Service, tasks []swarm.Task, nodes map[string]swarm.Node) []swarm.Task {
	if svc.Spec.Mode.Global == nil {
		return nil
	}
	last := map[string]swarm.Task{}
	for _, t := range tasks {
		if t.ServiceID == svc.ID && !t.CreatedAt.Before(last[t.NodeID].CreatedAt) {
			last[t.NodeID] = t
		}
	}
	for _, t := range current(svc, tasks) {
		delete(last, t.NodeID)
	}
	var where []string
	if p := svc.Spec.TaskTemplate.Placement; p != nil {
		where = p.Constraints
	}
	var out []swarm.Task
	for _, id := range slices.Sorted(maps.Keys(last)) {
		t, n := last[id], nodes[id]
		if failed(t) && hashOf(t.Spec) == hashOf(svc.Spec.TaskTemplate) && takes(n) && len(eligible([]swarm.Node{n}, where)) > 0 {
			out = append(out, t)
		}
	}
	return out
}

// failed tells whether a task ended by itself, which what serves never should.
func failed(t swarm.Task) bool {
	return t.Status.State == swarm.TaskStateFailed || t.Status.State == swarm.TaskStateRejected || t.Status.State == swarm.TaskStateComplete
}

// joining tells whether a task of what runs on every node is on its way to a node for the first
// time: it came, or takes tasks again, and nothing says that it will not be well there.
func joining(svc swarm.Service, t swarm.Task, tasks []swarm.Task) bool {
	switch t.Status.State {
	case swarm.TaskStateNew, swarm.TaskStateAllocated, swarm.TaskStatePending, swarm.TaskStateAssigned, swarm.TaskStateAccepted,
		swarm.TaskStatePreparing, swarm.TaskStateReady, swarm.TaskStateStarting:
	default:
		return false
	}
	return svc.Spec.Mode.Global != nil && t.Status.Err == "" && time.Since(t.CreatedAt) < usually && !slices.ContainsFunc(tasks, func(was swarm.Task) bool {
		return was.ServiceID == svc.ID && was.NodeID == t.NodeID && failed(was) && hashOf(was.Spec) == hashOf(t.Spec)
	})
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
