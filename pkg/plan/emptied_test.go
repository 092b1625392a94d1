package plan_test

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// moved is a stack whose database was on volume shop_data, and is on shop_data2 now, which
// is not there.
func moved() plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Desired.Services["db"].Image = "postgres:17"
	in.Desired.Services["db"].Volumes = []string{"data2"}
	in.Desired.Project.Volumes = types.Volumes{"data2": {Name: "shop_data2"}}
	mounts(&in, "db", func(v *types.ServiceVolumeConfig) { v.Source = "data2" })
	was(&in, "/data", "shop_data")
	return in
}

// was gives the unit of the database the place that it writes to.
func was(in *plan.Input, target, place string) {
	u := &in.Observed.Units["db"][0]
	u.Hash, u.Volumes, u.Writes, u.Targets = "db-v1", []string{place}, []string{place}, map[string]string{target: place}
}

// mount adds a mount to a service.
func mount(in *plan.Input, service string, m types.ServiceVolumeConfig) {
	c := in.Desired.Project.Services[service]
	c.Volumes = append(c.Volumes, m)
	in.Desired.Project.Services[service] = c
}

func TestMake_ADatabaseThatBeginsEmpty(t *testing.T) {
	t.Parallel()
	const (
		empty  = "db begins with an empty volume: shop_data2 is not there, and what it had at /data is in volume shop_data; "
		first  = "make it first, with a copy of that or to begin empty: docker volume create shop_data2"
		rename = "to keep that say name: shop_data for volume data2 in the Compose file, else "
	)
	backed := func(in *plan.Input) { in.Desired.Services["db"].Ext.Backups = &stack.Backups{} }
	for name, c := range map[string]struct {
		edit            func(*plan.Input)
		notes, refusals []string
	}{
		"its volume has another key":          {func(*plan.Input) {}, []string{empty + rename + first}, nil},
		"what is dumped is refused":           {backed, nil, []string{empty + rename + first}},
		"it does not run":                     {func(in *plan.Input) { in.Observed.Units["db"][0].State = stack.Exited }, []string{empty + rename + first}, nil},
		"going back, the file is of a former": {func(in *plan.Input) { in.Back = true }, []string{empty + first}, nil},
		"its volume has another name": {func(in *plan.Input) {
			in.Desired.Services["db"].Volumes = []string{"data"}
			in.Desired.Project.Volumes = types.Volumes{"data": {Name: "shop_data2"}}
			mounts(in, "db", func(*types.ServiceVolumeConfig) {})
		}, []string{"db begins with an empty volume: shop_data2 is not there, and what it had at /data is in volume shop_data; " +
			"to keep that say name: shop_data for volume data in the Compose file, else " + first}, nil},
		"it was in a folder": {func(in *plan.Input) { was(in, "/data", "/srv/pg") }, []string{"db begins with an empty volume: shop_data2 is not there, " +
			"and what it had at /data is in folder /srv/pg; to keep that mount it as before, else " + first}, nil},
		"it was in a volume without a name": {func(in *plan.Input) {
			was(in, "/data", "3fa9")
			in.Observed.Units["db"][0].Anonymous = []string{"/data"}
		}, []string{"db begins with an empty volume: shop_data2 is not there, and what it had at /data is in volume 3fa9; " + first}, nil},
		"it had a file of the host in there": {func(in *plan.Input) {
			in.Observed.Units["db"][0].Targets["/data/db.conf"] = "/srv/db.conf"
		}, []string{empty + rename + first}, nil},
		"its image has its data one below": {func(in *plan.Input) { was(in, "/data/17", "shop_data") }, []string{strings.Replace(empty, "/data", "/data/17", 1) + rename + first}, nil},
		"or above":                         {func(in *plan.Input) { was(in, "/", "shop_data") }, []string{strings.Replace(empty, "/data", "/", 1) + rename + first}, nil},

		"it is no database":   {func(in *plan.Input) { in.Desired.Services["db"].Image = "registry.example/wiki" }, nil, nil},
		"the volume is there": {func(in *plan.Input) { in.Observed.Volumes["data2"] = stack.Resource{Key: "data2", Name: "shop_data2"} }, nil, nil},
		"it is somebody's": {func(in *plan.Input) {
			in.Desired.Project.Volumes["data2"] = types.VolumeConfig{Name: "shop_data2", External: true}
		}, nil, nil},
		"it is made of a path": {func(in *plan.Input) {
			in.Desired.Project.Volumes["data2"] = types.VolumeConfig{Name: "shop_data2", DriverOpts: types.Options{"device": "/srv/pg"}}
		}, nil, nil},
		"it is not written to": {func(in *plan.Input) {
			mounts(in, "db", func(v *types.ServiceVolumeConfig) { v.Source, v.ReadOnly = "data2", true })
		}, nil, nil},
		"the first release": {func(in *plan.Input) { in.Observed = stack.Observed{Project: "shop"} }, nil, nil},
		"a second volume":   {func(in *plan.Input) { was(in, "/config", "shop_data") }, nil, nil},
		"one within what it keeps": {func(in *plan.Input) {
			was(in, "/data", "shop_data")
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "shop_data"}
			mounts(in, "db", func(*types.ServiceVolumeConfig) {})
			mount(in, "db", types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: "data2", Target: "/data/fast"})
		}, nil, nil},
		"it has the former one beside it": {func(in *plan.Input) {
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "shop_data"}
			mount(in, "db", types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: "data", Target: "/former", ReadOnly: true})
		}, nil, nil},
		"another service copies it": {func(in *plan.Input) {
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "shop_data"}
			mount(in, "worker", types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: "data", Target: "/from", ReadOnly: true})
			mount(in, "worker", types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: "data2", Target: "/to"})
		}, nil, nil},
		"a command of a release had it": {func(in *plan.Input) { in.Observed.Units["db"][0].OneOff = true }, nil, nil},
		"it is not released":            {func(in *plan.Input) { in.Only = []string{"worker"} }, nil, nil},
		"none of it is wanted":          {func(in *plan.Input) { in.Desired.Services["db"].Replicas = 0 }, nil, nil},
	} {
		in := moved()
		c.edit(&in)
		p := plan.Make(in)
		assert.Equal(t, c.notes, p.Notes, name)
		assert.Equal(t, c.refusals, p.Refusals, name)
	}
}

