package swarm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// ports tells what is otherwise about how users come in.
func (l *look) ports(svc *stack.Service, c types.ServiceConfig) {
	for _, p := range c.Ports {
		number := p.Published
		if number == "" {
			number = "any port"
		}
		if strings.Contains(p.Published, "-") {
			l.Fail("P17.port-range", at(svc, "ports"), "publish one port", "a Swarm chooses no port from a range (%s)", p.Published)
		}
		if p.HostIP != "" && p.HostIP != "0.0.0.0" && p.HostIP != "::" {
			l.Fail("P17.host-ip", at(svc, "ports"), "publish nothing and let others reach it over a network of the stack, or keep it away with the nodes' firewall",
				"%s is opened on every address of the node, not on %s only", number, p.HostIP)
		}
		if p.Mode == "host" || deploy(c).EndpointMode == "dnsrr" {
			l.hosted(svc, p, number)
			continue
		}
		l.Warn("P17.ingress", at(svc, "ports"), fmt.Sprintf("to keep it so, write ports: [{target: %d, published: %s, mode: host}] and say which nodes run it", p.Target, number),
			"%s answers on every node, and the program sees an address of the Swarm instead of the user's (where kernels lack IPVS: only the nodes that run a task answer)", number)
	}
}

// hosted is about a port that the node of the task holds.
func (l *look) hosted(svc *stack.Service, p types.ServicePortConfig, number string) {
	l.Warn("P17.host-port", at(svc, "ports"), "lead users to the nodes that run it: deploy: {placement: {constraints: [...]}}", "%s answers only on the nodes that run a task, one on each", number)
	if svc.Update.Order == stack.StartFirst && p.Published != "" {
		l.Warn("P17.start-first", at(svc, "deploy.update_config.order"), "write order: stop-first, or have one node more than replicas",
			"a new task waits for a node whose port %s is free: with a task on each node there is none, and the update stands still", number)
	}
}

// attachments tells what a service asks of its networks in vain.
func (l *look) attachments(svc *stack.Service, c types.ServiceConfig) {
	for _, name := range finding.SortedKeys(c.Networks) {
		n := c.Networks[name]
		if n == nil {
			continue
		}
		key := "networks." + name
		if n.Ipv4Address != "" || n.Ipv6Address != "" || len(n.LinkLocalIPs) > 0 {
			l.Fail("P17.address", at(svc, key), "reach it by its name", "a task gets any address of %s, not the one that is written", name)
		}
		if n.MacAddress != "" || n.InterfaceName != "" || n.Priority != 0 || n.GatewayPriority != 0 || len(n.DriverOpts) > 0 {
			l.Warn("P17.attachment", at(svc, key), "take it out: only aliases are kept", "the order, names and options of network interfaces are left out")
		}
	}
}

// networks tells what is otherwise about the networks themselves.
func (l *look) networks() {
	for _, key := range finding.SortedKeys(l.Stack.Project.Networks) {
		n := l.Stack.Project.Networks[key]
		file, line := l.Stack.Place("networks." + key)
		where := finding.In("", file, line)
		switch {
		case bool(n.External):
			l.Warn("P17.external-network", where, "make it on a manager: docker network create --driver overlay --attachable "+n.Name, "%s has to be a network of the Swarm, not one of a single host", n.Name)
			continue
		case n.Driver != "" && n.Driver != "overlay":
			l.Fail("P17.network-driver", where, "take driver out: then it is bridge on one host and overlay on a Swarm", "tasks cannot join a network of the driver %s", n.Driver)
			continue
		}
		if _, encrypted := n.DriverOpts["encrypted"]; !encrypted {
			l.Warn("P17.encryption", where, "write driver_opts: {encrypted: \"true\"}, or let the nodes speak over a network that nobody else is on",
				"what services say to each other on %s goes from node to node as it is; on one host it never leaves it", key)
		}
		if slices.ContainsFunc(n.Ipam.Config, func(p *types.IPAMPool) bool {
			return p.Gateway != "" || p.IPRange != "" || len(p.AuxiliaryAddresses) > 0
		}) {
			l.Warn("P17.ipam", where, "write the subnet alone", "of its addresses only the subnet is kept: the managers hand them out on all nodes")
		}
		if n.EnableIPv6 != nil && *n.EnableIPv6 {
			l.Warn("P17.ipv6", where, "use IPv4 between services", "virtual addresses and ports of the Swarm are IPv4 only")
		}
	}
}
