package stack

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The labels by which the containers of a Swarm's tasks are told apart: the key of
// their service in the Compose file and the hash of what they were made of. Compose's
// own labels would make them units of a single host.
const (
	KeyLabel  = "io.shiksha.key"
	HashLabel = "io.shiksha.config-hash"
)

// State of a unit as the engine reports it.
type State string

// The engine's container states that rollouts tell apart.
const (
	Running    State = "running"
	Created    State = "created"
	Exited     State = "exited"
	Restarting State = "restarting"
	Paused     State = "paused"
	Dead       State = "dead"
	Removing   State = "removing"
)

// UnitHealth of a unit as the engine reports it; None when it has no check.
type UnitHealth string

// The engine's health states.
const (
	NoHealth     UnitHealth = "none"
	HealthStart  UnitHealth = "starting"
	HealthOK     UnitHealth = "healthy"
	HealthFailed UnitHealth = "unhealthy"
)

// Unit is one container of the project on the host.
type Unit struct {
	ID      string
	Name    string
	Service string
	Number  int
	State   State
	Health  UnitHealth
	// ExitCode is how it ended where it has Exited, -1 where nobody knows how.
	ExitCode int
	// Hash is the label com.docker.compose.config-hash, or HashLabel.
	Hash string
	// Image is the reference it was created from; ImageID the engine's ID of it.
	Image, ImageID string
	Created        time.Time
	// StateDir is StateLabel, "" where no release made it, or that is not known.
	StateDir string
	// Folder is the one of the Compose file that it was made of, "" where that is not known.
	Folder string
	// Addresses maps network names to the unit's address on them: the IPv6 one on those
	// without IPv4, else the IPv4 one.
	Addresses map[string]string
	// Mounts are the host paths that it mounts, Anonymous the places in it that have a
	// volume without a name.
	Mounts, Anonymous []string
	// Networks are the names and the ids of the networks that it is on, Volumes the names
	// of the volumes that it mounts; nil where that is not known.
	Networks, Volumes []string
	// Writes are the volumes, by name, and the host paths that it mounts to write to, Targets
	// the same by where in it they are.
	Writes  []string
	Targets map[string]string
	// Ports are the ports of the host that it publishes now ("443/tcp"), and on which addresses.
	Ports map[string][]netip.Addr
	// OneOff is set for `compose run` containers, which are never touched.
	OneOff bool
	// Node is the host that it runs on where a stack has several, else "", and
	// NodeAddress where ports that it publishes there are reached from the manager.
	Node, NodeAddress string
	// What follows is about what a Swarm runs on every node: Joining is set for the first try on
	// a node that has had none of it, GivenUp for the last one where the Swarm makes no more,
	// Held for one on a node that is paused, where the Swarm replaces nothing; Global for all.
	Joining, GivenUp, Held, Global bool

	// What follows is known only after a look at the single unit (Inspect).

	StartedAt  time.Time
	FinishedAt time.Time
	Restarts   int
	OOMKilled  bool
	PID        int
	Env        map[string]string
	ReadOnly   bool
	// Command is what it was given to run, or its image's own; ShmSize the bytes of its
	// /dev/shm.
	Command []string
	ShmSize int64
	// Probes are the last runs of the healthcheck, the oldest first.
	Probes []HealthProbe
}

// HealthProbe is one run of a healthcheck.
type HealthProbe struct {
	At time.Time
	OK bool
	// Output is what it printed, as far as the engine keeps it.
	Output string
}

// Serving tells whether the unit runs and is not known to be ill.
func (u Unit) Serving() bool {
	return u.State == Running && u.Health != HealthFailed && u.Health != HealthStart
}

// Up tells whether the unit is at work, well or not: it runs, waits or is started again
// by the engine.
func (u Unit) Up() bool { return u.State == Running || u.State == Restarting || u.State == Paused }

// Tries tells whether the unit runs, or is started again and again. One that is paused is up and
// does neither.
func (u Unit) Tries() bool { return u.State == Running || u.State == Restarting }

// AddressOn gives the unit's address on one of the networks that count, "" for none: the
// first by name, but one that has IPv4 goes before those that have not, since not all that
// listen do so on IPv6.
func (u Unit) AddressOn(counts func(network string) bool) string {
	first := ""
	for _, network := range slices.Sorted(maps.Keys(u.Addresses)) {
		address := u.Addresses[network]
		if address == "" || !counts(network) {
			continue
		}
		if !strings.Contains(address, ":") {
			return address
		}
		first = cmp.Or(first, address)
	}
	return first
}

// Resource is a network or volume of the project on the host.
type Resource struct {
	Key, Name, ID, Hash, Driver string
	// Project is the label com.docker.compose.project, "" for one that Compose
	// did not make.
	Project string
	// Foreign is set for one that the stack names and somebody else made.
	Foreign bool
}

