package rollout_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// Who measures hears of the steps that leave nobody who serves, from before the first act to after
// the last; one that goes first for another is over with that.
func TestWhoIsAwayIsTold(t *testing.T) {
	t.Parallel()
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{}}
	p := &plan.Plan{Project: "shop"}
	for _, step := range []plan.Step{
		{Service: "nginx", Action: plan.StopFirst, Replicas: 1, Batch: 1, Old: []string{"a"}},
		{Service: "half", Action: plan.StopFirst, Replicas: 2, Batch: 1, Old: []string{"b", "c"}},
		{Service: "api", Action: plan.Surge, Replicas: 1, Batch: 1, Old: []string{"d"}},
		{Service: "db", Action: plan.Remove, Old: []string{"e"}, Before: []string{"postgres"}},
		{Service: "postgres", Action: plan.Create, Replicas: 1, Batch: 1, Interruption: "until the new units are well"},
		{Service: "web", Action: plan.Surge, Replicas: 1, Batch: 1, Old: []string{"f"}, Interruption: "until gateway is well", Yields: []string{"gateway"}},
		{Service: "queue", Action: plan.StopFirst, Replicas: 1, Batch: 1, Old: []string{"g"}},
		{Service: "gateway", Action: plan.Create, Replicas: 1, Batch: 1, Interruption: "until the new units are well"},
	} {
		st.Order, p.Steps = append(st.Order, step.Service), append(p.Steps, step)
		st.Services[step.Service] = &stack.Service{Name: step.Service}
	}
	var did []string
	h := newFakeHost()
	r := &rollout.Rollout{Stack: st, Eyes: h, Ground: h, Sink: event.Discard, How: rollout.How{
		Guard: func(context.Context) error { return nil },
		Away: func(_ context.Context, over bool) {
			did = append(did, map[bool]string{false: "away", true: "back"}[over])
		},
	}, Carrier: func(_ context.Context, step plan.Step) error {
		did = append(did, step.Service)
		return nil
	}}
	_, err := r.Run(t.Context(), p)
	require.NoError(t, err)
	assert.Equal(t, []string{"away", "nginx", "back", "half", "api", "away", "db", "away", "postgres", "back", "away", "web", "away", "queue", "away", "gateway", "back"}, did)
}
