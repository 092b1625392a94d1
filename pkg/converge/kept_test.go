package converge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeIdle is an engine that no run has left anything on.
func fakeIdle(t *testing.T) *engine.Engine {
	t.Helper()
	return served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `[]`)
	}))
}

// served is an engine that answers so.
func served(t *testing.T, answers http.Handler) *engine.Engine {
	t.Helper()
	server := httptest.NewServer(answers)
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
		"beside the container of another": {pinned, func(st *stack.Stack, _ *transition) {
			st.Services["db"].Update.Delay, st.Services["old"].Made = time.Second, "of the container"
		}, "", true},
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

// fakeImages is an engine of which somebody took images. It remembers what it is asked;
// a pull of what is in no registry is refused, one of slow ends once another image is tagged.
type fakeImages struct {
	mu      sync.Mutex
	there   map[string]bool
	nowhere string
	slow    string
	strict  bool // only what is there can be tagged
	tagged  chan struct{}
	once    sync.Once
	asked   []string
}

func (f *fakeImages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1.41/images/")
	if f.slow != "" && r.URL.Query().Get("tag") == f.slow {
		select {
		case <-f.tagged:
		case <-time.After(2 * time.Second):
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	name, what := "sha256:"+r.URL.Query().Get("tag"), "pull"
	if at := strings.LastIndex(path, "/"); at >= 0 {
		name, what = path[:at], strings.Replace(path[at+1:], "json", "look", 1)
	}
	f.asked = append(f.asked, what+" "+name)
	switch {
	case what == "pull" && (name == f.nowhere || r.Header.Get("X-Registry-Auth") == ""):
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"message":"manifest unknown"}`)
	case what == "pull":
		f.there[name] = true
	case what == "tag" && (!f.strict || f.there[name]):
		w.WriteHeader(http.StatusCreated)
		f.once.Do(func() {
			if f.tagged != nil {
				close(f.tagged)
			}
		})
	case !f.there[name]:
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"message":"No such image"}`)
	default:
		_, _ = fmt.Fprint(w, `{"Id":"sha256:1"}`)
	}
}

// fakePruned is a host whose units are made of images that have to be there.
type fakePruned struct {
	*fakeCutOff
	images *fakeImages
}

func (*fakePruned) HoldsImages() bool { return true }

func (f *fakePruned) Carry(_ context.Context, p *plan.Plan, st *stack.Stack, _ rollout.How) (report rollout.Report, err error) {
	for _, s := range p.Steps {
		switch {
		case !s.Changes():
		case !f.images.there[st.Services[s.Service].Pinned]:
			err = fmt.Errorf("create 1 of %s: No such image", s.Service)
		default:
			f.back = append(f.back, s.Service)
		}
	}
	return report, err
}

// A way back pulls the images that somebody took from the host while the release ran, and
// what cannot be had keeps nothing else from going back.
func TestAWayBackPullsWhatIsGone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		there, nowhere string
		back, asked    string
		kind           fault.Kind
		says           string
	}{
		"all are there": {"api beat", "", "beat api", "look sha256:beat, look sha256:api", fault.Failed, "v1 serves again"},
		"one is gone": {"api", "", "beat api", "look sha256:beat, look sha256:api, look sha256:beat, pull sha256:beat",
			fault.Failed, "v1 serves again"},
		"one cannot be had": {"", "sha256:beat", "api", "", fault.Stuck,
			"create 1 of beat: No such image; the image of beat is gone from the host and could not be pulled: "},
		"its hint": {"", "sha256:beat", "api", "", fault.Stuck, "go back to what served before: shiksha rollback --release 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, on := afterCutOff(t, map[string]string{"api": "v2", "beat": "v2", "worker": "v1", "search": "v1"})
			images := &fakeImages{there: map[string]bool{}, nowhere: c.nowhere}
			for _, name := range strings.Fields(c.there) {
				images.there["sha256:"+name] = true
			}
			d.on, d.Engine = &fakePruned{on, images}, served(t, images)
			d.opts.Registry = engine.Auth{Username: "ci", Password: "secret"}
			d.result.Rollout.Touched = []string{"api", "beat"}
			err := d.fail(t.Context(), errors.New("api-2 is unhealthy"))
			assert.Equal(t, c.kind, fault.Of(err), "%v", err)
			assert.Equal(t, c.back, strings.Join(on.back, " "))
			assert.Contains(t, err.Error()+"; "+fault.Hint(err), c.says)
			if c.asked != "" {
				assert.Equal(t, c.asked, strings.Join(images.asked, ", "))
			}
		})
	}
}

