package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/stack"
)

// drainBudget is how long requests of a service may take to end after a switch.
func drainBudget(svc *stack.Service) time.Duration { return cmp.Or(svc.Ext.Drain, stack.DefaultDrain) }

// patience is how long the waiting after a switch may take, also for clients that have
// not asked yet.
func patience(svc *stack.Service) time.Duration { return max(drainBudget(svc), unasked) }

// drain is patience where there is a gateway to switch.
func (t *traffic) drain() time.Duration {
	if t == nil {
		return 0
	}
	return patience(t.svc)
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

// unasked is how long a client may keep a connection to nginx before its first request
// comes. Source: the default of client_header_timeout.
const unasked = time.Minute

// outlived tells what becomes of the connections that are left at the end of the drain
// budget: ids are the units that serve now. Where old workers live on for others, what
// they have to the other units of this service ends with these, and nothing else does.
// Clients of theirs that have not asked yet would ask those units: they are waited for
// until the given time, so that these are still there, and so is whoever is at an old worker
// where that cannot be seen.
func (t *traffic) outlived(ctx context.Context, g *gate, gen gateway.Generation, left gateway.Left, ids []string, until time.Time) error {
	t.cut(left.Cut, "were ended")
	if left.Kept == 0 {
		return nil
	}
	const end = "end with the units that they are to"
	addrs, err := t.former(ctx, ids)
	if err == nil && len(addrs) == 0 {
		return nil
	}
	to, waiting := 0, 0
	for told := false; err == nil || waiting > 0; told = true {
		began := time.Now()
		if to, waiting, err = g.Held(ctx, gen, addrs); waiting == 0 || time.Now().After(until) {
			break
		}
		if !told {
			t.say(event.Info, t.svc.Name, "%s; they have until %s after the switch", yet(waiting, err), unasked)
		}
		// A look takes from nginx's own CPU, which those need that serve.
		rest := max(time.Second, min(5*time.Since(began), time.Until(until)))
		if err := grace.Pause(ctx, rest); err != nil {
			return err
		}
	}
	if err != nil {
		t.say(event.Warning, t.svc.Name, "how many connections to it outlived the drain budget of %s is not known, they %s: %v", drainBudget(t.svc), end, err)
		return nil
	}
	if waiting > 0 {
		t.say(event.Warning, t.svc.Name, "%d clients of nginx's old workers wait for no unit yet (an upload that still comes, or an answer on its way): what they still ask of %s will fail", waiting, t.svc.Name)
	}
	t.cut(to, end)
	return nil
}

// yet says who may not have asked yet.
func yet(waiting int, unseen error) string {
	if unseen != nil {
		return fmt.Sprintf("it cannot be seen whether clients of nginx's %d old workers have sent a whole request yet", waiting)
	}
	return fmt.Sprintf("%d clients of nginx's old workers have not sent a whole request yet", waiting)
}

// cut books connections that outlived the drain budget, and says how they end.
func (t *traffic) cut(n int, end string) {
	if n == 0 {
		return
	}
	t.note(func(report *Report) { report.Cut[t.svc.Name] += n })
	t.say(event.Warning, t.svc.Name, "%d connections outlived the drain budget of %s and %s", n, drainBudget(t.svc), end)
}

// former are the addresses of those units of the service that do not serve any more.
func (t *traffic) former(ctx context.Context, ids []string) ([]string, error) {
	seen, err := t.Eyes.Observe(ctx, t.Stack.Name)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, u := range seen.Units[t.svc.Name] {
		for _, addr := range u.Addresses { // before the first pin nginx took any that it reaches
			if addr != "" && !slices.Contains(ids, u.ID) {
				addrs = append(addrs, addr)
			}
		}
	}
	slices.Sort(addrs)
	return addrs, nil
}
