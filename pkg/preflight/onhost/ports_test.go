package onhost_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/stack"
)

// A port that is published on one address is free where another address has it.
func TestPortsThatOthersListenOn(t *testing.T) {
	t.Parallel()
	const resolved, any4, any6, own, mapped, own6 = "listen 3500007F:0035\n", "listen 00000000:0035\n", "listen 00000000000000000000000000000000:0035\n",
		"listen 0500000A:0035\n", "listen 0000000000000000FFFF00000500000A:0035\n", "listen B80D0120000000000000000001000000:0035\n"
	for name, c := range map[string]struct {
		publishes, listens string
		taken              bool
	}{
		"nobody":                     {"10.0.0.5:53:53", "listen 3500007F:0036\n", false},
		"on another address":         {"10.0.0.5:53:53", resolved, false},
		"on the same":                {"10.0.0.5:53:53", resolved + own, true},
		"on the same, by IPv6":       {"10.0.0.5:53:53", mapped, true},
		"on every one":               {"10.0.0.5:53:53", any4, true},
		"on every one, by IPv6":      {"10.0.0.5:53:53", any6, true},
		"every one is asked for":     {"53:53", resolved, true},
		"every one, said":            {"0.0.0.0:53:53", resolved, true},
		"one of two is free":         {"10.0.0.5:53:53\", \"127.0.0.53:53:53", resolved, true},
		"by UDP":                     {"10.0.0.5:53:53/udp", own, false},
		"by both":                    {"10.0.0.5:53:53/udp\", \"10.0.0.6:53:53", own, false},
		"IPv6, on the same":          {"[2001:db8::1]:53:53", own6, true},
		"IPv6, on another":           {"[2001:db8::2]:53:53", own6 + resolved, false},
		"one that cannot be read":    {"10.0.0.5:53:53", "listen x:0035\n", true},
		"a port that cannot be read": {"10.0.0.5:53:53", "listen 0500000A:y\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := load(t, "services:\n  dns: {image: \"example/dns:v1\", ports: [\""+c.publishes+"\"]}\n")
			h := onhost.ReadProbe(c.listens, now)
			found := about(onhost.Look(st, plan.Make(plan.Input{Desired: st}), stack.Observed{}, h), "P10.ports")
			if !c.taken {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Equal(t, "port 53 of the host is taken by somebody", found[0].Found)
		})
	}
	st := load(t, "services:\n  dns: {image: \"example/dns:v1\", ports: [\"10.0.0.5:53:53\"]}\n")
	on := onhost.Look(st, plan.Make(plan.Input{Desired: st}), stack.Observed{Scheduled: true}, onhost.ReadProbe(resolved, now))
	assert.Len(t, about(on, "P10.ports"), 1, "a Swarm publishes on every address")
}

// Who has a port is named where it is a container outside the project.
func TestPortsNameWhoHasThem(t *testing.T) {
	t.Parallel()
	st := load(t, "services:\n  web: {image: \"example/web:v1\", ports: [\"80:80\"]}\n")
	p, h := plan.Make(plan.Input{Desired: st}), onhost.ReadProbe("listen 00000000:0050\n", now)
	at := func(addr string) map[string][]netip.Addr {
		return map[string][]netip.Addr{"80/tcp": {netip.MustParseAddr(addr)}}
	}
	for name, c := range map[string]struct {
		other       stack.Other
		found, hint string
	}{
		"of Kamal":          {stack.Other{Name: "kamal-proxy", Ports: at("0.0.0.0")}, "port 80 of the host is taken by kamal-proxy", "stop it first: docker stop kamal-proxy"},
		"of a project":      {stack.Other{Name: "ops-web-1", Project: "ops", Service: "web", Ports: at("::")}, "port 80 of the host is taken by ops-web-1 of project ops", "stop it first: docker stop ops-web-1"},
		"of a Swarm":        {stack.Other{Name: "ops_web.1.x", Project: "ops", Task: "ops_web", Ports: at("0.0.0.0")}, "port 80 of the host is taken by ops_web.1.x of stack ops", "stop it first: docker service scale ops_web=0"},
		"of another port":   {stack.Other{Name: "x", Ports: map[string][]netip.Addr{"81/tcp": {netip.IPv4Unspecified()}}}, "port 80 of the host is taken by somebody", "see who: ss -ltnp 'sport = :80'"},
		"by UDP":            {stack.Other{Name: "x", Ports: map[string][]netip.Addr{"80/udp": {netip.IPv4Unspecified()}}}, "port 80 of the host is taken by somebody", "see who: ss -ltnp 'sport = :80'"},
		"address not known": {stack.Other{Name: "x", Ports: map[string][]netip.Addr{"80/tcp": {{}}}}, "port 80 of the host is taken by x", "stop it first: docker stop x"},
	} {
		found := about(onhost.Look(st, p, stack.Observed{Others: map[string]stack.Other{"1": c.other, "0": {Name: "zz"}}}, h), "P10.ports")
		require.Len(t, found, 1, name)
		assert.Equal(t, check.Fail, found[0].Outcome, name)
		assert.Equal(t, []string{c.found, c.hint}, []string{found[0].Found, found[0].Hint}, name)
	}
}
