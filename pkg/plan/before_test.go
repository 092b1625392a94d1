package plan_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// A database of which nothing runs is dumped before a migration too, unless this release
// makes all that it keeps its data in.
func TestMake_DumpsWhatMayHoldData(t *testing.T) {
	t.Parallel()
	gone := func(in *plan.Input) { delete(in.Observed.Units, "db") }
	first := func(in *plan.Input) { in.Observed = stack.Observed{Project: "shop"} }
	mounts := func(in *plan.Input, m ...types.ServiceVolumeConfig) {
		first(in)
		var c types.ServiceConfig
		c.Volumes = m
		in.Desired.Project.Services["db"] = c
	}
	for name, c := range map[string]struct {
		edit func(*plan.Input)
		want []string
	}{
		"it runs":                     {func(*plan.Input) {}, []string{"db"}},
		"it exited":                   {func(in *plan.Input) { in.Observed.Units["db"][0].State = stack.Exited }, []string{"db"}},
		"it restarts again and again": {func(in *plan.Input) { in.Observed.Units["db"][0].State = stack.Restarting }, []string{"db"}},
		"its containers are gone":     {gone, []string{"db"}},
		"it exited, its volume has no name": {func(in *plan.Input) {
			in.Observed.Units["db"][0].State, in.Desired.Services["db"].Volumes = stack.Exited, nil
		}, []string{"db"}},
		"the first release":      {first, nil},
		"its volume was removed": {func(in *plan.Input) { gone(in); in.Observed.Volumes = nil }, nil},
		"a command of a release is left": {func(in *plan.Input) {
			in.Observed.Units["db"][0].OneOff, in.Observed.Volumes = true, nil
		}, nil},
		"an external volume": {func(in *plan.Input) {
			first(in)
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "data", External: true}
		}, []string{"db"}},
		"a volume made of a folder": {func(in *plan.Input) {
			first(in)
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{DriverOpts: types.Options{"type": "none", "o": "bind", "device": "/srv/data"}}
		}, []string{"db"}},
		"a volume of another driver": {func(in *plan.Input) {
			first(in)
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{Driver: "ceph"}
		}, []string{"db"}},
		"a folder of the host": {func(in *plan.Input) {
			mounts(in, types.ServiceVolumeConfig{Type: types.VolumeTypeBind, Source: "/srv/data", Target: "/var/lib/postgresql/data"})
		}, []string{"db"}},
		"what a database cannot write to, or is ours": {func(in *plan.Input) {
			in.Desired.Services["db"].Files = []stack.File{{Target: "/init.sql"}}
			mounts(in, types.ServiceVolumeConfig{Type: types.VolumeTypeBind, Source: "/etc/localtime", Target: "/etc/localtime", ReadOnly: true},
				types.ServiceVolumeConfig{Type: types.VolumeTypeBind, Source: "/state/init.sql", Target: "/init.sql"},
				types.ServiceVolumeConfig{Type: types.VolumeTypeTmpfs, Target: "/tmp"})
		}, nil},
		"the first release on a Swarm": {func(in *plan.Input) { first(in); in.Observed.Scheduled = true }, nil},
		"a Swarm that had it": {func(in *plan.Input) {
			first(in)
			in.Observed.Scheduled, in.Past = true, map[string]plan.Past{"db": {}}
		}, []string{"db"}},
		"it runs and is not released":                    {func(in *plan.Input) { in.Only = []string{"api"} }, []string{"db"}},
		"its containers are gone and it is not released": {func(in *plan.Input) { gone(in); in.Only = []string{"api"} }, []string{"db"}},
		"it was never released, nor is now":              {func(in *plan.Input) { first(in); in.Only = []string{"api"} }, nil},
		"its containers are gone and none are wanted":    {func(in *plan.Input) { gone(in); in.Desired.Services["db"].Replicas = 0 }, []string{"db"}},
		"it was never there and none are wanted":         {func(in *plan.Input) { first(in); in.Desired.Services["db"].Replicas = 0 }, nil},
		"a volume by another name, and it is not released": {func(in *plan.Input) {
			gone(in)
			in.Only, in.Observed.Volumes = []string{"api"}, map[string]stack.Resource{"data": {Key: "data", Name: "former"}}
		}, nil},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v1")}
		in.Desired.Services["db"].Ext.Backups = &stack.Backups{}
		in.Desired.Services["api"].Ext.Migrate = &stack.Migrate{Command: []string{"migrate"}}
		c.edit(&in)
		assert.Equal(t, c.want, plan.Make(in).Backups, name)
	}
}
