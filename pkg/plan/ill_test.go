package plan_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// What was ill before and is as it is to be comes last and is passed over; it has to get
// well where the release is about it.
func TestMake_PassesOverWhatWasIllBefore(t *testing.T) {
	t.Parallel()
	ill := func() plan.Input {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Whole: true, Past: map[string]plan.Past{}}
		in.Observed.Units["api"] = running("api", "v1", 1, 3)
		for name, svc := range in.Desired.Services {
			in.Past[name] = plan.Past{Hash: svc.Hash}
		}
		in.Past["api"] = plan.Past{Hash: "api-v1"}
		in.Observed.Units["worker"][0].State = stack.Restarting
		return in
	}
	in := ill()
	in.Desired.Order = []string{"worker", "db", "api", "gateway"}
	p := plan.Make(in)
	assert.True(t, p.Step("worker").Tolerated)
	assert.Equal(t, "worker", p.Steps[len(p.Steps)-1].Service, "after what changes")
	p.Reverse()
	assert.Equal(t, "worker", p.Steps[len(p.Steps)-1].Service, "also on a way back")

	// After a run that was cut off a rollback comes to what it goes back for before it tries that.
	in = ill()
	in.Whole, in.Back = false, true
	p = plan.Make(in)
	p.Reverse()
	assert.Equal(t, "worker", p.Steps[len(p.Steps)-1].Service)
	assert.False(t, p.Step("api").Tolerated, "what it goes back for has to get well")

	in = ill()
	in.Ill, in.Back = []string{"worker"}, true
	assert.False(t, plan.Make(in).Step("worker").Anew, "it is as it was, and started again")
	in.Observed.Units["worker"][0].State = stack.Exited
	assert.True(t, plan.Make(in).Step("worker").Anew, "stopped for a restore: nobody would start it again")

	for name, c := range map[string]struct {
		edit           func(*plan.Input)
		ill, tolerated bool
	}{
		"unhealthy": {func(in *plan.Input) {
			in.Observed.Units["worker"][0].State, in.Observed.Units["worker"][0].Health = stack.Running, stack.HealthFailed
		}, true, true},
		"ended":                      {func(in *plan.Input) { in.Observed.Units["worker"][0].State = stack.Exited }, true, true},
		"ended, by whom is not told": {func(in *plan.Input) { in.Observed.Units["worker"][0].State, in.Whole = stack.Exited, false }, false, false},
		"a run that was cut off may have broken it": {func(in *plan.Input) { in.Whole = false }, false, false},
		"it is starting, and may get well": {func(in *plan.Input) {
			in.Observed.Units["worker"][0].State, in.Observed.Units["worker"][0].Health = stack.Running, stack.HealthStart
		}, false, false},
		"it serves":       {func(in *plan.Input) { in.Observed.Units["worker"][0].State = stack.Running }, false, false},
		"another made it": {func(in *plan.Input) { in.Past["worker"] = plan.Past{Hash: "worker-v1"} }, false, false},
		"it is to be mended": {func(in *plan.Input) {
			in.Past["worker"] = plan.Past{Hash: "worker-v1"}
			in.Observed.Units["worker"][0].Hash = "worker-v1"
		}, true, false},
		"its files change": {func(in *plan.Input) { in.Live = map[string][]string{"worker": {"/etc/worker.yml"}} }, true, false},
		"nothing else changes": {func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Observed.Units["worker"][0].State = stack.Restarting
		}, true, false},
		"it is asked for":       {func(in *plan.Input) { in.Only = []string{"worker", "api"} }, true, false},
		"nothing of it is left": {func(in *plan.Input) { delete(in.Observed.Units, "worker") }, false, false},
		"but it was ill": {func(in *plan.Input) {
			delete(in.Observed.Units, "worker")
			in.Ill, in.Back, in.Past, in.Only = []string{"worker"}, true, nil, []string{"worker"}
		}, true, true},
		"a way back to another of it": {func(in *plan.Input) {
			in.Ill, in.Back, in.Past, in.Only = []string{"worker"}, true, nil, []string{"worker"}
			in.Observed.Units["worker"][0].Hash = "worker-v3"
		}, true, true},
		"a way back from one that got well": {func(in *plan.Input) {
			in.Ill, in.Back, in.Past, in.Only = []string{"worker"}, true, nil, []string{"worker"}
			in.Observed.Units["worker"] = running("worker", "v1", 1, 1)
		}, false, false},
		"a rollback after a run that was cut off": {func(in *plan.Input) { in.Whole, in.Back = false, true }, true, true},
		"one that has brought a database back":    {func(in *plan.Input) { in.Back, in.Begun = true, true }, false, false},
		"one of nothing else": {func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Observed.Units["worker"][0].State = stack.Restarting
			in.Whole, in.Back = false, true
		}, true, false},
		"one to another of it": {func(in *plan.Input) {
			in.Past["worker"] = plan.Past{Hash: "worker-v1"}
			in.Observed.Units["worker"][0].Hash = "worker-v1"
			in.Whole, in.Back = false, true
		}, false, false},
		"one of what that run may have stopped": {func(in *plan.Input) {
			in.Observed.Units["worker"][0].State = stack.Exited
			in.Whole, in.Back = false, true
		}, false, false},
		"one that finds it on another network": {func(in *plan.Input) {
			u := &in.Observed.Units["worker"][0]
			u.State, u.Health, u.Networks = stack.Running, stack.HealthFailed, []string{"former"}
			in.Whole, in.Back = false, true
		}, false, false},
		"a rollback to another of it": {func(in *plan.Input) {
			in.Past["worker"] = plan.Past{Hash: "worker-v1"}
			in.Observed.Units["worker"][0].Hash, in.Back = "worker-v1", true
		}, true, true},
		"behind a gateway, which would not find it": {func(in *plan.Input) {
			in.Past["worker"] = plan.Past{Hash: "worker-v1"}
			in.Observed.Units["worker"][0].Hash, in.Back = "worker-v1", true
			in.Desired.Services["worker"].Ext.Gateway = "gateway"
		}, true, false},
		"that one of a Swarm, which takes it back itself": {func(in *plan.Input) {
			in.Past["worker"] = plan.Past{Hash: "worker-v1"}
			in.Observed.Units["worker"][0].Hash, in.Back, in.Observed.Scheduled = "worker-v1", true, true
		}, true, false},
		"it runs once": {func(in *plan.Input) { in.Desired.Services["worker"].Job = true }, false, false},
	} {
		in := ill()
		c.edit(&in)
		step := plan.Make(in).Step("worker")
		assert.Equal(t, c.ill, step.Ill, name)
		assert.Equal(t, c.tolerated, step.Tolerated, name)
	}
}

