package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// The older code is asked whether it can read today's schema: it works with a column
// more, and not with one that has another name.
func TestBackup_TheOlderCodeIsAsked(t *testing.T) {
	t.Parallel()
	f := data(t)
	trapEdit(t, f, "compose.yaml", "#compatible", `compatible: ["SELECT count(note) FROM orders"]`)
	migrate(t, f, "v1", first, 0)
	migrate(t, f, "v2", `ALTER TABLE orders ADD COLUMN amount int; INSERT INTO revisions VALUES (2)`, 0)
	assert.Contains(t, rollback(t, f, 0).Stderr, "release 1 (v1) says of itself that it can read the schema that is there")
	assert.Contains(t, trapDocker(t, f, "inspect", "--format", "{{.Config.Env}}", f.MustUnits()["app"][0]), "VERSION=v1")
	assert.Equal(t, "2", ask(t, f, "shop", "SELECT max(revision) FROM revisions"), "the database stays as it is")

	migrate(t, f, "v3", `ALTER TABLE orders RENAME note TO remark; INSERT INTO revisions VALUES (3)`, 0)
	units := f.MustUnits()
	refused := rollback(t, f, 2)
	for _, words := range []string{`the older code says that it cannot read it (exit code 1)`, `column "note" does not exist`,
		"--restore-database " + record(t, f, "4").Backups[0], "--accept-schema"} {
		assert.Contains(t, refused.Stderr, words)
	}
	assert.Equal(t, units, f.MustUnits())
}

// A stack that migrates is released under load, its deployer killed in the middle of
// a migration, released again, and, since the schema is as it was, rolled back
// without asking anybody: nobody notices any of it.
func TestBackup_WithoutAMigrationRolledBackUnderLoad(t *testing.T) {
	f := lab.New(t)
	quick(t, f)
	trapEdit(t, f, "compose.yaml", "\nnetworks:\n  edge: {}\n", `
    x-shiksha: { backups: {} }
  schema:
    image: postgres:15
    entrypoint: [psql, -v, ON_ERROR_STOP=1, -AtXqc]
    command: ["SELECT pg_sleep(100000)"]
    environment: { PGHOST: postgres, PGUSER: quickstart, PGPASSWORD: quickstart, VERSION: "${VERSION}" }
    stop_grace_period: 0s
    networks: [data]
    depends_on: { postgres: { condition: service_healthy } }
    deploy: { update_config: { monitor: 0s } }
    x-shiksha:
      migrate: { command: ["${MIGRATION}"], current: ["SELECT max(revision) FROM revisions"] }

networks:
  edge: {}
`)
	for _, version := range []string{"b1", "b2"} {
		f.MustPublish(lab.Release{Version: version})
	}
	const same = "MIGRATION=CREATE TABLE IF NOT EXISTS revisions AS SELECT 1 AS revision"
	trapVariables(t, f, same)
	f.Deploy("b1", 0)
	postgres := f.MustUnits()["postgres"]
	load := f.Load()
	load.Mark(probe.During)
	trapVariables(t, f, "MIGRATION=SELECT pg_sleep(60)")
	killed := trapDeploy(t, f, "b2")
	killed.await(t, "migrating from revision 1")
	require.NoError(t, killed.cmd.Process.Kill())
	<-killed.ended
	trapVariables(t, f, same)
	f.Deploy("b2", 0)
	r := record(t, f, "3")
	assert.Len(t, r.Backups, 1, "dumped while it served")
	assert.Equal(t, []string{"1", "1"}, []string{r.Migrations[0].Before, r.Migrations[0].After})
	back := rollback(t, f, 0)
	report, err := load.Stop(t.Context())
	require.NoError(t, err)
	t.Logf("rolled back in %s, %d requests", back.Took, report.Requests)
	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(t, report.PostsLost+report.PostsDoubled, "orders lost or doubled")
	assert.Equal(t, "b1", lab.Serving(t.Context(), f.URL()))
	assert.Equal(t, postgres, f.MustUnits()["postgres"])
}

