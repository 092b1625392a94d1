package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"

	compose "github.com/docker/compose/v5/pkg/api"
	api "github.com/moby/moby/api/types/swarm"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/swarm"
	"github.com/shiksha/actions/pkg/target"
)

const (
	// sshLabel is the label of a node that says where its sshd is, where that is not
	// port 22 of the address that the Swarm knows: host:port.
	sshLabel = "io.shiksha.ssh"
	// stateLabel says which folder a node keeps state in, where that is not the one that
	// the host would have.
	stateLabel = "io.shiksha.state-dir"
)

// Choose settles what a project runs on. Wanted is the input engine, asked what the
// stack itself asks for ("" where it is not known). With auto a Swarm is taken where
// the host is a manager of one and the stack asks for it or runs there already.
func Choose(ctx context.Context, t *target.Target, wanted, asked, project string) (Platform, error) {
	wanted = cmp.Or(wanted, Auto)
	if wanted == Auto && asked != "" {
		wanted = asked
	}
	found, err := findSwarm(ctx, t)
	return choose(ctx, t, found, err, wanted, project)
}

// choose settles it once a Swarm was looked for. What cannot be known is no reason to
// take the host for one without a Swarm: the stack may run there already.
func choose(ctx context.Context, t *target.Target, found *swarm.Swarm, looked error, wanted, project string) (Platform, error) {
	switch {
	case looked == nil:
	case wanted != Swarm && errors.Is(looked, swarm.ErrLost):
		return apart(ctx, t, looked, wanted, project)
	case wanted == Swarm || !errors.Is(looked, swarm.ErrWorker):
		return nil, fault.Early(ctx, looked)
	}
	if found == nil {
		if wanted == Swarm {
			return nil, fault.New(fault.Refused, "engine", "make the host a manager (docker swarm init), name one as host, or release with engine: compose",
				"the host is in no Swarm, which engine: swarm needs")
		}
		return oneHost{t}, nil
	}
	runs, err := found.Runs(ctx, project)
	if err != nil {
		return nil, err
	}
	switch {
	case wanted == Compose && runs:
		return nil, fault.New(fault.Refused, "engine", "release with engine: swarm, or take the stack off the Swarm first: docker stack rm "+project,
			"%s runs as a stack of the Swarm; a second copy on this host would serve beside it", project)
	case wanted == Compose, wanted == Auto && !runs:
		return oneHost{t}, nil
	}
	if err := alone(ctx, t.Engine, project); err != nil {
		return nil, err
	}
	return onSwarm{found, t}, nil
}

// apart takes a host whose Swarm is broken, or was left to itself, for what a project says
// or shows that it is: one that has no task of the stack and runs it by itself.
func apart(ctx context.Context, t *target.Target, lost error, wanted, project string) (Platform, error) {
	task, err := t.Engine.Task(ctx, project)
	if err != nil {
		return nil, fault.Early(ctx, err)
	}
	if task != "" {
		return nil, fault.Early(ctx, fmt.Errorf("%w (%s of %s is on the host)", lost, task, project))
	}
	if wanted != Compose {
		seen, err := t.Engine.Observe(ctx, project)
		if err != nil {
			return nil, fault.Early(ctx, err)
		}
		// What was stopped may be left from before the stack went to the Swarm; see alone.
		up := func(u stack.Unit) bool { return !u.OneOff && u.Up() }
		run := func(us []stack.Unit) bool { return slices.ContainsFunc(us, up) }
		if !slices.ContainsFunc(slices.Collect(maps.Values(seen.Units)), run) {
			return nil, fault.Early(ctx, fmt.Errorf("%w (with engine: compose the host alone is released on)", lost))
		}
	}
	t.Say(event.Warning, "look", "", "%v; %s has no task on the host, so it is looked at as one host without a Swarm. To end this: %s", lost, project, fault.Hint(lost))
	return oneHost{t}, nil
}

// alone refuses a project whose containers a single host's release left here: the
// tasks would fight with them for ports, and two databases for one volume.
func alone(ctx context.Context, e *engine.Engine, project string) error {
	seen, err := e.Observe(ctx, project)
	if err != nil {
		return err
	}
	n, first := 0, ""
	for _, units := range seen.Units {
		for _, u := range units {
			if !u.OneOff && u.State == stack.Running {
				n, first = n+1, u.Name
			}
		}
	}
	if n == 0 {
		return nil
	}
	// With the engine's own commands: no host needs a Compose plugin. Nor rm --force, which kills a database.
	ours := "--filter label=" + compose.ProjectLabel + "=" + project
	return fault.New(fault.Refused, "engine", "take a backup, then stop them (the data stays in its volumes): all=$(docker ps -aq "+ours+"); docker stop $all && docker rm $all; docker network prune "+ours,
		"%d containers of %s run on this host by themselves (%s), beside which its stack must not start", n, project, first)
}

// findSwarm gives the Swarm that the host manages, nil for none.
func findSwarm(ctx context.Context, t *target.Target) (found *swarm.Swarm, err error) {
	client, err := t.Host.Docker(ctx)
	if err != nil {
		return nil, err
	}
	found, err = swarm.Find(ctx, swarm.Host{
		API: client, Engine: t.Engine, Sink: t.Sink,
		Node: func(ctx context.Context, n api.Node) (*engine.Engine, error) {
			there, err := node(ctx, t, n)
			if err != nil {
				return nil, err
			}
			return there.Engine, nil
		},
		// found is set by then: a gateway is asked for when a release is on its way.
		Gateway: func(u stack.Unit) swarm.Gateway { return t.Nginx(onSwarm{found, t}, u) },
		Probe: func(ctx context.Context, argv []string) (int, error) {
			out, err := t.Host.Run(ctx, argv, nil)
			return out.Exit, err
		},
		Content: func(ctx context.Context, f stack.File, entry string) ([]byte, error) {
			return t.Files.Read(ctx, path.Join(f.HostPath, entry))
		},
	})
	return found, err
}

// node connects to another node: through the manager, as the same user with the same
// key. known-hosts has to pin it as well.
func node(ctx context.Context, t *target.Target, n api.Node) (*target.Node, error) {
	name := n.Description.Hostname
	address := n.Spec.Labels[sshLabel]
	if address == "" {
		address = net.JoinHostPort(n.Status.Addr, "22")
	}
	t.Say(event.Debug, "look", "", "connecting to node %s at %s", name, address)
	there, err := t.Beyond(ctx, target.Node{ID: n.ID, Name: name, Address: address, StateDir: n.Spec.Labels[stateLabel]})
	if err != nil {
		return nil, fault.New(fault.Refused, "node "+name, "let the user in there with the same key, pin its host key in known-hosts, or say where its sshd is: "+
			"docker node update --label-add "+sshLabel+"=HOST:PORT "+name, "a unit runs on node %s, which cannot be reached through the manager: %w", name, err)
	}
	return there, nil
}
