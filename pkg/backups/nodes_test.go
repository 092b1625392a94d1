package backups

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/target"
)

// kept is the store of a node with one backup in it.
func kept(t *testing.T, node, id string, taken time.Time) *backup.Store {
	t.Helper()
	s := &backup.Store{Project: "shop", Node: node, Dir: t.TempDir(), Files: disk.Files{}, Sink: event.Discard}
	data, err := json.Marshal(backup.Backup{Schema: 1, ID: id, Service: "db", Taken: taken})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, id+".json"), data, 0o600))
	return s
}

// The list has what every node keeps, the newest first. What another node does not
// tell is a warning; without the host's own there is no list.
func TestAllNodesAreListed(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	here, two, broken := kept(t, "", "db-1", at), kept(t, "two", "db-2", at.Add(time.Hour)), kept(t, "three", "db-3", at)
	broken.Dir += "/db-3.json"
	var told event.Recorder
	host := &target.Target{Sink: &told}
	listed, err := all(t.Context(), host, []*backup.Store{here, two, broken})
	require.NoError(t, err)
	require.Len(t, listed, 2)
	assert.Equal(t, []string{"db-2", "two", "db-1", ""}, []string{listed[0].ID, listed[0].Node, listed[1].ID, listed[1].Node})
	require.Len(t, told.Events(), 1)
	assert.Contains(t, told.Events()[0].Text, "the backups on node three are not listed")
	here.Dir += "/db-1.json"
	_, err = all(t.Context(), host, []*backup.Store{here, two})
	require.Error(t, err)
}
