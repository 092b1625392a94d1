package target

import (
	"context"
	"fmt"
	"path"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/host"
)

// Node is a host that units run on: the one that we speak to, or another node of its
// Swarm, reached through it.
type Node struct {
	// ID and Name are what the Swarm calls it, "" for the host that we speak to.
	ID, Name string
	// Address is where its sshd is, StateDir the folder for state on it; "" where that
	// is not said.
	Address, StateDir string

	Host   *host.Host
	Engine *engine.Engine
}

// At is the node itself: who has one needs to ask for no other.
func (n *Node) At(context.Context, string) (*Node, error) { return n, nil }

// String says which one it is, for messages.
func (n *Node) String() string {
	if n.Name == "" {
		return "the host"
	}
	return "node " + n.Name
}

// Here is the host that we speak to.
func (t *Target) Here() *Node { return &Node{StateDir: t.StateDir, Host: t.Host, Engine: t.Engine} }

// Beyond connects to another node of a Swarm through the host, once for each address.
// The connection ends with the target.
func (t *Target) Beyond(ctx context.Context, n Node) (*Node, error) {
	done, err := t.connecting(ctx, n.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", &n, err)
	}
	defer done()
	t.mu.Lock()
	known := t.nodes[n.Address]
	t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if n.Host, err = t.Host.Beyond(ctx, n.Address); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.others = append(t.others, n.Host)
	api, err := n.Host.Docker(ctx)
	if err != nil {
		return nil, err
	}
	if n.Engine, err = engine.New(api, t.Sink); err != nil {
		return nil, err
	}
	if t.nodes == nil {
		t.nodes = map[string]*Node{}
	}
	t.nodes[n.Address] = &n
	return &n, nil
}

// connecting waits until nobody else connects to an address: units are looked into several
// at a time, and each would open a connection to a node that no one has spoken to yet.
func (t *Target) connecting(ctx context.Context, address string) (done func(), err error) {
	t.mu.Lock()
	if t.dialing == nil {
		t.dialing = map[string]chan struct{}{}
	}
	turn := t.dialing[address]
	if turn == nil {
		turn = make(chan struct{}, 1)
		t.dialing[address] = turn
	}
	t.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// stateDir is the folder for state on a node: what the node's label says, else what
// the input says, which then means the same folder everywhere, else what suits there.
func (t *Target) stateDir(ctx context.Context, n *Node) (string, error) {
	switch {
	case n.StateDir != "" && !path.IsAbs(n.StateDir):
		return "", fmt.Errorf("the folder for state on %s is not absolute: %q", n, n.StateDir)
	case n.StateDir != "":
		return n.StateDir, nil
	case t.everywhere:
		return t.StateDir, nil
	}
	return findStateDir(ctx, n.Host)
}