// What is pulled is kept at once: others may be pulled for minutes, in which somebody's
// `docker image prune` takes what has no tag.
func TestWhatIsPulledIsKeptAtOnce(t *testing.T) {
	t.Parallel()
	st := cutOffShop(t)
	images := &fakeImages{there: map[string]bool{}, slow: "beat", tagged: make(chan struct{})}
	d := &transition{Target: &target.Target{Sink: event.Discard, Engine: served(t, images)}, on: &fakePruned{images: images}, result: &Result{},
		opts:   Options{Stack: st, Asked: Asked{Registry: engine.Auth{Username: "ci", Password: "secret"}}},
		plan:   &plan.Plan{Steps: []plan.Step{{Service: "api"}, {Service: "beat"}}},
		record: &release.Record{Project: "shop", Number: 2, Services: map[string]release.ServiceRecord{}},
		facts:  &facts{images: map[string]engine.Image{}}}
	for _, name := range []string{"api", "beat"} {
		d.facts.images[name] = engine.Image{Pinned: st.Services[name].Pinned}
		d.record.Services[name] = release.ServiceRecord{Pinned: st.Services[name].Pinned}
	}
	require.NoError(t, d.fetch(t.Context()))
	first, ended := slices.Index(images.asked, "tag sha256:api"), slices.Index(images.asked, "pull sha256:beat")
	assert.GreaterOrEqual(t, first, 0)
	assert.Less(t, first, ended, "%v", images.asked)
}

// An image that was there when the release began may be let go by another project before it is tagged.
func TestWhatAnotherProjectLetGoIsPulled(t *testing.T) {
	t.Parallel()
	st := cutOffShop(t)
	images := &fakeImages{there: map[string]bool{}, strict: true}
	d := &transition{Target: &target.Target{Sink: event.Discard, Engine: served(t, images)}, on: &fakePruned{images: images}, result: &Result{},
		opts:   Options{Stack: st, Asked: Asked{Registry: engine.Auth{Username: "ci", Password: "secret"}}},
		plan:   &plan.Plan{Steps: []plan.Step{{Service: "api"}}},
		record: &release.Record{Project: "shop", Number: 2, Services: map[string]release.ServiceRecord{"api": {Pinned: st.Services["api"].Pinned}}}}
	require.NoError(t, d.tag(t.Context()))
	assert.Equal(t, []string{"tag sha256:api", "look sha256:api", "pull sha256:api", "tag sha256:api"}, images.asked)

	images.there, images.nowhere = map[string]bool{}, "sha256:api"
	require.ErrorContains(t, d.tag(t.Context()), "keep the image of api: ")
}

// What a kept release was pinned to stays though somebody took its tag, under which another
// release of the same image, forgotten since, was kept.
func TestWhatAKeptReleaseIsPinnedToStays(t *testing.T) {
	t.Parallel()
	const tag, pulled = "shiksha.local/shop/api:release-3", "ghcr.io/team/api@sha256:a"
	for kept, want := range map[string][]string{
		pulled:                            {tag},
		"ghcr.io/team/api@sha256:b":       {tag, pulled},
		"ghcr.io/team/api-other@sha256:a": {tag, pulled},
	} {
		l, err := release.Open(t.Context(), disk.Files{}, t.TempDir(), "shop")
		require.NoError(t, err)
		for _, r := range []release.Record{{Outcome: release.Verified}, {Outcome: release.Verified}, {Outcome: release.Failed}, {Outcome: release.Failed}} {
			outcome := r.Outcome
			r.Outcome, r.Services = release.Started, map[string]release.ServiceRecord{"api": {Pinned: kept}}
			require.NoError(t, l.Append(t.Context(), &r))
			r.Outcome = outcome
			require.NoError(t, l.Update(t.Context(), &r))
		}
		_, err = l.Prune(t.Context(), 1)
		require.NoError(t, err)
		var taken []string
		d := &transition{ledger: l, opts: Options{Stack: &stack.Stack{Name: "shop"}}, Target: &target.Target{
			Engine: served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch name, isImage := strings.CutPrefix(r.URL.Path, "/v1.41/images/"); {
				case r.Method == http.MethodDelete:
					taken = append(taken, name)
					_, _ = fmt.Fprint(w, `[]`)
				case !isImage:
					_, _ = fmt.Fprint(w, `[]`)
				case name == "json":
					_, _ = fmt.Fprintf(w, `[{"Id":"sha256:1","RepoTags":[%q]}]`, tag)
				default:
					_, _ = fmt.Fprintf(w, `{"Id":"sha256:1","RepoTags":[%q],"RepoDigests":[%q]}`, tag, pulled)
				}
			}))}}
		require.NoError(t, d.untag(t.Context()))
		assert.Equal(t, want, taken, kept)
	}
}

// Going back once more is not the way out where the database is the older one.
func TestTheOlderDatabaseIsNotForTheReleaseBefore(t *testing.T) {
	t.Parallel()
	d := &transition{facts: &facts{verified: &release.Record{Number: 3}}}
	assert.Contains(t, d.byHand(), "shiksha rollback --release 3, ")
	d.undoDatabase = func(context.Context) error { return nil }
	assert.NotContains(t, d.byHand(), "shiksha rollback")
	assert.NotContains(t, (&transition{facts: &facts{}}).byHand(), "shiksha rollback", "a first release")
}
