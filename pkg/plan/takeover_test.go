package plan_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// renamed is a stack whose database was called postgres in the release before.
func renamed() plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Past: map[string]plan.Past{"postgres": {Hash: "postgres-v1"}}}
	mounts(&in, "db", func(*types.ServiceVolumeConfig) {})
	old := running("postgres", "v1", 1, 1)
	old[0].Writes = []string{"shop_data"}
	delete(in.Observed.Units, "db")
	in.Observed.Units["postgres"] = old
	return in
}

// mounts gives a service one volume, written to unless edit says otherwise.
func mounts(in *plan.Input, service string, edit func(*types.ServiceVolumeConfig)) {
	v := types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: "data", Target: "/data"}
	edit(&v)
	var c types.ServiceConfig
	c.Volumes = []types.ServiceVolumeConfig{v}
	in.Desired.Project.Services[service] = c
}

// refusal is what is said of a service that would write beside one that left.
const refusal = "db would write to volume shop_data beside postgres, which is not in the Compose file any more and runs; " +
	"that damages a database: release with --remove-orphans (input remove-orphans: true), which takes postgres away before db starts"

func TestTakeOver_TwoNeverWriteToOneVolume(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{refusal}, plan.Make(renamed()).Refusals)

	in := renamed()
	in.Only = []string{"db"}
	assert.Equal(t, []string{"db would write to volume shop_data beside postgres, which is not in the Compose file any more and runs; " +
		"that damages a database: release all services with --remove-orphans (input remove-orphans: true), which takes postgres away before db starts"}, plan.Make(in).Refusals)

	in = renamed()
	in.Past, in.RemoveOrphans = nil, true
	assert.Equal(t, []string{"db would write to volume shop_data beside postgres, which is not in the Compose file any more and runs; " +
		"that damages a database: no verified release has postgres, so that one that fails could not bring it back; stop it first (docker stop shop-postgres-1)"}, plan.Make(in).Refusals)

	in.Observed.Scheduled = true
	require.Len(t, plan.Make(in).Refusals, 1)
	assert.Contains(t, plan.Make(in).Refusals[0], "stop it first (docker service scale shop_postgres=0)", "a Swarm starts anew what is stopped")

	in = renamed()
	in.Observed.Units["db"] = running("db", "v1", 1, 1) // it had another volume
	assert.Equal(t, []string{refusal}, plan.Make(in).Refusals, "a replacement is no better")

	in = renamed()
	in.Observed.Units["postgres"][0].State = stack.Restarting
	assert.Equal(t, []string{refusal}, plan.Make(in).Refusals, "it comes up again at any moment")
}

func TestTakeOver_WhatLeftGoesFirst(t *testing.T) {
	t.Parallel()
	in := renamed()
	in.RemoveOrphans = true
	assert.Equal(t, `  postgres  remove             not in the Compose file any more; goes first, since db writes to its volume shop_data
  db        create 1           not running yet
                               interruption: until the new units are well: postgres, which has volume shop_data, stops first
  api       unchanged
  gateway   unchanged
  worker    unchanged
`, plan.Make(in).String())
}

// The way back of a renamed database is a rename as well: what it is then is the other
// way round.
func TestTakeOver_TheWayBackIsNoOther(t *testing.T) {
	t.Parallel()
	in := renamed()
	in.RemoveOrphans, in.Back, in.Made, in.Past = true, true, []string{"postgres-1"}, nil
	in.Observed.Units["api"] = running("api", "v1", 1, 3)
	p := plan.Make(in)
	p.Reverse()
	var order []string
	for _, s := range p.Steps {
		order = append(order, s.Service)
	}
	assert.Empty(t, p.Refusals)
	assert.Equal(t, []string{"postgres", "db"}, order[:2])
	assert.Equal(t, []string{"db"}, p.Step("postgres").Before)
}

