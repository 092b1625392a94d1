package rollback

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// migration is a record's one migration, from a revision to another.
func migration(before, after string) []release.Migration {
	return []release.Migration{{Service: "app", Before: before, After: after, Started: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}}
}

// Today's schema is the one that a release was left with, or it is said what was
// done to it since.
func TestWhatWasDoneToTheSchema(t *testing.T) {
	t.Parallel()
	v1 := release.Record{Number: 1, Outcome: good, Migrations: migration("", "1")}
	v2 := release.Record{Number: 2, Outcome: good, Migrations: migration("1", "2"), Backups: []string{"b2"}}
	back := release.Record{Number: 3, Outcome: good, Restores: 1, RestoresDatabase: "b2"}
	with := func(r release.Record, change func(*release.Record)) release.Record {
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		all    []release.Record
		damage []release.Damage
		to     int
		want   []string
	}{
		"migrated":          {[]release.Record{v1, v2}, nil, 1, []string{"release 2 migrated the database of app (revision 1 to 2)"}},
		"nothing since":     {[]release.Record{v1, v2}, nil, 2, nil},
		"the same revision": {[]release.Record{v1, {Number: 2, Migrations: migration("1", "1")}}, nil, 1, nil},
		"another line than the last": {[]release.Record{v1, {Number: 2, Migrations: []release.Migration{{Service: "app", Before: "1", BeforeSum: "a", After: "1", AfterSum: "b"}}}}, nil, 1,
			[]string{"release 2 migrated the database of app (revision 1 to 1)"}},
		"nobody says the revision": {[]release.Record{v1, {Number: 2, Migrations: migration("", "")}}, nil, 1, []string{"release 2 migrated the database of app (revision unknown to unknown)"}},
		"a failed one may have":    {[]release.Record{v1, {Number: 2, Outcome: failed, Migrations: migration("1", "")}}, nil, 1, []string{"release 2 migrated the database of app (revision 1 to unknown)"}},
		"a killed one did nothing": {[]release.Record{v1, {Number: 2, Outcome: release.Interrupted, Migrations: migration("1", "")}, {Number: 3, Outcome: good, Migrations: migration("1", "2")}},
			nil, 1, []string{"release 3 migrated the database of app (revision 1 to 2)"}},
		"a killed one did something": {[]release.Record{v1, {Number: 2, Outcome: release.Interrupted, Migrations: migration("1", "")}, {Number: 3, Outcome: good, Migrations: migration("2", "2")}},
			nil, 1, []string{"release 2 migrated the database of app (revision 1 to unknown)"}},
		"brought back":                {[]release.Record{v1, v2, back}, nil, 1, nil},
		"and forth again":             {[]release.Record{v1, v2, back}, nil, 2, []string{"release 3 brought the database back to backup b2"}},
		"a way back that failed":      {[]release.Record{v1, v2, with(back, func(r *release.Record) { r.Outcome = failed })}, nil, 2, nil},
		"a way back that was cut off": {[]release.Record{v1, v2, with(back, func(r *release.Record) { r.Outcome = release.Interrupted })}, nil, 2, []string{"release 3 brought the database back to backup b2"}},
		"back to some other backup":   {[]release.Record{v1, v2, with(back, func(r *release.Record) { r.RestoresDatabase = "b0" })}, nil, 2, []string{"release 3 brought the database back to backup b0"}},
		"a lost record between":       {[]release.Record{v1, {Number: 3, Outcome: good}}, []release.Damage{{Number: 2}}, 1, []string{"the record of release 2 cannot be read, so what it did to the database is not known"}},
		"a lost record before":        {[]release.Record{v2, {Number: 3, Outcome: good}}, []release.Damage{{Number: 1}}, 2, nil},
		"the newest is lost":          {[]release.Record{v1}, []release.Damage{{Number: 2}}, 1, []string{"the record of release 2 cannot be read, so what it did to the database is not known"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said []string
			for _, d := range schemasOf(c.all, c.damage).after(c.to) {
				said = append(said, d.what)
			}
			assert.Equal(t, c.want, said)
		})
	}
}

