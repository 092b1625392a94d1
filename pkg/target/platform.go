package target

import (
	"context"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/swarm"
)

// Platform is what a stack runs on: one host's engine, or a Swarm. Everything else
// of a release (plan, ledger, lock, preflight, probe, checks, the way back) is the
// same on each of them.
type Platform interface {
	// Name is what the input engine calls it.
	Name() string
	// Adapt makes of a stack what it means here. Doing it twice is doing it once. It
	// comes before the stack is pinned; one that is pinned already stays so.
	Adapt(ctx context.Context, st *stack.Stack) error
	// Observe looks at what runs of a project. Planning looks at nothing else.
	Observe(ctx context.Context, project string) (stack.Observed, error)
	// Compare completes the hashes that cover what runs, and names the networks and
	// volumes that exist with another definition.
	Compare(st *stack.Stack, seen stack.Observed) (networks, volumes []string, err error)
	// Carry carries a plan for a stack out. Of a step that failed it leaves the
	// service as it was where it can; the report says what else was changed.
	Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error)
	// HoldsImages tells whether images have to be on the host that we speak to.
	HoldsImages() bool
	// Prune lets go of what it keeps for releases beside files and images and none of
	// the kept ones needs.
	Prune(ctx context.Context, project string, kept func(context.Context) ([]*stack.Stack, error)) error
	// At gives the engine that has a unit.
	At(ctx context.Context, unit string) (*engine.Engine, error)
}

// oneHost is a single engine: units are containers that the rollout makes itself.
type oneHost struct{ *Target }

// Name is compose: the Compose file's services are containers of this host.
func (oneHost) Name() string { return Compose }

// Adapt changes nothing: a single host is what stacks are read for.
func (oneHost) Adapt(context.Context, *stack.Stack) error { return nil }

// Observe looks at the containers, networks and volumes of a project.
func (o oneHost) Observe(ctx context.Context, project string) (stack.Observed, error) {
	return o.Steady().Observe(ctx, project)
}

// Compare completes the hashes of services that share another's network or
// volumes: they cover the other's unit, which a release may replace.
func (oneHost) Compare(st *stack.Stack, seen stack.Observed) (networks, volumes []string, err error) {
	for name, svc := range st.Services {
		if len(svc.Shares) == 0 {
			continue
		}
		if svc.Hash, err = engine.Hash(st, name, seen); err != nil {
			return nil, nil, err
		}
	}
	networks, volumes = engine.Diverged(st, seen)
	return networks, volumes, nil
}

// Carry starts, gates, switches, drains and retires units.
func (o oneHost) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error) {
	units := o.Steady()
	r := &rollout.Rollout{
		Stack: st, Units: units, Eyes: units, Ground: o.Engine, Shell: units,
		Gateway: func(u stack.Unit) rollout.Gateway { return o.Nginx(u) },
		Live:    o.Store(st.Name), Dial: o.Reachable, How: how, Sink: o.Sink,
	}
	return r.Run(ctx, p)
}

// HoldsImages is true: the containers are made here.
func (oneHost) HoldsImages() bool { return true }

// Prune has nothing to do: a single host keeps files and images only.
func (oneHost) Prune(context.Context, string, func(context.Context) ([]*stack.Stack, error)) error {
	return nil
}

// At is the only engine.
func (o oneHost) At(context.Context, string) (*engine.Engine, error) { return o.Engine, nil }

// onSwarm is a Swarm: its own updater makes the units.
type onSwarm struct {
	*swarm.Swarm
	target *Target
}

// Carry changes service by service, each watched to its end.
func (s onSwarm) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error) {
	units := s.target.Units()
	r := &rollout.Rollout{Stack: st, Ground: s, Eyes: units, Shell: units, How: how, Sink: s.Sink}
	r.Carrier = func(ctx context.Context, step plan.Step) error {
		if step.Action == plan.Drain {
			// All at once: which of them Swarm replaces first nobody knows.
			if err := r.Quiet(ctx, st.Services[step.Service], step.Old); err != nil {
				return err
			}
		}
		return s.Change(ctx, step, swarm.Order{Stack: st, Guard: how.Guard, WaitTimeout: how.WaitTimeout, Login: how.Login, Release: how.Release, Span: r.Span})
	}
	return r.Run(ctx, p)
}

// The engines that a stack can run on; Auto chooses.
const (
	Auto    = "auto"
	Compose = "compose"
	Swarm   = "swarm"
)
