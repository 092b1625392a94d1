package backups

import (
	"context"
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
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
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

// fakeNodes has the units on the host, but for one whose node cannot be reached.
type fakeNodes struct{}

func (fakeNodes) At(_ context.Context, unit string) (*target.Node, error) {
	if unit == "lost" {
		return nil, fault.New(fault.Refused, "node two", "let the user in there", "it cannot be reached")
	}
	return &target.Node{}, nil
}

// A database that does not run, or is where nobody can look, keeps no other from its dump;
// each is told.
func TestOneThatIsDownKeepsNoOtherFromItsDump(t *testing.T) {
	t.Parallel()
	st := &stack.Stack{Name: "shop", Order: []string{"analytics", "shopdb", "logs", "authdb", "web"}, Services: map[string]*stack.Service{"web": {Name: "web"}}}
	for _, name := range st.Order[:4] {
		st.Services[name] = &stack.Service{Name: name}
		st.Services[name].Ext.Backups = &stack.Backups{Least: len(name)}
	}
	unit := func(id string, health stack.UnitHealth) []stack.Unit {
		return []stack.Unit{{ID: id, ImageID: "sha256:db", State: stack.Running, Health: health}}
	}
	seen := stack.Observed{Units: map[string][]stack.Unit{"analytics": unit("ill", stack.HealthFailed), "shopdb": unit("shop", stack.HealthOK),
		"logs": unit("lost", stack.HealthOK), "authdb": unit("auth", stack.HealthOK), "web": unit("web", stack.HealthFailed)}}
	found, failed := running(t.Context(), &target.Target{}, fakeNodes{}, st, seen, release.Record{Number: 7, Version: "v7"})
	require.Len(t, found, 2)
	for i, id := range []string{"shop", "auth"} {
		assert.Equal(t, []any{id, 6, 7, "v7"}, []any{found[i].Unit.ID, found[i].Options.Least, found[i].Release, found[i].Version})
	}
	require.Len(t, failed, 2)
	require.ErrorIs(t, failed[0], target.ErrStopped)
	require.ErrorContains(t, failed[0], "no backup of analytics was made: service analytics: its database does not run")
	require.ErrorContains(t, failed[1], "logs was made: node two: it cannot be reached")
	assert.Equal(t, "let the user in there", fault.Hint(failed[1]))
}