func TestTakeOver_WhatMayBeShared(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*plan.Input){
		"the new one only reads":   func(in *plan.Input) { mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.ReadOnly = true }) },
		"the old one only reads":   func(in *plan.Input) { in.Observed.Units["postgres"][0].Writes = nil },
		"the old one was stopped":  func(in *plan.Input) { in.Observed.Units["postgres"][0].State = stack.Exited },
		"somebody else's command":  func(in *plan.Input) { in.Observed.Units["postgres"][0].OneOff = true },
		"two of the file write":    func(in *plan.Input) { mounts(in, "worker", func(*types.ServiceVolumeConfig) {}) },
		"several units of it":      func(in *plan.Input) { in.Desired.Services["db"].Replicas = 2 },
		"two generations may":      func(in *plan.Input) { in.Desired.Services["db"].Update.Order = stack.StartFirst },
		"it is no volume of data":  func(in *plan.Input) { mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.Source = "" }) },
		"others write to it too":   func(in *plan.Input) { in.Observed.Units["worker"][0].Writes = []string{"shop_data"} },
		"nothing of it is started": func(in *plan.Input) { in.Only = []string{"worker"} },
		"the socket of the engine": func(in *plan.Input) {
			in.Observed.Units["postgres"][0].Writes = []string{"/var/run/docker.sock"}
			mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.Type, v.Source = types.VolumeTypeBind, "/var/run/docker.sock" })
		},
		"a file of ours": func(in *plan.Input) {
			in.Observed.Units["postgres"][0].Writes = []string{"/srv/pg"}
			mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.Type, v.Source = types.VolumeTypeBind, "/srv/pg" })
			in.Desired.Services["db"].Files = []stack.File{{Service: "db", Target: "/data"}}
		},
	} {
		in := renamed()
		edit(&in)
		assert.Empty(t, plan.Make(in).Refusals, name)
	}

	// What was verified beside it and went down does not lose its place by that.
	down := func() plan.Input {
		in := renamed()
		u := running("db", "v1", 1, 1)
		u[0].State, u[0].Writes = stack.Exited, []string{"shop_data"}
		in.Observed.Units["db"], in.Past["db"] = u, plan.Past{Hash: u[0].Hash}
		return in
	}
	assert.Empty(t, plan.Make(down()).Refusals)
	for name, edit := range map[string]func(plan.Input){
		"no verified release has it": func(in plan.Input) { delete(in.Past, "db") },
		"it is of a failed release":  func(in plan.Input) { in.Past["db"] = plan.Past{Hash: "db-v0"} },
		"it wrote elsewhere":         func(in plan.Input) { in.Observed.Units["db"][0].Writes = []string{"other"} },
		"somebody's command did":     func(in plan.Input) { in.Observed.Units["db"][0].OneOff = true },
		"the other is of another":    func(in plan.Input) { in.Observed.Units["postgres"][0].Hash = "postgres-v2" },
	} {
		in := down()
		edit(in)
		assert.Equal(t, []string{refusal}, plan.Make(in).Refusals, name)
	}

	// One that no verified release has was not beside it: somebody started it, or a release that failed.
	in := down()
	in.RemoveOrphans = true
	delete(in.Past, "postgres")
	assert.Len(t, plan.Make(in).Refusals, 1)
	in.Back = true
	assert.Len(t, plan.Make(in).Refusals, 1, "a rollback leaves alone what no release made")
	in.Made = []string{"postgres-1"}
	p := plan.Make(in)
	p.Reverse()
	assert.Empty(t, p.Refusals)
	assert.Equal(t, []string{"db"}, p.Step("postgres").Before, "a rollback takes it away first")
	in.Observed.Units["postgres"][0].Hash = ""
	assert.Equal(t, []string{"db"}, plan.Make(in).Step("postgres").Before, "nobody knows what it is of")

	in = renamed()
	in.Observed.Units["postgres"][0].Writes = []string{"/srv/pg"}
	mounts(&in, "db", func(v *types.ServiceVolumeConfig) { v.Type, v.Source = types.VolumeTypeBind, "/srv/pg" })
	assert.Len(t, plan.Make(in).Refusals, 1, "a folder of the host is a volume too")
	assert.Contains(t, plan.Make(in).Refusals[0], "folder /srv/pg")
}

// Two of a scheduler do everything twice, though they share no volume.
func TestTakeOver_SaysWhatMayRunTwice(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Observed.Units["beat"] = running("beat", "v1", 1, 1)
	in.Observed.Units["beat"][0].Image = "registry.example/worker@sha256:1111111111111111"
	assert.Empty(t, plan.Make(in).Notes, "the worker is not new")
	delete(in.Observed.Units, "worker")
	assert.Equal(t, []string{"worker is new, and beat, which is not in the Compose file any more, runs on with the same image: " +
		"if that is the same service by its former name, both are at work now; --remove-orphans takes beat away"}, plan.Make(in).Notes)
	in.RemoveOrphans = true
	assert.Empty(t, plan.Make(in).Notes)
}

// A database that starts first stops first all the same, so it is alone where it writes.
func TestTakeOver_ADatabaseIsAloneWhateverItsOrder(t *testing.T) {
	t.Parallel()
	in := renamed()
	db := in.Desired.Services["db"]
	db.Image, db.Update.Order = "postgres:16", stack.StartFirst
	assert.Equal(t, []string{refusal}, plan.Make(in).Refusals)
	db.Replicas = 2
	assert.Empty(t, plan.Make(in).Refusals, "two of it get on")
	db.Replicas, in.Observed.Scheduled = 1, true
	assert.Empty(t, plan.Make(in).Refusals, "a Swarm starts it beside itself")
}
