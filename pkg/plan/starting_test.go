package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// What loads for ten minutes, or recovers from a crash, is not made to begin anew by a
// release that wants it as it is.
func TestMake_WaitsForWhatIsStarting(t *testing.T) {
	t.Parallel()
	starting := func() plan.Input {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
		for _, name := range []string{"db", "api"} {
			for i := range in.Observed.Units[name] {
				in.Observed.Units[name][i].Health = stack.HealthStart
			}
		}
		return in
	}
	p := plan.Make(starting())
	assert.Equal(t, `  db       gate               starting yet, and as it is to be: waited for, not replaced
  api      gate               starting yet, and as it is to be: waited for, not replaced
  gateway  unchanged
  worker   unchanged
`, p.String())
	assert.Empty(t, p.Step("db").Old)
	assert.Equal(t, []string{"api-1", "api-2", "api-3"}, p.Step("api").Good)
	assert.True(t, p.Step("api").Starting)

	in := starting()
	in.Interrupted, in.Past = true, map[string]plan.Past{"db": {Hash: "db-v1"}}
	assert.Equal(t, plan.Gate, plan.Make(in).Step("db").Action, "a run that was cancelled while it loaded")

	for name, c := range map[string]struct {
		edit func(*plan.Input)
		want plan.Action
	}{
		"another configuration": {func(in *plan.Input) { in.Observed.Units["api"] = units(running("api", "v1", 1, 3), stack.HealthStart) }, plan.Surge},
		"on another network":    {func(in *plan.Input) { in.Observed.Units["api"][1].Networks = []string{"former"} }, plan.Surge},
		"one of them is ill":    {func(in *plan.Input) { in.Observed.Units["api"][1].Health = stack.HealthFailed }, plan.Surge},
		"others serve":          {func(in *plan.Input) { in.Observed.Units["api"][1].Health = stack.HealthOK }, plan.Scale},
		"fewer than wanted":     {func(in *plan.Input) { in.Desired.Services["api"].Replicas = 4 }, plan.Surge},
		"an older one answers":  {func(in *plan.Input) { in.Observed.Units["api"][0].State = stack.Paused }, plan.Surge},
		"files are handed over": {func(in *plan.Input) { in.Live = map[string][]string{"api": {"/etc/api.yml"}} }, plan.Surge},
		"a way back":            {func(in *plan.Input) { in.Back = true }, plan.Surge},
		"what it restarts with": {func(in *plan.Input) {
			in.Observed.Units["db"] = running("db", "v1", 1, 1)
			in.Desired.Services["api"].DependsOn[0].Restart = true
		}, plan.Surge},
		"told to take no work": {func(in *plan.Input) {
			in.Interrupted = true
			in.Desired.Services["api"].Ext.Idle = &stack.Idle{Budget: time.Minute}
		}, plan.Surge},
	} {
		in := starting()
		c.edit(&in)
		step := plan.Make(in).Step("api")
		assert.Equal(t, c.want, step.Action, name)
		assert.False(t, step.Starting, name)
		assert.NotContains(t, step.Reasons, "starting yet, and as it is to be: waited for, not replaced", name)
	}
}

// units gives units another health.
func units(of []stack.Unit, health stack.UnitHealth) []stack.Unit {
	for i := range of {
		of[i].Health = health
	}
	return of
}
