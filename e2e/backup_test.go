package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/release"
)

// dataStack is a database, and an app that migrates it: the app's own image is
// postgres too, for psql. MIGRATION is the statement, READS what the code asks of
// the schema.
const dataStack = `
services:
  db:
    image: postgres:15
    pull_policy: never
    environment: { POSTGRES_USER: shop, POSTGRES_PASSWORD: "${DB_PASSWORD}" }
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: { test: [CMD, pg_isready, -q, -h, 127.0.0.1], interval: 1s, retries: 60 }
    x-shiksha: { backups: { keep-least: 2 } }
  app:
    image: postgres:15
    pull_policy: never
    entrypoint: [psql, -v, ON_ERROR_STOP=1, -AtXqc]
    command: ["SELECT pg_sleep(100000)"]
    environment: { PGHOST: db, PGUSER: shop, PGPASSWORD: "${DB_PASSWORD}", VERSION: "${VERSION}" }
    stop_grace_period: 0s
    depends_on: { db: { condition: service_healthy } }
    deploy: { update_config: { monitor: 0s } }
    x-shiksha:
      migrate:
        command: ["${MIGRATION}"]
        timeout: 20s
        lock-timeout: 1s
        current: ["SELECT max(revision) FROM revisions"]
        #compatible
volumes: { data: {} }
`

const password = "s3cret-enough"

// data gives a fixture with dataStack.
func data(t *testing.T) *lab.Fixture {
	t.Helper()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", dataStack)
	trapVariables(t, f, "DB_PASSWORD="+password)
	return f
}

// migrate deploys a version with a migration and gives what it printed.
func migrate(t *testing.T, f *lab.Fixture, version, migration string, want int) lab.Result {
	t.Helper()
	trapVariables(t, f, "MIGRATION="+migration)
	return f.Deploy(version, want)
}

// ask runs a statement in the database, as the app does.
func ask(t *testing.T, f *lab.Fixture, database, statement string) string {
	t.Helper()
	return trapDocker(t, f, "exec", "-e", "PGPASSWORD="+password, f.MustUnits()["db"][0],
		"psql", "-h", "127.0.0.1", "-U", "shop", "-AtXqc", statement, database)
}

func record(t *testing.T, f *lab.Fixture, n string) (r release.Record) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Host.StateDir, f.Project, "releases", n+".json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &r))
	assert.NotContains(t, string(text), password)
	return r
}

const (
	first  = `CREATE TABLE IF NOT EXISTS revisions (revision int); INSERT INTO revisions VALUES (1); CREATE TABLE IF NOT EXISTS orders (note text)`
	second = `ALTER TABLE orders RENAME note TO remark; INSERT INTO revisions VALUES (2)`
)

