package plan_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// scheduled is a service of two units behind a gateway, as a Swarm runs it.
func scheduled(units ...stack.Unit) plan.Input {
	api := &stack.Service{Name: "api", Replicas: 2, Hash: "new", Pinned: "i", Update: stack.Update{Order: stack.StartFirst}, Ext: stack.Extension{Gateway: "nginx"}}
	seen := stack.Observed{Units: map[string][]stack.Unit{"api": units}, Scheduled: true}
	project := &types.Project{Name: "shop", Services: types.Services{"api": types.ServiceConfig{Name: "api"}}}
	st := &stack.Stack{Name: "shop", Order: []string{"api"}, Services: map[string]*stack.Service{"api": api}, Project: project}
	return plan.Input{Desired: st, Observed: seen}
}

func task(id, hash string) stack.Unit {
	return stack.Unit{ID: id, Name: id, Hash: hash, Image: "i", State: stack.Running, Health: stack.HealthOK}
}

// What a gateway has pinned says nothing about which tasks of a Swarm may stay: it is
// out of date, and healed.
func TestMake_PinsOfAScheduler(t *testing.T) {
	t.Parallel()
	in := scheduled(task("a", "new"), task("b", "new"))
	assert.Equal(t, plan.Unchanged, plan.Make(in).Step("api").Action)
	in.Serving = map[string][]string{"api": {"a"}}
	step := plan.Make(in).Step("api")
	assert.Equal(t, plan.Heal, step.Action)
	assert.Empty(t, step.Leftovers)
	assert.Len(t, step.Good, 2)
}

// A release that was cut off goes on by itself: new tasks beside old ones are none of
// ours to take away.
func TestMake_WhatACutOffReleaseLeftOnAScheduler(t *testing.T) {
	t.Parallel()
	in := scheduled(task("a", "new"), task("b", "old"))
	in.Interrupted = true
	step := plan.Make(in).Step("api")
	assert.Equal(t, plan.Surge, step.Action)
	assert.Empty(t, step.Leftovers)
}

func TestPrint_WhatIsBalancedByTheKernel(t *testing.T) {
	t.Parallel()
	in := scheduled(task("a", "old"), task("b", "old"))
	in.Observed.Units["nginx"] = []stack.Unit{{ID: "n", Service: "nginx", State: stack.Running}}
	assert.Contains(t, plan.Make(in).String(), "then nginx is switched")
	in.Desired.Services["api"].Virtual = true
	assert.Contains(t, plan.Make(in).String(), "no interruption: new units first, and the Swarm balances what serves")
}

// A node that joins a Swarm gets a task of what runs on every node: nobody changed that
// by hand.
func TestMake_ANodeThatJoinedIsNoDrift(t *testing.T) {
	t.Parallel()
	in := scheduled(task("a", "new"), task("b", "new"), task("c", "new"))
	in.Settled, in.Past = true, map[string]plan.Past{"api": {Hash: "new", Replicas: 2}}
	api := in.Desired.Services["api"]
	api.Replicas = 3
	assert.Len(t, plan.Make(in).Drift, 1, "one more of two")
	api.Global = true
	p := plan.Make(in)
	assert.Empty(t, p.Drift)
	assert.Empty(t, p.Refusals)
	assert.Equal(t, plan.Unchanged, p.Step("api").Action)
	in.Observed.Scheduled = false
	assert.Len(t, plan.Make(in).Drift, 1, "on one host there is one of it")
}

