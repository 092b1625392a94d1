package onhost

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// addListener reads "0100007F:0035" as /proc/net/tcp and its sister for IPv6 write it.
func (f *Facts) addListener(text string) {
	address, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return
	}
	number := strconv.FormatUint(n, 10)
	f.Listening[number] = append(f.Listening[number], listensOn(address))
}

// listensOn reads an address, whose four bytes at a time are turned round. One that
// cannot be read may be any.
func listensOn(text string) netip.Addr {
	bytes, err := hex.DecodeString(text)
	if err != nil || len(bytes)%4 != 0 {
		return netip.IPv4Unspecified()
	}
	for word := range slices.Chunk(bytes, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return netip.IPv4Unspecified()
	}
	return addr.Unmap()
}

// hostPortsFree finds ports that a new service wants and that somebody has. Where
// units of the stack run one of them may be it.
func (f findings) hostPortsFree(p *plan.Plan, seen stack.Observed, h Facts) {
	for _, step := range p.Steps {
		svc := f.Stack.Services[step.Service]
		if step.Action != plan.Create || svc == nil {
			continue
		}
		for _, port := range svc.HostPorts {
			number, isTCP := strings.CutSuffix(port, "/tcp")
			wants := f.wants(svc.Name, number, seen.Scheduled)
			if !isTCP || !taken(wants, h.Listening[number]) {
				continue
			}
			who, mend := publisher(seen, port, wants)
			if who == "" {
				who, mend = "somebody", "see who: ss -ltnp 'sport = :"+number+"'"
			}
			tell := f.Warn
			if len(seen.Units) == 0 {
				tell = f.Fail
			}
			tell("P10.ports", finding.At(svc.Name, "ports"), mend, "port %s of the host is taken by %s", number, who)
		}
	}
}

// publisher names the container outside the project that publishes a port where it is
// wanted, "" for none, and how to end that.
func publisher(seen stack.Observed, port string, wants []netip.Addr) (who, mend string) {
	for _, id := range finding.SortedKeys(seen.Others) {
		o := seen.Others[id]
		for _, addr := range o.Ports[port] {
			if taken(wants, []netip.Addr{addr.Unmap()}) {
				return o.String(), "stop it first: " + o.StopIt()
			}
		}
	}
	return "", ""
}

// wants lists the addresses that a service publishes a TCP port on. A Swarm knows no
// other than all.
func (f findings) wants(service, number string, scheduled bool) []netip.Addr {
	var out []netip.Addr
	for _, p := range f.Stack.Project.Services[service].Ports {
		if p.Published != number || p.Protocol != "" && p.Protocol != "tcp" {
			continue
		}
		addr, err := netip.ParseAddr(p.HostIP)
		if err != nil || scheduled {
			addr = netip.IPv4Unspecified()
		}
		out = append(out, addr.Unmap().WithZone(""))
	}
	return out
}

// taken tells whether somebody has a port where it is wanted.
func taken(wants, listens []netip.Addr) bool {
	return slices.ContainsFunc(wants, func(a netip.Addr) bool {
		return slices.ContainsFunc(listens, func(b netip.Addr) bool { return stack.Clash(a, b) })
	})
}
