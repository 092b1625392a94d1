package swarmlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// wires are three cables: from this machine to each node, and between the nodes.
// Each end has one address whichever cable is used; nothing is bridged, so no
// firewall of this machine stands between the nodes. They lead nowhere else: a name
// server that nobody reaches is told apart at once, not after a time-out.
type wires struct {
	// subnet is the third number of the addresses 198.18.x.y, a network that is
	// reserved for tests of networks.
	subnet int
	taken  bool
}

// firstSubnet and subnetCount bound the networks that a Swarm takes one of.
const firstSubnet, subnetCount = 1, 200

func (w wires) address(host int) string { return fmt.Sprintf("198.18.%d.%d", w.subnet, host) }
func (w wires) machine() string         { return w.address(1) }
func (w wires) manager() string         { return w.address(2) }
func (w wires) worker() string          { return w.address(3) }

// cable is the name of the machine's end of the cable to a node.
func (w wires) cable(address string) string {
	return fmt.Sprintf("swarmlab%d-%s", w.subnet, address[strings.LastIndex(address, ".")+1:])
}

// findWires takes a network that nobody on this machine has, and gives the machine
// its address on it.
func findWires(ctx context.Context) (w wires, err error) {
	unlock, err := sweep()
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return w, err
	}
	used := map[string]bool{}
	for _, address := range addresses {
		ip, _, _ := strings.Cut(address.String(), "/")
		used[ip] = true
	}
	for w.subnet = firstSubnet; w.subnet < firstSubnet+subnetCount; w.subnet++ {
		if !used[w.machine()] {
			w.taken = true
			return w, errors.Join(own(w.machine(), ""), ip(ctx, "address", "add", w.machine()+"/32", "dev", "lo"))
		}
	}
	return wires{}, errors.New("all networks from 198.18.1.0 on are taken by other Swarms of tests")
}

// plug connects this machine with a node, named by a process in it.
func (w wires) plug(ctx context.Context, address, namespace string) error {
	cable := w.cable(address)
	return errors.Join(
		ip(ctx, "link", "add", cable, "type", "veth", "peer", "name", "machine", "netns", namespace),
		ip(ctx, "link", "set", cable, "up"),
		ip(ctx, "route", "add", address+"/32", "dev", cable, "src", w.machine()),
		inside(ctx, namespace, "link", "set", "machine", "up"),
		inside(ctx, namespace, "address", "add", address+"/32", "dev", "machine"),
		inside(ctx, namespace, "route", "add", w.machine()+"/32", "dev", "machine", "src", address),
	)
}

// join connects two nodes, each named by a process in it.
func (w wires) join(ctx context.Context, manager, worker string) error {
	errs := []error{inside(ctx, manager, "link", "add", "node", "type", "veth", "peer", "name", "node", "netns", worker)}
	for _, end := range []struct{ namespace, here, there string }{{manager, w.manager(), w.worker()}, {worker, w.worker(), w.manager()}} {
		errs = append(errs,
			inside(ctx, end.namespace, "link", "set", "node", "up"),
			inside(ctx, end.namespace, "address", "add", end.here+"/32", "dev", "node"),
			inside(ctx, end.namespace, "route", "add", end.there+"/32", "dev", "node", "src", end.here))
	}
	return errors.Join(errs...)
}

// cut gives the network back. The cables go with the nodes.
func (w wires) cut() error {
	if !w.taken {
		return nil
	}
	return disown(w.machine(), "")
}

// ip runs iproute2's program.
func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// inside is ip in the network namespace of a process.
func inside(ctx context.Context, namespace string, args ...string) error {
	args = append([]string{"--net=/proc/" + namespace + "/ns/net", "ip"}, args...)
	out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("nsenter %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
