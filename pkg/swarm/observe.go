package swarm

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/stack"
)

// snapshot is all that the manager says of a project.
type snapshot struct {
	project  string
	services []swarm.Service
	tasks    []swarm.Task
	nodes    map[string]swarm.Node
	networks map[string]stack.Resource
	// closed are the networks of whomever that no container of an engine can join, by name.
	closed []string
}

// look takes a snapshot, in four calls at once.
func (s *Swarm) look(ctx context.Context, project string) (*snapshot, error) {
	out := &snapshot{project: project, nodes: map[string]swarm.Node{}, networks: map[string]stack.Resource{}}
	eg, asking := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		out.services, err = s.services(asking, project)
		return err
	})
	eg.Go(func() error {
		res, err := s.API.TaskList(asking, client.TaskListOptions{Filters: of(project)})
		out.tasks = res.Items
		return err
	})
	eg.Go(func() error {
		res, err := s.API.NodeList(asking, client.NodeListOptions{})
		for _, n := range res.Items {
			out.nodes[n.ID] = n
		}
		return err
	})
	eg.Go(func() error {
		res, err := s.API.NetworkList(asking, client.NetworkListOptions{})
		for _, n := range res.Items {
			if n.Scope == "swarm" && !n.Attachable {
				out.closed = append(out.closed, n.Name)
			}
			if n.Labels[namespaceLabel] != project {
				continue
			}
			key := keyOf(n.Labels, project, n.Name)
			out.networks[key] = stack.Resource{Key: key, Name: n.Name, ID: n.ID, Driver: n.Driver, Hash: n.Labels[hashLabel], Project: project}
		}
		slices.Sort(out.closed)
		return err
	})
	if err := eg.Wait(); err != nil {
		return nil, fmt.Errorf("ask the Swarm what runs of %s: %w", project, err)
	}
	return out, nil
}

// keyOf is the Compose file's key of something that `docker stack` or this package
// made.
func keyOf(labels map[string]string, project, name string) string {
	if key := labels[keyLabel]; key != "" {
		return key
	}
	return strings.TrimPrefix(name, project+"_")
}

// Observe looks at a project: of every service the tasks that Swarm wants to run, and those
// that it has given up on a node.
func (s *Swarm) Observe(ctx context.Context, project string) (stack.Observed, error) {
	seen, err := s.look(ctx, project)
	if err != nil {
		return stack.Observed{}, err
	}
	out := stack.Observed{Project: project, Units: map[string][]stack.Unit{}, Networks: seen.networks, Volumes: map[string]stack.Resource{}, Scheduled: true, Closed: seen.closed}
	where := map[string]string{}
	for _, svc := range seen.services {
		key := keyOf(svc.Spec.Labels, project, svc.Spec.Name)
		wants := current(svc, seen.tasks)
		for i, t := range slices.Concat(wants, givenUp(svc, seen.tasks, seen.nodes)) {
			u := unitOf(svc, t, seen.nodes)
			u.Service, u.NodeAddress = key, s.addressOf(seen.nodes[t.NodeID])
			u.Joining = joining(svc, t, seen.tasks)
			u.Global = svc.Spec.Mode.Global != nil
			u.Held = u.Global && seen.nodes[t.NodeID].Spec.Availability == swarm.NodeAvailabilityPause
			if i >= len(wants) {
				u.GivenUp, u.Addresses = true, map[string]string{} // another task may have them by now
			}
			where[u.ID] = t.NodeID
			out.Units[key] = append(out.Units[key], u)
		}
		if len(out.Units[key]) == 0 && wanted(svc.Spec) > 0 {
			// It is there, although nothing of it runs.
			out.Units[key] = []stack.Unit{{ID: svc.ID, Name: svc.Spec.Name, Service: key, State: stack.Dead, Hash: hashOf(svc.Spec.TaskTemplate)}}
		}
		for name, v := range volumes(svc, project) {
			out.Volumes[name] = v
		}
	}
	s.settle(where, seen.nodes)
	return out, nil
}

// addressOf is where the manager reaches a node; itself it knows by no other name.
func (s *Swarm) addressOf(n swarm.Node) string {
	if n.ID == s.self {
		return "127.0.0.1"
	}
	return n.Status.Addr
}

// wanted is how many tasks a service asks for, 0 for what runs on every node.
func wanted(spec swarm.ServiceSpec) int {
	switch {
	case spec.Mode.Replicated != nil && spec.Mode.Replicated.Replicas != nil:
		return int(*spec.Mode.Replicated.Replicas)
	case spec.Mode.Replicated != nil, spec.Mode.ReplicatedJob != nil:
		return 1
	}
	return 0
}

// volumes are the named volumes of a service. They are local to the nodes, where
// Swarm makes them; that a service has them is what the manager knows.
func volumes(svc swarm.Service, project string) map[string]stack.Resource {
	out := map[string]stack.Resource{}
	if svc.Spec.TaskTemplate.ContainerSpec == nil {
		return out
	}
	for _, m := range svc.Spec.TaskTemplate.ContainerSpec.Mounts {
		if m.Type != mount.TypeVolume || m.Source == "" {
			continue
		}
		labels := map[string]string{}
		if m.VolumeOptions != nil {
			labels = m.VolumeOptions.Labels
		}
		key := keyOf(labels, project, m.Source)
		out[key] = stack.Resource{Key: key, Name: m.Source, ID: m.Source, Project: project}
	}
	return out
}

