// Package swarm runs a stack on Docker Swarm: the services of the Compose file become
// Swarm's services by Docker's own conversion, its scheduler places their tasks and
// its updater rolls them. What is ours is the order, the watching and the way back.
package swarm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	// namespaceLabel is how `docker stack` knows what belongs together.
	namespaceLabel = "com.docker.stack.namespace"
	// hashLabel holds the configuration hash of what an object was made of, keyLabel
	// its key in the Compose file, releaseLabel the release that last changed it.
	hashLabel    = stack.HashLabel
	keyLabel     = stack.KeyLabel
	releaseLabel = "io.shiksha.release"
	// specLabel holds a sum of what a task's spec was when a release made it.
	specLabel = "io.shiksha.spec"
)

// Host is what a Swarm needs of who connects to its manager.
type Host struct {
	API    client.APIClient
	Engine *engine.Engine
	// Probe runs a command on the manager and gives its exit code.
	Probe func(ctx context.Context, argv []string) (exit int, err error)
	// Content reads a file of a release where it is kept on the manager.
	Content func(ctx context.Context, f stack.File, entry string) ([]byte, error)
	// Gateway moves the traffic of a gateway's unit.
	Gateway func(unit stack.Unit) Gateway
	// Node connects to the engine of another node.
	Node func(ctx context.Context, node swarm.Node) (*engine.Engine, error)
	Sink event.Sink
}

// Swarm is a Swarm by one of its managers. Its methods are safe for concurrent use.
type Swarm struct {
	Host
	// self is the manager's own node.
	self string

	mu    sync.Mutex
	where map[string]string // unit -> node id
	nodes map[string]swarm.Node
	ipvs  *bool
}

// Find gives the Swarm that the engine is a manager of, or nil when it is in none.
// An engine that is only a worker is an error, since nothing can be asked there.
func Find(ctx context.Context, h Host) (*Swarm, error) {
	res, err := h.API.Info(ctx, client.InfoOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask the engine about its Swarm: %w", err)
	}
	in := res.Info.Swarm
	if in.LocalNodeState != swarm.LocalNodeStateActive {
		return nil, nil
	}
	if !in.ControlAvailable {
		return nil, fault.New(fault.Refused, "host", "name a manager of the Swarm as host", "the host is a worker of a Swarm: only a manager can be asked")
	}
	return &Swarm{Host: h, self: in.NodeID, where: map[string]string{}, nodes: map[string]swarm.Node{}}, nil
}

// Name is swarm.
func (*Swarm) Name() string { return "swarm" }

// HoldsImages is false: each node pulls what its tasks need.
func (*Swarm) HoldsImages() bool { return false }

// Runs tells whether a project runs here as a stack.
func (s *Swarm) Runs(ctx context.Context, project string) (bool, error) {
	services, err := s.services(ctx, project)
	return len(services) > 0, err
}

// services lists the services of a project.
func (s *Swarm) services(ctx context.Context, project string) ([]swarm.Service, error) {
	res, err := s.API.ServiceList(ctx, client.ServiceListOptions{Filters: of(project)})
	if err != nil {
		return nil, fmt.Errorf("list the services of %s: %w", project, err)
	}
	return res.Items, nil
}

// of filters by project.
func of(project string) client.Filters {
	return make(client.Filters).Add("label", namespaceLabel+"="+project)
}

// say tells what happens while a plan is carried out.
func (s *Swarm) say(level event.Level, service, format string, args ...any) {
	s.Sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: "roll", Service: service, Text: fmt.Sprintf(format, args...)})
}

// Place says which other node has a unit, false where it is the manager that we speak
// to. Only managers know where it is; one that was never seen is taken to be here.
func (s *Swarm) Place(unit string) (node swarm.Node, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.where[unit]
	return s.nodes[id], id != "" && id != s.self
}

// engineOf is the engine of the node that has a unit.
func (s *Swarm) engineOf(ctx context.Context, unit string) (*engine.Engine, error) {
	if node, away := s.Place(unit); away {
		return s.Node(ctx, node)
	}
	return s.Engine, nil
}

// settleOne remembers where one unit is.
func (s *Swarm) settleOne(unit, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.where[unit] = node
}

// settle remembers where units are.
func (s *Swarm) settle(units map[string]string, nodes map[string]swarm.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for unit, node := range units {
		s.where[unit] = node
	}
	s.nodes = nodes
}
