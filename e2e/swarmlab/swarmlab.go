// Package swarmlab makes a Docker Swarm of two nodes on this machine, beside the
// engine that everybody shares and that never becomes a part of it.
//
// Each node is a machine of its own as far as Linux lets it be one: a network
// namespace with one address, a process, mount and host name namespace, a Docker
// Engine in them, and an OpenSSH server that the user deploy reaches the engine
// through. Of this machine's files a node's engine sees all but the state folders
// of other hosts and /tmp, so a file that a runner or another node has is not there.
//
//	lab := …                              // lab.Prepare, or f.Lab of lab.New(t)
//	swarm, err := swarmlab.Start(ctx, lab, swarmlab.Options{Name: "mine"})
//	swarm.Manager.Host.Flags()            // the inputs of shiksha that name the manager
//	swarm.Manager.Docker(ctx, "service", "ls")
//	swarm.Worker.Address                  // its Status.Addr; sshd answers on port 22
//	swarm.Worker.Stop(ctx)                // the engine: Stop, Start, Restart, Kill
//	swarm.Worker.PowerOff(), PowerOn(ctx) // the whole node, containers and all, but sshd
//	swarm.Registry                        // what was pushed to lab.Registry, by the address that nodes have for it
//
// Tests take the Swarm that a test binary shares, and a fixture that acts on it:
//
//	f := lab.New(t)
//	swarm := swarmlab.Shared(t, f)        // started once, taken away by lab.Main
//	g := swarm.On(t, f)                   // as f, on the Swarm: the same file, another host
//	g.MustPublish(lab.Release{Version: "v1"})
//	g.Deploy("v1", 0, "--engine", "swarm")
//	swarm.RemoveStack(ctx, g.Project)     // is done at the end of g's test
//
// The key and the known-hosts file of the manager are good for the worker too, so
// that a node can be reached through the manager. Images of Docker Hub's names that
// the lab has (nginx:1.22, postgres:15) come from the registry as from a mirror.
//
// Some kernels have no IPVS: then there are no virtual addresses and no ingress
// ports. HasIPVS tells; publish with mode host and use endpoint_mode dnsrr without.
// A node that fails is noticed after three heartbeats, of one second here and of
// five by default.
package swarmlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shiksha/actions/e2e/lab"
)

// Options says how a Swarm is made.
type Options struct {
	// Name is unique on this machine.
	Name string
	// Push are images of this machine that the registry shall have, beside those a
	// quickstart needs.
	Push []string
	// Apart leaves the nodes as they are before anybody makes a Swarm of them.
	Apart bool
}

// Swarm is two nodes and what both reach.
type Swarm struct {
	Manager, Worker *Node
	// Registry is the lab's registry by the address that the nodes and this machine
	// have for it: what was pushed to lab.Registry is in it.
	Registry string
	// Machine is the address of this machine on the nodes' network.
	Machine string

	lab  *lab.Lab
	name string
	net  wires
}

// quickstart are the base images of the quickstart.
var quickstart = []string{"nginx:1.22", "postgres:15"}

// Start makes a Swarm. It is taken away with the lab at the latest. When this process
// is killed its nodes end with it, and the next Swarm sweeps what they left.
func Start(ctx context.Context, l *lab.Lab, options Options) (*Swarm, error) {
	s := &Swarm{lab: l, name: options.Name}
	l.AtClose(func(context.Context) error { return s.Close() })
	if err := s.start(ctx, options); err != nil {
		return nil, errors.Join(fmt.Errorf("making a Swarm of two nodes: %w", err), s.Close())
	}
	return s, nil
}

func (s *Swarm) start(ctx context.Context, options Options) error {
	wires, err := findWires(ctx)
	if err != nil {
		return err
	}
	s.net, s.Machine = wires, wires.machine()
	registry, err := s.lab.StartRegistry(ctx, lab.RegistryOptions{Listen: s.Machine})
	if err != nil {
		return err
	}
	s.Registry = registry.Address
	if s.Manager, err = s.boot(ctx, "manager", wires.manager(), nil); err != nil {
		return err
	}
	if s.Worker, err = s.boot(ctx, "worker", wires.worker(), s.Manager.Host); err != nil {
		return err
	}
	if err := wires.join(ctx, s.Manager.net, s.Worker.net); err != nil {
		return err
	}
	pushed := make(chan error, 1)
	go func() { pushed <- s.push(ctx, append(quickstart, options.Push...)) }()
	err = s.startEngines(ctx)
	if err == nil && !options.Apart {
		err = s.form(ctx)
	}
	return errors.Join(err, <-pushed)
}

