package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/backup"
)

// Statements for the killed runs: schema makes a view whose filling takes a minute
// while there is a database called hold, so that a restore can be caught at work.
const (
	schema = first + `; CREATE MATERIALIZED VIEW IF NOT EXISTS naps AS SELECT pg_sleep(CASE WHEN EXISTS ` +
		`(SELECT FROM pg_catalog.pg_database WHERE datname = 'hold') THEN 60 ELSE 0 END)::text AS nap`
	revise = `INSERT INTO revisions SELECT 2 WHERE NOT EXISTS (SELECT FROM revisions WHERE revision = 2)`
)

// killAt kills a run (SIGKILL) once a session of its task of that name is at work in
// the database.
func killAt(t *testing.T, f *lab.Fixture, task string, r *trapRun) {
	t.Helper()
	_, session := backup.SessionName(task, f.Project)
	at := "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = '" + session + "' AND now() - query_start > '300ms'"
	for until := time.Now().Add(2 * time.Minute); ask(t, f, "postgres", at) == "0"; time.Sleep(100 * time.Millisecond) {
		select {
		case <-r.ended:
			require.Fail(t, "it ended before it could be killed", r.output())
		default:
			require.True(t, time.Now().Before(until), "%s was never at work\n%s", session, r.output())
		}
	}
	require.NoError(t, r.cmd.Process.Kill())
	<-r.ended
}

// hold keeps a statement's locks until the function it gives is called.
func hold(t *testing.T, f *lab.Fixture, database, statement string) (free func()) {
	t.Helper()
	trapDocker(t, f, "exec", "-d", "-e", "PGPASSWORD="+password, "-e", "PGAPPNAME=holder", f.MustUnits()["db"][0],
		"psql", "-h", "127.0.0.1", "-U", "shop", "-c", "BEGIN; "+statement+"; SELECT pg_sleep(600)", database)
	at := "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event = 'PgSleep'"
	require.Eventually(t, func() bool { return ask(t, f, "postgres", at) == "1" }, 30*time.Second, 100*time.Millisecond)
	return func() {
		ask(t, f, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'")
	}
}

// serving are the units of the services, without the tasks' own containers.
func serving(t *testing.T, f *lab.Fixture) []string {
	t.Helper()
	units := f.MustUnits()
	return append(units["app"], units["db"]...)
}

func databases(t *testing.T, f *lab.Fixture) []string {
	t.Helper()
	return strings.Fields(ask(t, f, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'shop%' AND datallowconn ORDER BY 1"))
}

// The deployer is killed in the middle of a dump, a migration, a restore and a
// swap, and right after it. Nothing of that is recorded as a success, no backup is
// lost, users keep what serves them, and the next run says how the database stands
// and converges.
func TestBackup_KilledAtWork(t *testing.T) {
	t.Parallel()
	f := data(t)
	migrate(t, f, "v1", schema, 0)
	ask(t, f, "shop", "INSERT INTO orders VALUES ('before')")
	units := serving(t, f)

	free := hold(t, f, "shop", "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
	trapVariables(t, f, "MIGRATION="+revise)
	killAt(t, f, "backup", trapDeploy(t, f, "v2"))
	free()
	assert.Equal(t, units, serving(t, f), "killed in a dump")
	assert.Contains(t, f.Shiksha("backups").Stdout, "there is no backup here")

	// In the server a migration goes on without its client, up to its commit.
	trapVariables(t, f, "MIGRATION=SELECT pg_sleep(8); INSERT INTO revisions VALUES (99)")
	killAt(t, f, "migrate", trapDeploy(t, f, "v2"))
	assert.Subset(t, serving(t, f), units, "killed in a migration")
	migrate(t, f, "v2", revise, 0)
	assert.Equal(t, []string{"interrupted", "interrupted"}, []string{string(record(t, f, "2").Outcome), string(record(t, f, "3").Outcome)})
	assert.Contains(t, record(t, f, "3").Message, "the migration of app had begun, the database was at revision 1")
	b := record(t, f, "4").Backups[0]
	ask(t, f, "shop", "INSERT INTO orders VALUES ('after')")
	units = serving(t, f)

	ask(t, f, "postgres", "CREATE DATABASE hold")
	back := f.Args("rollback", "--release", "1", "--restore-database", b)
	killAt(t, f, "restore", trapBegin(t, f, nil, back...))
	assert.Equal(t, units, serving(t, f), "killed in a restore")
	ask(t, f, "postgres", "DROP DATABASE hold")

	free = hold(t, f, "postgres", "COMMENT ON DATABASE shop IS 'held'")
	killAt(t, f, "swap", trapBegin(t, f, nil, back...))
	assert.NotContains(t, databases(t, f), "shop", "killed while nobody may connect")
	healed := f.Deploy("v2", 0, "--keep-releases", "20")
	free()
	assert.Contains(t, healed.Stderr, "release 6 was cut short while it brought the database back to backup "+b+": database shop is the one from before")
	assert.Equal(t, []string{"shop"}, databases(t, f), "what was half restored is gone")
	assert.Equal(t, "before\nafter", ask(t, f, "shop", "SELECT note FROM orders"))
	assert.Len(t, f.MustUnits()["app"], 1)

	swapped := trapBegin(t, f, nil, back...)
	swapped.await(t, "the replaced one is kept as")
	require.NoError(t, swapped.cmd.Process.Kill())
	<-swapped.ended
	healed = f.Deploy("v2", 0, "--keep-releases", "20")
	assert.Contains(t, healed.Stderr, "database shop is that of backup "+b+", the replaced one is kept as shop_replaced_")
	assert.Equal(t, "2", ask(t, f, "shop", "SELECT max(revision) FROM revisions"), "the older schema was migrated again, and no killed migration went on")
	assert.Equal(t, "before", ask(t, f, "shop", "SELECT note FROM orders"))
	assert.Equal(t, "before\nafter", ask(t, f, databases(t, f)[1], "SELECT note FROM orders"))
	for _, kept := range []string{b, record(t, f, "3").Backups[0]} {
		assert.Contains(t, f.Shiksha("backups").Stdout, kept, "no older backup was taken away")
	}
	for _, past := range history(t, f) {
		assert.Contains(t, map[string]string{"v1": "verified interrupted", "v2": "verified interrupted"}[past.Version], past.Outcome)
	}
}
