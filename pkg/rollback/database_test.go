package rollback

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeServer is an engine with one database, whose unit may be replaced by another.
type fakeServer struct {
	backup.Engine
	unit string
	// ran are the tools that were run, by name, databases those that there are.
	ran, databases []string
	// swap is how the next swap ends, deaf whether it swaps all the same.
	swap error
	deaf bool
	// ill is what the healthcheck says of the unit.
	ill stack.UnitHealth
	// down is set when the unit does not run.
	down bool
	// writers run on another node, and are replaced when only their containers end;
	// met are those that the swapped database met, stays why they cannot be stopped.
	writers, met []string
	stays        error
}

func (s *fakeServer) Stop(_ context.Context, _ string, services []string) error {
	if s.stays == nil {
		s.writers = slices.DeleteFunc(s.writers, func(name string) bool { return slices.Contains(services, name) })
	}
	return s.stays
}

func (s *fakeServer) At(context.Context, string) (*target.Node, error) { return &target.Node{}, nil }
func (s *fakeServer) Observe(context.Context, string) (stack.Observed, error) {
	if s.down {
		return stack.Observed{}, nil
	}
	units := map[string][]stack.Unit{"db": {{ID: s.unit, ImageID: "sha256:db", State: stack.Running, Health: s.ill}}}
	for _, name := range s.writers {
		units[name] = []stack.Unit{{ID: name, Node: "worker", State: stack.Running}}
	}
	return stack.Observed{Units: units, Scheduled: true}, nil
}
func (s *fakeServer) Exec(context.Context, string, []string, []byte) (string, string, int, error) {
	return "", "psql: not found", 127, nil
}
func (s *fakeServer) ClearTasks(context.Context, string) error { return nil }

func (s *fakeServer) Inspect(_ context.Context, id string) (stack.Unit, error) {
	if id != s.unit {
		return stack.Unit{}, errors.New("no such container: " + id)
	}
	return stack.Unit{ID: id, Env: map[string]string{"POSTGRES_DB": "shop"}}, nil
}

func (s *fakeServer) RunImage(_ context.Context, _ string, task stack.Task) (stack.Ended, error) {
	if task.Network != "container:"+s.unit {
		return stack.Ended{}, errors.New("no such container: " + task.Network)
	}
	s.ran = append(s.ran, task.Name)
	if task.Name != "swap" {
		return stack.Ended{Output: strings.Join(s.databases, "|\n")}, nil
	}
	s.met = slices.Clone(s.writers)
	err := s.swap
	if s.swap = nil; err == nil || s.deaf {
		s.databases = []string{"shop", task.Command[6]}
	}
	return stack.Ended{}, err
}

// restoringShop is a database that was restored through unit, beside the one in use.
func restoringShop(t *testing.T, s *fakeServer, unit string) (*restoring, *backup.Restored) {
	t.Helper()
	s.unit = unit
	db := &stack.Service{Name: "db"}
	db.Ext.Backups = &stack.Backups{}
	r := &restoring{Target: &target.Target{Sink: event.Discard}, on: s,
		stack:  &stack.Stack{Name: "shop", Order: []string{"db"}, Services: map[string]*stack.Service{"db": db}},
		store:  &backup.Store{Project: "shop", Dir: filepath.Join(t.TempDir(), "backups"), Files: disk.Files{}, Engine: s, Sink: event.Discard},
		into:   backup.Source{Service: "db", Unit: stack.Unit{ID: unit}},
		backup: backup.Backup{ID: "b1", Service: "db", Database: "shop"}}
	r.needs = needs{stacks: []*stack.Stack{r.stack}}
	restored, err := r.store.Restore(t.Context(), r.backup, r.into)
	require.NoError(t, err)
	return r, restored
}

// What writes is stopped by what the stack runs on: the scheduler of a Swarm would replace
// a container that only ended, and its new one would write to the older database.
func TestNoWriterMeetsTheOlderDatabase(t *testing.T) {
	t.Parallel()
	depends := stack.Service{DependsOn: []stack.Dependency{{Service: "db"}}}
	for name, stays := range map[string]error{"stopped": nil, "not to be stopped": errors.New("a node does not answer")} {
		server := &fakeServer{writers: []string{"api", "web"}, stays: stays}
		r, _ := restoringShop(t, server, "db")
		r.stack.Order = []string{"db", "api", "web"}
		r.stack.Services["api"], r.stack.Services["web"] = &depends, &stack.Service{}
		server.ran = nil
		stopped, undo, err := r.run(t.Context())
		assert.Equal(t, []string{"api"}, stopped, name)
		assert.Equal(t, r.writers(), stopped, "whom the plan names")
		if stays != nil {
			require.ErrorIs(t, err, stays)
			assert.Nil(t, undo, "nothing was swapped")
			assert.NotContains(t, server.ran, "swap")
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, []string{"web"}, server.met)
	}
}

// A release that replaced the database's unit swaps back through the new one.
func TestSwappedBackThroughTheUnitThatRuns(t *testing.T) {
	t.Parallel()
	server := &fakeServer{}
	r, restored := restoringShop(t, server, "old")
	require.NoError(t, restored.Swap(t.Context()))
	server.unit = "new"
	require.NoError(t, r.undo(t.Context(), restored))
	assert.Equal(t, "heal restore swap heal swap", strings.Join(server.ran, " "))
}

