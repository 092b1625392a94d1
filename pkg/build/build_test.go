package build

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	docker "github.com/moby/moby/client"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// workspace writes a Compose file and the folders it builds.
func workspace(t *testing.T, compose string, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"compose.yaml": compose, "api/Dockerfile": "FROM scratch\n", "web/Dockerfile": "FROM scratch\n"}
	for k, v := range more {
		files[k] = v
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

const shop = `
services:
  api: {build: {context: ./api, tags: ["ghcr.io/team/shop/api:extra"]}, image: "ghcr.io/team/shop/api:${VERSION}"}
  web: {build: ./web, image: ghcr.io/Team/Shop/web}
  worker: {image: "ghcr.io/team/shop/api:${VERSION}"}
  local: {build: ./web}
  db: {image: "postgres:16", environment: {PASSWORD: "${PASSWORD}"}}
`

func prepared(t *testing.T, o Options) (*run, error) {
	t.Helper()
	if o.Environment == nil {
		o.Environment = map[string]string{"VERSION": "v1"}
	}
	r := &run{o: o, sink: event.Discard, result: &Result{}}
	return r, r.prepare(context.Background())
}

func TestTargets(t *testing.T) {
	t.Parallel()
	dir := workspace(t, shop, nil)
	r, err := prepared(t, Options{Workspace: dir, Push: true, Targets: []string{"web", "api"}, Registry: Login{Registry: "https://ghcr.io/"},
		Git: Git{Ref: "refs/heads/fix/cart", Commit: "0a1b2c3d4e5f"}})
	require.NoError(t, err)
	require.Len(t, r.plan.targets, 2)
	api, web := r.plan.targets[0], r.plan.targets[1]
	assert.Equal(t, []string{"ghcr.io/team/shop/api:v1", "ghcr.io/team/shop/api:extra", "ghcr.io/team/shop/api:fix-cart", "ghcr.io/team/shop/api:sha-0a1b2c3"}, api.tags)
	assert.Equal(t, []string{"api", "worker"}, api.services)
	assert.Equal(t, "ghcr.io/team/shop/web:latest", web.tags[0], "in lower case")
	assert.Equal(t, "api/Dockerfile", api.dockerfile)
	assert.Equal(t, CacheRegistry, r.o.cache())
	assert.Equal(t, "ghcr.io/team/shop/api:buildcache-api", r.cacheTo(api)[0].Attrs["ref"])
}

func TestRefusedBeforeAnythingIsBuilt(t *testing.T) {
	t.Parallel()
	dir := workspace(t, shop, map[string]string{"outside.yaml": "services: {api: {build: ../elsewhere, image: a}}\n",
		"bake.json":   `{"target": {"api": {"context": "api", "tags": ["ghcr.io/team/other:v1"]}}}`,
		"linked.yaml": "services: {api: {build: {context: ./api, additional_contexts: {base: \"service:web\"}}, image: a}, web: {build: ./web, image: b}}\n",
		"secret.yaml": "services: {api: {build: {context: ./api, secrets: [s]}, image: a}}\nsecrets: {s: {environment: NOWHERE}}\n",
		"arch.yaml":   "services: {api: {build: {context: ./api, platforms: [linux/arn64]}, image: a}}\n",
		"policy.yaml": "services: {api: {build: ./ruled, image: a}}\n", "ruled/Dockerfile": "FROM scratch\n", "ruled/Dockerfile.rego": "package docker\n",
		"policy.json": `{"target": {"api": {"context": "api", "tags": ["ghcr.io/team/shop/api:v1"], "policy": [{"filename": "x.rego"}]}}}`})
	for name, c := range map[string]struct {
		o    Options
		says []string
	}{
		"unknown platform":       {Options{Platforms: []string{"linux/amd46"}}, []string{`platforms: "linux/amd46" is not a platform that is known`, "did you mean linux/amd64?"}},
		"unknown in the file":    {Options{ComposeFiles: []string{"arch.yaml"}}, []string{`arch.yaml:1: "linux/arn64"`, "did you mean linux/arm64?"}},
		"no such target":         {Options{Targets: []string{"wep"}}, []string{"there is no service wep", "did you mean web?"}},
		"target without build":   {Options{Targets: []string{"db"}}, []string{"compose.yaml:7", "the target db has no `build:`"}},
		"push without a tag":     {Options{Push: true}, []string{"local would be pushed, but nothing says as what", "compose.yaml:6"}},
		"another registry":       {Options{Push: true, Targets: []string{"api"}, Registry: Login{Registry: "quay.io"}}, []string{"quay.io", "ghcr.io/team/shop/api:v1"}},
		"another repository":     {Options{Targets: []string{"api"}, Tags: []string{"ghcr.io/team/other:v1"}}, []string{"ghcr.io/team/other:v1", "ghcr.io/team/shop/api:v1"}},
		"bake names another":     {Options{BakeFile: "bake.json", Targets: []string{"api"}, Push: true}, []string{"ghcr.io/team/other:v1", "ghcr.io/team/shop/api:v1"}},
		"not a tag":              {Options{Targets: []string{"api"}, Tags: []string{"a b"}}, []string{`"a b" cannot be a tag`}},
		"outside the workspace":  {Options{ComposeFiles: []string{"outside.yaml"}}, []string{"outside.yaml:1", "leaves the workspace"}},
		"an image not built":     {Options{ComposeFiles: []string{"linked.yaml"}, Targets: []string{"api"}}, []string{"built from the image of web, which is not among the targets"}},
		"a secret without value": {Options{ComposeFiles: []string{"secret.yaml"}}, []string{"variable is not set: NOWHERE"}},
		"load of two platforms":  {Options{Load: true, Platforms: []string{"linux/amd64", "linux/arm64"}}, []string{"load: an engine takes one platform"}},
		"load with provenance":   {Options{Load: true, Provenance: "max"}, []string{"load: an engine cannot take provenance"}},
		"provenance":             {Options{Provenance: "some"}, []string{`provenance: "some" is none of them`}},
		"a policy":               {Options{ComposeFiles: []string{"policy.yaml"}}, []string{"ruled/Dockerfile.rego: api has a policy", "policies are not supported here"}},
		"a policy in a target":   {Options{BakeFile: "policy.json", Targets: []string{"api"}}, []string{"policy.json: api has a policy", "docker buildx build"}},
		"cache in no workflow":   {Options{Cache: CacheGitHub}, []string{"cache: gha is the cache of a GitHub workflow"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.o.Workspace = dir
			_, err := prepared(t, c.o)
			require.Error(t, err)
			assert.Equal(t, fault.Input, fault.Of(err))
			for _, text := range c.says {
				assert.Contains(t, err.Error()+" / "+fault.Hint(err), text)
			}
		})
	}
}

func TestTagsOfACommit(t *testing.T) {
	t.Parallel()
	versions := []string{"v1.2.3", "v1.2.4", "v1.9.0", "v2.0.0", "v2.1.0-rc.1", "nightly"}
	for ref, want := range map[string][]string{
		"refs/heads/main":        {"main", "sha-0a1b2c3"},
		"refs/heads/feature/x+y": {"feature-x-y", "sha-0a1b2c3"},
		"refs/pull/12/merge":     {"pr-12", "sha-0a1b2c3"},
		"refs/tags/v2.0.0":       {"2.0.0", "2.0", "2", "latest", "sha-0a1b2c3"},
		"refs/tags/v1.9.0":       {"1.9.0", "1.9", "1", "sha-0a1b2c3"},
		"refs/tags/v1.2.4":       {"1.2.4", "1.2", "sha-0a1b2c3"},
		"refs/tags/v1.2.3":       {"1.2.3", "sha-0a1b2c3"},
		"refs/tags/v2.1.0-rc.1":  {"2.1.0-rc.1", "sha-0a1b2c3"},
		"refs/tags/nightly":      {"nightly", "sha-0a1b2c3"},
		"":                       {"sha-0a1b2c3"},
	} {
		assert.Equal(t, want, Git{Ref: ref, Commit: "0a1b2c3d4e", Versions: versions}.tags(), ref)
	}
	assert.Equal(t, []string{"0.3.0", "0.3", "latest"}, Git{Ref: "refs/tags/v0.3.0"}.tags(), "0.x has no major line")
}

func TestGitHubCacheIsTheSecondVersion(t *testing.T) {
	t.Parallel()
	dir := workspace(t, shop, nil)
	r, err := prepared(t, Options{Workspace: dir, Targets: []string{"api"}, Cache: CacheGitHub, GitHub: GitHubCache{URL: "https://results.example/", Token: "t0ken"}})
	require.NoError(t, err)
	to := r.cacheTo(r.plan.targets[0])[0]
	assert.Equal(t, "gha", to.Type)
	assert.Equal(t, "2 https://results.example/ t0ken api max true", to.Attrs["version"]+" "+to.Attrs["url_v2"]+" "+to.Attrs["token"]+" "+
		to.Attrs["scope"]+" "+to.Attrs["mode"]+" "+to.Attrs["ignore-error"])
}

func TestACacheInS3TakesTheRunnersKey(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	r := &run{o: Options{CacheTo: []string{"type=s3,region=eu-central-1,bucket=caches"}}}
	entry := r.cacheTo(&target{})[0]
	assert.Equal(t, "s3", entry.Type)
	assert.Equal(t, map[string]string{"region": "eu-central-1", "bucket": "caches", "access_key_id": "id", "secret_access_key": "key"}, entry.Attrs)
}

func TestSecretsAndArguments(t *testing.T) {
	t.Parallel()
	dir := workspace(t, `
services:
  api:
    build: {context: ./api, secrets: [file, {source: env, target: other}], args: {NPM_TOKEN: abc, FROM_ENV: , FROM_NOWHERE: }}
    image: a
secrets: {file: {file: ./s.txt}, env: {environment: S}}
`, map[string]string{"s.txt": "of a file"})
	sink := &event.Recorder{}
	var protected []string
	r := &run{o: Options{Workspace: dir, Environment: map[string]string{"S": "of the environment", "FROM_ENV": "x"},
		Protect: func(s ...string) { protected = append(protected, s...) }}, sink: sink, result: &Result{}}
	require.NoError(t, r.prepare(t.Context()))
	api := r.plan.targets[0]
	assert.Equal(t, map[string][]byte{"file": []byte("of a file"), "other": []byte("of the environment")}, api.secrets)
	assert.ElementsMatch(t, []string{"of a file", "of the environment"}, protected)
	assert.Equal(t, "x", *api.spec.Args["FROM_ENV"])
	assert.NotContains(t, api.spec.Args, "FROM_NOWHERE")
	r.warnArguments()
	events := sink.Events()
	last := events[len(events)-1]
	assert.Equal(t, event.Warning, last.Level)
	assert.Contains(t, last.Text, "NPM_TOKEN looks like a secret")
	assert.NotContains(t, last.Text, "abc")
	spec, err := r.spec(api)
	require.NoError(t, err)
	assert.Nil(t, spec.Secrets, "the library would read files by itself")
}

// What the input says wins over the Compose file, also where it says no.
func TestAnSBOMThatTheFileAsksForCanBeRefused(t *testing.T) {
	t.Parallel()
	dir := workspace(t, "services: {api: {build: {context: ./api, sbom: true}, image: a}}\n", nil)
	for input, want := range map[string]bool{"": true, "true": true, "false": false, "generator=scanner": true} {
		r, err := prepared(t, Options{Workspace: dir, Push: true, SBOM: input})
		require.NoError(t, err)
		spec, err := r.spec(r.plan.targets[0])
		require.NoError(t, err)
		assert.Equal(t, want, spec.Attest.ToMap()["sbom"] != nil, "sbom: %s", input)
	}
}

// What the branch of a commit is called may have no letter that a tag can have.
func TestABranchThatCannotBeATag(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"sha-0a1b2c3"}, Git{Ref: "refs/heads/правка", Commit: "0a1b2c3d4e"}.tags())
	assert.Equal(t, []string{"sha-0a1b2c3"}, Git{Ref: "refs/tags/日本", Commit: "0a1b2c3d4e"}.tags())
	assert.Equal(t, []string{"v1--", "sha-0a1b2c3"}, Git{Ref: "refs/heads/правка/v1-й", Commit: "0a1b2c3d4e"}.tags())
}