// Backups go to a second host that offers nothing but SFTP; when the first has lost
// its own, the database comes back from there.
func TestBackup_CopiesOffTheHost(t *testing.T) {
	t.Parallel()
	f := data(t)
	vault, err := f.StartHost(t.Context(), lab.HostOptions{Name: f.Project + "-vault", NoEngine: true, SSHD: []string{"ForceCommand internal-sftp"}})
	require.NoError(t, err)
	known, err := os.ReadFile(f.Host.KnownHostsFile)
	require.NoError(t, err)
	both := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(both, append(known, vault.KnownHosts...), 0o600))
	pinned := []string{"--known-hosts", "@" + both}
	keyed := append([]string{"--backup-ssh-key", "@" + vault.KeyFile}, pinned...)
	place := "sftp://" + vault.Address + vault.StateDir + "/vault"
	trapEdit(t, f, "compose.yaml", "keep-least: 2", "keep-least: 2, copy: { to: "+place+", keep-days: 30 }")
	folder := filepath.Join(vault.StateDir, "vault", f.Project)

	migrate(t, f, "v1", first, 0)
	ask(t, f, "shop", "INSERT INTO orders VALUES ('before')")
	refused := f.Shiksha("backup", pinned...)
	assert.Equal(t, 1, refused.Exit, refused.Stderr)
	assert.Contains(t, refused.Stderr, "the backups of db have no copy off the host: the host for copies of backups, "+place+", cannot be reached")
	assert.Contains(t, f.Shiksha("backups", pinned...).Stderr, "the copies are not listed", "and what is here is listed all the same")

	// A release does not wait for another host, and tells.
	trapVariables(t, f, "MIGRATION=SELECT 1")
	assert.Contains(t, f.Deploy("v2", 0, pinned...).Stderr, "have no copy off the host")
	taken := f.Shiksha("backup", keyed...)
	require.Zero(t, taken.Exit, taken.Stderr)
	assert.Equal(t, 3, strings.Count(taken.Stderr, "is copied to "+place+" and read back whole there"), "those without a copy as well")
	id := regexp.MustCompile(`db-\w+`).FindString(taken.Stdout)
	assert.FileExists(t, filepath.Join(folder, id+".dump"))
	ask(t, f, "shop", "INSERT INTO orders VALUES ('after')")

	require.NoError(t, os.RemoveAll(filepath.Join(f.Host.StateDir, f.Project, "backups")))
	listed := f.Shiksha("backups", keyed...)
	assert.Equal(t, 3, strings.Count(listed.Stdout, "only the copy is left"), listed.Stdout)
	assert.Contains(t, listed.Stdout, place)
	assert.Equal(t, 3, f.Shiksha("rollback", append(keyed, "--restore-database", "db-yesterday")...).Exit)
	rollback(t, f, 0, append(keyed, "--release", "2", "--restore-database", id)...)
	assert.Equal(t, "before", ask(t, f, "shop", "SELECT note FROM orders"))
	assert.Contains(t, trapDocker(t, f, "inspect", "--format", "{{.Config.Env}}", f.MustUnits()["app"][0]), "VERSION=v2", "only the rows came back")

	// A copy that rotted is found before anything changes.
	require.NoError(t, os.RemoveAll(filepath.Join(f.Host.StateDir, f.Project, "backups")))
	dump, err := os.ReadFile(filepath.Join(folder, id+".dump"))
	require.NoError(t, err)
	dump[len(dump)/2] ^= 0x55
	dump[len(dump)/2+1] ^= 0xaa
	require.NoError(t, os.WriteFile(filepath.Join(folder, id+".dump"), dump, 0o600))
	units := f.MustUnits()
	rotten := rollback(t, f, 2, append(keyed, "--restore-database", id)...)
	assert.Contains(t, rotten.Stderr, "the copy of backup "+id+" cannot be fetched, database shop is as it was")
	assert.Equal(t, units, f.MustUnits())
}

// Backups come with the first migration, so the release before it has none: its database comes
// back all the same. A second database, new with that release, needs no dump of nothing, and
// keeps nobody from those of the first one when it is down.
func TestBackup_ThatCameWithTheFirstMigration(t *testing.T) {
	t.Parallel()
	const authdb = `
  authdb:
    image: postgres:15
    pull_policy: never
    environment: { POSTGRES_PASSWORD: "${DB_PASSWORD}" }
    volumes: ["auth:/var/lib/postgresql/data"]
    healthcheck: { test: [CMD, pg_isready, -q, -h, 127.0.0.1], interval: 1s, retries: 60 }
    x-shiksha: { backups: {} }
volumes: { data: {}, auth: {} }
`
	f := data(t)
	migration := strings.Index(dataStack, "    x-shiksha:\n      migrate:")
	trapWrite(t, f, "compose.yaml", strings.Replace(dataStack[:migration], "x-shiksha: { backups: { keep-least: 2 } }", "", 1)+"volumes: { data: {} }\n")
	f.Deploy("v1", 0)
	ask(t, f, "shop", first+"; INSERT INTO orders VALUES ('before')")
	trapWrite(t, f, "compose.yaml", strings.Replace(dataStack, "\nvolumes: { data: {} }\n", authdb, 1))

	migrate(t, f, "v2", second, 0)
	taken := record(t, f, "2").Backups
	require.Len(t, taken, 1, "the other database was empty")
	assert.Contains(t, rollback(t, f, 2).Stderr, "--restore-database "+taken[0])
	rollback(t, f, 0, "--restore-database", taken[0])
	assert.Equal(t, "before", ask(t, f, "shop", "SELECT note FROM orders"))
	assert.Empty(t, f.MustUnits()["authdb"], "the undone release made it")

	migrate(t, f, "v2", second, 0)
	assert.Len(t, record(t, f, "4").Backups, 2, "by now it may hold something, so it was brought up and dumped")
	trapDocker(t, f, "stop", f.MustUnits()["authdb"][0])
	one := f.Shiksha("backup")
	assert.Equal(t, 2, one.Exit, one.Stderr)
	assert.Contains(t, one.Stderr, "no backup of authdb was made")
	assert.Contains(t, one.Stdout+one.Stderr, "read back whole", "the one that runs was dumped")
	taken = slices.DeleteFunc(record(t, f, "4").Backups, func(id string) bool { return strings.HasPrefix(id, "authdb-") })
	rollback(t, f, 0, "--restore-database", taken[0])
	assert.Equal(t, "before", ask(t, f, "shop", "SELECT note FROM orders"))
}
