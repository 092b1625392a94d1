package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// shop is the store of a node with backups in it.
func shop(t *testing.T, node string, ids ...string) *backup.Store {
	t.Helper()
	s := &backup.Store{Project: "shop", Node: node, Dir: t.TempDir(), Files: disk.Files{}, Sink: event.Discard}
	for _, id := range ids {
		put(t, s.Dir, id)
	}
	return s
}

func put(t *testing.T, dir, id string) {
	t.Helper()
	data, err := json.Marshal(backup.Backup{Schema: 1, ID: id, Project: "shop", Service: "db", Bytes: 4, Taken: time.Now()})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, errors.Join(os.WriteFile(filepath.Join(dir, id+".json"), data, 0o600), os.WriteFile(filepath.Join(dir, id+".dump"), []byte("dump"), 0o600)))
}

// Backups are where their database ran when they were taken; each says where that is.
func TestBackupsOnSeveralNodes(t *testing.T) {
	t.Parallel()
	here, two := shop(t, "", "db-1", "db-2"), shop(t, "two", "db-2", "db-3")
	stores := []*backup.Store{two, here}
	for id, node := range map[string]string{"db-1": "", "db-2": "two", "db-3": "two"} {
		b, err := backup.Find(t.Context(), id, stores)
		require.NoError(t, err)
		assert.Equal(t, node, b.Node, id)
	}
	_, err := backup.Find(t.Context(), "db-9", stores)
	require.ErrorContains(t, err, `no backup "db-9"`)
	assert.Equal(t, "the host has db-1, db-2, db-2 (on node two), db-3 (on node two)", fault.Hint(err))

	require.NoError(t, os.WriteFile(filepath.Join(two.Dir, "db-2.dump"), []byte("d"), 0o600))
	b, err := backup.Find(t.Context(), "db-2", stores)
	require.NoError(t, err)
	assert.Empty(t, b.Node, "the one that is whole")
}

// A database that moved is restored from what its own node has, or from a copy; what
// is left on another node is refused with where it is.
func TestClaim(t *testing.T) {
	t.Parallel()
	here, two := shop(t, "", "db-1", "db-2"), shop(t, "two", "db-2")
	stores := []*backup.Store{here, two}
	find := func(id string) backup.Backup {
		b, err := backup.Find(t.Context(), id, stores)
		require.NoError(t, err)
		return b
	}
	own, err := two.Claim(t.Context(), find("db-2"), stores)
	require.NoError(t, err)
	assert.Equal(t, "two", own.Node, "the host's was found first, its own is of use")
	_, err = two.Claim(t.Context(), find("db-1"), stores)
	require.ErrorContains(t, err, "backup db-1 is on the host, where its database ran when it was taken; that runs on node two now")
	assert.Equal(t, fault.Refused, fault.Of(err))
	for _, words := range []string{here.Dir, two.Dir, "db-1.dump", "x-shiksha.backups.copy"} {
		assert.Contains(t, fault.Hint(err), words)
	}
	away := t.TempDir()
	put(t, filepath.Join(away, "shop"), "db-1")
	two.Dial = func(context.Context, string) (backup.Vault, error) { return fakeVault{}, nil }
	copied, err := two.Claim(t.Context(), find("db-1"), stores, &stack.Copy{Address: "backup@vault:22", Dir: away})
	require.NoError(t, err)
	assert.True(t, copied.Away)
	same, err := here.Claim(t.Context(), copied, stores)
	require.NoError(t, err)
	assert.Equal(t, copied, same)
}

// fakeBroken is a database's engine that fails at the first thing it is asked after the
// unit itself.
type fakeBroken struct{ backup.Engine }

func (fakeBroken) Inspect(context.Context, string) (stack.Unit, error) { return stack.Unit{}, nil }
func (fakeBroken) ClearTasks(context.Context, string) error            { return errors.New("no engine") }

// The host knows of a node before anything is written there, and what an interrupted
// run left at work there ends before anything else asks the database.
func TestANodeIsAnnounced(t *testing.T) {
	t.Parallel()
	s := shop(t, "two")
	s.Engine, s.Dir = fakeBroken{}, filepath.Join(s.Dir, "backups")
	s.Announce = func(context.Context) error { assert.NoDirExists(t, s.Dir); return errors.New("the host is full") }
	_, err := s.Take(t.Context(), backup.Source{Service: "db"})
	require.ErrorContains(t, err, "the host is full")
	assert.NoDirExists(t, s.Dir)
	s.Announce = func(context.Context) error { return nil }
	_, err = s.Take(t.Context(), backup.Source{Service: "db"})
	require.ErrorContains(t, err, "no engine")
	assert.DirExists(t, s.Dir)
	_, err = s.Heal(t.Context(), backup.Source{Service: "db"})
	require.ErrorContains(t, err, "no engine")
}

// A backup that was found where another database has its copies is not fetched from nowhere.
func TestNoCopyToFetchFrom(t *testing.T) {
	t.Parallel()
	s := &backup.Store{Project: "shop", Dir: t.TempDir(), Files: disk.Files{}, Engine: &fakeDisk{}, Sink: event.Discard,
		Dial: func(context.Context, string) (backup.Vault, error) { return fakeVault{}, nil }}
	b := backup.Backup{ID: "db-1", Service: "db", Database: "shop", Away: true, CopiedTo: "sftp://backup@vault:22/copies"}
	_, err := s.Restore(t.Context(), b, backup.Source{Service: "db"})
	require.ErrorContains(t, err, "db has no x-shiksha.backups.copy")
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.Contains(t, fault.Hint(err), "bring db-1.dump and db-1.json from sftp://backup@vault:22/copies/shop to "+s.Dir+" on the host")
}

// A host keeps the manifests of an older program; one of a newer is told as such, and nothing
// of it is used.
func TestManifestsOfOtherVersions(t *testing.T) {
	t.Parallel()
	s, said := shop(t, ""), &event.Recorder{}
	s.Sink = said
	for schema := range 4 {
		id := fmt.Sprintf("db-%d", schema)
		put(t, s.Dir, id)
		data, err := json.Marshal(backup.Backup{Schema: schema, ID: id, Service: "db", Bytes: 4, Taken: time.Unix(int64(schema), 0)})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(s.Dir, id+".json"), data, 0o600))
	}
	all, err := s.List(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
	assert.Equal(t, []int{2, 1}, []int{all[0].Schema, all[1].Schema})
	require.Len(t, said.Events(), 2)
	assert.Contains(t, said.Events()[1].Text, "the manifest of backup db-3 cannot be used: written by a newer version of shiksha (format 3, this one knows 2): use that version, or a newer one")
}