// BuildKit answers with the digest of its last export, and what a deploy takes is what was
// pushed: the same image in another form has another digest.
func TestThePushIsTheLastExport(t *testing.T) {
	t.Parallel()
	dir := workspace(t, "services: {api: {build: ./api, image: a}}\n", nil)
	r, err := prepared(t, Options{Workspace: dir, Push: true, Load: true, Outputs: []string{"type=oci,dest=image.tar"}})
	require.NoError(t, err)
	r.builder = &chosen{kind: "docker-container"}
	options, err := r.options(t.Context())
	require.NoError(t, err)
	var types []string
	for _, e := range options["api"].Exports {
		types = append(types, e.Type+e.Attrs["push"])
	}
	assert.Equal(t, []string{"docker", "oci", "imagetrue"}, types)
}

// An image of type=docker goes to the file that is named; only one without goes to an
// engine, and there has to be one.
func TestAnImageInAFileIsNotGivenToTheEngine(t *testing.T) {
	t.Parallel()
	dir := workspace(t, "services: {api: {build: ./api, image: a}}\n", nil)
	engine, err := docker.New()
	require.NoError(t, err)
	for output, loads := range map[string]bool{"type=docker,dest=image.tar": false, "type=docker": true, "type=oci,dest=image.tar": false,
		"type=docker,tar=false,dest=out": false} {
		r, err := prepared(t, Options{Workspace: dir, Outputs: []string{output}})
		require.NoError(t, err)
		r.builder = &chosen{kind: "docker-container", engine: engine}
		exports, err := r.outputs(r.plan.targets[0])
		require.NoError(t, err)
		assert.Equal(t, loads, r.builder.loads(exports[0]), output)

		r.builder = &chosen{kind: "remote"}
		_, err = r.options(t.Context())
		if loads {
			require.ErrorContains(t, err, "outputs: type=docker without dest is for an engine")
			assert.Contains(t, fault.Hint(err), "load: true")
		} else {
			require.NoError(t, err, output)
		}
	}
}

