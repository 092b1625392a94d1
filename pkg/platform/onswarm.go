package platform

import (
	"context"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/swarm"
	"github.com/shiksha/actions/pkg/target"
)

// onSwarm is a Swarm: its own updater makes the units.
type onSwarm struct {
	*swarm.Swarm
	target *target.Target
}

// At is the node that has a unit: the manager, or another one through it.
func (s onSwarm) At(ctx context.Context, unit string) (*target.Node, error) {
	if n, away := s.Place(unit); away {
		return node(ctx, s.target, n)
	}
	return s.target.Here(), nil
}

// Carry changes service by service, each watched to its end.
func (s onSwarm) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error) {
	units := s.target.Units(s)
	r := &rollout.Rollout{Stack: st, Ground: s, Eyes: units, Shell: units, How: how, Sink: s.Sink}
	r.Carrier = func(ctx context.Context, step plan.Step) error {
		if step.Action == plan.Drain {
			// All at once: which of them Swarm replaces first nobody knows.
			if err := r.Quiet(ctx, st.Services[step.Service], step.Old); err != nil {
				return err
			}
		}
		failed := false
		err := s.Change(ctx, step, swarm.Order{Stack: st, Guard: how.Guard, WaitTimeout: how.WaitTimeout, Login: how.Login, Release: how.Release, Span: r.Span,
			GoesBack: func() { failed = true }})
		if failed && ctx.Err() != nil {
			return rollout.GoingBack(err)
		}
		return err
	}
	return r.Run(ctx, p)
}
