package platform

import (
	"context"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// oneHost is a single engine: units are containers that the rollout makes itself.
type oneHost struct{ *target.Target }

// Name is compose: the Compose file's services are containers of this host.
func (oneHost) Name() string { return Compose }

// Adapt changes nothing: a single host is what stacks are read for. But a stack that
// asks for a Swarm, or was released on one, may have what a single host has not.
func (oneHost) Adapt(_ context.Context, st *stack.Stack) error {
	for _, name := range st.Order {
		c := st.Project.Services[name]
		for _, ref := range c.Configs {
			if err := holds(c, "configs."+ref.Source, types.FileObjectConfig(st.Project.Configs[ref.Source])); err != nil {
				return err
			}
		}
		for _, ref := range c.Secrets {
			if err := holds(c, "secrets."+ref.Source, types.FileObjectConfig(st.Project.Secrets[ref.Source])); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds refuses a config or secret of the model that a single host cannot put into a
// service's containers.
func holds(c types.ServiceConfig, at string, o types.FileObjectConfig) error {
	switch {
	case bool(o.External):
		return fault.New(fault.Input, at, "release with engine: swarm, or give it `file:`", "%s is external, which needs a Swarm", at)
	case c.ReadOnly && o.File == "":
		return fault.New(fault.Input, at, "release with engine: swarm, give it a `file:`, which is mounted, or make the service writable",
			"service %s is read_only, so the content of %s cannot be put into it", c.Name, at)
	}
	return nil
}

// Observe looks at the containers, networks and volumes of a project.
func (o oneHost) Observe(ctx context.Context, project string) (stack.Observed, error) {
	return o.Steady(o).Observe(ctx, project)
}

// Compare says what hash the units of services have that share another's network or
// volumes: it covers the other's unit, which a release may replace. And what was seen
// by the networks and volumes that somebody else made, and by what runs beside the project.
func (o oneHost) Compare(ctx context.Context, st *stack.Stack, seen stack.Observed) (networks, volumes []string, err error) {
	for name, svc := range st.Services {
		if len(svc.Shares) == 0 {
			continue
		}
		if svc.Made, err = st.ResolvedHash(name, seen); err != nil {
			return nil, nil, err
		}
	}
	if err = o.Steady(o).FindForeign(ctx, st, seen); err != nil {
		return nil, nil, err
	}
	networks, volumes = engine.Diverged(st, seen)
	return networks, volumes, nil
}

// Carry starts, gates, switches, drains and retires units.
func (o oneHost) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error) {
	units := o.Steady(o)
	r := &rollout.Rollout{
		Stack: st, Units: units, Eyes: units, Ground: o.Engine, Shell: units,
		Gateway: func(u stack.Unit, opts ...gateway.Option) rollout.Gateway { return o.Nginx(o, u, opts...) },
		Live:    o.Store(st.Name), Dial: o.Reachable, How: how, Sink: o.Sink,
	}
	return r.Run(ctx, p)
}

// Stop stops the containers; what a command runs in is not one of a service's.
func (o oneHost) Stop(ctx context.Context, project string, services []string) error {
	seen, err := o.Observe(ctx, project)
	if err != nil {
		return err
	}
	var ids []string
	for _, name := range services {
		for _, u := range seen.Units[name] {
			if !u.OneOff && u.State != stack.Exited && u.State != stack.Created {
				ids = append(ids, u.ID)
			}
		}
	}
	return o.Steady(o).Stop(ctx, ids, stack.OwnGrace)
}

// HoldsImages is true: the containers are made here.
func (oneHost) HoldsImages() bool { return true }

// Prune has nothing to do: a single host keeps files and images only.
func (oneHost) Prune(context.Context, string, func(context.Context) ([]*stack.Stack, error)) error {
	return nil
}

// At is the only host.
func (o oneHost) At(context.Context, string) (*target.Node, error) { return o.Here(), nil }