// Other is a container that runs on the host and that the project does not have.
type Other struct {
	// Image is as a Unit's; what lost its tag is named by its ID.
	Name, Image string
	// Project is the Compose project or the Swarm's stack that has it, "" for none, Service its
	// service in the one, Task in the other, by their full names.
	Project, Service, Task string
	// Writes and Ports are as a Unit's.
	Writes []string
	Ports  map[string][]netip.Addr
}

// String names it, and whose it is.
func (o Other) String() string {
	switch {
	case o.Project == "":
		return o.Name
	case o.Task != "":
		return o.Name + " of stack " + o.Project
	}
	return o.Name + " of project " + o.Project
}

// StopIt is the command that stops it. A Swarm names a task by its number, or, where the service
// runs on every node, by the node.
func (o Other) StopIt() string {
	slot, isTask := strings.CutPrefix(o.Name, o.Task+".")
	slot, _, _ = strings.Cut(slot, ".")
	_, err := strconv.Atoi(slot)
	switch {
	case o.Task == "":
		return "docker stop " + o.Name
	case isTask && err != nil:
		return leave(o.Task)
	}
	return scale(o.Task, 0)
}

// scale is the command that sets how many tasks of a service a Swarm runs: it starts anew what
// is only stopped.
func scale(service string, tasks int) string {
	return fmt.Sprintf("docker service scale %s=%d", service, tasks)
}

// Nowhere is a constraint that no node of a Swarm meets: a service that runs on every node is
// stopped by it, since it has no number that could be 0.
const Nowhere = "node.id==none"

// leave is the command that stops what a Swarm runs on every node. The service stays, so that it can
// be started again.
func leave(service string) string {
	return "docker service update --constraint-add " + Nowhere + " " + service
}

// StopIt is the command that stops some units of a service.
func (s *Stack) StopIt(seen Observed, service string, units ...string) string {
	switch {
	case !seen.Scheduled:
		return "docker stop " + strings.Join(units, " ")
	case seen.onEveryNode(service):
		return leave(s.Name + "_" + service)
	}
	return scale(s.Name+"_"+service, 0)
}

// StartIt is the command that starts them again.
func (s *Stack) StartIt(seen Observed, service string, units ...string) string {
	switch {
	case !seen.Scheduled:
		return "docker start " + strings.Join(units, " ")
	case seen.onEveryNode(service):
		return "docker service update --constraint-rm " + Nowhere + " " + s.Name + "_" + service
	}
	return scale(s.Name+"_"+service, len(units))
}

// Observed is a snapshot of one project on one host: planning makes no further
// calls.
type Observed struct {
	Project  string
	Units    map[string][]Unit
	Networks map[string]Resource
	Volumes  map[string]Resource
	// Others are the containers beside the project that run on the host, by ID; nil where
	// nobody looked for them.
	Others map[string]Other
	// Scheduled is set where somebody else decides which units run (a Swarm): none of
	// them is ours to take away, and what a cut-off release left goes on by itself.
	Scheduled bool
	// Closed are the names of networks that are there and that no container of an engine can
	// join: a Swarm's own tasks do.
	Closed []string
}

// onEveryNode tells whether a Swarm runs a service on every node.
func (o Observed) onEveryNode(service string) bool {
	return slices.ContainsFunc(o.Units[service], func(u Unit) bool { return u.Global })
}

// Of are the units of a service, but for commands in them (docker compose run).
func (o Observed) Of(service string) []Unit {
	return slices.DeleteFunc(slices.Clone(o.Units[service]), func(u Unit) bool { return u.OneOff })
}

// Aliases lists the other names that a service is reached by on its networks:
// network aliases and container_name.
func (s *Stack) Aliases(service string) []string {
	svc := s.Project.Services[service]
	var out []string
	if svc.ContainerName != "" {
		out = append(out, svc.ContainerName)
	}
	for _, n := range svc.Networks {
		if n != nil {
			out = append(out, n.Aliases...)
		}
	}
	return out
}

// Elsewhere says which networks and volumes of a service a unit of it does not have. Their
// names are in no hash, only their keys are. What does not run is on no network.
func (s *Stack) Elsewhere(service string, u Unit) []string {
	svc := s.Services[service]
	var out []string
	for _, key := range svc.Networks {
		name := s.Project.Networks[key].Name
		if u.Networks != nil && u.State == Running && name != "" && !slices.Contains(u.Networks, name) {
			out = append(out, "is not on network "+name)
		}
	}
	for _, key := range svc.Volumes {
		name := s.Project.Volumes[key].Name
		if u.Volumes != nil && name != "" && !slices.Contains(u.Volumes, name) {
			out = append(out, "does not have volume "+name)
		}
	}
	return out
}
