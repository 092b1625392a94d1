package converge

import (
	"context"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeFolder lists what fakeFiles hold.
type fakeFolder struct{ fakeFiles }

func (f fakeFolder) List(_ context.Context, dir string) (infos []fs.FileInfo, err error) {
	files := fstest.MapFS{}
	for name, data := range f.fakeFiles {
		files[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: data}
	}
	entries, err := fs.ReadDir(files, strings.TrimPrefix(dir, "/"))
	for _, e := range entries {
		info, _ := e.Info()
		infos = append(infos, info)
	}
	return infos, err
}

// A rollback takes away what the releases that it undoes made, and nothing else that bears
// the project's name: no ledger could bring it back.
func TestARollbackTakesAwayOnlyWhatTheUndoneReleasesMade(t *testing.T) {
	t.Parallel()
	files := fakeFolder{fakeFiles{}}
	d := begun(t, files, &release.Record{Outcome: release.Verified, Services: services("api", "surge", "legacy", "create")})
	for _, r := range []release.Record{
		{Outcome: release.Verified, Services: services("api", "surge")}, // the one to go back to
		{Outcome: release.Verified, Services: services("api", "surge", "beat", "create")},
		{Outcome: release.Failed, Services: services("api", "surge", "paused", "create", "missed", "stop-first"),
			Steps: []release.Step{{Name: "surge", Service: "api"}, {Name: "create", Service: "paused"}}},
		{Outcome: release.Refused, Services: services("refused", "create")},
		{Outcome: release.Interrupted, Services: services("cut", "create", "known", "unchanged")},
	} {
		require.NoError(t, d.ledger.Append(t.Context(), &r))
	}
	assert.Nil(t, d.made(t.Context()), "a deploy asks for nothing")
	assert.True(t, created(d.ledger)["beat"])
	assert.False(t, created(d.ledger)["refused"], "it ended before it made any")

	d.opts.Back = &Back{Restores: 2}
	assert.Equal(t, []string{"api", "beat", "cut", "paused"}, madeNames(t, d))
	d.opts.Back = &Back{Restores: 3}
	assert.Equal(t, []string{"api", "cut", "paused"}, madeNames(t, d))

	// What a damaged record had its sealed stack says, where that is whole; that this program
	// would make it otherwise now is nothing to it.
	damaged := database(t, "postgres@sha256:"+strings.Repeat("1", 64), "[]")
	require.NoError(t, d.ledger.WriteSealed(t.Context(), 6, otherwise(t, damaged)))
	files.fakeFiles["/state/shop/releases/6.json"] = []byte("{")
	require.NoError(t, d.ledger.Reload(t.Context()))
	assert.Equal(t, []string{"api", "db", "old", "paused"}, madeNames(t, d))
}

// A sidecar's units have a hash that no record knows; one that only the undone release created
// goes all the same, and one that a release replaced does not by its name.
func TestARollbackTakesAwayTheSidecarOfTheUndoneRelease(t *testing.T) {
	t.Parallel()
	d := begun(t, fakeFolder{fakeFiles{}}, &release.Record{Outcome: release.Verified, Services: services("api", "surge")})
	model := []byte(`{"services": {"api": {}, "proxy": {"network_mode": "service:api"}, "tunnel": {"network_mode": "service:api"}}}`)
	made := release.Record{Outcome: release.Verified, Model: model, Services: services("api", "surge", "proxy", "create", "tunnel", "stop-first")}
	require.NoError(t, d.ledger.Append(t.Context(), &made))
	d.opts.Back = &Back{Restores: 1}
	f := &facts{made: d.made(t.Context()), observed: stack.Observed{Units: map[string][]stack.Unit{
		"proxy": {{ID: "proxy-1", Hash: "of the container"}}, "tunnel": {{ID: "tunnel-1", Hash: "by hand"}},
	}}}
	assert.Equal(t, []string{"proxy-1"}, f.madeByUndone())
}

// services are those of a record, each with what the release was to do.
func services(pairs ...string) map[string]release.ServiceRecord {
	out := map[string]release.ServiceRecord{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = release.ServiceRecord{Action: pairs[i+1]}
	}
	return out
}

// madeNames are the services of which something was made.
func madeNames(t *testing.T, d *transition) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(d.made(t.Context())))
}

// A way back of a release that failed takes away what it made, not what it found.
func TestAWayBackLeavesWhatNoReleaseMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		id, hash, action string
		want             plan.Action
	}{
		"the one that it found runs again": {"by-hand", "none", "stop-first", plan.Keep},
		"it was replaced":                  {"new", "v2", "stop-first", plan.Keep},
		"there was none":                   {"new", "v2", "create", plan.Remove},
	} {
		d, on := afterCutOff(t, map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": "v1"})
		d.facts.observed.Units = maps.Clone(on.units)
		if c.action != "create" {
			d.facts.observed.Units["postgres"] = []stack.Unit{{ID: "by-hand", Service: "postgres", State: stack.Running, Hash: "none"}}
		}
		on.units["postgres"] = []stack.Unit{{ID: c.id, Service: "postgres", State: stack.Running, Hash: c.hash}}
		now := *d.opts.Stack
		now.Services = maps.Clone(now.Services)
		now.Services["postgres"] = &stack.Service{Name: "postgres", Hash: "v2", Replicas: 1}
		d.opts.Stack = &now
		d.record.Outcome = release.Refused
		require.NoError(t, d.ledger.Update(t.Context(), d.record))
		// The release's own record says what it was to do.
		require.NoError(t, d.ledger.Append(t.Context(), &release.Record{Outcome: release.Started, Services: services("postgres", c.action)}))
		_, in, err := d.wayBack(t.Context(), []string{"postgres"})
		require.NoError(t, err)
		assert.Equal(t, c.want, plan.Make(in).Step("postgres").Action, name)
		assert.Equal(t, c.id == "new" && c.want == plan.Keep, strings.Contains(d.servesNow(), "beside [postgres]"), name)
	}
}

// What was found reaches the plan.
func TestARollbackPlansWithWhatWasMade(t *testing.T) {
	t.Parallel()
	unit := func(name string) []stack.Unit {
		return []stack.Unit{{ID: name, Service: name, State: stack.Running, Hash: "v2"}}
	}
	f := &facts{stack: &stack.Stack{Name: "shop"}, made: map[string][]string{"beat": {"v2"}, "redis": {"v2"}, "cache": {"v2"}}, created: map[string]bool{"beat": true, "redis": true},
		observed: stack.Observed{Units: map[string][]stack.Unit{"beat": unit("beat"), "postgres": unit("postgres"), "cache": unit("cache"),
			"redis": {{ID: "by-hand", Service: "redis", State: stack.Running, Hash: "v1"}}}}}
	p := plan.Make(f.input(Options{Back: &Back{}, RemoveOrphans: true}, nil))
	assert.Equal(t, plan.Remove, p.Step("beat").Action)
	for _, name := range []string{"postgres", "redis", "cache"} { // in no release, made before it, taken over by it
		assert.Equal(t, plan.Keep, p.Step(name).Action, name)
	}
}
