package plan

import (
	"fmt"
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
