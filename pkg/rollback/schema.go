package rollback

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// compatibleTime bounds the command that says whether code can read a schema.
const compatibleTime = 2 * time.Minute

// since is a migration that was begun after a release was verified, with the
// backups from before it.
type since struct {
	release.Migration
	number  int
	backups []string
}

// migratedSince lists what was done to the schema after a release, the oldest
// first. A migration that is known to have left the revision as it was is none; one
// that failed or was cut short may have changed something.
func migratedSince(all []release.Record, n int) (list []since) {
	for _, r := range all {
		for _, m := range r.Migrations {
			if r.Number > n && (m.Before == "" || m.Before != m.After) {
				list = append(list, since{m, r.Number, r.Backups})
			}
		}
	}
	return list
}

// readable makes sure that the code of an earlier release can work with today's
// schema, or that the caller said what to do about it.
func (o Options) readable(ctx context.Context, t *target.Target, l *release.Ledger, to release.Record, st *stack.Stack) error {
	done := migratedSince(l.All(), to.Number)
	switch {
	case len(done) == 0:
		return nil
	case o.AcceptSchema:
		t.Say(event.Warning, "look", "", "release %d migrated the database since; that %s can read it was accepted, not checked", done[0].number, title(to))
		return nil
	case o.RestoreDatabase != "":
		return nil // the backup is compared with the migrations when it is found
	}
	for _, m := range done {
		if why := unreadable(ctx, t, st, m, o.Registry); why != "" {
			return fault.New(fault.Refused, "", waysOut(done[0]), "%s cannot be gone back to: release %d migrated the database of %s (revision %s to %s), and %s",
				title(to), m.number, m.Service, known(m.Before), known(m.After), why)
		}
	}
	t.Say(event.Info, "look", "", "%s says of itself that it can read the schema that is there", title(to))
	return nil
}

// unreadable says why code is not known to work with a schema, "" when it does.
func unreadable(ctx context.Context, t *target.Target, st *stack.Stack, m since, auth engine.Auth) string {
	svc := st.Services[m.Service]
	if svc == nil || svc.Ext.Migrate == nil || len(svc.Ext.Migrate.Compatible) == 0 {
		return "whether the older code can read it is not known (it has no x-shiksha.migrate.compatible)"
	}
	ctx, cancel := context.WithTimeout(ctx, compatibleTime)
	defer cancel()
	if err := t.Engine.Pull(ctx, svc.Pinned, svc.Platform, auth); err != nil {
		return fmt.Sprintf("the older code cannot be asked whether it can read it: %v", err)
	}
	ended, err := t.Engine.RunService(ctx, st, m.Service, engine.Task{Name: "compatible", Command: svc.Ext.Migrate.Compatible})
	if err != nil {
		return fmt.Sprintf("the older code cannot be asked whether it can read it: %v", err)
	}
	if ended.Exit != 0 {
		return fmt.Sprintf("the older code says that it cannot read it (exit code %d): %s", ended.Exit, strings.TrimSpace(st.Hide(ended.Output)))
	}
	return ""
}

// waysOut are the two things that somebody may decide.
func waysOut(first since) string {
	name := "BACKUP (shiksha backups lists them)"
	if len(first.backups) > 0 {
		name = first.backups[0]
	}
	return "either --restore-database " + name + ", which loses what was written since, or --accept-schema when you know that the older code can read it"
}

func known(revision string) string {
	if revision == "" {
		return "unknown"
	}
	return revision
}

// suits refuses a backup that was taken after the schema had changed already.
func suits(b backup.Backup, done []since) error {
	if len(done) > 0 && !b.Taken.Before(done[0].Started) {
		return fault.New(fault.Refused, "restore-database", waysOut(done[0]), "backup %s was taken after release %d had migrated the database (%s)",
			b.ID, done[0].number, done[0].Started.UTC().Format(time.DateTime))
	}
	return nil
}
