package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// jobUnit is what is left of a job: a unit that ended with a code.
func jobUnit(number, exit int, hash string) stack.Unit {
	id := "job-" + string(rune('0'+number))
	return stack.Unit{ID: id, Name: "shop-" + id, Service: "worker", Number: number, State: stack.Exited, Health: stack.NoHealth, ExitCode: exit, Hash: hash}
}

// A job is done where it ended with 0, and only there: one that was killed, or of which
// nobody knows how it ended, runs again. What failed beside what did it again is taken away.
func TestMake_AJobIsDoneWhereItEndedWell(t *testing.T) {
	t.Parallel()
	const ours, other = "worker-v2", "worker-v1"
	dead := jobUnit(1, 0, ours)
	dead.State = stack.Dead
	for name, c := range map[string]struct {
		left      []stack.Unit
		replicas  int
		scheduled bool
		action    plan.Action
		good      []string
		leftovers []string
		missing   int
	}{
		"done":                                {left: []stack.Unit{jobUnit(1, 0, ours)}, action: plan.Unchanged, good: []string{"job-1"}},
		"failed":                              {left: []stack.Unit{jobUnit(1, 1, ours)}, action: plan.Create, leftovers: []string{"job-1"}, missing: 1},
		"stopped":                             {left: []stack.Unit{jobUnit(1, 143, ours)}, action: plan.Create, leftovers: []string{"job-1"}, missing: 1},
		"not known":                           {left: []stack.Unit{jobUnit(1, -1, ours)}, action: plan.Create, leftovers: []string{"job-1"}, missing: 1},
		"dead":                                {left: []stack.Unit{dead}, action: plan.Create, leftovers: []string{"job-1"}, missing: 1},
		"of another configuration":            {left: []stack.Unit{jobUnit(1, 0, other)}, action: plan.Create, leftovers: []string{"job-1"}, missing: 1},
		"failed, then done":                   {left: []stack.Unit{jobUnit(1, 1, ours), jobUnit(2, 0, ours)}, action: plan.Heal, good: []string{"job-2"}, leftovers: []string{"job-1"}},
		"done after another one":              {left: []stack.Unit{jobUnit(1, 0, other), jobUnit(2, 0, ours)}, action: plan.Heal, good: []string{"job-2"}, leftovers: []string{"job-1"}},
		"two, both done":                      {left: []stack.Unit{jobUnit(1, 0, ours), jobUnit(2, 0, ours)}, replicas: 2, action: plan.Unchanged, good: []string{"job-1", "job-2"}},
		"two, one failed":                     {left: []stack.Unit{jobUnit(1, 0, ours), jobUnit(2, 1, ours)}, replicas: 2, action: plan.Scale, good: []string{"job-1"}, leftovers: []string{"job-2"}, missing: 1},
		"two, one taken away":                 {left: []stack.Unit{jobUnit(1, 0, ours)}, replicas: 2, action: plan.Unchanged, good: []string{"job-1"}, missing: 1},
		"a Swarm's task that failed, and did": {left: []stack.Unit{jobUnit(1, 1, ours), jobUnit(2, 0, ours)}, scheduled: true, action: plan.Unchanged, good: []string{"job-2"}, leftovers: []string{"job-1"}},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
		in.Observed.Scheduled, in.Observed.Units["worker"] = c.scheduled, c.left
		in.Desired.Services["worker"].Job = true
		if c.replicas > 0 {
			in.Desired.Services["worker"].Replicas = c.replicas
		}
		step := plan.Make(in).Step("worker")
		assert.Equal(t, c.action, step.Action, name)
		assert.Equal(t, c.good, step.Good, name)
		assert.Equal(t, c.leftovers, step.Leftovers, name)
		assert.Equal(t, c.missing, step.Missing(), name)
		if step.Replaces() {
			assert.Equal(t, c.missing, step.Batch, name)
		}

		in.Back = true
		assert.Equal(t, plan.Unchanged, plan.Make(in).Step("worker").Action, "%s, on a way back", name)
	}
}

// A job of the version before that ended well is no leftover of a release that was cut off.
func TestMake_AJobOfANewVersionSaysWhatChanged(t *testing.T) {
	t.Parallel()
	const dead = "1 unit of an interrupted release or dead"
	was := running("worker", "v1", 1, 1)[0]
	was.State, was.Health = stack.Exited, stack.NoHealth
	failed := was
	failed.ID, failed.Number, failed.ExitCode = "job-2", 2, 1
	for name, c := range map[string]struct {
		left []stack.Unit
		want []string
	}{
		"it ended well":       {[]stack.Unit{was}, []string{"image registry.example/worker@sha256:111111111111 -> registry.example/worker:v2; runs again"}},
		"one beside it died":  {[]stack.Unit{was, failed}, []string{"image registry.example/worker@sha256:111111111111 -> registry.example/worker:v2; runs again", dead}},
		"it failed":           {[]stack.Unit{failed}, []string{dead}},
		"another did it anew": {[]stack.Unit{was, jobUnit(3, 0, "worker-v2")}, []string{dead}},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
		in.Desired.Services["worker"].Job, in.Observed.Units["worker"] = true, c.left
		assert.Equal(t, c.want, plan.Make(in).Step("worker").Reasons, name)
	}
}

// What a job did is gone where the database was brought back to a backup from before it.
func TestMake_AJobWhoseWorkWentRunsAgain(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Lost: []string{"job-1"}}
	in.Desired.Services["worker"].Job = true
	in.Observed.Units["worker"] = []stack.Unit{jobUnit(1, 0, "worker-v2")}
	step := plan.Make(in).Step("worker")
	assert.Equal(t, plan.Create, step.Action)
	assert.Equal(t, []string{"job-1"}, step.Leftovers)
	assert.Equal(t, []string{"what it did is gone: a database was brought back to a backup from before"}, step.Reasons)

	in.Back = true
	assert.Equal(t, plan.Unchanged, plan.Make(in).Step("worker").Action, "a way back runs no job")
	in.Back = false
	in.Observed.Units["worker"] = []stack.Unit{jobUnit(1, 0, "worker-v2"), jobUnit(2, 0, "worker-v2")}
	step = plan.Make(in).Step("worker")
	assert.Equal(t, plan.Heal, step.Action, "it was done again by a run that was cut off then")
	assert.Equal(t, []string{"job-2"}, step.Good)
	assert.Equal(t, []string{"1 unit of an interrupted release or dead"}, step.Reasons)
}
