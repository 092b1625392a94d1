package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
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

	// A way back makes one that has died since, or is gone, anew: the link is of another unit then.
	for name, left := range map[string][]stack.Unit{"it died": {{ID: "db-1", Hash: "db-v1", State: stack.Exited}}, "it is gone": nil} {
		in = linked()
		in.Back, in.Observed.Units["db"] = true, left
		assert.Equal(t, []string{"restarts with db (links)"}, plan.Make(in).Step("worker").Reasons, name)
		in.Ill = []string{"db"}
		assert.Equal(t, plan.Unchanged, plan.Make(in).Step("worker").Action, "%s, as before: what was there stays, or comes up again", name)
		in.Ill, in.Back = nil, false
		assert.Equal(t, plan.Unchanged, plan.Make(in).Step("worker").Action, "%s, on the way forward", name)
	}

	in = linked()
	in.Interrupted, in.Observed = true, observed("v2")
	in.Past = map[string]plan.Past{"db": {Hash: "db-v1"}, "worker": {Hash: "worker-v2"}, "api": {Hash: "api-v2"}}
	in.Observed.Units["db"][0].Created, in.Observed.Units["worker"][0].Created = time.Unix(2000, 0), time.Unix(1000, 0)
	assert.Equal(t, []string{"restarts with db (links), which an interrupted release replaced"}, plan.Make(in).Step("worker").Reasons)
}

// What restarts with another comes after it on a way back as well: before it, it would
// be bound to the unit that goes.
func TestReverse_KeepsWhatRestartsBehind(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(in *plan.Input){
		"links":   func(*plan.Input) {},
		"restart": func(in *plan.Input) { in.Desired.Services["worker"].DependsOn[0] = restarting("db") },
		"shares":  func(in *plan.Input) { in.Desired.Services["worker"].Shares = []string{"db"} },
		"changed": func(in *plan.Input) { in.Observed.Units["worker"] = running("worker", "v1", 1, 1) },
	} {
		in := linked()
		edit(&in)
		// A service that restarts with one that restarts comes after both.
		in.Desired.Services["api"].DependsOn = append(in.Desired.Services["api"].DependsOn, restarting("worker"))
		in.Desired.Order = []string{"db", "worker", "api", "gateway"}
		p := plan.Make(in)
		p.Reverse()
		var order []string
		for _, s := range p.Steps {
			order = append(order, s.Service)
		}
		assert.Equal(t, []string{"gateway", "db", "worker", "api"}, order, name)
	}
}

// What has to be made anew comes behind what it is bound to as well, where that changes,
// and else before all that changes: something there may need it.
func TestReverse_MakesBehindWhatChangesUnderIt(t *testing.T) {
	t.Parallel()
	needs := func(name string) stack.Dependency { return stack.Dependency{Service: name, Required: true} }
	first := []string{"worker", "cache", "monitor", "gateway", "api", "db"}
	bound := []string{"cache", "db", "worker", "gateway", "monitor", "api"}
	for name, c := range map[string]struct {
		edit func(in *plan.Input)
		want []string
	}{
		"links":   {func(*plan.Input) {}, bound},
		"restart": {func(in *plan.Input) { in.Desired.Services["worker"].DependsOn[0] = restarting("db") }, bound},
		"shares":  {func(in *plan.Input) { in.Desired.Services["worker"].Shares = []string{"db"} }, bound},
		"two in a row": {func(in *plan.Input) {
			in.Desired.Services["monitor"].Shares, in.Observed.Units["monitor"] = []string{"worker"}, nil
		}, bound},
		"to one that is made": {func(in *plan.Input) { in.Observed.Units["db"] = nil },
			[]string{"db", "worker", "cache", "monitor", "gateway", "api"}},
		"to one that stays": {func(in *plan.Input) { in.Observed.Units["db"] = running("db", "v2", 1, 1) },
			first},
		"not bound": {func(in *plan.Input) { in.Desired.Services["worker"].DependsOn[0] = needs("db") },
			first},
		"in a loop, as on the way forward": {func(in *plan.Input) {
			in.Desired.Services["worker"].Ext.Gateway = "gateway"
			in.Desired.Services["worker"].DependsOn = append(in.Desired.Services["worker"].DependsOn, needs("gateway"))
		}, []string{"cache", "gateway", "api", "db", "worker", "monitor"}},
	} {
		in := linked()
		in.Back, in.Observed.Units["worker"], in.Observed.Units["api"] = true, nil, running("api", "v1", 1, 3)
		for _, other := range []string{"cache", "monitor"} {
			in.Desired.Services[other] = &stack.Service{Name: other, Hash: other + "-v2", Replicas: 1}
		}
		in.Desired.Services["api"].DependsOn = []stack.Dependency{needs("worker"), needs("cache")}
		in.Desired.Services["monitor"].DependsOn = []stack.Dependency{needs("worker")}
		in.Desired.Order = []string{"db", "worker", "cache", "api", "monitor", "gateway"}
		c.edit(&in)
		p := plan.Make(in)
		p.Reverse()
		var order []string
		for _, s := range p.Steps {
			order = append(order, s.Service)
		}
		assert.Equal(t, c.want, order, name)
	}
}

func restarting(with string) stack.Dependency {
	return stack.Dependency{Service: with, Condition: stack.Started, Restart: true, Required: true}
}
