package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeFaultImage is postgres:15 with a pg_dump that does what the file "fault"
// beside the dump says: the real one cannot be made to fail at will.
const (
	project        = "backuptest"
	fakeFaultImage = "backuptest-fake-fault"
	fakeFaultDump  = `#!/bin/bash
real=/usr/lib/postgresql/15/bin/pg_dump
for a; do case $a in --file=*) file=${a#--file=} ;; esac; done
[ -n "$file" ] || exec $real "$@"
fault=$(cat "$(dirname "$file")/fault" 2>/dev/null)
case $fault in
  fails) head -c 4000 /dev/zero > "$file"; echo "pg_dump: error: server closed the connection unexpectedly" >&2; exit 1 ;;
  hangs) head -c 4000 /dev/zero > "$file"; sleep 300 ;;
esac
$real "$@" || exit
size=$(stat -c %s "$file")
case $fault in
  cut) truncate -s $((size * 6 / 10)) "$file" ;;
  flipped) printf '\x55\xaa' | dd of="$file" bs=1 seek=$((size * 6 / 10)) conv=notrunc status=none ;;
esac
`
)

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", args...).CombinedOutput()
	require.NoError(t, err, "docker %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// world is a running database with rows in it, and the store of its backups.
type world struct {
	*backup.Store
	t      *testing.T
	engine *engine.Engine
	from   backup.Source
	events *event.Recorder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(fakeFaultDump), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM postgres:15\nCOPY pg_dump /usr/local/sbin/pg_dump\nENV PATH=/usr/local/sbin:/usr/lib/postgresql/15/bin:/usr/bin:/bin\n"), 0o600))
	docker(t, "build", "-q", "-t", fakeFaultImage, dir)
	api, err := client.New(client.FromEnv)
	require.NoError(t, err)
	recorder := &event.Recorder{}
	e, err := engine.New(api, recorder)
	require.NoError(t, err)
	name := fmt.Sprintf("%s-%d", project, os.Getpid())
	id := docker(t, "run", "-d", "--name", name, "-e", "POSTGRES_PASSWORD=s3cret-enough", "-e", "POSTGRES_USER=shop", "--shm-size", "96m",
		fakeFaultImage, "postgres", "-c", "shared_preload_libraries=pg_stat_statements", "-c", "max_connections=40")
	t.Cleanup(func() {
		_ = e.ClearTasks(context.WithoutCancel(t.Context()), name)
		docker(t, "rm", "-fv", name)
		// The engine may be at the end of a throwaway server yet.
		assert.Eventually(t, func() bool { return exec.Command("docker", "rmi", fakeFaultImage).Run() == nil }, time.Minute, time.Second)
	})
	state, err := os.MkdirTemp("/var/lib", "shiksha-backuptest-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	w := &world{t: t, engine: e, events: recorder, Store: &backup.Store{
		Project: name, Dir: filepath.Join(state, "backups"), Metrics: filepath.Join(state, "metrics"), User: "0:0", Files: disk.Files{}, Engine: e, Sink: recorder,
	}, from: backup.Source{Service: "postgres", Unit: stack.Unit{ID: id, ImageID: docker(t, "inspect", "--format", "{{.Image}}", id)},
		Options: stack.Backups{Keep: 7 * 24 * time.Hour, Least: 2, Timeout: time.Minute}, Release: 4, Version: "v4"}}
	require.Eventually(t, func() bool {
		return exec.Command("docker", "exec", id, "pg_isready", "-q", "-h", "127.0.0.1").Run() == nil
	},
		time.Minute, 100*time.Millisecond)
	w.sql("shop", `CREATE TABLE orders (id serial PRIMARY KEY, note text); CREATE TABLE "Odd name" (x int); CREATE TABLE empty ();
		INSERT INTO orders (note) SELECT md5(i::text) || E'\nsecond line\t\\.' FROM generate_series(1, 20000) i; INSERT INTO "Odd name" VALUES (1), (2);`)
	return w
}

func (w *world) sql(database, text string) string {
	w.t.Helper()
	return docker(w.t, "exec", "-e", "PGPASSWORD=s3cret-enough", w.from.Unit.ID, "psql", "-h", "127.0.0.1", "-U", "shop", "-AtXq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text)
}

func (w *world) fault(kind string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.Dir, "fault"), []byte(kind), 0o600))
}

