package target_test

import (
	"context"
	"errors"
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

// fakeWhere has each unit on the engine that it says; of one that it does not know
// nothing can be said, as of a node that cannot be reached.
type fakeWhere map[string]*engine.Engine

func (w fakeWhere) At(_ context.Context, unit string) (*engine.Engine, error) {
	if e, ok := w[unit]; ok {
		return e, nil
	}
	return nil, errors.New("its node cannot be reached")
}

// A dump is made and kept on the host: a database elsewhere, or one that does not
// run, is refused.
func TestDatabases(t *testing.T) {
	t.Parallel()
	here, away := &engine.Engine{}, &engine.Engine{}
	at := &target.Target{Host: &host.Host{}, Engine: here}
	db := &stack.Service{Name: "db"}
	db.Ext.Backups = &stack.Backups{}
	st := &stack.Stack{Name: "shop", Order: []string{"api", "db"}, Services: map[string]*stack.Service{"api": {Name: "api"}, "db": db}}
	unit := stack.Unit{ID: "new", ImageID: "sha256:db", Node: "two", State: stack.Running}
	stopped, once := unit, unit
	stopped.State, once.OneOff = stack.Exited, true
	for name, c := range map[string]struct {
		on      fakeWhere
		unit    stack.Unit
		refused string
	}{
		"here":                   {fakeWhere{"new": here}, unit, ""},
		"on another node":        {fakeWhere{"new": away}, unit, "its database runs on node two, and dumps are made on"},
		"where nobody can look":  {fakeWhere{}, unit, "its database runs on node two, and dumps are made on"},
		"one that does not run":  {fakeWhere{"new": here}, stopped, "does not run, so it cannot be dumped"},
		"a command of a release": {fakeWhere{"new": here}, once, "does not run, so it cannot be dumped"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := stack.Observed{Units: map[string][]stack.Unit{"db": {c.unit}, "api": {c.unit}}}
			got, err := at.Databases(t.Context(), c.on, st, seen, release.Record{Number: 7, Version: "v7"})
			if c.refused != "" {
				require.ErrorContains(t, err, c.refused)
				assert.Equal(t, fault.Refused, fault.Of(err))
				assert.NotEmpty(t, fault.Hint(err))
				return
			}
			require.NoError(t, err)
			require.Len(t, got, 1)
			assert.Equal(t, []any{"db", "new", 7, "v7"}, []any{got[0].Service, got[0].Unit.ID, got[0].Release, got[0].Version})
		})
	}
}
