package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// A backup whose file somebody removed goes when it would have gone anyhow: its manifest alone
// would keep the check backup failing for ever. It is none of those that are kept.
func TestABackupWithoutItsFileIsLetGo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		least int
		left  []string
	}{
		"enough newer ones":     {2, []string{"db-1.dump", "db-1.json", "db-3.json"}},
		"too few that are well": {4, []string{"db-1.dump", "db-1.json", "db-3.json", "db-5.dump", "db-5.json", "db-8.json", "db-9.dump", "db-9.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			for _, days := range []int{1, 3, 5, 8, 9} {
				s.put(days)
			}
			require.NoError(t, errors.Join(os.Remove(filepath.Join(s.Dir, "db-3.dump")), os.Remove(filepath.Join(s.Dir, "db-8.dump"))))
			require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "db-9.dump"), []byte("PGDMP"), 0o600))
			told := &event.Recorder{}
			s.Engine, s.Sink = &fakeServer{rows: "1\torders\n"}, told
			taken, err := s.Take(t.Context(), backup.Source{Service: "db", Options: stack.Backups{Timeout: time.Minute, Keep: 4 * 24 * time.Hour, Least: c.least}})
			require.NoError(t, err)
			var left []string
			paths, err := filepath.Glob(filepath.Join(s.Dir, "db-?.*"))
			require.NoError(t, err)
			for _, p := range paths {
				left = append(left, filepath.Base(p))
			}
			assert.Equal(t, c.left, left)
			assert.FileExists(t, filepath.Join(s.Dir, taken.ID+".dump"))
			for _, e := range told.Events() {
				assert.NotEqual(t, event.Warning, e.Level, e.Text)
			}
		})
	}
}

// A backup is named after its second: one that a release takes in the second of another,
// as after a quick `shiksha backup`, is another one all the same.
func TestTwoBackupsOfOneSecondAreTwo(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.Engine, s.Sink = &fakeServer{rows: "1\torders\n"}, event.Discard
	ids := map[string]bool{}
	for range 3 {
		b, err := s.Take(t.Context(), backup.Source{Service: "db", Options: stack.Backups{Timeout: time.Minute, Least: 9}})
		require.NoError(t, err)
		ids[b.ID] = true
	}
	assert.Len(t, ids, 3)
	all, err := s.List(t.Context())
	require.NoError(t, err)
	assert.Len(t, all, 3)
}

// fakeFailing is a database whose tools end with 1, but for what ends an interrupted run.
type fakeFailing struct{ fakeDisk }

func (f *fakeFailing) RunImage(_ context.Context, _ string, t stack.Task) (stack.Ended, error) {
	if t.Name == "heal" {
		return stack.Ended{}, nil
	}
	return stack.Ended{Exit: 1, Output: "it is broken"}, nil
}

// What a hint names does what the one who reads it wants: a new dump of today's database is no
// other backup to go back to, and releases nothing.
func TestHintsOfBackupsThatFail(t *testing.T) {
	t.Parallel()
	const other = "name another backup: shiksha backups lists them"
	s := &backup.Store{Project: "shop", Dir: t.TempDir(), Files: disk.Files{}, Engine: &fakeFailing{fakeDisk{exit: 1}}, Sink: event.Discard,
		Dial: func(context.Context, string) (backup.Vault, error) { return nil, errors.New("connection refused") }}
	db := backup.Source{Service: "db", Options: stack.Backups{Timeout: time.Minute, Copy: &stack.Copy{Address: "backup@vault:22", Dir: "/copies"}}}
	restore := func(b backup.Backup) error { _, err := s.Restore(t.Context(), b, db); return err }

	err := restore(backup.Backup{ID: "db-1", Service: "db", Database: "shop"})
	require.ErrorContains(t, err, "backup db-1 could not be restored, database shop is as it was: it ended with 1: it is broken")
	assert.Contains(t, fault.Hint(err), other+" (STATE says which are proven)")
	assert.NotContains(t, fault.Hint(err), "--prove")

	err = restore(backup.Backup{ID: "db-1", Service: "db", Database: "shop", Away: true})
	require.ErrorContains(t, err, "cannot be fetched")
	assert.Equal(t, other, fault.Hint(err))
	err = restore(backup.Backup{ID: "db-1", Service: "db", Database: "other"})
	assert.Equal(t, "name a backup of that database: shiksha backups lists them", fault.Hint(err))

	put(t, s.Dir, "db-2")
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "db-2.dump")))
	_, err = s.Find(t.Context(), "db-2")
	require.ErrorContains(t, err, "its file is gone")
	assert.Equal(t, other, fault.Hint(err))

	_, err = s.Take(t.Context(), db)
	require.ErrorContains(t, err, "no backup of db was made")
	assert.Equal(t, "mend it and run the same again; earlier backups are untouched", fault.Hint(err))
}
