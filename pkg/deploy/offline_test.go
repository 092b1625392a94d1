package deploy

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

var write = flag.Bool("write", false, "write the golden files instead of comparing them")

// Each folder is a stack shaped like those that people run; .env-file is its
// env-file input and .files names more than one Compose file.
func TestPlansOfRealStacks(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("testdata/plans/*")
	require.NoError(t, err)
	require.Len(t, dirs, 20)
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			env, _ := os.ReadFile(filepath.Join(dir, ".env-file"))
			o := Options{Workspace: dir, Project: "shop", EnvFile: env, Asked: converge.Asked{DryRun: true}}
			if names, err := os.ReadFile(filepath.Join(dir, ".files")); err == nil {
				o.ComposeFiles = strings.Split(strings.TrimSpace(string(names)), ",")
			}
			result, err := Run(t.Context(), o, event.Discard)
			require.NoError(t, err)
			require.NotNil(t, result.Preflight)
			var b strings.Builder
			b.WriteString(result.Plan.String())
			for _, r := range result.Preflight.Results {
				if r.Outcome == check.Fail {
					b.WriteString("  preflight: " + r.Name + ": " + r.Found + "\n")
				}
			}
			b.WriteString("the release after it, with everything changed:\n")
			b.WriteString(nextRelease(t, o).String())
			golden := filepath.Join(dir, "plan.golden")
			if *write {
				require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), b.String())
		})
	}
}

// nextRelease plans for a host that runs every service as it was before.
func nextRelease(t *testing.T, o Options) *plan.Plan {
	t.Helper()
	st, err := o.load(t.Context(), "/var/lib/shiksha")
	require.NoError(t, err)
	images, seen := map[string]string{}, stack.Observed{Units: map[string][]stack.Unit{}, Networks: map[string]stack.Resource{}, Volumes: map[string]stack.Resource{}}
	for name, svc := range st.Services {
		images[name] = svc.Image
		for i := range svc.Replicas {
			seen.Units[name] = append(seen.Units[name], stack.Unit{ID: name + string(rune('1'+i)), Service: name, Number: i + 1,
				State: stack.Running, Health: stack.HealthOK, Hash: "before", Image: svc.Image})
		}
	}
	require.NoError(t, st.Pin(images))
	for k := range st.Project.Networks {
		seen.Networks[k] = stack.Resource{Key: k}
	}
	for k := range st.Project.Volumes {
		seen.Volumes[k] = stack.Resource{Key: k}
	}
	return plan.Make(plan.Input{Desired: st, Observed: seen})
}

// A service that is only built runs what the input images names for it.
func TestImagesOfWhatIsOnlyBuilt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte("services:\n  api: {build: .}\n  worker: {build: .}\n"), 0o600))
	o := Options{Workspace: dir, Project: "shop", Asked: converge.Asked{DryRun: true}, Images: map[string]string{"api": "team/api:v2"}}
	_, err := Run(t.Context(), o, event.Discard)
	require.ErrorContains(t, err, "service worker has build but no image")
	o.Images["worker"] = "team/worker:v2"
	result, err := Run(t.Context(), o, event.Discard)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"api", "worker"}, result.Changed)
	st, err := o.load(t.Context(), "/var/lib/shiksha")
	require.NoError(t, err)
	assert.Equal(t, "team/api:v2", st.Services["api"].Image)
}

// What is not carried out is refused with a sentence that says what, where and what
// to do instead.
func TestWhatIsNotSupportedIsSaid(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"services: {a: {image: x, provider: {type: aws}}}":                             "provider is not supported",
		"services: {a: {image: x, models: [m]}}\nmodels: {m: {model: ai/x}}":           "models is not supported",
		"services: {a: {image: x, use_api_socket: true}}":                              "use_api_socket is not supported",
		"services: {a: {build: .}}":                                                    "a deploy never builds",
		"services: {a: {image: x, deploy: {mode: global-job}}}":                        `deploy.mode "global-job" is not supported`,
		"services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {external: true}}":      "needs a Swarm",
		"services: {a: {image: x}}\ninclude: [\"https://example.org/compose.yaml\"]\n": "is not a file of the workspace",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o600))
		result, err := Run(t.Context(), Options{Workspace: dir, Project: "shop", Asked: converge.Asked{DryRun: true}}, event.Discard)
		assert.Equal(t, fault.Input, fault.Of(err), text)
		assert.Equal(t, "shop", result.Project, "known without the file")
		assert.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, "compose.yaml")
		assert.NotEmpty(t, fault.Hint(err), text)
	}
}

