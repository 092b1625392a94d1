// Package backups is the verb that dumps the databases of what serves, proves the
// dumps and lists them. Which databases those are says the host's ledger.
package backups

import (
	"context"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// Options is a validated request.
type Options struct {
	Host     host.Config
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
// were made, also when a later one failed.
func Take(ctx context.Context, o Options, sink event.Sink) (*Result, error) {
	result := &Result{Project: o.Project}
	t, err := o.open(ctx, sink)
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
	return result, fault.As(fault.Refused, o.take(ctx, t, result))
}

func (o Options) take(ctx context.Context, t *target.Target, result *Result) error {
	databases, err := o.databases(ctx, t)
	if err != nil {
		return err
	}
	if err := t.Engine.ClearTasks(ctx, o.Project); err != nil {
		return err
	}
	store, err := t.Backups(ctx, o.Project)
	if err != nil {
		return err
	}
	for _, db := range databases {
		b, err := store.Take(ctx, db)
		if err != nil {
			return err
		}
		if o.Prove {
			b, err = store.Prove(ctx, b, db.Unit.ImageID)
		}
		result.Backups = append(result.Backups, b)
		if err != nil {
			return err
		}
	}
	return nil
}

// databases are those of the release that serves.
func (o Options) databases(ctx context.Context, t *target.Target) ([]backup.Source, error) {
	ledger, err := t.Ledger(ctx, o.Project)
	if err != nil {
		return nil, err
	}
	serving, any := ledger.LatestVerified()
	if !any {
		return nil, fault.New(fault.Refused, "", "release the stack first with shiksha deploy", "nothing of %s was released here yet", o.Project)
	}
	sealed, err := ledger.ReadSealed(ctx, serving.Number)
	if err != nil {
		return nil, err
	}
	st, err := stack.Unseal(sealed)
	if err != nil {
		return nil, err
	}
	seen, err := t.Engine.Observe(ctx, o.Project)
	if err != nil {
		return nil, err
	}
	databases, err := target.Databases(st, seen, serving)
	if err == nil && len(databases) == 0 {
		err = fault.New(fault.Refused, "", "give the database's service `x-shiksha: {backups: {}}` in the Compose file and deploy",
			"no service of %s asks for backups", o.Project)
	}
	return databases, err
}

// List gives all backups of a project.
func List(ctx context.Context, o Options, sink event.Sink) (*Result, error) {
	result := &Result{Project: o.Project}
	t, err := o.open(ctx, sink)
	if err != nil {
		return result, err
	}
	defer t.Close()
	result.Host = t.Host.String()
	store, err := t.Backups(ctx, o.Project)
	if err == nil {
		result.Backups, err = store.List(ctx)
	}
	return result, fault.As(fault.Refused, err)
}

func (o Options) open(ctx context.Context, sink event.Sink) (*target.Target, error) {
	if o.Project == "" {
		return nil, fault.New(fault.Input, "project", "for example: --project shop", "which project on the host is not said")
	}
	if o.StateDir != "" && !strings.HasPrefix(o.StateDir, "/") {
		return nil, fault.New(fault.Input, "state-dir", "give the absolute path of a folder on the host", "%q is not absolute", o.StateDir)
	}
	return target.Open(ctx, o.Host, o.StateDir, sink)
}
