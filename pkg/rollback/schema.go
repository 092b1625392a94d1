package rollback

import (
	"context"
	"fmt"
	"math"
	"slices"
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

// since is something that was done to the schema after a release was verified, with
// the backups from before it. what says it in a sentence.
type since struct {
	service string
	number  int
	at      time.Time
	what    string
	backups []string
	// begun is a migration of which the end is not known, and found the schema that it
	// found.
	begun *release.Migration
	found int
	// restored is set where the database was brought back to a backup, and brought is that
	// backup where it is certain that it came.
	restored bool
	brought  string
}

// schemas says which schema each release was left with, by the number of the release
// that made it, and what was done on the way to today's.
type schemas struct {
	left, found map[int]int
	now         int
	done        []since
	// pruned tells whether the ledger has forgotten a release; nil where it forgot none.
	pruned func(int) bool
}

// schemasOf follows the schema through the ledger. A migration that is known to have
// left the revision as it was made none; one that failed or was cut short may have
// changed something. The way back to a backup leads to the schema that the backup
// was taken from; one that failed was swapped back, of one that was cut short
// nobody knows. Neither is known what a damaged record did.
func schemasOf(all []release.Record, damage []release.Damage) schemas {
	s := schemas{left: map[int]int{}, found: map[int]int{}}
	for _, r := range all {
		s.lost(damage, r.Number)
		s.found[r.Number] = s.now
		if r.BroughtBack() {
			s.restored(r, all)
		}
		for _, m := range r.Migrations {
			s.migrated(r, m)
		}
		s.left[r.Number] = s.now
	}
	s.lost(damage, math.MaxInt)
	return s
}

// migrated notes a migration. One whose end is not known changed nothing when the next
// found the database where it had been.
func (s *schemas) migrated(r release.Record, m release.Migration) {
	if last := len(s.done) - 1; last >= 0 && s.done[last].service == m.Service && s.done[last].begun != nil && s.done[last].begun.FoundAs(m) {
		s.now, s.done = s.done[last].found, s.done[:last]
		s.found[r.Number] = s.now
	}
	if m.Nothing() {
		return
	}
	d := since{service: m.Service, number: r.Number, at: m.Started, backups: r.Backups, found: s.now,
		what: fmt.Sprintf("release %d migrated the database of %s (revision %s to %s)", r.Number, m.Service, release.Revision(m.Before), release.Revision(m.After))}
	if m.After == "" {
		d.begun = &m
	}
	s.now, s.done = r.Number, append(s.done, d)
}

// restored notes that a release brought the database back.
func (s *schemas) restored(r release.Record, all []release.Record) {
	from := slices.IndexFunc(all, func(k release.Record) bool { return slices.Contains(k.Backups, r.RestoresDatabase) })
	s.now = r.Number
	d := since{number: r.Number, at: r.Started, restored: true, what: fmt.Sprintf("release %d brought the database back to backup %s", r.Number, r.RestoresDatabase)}
	if r.Outcome == release.Verified {
		d.brought = r.RestoresDatabase
	}
	if d.brought != "" && from >= 0 {
		s.now = s.found[all[from].Number]
	}
	s.done = append(s.done, d)
}

// lost notes the damaged records below a number that were not yet noted.
func (s *schemas) lost(damage []release.Damage, below int) {
	for _, d := range damage {
		noted := slices.ContainsFunc(s.done, func(done since) bool { return done.number == d.Number })
		if d.Number > 0 && d.Number < below && !noted {
			s.now = d.Number
			s.done = append(s.done, since{number: d.Number, what: fmt.Sprintf("the record of release %d cannot be read, so what it did to the database is not known", d.Number)})
		}
	}
}

// after is what was done to the schema since a release, nothing where today's is
// the one that the release was left with.
func (s schemas) after(n int) []since {
	if s.left[n] == s.now {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.done), func(d since) bool { return d.number <= n })
}

// across is what was done to one database ("" is one that is not backed up here) since
// a release, and the services whose code has to be able to read it.
type across struct {
	database string
	done     []since
	asked    []string
}

// crossed is what a rollback goes back across, but for the database that a backup is of.
func crossed(all []release.Record, damage []release.Damage, n needs, to release.Record, but string) (open []across) {
	st := n.stacks[0]
	for _, database := range n.migrated(all) {
		a := across{database: database, done: follow(n.about(database, all), damage, st).after(to.Number)}
		a.asked = asked(st, a.done, func(service string) bool { return slices.Contains(n.migrates(service), database) })
		if database != but && len(a.asked) > 0 {
			open = append(open, a)
		}
	}
	return open
}

