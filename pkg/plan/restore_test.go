package plan_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// Who approves a way back of a database reads who is stopped for it, also where no unit would
// be replaced for another reason.
func TestRestoring_SaysWhoIsStopped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		runs    string
		changed []string
	}{
		"restores-beside-the-same-code": {"v2", []string{"etl", "worker", "api", "search"}},
		"restores-beside-other-code":    {"v1", []string{"etl", "worker", "api", "search"}},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed(c.runs), Back: true, RemoveOrphans: true, Made: []string{"search-1"}, FreeMemory: 5 << 30}
		limited(&in, 512<<20)
		in.Observed.Units["search"], in.Observed.Units["etl"] = running("search", "v2", 1, 1), running("etl", "v2", 1, 1)
		p := plan.Make(in)
		p.Reverse()
		was := p.String()
		told := p.Restoring(plan.Restore{Service: "db", Backup: "db-20260301T090000Z"}, []string{"worker", "api", "search", "etl"}, in.Desired)
		assert.ElementsMatch(t, c.changed, told.Changed(), name)
		assert.Equal(t, []string{"api-1", "api-2", "api-3"}, told.Step("api").Leftovers)
		assert.Equal(t, was, p.String(), "what is recorded and carried out is not this one")
		got, path := told.String(), filepath.Join("testdata", name+".txt")
		if *golden {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, string(want), got)
	}
}

// A database to which nothing that runs writes goes back all the same, and a job that is
// stopped for it is not run again.
func TestRestoring_IsNeverNothingToDo(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Back: true}
	in.Desired.Services["worker"].Job = true
	p := plan.Make(in)
	require.True(t, p.Empty())
	alone := p.Restoring(plan.Restore{Service: "db", Backup: "by-hand"}, nil, in.Desired)
	assert.False(t, alone.Empty())
	assert.Empty(t, alone.Changed())
	assert.Contains(t, alone.String(), "db       restore            backup by-hand\n")
	assert.NotContains(t, alone.String(), "nothing to do")
	job := p.Restoring(plan.Restore{Service: "db", Backup: "by-hand"}, []string{"worker"}, in.Desired)
	assert.Equal(t, []string{"worker"}, job.Changed())
	assert.Contains(t, job.Step("worker").Interruption, "nothing starts it again")
	gone := p.Restoring(plan.Restore{Service: "db", Backup: "by-hand"}, []string{"worker"}, &stack.Stack{})
	assert.Contains(t, gone.Step("worker").Interruption, "nothing starts it again")
}
