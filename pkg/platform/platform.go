// Package platform is what a stack runs on: one host's engine, or a Swarm. Choose takes
// one; it does not change while a verb is at work.
package platform

import (
	"context"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// The engines that a stack can run on; Auto chooses.
const (
	Auto    = "auto"
	Compose = "compose"
	Swarm   = "swarm"
)

// Platform is what a stack runs on: one host's engine, or a Swarm. Everything else
// of a release (plan, ledger, lock, preflight, probe, checks, the way back) is the
// same on each of them.
type Platform interface {
	// Sight looks at what runs of a project; planning looks at nothing else.
	target.Sight
	// Name is what the input engine calls it.
	Name() string
	// Adapt makes of a stack what it means here. Doing it twice is doing it once. It
	// comes before the stack is pinned; one that is pinned already stays so.
	Adapt(ctx context.Context, st *stack.Stack) error
	// Compare says what hashes units have that cover what runs (stack.Service.Made), completes
	// what was seen of networks and volumes, and names those that exist with another definition.
	Compare(ctx context.Context, st *stack.Stack, seen stack.Observed) (networks, volumes []string, err error)
	// Carry carries a plan for a stack out. Of a step that failed it leaves the
	// service as it was where it can; the report says what else was changed.
	Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error)
	// Stop ends what runs of services, and keeps it ended until a plan starts it again.
	Stop(ctx context.Context, project string, services []string) error
	// HoldsImages tells whether images have to be on the host that we speak to.
	HoldsImages() bool
	// Prune lets go of what it keeps for releases beside files and images and none of
	// the kept ones needs.
	Prune(ctx context.Context, project string, kept func(context.Context) ([]*stack.Stack, error)) error
}
