package rollout_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// waitsTold gives the lines that say how a wait stands.
func waitsTold(told *event.Recorder) (texts []string) {
	for _, e := range told.Events() {
		if e.Level == event.Info && strings.Contains(e.Text, "so far") {
			texts = append(texts, e.Service+": "+e.Text)
		}
	}
	return texts
}

// A model takes minutes to load: who watches is told what is waited for, and how long it
// may take. What is fast says nothing.
func TestGate_AWaitIsTold(t *testing.T) {
	t.Parallel()
	check := &stack.Health{StartPeriod: 10 * time.Minute, Retries: 5, Interval: 30 * time.Second, Timeout: 10 * time.Second}
	for name, c := range map[string]struct {
		took    time.Duration // api-1 is healthy only then
		all     bool          // the others too
		created bool
		monitor time.Duration
		want    []string
	}{
		"fast": {took: 29 * time.Second},
		"slow": {took: 65 * time.Second, want: []string{
			"api: api-1 is running, its healthcheck has not passed yet, 30s so far, at most 13m20s",
			"api: api-1 is running, its healthcheck has not passed yet, 1m0s so far, at most 13m20s"}},
		"several": {took: 31 * time.Second, all: true, want: []string{
			"api: api-1 is running, its healthcheck has not passed yet (and 2 more of its units are waited for), 30s so far, at most 13m20s"}},
		"not even started": {took: 31 * time.Second, created: true, want: []string{
			"api: api-1 is created and does not run yet, 30s so far, at most 13m20s"}},
		"watched": {took: 3 * time.Second, monitor: 40 * time.Second, want: []string{
			"api: api-1 is healthy and watched for 40s (monitor) (and 2 more of its units are waited for), 30s so far"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, st, began := oldShop(), shop(stack.StartFirst, 0), time.Now()
				st.Services["api"].Health, st.Services["api"].Update.Monitor = check, c.monitor
				h.onLook = func(u *stack.Unit, _ int) {
					if u.ID != "api-1" && !c.all {
						return
					}
					if u.State, u.Health = stack.Running, stack.HealthOK; time.Since(began) >= c.took {
						return
					}
					if u.Health = stack.HealthStart; c.created {
						u.State = stack.Created
					}
				}
				told, err := follow(t, h, st, nil, plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: []string{"api-1", "api-2", "api-3"}})
				require.NoError(t, err)
				assert.Equal(t, c.want, waitsTold(told))
			})
		})
	}
}

func TestGate_AJobThatWorksIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, st, began := newFakeHost(), shop(stack.StartFirst, 0), time.Now()
		st.Services["api"].Job = true
		h.onLook = func(u *stack.Unit, _ int) {
			if time.Since(began) > 61*time.Second {
				u.State = stack.Exited
			}
		}
		told, err := follow(t, h, st, func(r *rollout.Rollout) { r.WaitTimeout = time.Hour }, plan.Step{Service: "api", Action: plan.Create, Replicas: 1, Batch: 1})
		require.NoError(t, err)
		assert.Equal(t, []string{
			"api: api-101 is running and its end is waited for, 30s so far, at most 1h0m0s",
			"api: api-101 is running and its end is waited for, 1m0s so far, at most 1h0m0s",
		}, waitsTold(told))
	})
}

// On the way back the old unit loads as long as the new one would have.
func TestGate_AnOldUnitThatComesBackIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, st := aloneHost(), alone("")
		var back time.Time
		h.onAct = func(act string) {
			if act == "restart api-1" {
				back = time.Now()
			}
		}
		h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
		h.onLook = func(u *stack.Unit, _ int) {
			if u.ID != "api-1" || back.IsZero() {
				return
			}
			if u.Health = stack.HealthStart; time.Since(back) > 31*time.Second {
				u.Health = stack.HealthOK
			}
		}
		told, err := follow(t, h, st, func(r *rollout.Rollout) { r.WaitTimeout = time.Minute },
			plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 1, Batch: 1, Old: []string{"api-1"}})
		require.ErrorContains(t, err, "is unhealthy")
		assert.Equal(t, []string{"api: api-1 is running, its healthcheck has not passed yet, 30s so far, at most 1m0s"}, waitsTold(told))
	})
}
