package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// Units that were told to take no more work are replaced on a way back as well, and no others.
func TestBack_RenewsWhoWasTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drains bool
		told   []string
		action plan.Action
		good   []string
	}{
		"one of two":         {true, []string{"worker-2"}, plan.Drain, []string{"worker-1"}},
		"both":               {true, []string{"worker-1", "worker-2"}, plan.Drain, nil},
		"nobody":             {true, nil, plan.Unchanged, []string{"worker-1", "worker-2"}},
		"one that is gone":   {true, []string{"worker-3"}, plan.Unchanged, []string{"worker-1", "worker-2"}},
		"it does not drain":  {false, []string{"worker-1"}, plan.Unchanged, []string{"worker-1", "worker-2"}},
		"another's unit was": {true, []string{"api-1"}, plan.Unchanged, []string{"worker-1", "worker-2"}},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Back: true, Told: c.told}
		in.Observed.Units["worker"] = running("worker", "v2", 1, 2)
		svc := in.Desired.Services["worker"]
		if svc.Replicas = 2; c.drains {
			svc.Ext.Idle = &stack.Idle{Stop: []string{"pause"}, Wait: []string{"idle"}, Budget: time.Minute}
		}
		p := plan.Make(in)
		step := p.Step("worker")
		assert.Equal(t, c.action, step.Action, name)
		assert.Equal(t, c.good, step.Good, name)
		assert.Equal(t, plan.Unchanged, p.Step("api").Action, name)
		if c.action == plan.Drain {
			assert.Equal(t, []string{"an interrupted release may have told it to take no more work"}, step.Reasons, name)
		}
	}
}

// Nobody is led to new units where nothing of their gateway runs, and the plan does not say
// that users notice nothing.
func TestAGatewayThatDoesNotRunSwitchesNothing(t *testing.T) {
	t.Parallel()
	for state, switched := range map[stack.State]bool{stack.Running: true, stack.Exited: false} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v1")}
		in.Observed.Units["gateway"][0].State = state
		text := plan.Make(in).String()
		assert.Equal(t, switched, strings.Contains(text, "then gateway is switched"), text)
		assert.Equal(t, !switched, strings.Contains(text, "nothing of gateway runs now that could be switched"), text)
	}
}
