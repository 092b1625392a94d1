package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

func TestGate(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: []string{"api-1", "api-2", "api-3"}}
	ill := func(at int, make func(u *stack.Unit)) func(u *stack.Unit, n int) {
		return func(u *stack.Unit, n int) {
			if u.ID == "api-2" && n >= at {
				make(u)
			}
		}
	}
	for name, c := range map[string]struct {
		look  func(u *stack.Unit, n int)
		wait  time.Duration
		fails string
	}{
		"well and stays well":         {},
		"restarted before it is seen": {look: ill(1, func(u *stack.Unit) { u.Restarts = 7 }), fails: "api-2 restarted 7 times"},
		"killed before it is seen":    {look: ill(1, func(u *stack.Unit) { u.OOMKilled = true }), fails: "api-2 was killed because it needs more memory than its limit"},
		"slow to become healthy":      {look: ill(1, func(u *stack.Unit) { u.Health = stack.HealthStart }), wait: 200 * time.Millisecond, fails: "api-2 is not healthy after 200ms (it is running, health starting)"},
		"more memory than its limit":  {look: ill(2, func(u *stack.Unit) { u.OOMKilled = true }), fails: "api-2 was killed because it needs more memory than its limit"},
		"in a loop of restarts":       {look: ill(1, func(u *stack.Unit) { u.State, u.ExitCode = stack.Restarting, 3 }), fails: "api-2 restarted 0 times (last exit code 3)"},
		"ended":                       {look: ill(1, func(u *stack.Unit) { u.State, u.ExitCode = stack.Dead, 9 }), fails: "api-2 ended with exit code 9"},
		"unhealthy":                   {look: ill(1, func(u *stack.Unit) { u.Health = stack.HealthFailed }), fails: "api-2 is unhealthy"},
		"dies while it is watched":    {look: ill(2, func(u *stack.Unit) { u.State, u.ExitCode = stack.Exited, 1 }), fails: "api-2 ended with exit code 1 within the 300ms it is watched"},
		"restarts while watched":      {look: ill(2, func(u *stack.Unit) { u.StartedAt = time.Unix(9, 0) }), fails: "api-2 was restarted within the 300ms"},
		"loses its health in between": {look: ill(2, func(u *stack.Unit) { u.Health = stack.HealthStart }), fails: "api-2 turned from healthy to starting within the 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, st := oldShop(), shop(stack.StartFirst, 0)
			h.onLook = c.look
			st.Services["api"].Update.Monitor = 300 * time.Millisecond
			told, err := follow(t, h, st, func(r *rollout.Rollout) { r.WaitTimeout = c.wait }, step)
			if c.fails == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.fails)
			var tails []string
			for _, e := range told.Events() {
				if e.Output != "" {
					tails = append(tails, e.Output)
				}
			}
			assert.Equal(t, []string{"last words of api-2"}, tails, "the log of the one that failed is kept, and no other")
		})
	}
}

// Who is told that a unit was not healthy in time is told which limit that was: a longer
// start_period changes nothing where wait-timeout is the shorter.
func TestGate_WhichLimitItWas(t *testing.T) {
	t.Parallel()
	for wait, words := range map[time.Duration]string{
		time.Minute:      "api-1 is not healthy after 1m0s (it is running, health starting); the limit is wait-timeout, its healthcheck may take 13m20s: give the release a longer one",
		20 * time.Minute: "api-1 is not healthy after 13m20s (it is running, health starting); the limit is start_period + retries x (interval + timeout) of its healthcheck",
		0:                "not healthy after 13m20s (it is running, health starting); the limit is start_period",
	} {
		synctest.Test(t, func(t *testing.T) {
			h, st := newFakeHost(unit("api", 1, "old"), unit("gateway", 9, "same")), alone("")
			st.Services["api"].Health = &stack.Health{StartPeriod: 10 * time.Minute, Retries: 5, Interval: 30 * time.Second, Timeout: 10 * time.Second}
			h.onLook = func(u *stack.Unit, _ int) { u.Health = stack.HealthStart }
			_, err := follow(t, h, st, func(r *rollout.Rollout) { r.WaitTimeout = wait },
				plan.Step{Service: "api", Action: plan.Gate, Replicas: 1, Good: []string{"api-1"}})
			require.ErrorContains(t, err, words)
		})
	}
}