// readable makes sure that the code of an earlier release can work with today's
// schema, or that the caller said what to do about it. A backup says so of its own
// database, when it is found.
func (o Options) readable(ctx context.Context, t *target.Target, l *release.Ledger, to release.Record, n needs) error {
	comes := backup.ServiceOf(o.RestoreDatabase)
	if o.RestoreDatabase != "" && !slices.Contains(n.databases(), comes) {
		return nil // whoever looks for it says that there is none
	}
	if o.RestoreDatabase == "" {
		comes = "no database"
	}
	open := crossed(l.All(), l.Damage(), n, to, comes)
	for _, a := range open {
		if o.AcceptSchema {
			t.Say(event.Warning, "look", "", "%s; that %s can read the schema was accepted, not checked", a.done[0].what, to.Title())
			continue
		}
		for _, name := range a.asked {
			if why, no := unreadable(ctx, t, n.stacks[0], name, o.Registry); why != "" {
				verified, _ := l.LatestVerified()
				served := to.Number == verified.Number && servedWith(open) && !no
				return fault.New(fault.Refused, "", waysOut(open, o.RestoreDatabase, served), "%s cannot be gone back to: %s, and %s", to.Title(), a.done[0].what, why)
			}
		}
	}
	if len(open) > 0 && !o.AcceptSchema {
		t.Say(event.Info, "look", "", "%s says of itself that it can read the schema that is there", to.Title())
	}
	return nil
}

// migrates tells whether a stack says how it migrates a database.
func migrates(st *stack.Stack) bool {
	for _, svc := range st.Services {
		if svc.Ext.Migrate != nil {
			return true
		}
	}
	return false
}

