package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// A new version may come with another number of units, by mistake too: how many run is said.
func TestMake_ScalingBesideANewVersionIsTold(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v1")}
	in.Observed.Units["api"] = running("api", "v1", 1, 5)
	in.Desired.Services["api"].Replicas = 2
	step := plan.Make(in).Step("api")
	assert.Equal(t, plan.Surge, step.Action)
	assert.Equal(t, []string{"image registry.example/api@sha256:111111111111 -> registry.example/api:v2", "2 units wanted, 5 run"}, step.Reasons)

	in.Desired.Services["api"].Replicas = 5
	assert.Len(t, plan.Make(in).Step("api").Reasons, 1, "as many as run")
}

// Some at a time are away only where others serve meanwhile.
func TestMake_SaysWhoServesMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		run, dead        int
		good, replicas   int
		parallelism, mem int
		want             string
	}{
		"one by one":                       {run: 3, replicas: 3, parallelism: 1, want: "1 of 3 units at a time"},
		"all at once":                      {run: 3, replicas: 3, want: "until the new units are well"},
		"the only one of two to be":        {run: 1, replicas: 2, parallelism: 1, want: "until the new units are well"},
		"the only one that has not died":   {run: 1, dead: 2, replicas: 3, parallelism: 1, want: "until the new units are well"},
		"two of three serve":               {run: 2, dead: 1, replicas: 3, parallelism: 1, want: "1 of 2 units at a time"},
		"fewer are to be":                  {run: 5, replicas: 3, parallelism: 2, want: "2 of 3 units at a time"},
		"fewer, and one serves as it is":   {run: 3, good: 1, replicas: 2, parallelism: 1, want: "1 of 2 units at a time"},
		"the last of the old, new serves":  {run: 1, good: 1, replicas: 3, want: "1 of 2 units at a time"},
		"more at a time than there are":    {run: 2, replicas: 5, parallelism: 3, want: "until the new units are well"},
		"no memory for one beside it":      {run: 1, replicas: 2, mem: 1, want: "until the new units are well"},
		"no memory, and the others serve":  {run: 3, replicas: 3, mem: 1, want: "1 of 3 units at a time"},
		"of two one, as nobody is to stay": {run: 2, replicas: 1, parallelism: 1, want: "until the new units are well"},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v1"), Only: []string{"api"}}
		api := in.Desired.Services["api"]
		api.Replicas, api.Update.Order, api.Update.Parallelism = c.replicas, stack.StopFirst, c.parallelism
		if c.mem > 0 {
			api.Update.Order, in.FreeMemory = stack.StartFirst, 1<<30
			limited(&in, 4<<30)
		}
		units := append(running("api", "v1", 1, c.run+c.dead), running("api", "v2", 10, c.good)...)
		for i := range c.dead {
			units[c.run+i].State = stack.Exited
		}
		in.Observed.Units["api"] = units
		assert.Equal(t, c.want+": stops before it starts", plan.Make(in).Step("api").Interruption, name)
	}
}

// Users notice that nothing is left of a service, scaled to none or taken away.
func TestMake_SaysThatAServiceIsTakenAway(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2"} {
		in := plan.Input{Desired: quickstart(), Observed: observed(version), Away: map[string]time.Duration{"api": time.Minute}}
		in.Desired.Services["api"].Replicas = 0
		step := plan.Make(in).Step("api")
		assert.Equal(t, plan.Scale, step.Action)
		assert.Equal(t, "it is taken away", step.Interruption)
		assert.Zero(t, step.InterruptionSeconds, "it does not come back")
		in.Desired.Services["api"].Replicas = 1
		assert.NotEqual(t, "it is taken away", plan.Make(in).Step("api").Interruption)
	}
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Observed.Units["legacy"] = running("legacy", "v1", 1, 2)
	assert.Empty(t, plan.Make(in).Step("legacy").Interruption, "it stays")
	in.RemoveOrphans = true
	assert.Equal(t, "it is taken away", plan.Make(in).Step("legacy").Interruption)
	for i := range in.Observed.Units["legacy"] {
		in.Observed.Units["legacy"][i].State = stack.Exited
	}
	assert.Equal(t, plan.Remove, plan.Make(in).Step("legacy").Action)
	assert.Empty(t, plan.Make(in).Step("legacy").Interruption, "nobody had it")
}