// A run that is told to end while its builder starts was interrupted, whatever the engine's
// silence looks like; an engine that is not there is still a refusal.
func TestCancelledWhileTheBuilderStarts(t *testing.T) {
	t.Parallel()
	for name, hangs := range map[string]string{"asked whether it is there": "/_ping", "pulls BuildKit": "/images/create"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			fakeEngine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("API-Version", "1.47")
				switch {
				case strings.HasSuffix(q.URL.Path, hangs):
					cancel()
					<-q.Context().Done()
				case !strings.HasSuffix(q.URL.Path, "/_ping"):
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"message": "no such thing"}`))
				}
			}))
			defer fakeEngine.Close()
			r := &run{o: Options{DockerHost: "tcp://" + fakeEngine.Listener.Addr().String()}, sink: event.Discard, result: &Result{}}
			_, err := choose(ctx, r)
			require.Error(t, err)
			require.Error(t, ctx.Err(), "%s", err)
			assert.Equal(t, fault.Interrupted, fault.Of(err), "%s", err)
		})
	}
	_, err := choose(t.Context(), &run{o: Options{DockerHost: "tcp://127.0.0.1:1"}, sink: event.Discard, result: &Result{}})
	assert.Equal(t, fault.Refused, fault.Of(err), "%s", err)
}

// What is refused has made no folder outside the workspace, also where a link leads there.
func TestADestinationOutsideTheWorkspaceLeavesNothing(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	dir := filepath.Join(outer, "workspace")
	require.NoError(t, os.Rename(workspace(t, "services: {api: {build: ./api, image: a}}\n", nil), dir))
	require.NoError(t, os.Symlink(outer, filepath.Join(dir, "link")))
	for output, refused := range map[string]bool{"../x/y": true, "link/x/y": true, outer + "/x/y/z": true, "new/x/y": false} {
		r, err := prepared(t, Options{Workspace: dir, Outputs: []string{"type=local,dest=" + output}})
		require.NoError(t, err)
		r.builder = &chosen{kind: "remote"}
		_, err = r.outputs(r.plan.targets[0])
		assert.NoDirExists(t, filepath.Join(outer, "x"), output)
		if !refused {
			require.NoError(t, err, output)
			continue
		}
		require.ErrorContains(t, err, "leaves the workspace", output)
		assert.Equal(t, fault.Input, fault.Of(err))
	}
	assert.DirExists(t, filepath.Join(dir, "new", "x"))
}

// Who gives the files to their owner afterwards has to know which they are.
func TestWhatIsWrittenIsTold(t *testing.T) {
	t.Parallel()
	const services = `services: {api: {build: {context: ./api, cache_to: ["type=local,dest=/own-cache"]}, image: a}, web: {build: ./web, image: b}}`
	dir := workspace(t, services, nil)
	r, err := prepared(t, Options{Workspace: dir, Outputs: []string{"type=local,dest=out", "type=cacheonly"},
		CacheTo: []string{"type=local,dest=cache", "type=registry,ref=r/cache"}})
	require.NoError(t, err)
	r.builder = &chosen{kind: "docker-container"}
	for range 2 { // the check and the build
		_, err = r.options(t.Context())
		require.NoError(t, err)
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{filepath.Join(dir, "out", "api"), filepath.Join(dir, "out", "web"), "/own-cache", filepath.Join(here, "cache")}, r.result.Written)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	sink := &event.Recorder{}
	r := &run{sink: sink, result: &Result{}, plan: &plan{targets: []*target{{name: "api"}, {name: "web"}}}}
	p := newProgress(r, "build")
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	later := at.Add(2500 * time.Millisecond)
	vertex := func(id, name string) *client.Vertex {
		return &client.Vertex{Digest: digest.Digest(id), Name: name, Started: &at}
	}
	p.Write(&client.SolveStatus{Vertexes: []*client.Vertex{vertex("1", "[api linux/arm64 compile 2/3] RUN make"), vertex("2", "[web stage-1 1/2] FROM x")}})
	p.Write(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: "1", Data: []byte("one\ntwo\n")}}})
	done, cached, internal := vertex("1", "[api linux/arm64 compile 2/3] RUN make"), vertex("3", "[api 3/3] COPY a b"), vertex("4", "[api internal] load build context")
	for _, v := range []*client.Vertex{done, cached, internal} {
		v.Completed = &later
	}
	cached.Cached = true
	p.Write(&client.SolveStatus{Vertexes: []*client.Vertex{done, cached, internal}})
	p.Write(&client.SolveStatus{Vertexes: []*client.Vertex{done}}) // told once
	events := sink.Events()
	require.Len(t, events, 3)
	assert.Equal(t, "linux/arm64 compile 2/3 RUN make  2.5s", events[0].Text)
	assert.Equal(t, "one\ntwo", events[0].Output)
	assert.Equal(t, "api", events[0].Service)
	assert.Equal(t, "3/3 COPY a b  (cached)", events[1].Text)
	assert.Equal(t, event.Debug, events[2].Level)
	p.beat(later.Add(time.Minute))
	p.beat(later.Add(time.Minute + time.Second))
	events = sink.Events()
	require.Len(t, events, 4, "a step that goes on is told now and then")
	assert.True(t, strings.HasPrefix(events[3].Text, "1/2 FROM x: running for 1m"), events[3].Text)
	steps, fromCache, took := p.figures("api")
	assert.Equal(t, []any{2, 1, 2500 * time.Millisecond}, []any{steps, fromCache, took})
	steps, _, _ = p.figures("web")
	assert.Zero(t, steps, "FROM is no work")
}

// A step under way is told with its last line or without, never with a part of it: half
// of a secret is hidden by nobody.
func TestALongLastLineIsNotCut(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"compiling é": ", last: compiling é", strings.Repeat("x", longestLast): ", last: " + strings.Repeat("x", longestLast),
		strings.Repeat("x", longestLast-5) + "hunter2-long": "", "": "",
	} {
		s := &step{}
		s.write([]byte("first\n" + line + "\n"))
		if line == "" {
			s = &step{}
		}
		assert.Equal(t, want, s.last(), line)
	}
}

// A base image that a busy registry did not give is shown at its FROM only when nothing
// more is tried: a build that went well has no error beside its lines.
func TestAFailureThatMayPassIsNotAnnotated(t *testing.T) {
	t.Parallel()
	dir := workspace(t, "services: {api: {build: ./api, image: \"127.0.0.1:1/a\"}}\n", nil)
	for tried, want := range map[int]int{1: 0, tries: 1} {
		r, err := prepared(t, Options{Workspace: dir})
		require.NoError(t, err)
		var heard event.Recorder
		r.sink = &heard
		err = errdefs.WithSource(errors.New("failed to resolve source metadata for r.example/base:1: 503 Service Unavailable"),
			&errdefs.Source{Info: &pb.SourceInfo{Filename: "Dockerfile"}, Ranges: []*pb.Range{{Start: &pb.Position{Line: 1}}}})
		_, again, failure := r.failed(t.Context(), err, newProgress(r, "build"), tried)
		require.ErrorContains(t, failure, "503")
		assert.Equal(t, want == 0, again)
		assert.Len(t, heard.Events(), want)
	}
}

// Names are the users': only BuildKit's own steps, which have no number, are internal.
func TestStepsOfATargetCalledAuthAreTold(t *testing.T) {
	t.Parallel()
	all := &progress{phase: "build"}
	for name, want := range map[string]bool{
		"[auth linux/amd64 build 2/3] RUN make": false, "[oauth 2/3] RUN make": false, "[api auth 2/3] RUN make": false, "[api internal 2/3] RUN make": false,
		"[auth] library/alpine:pull token for registry-1.docker.io": true, "[api auth] library/alpine:pull token for x": true,
		"[api internal] load build context": true, "[internal] load metadata": true, "exporting to image": true,
	} {
		assert.Equal(t, want, all.parse(&client.Vertex{Name: name}).internal, name)
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"exec /bin/sh: exec format error":                               "emulator",
		"write /x: no space left on device":                             "disk is full",
		"dd: error writing '/x': No space left on device":               "disk is full",
		"failed to push r/a:1: unexpected status: 403 Forbidden":        "packages: write",
		"failed to push r/a:1: 429 Too Many Requests":                   "at the moment",
		notTaken + ": write /x: no space left on device":                "engine's disk",
		"failed to resolve source metadata for docker.io/library/x: no": "FROM",

		`failed to calculate checksum of ref a::b: "/403.html": not found`:                    "",
		`failed to calculate checksum of ref a::b: "/500.html": not found`:                    "",
		"granting entitlement security.insecure is not allowed by build daemon configuration": "--allow-insecure-entitlement",

		"something else": "",
	} {
		assert.Empty(t, machineHint("403 Forbidden"), "a program of the build says it, and not of our registry")
		if hint := hintFor(text); want == "" {
			assert.Empty(t, hint)
		} else {
			assert.Contains(t, hint, want, text)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "Sun, 01 Mar 2026 09:00:30 GMT": 30 * time.Second, "": 0, "soon": 0, "-1": -time.Second,
	} {
		assert.Equal(t, want, wanted(header, now), header)
	}
}

func TestALoginIsNotPrinted(t *testing.T) {
	t.Parallel()
	l := Login{Registry: "GHCR.io", Username: "me", Password: "hush"}
	assert.Equal(t, "me@ghcr.io me@ghcr.io", l.String()+" "+l.GoString())
	assert.Equal(t, "docker.io", Login{Username: "me"}.domain())
}

// The image of the actions is two files and has no /tmp.
func TestABuildWithoutATemporaryFolder(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "tmp")
	t.Setenv("TMPDIR", missing)
	r := &run{}
	release, err := r.isolate()
	require.NoError(t, err)
	assert.Equal(t, missing, filepath.Dir(r.dir))
	info, err := os.Stat(missing)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeSticky, "as every /tmp")
	release()
	assert.NoDirExists(t, r.dir)

	t.Setenv("TMPDIR", "/dev/null/tmp")
	_, err = r.isolate()
	require.ErrorContains(t, err, "cannot make a folder for the build")
	assert.Contains(t, fault.Hint(err), "TMPDIR")
}

// A bake file sees the variables it is given and nothing of this process.
func TestBakeFile(t *testing.T) {
	t.Setenv("LEAK", "secret of the process")
	t.Setenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "1")
	dir := workspace(t, shop, map[string]string{"docker-bake.hcl": `
variable "VERSION" { default = "none" }
variable "LEAK" { default = "nothing" }
group "default" { targets = ["api", "tool"] }
target "api" {
  context = "api"
  tags = ["ghcr.io/team/shop/api:${VERSION}"]
  args = { LEAK = LEAK }
  platforms = ["linux/amd64"]
}
target "tool" {
  context = "web"
  tags = ["ghcr.io/team/tool:v1"]
}
`})
	r, err := prepared(t, Options{Workspace: dir, BakeFile: "docker-bake.hcl", Push: true})
	require.NoError(t, err)
	require.Len(t, r.plan.targets, 2)
	api, tool := r.plan.targets[0], r.plan.targets[1]
	assert.Equal(t, "nothing", *api.spec.Args["LEAK"])
	assert.Equal(t, []string{"ghcr.io/team/shop/api:v1"}, api.tags)
	assert.Equal(t, []string{"api", "worker"}, api.services)
	assert.Empty(t, tool.services, "the Compose file has no such service")
	assert.Equal(t, "web/Dockerfile", tool.dockerfile)
}

// What another target is built on is no image of its own: nobody deploys it.
func TestALinkedTargetIsOnlyBuiltOn(t *testing.T) {
	t.Setenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "1")
	dir := workspace(t, shop, map[string]string{"docker-bake.hcl": `
target "base" { context = "web" }
target "tagged" {
  context = "web"
  tags = ["quay.io/team/base:v1"]
  platforms = ["linux/amd64", "linux/arm64"]
}
target "api" {
  context = "api"
  contexts = { base = "target:base", tagged = "target:tagged" }
  tags = ["ghcr.io/team/shop/api:v1"]
}
group "all" { targets = ["api"] }
group "every" { targets = ["all", "tagged"] }
`})
	for _, wanted := range []string{"api", "all", "a*i"} {
		var heard event.Recorder
		r := &run{o: Options{Workspace: dir, BakeFile: "docker-bake.hcl", Targets: []string{wanted}, Push: true, Environment: map[string]string{"VERSION": "v1"},
			Registry: Login{Registry: "ghcr.io"}, Outputs: []string{"type=local,dest=out"}}, sink: &heard, result: &Result{}}
		require.NoError(t, r.prepare(t.Context()), wanted)
		for _, e := range heard.Events() {
			assert.NotContains(t, e.Text, "its output is not used")
		}
		r.builder = &chosen{kind: "docker-container"}
		options, err := r.options(t.Context())
		require.NoError(t, err)
		require.Len(t, options, 3)
		for _, name := range []string{"base", "tagged"} {
			assert.Equal(t, "cacheonly", options[name].Exports[0].Type)
			assert.Empty(t, options[name].Tags)
			assert.True(t, options[name].Linked)
		}
		assert.Equal(t, "image", options["api"].Exports[1].Type)
	}
	_, err := prepared(t, Options{Workspace: dir, BakeFile: "docker-bake.hcl", Targets: []string{"every"}, Push: true, Registry: Login{Registry: "ghcr.io"}})
	require.ErrorContains(t, err, "quay.io/team/base", "what is asked for is pushed, also where another is built on it")
}

func TestAttestations(t *testing.T) {
	t.Parallel()
	dir := workspace(t, `
services:
  api: {build: {context: ./api, provenance: mode=max}, image: a}
  web: {build: ./web, image: b}
`, nil)
	for _, c := range []struct {
		o        Options
		api, web string
	}{
		{Options{Push: true}, "mode=max", "mode=min"},
		{Options{Push: true, Provenance: "false"}, "", ""},
		{Options{Push: true, Provenance: "min"}, "mode=min", "mode=min"},
		{Options{}, "mode=max", ""},
	} {
		c.o.Workspace = dir
		r, err := prepared(t, c.o)
		require.NoError(t, err)
		for i, want := range []string{c.api, c.web} {
			spec, err := r.spec(r.plan.targets[i])
			require.NoError(t, err)
			have := spec.Attest.ToMap()["provenance"]
			if want == "" {
				assert.Nil(t, have)
			} else if assert.NotNil(t, have) {
				assert.Contains(t, *have, want)
			}
		}
	}
}
