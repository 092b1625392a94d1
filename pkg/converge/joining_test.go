package converge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeNodes is a Swarm that runs the API on every node.
type fakeNodes struct {
	fakeIll
	units []stack.Unit
}

func (f *fakeNodes) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"api": f.units}, Scheduled: true}, nil
}

// A node that joins as a release ends takes it not back: what it gets of a service that runs on
// every node was not released. What was, and has ended for good, does.
func TestCompleteWhileANodeJoins(t *testing.T) {
	t.Parallel()
	st := illShop(t)
	st.Services["api"].Global, st.Services["api"].Replicas = true, 2
	unit := func(id string, change func(*stack.Unit)) stack.Unit {
		u := stack.Unit{ID: id, Name: "shop_api." + id, Node: id, Hash: st.Services["api"].Hash, State: stack.Running}
		if change != nil {
			change(&u)
		}
		return u
	}
	first := unit("n1", nil)
	joins := unit("n3", func(u *stack.Unit) { u.State, u.Joining = stack.Created, true })
	for name, c := range map[string]struct {
		third stack.Unit
		left  string
	}{
		"well":         {unit("n3", nil), ""},
		"joins":        {joins, ""},
		"starts":       {unit("n3", func(u *stack.Unit) { u.Health, u.Joining = stack.HealthStart, true }), ""},
		"began anew":   {unit("n3", func(u *stack.Unit) { u.State = stack.Created }), "3 units wanted, 2 run"},
		"was given up": {unit("n3", func(u *stack.Unit) { u.State, u.GivenUp = stack.Exited, true }), "the Swarm tries shop_api.n3 on node n3 no more"},
	} {
		d := &transition{on: &fakeNodes{units: []stack.Unit{first, unit("n2", nil), c.third}}, opts: Options{Stack: st, Services: []string{"api"}}, result: &Result{}}
		step, err := d.left(t.Context())
		require.NoError(t, err)
		if c.left == "" {
			assert.Nil(t, step, name)
			continue
		}
		require.NotNil(t, step, name)
		assert.Contains(t, step.Reasons, c.left, name)
	}
	before := unit("n3", func(u *stack.Unit) { u.State, u.GivenUp = stack.Exited, true })
	units := []stack.Unit{first, unit("n2", nil), before}
	d := &transition{on: &fakeNodes{units: units}, opts: Options{Stack: st, Services: []string{"api"}}, result: &Result{}, plan: &plan.Plan{},
		facts: &facts{observed: stack.Observed{Units: map[string][]stack.Unit{"api": units}}}}
	step, err := d.left(t.Context())
	require.NoError(t, err)
	assert.Nil(t, step, "it was so before")
	assert.Equal(t, []string{"api"}, d.halfGone(), "and the promise leaves it out")
	d.plan.Steps = []plan.Step{{Service: "api", Action: plan.Surge, Replicas: 3}}
	assert.Empty(t, d.halfGone(), "it was released")

	d = &transition{on: &fakeNodes{units: []stack.Unit{joins}}, opts: Options{Stack: st, Services: []string{"api"}}, result: &Result{}}
	step, err = d.left(t.Context())
	require.NoError(t, err)
	assert.NotNil(t, step, "nothing of it serves")
}

// fakeVerdict keeps what it was asked to look at.
type fakeVerdict struct {
	fakeDials
	asked *Released
}

func (f fakeVerdict) After(_ context.Context, _ *target.Target, r Released) (*check.Report, error) {
	*f.asked = r
	return nil, nil
}

// Checks that somebody wrote hear what was given up before the release, and of no more.
func TestChecksHearWhatWasGivenUpBefore(t *testing.T) {
	t.Parallel()
	st, asked := illShop(t), Released{}
	units := map[string][]stack.Unit{"api": {{ID: "a", State: stack.Running}, {ID: "b", State: stack.Exited, GivenUp: true}}}
	d := &transition{opts: Options{Stack: st, Verify: fakeVerdict{asked: &asked}}, result: &Result{Rollout: &rollout.Report{}}, plan: &plan.Plan{},
		facts: &facts{observed: stack.Observed{Units: units}}}
	require.NoError(t, d.inspect(t.Context()))
	assert.Equal(t, []string{"b"}, asked.Gone)
	assert.Equal(t, []string{"api"}, asked.Ill, "and nothing is promised of it")
}
