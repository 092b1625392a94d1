package deploy

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// facts is everything that is known before anything changes.
type facts struct {
	stack    *stack.Stack
	observed stack.Observed
	images   map[string]engine.Image
	pins     pins
	live     map[string][]string
	missing  []stack.File
	// newest is the ledger's last record, verified its last verified one; nil
	// when there is none.
	newest, verified *release.Record
	// uncertain is set when the newest record cannot be read: what the last run
	// left is then looked at as if it was interrupted.
	uncertain bool
}

// pins are the serving sets found in gateways: the units they are, and the
// services whose pinned addresses no unit has any more.
type pins struct {
	serving map[string][]string
	stale   map[string]bool
}

// gather looks at everything at once; none of it changes anything.
func (s *session) gather(ctx context.Context, o Options, st *stack.Stack, l *release.Ledger) (*facts, error) {
	f := &facts{stack: st, live: map[string][]string{}}
	f.newest, f.verified = optional(l.Latest()), optional(l.LatestVerified())
	f.uncertain = l.Uncertain()
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		if f.observed, err = s.engine.Observe(ctx, st.Name); err != nil {
			return err
		}
		f.pins, err = s.findPins(ctx, st, f.observed)
		return err
	})
	eg.Go(func() (err error) {
		f.images, err = s.engine.Resolve(ctx, st, o.Images, o.Registry)
		return err
	})
	eg.Go(func() error { return f.look(ctx, s, st) })
	err := eg.Wait()
	if err != nil {
		return nil, err
	}
	pinned := map[string]string{}
	for _, name := range st.Order {
		img := f.images[name]
		pinned[name] = img.Pinned
		if img.Note != "" {
			s.say(event.Notice, "preflight", name, "%s", img.Note)
		}
	}
	if err := st.Pin(pinned); err != nil {
		return nil, err
	}
	return f, rehash(st, f.observed)
}

// rehash completes the hashes of services that share another's network or
// volumes: they cover the other's unit, which a release may replace.
func rehash(st *stack.Stack, seen stack.Observed) (err error) {
	for name, svc := range st.Services {
		if len(svc.Shares) == 0 {
			continue
		}
		if svc.Hash, err = engine.Hash(st, name, seen); err != nil {
			return err
		}
	}
	return nil
}

// optional makes a pointer of a record that may not be there.
func optional(r release.Record, ok bool) *release.Record {
	if !ok {
		return nil
	}
	return &r
}

// look finds the files that the host lacks and the live files that differ there.
func (f *facts) look(ctx context.Context, s *session, st *stack.Stack) error {
	store := s.store(st.Name)
	var all []stack.File
	for _, name := range st.Order {
		svc := st.Services[name]
		all = append(all, svc.Files...)
		if svc.Ext.Reload == nil {
			continue
		}
		changed, err := store.Changed(ctx, svc)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			f.live[name] = changed
		}
	}
	var err error
	f.missing, err = store.Missing(ctx, all)
	return err
}

// findPins reads the serving sets that running gateways have pinned.
func (s *session) findPins(ctx context.Context, st *stack.Stack, seen stack.Observed) (pins, error) {
	p := pins{serving: map[string][]string{}, stale: map[string]bool{}}
	for _, name := range gateways(st) {
		for _, u := range seen.Units[name] {
			if u.State != stack.Running || u.OneOff {
				continue
			}
			marked, err := s.nginx(u).Pinned(ctx)
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

func (p pins) add(service string, ids []string) {
	if len(ids) == 0 {
		p.stale[service] = true
		return
	}
	p.serving[service] = ids
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

func (s *session) nginx(u stack.Unit) *gateway.Nginx {
	return gateway.New(s.steady(), u, s.sink)
}

func (s *session) steady() steady { return steady{s.engine, s.say} }

// input is what planning looks at.
func (f *facts) input(o Options, key []byte) plan.Input {
	networks, volumes := engine.Diverged(f.stack, f.observed)
	in := plan.Input{
		Desired: f.stack, Observed: f.observed, Serving: f.pins.serving, Stale: f.pins.stale,
		Environment: f.stack.EnvironmentHashes(key), Live: f.live,
		DivergedNetworks: networks, DivergedVolumes: volumes,
		Only: o.Services, Replace: o.Strategy == Replace, RemoveOrphans: o.RemoveOrphans,
	}
	in.Interrupted = f.uncertain || f.newest != nil && (f.newest.Outcome == release.Started || f.newest.Outcome == release.Interrupted)
	if f.verified != nil {
		in.Past = past(f.verified)
	}
	return in
}

// past is what a record knows of its services, for the reasons of a plan.
func past(r *release.Record) map[string]plan.Past {
	out := map[string]plan.Past{}
	for name, s := range r.Services {
		out[name] = plan.Past{Image: s.Image, Pinned: s.Pinned, Hash: s.Hash, Environment: s.Environment, Files: s.Files}
	}
	return out
}
