package rollout_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// undoneAt carries a release out that fails and is cancelled at an act of its way back, on
// an engine that goes on with what nobody waits for any more. No act: it is not cancelled.
func undoneAt(t *testing.T, st *stack.Stack, h *fakeHost, at int, edit func(*fakeHost)) (acts int, err error) {
	t.Helper()
	h.late, h.busy = true, len(h.units) == 2
	edit(h)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx = grace.Watch(ctx)
	failed := false
	h.onLook = func(u *stack.Unit, _ int) { failed = failed || u.Health == stack.HealthFailed }
	broken := h.fail
	h.onAct = func(act string) {
		if failed {
			if acts == at {
				cancel()
			}
			acts++
		}
		for prefix := range broken {
			failed = failed || strings.HasPrefix(act, prefix)
		}
	}
	_, err = carry(ctx, h, st)
	for _, id := range h.stopping {
		if u := h.units[id]; u != nil {
			u.State, u.Addresses = stack.Exited, map[string]string{"edge": ""}
		}
	}
	return acts, err
}

func ups(h *fakeHost) (up []string) {
	for _, u := range h.units {
		if u.Service == "api" && u.State == stack.Running {
			up = append(up, u.Addresses["edge"])
		}
	}
	return up
}

// Whenever a batch that goes back is cancelled, one unit of its service runs once all that
// was under way is over, and it is the one that the gateway has.
func TestRun_CancelledWhileABatchGoesBack(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*fakeHost){
		"it is ill":                    func(h *fakeHost) { h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed } },
		"the gateway is not led to it": func(h *fakeHost) { h.fail["reload"] = errBroken },
		"it does not start":            func(h *fakeHost) { h.fail["start"] = errBroken },
		"it cannot be made":            func(h *fakeHost) { h.fail["create"] = errBroken },
		"the old one is not removed":   func(h *fakeHost) { h.fail["remove api-1"] = errBroken },
	} {
		for _, own := range []string{"", "the-api"} {
			acts, err := undoneAt(t, alone(own), aloneHost(), -1, edit)
			require.Equal(t, fault.Failed, fault.Of(err), "%v", err)
			require.Positive(t, acts)
			for at := range acts {
				h := aloneHost()
				_, err := undoneAt(t, alone(own), h, at, edit)
				require.Equal(t, fault.Interrupted, fault.Of(err), "%s %s %d: %v", name, own, at, h.log)
				assert.Contains(t, fault.Hint(err), "users are served; ")
				assert.Contains(t, fault.Hint(err), "shiksha rollback", "it was refused just now")
				assert.NotContains(t, fault.Hint(err), "run the same again")
				assert.Len(t, ups(h), 1, "%s %s cancelled at %d: %v", name, own, at, h.log)
				assert.Equal(t, ups(h), h.loaded["api"], "%s %s cancelled at %d: %v", name, own, at, h.log)
			}
		}
	}
}

// Where others serve they go on, and what was stopped is up again.
func TestRun_CancelledWhileABatchOfManyGoesBack(t *testing.T) {
	t.Parallel()
	ill := func(h *fakeHost) { h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed } }
	for _, order := range []stack.Order{stack.StartFirst, stack.StopFirst} {
		acts, _ := undoneAt(t, shop(order, 1), oldShop(), -1, ill)
		for at := range acts {
			h := oldShop()
			_, err := undoneAt(t, shop(order, 1), h, at, ill)
			require.Equal(t, fault.Interrupted, fault.Of(err))
			assert.Contains(t, fault.Hint(err), "users are served; ")
			for _, id := range []string{"api-1", "api-2", "api-3"} {
				assert.Equal(t, stack.Running, h.units[id].State, "%s cancelled at %d: %v", order, at, h.log)
			}
			assert.Subset(t, ups(h), h.loaded["api"], "%s cancelled at %d: %v", order, at, h.log)
		}
	}
}

// What cannot be started again is not said to serve, and nothing is done without the lock.
func TestRun_CancelledWhileABatchGoesBackInVain(t *testing.T) {
	t.Parallel()
	ill := func(h *fakeHost) { h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed } }
	_, err := undoneAt(t, alone(""), aloneHost(), 0, func(h *fakeHost) { ill(h); h.fail["restart"] = errBroken })
	assert.Contains(t, fault.Hint(err), "users may get no answer of api")

	h := aloneHost()
	ill(h)
	h.late = true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.onAct = func(act string) {
		if act == "stop api-101" {
			cancel()
		}
	}
	_, err = guarded(ctx, h, alone(""), func(context.Context) error {
		if ctx.Err() != nil {
			return fault.New(fault.Interrupted, "", "", "lock lost")
		}
		return nil
	})
	assert.Equal(t, fault.Interrupted, fault.Of(err))
	assert.Contains(t, fault.Hint(err), "users may get no answer of api")
	assert.Equal(t, "stop api-101", h.log[len(h.log)-1])
}

