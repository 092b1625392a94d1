package verify

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/verify/kind"
)

// promise are the checks of a stack that names none: what its Compose file
// promises. Every unit runs as released, published ports answer, and so does the
// address that users come in by, where it is given. It promises nothing of services that
// were ill before: checks that somebody wrote decide about those.
func promise(st *stack.Stack, url string, ill ...string) []kind.Check {
	units := &kind.Containers{}
	checks := []kind.Check{{Name: "containers", Probe: kind.Probe{Containers: units}}}
	if st != nil {
		well := slices.DeleteFunc(slices.Clone(st.Order), func(name string) bool { return slices.Contains(ill, name) })
		if len(ill) > 0 {
			units.Services = well
		}
		for _, name := range well {
			checks = append(checks, ports(st, name)...)
		}
	}
	if url != "" {
		checks = append(checks, kind.Check{Name: "url", Probe: kind.Probe{HTTP: &kind.HTTP{Request: kind.Request{URL: url}, Expect: kind.HTTPExpect{Status: kind.Statuses{"2xx", "3xx"}}}}})
	}
	return checks
}

// ports are the checks of the published TCP ports of a service. Three looks within
// a second are enough: that the unit behind does not come and go is the
// containers' check.
func ports(st *stack.Stack, name string) (checks []kind.Check) {
	svc, model := st.Services[name], st.Project.Services[name]
	if svc == nil || svc.Replicas == 0 || svc.Job {
		return nil
	}
	for _, p := range model.Ports {
		number, err := strconv.Atoi(p.Published)
		if err != nil || number == 0 || !isTCP(p) {
			continue
		}
		ip := p.HostIP
		switch {
		case ip == "::" && !svc.Virtual && !slices.ContainsFunc(model.Ports, func(other types.ServicePortConfig) bool { return everyIPv4(other, number) }):
			ip = "::1"
		case ip == "" || ip == "0.0.0.0" || ip == "::":
			ip = "127.0.0.1"
		}
		none := kind.Duration(0)
		checks = append(checks, kind.Check{
			Name: fmt.Sprintf("%s port %d", name, number), Interval: kind.Duration(100 * time.Millisecond), Window: &none,
			Probe: kind.Probe{TCP: &kind.TCP{Server: kind.Server{From: kind.OnHost}, Address: net.JoinHostPort(ip, p.Published), Published: published(p, name)}},
		})
	}
	return checks
}

func isTCP(p types.ServicePortConfig) bool { return p.Protocol == "" || p.Protocol == "tcp" }

// everyIPv4 tells whether an entry publishes a port on every IPv4 address of the host. One
// on `::` does so on IPv6 addresses alone, but for a Swarm, which publishes on all.
func everyIPv4(p types.ServicePortConfig, number int) bool {
	return p.Published == strconv.Itoa(number) && isTCP(p) && (p.HostIP == "" || p.HostIP == "0.0.0.0")
}

// published is the service whose nodes hold a port, "" where every node or the one
// host has it.
func published(p types.ServicePortConfig, service string) string {
	if p.Mode == "host" {
		return service
	}
	return ""
}
