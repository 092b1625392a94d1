package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeHost is an engine with a real state machine whose every act can be made to
// fail on demand; a real engine does not fail when a test asks it to. It writes
// down what it is told, in order.
type fakeHost struct {
	mu    sync.Mutex
	log   []string
	units map[string]*stack.Unit
	next  int
	// fail gives the error of an act ("stop api-1"), by prefix, once.
	fail map[string]error
	// onStart may change a unit when it starts (make it ill, say).
	onStart func(u *stack.Unit)
	// words end what a unit has logged.
	words string
	// onLook may change a unit when it is looked at for the nth time, from 1.
	onLook func(u *stack.Unit, n int)
	seen   map[string]int
	// onAct is called before each act is carried out.
	onAct func(act string)
	// pinned is what each gateway has pinned, reloads what nginx has loaded.
	pinned, loaded map[string][]string
	reloads        int
	// meddle is the look at the gateway (counted from 1) before which somebody
	// else reloads it; -1 before each.
	meddle, looks int
	// starting is for how many looks the gateway is not up yet.
	starting int
	// back is when an engine that restarts answers again; until then away is its
	// error.
	back time.Time
	away error
	// late is an engine that a cancelled caller no longer hears: a stop goes on until
	// it is settled, a removal is done, nothing is created. busy is set where a unit
	// holds what its successor needs.
	late, busy bool
	stopping   []string
	// graces is what each stop gave its units, in order.
	graces []time.Duration
	// after is whom each creation follows, in order; told counts who was told what is left.
	after []string
	told  int
	// scrapped is what went with its volumes.
	scrapped []string
	// cut is how many connections outlive each drain budget; budgets are those. ended is how
	// many were ended with their workers. held are those of the rest by where they lead,
	// unasked how many clients have asked nothing yet; one does with each look. blind is how
	// many looks see no connections.
	cut, ended     int
	unasked, blind int
	// latest is set where those that are drained are of whatever reload was before.
	latest  bool
	budgets []time.Duration
	held    map[string]int
}

func newFakeHost(units ...stack.Unit) *fakeHost {
	h := &fakeHost{units: map[string]*stack.Unit{}, seen: map[string]int{}, next: 100, fail: map[string]error{}, pinned: map[string][]string{}, loaded: map[string][]string{}}
	for _, u := range units {
		h.units[u.ID] = &u
		h.loaded[u.Service] = append(h.loaded[u.Service], u.Addresses["edge"])
	}
	return h
}

// longAgo is when the units started that ran before a release.
var longAgo = time.Unix(1_000_000, 0)

func unit(service string, n int, hash string) stack.Unit {
	id := fmt.Sprintf("%s-%d", service, n)
	return stack.Unit{ID: id, Name: id, Service: service, Number: n, State: stack.Running, Health: stack.HealthOK, Hash: hash,
		StartedAt: longAgo, Addresses: map[string]string{"edge": fmt.Sprintf("10.0.0.%d", n)}}
}

func (h *fakeHost) act(format string, args ...any) error {
	act := fmt.Sprintf(format, args...)
	if h.onAct != nil {
		h.onAct(act)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().Before(h.back) {
		return h.away
	}
	h.log = append(h.log, act)
	for prefix, err := range h.fail {
		if strings.HasPrefix(act, prefix) {
			delete(h.fail, prefix)
			return err
		}
	}
	return nil
}

func (h *fakeHost) Create(ctx context.Context, s *stack.Stack, service string, n int, after ...string) ([]string, error) {
	if err := h.act("create %s %d", service, n); err != nil {
		return nil, err
	}
	if h.late && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for range n {
		h.next++
		u := unit(service, h.next, s.Services[service].Hash)
		u.State, u.Health, u.StartedAt = stack.Created, stack.NoHealth, time.Time{}
		h.units[u.ID] = &u
		ids = append(ids, u.ID)
	}
	h.after = append(h.after, strings.Join(after, " "))
	return ids, nil
}

func (h *fakeHost) Start(ctx context.Context, _ *stack.Stack, service string, ids []string) error {
	if err := h.act("start %s", strings.Join(ids, " ")); err != nil {
		return err
	}
	if h.taken(service, ids) {
		return errors.New("port is already allocated")
	}
	h.start(ids)
	return ctx.Err()
}

// taken tells whether another unit of the service has what these need.
func (h *fakeHost) taken(service string, ids []string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range h.units {
		if h.busy && u.Service == service && !slices.Contains(ids, u.ID) && u.State == stack.Running {
			return true
		}
	}
	return false
}

func (h *fakeHost) start(ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		h.units[id].State, h.units[id].Health, h.units[id].StartedAt = stack.Running, stack.HealthOK, time.Now()
		if h.onStart != nil {
			h.onStart(h.units[id])
		}
	}
}