// asked are the services whose code has to be able to read the schema: those that
// migrated it, or where that is not known all that migrate its database.
func asked(st *stack.Stack, done []since, of func(service string) bool) (names []string) {
	for _, d := range done {
		if d.service != "" {
			names = append(names, d.service)
			continue
		}
		for _, name := range st.Order {
			if st.Services[name].Ext.Migrate != nil && of(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// servedWith tells whether the last verified release served with today's schema already: it
// did while later ones migrated, which is all that was done since.
func servedWith(open []across) bool {
	other := func(d since) bool { return d.service == "" }
	return !slices.ContainsFunc(open, func(a across) bool { return slices.ContainsFunc(a.done, other) })
}

// unreadable says why code is not known to work with a schema, "" when it does. No is set
// where the code itself says that it does not.
func unreadable(ctx context.Context, t *target.Target, st *stack.Stack, service string, auth engine.Auth) (why string, no bool) {
	svc := st.Services[service]
	if svc == nil || svc.Ext.Migrate == nil || len(svc.Ext.Migrate.Compatible) == 0 {
		return "whether the older code can read it is not known (it has no x-shiksha.migrate.compatible)", false
	}
	ctx, cancel := context.WithTimeout(ctx, compatibleTime)
	defer cancel()
	const mute = "the older code cannot be asked whether it can read it: %v"
	if err := t.Engine.Pull(ctx, svc.Pinned, svc.Platform, auth); err != nil {
		why = fmt.Sprintf(mute, err)
		if mend := fault.Hint(err); mend != "" {
			why += " (" + mend + ")" // with its image it can be asked
		}
		return why, false
	}
	ended, err := t.Engine.RunService(ctx, st, service, stack.Task{Name: "compatible", Command: svc.Ext.Migrate.Compatible})
	if err != nil {
		return fmt.Sprintf(mute, err), false
	}
	if ended.Exit != 0 {
		return fmt.Sprintf("the older code says that it cannot read it (exit code %d): %s", ended.Exit, strings.TrimSpace(st.Hide(ended.Output))), true
	}
	return "", false
}

// waysOut are the two things that somebody may decide. A rollback brings back one
// database, which restores says. Where the older code served with the schema nothing need
// be lost, so that the other way comes second.
func waysOut(open []across, restores string, served bool) string {
	sure := " when you know that the older code can read it"
	if served {
		sure = ": the older code served with this schema already"
	}
	var names []string
	for _, a := range open {
		name := "BACKUP (shiksha backups lists them)"
		if backups := a.done[0].backups; len(backups) > 0 {
			name = backups[0]
		}
		if len(open) > 1 || restores != "" {
			name += fmt.Sprintf(" of %q", a.database)
		}
		names = append(names, name)
	}
	list, alone := strings.Join(names, ", "), ""
	loses := "--restore-database " + list + ", which loses what was written since"
	if len(open) > 1 {
		loses, alone = "--restore-database of each, in a rollback of its own ("+list+"), with --accept-schema beside it until the last, which loses what was written since", " alone"
	}
	accept := "--accept-schema" + alone + sure
	switch {
	case restores != "":
		return fmt.Sprintf("backup %s is of %q only: either --accept-schema beside it%s, or until another rollback has brought that database back (%s), too", restores, backup.ServiceOf(restores), sure, list)
	case served:
		return "either " + accept + ", or " + loses
	}
	return "either " + loses + ", or " + accept
}

// follow is schemasOf a ledger. Of a stack that migrates nothing a damaged record is
// no reason to doubt the schema.
func follow(all []release.Record, damage []release.Damage, st *stack.Stack) schemas {
	if !migrates(st) {
		damage = nil
	}
	return schemasOf(all, damage)
}

// takenHere tells whether a backup is of this ledger: it names the release that served
// when it was taken. One of another host may have the number of one of ours.
func takenHere(b backup.Backup, all []release.Record) bool {
	var served release.Record
	for _, r := range all {
		if r.Outcome == release.Verified && !r.Ended.Truncate(time.Second).After(b.Taken) {
			served = r
		}
	}
	return served.Number == b.Release && served.Version == b.Version
}

// of is the schema that a backup was taken of: by the release that took it before
// it migrated, or by the one that served. False where that is not known.
func (s schemas) of(b backup.Backup, all []release.Record) (int, bool) {
	for _, r := range all {
		if slices.Contains(r.Backups, b.ID) {
			return s.found[r.Number], true
		}
	}
	schema, ok := s.left[b.Release]
	if !takenHere(b, all) {
		return 0, false
	}
	for _, d := range s.done {
		if d.number > b.Release && d.at.Before(b.Taken) {
			return 0, false
		}
	}
	return schema, ok
}

// fits tells whether the schema of a backup is the one that a release was left with, as far as
// is known. Of one that was taken on another host only what was migrated here speaks against it,
// not that a database was brought back before.
func fits(b backup.Backup, s schemas, all []release.Record, to release.Record) bool {
	schema, ok := s.of(b, all)
	if ok {
		return schema == s.left[to.Number]
	}
	if s.overtook(b, to) != nil {
		return false
	}
	done := s.after(to.Number)
	if !takenHere(b, all) {
		done = slices.DeleteFunc(done, func(d since) bool { return d.restored })
	}
	return len(done) == 0 || b.Taken.Before(done[0].at) // too old for the ledger, and nothing speaks against it
}

// overtook is the first migration after a backup of which a release was left with the outcome,
// where the ledger has forgotten the release that the backup is of; nil where there is none.
// Without that a migration says nothing: on a new host the first release made the schema anew.
func (s schemas) overtook(b backup.Backup, to release.Record) (by *since) {
	if s.pruned == nil || !s.pruned(b.Release) {
		return nil
	}
	for _, d := range s.done {
		switch {
		case d.number > to.Number:
		case d.brought == b.ID && b.ID != "":
			by = nil // the schema was this backup's again
		case by == nil && d.service != "" && d.at.After(b.Taken):
			by = &d
		}
	}
	if by != nil && by.found == s.left[to.Number] {
		return nil // the database was brought back to before it
	}
	return by
}

// suits refuses a backup whose schema is not the one that a release was left with, and names the
// release that it is of where that would not be refused as well.
func suits(b backup.Backup, s schemas, all []release.Record, to release.Record) error {
	if fits(b, s, all, to) {
		return nil
	}
	_, ok := s.of(b, all)
	by, why := s.overtook(b, to), ""
	hint, goBack := "name another backup: shiksha backups lists them", "go back to the release that it is of as well"
	if by != nil {
		why = fmt.Sprintf(": %s since, and release %d, which it is of, is not remembered any more", by.what, b.Release)
		hint += fmt.Sprintf("; or restore %s by hand into a database of another name, and copy from there what you need", b.ID)
		goBack = "go back to a release without that as well"
	}
	for _, r := range all {
		of := ok || by != nil || !takenHere(b, all) && r.Version == b.Version && b.Version != ""
		if r.Outcome == release.Verified && of && fits(b, s, all, r) {
			hint = fmt.Sprintf("%s: --release %d --restore-database %s", goBack, r.Number, b.ID)
		}
	}
	return fault.New(fault.Refused, "restore-database", hint, "backup %s of %s has another schema than %s was left with%s",
		b.ID, b.Taken.UTC().Format(time.DateTime), to.Title(), why)
}
