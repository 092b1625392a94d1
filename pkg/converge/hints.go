package converge

// What somebody is told to do next: the hints of a release that did not end well, and what they
// say of what serves.

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
)

// why begins the hint of a release that went back: what is known of the failure, or where to look.
func (d *transition) why(cause error) string {
	var over *probe.Exceeded
	switch {
	case errors.As(cause, &over):
		return over.Hint + "; " // all units may be well
	case d.result.Rollout.Failed != "":
		return cmp.Or(fault.Hint(cause), "the last lines of the failed unit say why") + "; "
	}
	return ""
}

// servesNow says who serves once a release that failed is taken back.
func (d *transition) servesNow() string {
	switch {
	case !d.first():
		if len(d.keptOver) > 0 {
			return fmt.Sprintf("%s serves again, beside %v as this release has it: no release created what ran before it", d.beforeTitle(), d.keptOver)
		}
		return d.beforeTitle() + " serves again"
	case d.result.Serving != "":
		return d.result.Serving + " serves again"
	}
	return "this was the first release, so nothing serves"
}

// beforeTitle names what served before.
func (d *transition) beforeTitle() string {
	if s := d.facts.standing; s != nil {
		return fmt.Sprintf("release %d, which ran and whose record is damaged,", s.number)
	}
	if d.facts.verified == nil {
		return cmp.Or(d.result.Serving, "nothing: it was the first release")
	}
	return called(d.facts.verified.Version, d.facts.verified.Number)
}

// former says how to go back to what served before, or nothing where that is not known or
// would be refused. What served while its database was migrated has to be told to accept
// that: so does a way back. Where it says itself what it can read it is asked: accepted is
// not checked.
func (d *transition) former(join string) string {
	v := d.facts.verified
	if v == nil || d.facts.standing != nil || d.noWayBack != "" || d.blind != "" {
		return ""
	}
	text, runs := fmt.Sprintf("%sgo back to what served before: shiksha rollback --release %d", join, v.Number), d.facts.since
	if d.record != nil {
		runs = append(slices.Clone(runs), *d.record)
	}
	if release.MigratedSince(runs, v.Number) && !d.judges {
		text += " --accept-schema (it served with this schema already)"
	}
	return text
}

// home says how to get rid of what runs before this one left: by the rollback that one of them
// was, which is not told to end where it began.
func (d *transition) home(join string) string {
	for _, r := range slices.Backward(unended(d.earlier.since)) {
		if r.Restores > 0 {
			return join + "run the rollback that release " + strconv.Itoa(r.Number) + " was again"
		}
	}
	return d.former(join)
}

// byHand says what somebody has to do who finds a way back stuck. Where the database is the
// older one nothing of the newer code may write to it: neither what served before, nor what
// was stopped. The same rollback goes on with it.
func (d *transition) byHand() string {
	if d.undoDatabase == nil {
		again := d.former("")
		if again != "" {
			again += ", "
		}
		return "look at what runs with shiksha status; " + again + "release a version that works, or start the services by hand"
	}
	text := "see that the database runs (start that by hand if it does not), then run the same rollback again, or release a version that works"
	if len(d.writers) > 0 {
		text += fmt.Sprintf("; start nothing of %s by hand: its code is newer than the database", strings.Join(d.writers, ", "))
	}
	return text
}

// unanswered says whom nobody serves where a database was on its way back: what writes to it
// was stopped, whatever is cut off after that. The newer release may not write to it.
func (d *transition) unanswered() string {
	return "users may get no answer of " + strings.Join(d.writers, ", ") + ": run the same again, which goes on with it"
}