// The image of PostgreSQL 18 declares a volume above the folder that most give a name: nothing
// is in there where the file says that the data is in the one with a name.
func TestMake_ADatabaseThatKeepsItsDataBelow(t *testing.T) {
	t.Parallel()
	const above, data = "/var/lib/postgresql", "/var/lib/postgresql/data"
	for name, c := range map[string]struct {
		pgdata, target string
		edit           func(*plan.Input)
		refused        bool
	}{
		"a volume beside it":     {data, above + "/wal", func(*plan.Input) {}, false},
		"the one above":          {data, above, func(*plan.Input) {}, false},
		"the data one below":     {data + "/pg", above, func(*plan.Input) {}, false},
		"the data may be above":  {"", above, func(*plan.Input) {}, true},
		"the data is above":      {above + "/18", above, func(*plan.Input) {}, true},
		"the one above has name": {data, above, func(in *plan.Input) { in.Observed.Units["db"][0].Anonymous = nil }, true},
		"the data is not kept": {data, above, func(in *plan.Input) {
			in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "shop_other", External: true}
		}, true},
	} {
		in := moved()
		in.Desired.Services["db"].Volumes, in.Desired.Services["db"].Ext.Backups = []string{"data", "data2"}, &stack.Backups{}
		in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "shop_data"}
		mounts(&in, "db", func(v *types.ServiceVolumeConfig) { v.Target = data })
		mount(&in, "db", types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: "data2", Target: c.target})
		if db := in.Desired.Project.Services["db"]; c.pgdata != "" {
			db.Environment = types.MappingWithEquals{"PGDATA": &c.pgdata}
			in.Desired.Project.Services["db"] = db
		}
		u := &in.Observed.Units["db"][0]
		u.Targets, u.Anonymous = map[string]string{data: "shop_data", above: "3fa9"}, []string{above}
		c.edit(&in)
		p := plan.Make(in)
		assert.Equal(t, c.refused, len(p.Refusals) == 1, "%s: %s", name, p.Refusals)
	}
}
