// Package backups is the verb that dumps the databases of what serves, proves the
// dumps and lists them. Which databases those are says the host's ledger.
package backups

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// Options is a validated request.
type Options struct {
	Host host.Config
	// Vault is how to log in where copies go, but for the address.
	Vault    host.Config
	Project  string
	StateDir string
	LockWait time.Duration
	// Prove restores each new dump into a throwaway server.
	Prove bool
	// RunURL and Actor name who holds the lock.
	RunURL, Actor string
}

// Result is the backups that were made, or all that there are, the newest first.
type Result struct {
	Project string          `json:"project"`
	Host    string          `json:"host"`
	Backups []backup.Backup `json:"backups"`
}

// Take dumps every database of the release that serves. The result has those that
// were made; a database that does not run, or whose dump fails, keeps no other from its own.
func Take(ctx context.Context, o Options, sink event.Sink) (*Result, error) {
	result := &Result{Project: o.Project}
	t, on, err := o.open(ctx, sink)
	if err != nil {
		return result, err
	}
	defer t.Close()
	result.Host = t.Host.String()
	ctx, _, drop, err := t.Hold(ctx, o.Project, release.Holder{RunURL: o.RunURL, Actor: o.Actor}, o.LockWait)
	if err != nil {
		return result, err
	}
	defer drop()
	return result, ended(ctx, o.take(ctx, t, on, result))
}

// ended gives what Take ended with its meaning: told to stop, it was interrupted,
// whatever it was in the middle of.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fault.New(fault.Interrupted, "", "take it again with: shiksha backup; earlier backups are untouched", "%w", err)
	}
	return fault.As(fault.Refused, err)
}

