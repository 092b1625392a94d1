package rollout_test

import (
	"context"
	"errors"
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

// pair is a shop whose gateway has a model behind it as well, which takes its time.
func pair() (*fakeHost, *stack.Stack) {
	h := newFakeHost(unit("api", 1, "old"), unit("api", 2, "old"), unit("model", 5, "same"), unit("gateway", 9, "same"))
	st := shop(stack.StartFirst, 0)
	st.Order = []string{"model", "api", "gateway"}
	st.Services["api"].Replicas = 2
	st.Services["model"] = &stack.Service{Name: "model", Replicas: 1, Hash: "same", StopGrace: stack.DefaultGrace,
		Ext: stack.Extension{Gateway: "gateway", Drain: 10 * time.Minute}}
	return h, st
}

func TestDrain_ConnectionsToOtherServices(t *testing.T) {
	t.Parallel()
	two := plan.Step{Service: "api", Action: plan.Surge, Replicas: 2, Old: []string{"api-1", "api-2"}, Batch: 2}
	one := plan.Step{Service: "api", Action: plan.Surge, Replicas: 2, Old: []string{"api-1", "api-2"}, Batch: 1}
	const ends = " connections outlived the drain budget of 30s and end with the units that they are to"
	for name, c := range map[string]struct {
		step  plan.Step
		edit  func(h *fakeHost, st *stack.Stack)
		ended int
		looks []string
		said  []string
		cut   map[string]int
	}{
		"live on": {step: two, looks: []string{"look for connections to 10.0.0.1 10.0.0.2"}, cut: map[string]int{}},
		"those to units that go end with these": {step: two, edit: func(h *fakeHost, _ *stack.Stack) { h.held = map[string]int{"10.0.0.2": 2, "10.0.0.5": 3} },
			looks: []string{"look for connections to 10.0.0.1 10.0.0.2"}, said: []string{"2" + ends}, cut: map[string]int{"api": 2}},
		"each is told once": {step: one, edit: func(h *fakeHost, _ *stack.Stack) { h.held = map[string]int{"10.0.0.1": 1, "10.0.0.2": 2} },
			looks: []string{"look for connections to 10.0.0.1", "look for connections to 10.0.0.2"}, said: []string{"1" + ends, "2" + ends}, cut: map[string]int{"api": 3}},
		"on whichever network nginx found the unit": {step: two, edit: func(h *fakeHost, _ *stack.Stack) {
			h.units["api-2"].Addresses["inner"], h.held = "10.1.0.2", map[string]int{"10.1.0.2": 1}
		}, looks: []string{"look for connections to 10.0.0.1 10.0.0.2 10.1.0.2"}, said: []string{"1" + ends}, cut: map[string]int{"api": 1}},
		"nothing is asked where all went in time": {step: two, edit: func(h *fakeHost, _ *stack.Stack) { h.cut = 0 }, cut: map[string]int{}},
		"nor where no unit goes":                  {step: plan.Step{Service: "api", Action: plan.Gate, Replicas: 2, Good: []string{"api-1", "api-2"}, Starting: true}, cut: map[string]int{}},
		"what cannot be counted": {step: two, edit: func(h *fakeHost, _ *stack.Stack) { h.fail["look for"] = errBroken },
			looks: []string{"look for connections to 10.0.0.1 10.0.0.2"}, cut: map[string]int{},
			said: []string{"how many connections to it outlived the drain budget of 30s is not known, they end with the units that they are to: broken on purpose"}},
		"behind another gateway there is none": {step: two, edit: func(_ *fakeHost, st *stack.Stack) { st.Services["model"].Ext.Gateway = "edge" },
			ended: 5, said: []string{"5 connections outlived the drain budget of 30s and were ended"}, cut: map[string]int{"api": 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, st := pair()
			h.cut = 5
			if c.edit != nil {
				c.edit(h, st)
			}
			told, report, err := followed(t, h, st, c.step)
			require.NoError(t, err)
			assert.Equal(t, c.ended, h.ended, "ended by us")
			var looks, said []string
			for _, act := range h.log {
				if strings.HasPrefix(act, "look for ") {
					looks = append(looks, act)
				}
			}
			for _, e := range told.Events() {
				if e.Level == event.Warning {
					said = append(said, e.Text)
				}
			}
			assert.Equal(t, c.looks, looks)
			assert.Equal(t, c.said, said)
			assert.Equal(t, c.cut, report.Cut)
			for _, b := range h.budgets {
				assert.Equal(t, stack.DefaultDrain, b, "its own budget bounds its wait")
			}
		})
	}
}

// Who is connected to a worker that is kept and has asked nothing yet would ask the units
// that go: they are there for as long as nginx lets such a client wait.
func TestDrain_ClientsThatHaveNotAskedYet(t *testing.T) {
	t.Parallel()
	for unasked, want := range map[int]struct {
		took time.Duration
		said []string
	}{
		0: {},
		3: {took: 3 * time.Second},
		900: {took: 61 * time.Second, said: []string{"839 clients of nginx's old workers wait for no unit yet (an upload that still comes, or an answer on its way): " +
			"what they still ask of api will fail"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, st := pair()
			h.cut, h.unasked = 5, unasked
			before := map[bool]time.Duration{}
			began := time.Now()
			h.onAct = func(act string) {
				if strings.HasPrefix(act, "drain") || strings.HasPrefix(act, "stop ") {
					before[strings.HasPrefix(act, "stop ")] = time.Since(began)
				}
			}
			told, _, err := followed(t, h, st, plan.Step{Service: "api", Action: plan.Surge, Replicas: 2, Old: []string{"api-1", "api-2"}, Batch: 2})
			require.NoError(t, err)
			var said []string
			for _, e := range told.Events() {
				if e.Level == event.Warning {
					said = append(said, e.Text)
				}
			}
			assert.Equal(t, want.said, said)
			assert.Equal(t, want.took, before[true]-before[false], "from the drain to the stop")
		})
	}
}

// What looks for clients takes from nginx's own CPU: where that is long it looks seldom.
func TestDrain_ADearLookIsSeldom(t *testing.T) {
	t.Parallel()
	for takes, looks := range map[time.Duration]int{0: 62, 100 * time.Millisecond: 56, 5 * time.Second: 3, 90 * time.Second: 1} {
		synctest.Test(t, func(t *testing.T) {
			h, st := pair()
			h.cut, h.unasked = 5, 900
			n := 0
			h.onAct = func(act string) {
				if strings.HasPrefix(act, "look for ") {
					n++
					time.Sleep(takes)
				}
			}
			_, _, err := followed(t, h, st, plan.Step{Service: "api", Action: plan.Surge, Replicas: 2, Old: []string{"api-1", "api-2"}, Batch: 2})
			require.NoError(t, err)
			assert.Equal(t, looks, n, "a look of %s", takes)
		})
	}
}

// Where connections cannot be seen nobody knows who has asked nothing yet: the units that go
// are there for as long as such a client may take, or until the old workers have ended.
func TestDrain_ClientsThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	for blind, want := range map[int]struct {
		took time.Duration
		said []string
	}{
		3: {took: 3 * time.Second},
		900: {took: 61 * time.Second, said: []string{"how many connections to it outlived the drain budget of 30s is not known, " +
			"they end with the units that they are to: broken on purpose"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, st := pair()
			h.cut, h.blind = 5, blind
			var drained, stopped time.Time
			h.onAct = func(act string) {
				switch {
				case strings.HasPrefix(act, "drain"):
					drained = time.Now()
				case strings.HasPrefix(act, "stop "):
					stopped = time.Now()
				}
			}
			told, _, err := followed(t, h, st, plan.Step{Service: "api", Action: plan.Surge, Replicas: 2, Old: []string{"api-1", "api-2"}, Batch: 2})
			require.NoError(t, err)
			assert.Equal(t, want.took, stopped.Sub(drained), "from the drain to the stop")
			var said []string
			told1 := 0
			for _, e := range told.Events() {
				if e.Level == event.Warning {
					said = append(said, e.Text)
				}
				if strings.Contains(e.Text, "cannot be seen whether") {
					told1++
				}
			}
			assert.Equal(t, want.said, said)
			assert.Equal(t, 1, told1)
		})
	}
}

