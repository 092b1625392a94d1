package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// A database that was brought back to an older schema is migrated again, though all units are
// as they are to be: that is something to do.
func TestMake_AMigrationIsSomethingToDo(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Desired.Services["api"].Ext.Migrate = &stack.Migrate{Command: []string{"alembic", "upgrade", "head"}}
	assert.True(t, plan.Make(in).Empty())
	in.SchemaBack = true
	p := plan.Make(in)
	assert.False(t, p.Empty())
	assert.NotContains(t, p.String(), "nothing to do")
	assert.Empty(t, p.Changed())
}