func (o Options) take(ctx context.Context, t *target.Target, on platform.Platform, result *Result) error {
	ledger, err := t.AnyLedger(ctx, o.Project)
	if err != nil {
		return err
	}
	databases, failed, err := o.databases(ctx, t, on, ledger)
	if err == nil && len(databases) > 0 {
		err = t.Engine.ClearTasks(ctx, o.Project)
	}
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	for _, db := range databases {
		if ctx.Err() != nil {
			failed = append(failed, without(db.Service, context.Cause(ctx)))
			break
		}
		var b backup.Backup
		store, err := t.Backups(ctx, db.Node, o.Project)
		if err != nil {
			err = without(db.Service, err)
		} else {
			b, err = o.one(ctx, store, db)
		}
		if b.ID != "" {
			result.Backups = append(result.Backups, b)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	// What has no dump decides how it ends, before what has no proof or no copy.
	undumped := func(err error) int {
		if fault.Of(err) == fault.Refused {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(failed, func(a, b error) int { return undumped(a) - undumped(b) })
	return errors.Join(failed...)
}

// dumps is what one database takes of its store.
type dumps interface {
	Take(ctx context.Context, from backup.Source) (backup.Backup, error)
	Prove(ctx context.Context, b backup.Backup, unit stack.Unit) (backup.Backup, error)
	CopyAll(ctx context.Context, from backup.Source) error
	Find(ctx context.Context, id string, copies ...*stack.Copy) (backup.Backup, error)
}

// one dumps a database, proves the dump and copies it; the backup is the empty one when none
// was made. A proof that could not be tried keeps no copy from leaving the host: the dump is
// as good as one that nobody asked to prove. One that a proof found bad takes no good copy's place.
func (o Options) one(ctx context.Context, store dumps, db target.Database) (backup.Backup, error) {
	b, err := store.Take(ctx, db.Source)
	if err != nil {
		return backup.Backup{}, err
	}
	if o.Prove {
		b, err = store.Prove(ctx, b, db.Unit)
	}
	switch {
	case ctx.Err() != nil && err == nil && db.Options.Copy != nil:
		err = fmt.Errorf("backup %s is not copied: %w", b.ID, context.Cause(ctx))
	case ctx.Err() == nil && (err == nil || errors.Is(err, backup.ErrUntried)):
		err = errors.Join(err, store.CopyAll(ctx, db.Source))
	}
	if made, readErr := store.Find(ctx, b.ID); readErr == nil {
		b = made // with its copy
	}
	return b, err
}

// serving is the stack of the release that serves, with its record.
func (o Options) serving(ctx context.Context, ledger *release.Ledger) (*stack.Stack, release.Record, error) {
	serving, any := ledger.LatestVerified()
	if !any {
		return nil, serving, fault.New(fault.Refused, "", "release the stack first with shiksha deploy; if another user did, log in as that one, or give its state-dir",
			"nothing of %s was released here yet", o.Project)
	}
	st, err := ledger.Stack(ctx, serving.Number)
	return st, serving, err
}

// doubt is why it is not known for sure which release serves, nil where it is: what came after
// the one that is known may name other databases, and keep backups for longer.
func doubt(l *release.Ledger) error {
	verified, any := l.LatestVerified()
	why := l.Newer()
	for _, d := range slices.Backward(l.Damage()) {
		if why == nil && max(d.Number, d.Through) > verified.Number {
			why = fault.New(fault.Refused, "", "the next release that is verified records anew what serves", "the ledger is damaged: %s", d)
		}
	}
	if why == nil {
		return nil
	}
	so := fmt.Sprintf("so the databases are those of release %d, and no older backup is let go", verified.Number)
	if !any {
		so = "so it is not known which databases there are, and none is dumped"
	}
	return fault.New(fault.Refused, "", fault.Hint(why), "%w, %s", why, so)
}

// databases are those of the release that serves; failed has why others cannot be dumped, and
// first of all why there may be others. Nothing is let go then.
func (o Options) databases(ctx context.Context, t *target.Target, on target.Sight, ledger *release.Ledger) (found []target.Database, failed []error, err error) {
	unsure := doubt(ledger)
	st, serving, err := o.serving(ctx, ledger)
	switch {
	case err != nil && unsure != nil && serving.Number == 0:
		return nil, nil, unsure // nor is it known that nothing was released
	case err != nil:
		return nil, nil, errors.Join(unsure, err)
	}
	seen, err := on.Observe(ctx, o.Project)
	if err != nil {
		return nil, nil, err
	}
	found, failed = running(ctx, t, on, st, seen, serving)
	if unsure != nil {
		for i := range found {
			found[i].Spare = true
		}
		return found, append([]error{unsure}, failed...), nil
	}
	if len(found)+len(failed) == 0 {
		err = fault.New(fault.Refused, "", "give the database's service `x-shiksha: {backups: {}}` in the Compose file and deploy",
			"no service of %s asks for backups", o.Project)
	}
	return found, failed, err
}

// running are the databases of a stack that can be dumped, and why each of the others cannot:
// one that is down is no reason to have no dump of those that are well.
func running(ctx context.Context, t *target.Target, on target.Where, st *stack.Stack, seen stack.Observed, serving release.Record) (found []target.Database, failed []error) {
	for _, name := range st.Order {
		if st.Services[name].Ext.Backups == nil {
			continue
		}
		db, err := t.Database(ctx, on, st, seen, serving, name)
		if err != nil {
			failed = append(failed, without(name, err))
			continue
		}
		found = append(found, db)
	}
	return found, failed
}

// without says which database has no dump: among several the reason alone does not.
func without(service string, err error) error {
	return fault.As(fault.Refused, fmt.Errorf("no backup of %s was made: %w", service, err))
}

// List gives all backups of a project, on the host and on the other nodes of its Swarm
// that have some.
func List(ctx context.Context, o Options, sink event.Sink) (*Result, error) {
	result := &Result{Project: o.Project}
	t, err := o.connect(ctx, sink) // what the stack runs on may be what is ill
	if err != nil {
		return result, err
	}
	defer t.Close()
	result.Host = t.Host.String()
	stores, err := t.Stores(ctx, o.Project)
	if err == nil {
		result.Backups, err = all(ctx, t, stores)
	}
	if err != nil {
		return result, fault.As(fault.Refused, err)
	}
	ledger, err := t.AnyLedger(ctx, o.Project)
	if err != nil {
		return result, nil
	}
	if err := ledger.Newer(); err != nil {
		t.Say(event.Warning, "backup", "", "%v: copies in places that only it names are not listed", err)
	}
	st, _, err := o.serving(ctx, ledger)
	if err != nil {
		return result, nil // where copies are says the release that serves: there is none
	}
	result.Backups = merge(result.Backups, away(ctx, t, stores[0], st))
	return result, nil
}

// all lists what stores have, the host's first. Another node whose backups cannot be
// read is a warning: the others are listed all the same.
func all(ctx context.Context, t *target.Target, stores []*backup.Store) (out []backup.Backup, err error) {
	for _, s := range stores {
		there, err := s.List(ctx)
		switch {
		case err != nil && s.Node == "":
			return nil, err
		case err != nil:
			t.Say(event.Warning, "backup", "", "the backups on node %s are not listed: %v", s.Node, err)
		}
		out = append(out, there...)
	}
	slices.SortStableFunc(out, func(a, b backup.Backup) int { return b.Taken.Compare(a.Taken) })
	return out, nil
}

// away lists the copies off the host. A place that cannot be reached is a warning:
// what the host has is listed all the same.
func away(ctx context.Context, t *target.Target, store *backup.Store, st *stack.Stack) (all []backup.Backup) {
	seen := map[string]bool{}
	for _, name := range st.Order {
		o := st.Services[name].Ext.Backups
		if o == nil || o.Copy == nil || seen[o.Copy.String()] {
			continue
		}
		seen[o.Copy.String()] = true
		copies, err := store.Away(ctx, o.Copy)
		if err != nil {
			t.Say(event.Warning, "backup", name, "the copies are not listed: %v", err)
		}
		all = append(all, copies...)
	}
	return all
}

// merge adds to the host's backups those that only a copy is left of, the newest
// first.
func merge(here, away []backup.Backup) []backup.Backup {
	for _, b := range away {
		i := slices.IndexFunc(here, func(h backup.Backup) bool { return h.ID == b.ID })
		switch {
		case i < 0:
			here = append(here, b)
		case here[i].Lost != "" && b.Lost == "":
			here[i] = b
		}
	}
	slices.SortFunc(here, func(a, b backup.Backup) int { return b.Taken.Compare(a.Taken) })
	return here
}

// connect opens the host that a project is asked about on.
func (o Options) connect(ctx context.Context, sink event.Sink) (*target.Target, error) {
	if err := cmp.Or(release.CheckNamed(o.Project), release.CheckStateDir(o.StateDir)); err != nil {
		return nil, err
	}
	t, err := target.Open(ctx, o.Host, o.StateDir, sink)
	if err != nil {
		return nil, err
	}
	t.Vault = o.Vault
	return t, nil
}

// open connects, and finds what the project runs on.
func (o Options) open(ctx context.Context, sink event.Sink) (*target.Target, platform.Platform, error) {
	t, err := o.connect(ctx, sink)
	if err != nil {
		return nil, nil, err
	}
	on, err := platform.Choose(ctx, t, "", "", o.Project)
	if err != nil {
		t.Close()
		return nil, nil, err
	}
	return t, on, nil
}
