package converge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeAway has its units on a node that cannot be reached.
type fakeAway struct {
	Platform
	state stack.State
}

func (f fakeAway) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"db": {{ID: "d", State: f.state}}}}, nil
}

func (fakeAway) At(context.Context, string) (*target.Node, error) {
	return nil, fault.New(fault.Refused, "node two", "let the user in there", "it cannot be reached")
}

// A database on a node that cannot be reached ends a release that needs it, and is not
// taken for one that does not run, in which nothing can be at work.
func TestADatabaseThatCannotBeReached(t *testing.T) {
	t.Parallel()
	db := &stack.Service{Name: "db"}
	db.Ext.Backups = &stack.Backups{}
	st := &stack.Stack{Name: "shop", Order: []string{"db"}, Services: map[string]*stack.Service{"db": db}}
	make := func(state stack.State) *transition {
		on := fakeAway{state: state}
		seen, _ := on.Observe(t.Context(), "shop")
		return &transition{Target: &target.Target{Sink: event.Discard}, on: on, opts: Options{Stack: st},
			plan: &plan.Plan{Backups: []string{"db"}}, facts: &facts{observed: seen, acted: &release.Record{}}, record: &release.Record{}, result: &Result{}}
	}
	for what, act := range map[string]func(*transition) error{
		"before anything changes":         func(d *transition) error { return d.databases(t.Context(), &onhost.Facts{}) },
		"the backup before a migration":   func(d *transition) error { return d.backUp(t.Context(), nil) },
		"what a killed run left at work":  func(d *transition) error { _, err := d.settleDatabases(t.Context()); return err },
		"and that is why a release heals": func(d *transition) error { d.facts.acted.RestoresDatabase = "db-1"; return d.heal(t.Context()) },
	} {
		err := act(make(stack.Running))
		require.ErrorContains(t, err, "node two: it cannot be reached", what)
		assert.Equal(t, fault.Refused, fault.Of(err), what)
	}
	states, err := make(stack.Exited).settleDatabases(t.Context())
	require.NoError(t, err)
	assert.Empty(t, states)
}