// A database comes back to a backup only with a release that was left with its
// schema.
func TestSuits(t *testing.T) {
	t.Parallel()
	at := migration("", "")[0].Started
	all := []release.Record{
		{Number: 3, Outcome: good, Migrations: migration("", "1"), Ended: at.Add(-time.Minute)},
		{Number: 4, Outcome: good, Migrations: migration("1", "2"), Backups: []string{"b4"}, Ended: at.Add(time.Minute)},
		{Number: 5, Outcome: good, Ended: at.Add(2 * time.Hour)},
	}
	for name, c := range map[string]struct {
		backup backup.Backup
		to     int
		hint   string
	}{
		"before the migration, with the older release":   {backup.Backup{ID: "b4", Release: 3}, 0, ""},
		"before the migration, with the newer one":       {backup.Backup{ID: "b4", Release: 3}, 2, "--release 3 --restore-database b4"},
		"while the newer one served, with the older one": {backup.Backup{ID: "b5", Release: 4, Taken: at.Add(time.Hour)}, 0, "--release 5 --restore-database b5"},
		"while the newer one served, with it":            {backup.Backup{ID: "b5", Release: 4, Taken: at.Add(time.Hour)}, 2, ""},
		"older than the ledger":                          {backup.Backup{ID: "b1", Release: 1, Taken: at.Add(-time.Hour)}, 0, ""},
		"taken when nobody knows the schema":             {backup.Backup{ID: "b0", Taken: at.Add(time.Hour)}, 0, "name another backup"},
	} {
		err := suits(c.backup, schemasOf(all, nil), all, all[c.to])
		if c.hint == "" {
			assert.NoError(t, err, name)
			continue
		}
		assert.Equal(t, fault.Refused, fault.Of(err), name)
		assert.ErrorContains(t, err, "has another schema than release", name)
		assert.Contains(t, fault.Hint(err), c.hint, name)
	}
}

// What the ledger has forgotten says nothing of a backup, but what it remembers does: a release
// that migrated since keeps an older backup from coming back with what that one left. On a new
// host no release of that number was ever forgotten.
func TestBackupsOlderThanWhatIsRemembered(t *testing.T) {
	t.Parallel()
	at := migration("", "")[0].Started
	ended := func(n int) time.Time { return at.Add(time.Duration(n-47) * time.Hour) }
	kept := []release.Record{
		{Number: 46, Version: "v46", Outcome: good, Ended: ended(46)},
		{Number: 47, Version: "v47", Outcome: good, Migrations: migration("46", "47"), Backups: []string{"b47"}, Ended: ended(47).Add(time.Minute)},
		{Number: 50, Version: "v50", Outcome: good, Ended: ended(50)},
	}
	quiet := []release.Record{kept[0], {Number: 47, Outcome: good, Ended: ended(47)}, kept[2]}
	restored := append(slices.Clone(kept), release.Record{Number: 51, Version: "v46", Outcome: good, Restores: 46, RestoresDatabase: "b47", Started: ended(51), Ended: ended(51)})
	// What the hint says was done: 51 is of b44, and what came after it is to be undone again.
	done := release.Record{Number: 51, Version: "v46", Outcome: good, Restores: 46, RestoresDatabase: "b44", Started: ended(51), Ended: ended(51)}
	cut, other := done, done
	cut.Outcome, other.RestoresDatabase = release.Interrupted, "b43"
	later := release.Record{Number: 52, Version: "v52", Outcome: good, Migrations: []release.Migration{{Service: "app", Before: "46", After: "47", Started: ended(52)}}, Backups: []string{"b52"}, Ended: ended(53)}
	obeyed := append(slices.Clone(kept[1:]), done, later)
	b := backup.Backup{ID: "b44", Release: 44, Version: "v44", Taken: ended(44)}
	forgotten := func(n int) bool { return n < 46 }
	for name, c := range map[string]struct {
		all    []release.Record
		pruned func(int) bool
		to     int
		hint   string
	}{
		"with what migrated since":   {kept, forgotten, 47, "--release 46 --restore-database b44"},
		"with what came after that":  {kept, forgotten, 50, "--release 46 --restore-database b44"},
		"with what came before that": {kept, forgotten, 46, ""},
		"nothing migrated":           {quiet, forgotten, 50, ""},
		"on a new host":              {kept, nil, 50, ""},
		"brought back to before it":  {restored, forgotten, 51, ""},
		"it came back before":        {obeyed, forgotten, 51, ""},
		"and with what came first":   {obeyed, forgotten, 47, "--release 51 --restore-database b44"},
		"back to after it came":      {append(slices.Clone(obeyed), release.Record{Number: 53, Outcome: good, RestoresDatabase: "b52", Started: ended(54), Ended: ended(54)}), forgotten, 53, ""},
		"its return was cut off":     {append(slices.Clone(kept[1:]), cut, release.Record{Number: 52, Outcome: good, Started: ended(52), Ended: ended(52)}), forgotten, 52, "by hand"},
		"another came back":          {append(slices.Clone(kept[1:]), other), forgotten, 51, "by hand"},
		"the first that is kept did": {kept[1:], forgotten, 50, "restore b44 by hand into a database of another name"},
	} {
		s := schemasOf(c.all, nil)
		s.pruned = c.pruned
		to := c.all[slices.IndexFunc(c.all, func(r release.Record) bool { return r.Number == c.to })]
		err := suits(b, s, c.all, to)
		if c.hint == "" {
			assert.NoError(t, err, name)
			continue
		}
		assert.Equal(t, fault.Refused, fault.Of(err), name)
		assert.ErrorContains(t, err, "has another schema than release", name)
		assert.ErrorContains(t, err, "release 47 migrated the database of app (revision 46 to 47) since", name)
		assert.Contains(t, fault.Hint(err), c.hint, name)
	}
}