// A program that has to run once is a job only where a service waits for its end: who
// wrote nothing of it is told what to write.
func TestGate_WhatEndsWell(t *testing.T) {
	t.Parallel()
	for code, hint := range map[int]string{
		0: "if that is all it has to do, let a service wait for it: `depends_on: {api: {condition: service_completed_successfully}}`",
		1: "",
	} {
		for at, says := range map[int]string{1: "", 2: " within the 300ms it is watched after becoming healthy (monitor)"} {
			h, st := oldShop(), shop(stack.StartFirst, 0)
			st.Services["api"].Update.Monitor = 300 * time.Millisecond
			h.onLook = func(u *stack.Unit, n int) {
				if u.ID == "api-2" && n >= at {
					u.State, u.ExitCode = stack.Exited, code
				}
			}
			_, err := follow(t, h, st, nil, plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: []string{"api-1", "api-2", "api-3"}})
			require.ErrorContains(t, err, fmt.Sprintf("api-2 ended with exit code %d%s", code, says))
			assert.Equal(t, code == 0, strings.Contains(err.Error(), "and no service waits for its end"), err)
			assert.Equal(t, hint, fault.Hint(err))
			assert.Equal(t, fault.Failed, fault.Of(err))
		}
	}
}

// Many a program logs nothing of why its healthcheck fails; the check itself says it.
// A database that recovers from a crash restarted, and a run that was cut off saw nobody
// through. Whoever waits for them looks at what they do from then on.
func TestGate_WhatIsStarting(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: []string{"api-1", "api-2", "api-3"}, Starting: true}
	for restarts, fails := range map[int]bool{1: false, 2: true} {
		h, st := oldShop(), shop(stack.StartFirst, 0)
		h.onLook = func(u *stack.Unit, n int) {
			if u.Restarts, u.Health = 1, stack.HealthStart; n > 2 {
				u.Restarts, u.Health = restarts, stack.HealthOK
			}
		}
		_, err := follow(t, h, st, func(r *rollout.Rollout) { r.WaitTimeout = 5 * time.Second }, step)
		assert.Equal(t, fails, err != nil, "%v", err)
	}
}

func TestGate_WhatTheHealthcheckPrintedIsTold(t *testing.T) {
	t.Parallel()
	h, st := oldShop(), shop(stack.StartFirst, 0)
	h.onLook = func(u *stack.Unit, _ int) {
		if u.ID == "api-2" {
			u.Health, u.Probes = stack.HealthFailed, []stack.HealthProbe{{OK: true, Output: "fine"}, {Output: "HTTP Error 500 for hunter2-and-more\n"}}
		}
	}
	st.Services["api"].Environment = map[string]string{"API_PASSWORD": "hunter2-and-more"}
	h.words = ": cannot log in with hunter2-and-more"
	told, err := follow(t, h, st, nil, plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: []string{"api-1", "api-2", "api-3"}})
	require.ErrorContains(t, err, "api-2 is unhealthy")
	var tails []string
	for _, e := range told.Events() {
		if e.Output != "" {
			tails = append(tails, e.Text+": "+e.Output)
		}
	}
	assert.Equal(t, []string{"last answer of its healthcheck: HTTP Error 500 for ***", "last lines of the failed unit: last words of api-2: cannot log in with ***"}, tails)
}

