package rollout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/stack"
)

// switchTries is how often traffic is moved again when somebody else restarts
// or reloads the gateway meanwhile.
const switchTries = 3

// restartLimit is how long a gateway that somebody else restarts may take to be
// back.
const restartLimit = 30 * time.Second

// answerLimit is how long a gated unit may take to accept a TCP connection on
// its gateway port.
const answerLimit = 5 * time.Second

// traffic moves the requests of one service at every running unit of its
// gateway. A nil traffic (no gateway, or none running yet) moves nothing.
type traffic struct {
	*Rollout
	svc   *stack.Service
	gates []*gate
}

// gate is one unit of the gateway. seen is how it was after the last switch, since the
// start that it had then, or when the set that serves was pinned: after another one it has
// loaded whoever ran. It is zero until then: a list of units does not tell it.
type gate struct {
	unit stack.Unit
	Gateway
	seen  gateway.Fingerprint
	since time.Time
}

// openTraffic finds the running units of the service's gateway.
func (s *service) openTraffic(ctx context.Context) error {
	name := s.svc.Ext.Gateway
	if name == "" {
		return nil
	}
	seen, err := s.Eyes.Observe(ctx, s.Stack.Name)
	if err != nil {
		return err
	}
	t := &traffic{Rollout: s.Rollout, svc: s.svc}
	var opts []gateway.Option
	if !t.alone() {
		opts = append(opts, gateway.KeepOldWorkers())
	}
	for _, u := range seen.Units[name] {
		if u.State == stack.Running && !u.OneOff {
			t.gates = append(t.gates, &gate{unit: u, Gateway: s.Rollout.Gateway(u, opts...)})
		}
	}
	if len(t.gates) > 0 {
		s.traffic = t
	}
	return nil
}

// pin writes the set that serves now into the gateway without a reload, so that
// a reload by anybody else cannot send requests to units that are not gated yet.
func (t *traffic) pin(ctx context.Context, ids []string) error {
	if t == nil || len(ids) == 0 {
		return nil
	}
	t.mark("pin", t.svc.Name)
	for _, g := range t.gates {
		addrs, err := t.addresses(ctx, g, ids)
		if err != nil {
			return err
		}
		set := func(now stack.Unit) error {
			err := g.Set(ctx, t.svc.Name, addrs)
			if err == nil && g.since.IsZero() {
				g.since = now.StartedAt
			}
			return err
		}
		if err := t.insist(ctx, g, set); err != nil {
			return fmt.Errorf("pin the serving units in %s: %w", g.unit.Name, err)
		}
	}
	return nil
}

// to moves all requests to the given units and waits until no request is left
// on the others, within the drain budget.
func (t *traffic) to(ctx context.Context, ids []string) error {
	if t == nil || len(ids) == 0 {
		return nil
	}
	for _, g := range t.gates {
		if err := t.lead(ctx, g, ids); err != nil {
			return err
		}
	}
	return nil
}

// lead moves all requests of one gateway.
func (t *traffic) lead(ctx context.Context, g *gate, ids []string) error {
	return t.insist(ctx, g, func(now stack.Unit) error {
		err := t.move(ctx, g, ids)
		if err == nil {
			g.since = now.StartedAt
		}
		return err
	})
}

// regain leads the gateways to the given units that started anew since the last switch:
// that clears what was pinned, and they have loaded whoever ran at that moment. One that
// is down asks again when it starts, one that is gone cannot be led; of the units those
// that run have an address.
func (t *traffic) regain(ctx context.Context, ids []string) error {
	if t == nil || len(ids) == 0 {
		return nil
	}
	for _, g := range t.gates {
		if g.since.IsZero() {
			continue // no unit was started beside those that it has loaded
		}
		now, err := t.Eyes.Inspect(ctx, g.unit.ID)
		switch {
		case errdefs.IsNotFound(err):
			continue
		case err != nil:
			return err
		case now.State != stack.Running || now.StartedAt.Equal(g.since):
			continue
		}
		up, err := t.up(ctx, ids)
		if err != nil {
			return err
		}
		if len(up) == 0 {
			return nil
		}
		t.say(event.Warning, t.svc.Name, "somebody else restarted %s; leading it to the %d units that serve", g.unit.Name, len(up))
		if err := t.lead(ctx, g, up); err != nil {
			return err
		}
	}
	return nil
}

// up are those of the units that run.
func (t *traffic) up(ctx context.Context, ids []string) ([]string, error) {
	var out []string
	for _, id := range ids {
		u, err := t.Eyes.Inspect(ctx, id)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		if err == nil && u.State == stack.Running {
			out = append(out, id)
		}
	}
	return out, nil
}

// insist does an act on a gateway again when what it failed of is a restart of
// the gateway by somebody else: that clears what was pinned, and is no fault of
// the release. The act gets the gateway as it was right before.
func (t *traffic) insist(ctx context.Context, g *gate, act func(stack.Unit) error) error {
	for try := 1; ; try++ {
		was, err := t.Eyes.Inspect(ctx, g.unit.ID)
		if err != nil {
			return err
		}
		err = act(was)
		if err == nil || try == switchTries {
			return err
		}
		if NotReached(err) {
			t.say(event.Warning, t.svc.Name, "the engine does not answer (%v); waiting for %s", err, g.unit.Name)
		}
		if !t.restarted(ctx, g, was) {
			return err
		}
		t.say(event.Warning, t.svc.Name, "somebody else restarted %s (%v); switching again", g.unit.Name, err)
	}
}

