package converge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeIdle is an engine that no run has left anything on.
func fakeIdle(t *testing.T) *engine.Engine {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `[]`)
	}))
	t.Cleanup(server.Close)
	api, err := client.New(client.WithHost("tcp://"+strings.TrimPrefix(server.URL, "http://")), client.WithAPIVersion("1.41"))
	require.NoError(t, err)
	e, err := engine.New(api, nil)
	require.NoError(t, err)
	return e
}

// database is a stack of one, pinned, with checks of its own.
func database(t *testing.T, image, checks string) *stack.Stack {
	t.Helper()
	var node yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(checks), &node))
	c := types.ServiceConfig{Name: "db"}
	c.Image = "postgres"
	st := &stack.Stack{
		Name: "shop", Dir: "/state/shop", Order: []string{"db", "old"},
		Services: map[string]*stack.Service{"db": {Name: "db", Replicas: 1, Image: "postgres"}, "old": {Name: "old", Replicas: 1, Image: "postgres"}},
		Project:  &types.Project{Name: "shop", Services: types.Services{"db": c, "old": c}, Environment: types.Mapping{"VERSION": image}},
		Checks:   &stack.Checks{File: "compose.yaml", Node: node.Content[0]},
	}
	require.NoError(t, st.Pin(map[string]string{"db": image, "old": image}))
	return st
}

// What the Compose file says beside its units is kept with the release that serves when
// there is nothing else to do, for it is read there; never of other units, of chosen
// services or of a stack that a run may have left in parts.
func TestWhatChangesNoUnitIsKept(t *testing.T) {
	t.Parallel()
	const before, after = "- http: {path: /} # said once\n", "- http: {path: /health}\n"
	pinned := "postgres@sha256:" + strings.Repeat("1", 64)
	for name, c := range map[string]struct {
		image   string
		change  func(*stack.Stack, *transition)
		newest  release.Outcome
		written bool
	}{
		"backups":         {pinned, func(st *stack.Stack, _ *transition) { st.Services["db"].Ext.Backups = &stack.Backups{Database: "shop"} }, "", true},
		"update_config":   {pinned, func(st *stack.Stack, _ *transition) { st.Services["db"].Update.Delay = time.Second }, "", true},
		"rollback_config": {pinned, func(st *stack.Stack, _ *transition) { st.Services["db"].Rollback.Delay = time.Second }, "", true},
		"checks":          {pinned, func(st *stack.Stack, _ *transition) { st.Checks = database(t, pinned, after).Checks }, "", true},
		"another version": {pinned, func(st *stack.Stack, _ *transition) { st.Project.Environment["VERSION"] = "v2" }, "", false},
		"nothing":         {pinned, func(*stack.Stack, *transition) {}, "", false},
		"without a service that stays": {pinned, func(st *stack.Stack, _ *transition) {
			st.Services["db"].Update.Delay = time.Second
			delete(st.Services, "old")
		}, "", true},
		"chosen services": {pinned, func(st *stack.Stack, d *transition) {
			st.Services["db"].Update.Delay, d.opts.Services = time.Second, []string{"db"}
		}, "", false},
		"a way back": {pinned, func(st *stack.Stack, d *transition) {
			st.Services["db"].Update.Delay, d.opts.Back = time.Second, &Back{}
		}, "", false},
		"other units": {"postgres@sha256:" + strings.Repeat("2", 64), func(st *stack.Stack, _ *transition) {
			st.Services["db"].Update.Delay = time.Second
		}, "", false},
		"after one that went back": {pinned, func(st *stack.Stack, _ *transition) { st.Services["db"].Update.Delay = time.Second }, release.Failed, true},
		"after a cut":              {pinned, func(st *stack.Stack, _ *transition) { st.Services["db"].Update.Delay = time.Second }, release.Interrupted, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := fakeFiles{}
			was := database(t, pinned, before)
			d := begun(t, files, &release.Record{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"db": {Hash: was.Services["db"].Hash}}})
			sealed, err := was.Seal()
			require.NoError(t, err)
			require.NoError(t, d.ledger.WriteSealed(t.Context(), 1, sealed))
			if c.newest != "" {
				require.NoError(t, d.ledger.Append(t.Context(), &release.Record{Outcome: c.newest, Steps: []release.Step{{Name: "roll"}}}))
			}
			d.on, d.Engine, d.Host, d.opts.Stack = &backPlatform{}, fakeIdle(t), &host.Host{}, database(t, c.image, before)
			c.change(d.opts.Stack, d)
			d.facts.know(d.ledger)
			said := &event.Recorder{}
			d.Sink = said
			require.NoError(t, d.nothing(t.Context()))
			kept, err := d.ledger.ReadSealed(t.Context(), 1)
			require.NoError(t, err)
			assert.Equal(t, c.written, string(kept) != string(sealed))
			assert.Equal(t, c.written, slices.ContainsFunc(said.Events(), func(e event.Event) bool { return strings.HasPrefix(e.Text, "release 1 keeps") }))
			if !c.written {
				return
			}
			st, err := stack.Unseal(kept)
			require.NoError(t, err)
			assert.Equal(t, d.opts.Stack.Services["db"].Ext, st.Services["db"].Ext)
			assert.Equal(t, d.opts.Stack.Services["db"].Update, st.Services["db"].Update)
			assert.Equal(t, d.opts.Stack.Services["db"].Rollback, st.Services["db"].Rollback)
			assert.Equal(t, pinned, st.Project.Environment["VERSION"], "the rest is what the release was made of")
			assert.Equal(t, name == "checks", len(st.Checks.Node.Content) == 1 && strings.Contains(string(kept), "/health"))
		})
	}
}
