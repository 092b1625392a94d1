package plan_test

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// accessory is a stack whose database is new on a folder that a container outside writes to.
func accessory() plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
	in.Desired.Services["db"].Image = "postgres:16"
	mounts(&in, "db", func(v *types.ServiceVolumeConfig) {
		v.Type, v.Source, v.Target = types.VolumeTypeBind, "/home/deploy/shop-db/data/", "/var/lib/postgresql/data"
	})
	delete(in.Observed.Units, "db")
	outside(&in, stack.Other{Name: "shop-db", Writes: []string{"/home/deploy/shop-db/data"}})
	return in
}

func outside(in *plan.Input, o stack.Other) { in.Observed.Others = map[string]stack.Other{"o": o} }

const besideIt = "db would write to folder /home/deploy/shop-db/data beside shop-db, which is not of this project and runs; " +
	"that damages a database: stop it first (docker stop shop-db)"

// The accessory of Kamal, or what `docker run` started: both servers are alone in their
// container, so neither sees the other's lock.
func TestMake_NoDatabaseBesideOneOutside(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{besideIt}, plan.Make(accessory()).Refusals)
	for name, c := range map[string]struct {
		other stack.Other
		says  string
	}{
		"below it":          {stack.Other{Name: "x", Writes: []string{"/home/deploy/shop-db/data/base"}}, "(docker stop x)"},
		"another project":   {stack.Other{Name: "ops-db-1", Project: "ops", Service: "pg", Writes: []string{"/home/deploy/shop-db/data"}}, "beside ops-db-1 of project ops, which is not of this project and runs; that damages a database: stop it first (docker stop ops-db-1)"},
		"the stack itself":  {stack.Other{Name: "acme-db-1", Project: "acme", Service: "db", Writes: []string{"/home/deploy/shop-db/data"}}, "(docker stop acme-db-1), or, where that is this stack, release it by its name there (input project: acme)"},
		"a task of a Swarm": {stack.Other{Name: "ops_db.1.x7", Project: "ops", Task: "ops_db", Writes: []string{"/home/deploy/shop-db/data"}}, "beside ops_db.1.x7 of stack ops, which is not of this project and runs; that damages a database: stop it first (docker service scale ops_db=0)"},
	} {
		in := accessory()
		outside(&in, c.other)
		if refusals := plan.Make(in).Refusals; assert.Len(t, refusals, 1, name) {
			assert.Contains(t, refusals[0], c.says, name)
		}
	}

	in := accessory()
	in.Observed.Units["db"] = running("db", "v1", 1, 1) // it had another volume
	assert.Equal(t, []string{besideIt}, plan.Make(in).Refusals, "a replacement is no better")
}

// A volume that is external, or stands for a folder of the host.
func TestMake_NoDatabaseBesideOneOutsideOnAVolume(t *testing.T) {
	t.Parallel()
	in := accessory()
	mounts(&in, "db", func(*types.ServiceVolumeConfig) {})
	assert.Empty(t, plan.Make(in).Refusals)
	in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "pgdata", External: true}
	outside(&in, stack.Other{Name: "shop-db", Writes: []string{"pgdata"}})
	assert.Contains(t, strings.Join(plan.Make(in).Refusals, "; "), "db would write to volume pgdata beside shop-db")

	in.Desired.Project.Volumes["data"] = types.VolumeConfig{Name: "shop_data", DriverOpts: types.Options{"type": "none", "o": "bind", "device": "/srv/pg/"}}
	outside(&in, stack.Other{Name: "shop-db", Writes: []string{"/srv/pg"}})
	assert.Contains(t, strings.Join(plan.Make(in).Refusals, "; "), "db would write to volume shop_data beside shop-db", "by its folder")
	in.Observed.Units["db"] = running("db", "v1", 1, 1)
	in.Observed.Units["db"][0].Writes = []string{"shop_data"}
	assert.Empty(t, plan.Make(in).Refusals, "both have it already")
}

// What is no second server, or was one all along, holds up no release.
func TestMake_WhatOutsideIsLetBe(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*plan.Input){
		"nobody looked": func(in *plan.Input) { in.Observed.Others = nil },
		"it writes elsewhere": func(in *plan.Input) {
			outside(in, stack.Other{Name: "x", Writes: []string{"/home/deploy/shop-db/data2", "data"}})
		},
		"tools of the whole host": func(in *plan.Input) {
			outside(in, stack.Other{Name: "x", Writes: []string{"/", "/home", "/home/deploy/shop-db", "/var/lib/docker/volumes", "/var/run/docker.sock"}})
		},
		"it only reads itself": func(in *plan.Input) {
			mounts(in, "db", func(v *types.ServiceVolumeConfig) {
				v.Type, v.Source, v.Target, v.ReadOnly = "bind", "/home/deploy/shop-db/data", "/data", true
			})
		},
		"no database":      func(in *plan.Input) { in.Desired.Services["db"].Image = "example/files:v1" },
		"a job":            func(in *plan.Input) { in.Desired.Services["db"].Job = true },
		"a Swarm":          func(in *plan.Input) { in.Observed.Scheduled = true },
		"it is not chosen": func(in *plan.Input) { in.Only = []string{"api"} },
		"nothing is made":  func(in *plan.Input) { in.Observed.Units["db"] = running("db", "v2", 1, 1) },
		"both have it already": func(in *plan.Input) {
			in.Observed.Units["db"] = running("db", "v1", 1, 1)
			in.Observed.Units["db"][0].Writes = []string{"/home/deploy/shop-db/data"}
		},
		"the folder of its dumps": func(in *plan.Input) {
			c := in.Desired.Project.Services["db"]
			c.Volumes = append(c.Volumes, types.ServiceVolumeConfig{Type: "bind", Source: "/srv/dumps", Target: "/dumps"})
			in.Desired.Project.Services["db"] = c
			outside(in, stack.Other{Name: "uploader", Writes: []string{"/srv/dumps"}})
		},
	} {
		in := accessory()
		edit(&in)
		assert.Empty(t, plan.Make(in).Refusals, name)
	}
}

// The database that fell over comes up again beside a tool that ran beside it before, but
// beside no other server, which may have taken its place.
func TestMake_AStoppedDatabaseAndWhatIsOutside(t *testing.T) {
	t.Parallel()
	in := accessory()
	in.Observed.Units["db"] = running("db", "v2", 1, 1)
	in.Observed.Units["db"][0].State, in.Observed.Units["db"][0].Writes = stack.Exited, []string{"/home/deploy/shop-db/data"}
	outside(&in, stack.Other{Name: "restic", Image: "restic/restic:0.17", Writes: []string{"/home/deploy/shop-db/data"}})
	assert.Equal(t, plan.Create, plan.Make(in).Step("db").Action)
	assert.Empty(t, plan.Make(in).Refusals)
	for _, image := range []string{"postgres:15", "registry.example/db:v1", "sha256:4ac2"} {
		outside(&in, stack.Other{Name: "shop-db", Image: image, Writes: []string{"/home/deploy/shop-db/data"}})
		assert.Equal(t, []string{besideIt}, plan.Make(in).Refusals, image)
	}
}
