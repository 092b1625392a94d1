package rollout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// What a unit keeps in a volume without a name goes on to the unit that follows it,
// and is gone when nobody was told whom that is.
func TestWhomANewUnitFollows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order stack.Order
		want  []string
	}{
		"stop-first takes over from the units that it stops": {stack.StopFirst, []string{"api-1 api-2", "api-3"}},
		"start-first runs beside them":                       {stack.StartFirst, []string{"", ""}},
	} {
		h := oldShop()
		_, err := carry(t.Context(), h, shop(c.order, 2))
		require.NoError(t, err, name)
		assert.Equal(t, c.want, h.after, name)
		assert.Equal(t, 1, h.told, "%s: what is left is told once", name)
	}
}

// deadShop is an API of which one unit has ended and nothing runs.
func deadShop() *fakeHost {
	ended := unit("api", 1, "old")
	ended.State = stack.Exited
	return newFakeHost(ended, unit("gateway", 9, "same"))
}

func TestAUnitThatEndedStaysUntilItsSuccessorIsProved(t *testing.T) {
	t.Parallel()
	st := shop(stack.StopFirst, 0)
	st.Services["api"].Replicas, st.Services["api"].Ext.Gateway = 1, ""
	h := deadShop()
	_, err := carry(t.Context(), h, st)
	require.NoError(t, err)
	assert.Equal(t, lines(`
		stop api-1
		create api 1
		start api-101
		remove api-1`), h.log)
	assert.Equal(t, []string{"api-1"}, h.after)

	h = deadShop()
	h.onStart = func(u *stack.Unit) { u.Health = stack.HealthFailed }
	_, err = carry(t.Context(), h, st)
	require.Error(t, err)
	assert.Contains(t, h.units, "api-1", "the way back follows it as well")
	assert.NotContains(t, h.units, "api-101")
	assert.Zero(t, h.told, "the way back may take over what is left")
}

func TestAUnitThatEndedAndHasANameGoesFirst(t *testing.T) {
	t.Parallel()
	st := shop(stack.StopFirst, 0)
	st.Services["api"].Replicas, st.Services["api"].Ext.Gateway, st.Services["api"].ContainerName = 1, "", "api"
	h := deadShop()
	_, err := carry(t.Context(), h, st)
	require.NoError(t, err)
	assert.Equal(t, lines(`
		stop api-1
		remove api-1
		create api 1
		start api-101`), h.log)
}

// Units that ended beside good ones are followed by those that are missing.
func TestAMissingUnitFollowsOneThatEnded(t *testing.T) {
	t.Parallel()
	h := newFakeHost(unit("api", 1, "new"), unit("api", 2, "new"), unit("gateway", 9, "same"))
	st := shop(stack.StopFirst, 0)
	st.Services["api"].Ext.Gateway = ""
	_, err := follow(t, h, st, func(*rollout.Rollout) {},
		plan.Step{Service: "api", Action: plan.Scale, Replicas: 2, Good: []string{"api-1"}, Leftovers: []string{"api-2"}, Batch: 1})
	require.NoError(t, err)
	assert.Equal(t, []string{"api-2"}, h.after)

	h.fail["remove api-3"] = errBroken
	_, err = follow(t, h, st, nil,
		plan.Step{Service: "api", Action: plan.Scale, Replicas: 2, Good: []string{"api-1"}, Leftovers: []string{"api-3"}, Batch: 1})
	assert.True(t, errors.Is(err, errBroken), "a removal that fails is told: %v", err)
}

// A unit that had ended by itself has its restart policy back where its successor fails: it
// may be one that is to start with the host. One that this release ended has not, and none
// has beside a successor that is proved.
func TestAUnitThatEndedIsLetGoWhereItsSuccessorFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state stack.State
		batch int
		fails string
		want  string
	}{
		"it ended":               {stack.Exited, 2, "api-102", "stop api-1 create api 2 start api-101 api-102 stop api-101 api-102 remove api-101 api-102 let go api-1"},
		"it ran":                 {stack.Running, 2, "api-102", "stop api-1 create api 2 start api-101 api-102 stop api-101 api-102 remove api-101 api-102"},
		"it restarts":            {stack.Restarting, 2, "api-102", "stop api-1 create api 2 start api-101 api-102 stop api-101 api-102 remove api-101 api-102 restart api-1"},
		"a successor was proved": {stack.Exited, 1, "api-102", "stop api-1 create api 1 start api-101 create api 1 start api-102 stop api-102 remove api-102"},
	} {
		left := unit("api", 1, "old")
		left.State = c.state
		h := newFakeHost(left, unit("gateway", 9, "same"))
		h.onStart = func(u *stack.Unit) {
			if u.ID == c.fails {
				u.Health = stack.HealthFailed
			}
		}
		st := shop(stack.StopFirst, 0)
		st.Services["api"].Replicas, st.Services["api"].Ext.Gateway = 2, ""
		_, err := follow(t, h, st, nil, plan.Step{Service: "api", Action: plan.Create, Replicas: 2, Leftovers: []string{"api-1"}, Batch: c.batch})
		require.Error(t, err, name)
		assert.Equal(t, c.want, strings.Join(h.log, " "), name)
	}
}
