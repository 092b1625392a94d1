package plan_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// twoDatabases is a new version of a database that starts first, and writes to a volume.
func twoDatabases() plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Only: []string{"db"}}
	in.Observed.Units["db"] = running("db", "v1", 1, 1)
	db := in.Desired.Services["db"]
	db.Image, db.Update.Order = "docker.io/library/postgres:16", stack.StartFirst
	mounts(&in, "db", func(*types.ServiceVolumeConfig) {})
	return in
}

// Two databases on the same files damage them, and their locks reach no other container:
// the old one stops before the new one starts, whatever the file asks for.
func TestMake_ADatabaseIsNeverBesideItself(t *testing.T) {
	t.Parallel()
	bind := func(in *plan.Input, source string) {
		mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.Type, v.Source = types.VolumeTypeBind, source })
	}
	app := func(in *plan.Input) { in.Desired.Services["db"].Image = "registry.example/media:v2" }
	for name, c := range map[string]struct {
		edit func(*plan.Input)
		at   string
	}{
		"a named volume":      {func(*plan.Input) {}, "volume shop_data"},
		"a folder":            {func(in *plan.Input) { bind(in, "/srv/pg") }, "folder /srv/pg"},
		"it is dumped":        {func(in *plan.Input) { app(in); in.Desired.Services["db"].Ext.Backups = &stack.Backups{} }, "volume shop_data"},
		"a way back":          {func(in *plan.Input) { in.Back = true }, "volume shop_data"},
		"no database":         {app, ""},
		"it only reads":       {func(in *plan.Input) { mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.ReadOnly = true }) }, ""},
		"it has no name":      {func(in *plan.Input) { mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.Source = "" }) }, ""},
		"the host's own":      {func(in *plan.Input) { bind(in, "/var/run/docker.sock") }, ""},
		"a Swarm asks nobody": {func(in *plan.Input) { in.Observed.Scheduled = true }, ""},
	} {
		in := twoDatabases()
		c.edit(&in)
		step := plan.Make(in).Step("db")
		if c.at == "" {
			assert.Equal(t, plan.Surge, step.Action, name)
			assert.Empty(t, step.Interruption, name)
			continue
		}
		why := "keeps its data in " + c.at + ", which two at once would damage"
		assert.Equal(t, plan.StopFirst, step.Action, name)
		assert.Contains(t, step.Reasons, "start-first is not possible: "+why, name)
		assert.Equal(t, "until the new units are well: "+why, step.Interruption, name)
	}

	in := twoDatabases()
	in.Desired.Services["db"].Update.Order = stack.StopFirst
	assert.Equal(t, "until the new units are well: stops before it starts", plan.Make(in).Step("db").Interruption, "who asks for it needs no reason")
}

// A way back is rolled as rollback_config says, which starts first where update_config does.
func TestMake_ADatabaseGoesBackByItself(t *testing.T) {
	t.Parallel()
	in := twoDatabases()
	db := in.Desired.Services["db"]
	db.Update.Order, db.Rollback.Order = stack.StopFirst, stack.StartFirst
	in.Desired.GoBack()
	require.Equal(t, stack.StartFirst, db.Update.Order)
	assert.Equal(t, plan.StopFirst, plan.Make(in).Step("db").Action)
}

// Two units in one network want the same ports, and the gate of the new one may be answered
// by the old one: no two generations are there at once.
func TestMake_WhoSharesANetworkStopsFirst(t *testing.T) {
	t.Parallel()
	for mode, blocks := range map[string]bool{
		"host": true, "service:db": true, "container:4711": true, "": false, "none": false, "bridge": false, "hostile": false,
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v1"), Only: []string{"worker"}}
		worker := in.Desired.Services["worker"]
		worker.NetworkMode, worker.Update.Order = mode, stack.StartFirst
		step := plan.Make(in).Step("worker")
		if !blocks {
			assert.Equal(t, plan.Surge, step.Action, mode)
			continue
		}
		why := "network_mode " + mode + ", where two would want the same ports"
		assert.Equal(t, plan.StopFirst, step.Action, mode)
		assert.Contains(t, step.Reasons, "start-first is not possible: "+why)
		assert.Equal(t, "until the new units are well: "+why, step.Interruption)

		in.Observed.Scheduled = true
		assert.Equal(t, plan.Surge, plan.Make(in).Step("worker").Action, "a Swarm leaves it out")
	}
}
