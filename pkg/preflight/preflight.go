// Package preflight finds before a release what would be learned in production
// after it. Its checks are named P01 to P17: Static needs nothing but the workspace.
// What needs the host is looked at by the packages onhost and image, under the lock;
// none of them changes anything. A finding says the file, the line and the mend.
package preflight

import (
	"context"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/preflight/monitoring"
	"github.com/shiksha/actions/pkg/preflight/swarm"
	"github.com/shiksha/actions/pkg/preflight/workflow"
	"github.com/shiksha/actions/pkg/stack"
)

// Options say what is known beside the stack.
type Options = finding.Options

// findings are those of a run, and what its later looks take from earlier ones.
type findings struct {
	*finding.Findings
	// sites are the nginx configurations of the stack, by service.
	sites map[string]*site
}

// Static looks at everything that can be known without a host. A required result
// that failed is something that cannot work or must never be; the rest is policy.
func Static(ctx context.Context, st *stack.Stack, o Options) *check.Report {
	f := &findings{Findings: finding.Of(ctx, st, o)}
	for _, look := range []func(*findings){interpolation, policy, secrets, nginx, certificates, dumps} {
		look(f)
	}
	monitoring.Look(f.Findings)
	workflow.Look(f.Findings)
	if o.Swarm {
		swarm.Look(f.Findings)
	}
	return f.Report()
}
