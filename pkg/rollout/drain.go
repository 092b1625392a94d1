package rollout

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/stack"
)

// drainBudget is how long requests of a service may take to end after a switch.
func drainBudget(svc *stack.Service) time.Duration { return cmp.Or(svc.Ext.Drain, stack.DefaultDrain) }

// drain is drainBudget where there is a gateway to switch.
func (t *traffic) drain() time.Duration {
	if t == nil {
		return 0
	}
	return drainBudget(t.svc)
}

// alone tells whether no other service is behind the gateway. One of nginx's old workers
// has connections to all of them, and those to others are not this one's to end.
func (t *traffic) alone() bool {
	for name, other := range t.Stack.Services {
		if name != t.svc.Name && other.Ext.Gateway == t.svc.Ext.Gateway {
			return false
		}
	}
	return true
}

// outlived tells what becomes of the connections that are left at the end of the drain
// budget: ids are the units that serve now. Where old workers live on for others, what
// they have to the other units of this service ends with these, and nothing else does.
func (t *traffic) outlived(ctx context.Context, g *gate, gen gateway.Generation, left int, ids []string) {
	budget, ends := drainBudget(t.svc), "were ended"
	if !t.alone() {
		var err error
		ends = "end with the units that they are to"
		if left, err = t.held(ctx, g, gen, ids); err != nil {
			t.say(event.Warning, t.svc.Name, "how many connections to it outlived the drain budget of %s is not known, they %s: %v", budget, ends, err)
			return
		}
	}
	if left == 0 {
		return
	}
	t.note(func(report *Report) { report.Cut[t.svc.Name] += left })
	t.say(event.Warning, t.svc.Name, "%d connections outlived the drain budget of %s and %s", left, budget, ends)
}

// held counts what old workers have to those units of the service that do not serve any more.
func (t *traffic) held(ctx context.Context, g *gate, gen gateway.Generation, ids []string) (int, error) {
	seen, err := t.Eyes.Observe(ctx, t.Stack.Name)
	if err != nil {
		return 0, err
	}
	var addrs []string
	for _, u := range seen.Units[t.svc.Name] {
		for _, addr := range u.Addresses { // before the first pin nginx took any that it reaches
			if addr != "" && !slices.Contains(ids, u.ID) {
				addrs = append(addrs, addr)
			}
		}
	}
	if len(addrs) == 0 {
		return 0, nil
	}
	slices.Sort(addrs)
	return g.Held(ctx, gen, addrs)
}
