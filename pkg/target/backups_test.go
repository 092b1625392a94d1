package target_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeWhere has each unit on the node that it says; of one that it does not know
// nothing can be said, as of a node that cannot be reached.
type fakeWhere map[string]*target.Node

func (w fakeWhere) At(_ context.Context, unit string) (*target.Node, error) {
	if n, ok := w[unit]; ok {
		return n, nil
	}
	return nil, fault.New(fault.Refused, "node two", "let the user in there", "it cannot be reached")
}

// A dump is made and kept on the node that has the database. One on a node that cannot
// be reached, or one that does not run, is refused.
func TestDatabases(t *testing.T) {
	t.Parallel()
	at := &target.Target{Host: &host.Host{}, Engine: &engine.Engine{}}
	here, away := at.Here(), &target.Node{ID: "2", Name: "two"}
	db := &stack.Service{Name: "db"}
	db.Ext.Backups = &stack.Backups{}
	st := &stack.Stack{Name: "shop", Order: []string{"api", "db"}, Services: map[string]*stack.Service{"api": {Name: "api"}, "db": db}}
	unit := stack.Unit{ID: "new", ImageID: "sha256:db", Node: "two", State: stack.Running}
	stopped, once := unit, unit
	stopped.State, once.OneOff = stack.Exited, true
	for name, c := range map[string]struct {
		on      fakeWhere
		unit    stack.Unit
		node    string
		refused string
	}{
		"here":                   {fakeWhere{"new": here}, unit, "the host", ""},
		"on another node":        {fakeWhere{"new": away}, unit, "node two", ""},
		"where nobody can look":  {fakeWhere{}, unit, "", "node two: it cannot be reached"},
		"one that does not run":  {fakeWhere{"new": here}, stopped, "", "does not run, so it can be neither dumped nor restored"},
		"a command of a release": {fakeWhere{"new": here}, once, "", "does not run, so it can be neither dumped nor restored"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := stack.Observed{Units: map[string][]stack.Unit{"db": {c.unit}, "api": {c.unit}}}
			got, err := at.Databases(t.Context(), c.on, st, seen, release.Record{Number: 7, Version: "v7"})
			if c.refused != "" {
				require.ErrorContains(t, err, c.refused)
				assert.Equal(t, fault.Refused, fault.Of(err))
				assert.NotEmpty(t, fault.Hint(err))
				assert.Equal(t, strings.Contains(name, "run") || strings.Contains(name, "command"), errors.Is(err, target.ErrStopped))
				return
			}
			require.NoError(t, err)
			require.Len(t, got, 1)
			assert.Equal(t, []any{"db", "new", 7, "v7"}, []any{got[0].Service, got[0].Unit.ID, got[0].Release, got[0].Version})
			assert.Equal(t, c.node, got[0].Node.String())
			none, err := at.Databases(t.Context(), fakeWhere{}, st, seen, release.Record{}, "db")
			require.NoError(t, err, "one that is left out is not asked where it runs")
			assert.Empty(t, none)
		})
	}
}