// A batch that fails after the switch goes back to the old units: what leads to the new ones ends with them.
func TestDrain_OnTheWayBack(t *testing.T) {
	t.Parallel()
	h, st := pair()
	h.cut, h.held = 5, map[string]int{"10.0.0.5": 3, "10.0.0.101": 1}
	h.fail["stop api-1 api-2"] = errors.New("no answer")
	_, report, err := followed(t, h, st, plan.Step{Service: "api", Action: plan.Surge, Replicas: 2, Old: []string{"api-1", "api-2"}, Batch: 2})
	require.ErrorContains(t, err, "no answer")
	assert.Zero(t, h.ended)
	assert.Equal(t, map[string]int{"api": 1}, report.Cut)
}

// followed is follow with the report.
func followed(t *testing.T, h *fakeHost, st *stack.Stack, step plan.Step) (told *event.Recorder, report rollout.Report, err error) {
	t.Helper()
	told = &event.Recorder{}
	r := &rollout.Rollout{
		Stack: st, Units: h, Eyes: h, Ground: h, Shell: h, Live: h, Sink: told, Gateway: h.gateway,
		How: rollout.How{Guard: func(context.Context) error { return nil }},
	}
	report, err = r.Run(t.Context(), &plan.Plan{Steps: []plan.Step{step}})
	return told, report, err
}
