package onhost_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
