package plan_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// placed observes everything as it should be, the database on its network and volume.
func placed() plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	db := in.Observed.Units["db"]
	db[0].Networks, db[0].Volumes = []string{"shop_edge", "4fe2"}, []string{"shop_data"}
	return in
}

// The names of networks and volumes are in no hash: that a unit is on others is seen on
// the unit.
func TestMake_ReplacesWhatIsOnAnotherNetworkOrVolume(t *testing.T) {
	t.Parallel()
	assert.True(t, plan.Make(placed()).Empty())
	external := func(name string) types.NetworkConfig { return types.NetworkConfig{Name: name, External: true} }
	for reason, edit := range map[string]func(*plan.Input){
		"is not on network common": func(in *plan.Input) { in.Desired.Project.Networks["edge"] = external("common") },
		"does not have volume pg_v2": func(in *plan.Input) {
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "pg_v2", External: true}
		},
	} {
		in := placed()
		edit(&in)
		step := plan.Make(in).Step("db")
		assert.Equal(t, plan.StopFirst, step.Action, reason)
		assert.Equal(t, []string{"db-1"}, step.Old)
		assert.Equal(t, []string{reason}, step.Reasons)
		in.Observed.Units["db"][0].Hash, in.Observed.Units["db"][0].Image = "db-v1", "registry.example/db@sha256:1111111111111111"
		assert.Contains(t, plan.Make(in).Step("db").Reasons, reason, "beside a new image it is said too")
	}
	in := placed()
	in.Desired.Project.Networks["edge"] = external("4fe2")
	assert.True(t, plan.Make(in).Empty(), "an external network may be named by its id")
}

// One that does not run has no network, and one of which nothing is known is where it
// should be.
func TestMake_LeavesWhereverNothingIsKnown(t *testing.T) {
	t.Parallel()
	in := placed()
	in.Desired.Project.Networks["edge"] = types.NetworkConfig{Name: "common", External: true}
	in.Observed.Units["db"][0].Networks, in.Observed.Units["db"][0].Volumes = nil, nil
	assert.True(t, plan.Make(in).Empty())
}

// A job that has ended did its work on its volume: on another one it has it still to do.
func TestMake_RunsAJobAgainOnAnotherVolume(t *testing.T) {
	t.Parallel()
	in := placed()
	in.Desired.Services["db"].Job = true
	db := &in.Observed.Units["db"][0]
	db.State, db.Health, db.Networks = stack.Exited, stack.NoHealth, []string{}
	assert.True(t, plan.Make(in).Empty())
	in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "pg_v2", External: true}
	step := plan.Make(in).Step("db")
	assert.Equal(t, plan.Create, step.Action)
	assert.Equal(t, []string{"db-1"}, step.Leftovers)
}