func (w *world) take() backup.Backup {
	w.t.Helper()
	b, err := w.Take(w.t.Context(), w.from)
	require.NoError(w.t, err)
	return b
}

// files are the names in the folder of the backups.
func (w *world) files() (names []string) {
	entries, err := os.ReadDir(w.Dir)
	require.NoError(w.t, err)
	for _, e := range entries {
		if e.Name() != "fault" {
			names = append(names, e.Name())
		}
	}
	return names
}

// One database sees it all, in order: dumps taken, proven, spoiled and brought back.
func TestBackup(t *testing.T) {
	w := newWorld(t)
	first := w.take()
	assert.Equal(t, map[string]int64{"public.orders": 20000, `public."Odd name"`: 2, "public.empty": 0}, first.Rows)
	assert.Equal(t, []string{first.ID + ".dump", first.ID + ".json"}, w.files())
	info, err := os.Stat(filepath.Join(w.Dir, first.ID+".dump"))
	require.NoError(t, err)
	assert.Equal(t, first.Bytes, info.Size())
	room, err := w.Room(t.Context(), w.from)
	require.NoError(t, err)
	assert.Equal(t, w.sql("shop", "SELECT pg_database_size('shop')"), fmt.Sprint(room.Size))
	assert.Positive(t, room.Free)
	assert.InDelta(t, room.Size, first.DatabaseBytes, 8<<20)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	metric, err := os.ReadFile(filepath.Join(w.Metrics, "shiksha_backup_"+w.Project+"_postgres.prom"))
	require.NoError(t, err)
	assert.Contains(t, string(metric), fmt.Sprintf(`shiksha_backup_last_success_timestamp_seconds{project=%q,service="postgres",database="shop"} %d`, w.Project, first.Taken.Unix()))

	proven, err := w.Prove(t.Context(), first, w.from.Unit)
	require.NoError(t, err)
	assert.False(t, proven.Proven.IsZero())
	all, err := w.List(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []backup.Backup{proven}, all)

	t.Run("faults leave no backup and take none away", func(t *testing.T) { faults(t, w, metric) })
	t.Run("a spoiled file is found", func(t *testing.T) { spoiled(t, w, first) })
	t.Run("the room is asked for", func(t *testing.T) { asked(t, w, first) })
	t.Run("roles and other databases", func(t *testing.T) { roles(t, w) })
	t.Run("what a killed run left is healed", func(t *testing.T) { healed(t, w) })
	t.Run("restored beside, swapped, and swapped back", func(t *testing.T) { restored(t, w) })
	t.Run("so is the database that a server begins with", func(t *testing.T) { restoredFirst(t, w) })
	assert.NotContains(t, fmt.Sprint(w.events.Events()), "s3cret-enough")
}