// current are the tasks of a service that Swarm wants to run, and those of a job's
// last run; sorted by slot and age.
func current(svc swarm.Service, tasks []swarm.Task) []swarm.Task {
	var out []swarm.Task
	for _, t := range tasks {
		if t.ServiceID != svc.ID {
			continue
		}
		if svc.JobStatus != nil {
			if t.JobIteration != nil && *t.JobIteration == svc.JobStatus.JobIteration {
				out = append(out, t)
			}
			continue
		}
		switch t.DesiredState {
		case swarm.TaskStateShutdown, swarm.TaskStateRemove, swarm.TaskStateComplete, swarm.TaskStateOrphaned:
		default:
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b swarm.Task) int {
		if a.Slot != b.Slot {
			return a.Slot - b.Slot
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
	return out
}

// unitOf reads a task as a unit. Its id is that of its container once it has one.
func unitOf(svc swarm.Service, t swarm.Task, nodes map[string]swarm.Node) stack.Unit {
	u := stack.Unit{
		ID: t.ID, Name: taskName(svc, t), Number: t.Slot, Hash: hashOf(t.Spec), Created: t.CreatedAt,
		Addresses: map[string]string{}, Node: nodes[t.NodeID].Description.Hostname, Env: map[string]string{},
	}
	if c := t.Status.ContainerStatus; c != nil {
		if c.ContainerID != "" {
			u.ID = c.ContainerID
		}
		u.ExitCode, u.PID = c.ExitCode, c.PID
	}
	if c := t.Spec.ContainerSpec; c != nil {
		// Only its node knows the id that the image has there. By its digest it is found too.
		u.Image, u.ImageID = c.Image, c.Image
		if t.NodeID != "" {
			u.Writes = writesOf(c.Mounts)
		}
	}
	for _, n := range t.NetworksAttachments {
		if len(n.Addresses) > 0 {
			u.Addresses[n.Network.Spec.Name] = n.Addresses[0].Addr().String()
		}
	}
	u.State, u.Health = stateOf(t)
	if u.State == stack.Exited && u.ExitCode == 0 && t.Status.State != swarm.TaskStateComplete {
		u.ExitCode = -1 // it had no container, or its health check had it stopped: its work is not done
	}
	return u
}

// writesOf are the volumes, by name, and the folders of its node that a task writes to.
func writesOf(mounts []mount.Mount) []string {
	var out []string
	for _, m := range mounts {
		switch {
		case m.ReadOnly || m.Source == "":
		case m.Type == mount.TypeVolume:
			out = append(out, m.Source)
		case m.Type == mount.TypeBind:
			out = append(out, path.Clean(m.Source))
		}
	}
	slices.Sort(out)
	return out
}

// taskName is how people name a task: the service, its slot or node, and its id, as
// the container is called.
func taskName(svc swarm.Service, t swarm.Task) string {
	slot := fmt.Sprint(t.Slot)
	if t.Slot == 0 {
		slot = t.NodeID
	}
	return svc.Spec.Name + "." + slot + "." + t.ID
}

// hashOf is the hash of what a task was made of. One that was changed by hand since is
// made of something else.
func hashOf(t swarm.TaskSpec) string {
	if t.ContainerSpec == nil {
		return ""
	}
	labels := t.ContainerSpec.Labels
	if sum := labels[specLabel]; sum != "" && sum != fingerprint(t) {
		return labels[hashLabel] + " changed by hand"
	}
	return labels[hashLabel]
}

// stateOf translates a task's state. A task is running once its health check says
// that it is well, and fails when that turns.
func stateOf(t swarm.Task) (stack.State, stack.UnitHealth) {
	switch t.Status.State {
	case swarm.TaskStateRunning:
		if checked(t) {
			return stack.Running, stack.HealthOK
		}
		return stack.Running, stack.NoHealth
	case swarm.TaskStateStarting:
		return stack.Running, stack.HealthStart
	case swarm.TaskStateComplete, swarm.TaskStateFailed, swarm.TaskStateShutdown:
		return stack.Exited, stack.NoHealth
	case swarm.TaskStateRejected, swarm.TaskStateOrphaned:
		return stack.Dead, stack.NoHealth
	case swarm.TaskStateRemove:
		return stack.Removing, stack.NoHealth
	}
	return stack.Created, stack.NoHealth
}

// checked tells whether the service's own spec has a health check. One of the image
// is not known here; Swarm waits for it all the same.
func checked(t swarm.Task) bool {
	c := t.Spec.ContainerSpec
	return c != nil && c.Healthcheck != nil && len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] != "NONE"
}

// Compare names the networks that exist with another definition, by the hash that
// they were made of. Volumes are the nodes' own: nothing is known of their
// definition.
func (s *Swarm) Compare(_ context.Context, st *stack.Stack, seen stack.Observed) (networks, volumes []string, err error) {
	for key, n := range st.Project.Networks {
		for name, r := range seen.Networks {
			if r.Name == n.Name && name != key {
				seen.Networks[key] = r
			}
		}
	}
	for key, v := range st.Project.Volumes {
		for name, r := range seen.Volumes {
			if r.Name == v.Name && name != key {
				seen.Volumes[key] = r
			}
		}
	}
	networks, _ = engine.Diverged(st, seen)
	return networks, nil, nil
}
