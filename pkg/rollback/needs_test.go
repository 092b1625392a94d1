package rollback

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// depending makes a stack of services with what each depends on; those whose name ends
// in db are backed up.
func depending(on map[string][]string) *stack.Stack {
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{}}
	for name, names := range on {
		svc := &stack.Service{Name: name}
		for _, other := range names {
			svc.DependsOn = append(svc.DependsOn, stack.Dependency{Service: other})
		}
		if len(name) > 2 && name[len(name)-2:] == "db" {
			svc.Ext.Backups = &stack.Backups{}
		}
		st.Services[name], st.Order = svc, append(st.Order, name)
	}
	return st
}

// Newer code does not write to an older database, not by way of a pooler, nor as a service
// that only the newer release has. The gateway goes on telling users.
func TestAllThatDependsOnADatabase(t *testing.T) {
	t.Parallel()
	old := depending(map[string][]string{"shopdb": nil, "authdb": nil, "pooler": {"shopdb"}, "api": {"pooler"}, "auth": {"authdb"}, "nginx": {"api"}})
	old.Services["api"].Ext.Gateway = "nginx"
	now := depending(map[string][]string{"shopdb": {"pooler"}, "pooler": {"shopdb"}, "billing": {"shopdb"}, "mailer": nil})
	assert.ElementsMatch(t, []string{"pooler", "api", "billing"}, needs{stacks: []*stack.Stack{old, now}}.above("shopdb"))
	assert.ElementsMatch(t, []string{"auth"}, needs{stacks: []*stack.Stack{old, now}}.above("authdb"))
	assert.ElementsMatch(t, []string{"pooler", "api", "lost"}, needs{stacks: []*stack.Stack{old}, blind: []string{"lost"}}.above("shopdb"))
}

// What the release that serves has is read from the ledger; where it cannot be, all that
// only it has may depend on anything.
func TestNeedsOfWhatServes(t *testing.T) {
	t.Parallel()
	l, _ := ledger(t, release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: good,
		Services: map[string]release.ServiceRecord{"shopdb": {}, "billing": {}}})
	to := depending(map[string][]string{"shopdb": nil})
	assert.Equal(t, []string{"billing"}, needing(t.Context(), l, to, "").above("shopdb"))
	ws := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(ws, "compose.yaml"), []byte("services:\n  shopdb: {image: db}\n  pooler: {image: db, depends_on: [shopdb]}\n"+
		"  billing: {image: db, depends_on: [pooler]}\n  mailer: {image: db}\n"), 0o600))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: ws, Project: "shop", StateDir: t.TempDir()})
	require.NoError(t, err)
	pinned := "db@sha256:" + strings.Repeat("1", 64)
	require.NoError(t, st.Pin(map[string]string{"shopdb": pinned, "pooler": pinned, "billing": pinned, "mailer": pinned}))
	sealed, err := st.Seal()
	require.NoError(t, err)
	require.NoError(t, l.WriteSealed(t.Context(), 2, sealed))
	assert.ElementsMatch(t, []string{"billing", "pooler"}, needing(t.Context(), l, to, "").above("shopdb"))

	// Somebody went back without the database since: who took the backup still says of it.
	took, err := l.Get(2)
	require.NoError(t, err)
	took.Backups = []string{"shopdb-1"}
	require.NoError(t, l.Update(t.Context(), &took))
	require.NoError(t, l.Append(t.Context(), &release.Record{Version: "v1", Outcome: good, Restores: 1, RollsBack: 2}))
	for id, want := range map[string][]string{"": nil, "shopdb-0": nil, "shopdb-1": {"billing", "pooler"}} {
		assert.ElementsMatch(t, want, needing(t.Context(), l, to, id).above("shopdb"), id)
	}
}

