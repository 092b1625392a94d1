package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// What somebody else made is there, and said to be.
func TestMake_UsesWhatSomebodyElseMade(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Observed.Networks["edge"] = stack.Resource{Key: "edge", Name: "shop_edge", Foreign: true}
	in.Observed.Volumes["data"] = stack.Resource{Key: "data", Name: "shop_data", Project: "old", Foreign: true}
	p := plan.Make(in)
	assert.True(t, p.Empty())
	assert.Equal(t, []string{
		"network shop_edge was not made by Compose and is used as it is: declare it external to say that this is meant",
		"volume shop_data belongs to project old and is used as it is: declare it external to say that this is meant",
	}, p.Notes)
	in.Only = []string{"worker"}
	assert.Len(t, plan.Make(in).Notes, 1, "the volume is the database's")
}

// One under the same key that has another name is not the one that is meant. A Swarm's
// volumes are made by the nodes, whatever is planned.
func TestMake_MakesWhatIsThereUnderAnotherName(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Observed.Networks["edge"] = stack.Resource{Key: "edge", Name: "edge_of_before"}
	in.Observed.Volumes["data"] = stack.Resource{Key: "data", Name: "pg_v1"}
	p := plan.Make(in)
	assert.Equal(t, [][]string{{"edge"}, {"data"}}, [][]string{p.Networks, p.Volumes})
	in.Observed.Scheduled = true
	assert.True(t, plan.Make(in).Empty())
}