// What failed and is needed is not waited for. A worker may have work, and keeps the time
// that the file gives it, unless it has crashed.
func TestRun_CancelledWhileAUnitThatGoesBackHasLongToEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		worker bool
		comes  stack.State
		hurry  bool
		served bool
	}{
		"users come to it":    {false, stack.Running, true, true},
		"a worker":            {true, stack.Running, false, false},
		"a worker that ended": {true, stack.Exited, false, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			st, h := alone(""), aloneHost()
			st.Services["api"].StopGrace = 10 * time.Minute
			if c.worker {
				behind(st, "")
			}
			began := time.Now()
			_, err := undoneAt(t, st, h, 0, func(h *fakeHost) {
				h.onStart = func(u *stack.Unit) { u.Health, u.State = stack.HealthFailed, c.comes }
			})
			assert.Equal(t, fault.Interrupted, fault.Of(err))
			want := []time.Duration{10 * time.Minute, 10 * time.Minute}
			if c.hurry {
				want = append(want, 2*time.Second)
			}
			assert.Equal(t, want, h.graces, "%s: %v", name, h.log)
			assert.Equal(t, c.served, strings.HasPrefix(fault.Hint(err), "users are served"), "%s: %v", name, err)
			assert.Less(t, time.Since(began), grace.Acts)
		})
	}
}

// Only what is at work can be ending. A worker whose successor never ran, or is gone already,
// is put back at once and not told of as away.
func TestRun_CancelledWhileAWorkerIsPutBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at   string // the act of the way back at which it is cancelled
		edit func(*fakeHost)
	}{
		"it never ran, and the old one is not up yet": {"stop api-101", func(h *fakeHost) { h.fail["start"] = errBroken }},
		"it never ran, and the old one is":            {"restart api-1", func(h *fakeHost) { h.fail["start"] = errBroken }},
		"it is gone": {"remove api-101", func(h *fakeHost) {
			h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
		}},
		"it is being removed": {"remove api-101", func(h *fakeHost) {
			h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
			h.fail["remove api-101"] = errBroken
			h.onLook = func(u *stack.Unit, _ int) {
				if u.ID == "api-101" && h.fail["remove api-101"] == nil {
					u.State = stack.Removing
					delete(h.units, u.ID)
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st, h := alone(""), aloneHost()
				st.Services["api"].StopGrace = 10 * time.Minute
				behind(st, "")
				h.late = c.at != "stop api-101" // that one ends nothing
				c.edit(h)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				h.onAct = func(act string) {
					if act == c.at {
						cancel()
					}
				}
				step := plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 1, Old: []string{"api-1"}, Batch: 1}
				_, err := followUntil(grace.Watch(ctx), h, st, nil, step)
				assert.Equal(t, fault.Interrupted, fault.Of(err), name)
				assert.True(t, strings.HasPrefix(fault.Hint(err), "users are served"), "%s: %v", name, err)
				assert.Equal(t, stack.Running, h.units["api-1"].State, "%s: %v", name, h.log)
			})
		})
	}
}

// A way back takes away what was refused: what users or other services need is not waited
// for, the one from before starts. A worker keeps the time that the file gives its work.
func TestRun_CancelledWhileAWayBackStopsWhatHasLongToEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		back   bool
		edit   func(*stack.Stack)
		served bool
	}{
		"users come to it":        {true, func(*stack.Stack) {}, true},
		"others need it":          {true, func(st *stack.Stack) { behind(st, "web") }, true},
		"nobody waits for it":     {true, func(st *stack.Stack) { behind(st, "") }, false},
		"it is no way back":       {false, func(*stack.Stack) {}, false},
		"a port is its own":       {true, func(st *stack.Stack) { behind(st, ""); st.Services["api"].HostPorts = []string{"80/tcp"} }, true},
		"the gateway comes to it": {true, func(st *stack.Stack) { behind(st, ""); st.Services["api"].Ext.Gateway = "gateway" }, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, st := aloneHost(), alone("")
			st.Services["api"].StopGrace = time.Minute
			c.edit(st)
			h.late, h.busy = true, true
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h.onAct = func(act string) {
				if act == "stop api-1" {
					cancel()
				}
			}
			step := plan.Step{Service: "api", Action: plan.StopFirst, Replicas: 1, Old: []string{"api-1"}, Batch: 1}
			_, err := followUntil(grace.Watch(ctx), h, st, func(r *rollout.Rollout) { r.Back = c.back }, step)
			assert.Equal(t, fault.Interrupted, fault.Of(err))
			assert.Equal(t, c.back, strings.Contains(fault.Hint(err), "shiksha rollback"), name)
			assert.Equal(t, c.served, strings.HasPrefix(fault.Hint(err), "users are served"), "%s: %v", name, err)
			assert.Equal(t, c.served, h.units["api-101"].State == stack.Running, "%s: %v", name, h.log)
		})
	}
}

// behind makes the API one that neither the gateway nor a port leads to, and has another
// service need it.
func behind(st *stack.Stack, needs string) {
	st.Services["api"].HostPorts, st.Services["api"].Ext.Gateway = nil, ""
	if needs != "" {
		st.Services[needs] = &stack.Service{Name: needs, DependsOn: []stack.Dependency{{Service: "api"}}}
	}
}