func (s *Swarm) startEngines(ctx context.Context) error {
	var wait sync.WaitGroup
	errs := make([]error, 2)
	for i, n := range []*Node{s.Manager, s.Worker} {
		wait.Go(func() { errs[i] = n.Start(ctx) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// form joins the nodes.
func (s *Swarm) form(ctx context.Context) error {
	if _, err := s.Manager.Docker(ctx, "swarm", "init", "--advertise-addr", s.Manager.Address, "--dispatcher-heartbeat", "1s"); err != nil {
		return err
	}
	token, err := s.Manager.Docker(ctx, "swarm", "join-token", "--quiet", "worker")
	if err != nil {
		return err
	}
	if _, err := s.Worker.Docker(ctx, "swarm", "join", "--advertise-addr", s.Worker.Address, "--token", token, s.Manager.Address+":2377"); err != nil {
		return err
	}
	for _, n := range []*Node{s.Manager, s.Worker} {
		if n.ID, err = n.Docker(ctx, "info", "--format", "{{.Swarm.NodeID}}"); err != nil {
			return err
		}
	}
	return s.AwaitNodes(ctx, "ready", "ready")
}

// push gives the registry images under the names they have on Docker Hub.
func (s *Swarm) push(ctx context.Context, images []string) error {
	var errs []error
	for _, image := range images {
		name := s.lab.Registry + "/library/" + image
		_, err := s.lab.Docker(ctx, "tag", image, name)
		if err == nil {
			_, err = s.lab.Docker(ctx, "push", "--quiet", name)
			err = errors.Join(err, s.lab.Forget(ctx, name))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// AwaitNodes waits until the manager's and the worker's node are in these states,
// as the manager sees them: ready, down.
func (s *Swarm) AwaitNodes(ctx context.Context, manager, worker string) error {
	want := s.Manager.ID + " " + manager + " " + s.Worker.ID + " " + worker
	return await(ctx, time.Minute, "the nodes to be "+manager+" and "+worker, func(ctx context.Context) error {
		states, err := s.Manager.Docker(ctx, "node", "inspect", "--format", "{{.ID}} {{.Status.State}}", s.Manager.ID, s.Worker.ID)
		if err == nil && strings.Join(strings.Fields(states), " ") != want {
			err = fmt.Errorf("they are %s", states)
		}
		return err
	})
}

// RemoveStack removes all that a release or `docker stack deploy` left on the Swarm
// under a project's name, volumes on both nodes included.
func (s *Swarm) RemoveStack(ctx context.Context, project string) error {
	labels := []string{"label=com.docker.stack.namespace=" + project, "label=com.docker.compose.project=" + project}
	var errs []error
	for _, kind := range []string{"service", "config", "secret", "network"} {
		for _, label := range labels {
			errs = append(errs, s.Manager.removeAll(ctx, kind, label))
		}
	}
	for _, n := range []*Node{s.Manager, s.Worker} {
		for _, kind := range []string{"container", "volume"} {
			for _, label := range labels {
				errs = append(errs, n.removeAll(ctx, kind, label))
			}
		}
	}
	return errors.Join(errs...)
}

// Close takes both nodes away, whatever runs on them. It may be called twice.
func (s *Swarm) Close() error {
	var errs []error
	for _, n := range []*Node{s.Worker, s.Manager} {
		if n != nil {
			errs = append(errs, n.remove())
		}
	}
	return errors.Join(append(errs, s.net.cut())...)
}

// HasIPVS tells whether this kernel balances virtual addresses: without it, neither
// endpoint_mode vip nor a port of the ingress network works.
func HasIPVS() bool {
	_, err := os.Stat("/proc/net/ip_vs")
	return err == nil
}

// await asks again and again, and gives the last answer when the time is over.
func await(ctx context.Context, limit time.Duration, what string, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := look(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting %s for %s: %w", limit, what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