// What swaps back needs the one database, and that it runs: others that are away, or
// what its healthcheck says of it, keep no writer stopped.
func TestSwappedBackWhileOthersAreIll(t *testing.T) {
	t.Parallel()
	for _, ill := range []stack.UnitHealth{stack.HealthOK, stack.HealthStart, stack.HealthFailed} {
		server := &fakeServer{}
		r, restored := restoringShop(t, server, "db")
		require.NoError(t, restored.Swap(t.Context()))
		server.ill, server.ran = ill, nil
		r.stack.Order = []string{"analytics", "db"}
		r.stack.Services["analytics"] = &stack.Service{Name: "analytics", Ext: r.stack.Services["db"].Ext}
		require.NoError(t, r.undo(t.Context(), restored), ill)
		assert.Equal(t, "heal swap", strings.Join(server.ran, " "))
	}
}

// A database that does not run cannot be swapped back, which has nothing to do with
// dumps.
func TestNotSwappedBackWhileItIsDown(t *testing.T) {
	t.Parallel()
	server := &fakeServer{}
	r, restored := restoringShop(t, server, "db")
	server.down = true
	err := r.undo(t.Context(), restored)
	require.EqualError(t, err, "swap the database back: service db: its database does not run")
	assert.ErrorIs(t, err, target.ErrStopped)
}

// A swap whose answer was lost may have been done: it is looked at before it is told
// that the database is the one from before.
func TestSwapWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	for deaf, ran := range map[bool]string{true: "heal restore swap heal swap", false: "heal restore swap heal"} {
		server := &fakeServer{swap: errors.New("the connection is lost"), deaf: deaf}
		r, restored := restoringShop(t, server, "db")
		server.ran = nil
		_, undo, err := r.run(t.Context())
		require.ErrorContains(t, err, restored.Database)
		assert.NotContains(t, err.Error(), "as it was")
		require.NotNil(t, undo)
		require.NoError(t, undo(t.Context()))
		assert.Equal(t, ran, strings.Join(server.ran, " "))
	}
}

// fakeNode is where no unit can be looked at; asked are those of which somebody tried.
type fakeNode struct {
	*fakeServer
	asked []string
}

var errNoNode = errors.New("the node cannot be reached")

func (n *fakeNode) At(_ context.Context, unit string) (*target.Node, error) {
	n.asked = append(n.asked, unit)
	return nil, errNoNode
}

// Only the database that a backup is of has to run. It is also found where `backups` came with
// the release that is undone, as they do with the first migration.
func TestWhichDatabaseARestoreAsksFor(t *testing.T) {
	t.Parallel()
	now := depending(map[string][]string{"shopdb": nil, "authdb": nil})
	old := depending(map[string][]string{"shopdb": nil, "authdb": nil})
	before := depending(map[string][]string{"shopdb": nil, "authdb": nil})
	before.Services["shopdb"].Ext.Backups = nil
	unit := []stack.Unit{{ID: "shop", State: stack.Running}}
	for name, to := range map[string]*stack.Stack{"another is down": old, "no backups yet": before} {
		slices.Sort(to.Order)
		l, _ := ledger(t, release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: good})
		on := &fakeNode{fakeServer: &fakeServer{}}
		_, err := Options{Project: "shop", RestoreDatabase: shopBackup}.restoring(t.Context(), &target.Target{Sink: event.Discard}, on, l, l.All()[0],
			needs{stacks: []*stack.Stack{to, now}}, stack.Observed{Units: map[string][]stack.Unit{"shopdb": unit}})
		require.ErrorIs(t, err, errNoNode, name)
		assert.Equal(t, []string{"shop"}, on.asked, name)
	}
	on := &fakeNode{fakeServer: &fakeServer{}}
	l, _ := ledger(t, release.Record{Version: "v1", Outcome: good})
	_, err := Options{Project: "shop", RestoreDatabase: shopBackup}.restoring(t.Context(), &target.Target{Sink: event.Discard}, on, l, l.All()[0],
		needs{stacks: []*stack.Stack{old}}, stack.Observed{})
	require.ErrorIs(t, err, target.ErrStopped)
	require.ErrorContains(t, err, "service shopdb")
}

// The first stack that says how a database is backed up, and where copies are, is heard; the
// stacks themselves stay as they were.
func TestBackedUpAsALaterReleaseSays(t *testing.T) {
	t.Parallel()
	stacks := make([]*stack.Stack, 4)
	for i := range stacks {
		stacks[i] = depending(map[string][]string{"shopdb": nil, "authdb": nil, "web": nil})
		stacks[i].Services["shopdb"].Ext.Backups = &stack.Backups{Least: i}
	}
	vault, other := &stack.Copy{Dir: "/vault"}, &stack.Copy{Dir: "/other"}
	stacks[0].Services["shopdb"].Ext.Backups = nil
	stacks[2].Services["shopdb"].Ext.Backups.Copy = vault
	stacks[3].Services["shopdb"].Ext.Backups.Copy = other
	delete(stacks[0].Services, "authdb")
	stacks[0].Order = []string{"shopdb", "web"}
	got := needs{stacks: stacks}.backedUp()
	assert.Equal(t, &stack.Backups{Least: 1, Copy: vault}, got.Services["shopdb"].Ext.Backups)
	assert.Equal(t, []*stack.Copy{vault}, places(got))
	assert.Nil(t, got.Services["web"].Ext.Backups)
	assert.Nil(t, got.Services["authdb"], "what the older release has not does not come with its backups")
	assert.Nil(t, stacks[0].Services["shopdb"].Ext.Backups)
	assert.Nil(t, stacks[1].Services["shopdb"].Ext.Backups.Copy)
	stacks[0].Services["shopdb"].Ext.Backups = &stack.Backups{Least: 9, Copy: other}
	assert.Equal(t, &stack.Backups{Least: 9, Copy: other}, needs{stacks: stacks}.backedUp().Services["shopdb"].Ext.Backups)
}