// How many tasks there are of what runs on every node a Swarm decides: a node that is paused
// keeps its task, and one that came or went since the nodes were counted is nothing to do.
func TestMake_NodesThatCameOrWent(t *testing.T) {
	t.Parallel()
	in := scheduled(task("a", "new"), task("b", "new"), task("c", "new"))
	api := in.Desired.Services["api"]
	api.Global = true
	for _, counted := range []int{0, 2, 4} {
		api.Replicas = counted
		step := plan.Make(in).Step("api")
		assert.Equal(t, plan.Unchanged, step.Action, counted)
		assert.Equal(t, 3, step.Replicas)
		assert.Empty(t, step.Reasons)
	}
	in.Observed.Units["api"][2].Health = stack.HealthStart
	step := plan.Make(in).Step("api")
	assert.Equal(t, plan.Scale, step.Action, "one that is not well is missing, which max_failure_ratio may forgive")
	assert.Equal(t, 1, step.Missing())
	in.Observed.Units["api"][2] = task("c", "old")
	assert.Equal(t, plan.Surge, plan.Make(in).Step("api").Action, "one is of another release")
	in.Observed.Units["api"] = nil
	step = plan.Make(in).Step("api")
	assert.Equal(t, plan.Create, step.Action)
	assert.Equal(t, 4, step.Replicas)
	in.Observed = stack.Observed{Units: map[string][]stack.Unit{"api": {task("a", "new"), task("b", "new")}}}
	assert.Equal(t, plan.Scale, plan.Make(in).Step("api").Action, "one host is one node")
}

// What a Swarm tries no more on a node is missing there. What it had given up before holds no
// release up, which would not change that; it is said.
func TestMake_ATaskThatASwarmHasGivenUp(t *testing.T) {
	t.Parallel()
	dead := stack.Unit{ID: "c", Name: "shop_api.w2.c", Node: "w2", Hash: "new", State: stack.Exited, ExitCode: 1, GivenUp: true}
	in := scheduled(task("a", "new"), task("b", "new"), dead)
	api := in.Desired.Services["api"]
	api.Global = true
	step := plan.Make(in).Step("api")
	assert.Equal(t, plan.Scale, step.Action)
	assert.Equal(t, 1, step.Missing(), "which max_failure_ratio may forgive")
	assert.Contains(t, step.Reasons, "3 units wanted, 2 run")
	assert.Contains(t, step.Reasons, "the Swarm tries shop_api.w2.c on node w2 no more")

	in.Gone = []string{"c"}
	p := plan.Make(in)
	assert.Equal(t, plan.Unchanged, p.Step("api").Action)
	const note = "the Swarm tries shop_api.w2.c on node w2 no more, since it failed as often as its restart policy allows; where that is mended, " +
		"all tasks begin anew with: docker service update --force shop_api"
	assert.Contains(t, p.Notes, note)
	api.Hash = "newer"
	p = plan.Make(in)
	assert.Equal(t, plan.Surge, p.Step("api").Action)
	assert.NotContains(t, p.Notes, note, "it begins anew")

	api.Hash, in.Observed.Units["api"] = "new", []stack.Unit{dead}
	assert.Equal(t, plan.Create, plan.Make(in).Step("api").Action, "nothing of it is left to interrupt")
}

// On a node that is paused a Swarm replaces nothing of what runs on every node: a release of
// that would wait for it in vain.
func TestMake_ANodeThatIsPaused(t *testing.T) {
	t.Parallel()
	held := task("c", "old")
	held.Name, held.Node, held.Held = "api.n3.c", "n3", true
	in := scheduled(task("a", "old"), task("b", "old"), held)
	in.Desired.Services["api"].Global = true
	assert.Equal(t, []string{"api is to be replaced on every node, and n3 is paused, where a Swarm replaces nothing: " +
		"docker node update --availability active n3 (or drain), or leave api out of services"}, plan.Make(in).Refusals)
	in.Back = true
	assert.Equal(t, []string{"api is to be replaced on every node, and n3 is paused, where a Swarm replaces nothing: " +
		"docker node update --availability active n3 (or drain)"}, plan.Make(in).Refusals, "a rollback is of all services")
	in.Back = false
	for i := range in.Observed.Units["api"] {
		in.Observed.Units["api"][i].Hash = "new"
	}
	assert.Empty(t, plan.Make(in).Refusals, "nothing of it changes")
}