func TestJob(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "api", Action: plan.Create, Replicas: 1, Batch: 1}
	for name, c := range map[string]struct {
		look  func(u *stack.Unit, n int)
		fails string
	}{
		"ends with 0": {look: func(u *stack.Unit, n int) {
			if n == 2 {
				u.State = stack.Exited
			}
		}},
		"ends with another": {look: func(u *stack.Unit, _ int) { u.State, u.ExitCode = stack.Exited, 4 }, fails: "api-101 ended with exit code 4"},
		"does not end":      {fails: "api-101 has not ended after 300ms, but others wait for it with service_completed_successfully; the limit is wait-timeout: give the release a longer one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, st := newFakeHost(), shop(stack.StartFirst, 0)
			st.Services["api"].Job, h.onLook = true, c.look
			_, err := follow(t, h, st, func(r *rollout.Rollout) { r.WaitTimeout = 300 * time.Millisecond }, step)
			if c.fails == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.fails)
				assert.Empty(t, h.units, "what failed is taken away again")
			}
		})
	}
}

func TestRun_ToleratesFailuresWithinMaxFailureRatio(t *testing.T) {
	t.Parallel()
	for _, ill := range []func(*stack.Unit){
		func(u *stack.Unit) { u.State = stack.Exited },
		func(u *stack.Unit) { u.Health = stack.HealthFailed },
	} {
		st := shop(stack.StartFirst, 0)
		st.Services["api"].Update.MaxFailureRatio = 0.4
		h := oldShop()
		h.onStart = func(u *stack.Unit) {
			if u.ID == "api-102" {
				ill(u)
			}
		}
		_, err := carry(t.Context(), h, st)
		require.NoError(t, err)
		assert.Equal(t, []string{"10.0.0.101", "10.0.0.103"}, h.loaded["api"], "a failed unit gets no requests")
		assert.Contains(t, h.units, "api-102", "it can be looked at")
		_, err = fakeGateway{fakeHost: h, unit: "gateway-9"}.Reload(t.Context())
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"10.0.0.101", "10.0.0.103"}, h.loaded["api"], "not even when somebody reloads the gateway")

		h.onStart = nil
		_, err = carry(t.Context(), h, st)
		require.NoError(t, err)
		assert.NotContains(t, h.units, "api-102", "the next release replaces it")
		assert.Len(t, h.units, 4)
	}
}

// A cancelled gate has seconds, and its units did not fail.
func TestGate_CancelledTailsNobody(t *testing.T) {
	t.Parallel()
	h, st := oldShop(), shop(stack.StartFirst, 0)
	st.Services["api"].Update.Monitor = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	h.onLook = func(_ *stack.Unit, n int) {
		if n == 2 {
			cancel()
		}
	}
	told := &event.Recorder{}
	r := &rollout.Rollout{Stack: st, Units: h, Eyes: h, Ground: h, Sink: told, How: rollout.How{Guard: func(context.Context) error { return nil }},
		Gateway: h.gateway}
	_, err := r.Run(ctx, &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Gate, Replicas: 3, Good: []string{"api-1", "api-2", "api-3"}}}})
	require.ErrorIs(t, err, context.Canceled)
	for _, e := range told.Events() {
		assert.Empty(t, e.Output, e.Text)
	}
}

// Where nothing is to be read of a unit that failed, that is told.
func TestGate_NothingToRead(t *testing.T) {
	t.Parallel()
	for says, err := range map[string]error{"the failed unit has logged nothing": nil, "cannot be read: too late": errors.New("too late")} {
		h := oldShop()
		h.words, h.fail = "-", map[string]error{"tail": err}
		h.onLook = func(u *stack.Unit, _ int) {
			if u.ID == "api-2" {
				u.Health = stack.HealthFailed
			}
		}
		told, failed := follow(t, h, shop(stack.StartFirst, 0), nil, plan.Step{Service: "api", Action: plan.Gate, Replicas: 3, Good: []string{"api-1", "api-2", "api-3"}})
		require.Error(t, failed)
		var texts []string
		for _, e := range told.Events() {
			texts = append(texts, e.Text)
		}
		assert.Contains(t, strings.Join(texts, "\n"), says)
	}
}
