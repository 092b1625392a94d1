package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
)

// linked is a stack of which only the database changes, and the worker links to it.
func linked() plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Observed.Units["db"] = running("db", "v1", 1, 1)
	in.Desired.Services["worker"].DependsOn[0].Linked = true
	return in
}

// A link leads to the unit that was there when the other one was made.
func TestMake_RestartsWhatLinksToAReplacedOne(t *testing.T) {
	t.Parallel()
	step := plan.Make(linked()).Step("worker")
	assert.Equal(t, plan.StopFirst, step.Action)
	assert.Equal(t, []string{"restarts with db (links)"}, step.Reasons)

	in := linked()
	in.Observed.Scheduled = true
	assert.Equal(t, plan.Unchanged, plan.Make(in).Step("worker").Action, "a Swarm has no links")

	in = linked()
	in.Interrupted, in.Observed = true, observed("v2")
	in.Past = map[string]plan.Past{"db": {Hash: "db-v1"}, "worker": {Hash: "worker-v2"}, "api": {Hash: "api-v2"}}
	in.Observed.Units["db"][0].Created, in.Observed.Units["worker"][0].Created = time.Unix(2000, 0), time.Unix(1000, 0)
	assert.Equal(t, []string{"restarts with db (links), which an interrupted release replaced"}, plan.Make(in).Step("worker").Reasons)
}