// What was migrated since a forgotten backup came back speaks against the releases after it.
func TestMigratedSinceItCameBack(t *testing.T) {
	t.Parallel()
	at := migration("", "")[0].Started
	b := backup.Backup{ID: "b44", Release: 44, Taken: at.Add(-time.Hour)}
	all := []release.Record{
		{Number: 47, Outcome: good, Migrations: migration("46", "47"), Ended: at.Add(time.Minute)},
		{Number: 51, Outcome: good, RestoresDatabase: "b44", Started: at.Add(time.Hour), Ended: at.Add(time.Hour)},
		{Number: 52, Outcome: good, Migrations: []release.Migration{{Service: "app", Before: "46", After: "48", Started: at.Add(2 * time.Hour)}}, Ended: at.Add(3 * time.Hour)},
	}
	s := schemasOf(all, nil)
	s.pruned = func(n int) bool { return n < 47 }
	err := suits(b, s, all, all[2])
	require.ErrorContains(t, err, "release 52 migrated the database of app (revision 46 to 48) since")
	assert.Contains(t, fault.Hint(err), "--release 51 --restore-database b44")
}

// What a ledger has forgotten it says itself.
func TestBackupOfAForgottenRelease(t *testing.T) {
	t.Parallel()
	at := migration("", "")[0].Started
	l, _ := ledger(t,
		release.Record{Version: "v1", Outcome: good, Ended: at.Add(-2 * time.Hour)},
		release.Record{Version: "v2", Outcome: good, Migrations: migration("1", "2"), Ended: at.Add(time.Minute)},
		release.Record{Version: "v3", Outcome: good, Ended: at.Add(time.Hour)})
	st := depending(map[string][]string{"shopdb": nil, "app": {"shopdb"}})
	b, n := backup.Backup{ID: "b1", Service: "shopdb", Release: 1, Version: "v1", Taken: at.Add(-time.Hour)}, needs{stacks: []*stack.Stack{st}}
	newest := l.All()[2]
	require.ErrorContains(t, n.suits(b, l, st, newest), "another schema", "while it is remembered")
	_, err := l.Prune(t.Context(), 2)
	require.NoError(t, err)
	require.True(t, l.Pruned(1))
	require.ErrorContains(t, n.suits(b, l, st, newest), "another schema")
	st.Services["app"].Ext.Migrate = &stack.Migrate{}
	assert.Contains(t, doubted(b, l, st, newest), "release 1, which it is of, is not remembered any more")
	assert.NotContains(t, doubted(b, l, st, newest), "deploy", "its version would not get on with today's schema")
	b.Release = 7
	require.NoError(t, n.suits(b, l, st, newest), "of another host")
	assert.Contains(t, doubted(b, l, st, newest), `deploy "v1", restore it`)
}

// A hint names no release that is refused with the backup as well: a backup that an outdated
// program took is of the release that this knew, by what it says.
func TestNoHintNamesWhatIsRefused(t *testing.T) {
	t.Parallel()
	at := migration("", "")[0].Started
	all := []release.Record{
		{Number: 10, Version: "v11", Outcome: good, Ended: at.Add(-2 * time.Hour)},
		{Number: 11, Version: "v11", Outcome: good, Ended: at.Add(-time.Hour)},
		{Number: 12, Version: "v12", Outcome: good, Migrations: migration("1", "2"), Ended: at.Add(time.Minute)},
	}
	b := backup.Backup{ID: "b11", Release: 11, Version: "v11", Taken: at.Add(time.Hour)}
	for _, to := range all[:2] {
		err := suits(b, schemasOf(all, nil), all, to)
		assert.ErrorContains(t, err, "has another schema", to.Title())
		assert.Equal(t, "name another backup: shiksha backups lists them", fault.Hint(err), to.Title())
	}
}

// Who is asked whether the older code can read the schema.
func TestAsked(t *testing.T) {
	t.Parallel()
	migrating := &stack.Service{Ext: stack.Extension{Migrate: &stack.Migrate{}}}
	st := &stack.Stack{Order: []string{"app", "jobs", "web"}, Services: map[string]*stack.Service{"app": migrating, "jobs": migrating, "web": {}}}
	all := func(string) bool { return true }
	assert.Equal(t, []string{"app"}, asked(st, []since{{service: "app"}, {service: "app"}}, all))
	assert.Equal(t, []string{"app", "jobs"}, asked(st, []since{{service: ""}}, all))
	assert.Equal(t, []string{"jobs"}, asked(st, []since{{service: ""}}, func(name string) bool { return name == "jobs" }), "of its database only")
	assert.True(t, migrates(st))
	assert.False(t, migrates(&stack.Stack{Services: map[string]*stack.Service{"web": {}}}))
}