// startedIn says how what another tool ran before a first release is brought back, where all
// of it was made in one folder. Its code does not know a database that was migrated since.
func (d *transition) startedIn() string {
	folder := ""
	for _, units := range d.facts.observed.Units {
		for _, u := range units {
			switch {
			case u.OneOff || !u.Up():
			case u.StateDir != "" || u.Folder == "" || folder != "" && u.Folder != folder:
				return ""
			default:
				folder = u.Folder
			}
		}
	}
	if folder == "" || !d.first() || d.migrated() != "" {
		return ""
	}
	return ", or bring back what ran before: docker compose up -d in " + folder + " on the host"
}

// stillIll says of a release that went back who was ill before it, and how to release the
// rest where that is why it failed.
func (d *transition) stillIll() string {
	ill, failed := d.ill(), d.result.Rollout.Failed
	if d.wasIll(failed) && !slices.Contains(ill, failed) {
		ill = append(ill, failed)
	}
	text := ""
	starting := slices.Compact(slices.Sorted(slices.Values(d.inVain)))
	if starting = slices.DeleteFunc(starting, func(name string) bool { return slices.Contains(ill, name) }); len(starting) > 0 {
		text = fmt.Sprintf("; %s was starting before, and does not get well", strings.Join(starting, ", "))
	}
	if len(ill) == 0 {
		return text
	}
	text += fmt.Sprintf("; %s was ill before", strings.Join(ill, ", "))
	others := slices.DeleteFunc(d.plan.Changed(), func(name string) bool {
		return slices.Contains(ill, name) || d.opts.Stack.Services[name] == nil
	})
	if slices.Contains(ill, failed) && len(others) > 0 && d.opts.Back == nil {
		text += ": what else changes is released by itself with shiksha deploy --services " + strings.Join(others, ",")
	}
	return text
}

// migrated says what a release that went back leaves of its migrations.
func (d *transition) migrated() string {
	if d.record == nil || len(d.record.Migrations) == 0 {
		return ""
	}
	last := d.record.Migrations[len(d.record.Migrations)-1]
	text := fmt.Sprintf("; the database stays migrated, at revision %s", release.Revision(last.After))
	if d.blind == "" {
		return text
	}
	text += ", and " + d.blind + ": release a version that works"
	if v := d.facts.verified; v != nil && len(d.record.Backups) == 1 {
		text += fmt.Sprintf(", or bring the database back, which loses what was written since: shiksha rollback --release %d --restore-database %s",
			v.Number, d.record.Backups[0])
	}
	return text
}

// afterFailure says what to do after a migration that failed. Code that lacks a migration
// which the database has, as a hotfix of what was gone back to does, needs that migration:
// the backup would cost what was written since.
func (d *transition) afterFailure(m release.Migration) string {
	if has := d.lacks(m); has != "" {
		return has + ": take the files of its migrations into this code and release again; no backup is needed for that"
	}
	hint := "mend the migration and release again"
	if strings.Contains(m.Output, "unsupported startup parameter") {
		hint = "a pooler refuses PGOPTIONS: write lock-timeout: 0 in x-shiksha.migrate, or have the migration connect to the server itself"
	}
	if n := len(d.record.Backups); n > 0 {
		hint += "; the database as it was before is backup " + strings.Join(d.record.Backups, ", ")
	}
	return hint
}

// lacks says what the database has that the code of a failed migration lacks, "" where
// nothing says so: Alembic does, when it reads the revision. The newest release that
// migrated the service is named.
func (d *transition) lacks(m release.Migration) string {
	if !strings.Contains(m.Output, "Can't locate revision") {
		return ""
	}
	says := "the database has migrations that this code lacks"
	for _, r := range slices.Backward(d.ledger.All()) {
		if r.RestoresDatabase != "" && r.Outcome == release.Verified {
			break // the schema is that of a backup
		}
		for _, was := range slices.Backward(r.Migrations) {
			if r.Number < d.record.Number && was.Service == m.Service && was.Exit == 0 && !was.Nothing() {
				return fmt.Sprintf("%s (release %d, revision %s)", says, r.Number, release.Revision(was.After))
			}
		}
	}
	return says
}
