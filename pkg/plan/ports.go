package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/stack"
)

// refusePorts refuses a service that wants more units than there are ports of the host
// or addresses for them: the second would never start.
func refusePorts(in Input, p *Plan) {
	for _, s := range p.Steps {
		svc := in.Desired.Services[s.Service]
		if svc == nil {
			continue
		}
		for _, port := range svc.HostPorts {
			if n := portCount(port); svc.Replicas > n {
				p.Refusals = append(p.Refusals, fmt.Sprintf("%s has %s, and only %d of them can publish port %s on the host: publish it on a "+
					"gateway in front of the units, or publish a range of ports", s.Service, plural(svc.Replicas, "unit"), n, port))
			}
		}
		if own := addresses(in, svc); len(own) > 0 && svc.Replicas > 1 {
			p.Refusals = append(p.Refusals, fmt.Sprintf("%s has %s, and only 1 of them can have address %s: take it out, and reach the service by its name",
				s.Service, plural(svc.Replicas, "unit"), strings.Join(own, ", ")))
		}
	}
}

// portCount is how many ports "8080-8082/tcp" has.
func portCount(published string) int {
	ports, _, _ := strings.Cut(published, "/")
	from, to, isRange := strings.Cut(ports, "-")
	first, err := strconv.Atoi(from)
	last, lastErr := strconv.Atoi(to)
	if !isRange || err != nil || lastErr != nil || last < first {
		return 1
	}
	return last - first + 1
}

// addresses are the ones that the file gives to a service on its networks, those of
// Ethernet too, sorted. A Swarm hands out its own.
func addresses(in Input, svc *stack.Service) []string {
	var out []string
	config := in.Desired.Project.Services[svc.Name]
	if config.MacAddress != "" && !in.Observed.Scheduled {
		out = append(out, config.MacAddress)
	}
	for _, n := range config.Networks {
		if n == nil || in.Observed.Scheduled {
			continue
		}
		for _, address := range []string{n.Ipv4Address, n.Ipv6Address, n.MacAddress} {
			if address != "" {
				out = append(out, address)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// hand is a port of the host that a step of a way back gives up: to whom, and the command that
// stops the unit that has it.
type hand struct{ to, port, stop string }

// passPorts says where a port of the host goes from one service to another that is new: who
// had it gives it up when it is replaced or goes, and who gets it is well only later. Nobody
// answers there meanwhile, whichever way the units of either are rolled. A way back goes in
// another order, which is by what is handed back.
func passPorts(in Input, p *Plan) {
	for i := range p.Steps {
		to := &p.Steps[i]
		svc := in.Desired.Services[to.Service]
		if svc == nil || to.Action != Create && !in.Back {
			continue
		}
		for j := range p.Steps {
			from := &p.Steps[j]
			unit, port := holder(in, svc, *from)
			if port == "" || slices.Contains(from.Before, svc.Name) {
				continue
			}
			h := hand{svc.Name, port, in.Desired.StopIt(in.Observed, from.Service, unit)}
			switch {
			case !in.Back:
				from.pass(to, h, j < i)
			case to.Replaces():
				// Who waits for the port does not wait for the rest as well.
				from.hands, from.late = append(from.hands, h), false
			}
		}
	}
}

// handBack says of the steps of a way back, in the order that they have now, which of them hand a
// port of the host over.
func (p *Plan) handBack() {
	for j := range p.Steps {
		from := &p.Steps[j]
		for _, h := range from.hands {
			i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Service == h.to })
			if from.Action == Remove {
				from.Reasons[0] += fmt.Sprintf("; goes before %s, which gets port %s of the host back", h.to, h.port)
			}
			from.pass(&p.Steps[i], h, j < i)
		}
	}
}

// pass says of two steps that one gives a port of the host up to the other, or that it comes
// too late for that.
func (s *Step) pass(to *Step, h hand, first bool) {
	until := "replaced"
	if s.Action == Remove {
		until = "taken away"
	}
	why := fmt.Sprintf("until the new units are well: %s holds port %s of the host until it is %s", s.Service, h.port, until)
	if !first {
		to.Interruption, to.InterruptionSeconds = why+fmt.Sprintf(", which comes only after: none could start, so stop it first (%s)", h.stop), 0
		return
	}
	s.Yields = append(s.Yields, h.to)
	s.Interruption, s.InterruptionSeconds = fmt.Sprintf("until %s is well: gives up port %s of the host to it", h.to, h.port), 0
	to.Interruption = cmp.Or(to.Interruption, why)
}

// gets tells whether one of others gives a port of the host up to a step of a way back.
func (s Step) gets(others []Step) bool {
	return slices.ContainsFunc(others, func(o Step) bool { return o.gives(s) })
}

// gives tells whether a step of a way back gives a port of the host up to another.
func (s Step) gives(to Step) bool {
	return slices.ContainsFunc(s.hands, func(h hand) bool { return h.to == to.Service })
}

// holder gives a unit that a step takes away, and a port that it holds where a new service
// wants it, or "". One that is to have the port further on does not give it up.
func holder(in Input, svc *stack.Service, from Step) (unit, port string) {
	was := in.Desired.Services[from.Service]
	if from.Service == svc.Name || !from.Changes() {
		return "", ""
	}
	for _, u := range in.Observed.Units[from.Service] {
		goes := slices.Contains(from.Old, u.ID) || slices.Contains(from.Leftovers, u.ID) || from.Replicas == 0 && slices.Contains(from.Good, u.ID)
		for _, port := range svc.HostPorts {
			kept := was != nil && from.Replicas > 0 && slices.Contains(was.HostPorts, port)
			if goes && !kept && u.Up() && wants(in, svc.Name, port, u.Ports[port]) {
				return u.Name, port
			}
		}
	}
	return "", ""
}

// wants tells whether a service wants a port on an address on which it is held.
func wants(in Input, service, port string, held []netip.Addr) bool {
	for _, p := range in.Desired.Project.Services[service].Ports {
		if stack.HostPort(p) != port {
			continue
		}
		own, _ := netip.ParseAddr(p.HostIP) // the zero one, where the file names none
		if slices.ContainsFunc(held, func(a netip.Addr) bool { return stack.Clash(own, a) }) {
			return true
		}
	}
	return false
}
