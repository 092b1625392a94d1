package converge

import (
	"context"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
)

// restores tells whether the release brings a database back.
func (d *transition) restores() bool { return d.opts.Back != nil && d.opts.Back.Database != nil }

// announce says in the plan what bringing a database back means.
func (d *transition) announce() {
	if d.restores() {
		d.plan.Notes = append(d.plan.Notes, "the database goes back to backup "+d.opts.Back.Backup+
			": what writes to it stops first, what was written since is kept in a database of its own")
	}
}

// restore brings the database back and plans again: what wrote to it is stopped.
func (d *transition) restore(ctx context.Context) error {
	if !d.restores() {
		return nil
	}
	d.Step("restore the database")
	if err := d.guard(ctx); err != nil {
		return err
	}
	stopped, undo, err := d.opts.Back.Database(ctx)
	d.undoDatabase = undo
	// From here on going back means to start again what was stopped.
	d.result.Rollout = joined(d.result.Rollout, rollout.Report{Touched: stopped})
	if err != nil {
		return err
	}
	if d.facts, err = d.gather(ctx); err != nil {
		return err
	}
	key, err := d.ledger.Key(ctx)
	if err != nil {
		return err
	}
	// The record that this release began must not count as an interrupted one.
	in := d.facts.input(d.opts, key)
	in.Interrupted = false
	d.rest = plan.Make(in)
	d.rest.Reverse()
	return nil
}

// swapBack gives a release that failed its database back.
func (d *transition) swapBack(ctx context.Context) error {
	if d.undoDatabase == nil {
		return nil
	}
	return d.undoDatabase(ctx)
}