// The unit of a service that shares another's network has a hash that no record knows: it was
// ill before all the same. What is bound to a unit that goes cannot come back as it was.
func TestMake_PassesOverWhatSharesAnothersNetwork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit                 func(*plan.Input)
		ill, tolerated, anew bool
	}{
		"it is as it was":        {func(*plan.Input) {}, true, true, false},
		"beside another unit":    {func(in *plan.Input) { in.Desired.Services["worker"].Made = "of another" }, false, false, false},
		"the release changes it": {func(in *plan.Input) { in.Past["worker"] = plan.Past{Hash: "worker-v1", Sharing: true} }, false, false, false},
		"the other is replaced":  {func(in *plan.Input) { in.Observed.Units["db"] = running("db", "v1", 1, 1) }, true, false, false},
		"the other is replaced on the way back": {func(in *plan.Input) {
			in.Observed.Units["db"], in.Back, in.Ill = running("db", "v1", 1, 1), true, []string{"worker"}
		}, true, true, true},
		"only volumes of the one that is replaced": {func(in *plan.Input) {
			in.Observed.Units["db"] = running("db", "v1", 1, 1)
			in.Desired.Project.Services["worker"] = types.ServiceConfig{ContainerSpec: types.ContainerSpec{VolumesFrom: []string{"db"}}}
		}, true, true, false},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Whole: true, Past: map[string]plan.Past{"worker": {Hash: "worker-v2", Sharing: true}}}
		in.Observed.Units["api"] = running("api", "v1", 1, 3)
		in.Desired.Services["worker"].Shares, in.Desired.Services["worker"].Made = []string{"db"}, "of the container"
		in.Desired.Project.Services["worker"] = types.ServiceConfig{ContainerSpec: types.ContainerSpec{NetworkMode: "service:db"}}
		u := &in.Observed.Units["worker"][0]
		u.Hash, u.State, u.Health = "of the container", stack.Running, stack.HealthFailed
		c.edit(&in)
		step := plan.Make(in).Step("worker")
		assert.Equal(t, []bool{c.ill, c.tolerated, c.anew}, []bool{step.Ill, step.Tolerated, step.Anew}, name)
	}
}
