package converge

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

func TestAway(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	step := func(name string, seconds int) release.Step {
		return release.Step{Name: name, Service: "llm", Started: at, Ended: at.Add(time.Duration(seconds) * time.Second)}
	}
	one := map[string]release.ServiceRecord{"llm": {Action: "stop-first", Replicas: 1}}
	records := []release.Record{
		{Outcome: release.Verified, Services: one, Steps: []release.Step{step("stop", 10), step("start", 1), step("gate", 95), step("create", 9)}},
		{Outcome: release.Failed, Services: one, Steps: []release.Step{step("stop", 500)}},
		{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"llm": {Action: "unchanged", Replicas: 1}}},
	}
	st := &stack.Stack{Services: map[string]*stack.Service{"llm": {Update: stack.Update{Monitor: 5 * time.Second}}, "new": {}}}
	assert.Equal(t, map[string]time.Duration{"llm": 101 * time.Second}, away(records, st))

	// One that was never replaced was started once.
	first := []release.Record{{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"llm": {Action: "create", Replicas: 1}},
		Steps: []release.Step{step("create", 2), step("start", 1), step("gate", 65)}}}
	assert.Equal(t, map[string]time.Duration{"llm": 61 * time.Second}, away(first, st))
	several := []release.Record{{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"llm": {Action: "stop-first", Replicas: 2}},
		Steps: []release.Step{step("stop", 2)}}}
	assert.Empty(t, away(several, st), "some of several units always run")
}

// fakeFolders is a host with folders and a configuration of containerd, "" for none.
type fakeFolders struct {
	there       []string
	config      string
	stat, asked error
}

func (f fakeFolders) Exists(_ context.Context, dir string) (bool, error) {
	return slices.Contains(f.there, dir), f.stat
}

func (f fakeFolders) Read(_ context.Context, name string) ([]byte, error) {
	if f.config == "" && f.asked == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return []byte(f.config), f.asked
}

// The disk that is measured is the one that images are pulled to, and where that is a guess
// it refuses nobody.
func TestImagesIn(t *testing.T) {
	t.Parallel()
	const packaged, moved, docker = "/var/lib/containerd", "/data/containerd", "/data/docker"
	denied := fmt.Errorf("open: %w", fs.ErrPermission)
	both := []string{packaged, moved}
	for name, c := range map[string]struct {
		root string
		host fakeFolders
		want string
		sure bool
	}{
		"there":                    {docker, fakeFolders{there: both}, packaged, true},
		"somewhere else":           {docker, fakeFolders{}, docker, false},
		"it does not tell":         {docker, fakeFolders{there: both, stat: denied}, docker, false},
		"moved":                    {docker, fakeFolders{there: both, config: "version = 3\n\n  root = '/data/containerd'\n[grpc]\n"}, moved, true},
		"moved, in the first line": {docker, fakeFolders{there: both, config: `root="/data/containerd"`}, moved, true},
		"not moved":                {docker, fakeFolders{there: both, config: "#root = \"/data/containerd\"\nstate = \"/run/containerd\"\n"}, packaged, true},
		"another's root":           {docker, fakeFolders{there: both, config: "version = 3\n  [plugins.x]\n  root = \"/data/containerd\"\n"}, packaged, true},
		"moved to nowhere":         {docker, fakeFolders{there: []string{packaged}, config: "root = \"/data/containerd\"\n"}, docker, false},
		"not to be read":           {docker, fakeFolders{there: both, asked: denied}, packaged, false},
		"not to be read, unmoved":  {"/var/lib/docker", fakeFolders{there: both, asked: denied}, packaged, true},
		"the engine's own":         {packaged, fakeFolders{config: "root = \"/data/containerd\"\n"}, packaged, true},
	} {
		dir, sure := imagesIn(t.Context(), engine.Info{RootDir: c.root, ImageDir: packaged}, c.host)
		assert.Equal(t, c.want, dir, name)
		assert.Equal(t, c.sure, sure, name)
	}
}

// What is told of a way back of a database is who is stopped for it; what does not run is not.
// The plan that is recorded stays as it is.
func TestWhoIsStoppedForADatabaseIsPlanned(t *testing.T) {
	t.Parallel()
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": {Name: "api"}, "off": {Name: "off"}}}
	units := map[string][]stack.Unit{"api": {{ID: "api-1", State: stack.Running}}, "off": {{ID: "off-1", State: stack.Exited}}}
	p := &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Unchanged, Replicas: 1}, {Service: "off", Action: plan.Unchanged, Replicas: 1}}}
	d := &transition{plan: p, facts: &facts{observed: stack.Observed{Units: units}}, opts: Options{Stack: st}}
	assert.Same(t, p, d.planned(), "a deploy")
	d.opts.Back = &Back{Service: "db", Backup: "db-1", Writers: []string{"api", "off", "gone"}}
	assert.Same(t, p, d.planned(), "a rollback that leaves the database alone")
	d.opts.Back.Database = func(context.Context) ([]string, func(context.Context) error, error) { return nil, nil, nil }
	told := d.planned()
	assert.Equal(t, []string{"api"}, told.Changed())
	assert.Contains(t, told.String(), "backup db-1; stopped before: api\n")
	assert.Equal(t, plan.Create, told.Step("api").Action)
	assert.Empty(t, p.Changed())
}