// A service migrates the nearest database that it depends on.
func TestWhichDatabaseAServiceMigrates(t *testing.T) {
	t.Parallel()
	n := needs{stacks: []*stack.Stack{depending(map[string][]string{"shopdb": nil, "authdb": nil, "auth": {"authdb"},
		"pooler": {"shopdb"}, "api": {"pooler"}, "shop": {"auth", "shopdb"}, "both": {"authdb", "shopdb"}, "alone": nil, "away": nil})}}
	n.stacks[0].Services["away"].Ext.Migrate = &stack.Migrate{Elsewhere: true}
	for service, want := range map[string][]string{"auth": {"authdb"}, "api": {"shopdb"}, "shop": {"shopdb"}, "both": {"authdb", "shopdb"},
		"alone": {"authdb", "shopdb"}, "away": {""}, "gone": {"authdb", "shopdb"}, "shopdb": {"shopdb"}} {
		assert.Equal(t, want, n.migrates(service), service)
	}
	assert.Equal(t, []string{""}, needs{stacks: []*stack.Stack{depending(map[string][]string{"api": nil})}}.migrates("api"))
}

const (
	authBackup = "authdb-20260301T090000Z"
	shopBackup = "shopdb-20260301T090000Z"
)

// twoDatabases is a ledger in which release 2 migrated the database of api, and where both
// is set that of auth as well.
func twoDatabases(both bool, later ...release.Record) ([]release.Record, needs) {
	st := depending(map[string][]string{"shopdb": nil, "authdb": nil, "auth": {"authdb"}, "api": {"shopdb"}})
	st.Services["api"].Ext.Migrate, st.Services["auth"].Ext.Migrate = &stack.Migrate{}, &stack.Migrate{}
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	two := release.Record{Number: 2, Outcome: good, Backups: []string{authBackup, shopBackup}}
	if both {
		two.Migrations = append(two.Migrations, release.Migration{Service: "auth", Before: "7", After: "8", Started: at})
	}
	two.Migrations = append(two.Migrations, release.Migration{Service: "api", Before: "41", After: "42", Started: at})
	return append([]release.Record{{Number: 1, Outcome: good}, two}, later...), needs{stacks: []*stack.Stack{st}}
}

// With several databases a backup brings back one: the code has to be able to read the
// others, and the one that is named is the one that was migrated.
func TestBackAcrossMigrationsOfSeveralDatabases(t *testing.T) {
	t.Parallel()
	restored := func(id string) release.Record {
		return release.Record{Number: 3, Outcome: good, Restores: 1, RestoresDatabase: id}
	}
	for name, c := range map[string]struct {
		both  bool
		later []release.Record
		but   string
		want  []string
	}{
		"one":                           {false, nil, "no database", []string{"shopdb api"}},
		"with its backup":               {false, nil, "shopdb", nil},
		"with the other's":              {false, nil, "authdb", []string{"shopdb api"}},
		"both":                          {true, nil, "no database", []string{"authdb auth", "shopdb api"}},
		"both, with one's backup":       {true, nil, "shopdb", []string{"authdb auth"}},
		"both, after one came back":     {true, []release.Record{restored(shopBackup)}, "no database", []string{"authdb auth"}},
		"both, then the other's":        {true, []release.Record{restored(shopBackup)}, "authdb", nil},
		"one, after the other was back": {false, []release.Record{restored(authBackup)}, "no database", []string{"shopdb api"}},
	} {
		all, n := twoDatabases(c.both, c.later...)
		var got []string
		for _, a := range crossed(all, nil, n, all[0], c.but) {
			got = append(got, fmt.Sprint(a.database, " ", a.asked[0]))
		}
		assert.Equal(t, c.want, got, name)
	}
}

// What is refused names the backup of the database that was migrated, and of each.
func TestWaysOutOfSeveralDatabases(t *testing.T) {
	t.Parallel()
	all, n := twoDatabases(false)
	hint := waysOut(crossed(all, nil, n, all[0], "no database"), "", false)
	assert.Contains(t, hint, "either --restore-database "+shopBackup+", which loses")
	assert.NotContains(t, hint, authBackup)
	all, n = twoDatabases(true)
	hint = waysOut(crossed(all, nil, n, all[0], "no database"), "", false)
	assert.Contains(t, hint, authBackup+` of "authdb", `+shopBackup+` of "shopdb"`)

	l, _ := ledger(t, all...)
	err := Options{RestoreDatabase: authBackup}.readable(t.Context(), &target.Target{}, l, all[0], n)
	require.ErrorContains(t, err, "release 1 cannot be gone back to: release 2 migrated the database of api")
	assert.Contains(t, fault.Hint(err), "backup "+authBackup+` is of "authdb" only`)
	assert.Contains(t, fault.Hint(err), shopBackup)
	all, n = twoDatabases(false)
	l, _ = ledger(t, all...)
	assert.NoError(t, Options{RestoreDatabase: shopBackup}.readable(t.Context(), &target.Target{}, l, all[0], n))
}

