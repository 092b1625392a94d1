package converge

import (
	"context"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// Verifier decides whether a release stays.
type Verifier interface {
	// Before looks at what is ill before the first change; it is not held against
	// the release.
	Before(ctx context.Context, t *target.Target, r Released)
	// After looks at what was released. An error fails the release, and the report
	// says why.
	After(ctx context.Context, t *target.Target, r Released) (*check.Report, error)
}

// Released is what a Verifier looks at: all that runs, also what a release of some
// services only did not touch.
type Released struct {
	Stack  *stack.Stack
	Record *release.Record
	// On is where its units are.
	On target.Sight
}

// baseline lets the verifier look before the first change.
func (d *transition) baseline(ctx context.Context) {
	if d.opts.Verify != nil {
		d.opts.Verify.Before(ctx, d.Target, Released{Stack: d.opts.Stack, Record: d.record, On: d.on})
	}
}

// inspect runs the caller's checks.
func (d *transition) inspect(ctx context.Context) error {
	if d.opts.Verify == nil {
		return nil
	}
	runs, err := d.runs(ctx)
	if err != nil {
		return err
	}
	d.result.Checks, err = d.opts.Verify.After(ctx, d.Target, Released{Stack: runs, Record: d.record, On: d.on})
	return err
}
