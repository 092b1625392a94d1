package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeThrower is a server with memory of its own, beside which no other is started.
type fakeThrower struct {
	backup.Engine
	started stack.Task
}

var errNotStarted = errors.New("not started")

func (*fakeThrower) Inspect(context.Context, string) (stack.Unit, error) {
	return stack.Unit{ShmSize: 1 << 30, Command: []string{"postgres", "-c", "shared_preload_libraries=pgaudit", "-c", "port=5433"}}, nil
}
func (f *fakeThrower) StartImage(_ context.Context, _ string, t stack.Task) (string, error) {
	f.started = t
	return "", errNotStarted
}

// The throwaway server of a proof has what its database needs of the one that serves: an
// index may be built in shared memory, an extension only where it is preloaded.
func TestWhatAThrowawayServerGets(t *testing.T) {
	t.Parallel()
	f := &fakeThrower{}
	s := &backup.Store{Project: "shop", Dir: t.TempDir(), Engine: f, Sink: event.Discard}
	_, err := s.Prove(t.Context(), backup.Backup{ID: "db-1"}, stack.Unit{ID: "db", ImageID: "image"})
	require.ErrorIs(t, err, errNotStarted)
	assert.Equal(t, int64(1<<30), f.started.ShmSize)
	assert.Equal(t, []string{"postgres", "-c", "shared_preload_libraries=pgaudit"}, f.started.Command)
	assert.Equal(t, "image", f.started.Image)
}

// asked has a proof and a dump that could fill the disk: neither begins.
func asked(t *testing.T, w *world, first backup.Backup) {
	large := first
	large.DatabaseBytes = 1 << 60
	_, err := w.Prove(t.Context(), large, w.from.Unit)
	require.ErrorContains(t, err, "MiB are free on the disk of the throwaway server")
	assert.Contains(t, fault.Hint(err), "free some where the engine keeps its volumes")
	large.DatabaseBytes, large.Bytes = 0, 1<<58
	_, err = w.Prove(t.Context(), large, w.from.Unit)
	require.ErrorContains(t, err, "(four times the dump, and")
	require.ErrorIs(t, err, backup.ErrUntried)

	elsewhere := first
	elsewhere.ID = "gone"
	_, err = w.Prove(t.Context(), elsewhere, w.from.Unit)
	require.ErrorContains(t, err, filepath.Join(w.Dir, "gone.dump")+" cannot be read by user 0")
	assert.NotContains(t, err.Error(), "it was changed")
	assert.NotErrorIs(t, err, backup.ErrUntried, "there is no dump to copy")
}

// roles has a dump with owners, grants and policies of roles that a new server lacks, and
// what needs the memory and the preloaded libraries of the server that it is of.
func roles(t *testing.T, w *world) {
	w.sql("shop", "CREATE DATABASE billing")
	w.sql("shop", "CREATE DATABASE shop_replaced_20260301t080000")
	w.sql("shop", `CREATE ROLE web_anon; CREATE ROLE "odd 'role'" LOGIN; CREATE ROLE idle;
		CREATE TABLE notes (x int); ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON notes TO web_anon USING (true);
		GRANT SELECT ON notes TO "odd 'role'"; CREATE EXTENSION pg_stat_statements;
		CREATE FUNCTION preloaded() RETURNS bool LANGUAGE plpgsql AS $$BEGIN PERFORM count(*) FROM public.pg_stat_statements; RETURN true; END$$;
		CREATE TABLE checked (x int CHECK (preloaded())); INSERT INTO checked VALUES (1)`)
	defer func() {
		for _, text := range []string{"DROP TABLE notes, checked", "DROP FUNCTION preloaded", "DROP EXTENSION pg_stat_statements", "DROP DATABASE billing",
			"DROP DATABASE shop_replaced_20260301t080000", `DROP ROLE IF EXISTS web_anon, "odd 'role'", idle`} {
			w.sql("shop", text)
		}
	}()
	b := w.take()
	defer func() {
		for _, file := range []string{".json", ".dump"} {
			require.NoError(t, os.Remove(filepath.Join(w.Dir, b.ID+file)))
		}
	}()
	assert.Equal(t, []string{"odd 'role'", "shop", "web_anon"}, b.Roles)
	var warned []string
	for _, e := range w.events.Events() {
		if e.Level == event.Warning {
			warned = append(warned, e.Text)
		}
	}
	assert.Contains(t, warned, "the server of postgres has databases that are not dumped, since a backup is of one: billing")
	_, err := w.Prove(t.Context(), b, w.from.Unit)
	require.NoError(t, err)
	unit, err := w.engine.Inspect(t.Context(), w.from.Unit.ID)
	require.NoError(t, err)
	assert.Equal(t, int64(96<<20), unit.ShmSize)

	w.sql("shop", `DROP POLICY mine ON notes; DROP ROLE web_anon; REVOKE ALL ON notes FROM "odd 'role'"; DROP ROLE "odd 'role'"`)
	_, err = w.Restore(t.Context(), b, w.from)
	require.ErrorContains(t, err, "the dump names roles that the server lacks: odd 'role', web_anon")
	assert.ErrorContains(t, err, "database shop is as it was")
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.Contains(t, fault.Hint(err), "CREATE ROLE")
	assert.Equal(t, "0", w.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop_restored_%'"))
}
