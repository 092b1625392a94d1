package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// A job that others wait for is not run again on a way back, whatever is left of it
// and of the one that failed.
func TestBack_RunsNoJob(t *testing.T) {
	t.Parallel()
	for name, left := range map[string][]stack.Unit{
		"nothing":             nil,
		"that of the release": {{ID: "job-1", Service: "worker", State: stack.Exited, Hash: "worker-v2"}},
		"one of another":      {{ID: "job-2", Service: "worker", State: stack.Exited, Hash: "worker-v1"}},
		"one at work":         {{ID: "job-4", Service: "worker", State: stack.Running, Hash: "worker-v3"}},
		"one that went wrong": {{ID: "job-3", Service: "worker", State: stack.Exited, ExitCode: 1, Hash: "worker-v1"}},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v1"), Back: true}
		in.Desired.Services["worker"].Job = true
		in.Observed.Units["worker"] = left
		step := plan.Make(in).Step("worker")
		assert.Equal(t, plan.Unchanged, step.Action, name)
		assert.False(t, step.Changes(), name)

		in.Back = false
		if name == "one at work" {
			assert.Empty(t, step.Old)
			assert.Equal(t, []string{"a way back runs no job again; the newer one is at work yet"}, step.Reasons)
		} else if name != "that of the release" {
			assert.Equal(t, plan.Create, plan.Make(in).Step("worker").Action, "%s, on the way forward", name)
		}
	}
}