func (h *fakeHost) Restart(_ context.Context, ids []string, ended ...string) error {
	if len(ended) > 0 {
		if err := h.act("let go %s", strings.Join(ended, " ")); err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := h.act("restart %s", strings.Join(ids, " ")); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		u := h.units[id]
		if u == nil {
			return errors.New("no such unit " + id)
		}
		if u.State != stack.Running {
			// Docker gives it any address that is free by now.
			h.next++
			u.Addresses, u.StartedAt = map[string]string{"edge": fmt.Sprintf("10.0.0.%d", h.next)}, time.Now()
		}
		u.State, u.Health = stack.Running, stack.HealthOK
	}
	return nil
}

func (h *fakeHost) Stop(ctx context.Context, ids []string, grace time.Duration) error {
	if err := h.act("stop %s", strings.Join(ids, " ")); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.graces = append(h.graces, grace)
	if h.late && ctx.Err() != nil {
		h.stopping = ids
		return ctx.Err()
	}
	h.stopping = nil
	for _, id := range ids {
		if u := h.units[id]; u != nil && u.State != stack.Created { // what never ran does not end
			u.State, u.Addresses = stack.Exited, map[string]string{"edge": ""}
		}
	}
	return nil
}

func (h *fakeHost) StopService(ctx context.Context, _ *stack.Stack, _ string, ids []string, grace time.Duration) error {
	return h.Stop(ctx, ids, grace)
}

func (h *fakeHost) Remove(ctx context.Context, ids []string) error {
	if err := h.act("remove %s", strings.Join(ids, " ")); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		delete(h.units, id)
	}
	if h.late {
		return ctx.Err()
	}
	return nil
}

func (h *fakeHost) Scrap(ctx context.Context, ids []string) error {
	h.scrapped = append(h.scrapped, ids...)
	return h.Remove(ctx, ids)
}

func (h *fakeHost) TellLeft(context.Context) { h.told++ }

// Observe gives what a list of containers tells, and nothing that only Inspect does.
func (h *fakeHost) Observe(context.Context, string) (stack.Observed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := stack.Observed{Units: map[string][]stack.Unit{}}
	for _, u := range h.units {
		o.Units[u.Service] = append(o.Units[u.Service], listed(*u))
	}
	return o, nil
}

func listed(u stack.Unit) stack.Unit {
	u.StartedAt, u.FinishedAt, u.Restarts, u.OOMKilled, u.PID = time.Time{}, time.Time{}, 0, false, 0
	u.Env, u.ReadOnly, u.Probes = nil, false, nil
	return u
}

func (h *fakeHost) Inspect(_ context.Context, id string) (stack.Unit, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().Before(h.back) {
		return stack.Unit{}, h.away
	}
	if u := h.units[id]; u != nil {
		if h.seen[id]++; h.onLook != nil {
			h.onLook(u, h.seen[id])
		}
		return *u, nil
	}
	return stack.Unit{}, fmt.Errorf("no such unit %s: %w", id, errdefs.ErrNotFound)
}

func (h *fakeHost) Tail(_ context.Context, id string, _ int) (string, error) {
	if h.words == "-" {
		return "", h.fail["tail"]
	}
	return "last words of " + id + h.words, nil
}
func (h *fakeHost) EnsureNetworks(context.Context, *stack.Stack, []string) error {
	return h.fail["networks"]
}
func (h *fakeHost) EnsureVolumes(context.Context, *stack.Stack, []string) error {
	return h.fail["volumes"]
}