// A migration runs once, from the new release, after a backup; a rollback across it
// is refused with both ways out, and each of them works.
func TestBackup_MigrationAndTheWaysBack(t *testing.T) {
	t.Parallel()
	f := data(t)
	migrate(t, f, "v1", first, 0)
	assert.Equal(t, "1", ask(t, f, "shop", "SELECT count(*) FROM revisions"), "it ran once, on the first release too")
	assert.Empty(t, record(t, f, "1").Backups, "there was nothing to back up")
	ask(t, f, "shop", "INSERT INTO orders VALUES ('before')")
	migrate(t, f, "v2", second, 0)
	r := record(t, f, "2")
	require.Len(t, r.Backups, 1)
	require.Len(t, r.Migrations, 1)
	assert.Equal(t, []any{"app", "1", "2", 0}, []any{r.Migrations[0].Service, r.Migrations[0].Before, r.Migrations[0].After, r.Migrations[0].Exit})
	ask(t, f, "shop", "INSERT INTO orders VALUES ('after')")

	before := f.MustUnits()
	refused := rollback(t, f, 2)
	for _, words := range []string{"release 2 migrated the database of app (revision 1 to 2)", "--restore-database " + r.Backups[0], "--accept-schema"} {
		assert.Contains(t, refused.Stderr, words)
	}
	assert.Contains(t, rollback(t, f, 3, "--restore-database", "nothing").Stderr, r.Backups[0])
	assert.Equal(t, before, f.MustUnits(), "nothing was touched")
	assert.Contains(t, rollback(t, f, 0, "--dry-run", "--accept-schema").Stdout, "back to release 1 (v1)")

	back := rollback(t, f, 0, "--restore-database", r.Backups[0])
	assert.Contains(t, back.Stderr, "stopped before: app", "the plan says who is not served")
	assert.Equal(t, "before", ask(t, f, "shop", "SELECT note FROM orders"), "the rows of that moment")
	aside := ask(t, f, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'shop_replaced_%'")
	assert.Equal(t, "before\nafter", ask(t, f, aside, "SELECT remark FROM orders"), "the replaced database is kept")
	assert.Equal(t, before["db"], f.MustUnits()["db"])
	assert.Equal(t, r.Backups[0], record(t, f, "3").RestoresDatabase)
}

// A database whose volume has another key would begin with an empty one, and what is dumped and
// migrated would be the one that is left behind.
func TestBackup_OfADatabaseThatWouldBeginEmpty(t *testing.T) {
	t.Parallel()
	f := data(t)
	migrate(t, f, "v1", first, 0)
	ask(t, f, "shop", "INSERT INTO orders VALUES ('before')")
	before := f.MustUnits()
	trapEdit(t, f, "compose.yaml", "data:/var/lib", "data2:/var/lib", "volumes: { data: {} }", "volumes: { data2: {} }")
	told := "db begins with an empty volume: " + f.Project + "_data2 is not there, and what it had at /var/lib/postgresql/data is in volume " + f.Project + "_data;"
	assert.Contains(t, migrate(t, f, "v2", second, 2).Stderr, told)
	assert.Contains(t, f.Shiksha("plan", "--version", "v2").Stdout, "refused: "+told)
	assert.Equal(t, before, f.MustUnits(), "nothing was touched")
	assert.Equal(t, "1", ask(t, f, "shop", "SELECT max(revision) FROM revisions"))

	trapEdit(t, f, "compose.yaml", "volumes: { data2: {} }", "volumes: { data2: { name: "+f.Project+"_data } }")
	migrate(t, f, "v2", second, 0)
	assert.Equal(t, "before", ask(t, f, "shop", "SELECT remark FROM orders"))
}

// A migration that fails, waits for a lock or is killed with its deployer changes no
// unit, and the message says where the database is.
func TestBackup_MigrationFaults(t *testing.T) {
	t.Parallel()
	f := data(t)
	migrate(t, f, "v1", first, 0)
	units := f.MustUnits()

	failed := migrate(t, f, "v2", `INSERT INTO revisions VALUES (2); SELECT 1/0`, 1)
	assert.Contains(t, failed.Stderr, "division by zero")
	assert.Contains(t, failed.Stderr, "the database is at revision 1, it was at 1")
	assert.Contains(t, record(t, f, "2").Migrations[0].Output, "division by zero")

	holder := f.MustUnits()["db"][0]
	trapDocker(t, f, "exec", "-d", "-e", "PGPASSWORD="+password, holder, "psql", "-h", "127.0.0.1", "-U", "shop", "-c",
		"BEGIN; LOCK TABLE orders IN ROW EXCLUSIVE MODE; SELECT pg_sleep(120)", "shop")
	waiting := migrate(t, f, "v2", `ALTER TABLE orders ADD COLUMN x int`, 1)
	assert.Contains(t, waiting.Stderr, "canceling statement due to lock timeout")
	assert.Contains(t, waiting.Stderr, "the database is at revision 1")
	assert.Equal(t, units, f.MustUnits())
	ask(t, f, "shop", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%' AND pid <> pg_backend_pid()")

	trapVariables(t, f, `MIGRATION=INSERT INTO revisions VALUES (2); SELECT pg_sleep(60)`)
	killed := trapDeploy(t, f, "v2")
	killed.await(t, "migrating from revision 1")
	require.Eventually(t, func() bool {
		return ask(t, f, "shop", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()") == "1"
	}, 30*time.Second, 200*time.Millisecond)
	require.NoError(t, killed.cmd.Process.Kill())
	<-killed.ended
	assert.Subset(t, f.MustUnits()["app"], units["app"], "beside the migration's own container everything is as it was")
	assert.Equal(t, -1, record(t, f, "4").Migrations[0].Exit, "that it began is known")
	migrate(t, f, "v2", second, 0)
	assert.Equal(t, "2", ask(t, f, "shop", "SELECT max(revision) FROM revisions"))
	assert.Empty(t, strings.Fields(trapDocker(t, f, "ps", "-aq", "--filter", "label=io.shiksha.task", "--filter", "label=com.docker.compose.project="+f.Project)))
	assert.Equal(t, "interrupted", string(record(t, f, "4").Outcome))

	taken := f.Shiksha("backup", "--prove")
	require.Zero(t, taken.Exit, taken.Stderr)
	assert.Contains(t, taken.Stdout, "proven")
	assert.NotContains(t, taken.Stdout+taken.Stderr, password)
	list := f.Shiksha("backups")
	assert.Contains(t, list.Stdout, "read back whole")

	trapDocker(t, f, "stop", f.MustUnits()["db"][0])
	migrate(t, f, "v3", `INSERT INTO revisions VALUES (3)`, 0)
	assert.Len(t, record(t, f, "6").Backups, 1, "a database that was down is brought up and dumped first")
}