func faults(t *testing.T, w *world, metric []byte) {
	before := w.files()
	for kind, words := range map[string]string{
		"fails":   "pg_dump failed: pg_dump: error: server closed the connection",
		"cut":     "does not read back whole",
		"flipped": "does not read back whole",
		"hangs":   "longer than 2s",
	} {
		t.Run(kind, func(t *testing.T) {
			w.fault(kind)
			from := w.from
			if kind == "hangs" {
				from.Options.Timeout = 2 * time.Second
			}
			from.Options.Least, from.Options.Keep = 1, 0
			_, err := w.Take(t.Context(), from)
			require.ErrorContains(t, err, words)
			assert.ErrorContains(t, err, "the database is as it was")
			assert.Equal(t, fault.Refused, fault.Of(err))
			assert.Equal(t, before, w.files())
		})
	}
	t.Run("killed", func(t *testing.T) {
		w.fault("hangs")
		killed, kill := context.WithCancelCause(t.Context())
		go func() {
			for len(w.files()) == len(before) {
				time.Sleep(50 * time.Millisecond)
			}
			kill(errors.New("killed"))
		}()
		_, err := w.Take(killed, w.from)
		require.Error(t, err)
	})
	t.Run("full disk", func(t *testing.T) {
		w.fault("none")
		small := *w.Store
		small.Dir = filepath.Join(t.TempDir(), "small")
		require.NoError(t, os.Mkdir(small.Dir, 0o700))
		require.NoError(t, exec.Command("mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small.Dir).Run(), "a file system of 200 kB needs root")
		defer func() { assert.NoError(t, exec.Command("umount", "-l", small.Dir).Run()) }()
		_, err := small.Take(t.Context(), w.from)
		require.ErrorContains(t, err, "0 MiB are free in "+small.Dir)
		require.ErrorContains(t, err, "(a quarter of the database)")
		// A dump that turns out larger than the last one.
		require.NoError(t, os.WriteFile(filepath.Join(small.Dir, "postgres-1.json"), []byte(`{"schema":1,"id":"postgres-1","service":"postgres","database":"shop","bytes":1000}`), 0o600))
		_, err = small.Take(t.Context(), w.from)
		require.ErrorContains(t, err, "No space left on device")
		left, err := os.ReadDir(small.Dir)
		require.NoError(t, err)
		assert.Len(t, left, 1)
	})
	now, err := os.ReadFile(filepath.Join(w.Metrics, "shiksha_backup_"+w.Project+"_postgres.prom"))
	require.NoError(t, err)
	assert.Equal(t, metric, now, "no success was recorded")
	assert.Equal(t, "20000", w.sql("shop", "SELECT count(*) FROM orders"), "the database was never affected")
}

func spoiled(t *testing.T, w *world, first backup.Backup) {
	w.fault("none")
	path := filepath.Join(w.Dir, first.ID+".dump")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)/2] ^= 0x55
	flipped[len(flipped)/2+1] ^= 0xaa
	require.NoError(t, os.WriteFile(path, flipped, 0o600))
	_, err = w.Prove(t.Context(), first, w.from.Unit)
	assert.ErrorContains(t, err, "checksum")
	_, err = w.Restore(t.Context(), first, w.from)
	assert.ErrorContains(t, err, "database shop is as it was")
	require.NoError(t, os.WriteFile(path, whole[:len(whole)-100], 0o600))
	_, err = w.Find(t.Context(), first.ID)
	assert.ErrorContains(t, err, "cannot be used: its file has")
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	_, err = w.Find(t.Context(), "postgres-yesterday")
	assert.Equal(t, fault.Input, fault.Of(err))
	assert.Contains(t, fault.Hint(err), first.ID)
}

// session keeps a statement at work under a name until somebody ends it.
func (w *world) session(name, database, text string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command("docker", "exec", "-e", "PGPASSWORD=s3cret-enough", "-e", "PGAPPNAME="+name, w.from.Unit.ID,
		"psql", "-h", "127.0.0.1", "-U", "shop", "-d", database, "-c", text)
	require.NoError(w.t, cmd.Start())
	at := "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = '" + name + "'"
	require.Eventually(w.t, func() bool { return w.sql("postgres", at) == "1" }, 30*time.Second, 100*time.Millisecond)
	return cmd
}