func (h *fakeHost) Exec(_ context.Context, id string, argv []string, _ []byte) (string, string, int, error) {
	if err := h.act("exec %s %s", id, strings.Join(argv, " ")); err != nil {
		if h.away != nil && errors.Is(err, h.away) {
			return "", "", 0, err
		}
		return "", err.Error(), 1, nil
	}
	return "", "", 0, nil
}

func (h *fakeHost) Swap(context.Context, *stack.Service) (func(context.Context) error, error) {
	return func(context.Context) error { return h.act("swap back") }, h.act("swap")
}

func (h *fakeHost) Confirm(_ context.Context, svc *stack.Service) error {
	return h.act("confirm %s", svc.Name)
}

// fakeGateway is nginx with a memory: what is pinned counts from the next reload. Old workers
// are left alone where it is made with the only option that a rollout has for it.
type fakeGateway struct {
	*fakeHost
	unit string
	keep bool
}

func (h *fakeHost) gateway(u stack.Unit, opts ...gateway.Option) rollout.Gateway {
	return fakeGateway{h, u.ID, len(opts) > 0}
}

func (g fakeGateway) Set(_ context.Context, service string, addrs []string) error {
	if slices.Equal(g.pinned[service], addrs) {
		return nil
	}
	if err := g.act("pin %s %s", service, strings.Join(addrs, " ")); err != nil {
		return err
	}
	g.pinned[service] = addrs
	return nil
}

func (g fakeGateway) Clear(_ context.Context, service string) error {
	if err := g.act("unpin %s", service); err != nil {
		return err
	}
	delete(g.pinned, service)
	return nil
}

func (g fakeGateway) Reload(context.Context) (gateway.Generation, error) {
	g.latest = false
	if err := g.act("reload"); err != nil {
		return gateway.Generation{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reloads++
	clear(g.loaded)
	for _, u := range g.units { // Docker's DNS
		if u.State == stack.Running {
			g.loaded[u.Service] = append(g.loaded[u.Service], u.Addresses["edge"])
		}
	}
	for s, a := range g.pinned {
		g.loaded[s] = a
	}
	return gateway.Generation{}, nil
}

func (g fakeGateway) Latest(context.Context) (gateway.Generation, error) {
	g.latest = true
	return gateway.Generation{}, g.act("look at old workers")
}

func (g fakeGateway) Drained(ctx context.Context, _ gateway.Generation, budget time.Duration) (gateway.Left, gateway.Fingerprint, error) {
	g.budgets = append(g.budgets, budget)
	if err := g.act("drain"); err != nil {
		return gateway.Left{}, gateway.Fingerprint{}, err
	}
	end, err := g.Fingerprint(ctx)
	if g.keep || g.latest {
		return gateway.Left{Kept: g.fakeHost.cut}, end, err
	}
	g.ended += g.fakeHost.cut
	return gateway.Left{Cut: g.fakeHost.cut}, end, err
}

func (g fakeGateway) Held(_ context.Context, _ gateway.Generation, addrs []string) (to, unasked int, err error) {
	if err := g.act("look for connections to %s", strings.Join(addrs, " ")); err != nil {
		return 0, 0, err
	}
	if g.blind--; g.blind >= 0 {
		return 0, 2, errBroken
	}
	n := 0
	for _, a := range addrs {
		n += g.held[a]
	}
	if g.unasked--; g.unasked >= 0 {
		return n, g.unasked + 1, nil
	}
	return n, 0, nil
}

func (g fakeGateway) Fingerprint(context.Context) (gateway.Fingerprint, error) {
	if g.starting--; g.starting >= 0 {
		return gateway.Fingerprint{}, errors.New("it runs no nginx master process")
	}
	if g.looks++; g.meddle < 0 || g.looks == g.meddle {
		g.reloads++
	}
	return gateway.Fingerprint{Master: fmt.Sprint(g.reloads)}, nil
}
