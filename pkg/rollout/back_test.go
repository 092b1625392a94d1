package rollout_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// Who bounds a rollout asks how long the file allows each step.
func TestLongest(t *testing.T) {
	t.Parallel()
	surge := plan.Step{Action: plan.Surge, Replicas: 3, Batch: 2}
	for name, c := range map[string]struct {
		step plan.Step
		svc  stack.Service
		want time.Duration
	}{
		"start and stop, two batches and what is left": {surge, stack.Service{StopGrace: time.Minute}, 3 * (2*30*time.Second + 2*time.Minute)},
		"no longer than wait-timeout":                  {surge, stack.Service{Health: &stack.Health{StartPeriod: 10 * time.Minute}}, 3 * 2 * 5 * time.Minute},
		"requests end":                                 {surge, stack.Service{Ext: stack.Extension{Gateway: "nginx"}}, 3 * 2 * (30*time.Second + time.Minute)},
		"work ends": {plan.Step{Action: plan.Drain, Replicas: 1, Batch: 1},
			stack.Service{StopGrace: 31 * time.Minute, Ext: stack.Extension{Idle: &stack.Idle{Budget: 10 * time.Minute}}}, 2 * (time.Minute + 72*time.Minute)},
		"what left the stack": {plan.Step{Action: plan.Remove}, stack.Service{StopGrace: time.Minute}, 2 * (30*time.Second + time.Minute + time.Minute)},
	} {
		how := rollout.How{WaitTimeout: 5 * time.Minute}
		if c.svc.Health == nil {
			how = rollout.How{}
		}
		assert.Equal(t, c.want, rollout.Longest(c.step, &c.svc, how), name)
	}
}

// A service that a failed batch left as it was is told as undone, and no other.
func TestRun_TellsWhatIsAsItWas(t *testing.T) {
	t.Parallel()
	for _, order := range []stack.Order{stack.StartFirst, stack.StopFirst} {
		for _, parallelism := range []int{0, 1} {
			clean := oldShop()
			_, err := carry(t.Context(), clean, shop(order, parallelism))
			require.NoError(t, err)
			undone := 0
			for at := range clean.log {
				h := oldShop()
				n := -1
				h.onAct = func(act string) {
					if n++; n == at {
						h.fail[act] = errBroken
					}
				}
				report, err := carry(t.Context(), h, shop(order, parallelism))
				require.Error(t, err)
				require.Equal(t, []string{"api"}, report.Touched)
				if len(report.Undone) == 0 {
					continue
				}
				undone++
				assert.Equal(t, []string{"api"}, report.Undone)
				assert.Len(t, h.units, 4, "%s %d: act %d %q", order, parallelism, at, clean.log[at])
				for _, id := range []string{"api-1", "api-2", "api-3"} {
					require.Contains(t, h.units, id)
					assert.Equal(t, stack.Running, h.units[id].State)
				}
			}
			assert.GreaterOrEqual(t, undone, 4)
		}
	}
}
