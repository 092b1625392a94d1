package backup_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

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

	elsewhere := first
	elsewhere.ID = "gone"
	_, err = w.Prove(t.Context(), elsewhere, w.from.Unit)
	require.ErrorContains(t, err, filepath.Join(w.Dir, "gone.dump")+" cannot be read by user 0")
	assert.NotContains(t, err.Error(), "it was changed")
}

// roles has a dump with owners, grants and policies of roles that a new server lacks, and
// what needs the memory and the preloaded libraries of the server that it is of.
func roles(t *testing.T, w *world) {
	w.sql("shop", `CREATE ROLE web_anon; CREATE ROLE "odd 'role'" LOGIN; CREATE ROLE idle; CREATE DATABASE billing; CREATE DATABASE shop_replaced_20260301t080000;
		CREATE TABLE notes (x int); ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON notes TO web_anon USING (true);
		GRANT SELECT ON notes TO "odd 'role'"; CREATE EXTENSION pg_stat_statements;
		CREATE FUNCTION preloaded() RETURNS bool LANGUAGE plpgsql AS $$BEGIN PERFORM count(*) FROM pg_stat_statements; RETURN true; END$$;
		CREATE TABLE checked (x int CHECK (preloaded())); INSERT INTO checked VALUES (1)`)
	defer func() {
		for _, text := range []string{"DROP TABLE notes, checked", "DROP FUNCTION preloaded", "DROP EXTENSION pg_stat_statements", "DROP DATABASE IF EXISTS billing",
			"DROP DATABASE shop_replaced_20260301t080000", `DROP ROLE IF EXISTS web_anon, "odd 'role'", idle`} {
			w.sql("shop", text)
		}
	}()
	b := w.take()
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
