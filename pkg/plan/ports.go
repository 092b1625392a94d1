package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// refusePorts refuses a service that wants more units than the host has ports for
// them: the second would never start.
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