// restarted tells whether the gateway has another start than it had, and waits
// for that where it is on its way down or up: then it may have had its new start
// before it was looked at.
func (t *traffic) restarted(ctx context.Context, g *gate, was stack.Unit) bool {
	for deadline, down := time.Now().Add(restartLimit), false; ; down = true {
		_, err := g.Fingerprint(ctx)
		now, ierr := t.Eyes.Inspect(ctx, g.unit.ID)
		if err == nil && ierr == nil {
			return down || !now.StartedAt.Equal(was.StartedAt)
		}
		if time.Now().After(deadline) || grace.Pause(ctx, pollEvery) != nil {
			return false
		}
	}
}

func (t *traffic) move(ctx context.Context, g *gate, ids []string) error {
	defer t.span("switch", t.svc.Name)()
	addrs, err := t.addresses(ctx, g, ids)
	if err != nil {
		return err
	}
	if err := g.Set(ctx, t.svc.Name, addrs); err != nil {
		return fmt.Errorf("switch %s: %w", g.unit.Name, err)
	}
	t.mark("reload", t.svc.Name)
	gen, err := g.Reload(ctx)
	if err != nil {
		return fmt.Errorf("reload %s: %w", g.unit.Name, err)
	}
	t.say(event.Info, t.svc.Name, "%s sends requests to %d units", g.unit.Name, len(ids))
	defer t.span("drain", t.svc.Name)()
	switched := time.Now()
	left, end, err := g.Drained(ctx, gen, drainBudget(t.svc))
	if err == nil {
		g.seen = end
		err = t.outlived(ctx, g, gen, left, ids, switched.Add(unasked))
	}
	if err != nil {
		return fmt.Errorf("drain %s: %w", g.unit.Name, err)
	}
	return nil
}

// still makes sure, right before units are retired, that the gateway is as it
// was after the switch; a restart or a reload by somebody else in between may
// have brought the old addresses back, so traffic is moved again.
func (t *traffic) still(ctx context.Context, ids []string) error {
	if t == nil || len(ids) == 0 {
		return nil // nobody to be switched to
	}
	t.mark("look again", t.svc.Name)
	for range switchTries {
		// A look that fails is one at a gateway on its way down.
		if same, err := t.unchanged(ctx); same && err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.say(event.Warning, t.svc.Name, "somebody else restarted or reloaded the gateway; switching again")
		if err := t.to(ctx, ids); err != nil {
			return err
		}
	}
	return errors.New("the gateway is restarted or reloaded again and again by somebody else; traffic cannot be moved safely")
}

func (t *traffic) unchanged(ctx context.Context) (bool, error) {
	for _, g := range t.gates {
		fp, err := g.Fingerprint(ctx)
		if err != nil {
			return false, err
		}
		if fp != g.seen {
			return false, nil
		}
	}
	return true, nil
}

// wake has the gateways load who is there now, without waiting for anything: the
// given units, or, where none has passed its gate, whoever Docker's DNS names.
func (t *traffic) wake(ctx context.Context, well []string) error {
	if t == nil {
		return nil
	}
	if err := t.pin(ctx, well); err != nil {
		return err
	}
	if len(well) == 0 {
		if err := t.close(ctx); err != nil {
			return err
		}
	}
	for _, g := range t.gates {
		if _, err := g.Reload(ctx); err != nil {
			return fmt.Errorf("reload %s: %w", g.unit.Name, err)
		}
	}
	return nil
}

// close takes the pins out: the running units are the serving set now, so
// Docker's DNS says the same.
func (t *traffic) close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.mark("unpin", t.svc.Name)
	for _, g := range t.gates {
		if err := t.insist(ctx, g, func(stack.Unit) error { return g.Clear(ctx, t.svc.Name) }); err != nil {
			return fmt.Errorf("take the pins out of %s: %w", g.unit.Name, err)
		}
	}
	return nil
}

// addresses gives the units' addresses on a network that the gateway shares,
// read now: Docker hands addresses out again.
func (t *traffic) addresses(ctx context.Context, g *gate, ids []string) ([]string, error) {
	var out []string
	for _, id := range ids {
		u, err := t.Eyes.Inspect(ctx, id)
		if err != nil {
			return nil, err
		}
		addr := shared(g.unit, u)
		if addr == "" {
			return nil, fmt.Errorf("%s shares no network with its gateway %s", u.Name, g.unit.Name)
		}
		out = append(out, addr)
	}
	sort.Strings(out)
	return slices.Compact(out), nil
}

func shared(a, b stack.Unit) string {
	return b.AddressOn(func(network string) bool { _, ok := a.Addresses[network]; return ok })
}

// answer makes sure that the units accept connections where the gateway will
// look for them: a healthcheck inside the unit says nothing about that.
func (t *traffic) answer(ctx context.Context, ids []string) error {
	if t == nil || t.Dial == nil || t.svc.Ext.Port == 0 {
		return nil
	}
	t.mark("answer", t.svc.Name)
	addrs, err := t.addresses(ctx, t.gates[0], ids)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		dial, cancel := context.WithTimeout(ctx, answerLimit)
		err := t.Dial(dial, net.JoinHostPort(a, strconv.Itoa(t.svc.Ext.Port)))
		cancel()
		if host.ForbidsForwarding(err) {
			return fmt.Errorf("whether the unit at %s accepts connections on port %d (x-shiksha.port) cannot be seen: %w", a, t.svc.Ext.Port, err)
		}
		if err != nil {
			why := "does it listen on 127.0.0.1 only?"
			// A port where nobody listens refuses at once. Of no route sshd has only words.
			if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "No route to host") {
				why = "does the host's firewall (OUTPUT) or a macvlan network keep the host from it? Without x-shiksha.port it is not asked:"
			}
			return fmt.Errorf("the unit at %s does not accept connections on port %d (x-shiksha.port) although it is healthy: %s %w", a, t.svc.Ext.Port, why, err)
		}
	}
	return nil
}