// Who plans for a Swarm reads all that it does otherwise, and a release to one is
// refused before a host is needed where data would be lost.
func TestASwarmIsSpokenOf(t *testing.T) {
	t.Parallel()
	const services = "services:\n  db:\n    image: postgres:15\n    restart: always\n    volumes: [\"data:/data\"]\nvolumes: {data: {}}\n"
	for name, c := range map[string]struct {
		engine, head string
		spoken       bool
	}{
		"asked for": {"swarm", "", true}, "asked for by the stack": {"auto", "x-shiksha: {engine: swarm}\n", true},
		"one host": {"compose", "x-shiksha: {engine: swarm}\n", false}, "nobody said anything": {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(c.head+services), 0o600))
			o := Options{Workspace: dir, Project: "shop", Engine: c.engine, Asked: converge.Asked{DryRun: true}}
			sink := &event.Recorder{}
			_, err := Run(t.Context(), o, sink)
			require.NoError(t, err)
			told := ""
			for _, e := range sink.Events() {
				told += e.Text + "\n"
			}
			for _, finding := range []string{"P17.restart db: ", "P17.volume db: "} {
				assert.Equal(t, c.spoken, strings.Contains(told, finding), told)
			}
			o.DryRun = false
			_, err = Run(t.Context(), o, event.Discard)
			assert.Equal(t, c.spoken, err != nil && strings.Contains(err.Error(), "P17.volume"), "%v", err)
		})
	}
}

// What is wrong on one host and right on a Swarm is no refusal before the host has said which
// it is, unless that is known; a host that cannot be asked does not hide it.
func TestWhatOnlyTheHostDecides(t *testing.T) {
	t.Parallel()
	const services = "services:\n  nginx:\n    image: nginx:1.27\n    volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\"]\n" +
		"  front:\n    image: example/front:v1\n    deploy: {update_config: {order: start-first}}\n"
	const volume = "  db:\n    image: postgres:15\n    volumes: [\"data:/data\"]\nvolumes: {data: {}}\n"
	for name, c := range map[string]struct {
		engine, head, tail, preflight, address string
		later                                  bool
	}{
		"nobody said anything": {later: true}, "auto": {engine: "auto", later: true}, "strict": {preflight: Strict},
		"one host": {engine: "compose"}, "one host by its file": {head: "x-shiksha: {engine: compose}\n"},
		"a Swarm": {engine: "swarm"}, "a Swarm by its file": {head: "x-shiksha: {engine: swarm}\n"},
		"wrong on both": {tail: volume}, "does not refuse": {preflight: Warn}, "no host": {address: "none"},
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(c.head+services+c.tail), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte("events {}\nhttp { server { location / { proxy_pass http://front:3000; } } }\n"), 0o600))
		o := Options{Workspace: dir, Project: "shop", Engine: c.engine, Preflight: c.preflight}
		if c.address == "" {
			o.Host.Address = "deploy@127.0.0.1:1"
		}
		st, err := o.load(t.Context(), release.DefaultStateDir)
		require.NoError(t, err)
		assert.Equal(t, c.later, o.hostDecides(t.Context(), st), name)
		if c.later {
			sink := &event.Recorder{}
			_, err = Run(t.Context(), o, sink)
			require.ErrorContains(t, err, "P05.gateway", name)
			assert.Equal(t, fault.Refused, fault.Of(err))
		}
	}
}

// A host that keeps state elsewhere has its files there; what the verifier set stays set.
func TestAStackThatIsPlacedElsewhereKeepsItsAddress(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte("name: shop\nservices: {web: {image: \"nginx:1\", volumes: [\"./x:/x:ro\"]}}\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), []byte("1"), 0o644))
	o := Options{Workspace: dir}
	st, err := o.load(t.Context(), release.DefaultStateDir)
	require.NoError(t, err)
	st.URL = "https://shop.example.org"
	for stateDir, same := range map[string]bool{release.DefaultStateDir: true, "/home/deploy/.local/state/shiksha": false} {
		there, err := o.placed(t.Context(), st, stateDir)
		require.NoError(t, err)
		assert.Equal(t, "https://shop.example.org", there.URL)
		assert.Equal(t, path.Join(stateDir, "shop"), there.Dir)
		assert.Equal(t, same, there == st)
	}
}
