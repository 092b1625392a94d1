package converge

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// A database that is brought up for its migration does not come up beside the one whose
// volume it gets.
func TestWhatLeftGoesBeforeTheDatabaseComesUp(t *testing.T) {
	t.Parallel()
	on := &backPlatform{}
	api := &stack.Service{Name: "api", DependsOn: []stack.Dependency{{Service: "db"}}}
	d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, facts: &facts{}, record: &release.Record{}, result: &Result{},
		opts: Options{Stack: &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": api, "db": {Name: "db"}}}},
		plan: &plan.Plan{Steps: []plan.Step{
			{Service: "postgres", Action: plan.Remove, Before: []string{"db"}}, {Service: "db", Action: plan.Create},
			{Service: "api", Action: plan.StopFirst}, {Service: "legacy", Action: plan.Remove},
		}}}
	require.NoError(t, d.ground(t.Context(), []string{"api"}))
	assert.Equal(t, []string{"postgres", "db"}, on.back)
	assert.Equal(t, []string{"api", "legacy"}, d.rest.Changed())
}

// After a reboot the database of a migration may be starting yet, and is waited for before
// it is dumped.
func TestAStartingDatabaseIsWaitedForBeforeAMigration(t *testing.T) {
	t.Parallel()
	on := &backPlatform{}
	api := &stack.Service{Name: "api", DependsOn: []stack.Dependency{{Service: "db"}}}
	d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, facts: &facts{}, record: &release.Record{}, result: &Result{},
		opts: Options{Stack: &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": api, "db": {Name: "db"}, "search": {Name: "search"}}}},
		plan: &plan.Plan{Steps: []plan.Step{{Service: "db", Action: plan.Gate, Starting: true}, {Service: "search", Action: plan.Gate, Starting: true},
			{Service: "api", Action: plan.StopFirst}}}}
	require.NoError(t, d.ground(t.Context(), []string{"api"}))
	assert.Equal(t, []string{"db"}, on.back)
	assert.Equal(t, []string{"search", "api"}, d.rest.Changed())
}

// onePlatform runs the units of some services and remembers what a way back changes.
type onePlatform struct {
	backPlatform
	runs []string
}

func (o *onePlatform) Observe(context.Context, string) (stack.Observed, error) {
	units := map[string][]stack.Unit{}
	for _, name := range o.runs {
		units[name] = []stack.Unit{{ID: name, Service: name, State: stack.Running, Hash: name}}
	}
	units["db"][0].Writes = []string{"shop_data"}
	return stack.Observed{Units: units}, nil
}

// A run that was cut off may have taken away first what the one that heals it has to
// bring back.
func TestWhatACutOffRunTookAwayComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "services: {postgres: {image: pg, volumes: [data:/data]}, api: {image: api}, search: {image: search}}\nvolumes: {data: {}}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o600))
	before, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	digest := "@sha256:" + strings.Repeat("1", 64)
	require.NoError(t, before.Pin(map[string]string{"postgres": "pg" + digest, "api": "api" + digest, "search": "search" + digest}))
	sealed, err := before.Seal()
	require.NoError(t, err)
	now := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"db": {Name: "db"}, "api": {Name: "api"}, "search": {Name: "search"}}}
	for outcome, back := range map[release.Outcome]string{release.Interrupted: "db postgres", release.Started: "db postgres", release.Verified: "db"} {
		for _, runs := range []string{"db api", "db api postgres"} {
			on := &onePlatform{runs: strings.Fields(runs)}
			d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, record: &release.Record{}, result: &Result{Rollout: &rollout.Report{}},
				facts: &facts{since: []release.Record{{Outcome: outcome}, {Outcome: release.Stuck}}, standing: &standing{1, sealed}},
				opts:  Options{Stack: now, RollbackOnFailure: true, Lock: &release.Lock{}}}
			require.NoError(t, d.back(t.Context(), []string{"db"}))
			want := strings.Fields(back)
			if slices.Contains(on.runs, "postgres") { // it was left alone
				want = []string{"db"}
			}
			assert.Equal(t, want, on.back, "%s, %s", outcome, runs)
		}
	}
}
