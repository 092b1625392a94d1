// Package rollback is the verb that brings an earlier release back: its whole
// stack, as the host's ledger has it, and nothing of any checkout.
package rollback

import (
	"context"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/target"
)

// Run brings a release back, or only plans it with DryRun. The result is never
// nil: it says how far it came also when it failed.
func Run(ctx context.Context, o Options, sink event.Sink) (*converge.Result, error) {
	result := converge.Begin(o.Version)
	return result, result.End(run(ctx, o, sink, result))
}

func run(ctx context.Context, o Options, sink event.Sink, result *converge.Result) error {
	if err := o.check(); err != nil {
		return err
	}
	result.Project = o.Project
	t, err := target.Open(ctx, o.Host, o.StateDir, sink)
	if err != nil {
		return err
	}
	defer t.Close()
	t.Vault = o.Vault
	result.Host = t.Host.String()
	seen, err := o.seen(ctx, t.Files, t.StateDir) // before the wait for the lock
	if err != nil {
		return fault.Early(ctx, err)
	}
	var lock *release.Lock
	if !o.DryRun {
		var drop func()
		holder := release.Holder{RunURL: o.Run.URL, Actor: o.Run.Actor}
		if ctx, lock, drop, err = t.Hold(ctx, o.Project, holder, o.LockWait); err != nil {
			return err
		}
		defer drop()
	}
	on, err := platform.Choose(ctx, t, o.Engine, "", o.Project)
	if err != nil {
		return fault.As(fault.Refused, err)
	}
	request, err := o.request(ctx, t, on, seen)
	if err != nil {
		return fault.As(fault.Refused, err)
	}
	request.Lock, result.Version = lock, request.Version
	return converge.Run(ctx, t, on, request, result)
}

// request is what the host should run: the stack of the chosen release. asked is the
// last release when somebody asked for it.
func (o Options) request(ctx context.Context, t *target.Target, on platform.Platform, asked release.Record) (converge.Options, error) {
	ledger, err := t.Ledger(ctx, o.Project)
	if err != nil {
		return converge.Options{}, err
	}
	seen, err := on.Observe(ctx, o.Project)
	if err != nil {
		return converge.Options{}, err
	}
	live, err := altered(ctx, t.Store(o.Project), on, ledger)
	if err != nil {
		return converge.Options{}, err
	}
	c, err := choose(ledger, seen, live, o)
	if err == nil {
		err = o.overtaken(asked, ledger, c)
	}
	if err != nil {
		return converge.Options{}, err
	}
	for _, note := range c.notes {
		t.Say(event.Notice, "look", "", "%s", note)
	}
	st, err := restore(ctx, t, on, ledger, c.to)
	if err != nil {
		return converge.Options{}, err
	}
	o.address(ctx, ledger, st)
	var verifier converge.Verifier
	if o.Verify != nil {
		if verifier, err = o.Verify(st); err != nil {
			return converge.Options{}, stored(err, st, c.to)
		}
	}
	needs := needing(ctx, ledger, st, o.RestoreDatabase)
	if err := o.readable(ctx, t, ledger, c.to, needs); err != nil {
		return converge.Options{}, err
	}
	back := &converge.Back{Undoes: c.from, Restores: origin(c.to), Reason: o.Reason}
	if o.RestoreDatabase != "" {
		r, err := o.restoring(ctx, t, on, ledger, c.to, needs, seen)
		if err != nil {
			return converge.Options{}, err
		}
		back.Database, back.Backup = r.run, r.backup.ID
		back.Service, back.Writers = r.into.Service, r.writers()
	}
	how := o.Asked
	how.Run.Commit = c.to.Commit
	return converge.Options{
		Asked: how, Stack: st, Images: images(t, on, st, c.to, o.Registry), Version: c.to.Version,
		Strategy: converge.Rolling, RollbackOnFailure: true, RemoveOrphans: true, Verify: verifier, Back: back,
	}, nil
}
