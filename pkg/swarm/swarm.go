// Package swarm runs a stack on Docker Swarm: the services of the Compose file become
// Swarm's services by Docker's own conversion, its scheduler places their tasks and
// its updater rolls them. What is ours is the order, the watching and the way back.
package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
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

// ErrWorker is why an engine cannot be asked about its Swarm: only managers can.
var ErrWorker = errors.New("the host is a worker of a Swarm: only a manager can be asked")

// ErrLost is that a host's engine does not come back to its Swarm. What has no task of it
// on the host may be released there by itself.
var ErrLost = errors.New("what runs there is not known")

// Find gives the Swarm that the engine is a manager of, or nil when it is in none.
// ErrWorker is one that it is a worker of. An engine that is in a Swarm and cannot say
// what runs there is an error too: a stack of it would be taken for none.
func Find(ctx context.Context, h Host) (*Swarm, error) {
	in, err := part(ctx, h)
	if err != nil {
		return nil, err
	}
	switch in.LocalNodeState {
	case swarm.LocalNodeStateInactive, "":
		return nil, nil
	case swarm.LocalNodeStateActive:
	case swarm.LocalNodeStateLocked:
		return nil, fault.New(fault.Refused, "host", "unlock it on the host: docker swarm unlock", "the Swarm of the host is locked, so what runs there is not known")
	default:
		return nil, fault.New(fault.Refused, "host", "try again when `docker info` on the host says that its Swarm is active; a host that is to be in none leaves it: docker swarm leave "+
			"(a manager with --force, and what runs on a Swarm of its own ends)",
			"the host is in a Swarm that is %s, so %w%s", in.LocalNodeState, ErrLost, because(in.Error))
	}
	if !in.ControlAvailable {
		return nil, fault.New(fault.Refused, "host", "name a manager of the Swarm as host", "%w", ErrWorker)
	}
	return &Swarm{Host: h, self: in.NodeID, where: map[string]string{}, nodes: map[string]swarm.Node{}}, nil
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// rejoins is how long an engine that has just started may take to come back to its Swarm,
// or one that was cut off, which calls it an error between two tries.
const rejoins = 30 * time.Second

// part is what an engine says of its part in a Swarm, once it knows.
func part(ctx context.Context, h Host) (swarm.Info, error) {
	for until, told := time.Now().Add(rejoins), false; ; told = true {
		res, err := h.API.Info(ctx, client.InfoOptions{})
		if err != nil {
			return swarm.Info{}, fmt.Errorf("ask the engine about its Swarm: %w", err)
		}
		in := res.Info.Swarm
		away := in.LocalNodeState == swarm.LocalNodeStatePending || in.LocalNodeState == swarm.LocalNodeStateError
		if !away || time.Now().After(until) {
			return in, nil
		}
		if !told {
			h.Sink.Emit(event.Event{Time: time.Now(), Level: event.Info, Phase: "look", Text: "the engine is on its way back to its Swarm; waiting for it"})
		}
		if err := grace.Pause(ctx, guardEvery); err != nil {
			return swarm.Info{}, err
		}
	}
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

// Stop ends the tasks of services, by their keys in the Compose file, and has Swarm
// want none until a plan does: one that is only stopped is replaced within seconds. It
// waits until their nodes have ended all of them.
func (s *Swarm) Stop(ctx context.Context, project string, services []string) error {
	stop := &stopping{Swarm: s, project: project, services: services, ids: map[string]bool{}, began: time.Now(), answered: time.Now()}
	for {
		if done, err := stop.once(ctx); done || err != nil {
			return err
		}
		if err := grace.Pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// stopping is a Stop under way.
type stopping struct {
	*Swarm
	project  string
	services []string
	// ids are the services that are stopped, limit the longest time that one of them
	// gives its tasks.
	ids   map[string]bool
	limit time.Duration
	// answered is when the manager last did, warned is set once it was said that it did not.
	began, answered time.Time
	warned          bool
}

// once looks once, and tells Swarm what it does not know yet.
func (s *stopping) once(ctx context.Context) (done bool, err error) {
	seen, told, err := s.tell(ctx)
	if err != nil {
		return false, s.endure(ctx, err)
	}
	s.answered = time.Now()
	left := slices.DeleteFunc(slices.Clone(seen.tasks), func(t swarm.Task) bool { return !s.ids[t.ServiceID] || ended(t) })
	if !told && len(left) == 0 {
		return true, nil // where something was told, what was seen is older than that
	}
	if time.Since(s.began) <= s.limit+removeBudget {
		return false, nil
	}
	text := ""
	for _, t := range left {
		node := seen.nodes[t.NodeID].Description.Hostname
		text += fmt.Sprintf("; on node %s %s is %s, and if that node is off for good, the Swarm forgets it by: docker node rm --force %s", node, t.ID, t.Status.State, node)
	}
	return false, fmt.Errorf("%d tasks have not ended after %s%s", len(left), s.limit+removeBudget, text)
}

// tell looks, and changes the services of which Swarm wants tasks still.
func (s *stopping) tell(ctx context.Context) (seen *snapshot, told bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if seen, err = s.look(ctx, s.project); err != nil {
		return nil, false, err
	}
	for _, svc := range seen.services {
		key := keyOf(svc.Spec.Labels, s.project, svc.Spec.Name)
		if !slices.Contains(s.services, key) {
			continue
		}
		s.ids[svc.ID], s.limit = true, max(s.limit, graceOf(svc.Spec))
		changed, err := s.halt(ctx, svc, seen.tasks)
		if err != nil {
			return nil, false, fmt.Errorf("have the Swarm stop %s: %w", key, err)
		}
		told = told || changed
	}
	return seen, told, nil
}

// halt has Swarm want no task of a service. What else the service is stays as it is, but
// for a job that is at work: only without it does Swarm let go of its tasks.
func (s *stopping) halt(ctx context.Context, svc swarm.Service, tasks []swarm.Task) (changed bool, err error) {
	spec, mode := svc.Spec, &svc.Spec.Mode
	switch {
	case mode.ReplicatedJob != nil, mode.GlobalJob != nil:
		if !slices.ContainsFunc(tasks, func(t swarm.Task) bool { return t.ServiceID == svc.ID && !ended(t) }) {
			return false, nil
		}
		_, err = s.API.ServiceRemove(ctx, svc.ID, client.ServiceRemoveOptions{})
		return true, err
	case mode.Global != nil:
		place := swarm.Placement{}
		if spec.TaskTemplate.Placement != nil {
			place = *spec.TaskTemplate.Placement
		}
		if slices.Contains(place.Constraints, stack.Nowhere) {
			return false, nil
		}
		place.Constraints = append(slices.Clone(place.Constraints), stack.Nowhere)
		spec.TaskTemplate.Placement = &place
	default:
		if wanted(spec) == 0 {
			return false, nil
		}
		spec.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: new(uint64)}}
	}
	_, err = s.API.ServiceUpdate(ctx, svc.ID, client.ServiceUpdateOptions{Version: svc.Version, Spec: spec})
	return true, err
}

// endure lets an error pass that may be over soon: the connection, or the manager's
// engine, comes back, and somebody else may have changed a service meanwhile.
func (s *stopping) endure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var known *fault.Error
	if errors.As(err, &known) && known.Kind == fault.Interrupted || errdefs.IsInvalidArgument(err) || time.Since(s.answered) > lostFor {
		return err
	}
	if !s.warned {
		s.warned = true
		s.say(event.Warning, "", "the manager did not do it (%v); trying again", err)
	}
	s.began = time.Now() // nobody could end in time what nobody was told of
	return nil
}

// graceOf is how long a service gives its tasks to end.
func graceOf(spec swarm.ServiceSpec) time.Duration {
	if c := spec.TaskTemplate.ContainerSpec; c != nil && c.StopGracePeriod != nil {
		return *c.StopGracePeriod
	}
	return stack.DefaultGrace
}

// ended tells whether nothing of a task runs, or will. Of a node that does not answer the
// manager keeps what it said last: what ran there may run still.
func ended(t swarm.Task) bool {
	switch t.Status.State {
	case swarm.TaskStateComplete, swarm.TaskStateFailed, swarm.TaskStateShutdown, swarm.TaskStateRejected, swarm.TaskStateOrphaned, swarm.TaskStateRemove:
		return true
	case swarm.TaskStateNew, swarm.TaskStateAllocated, swarm.TaskStatePending:
		// No node has it yet.
		return t.DesiredState == swarm.TaskStateShutdown || t.DesiredState == swarm.TaskStateRemove
	}
	return false
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
