package target

import (
	"context"
	"slices"

	"github.com/shiksha/actions/pkg/stack"
)

// Pins are the serving sets found in gateways: the units they are, and the
// services whose pinned addresses in one of them no unit has any more. With several
// gateways a service may be both: who serves is what one has, the other is healed.
type Pins struct {
	Serving map[string][]string
	Stale   map[string]bool
}

// Pins reads the serving sets that running gateways have pinned.
func (t *Target) Pins(ctx context.Context, on Where, st *stack.Stack, seen stack.Observed) (Pins, error) {
	p := Pins{Serving: map[string][]string{}, Stale: map[string]bool{}}
	for _, name := range gateways(st) {
		for _, u := range seen.Units[name] {
			if u.State != stack.Running || u.OneOff {
				continue
			}
			marked, err := t.Nginx(on, u).Pinned(ctx)
			if err != nil {
				return p, err
			}
			for service, addrs := range marked {
				p.add(service, owners(seen.Units[service], addrs))
			}
		}
	}
	return p, nil
}

func (p Pins) add(service string, ids []string) {
	if len(ids) == 0 {
		p.Stale[service] = true
		return
	}
	for _, id := range ids {
		// A switch that was cut off left them apart, and what either has was well.
		if !slices.Contains(p.Serving[service], id) {
			p.Serving[service] = append(p.Serving[service], id)
		}
	}
}

// owners are the running units that have one of the addresses.
func owners(units []stack.Unit, addrs []string) []string {
	var ids []string
	for _, u := range units {
		for _, a := range u.Addresses {
			if u.State == stack.Running && slices.Contains(addrs, a) {
				ids = append(ids, u.ID)
				break
			}
		}
	}
	return ids
}

// gateways are the services that balance others, in the stack's order.
func gateways(st *stack.Stack) []string {
	var out []string
	for _, name := range st.Order {
		g := st.Services[name].Ext.Gateway
		if g != "" && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}