// What served while later releases migrated has read their schema: to accept it comes first
// there, and the way that loses data after it. Nobody knows so much of what a database that
// was brought back left.
func TestWhatServedWithTheSchemaAcceptsItFirst(t *testing.T) {
	t.Parallel()
	const served = "the older code served with this schema already"
	left := func(outcome release.Outcome, change func(*release.Record)) []release.Record {
		all, _ := twoDatabases(false)
		all[1].Outcome = outcome
		if change != nil {
			change(&all[1])
		}
		return all
	}
	for name, c := range map[string]struct {
		all      []release.Record
		restores string
		starts   string
	}{
		"it failed":      {left(release.Failed, nil), "", "either --accept-schema: " + served + ", or --restore-database " + shopBackup + ", which loses"},
		"it was cut off": {left(release.Interrupted, nil), "", "either --accept-schema: " + served},
		"beside another's backup": {left(release.Stuck, nil), authBackup,
			"backup " + authBackup + ` is of "authdb" only: either --accept-schema beside it: ` + served},
		"it was verified": {left(good, nil), "", "either --restore-database " + shopBackup},
		"it brought a database back": {left(release.Interrupted, func(r *release.Record) { r.RestoresDatabase = shopBackup }), "",
			"either --restore-database BACKUP (shiksha backups lists them), which loses"},
	} {
		_, n := twoDatabases(false)
		l, _ := ledger(t, c.all...)
		err := Options{RestoreDatabase: c.restores}.readable(t.Context(), &target.Target{}, l, c.all[0], n)
		require.ErrorContains(t, err, "release 1 cannot be gone back to", name)
		assert.True(t, strings.HasPrefix(fault.Hint(err), c.starts), "%s: %s", name, fault.Hint(err))
	}
	all, n := twoDatabases(true)
	open := crossed(all, nil, n, all[0], "no database")
	assert.Contains(t, waysOut(open, "", true), "either --accept-schema alone: "+served+", or --restore-database of each")
	assert.False(t, servedWith([]across{{done: []since{{number: 2, what: "the record of release 2 cannot be read"}}}}))
}

// A backup of another host comes back to a new one as often as it has to: that another
// came before it, as one does that tries it the day before, speaks against nothing.
func TestBackupsOfAnotherHostComeBackTwice(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	all := []release.Record{{Number: 1, Version: "v1", Outcome: good, Ended: at},
		{Number: 2, Version: "v1", Outcome: good, Started: at.Add(time.Hour), Ended: at.Add(2 * time.Hour), Restores: 1, RestoresDatabase: "db-20260228T090000Z"}}
	migrated := release.Record{Number: 3, Version: "v2", Outcome: good, Started: at.Add(3 * time.Hour), Ended: at.Add(4 * time.Hour), Migrations: migration("1", "2")}
	migrated.Migrations[0].Started = migrated.Started
	for number, version := range map[int]string{1: "v1", 2: "v2", 11: "v1"} {
		b := backup.Backup{ID: "db-20260302T090000Z", Release: number, Version: version, Taken: at.Add(24 * time.Hour)}
		assert.NoError(t, suits(b, schemasOf(all, nil), all, all[0]), number)
		later := append(all[:2:2], migrated)
		err := suits(b, schemasOf(later, nil), later, all[0])
		require.Error(t, err, "what was migrated here does")
		if version == "v2" {
			assert.Contains(t, fault.Hint(err), "--release 3 --restore-database "+b.ID)
			assert.NoError(t, suits(b, schemasOf(later, nil), later, later[2]))
		}
	}
}