// healed has what a deployer leaves that was killed while it migrated, restored and
// swapped: statements at work, a database half filled, one that nobody may enter.
func healed(t *testing.T, w *world) {
	_, name := backup.SessionName("migrate", w.Project)
	migration := w.session(name, "shop", "SELECT pg_sleep(300); DELETE FROM orders")
	older := w.session("shiksha-migrate", "shop", "SELECT pg_sleep(300); DELETE FROM orders")
	users := w.session("app", "shop", "SELECT pg_sleep(300)")
	_, other := backup.SessionName("migrate", w.Project+"-2")
	others := []*exec.Cmd{w.session(other, "shop", "SELECT pg_sleep(300)"), w.session("shiksha-backup", "postgres", "SELECT pg_sleep(300)")}
	w.sql("postgres", "CREATE ROLE backup_ro LOGIN PASSWORD 's3cret-enough'")
	reader := w.from
	reader.Options.User = "backup_ro"
	_, err := w.Heal(t.Context(), reader)
	require.ErrorContains(t, err, "to terminate superuser process", "a user for dumps may not end them, and no migration is to meet them")
	assert.Equal(t, fault.Refused, fault.Of(err))
	w.sql("postgres", "CREATE DATABASE shop_restored_20260301t090000")
	w.sql("postgres", "COMMENT ON DATABASE shop_restored_20260301t090000 IS 'shiksha: unfinished restore'")
	w.sql("postgres", "CREATE DATABASE shop_restored_20260301t080000")
	w.sql("postgres", "COMMENT ON DATABASE shop_restored_20260301t080000 IS 'shiksha: backup postgres-1'")
	w.sql("postgres", "CREATE DATABASE shop_replaced_20260301t080000")
	w.sql("postgres", "ALTER DATABASE shop ALLOW_CONNECTIONS false")
	state, err := w.Heal(t.Context(), w.from)
	require.NoError(t, err)
	assert.Equal(t, backup.State{Database: "shop", Replaced: []string{"shop_replaced_20260301t080000"}}, state)
	assert.Equal(t, "database shop is the one from before", state.String())
	assert.Error(t, migration.Wait(), "its session was ended")
	assert.Error(t, older.Wait(), "and that of a run before sessions were named by project")
	assert.Equal(t, "2", w.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('"+other+"', 'shiksha-backup')"), "those of other projects stay")
	assert.Equal(t, "20000", w.sql("shop", "SELECT count(*) FROM orders"), "and its next statement never ran")
	assert.Equal(t, "1", w.sql("shop", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'app'"), "users' sessions stay")
	_, err = w.Heal(t.Context(), reader)
	require.NoError(t, err, "where nothing is at work it need not end anything")
	w.sql("postgres", "DROP ROLE backup_ro")
	assert.Equal(t, "shop,shop_replaced_20260301t080000,shop_restored_20260301t080000",
		w.sql("postgres", "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE datname LIKE 'shop%'"), "what has rows of its own stays")
	for _, left := range append(others, users) {
		require.NoError(t, left.Process.Kill())
		_ = left.Wait()
	}
	w.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('app', '"+other+"', 'shiksha-backup')")
	w.sql("postgres", "DROP DATABASE shop_restored_20260301t080000")
	w.sql("postgres", "DROP DATABASE shop_replaced_20260301t080000")
}

func restored(t *testing.T, w *world) {
	all, err := w.List(t.Context())
	require.NoError(t, err)
	w.sql("shop", "DELETE FROM orders WHERE id > 5; ALTER TABLE orders ADD COLUMN fresh int")
	// A session that holds the database does not keep it from being swapped.
	holding := exec.Command("docker", "exec", "-e", "PGPASSWORD=s3cret-enough", w.from.Unit.ID, "psql", "-h", "127.0.0.1", "-U", "shop", "-d", "shop", "-c", "SELECT pg_sleep(300)")
	require.NoError(t, holding.Start())
	defer func() { _ = holding.Wait() }()
	r, err := w.Restore(t.Context(), all[0], w.from)
	require.NoError(t, err)
	assert.Equal(t, "5", w.sql("shop", "SELECT count(*) FROM orders"), "what is in use was not touched")
	require.NoError(t, r.Swap(t.Context()))
	assert.Equal(t, "20000", w.sql("shop", "SELECT count(*) FROM orders"))
	assert.Equal(t, "5", w.sql(r.Aside, "SELECT count(*) FROM orders"), "the replaced one is kept")
	state, err := w.Heal(t.Context(), w.from)
	require.NoError(t, err)
	assert.Equal(t, "database shop is that of backup "+all[0].ID+", the replaced one is kept as "+r.Aside, state.String())
	require.NoError(t, r.Undo(t.Context(), w.Store, w.from))
	assert.Equal(t, "5", w.sql("shop", "SELECT count(fresh IS NULL) FROM orders"))
	assert.Equal(t, "20000", w.sql(r.Fresh, "SELECT count(*) FROM orders"))
}

// restoredFirst has the database of a server that was given nothing but a password: the
// one that tools connect to where they look after another.
func restoredFirst(t *testing.T, w *world) {
	from := w.from
	from.Options.Database = "postgres"
	w.sql("postgres", "CREATE TABLE first (x int); INSERT INTO first VALUES (1), (2)")
	b, err := w.Take(t.Context(), from)
	require.NoError(t, err)
	w.sql("postgres", "DELETE FROM first")
	r, err := w.Restore(t.Context(), b, from)
	require.NoError(t, err)
	require.NoError(t, r.Swap(t.Context()))
	assert.Equal(t, "2", w.sql("postgres", "SELECT count(*) FROM first"))
	w.sql("shop", "ALTER DATABASE postgres ALLOW_CONNECTIONS false")
	state, err := w.Heal(t.Context(), from)
	require.NoError(t, err, "a swap that was cut off lets nobody in")
	assert.Equal(t, backup.State{Database: "postgres", Backup: b.ID, Replaced: []string{r.Aside}}, state)
	require.NoError(t, r.Undo(t.Context(), w.Store, from))
	assert.Equal(t, "0", w.sql("postgres", "SELECT count(*) FROM first"))
}
