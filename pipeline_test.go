package main

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/door"
	making "github.com/shiksha/actions/pkg/build"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/converge"
	releasing "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// ran is what a run of the pipeline asked of its verbs, and what it left.
type ran struct {
	code                 int
	log, outputs, report string
	making               *making.Options
	releasing            *releasing.Options
}

// built is what a build of two targets gives, images only when it pushed.
func built(o making.Options) *making.Result {
	r := &making.Result{Started: time.Now(), Images: map[string]string{},
		Targets: []making.Target{{Name: "api", Services: []string{"api", "worker"}}, {Name: "web", Services: []string{"web"}}}}
	for _, service := range r.Services() {
		if o.Push {
			r.Images[service] = "r/" + service + "@sha256:built"
		}
	}
	return r
}

// enter runs the pipeline as a runner would; a nil build makes what built says.
func enter(t *testing.T, inputs map[string]string, build func(making.Options) (*making.Result, error), failure error) ran {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": dir, "GITHUB_REPOSITORY": "team/shop",
		"GITHUB_OUTPUT": filepath.Join(dir, "out"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "sum"),
		"INPUT_HOST": "a@b", "INPUT_SSH-KEY": "KEY", "INPUT_HOST-FINGERPRINT": "SHA256:x", "INPUT_VERSION": "v2"}
	for name, value := range inputs {
		if !strings.HasPrefix(name, "GITHUB_") {
			name = "INPUT_" + strings.ToUpper(name)
		}
		env[name] = value
	}
	var r ran
	cli := &struct {
		Pipeline pipeline `cmd:""`
	}{pipeline{
		Making: func(_ context.Context, o making.Options, _ event.Sink) (*making.Result, error) {
			r.making = &o
			if build != nil {
				return build(o)
			}
			return built(o), nil
		},
		Releasing: func(_ context.Context, o releasing.Options, _ event.Sink) (*converge.Result, error) {
			r.releasing = &o
			result := converge.Begin(o.Version)
			result.Project, result.Release = "shop", 7
			result.Checks = &check.Report{Results: []check.Result{{Name: "units", Outcome: check.Pass}, {Name: "answers", Outcome: check.Fail}}}
			return result, result.End(failure)
		},
	}}
	var out strings.Builder
	d := &door.Door{Args: []string{"pipeline"}, Getenv: func(k string) string { return env[k] }, Stdout: &out, Stderr: &out,
		Exit: func(int) { t.Error("exits") }}
	r.code = d.Main(cli)
	r.log = out.String()
	for file, into := range map[string]*string{"out": &r.outputs, "sum": &r.report} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		*into = string(text)
	}
	return r
}

// sets tells whether an output was set to a value, as the runner reads the file.
func (r ran) sets(name, value string) bool {
	for entry := range strings.SplitSeq(r.outputs, "\n"+name+"<<") {
		if _, text, ok := strings.Cut(entry, "\n"); ok && strings.HasPrefix(text, value+"\n") {
			return true
		}
	}
	return false
}

// What was built is what is released, by digest; what the input images names wins.
func TestBuiltIsReleased(t *testing.T) {
	t.Parallel()
	r := enter(t, map[string]string{"images": "web=r/web@sha256:given", "build-args": "A=1", "junit": "checks.xml", "registry": "ghcr.io",
		"registry-username": "u", "registry-password": "pass-word"}, nil, nil)
	require.Zero(t, r.code, r.log)
	assert.True(t, r.making.Push, "the host pulls it")
	assert.Equal(t, map[string]string{"A": "1"}, r.making.BuildArgs)
	assert.Equal(t, "v2 shop ghcr.io", r.making.Environment["VERSION"]+" "+r.making.Folder+" "+r.making.Registry.Registry)
	assert.Equal(t, map[string]string{"api": "r/api@sha256:built", "worker": "r/worker@sha256:built", "web": "r/web@sha256:given"}, r.releasing.Images)
	assert.Empty(t, r.releasing.Unpushed)
	assert.True(t, r.releasing.RollbackOnFailure)
	for name, value := range map[string]string{"release": "7", "passed": "1", "failed": "1", "unknown": "0", "junit": "checks.xml",
		"images": `{"api":"r/api@sha256:built","web":"r/web@sha256:built","worker":"r/worker@sha256:built"}`} {
		assert.True(t, r.sets(name, value), "%s=%s in:\n%s", name, value, r.outputs)
	}
	assert.NotContains(t, strings.ReplaceAll(r.log, "::add-mask::pass-word", ""), "pass-word")
}

// A build that fails deploys nothing, and the step says which of its ends it was.
func TestFailedBuildDeploysNothing(t *testing.T) {
	t.Parallel()
	for kind, code := range map[fault.Kind]int{fault.Failed: 1, fault.Refused: 2, fault.Input: 3, fault.Interrupted: 5} {
		r := enter(t, nil, func(o making.Options) (*making.Result, error) {
			return built(o), fault.New(kind, "api", "", "`RUN make` failed")
		}, nil)
		assert.Equal(t, code, r.code, r.log)
		assert.Nil(t, r.releasing)
		assert.True(t, r.sets("outcome", kind.String()), r.outputs)
		assert.Contains(t, r.report, "RUN make")
	}
}

// Who hears of a release hears of the one that its images kept from beginning, and of the
// one whose file of checks did; of a plan's build nobody does.
func TestAReleaseThatCannotBeginIsTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	told := map[string]string{}
	world := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		told[r.Method+" "+r.URL.Path] = string(body)
		if strings.HasPrefix(r.URL.Path, "/services") {
			_, _ = io.WriteString(w, "ok")
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(world.Close)
	fails := func(o making.Options) (*making.Result, error) {
		return built(o), fault.New(fault.Failed, "api", "look at its Dockerfile", "`RUN make` failed with pass-word")
	}
	enter := func(more map[string]string, build func(making.Options) (*making.Result, error)) ran {
		clear(told)
		inputs := map[string]string{"GITHUB_SHA": "abc", "GITHUB_API_URL": world.URL + "/api/v3", "github-token": "ghs_token", "environment": "production",
			"slack-webhook": world.URL + "/services/T0/B0/hook", "registry-username": "u", "registry-password": "pass-word"}
		maps.Copy(inputs, more)
		return enter(t, inputs, build, nil)
	}
	const slack, status = "POST /services/T0/B0/hook", "POST /api/v3/repos/team/shop/statuses/abc"

	r := enter(nil, fails)
	assert.Equal(t, 1, r.code, r.log)
	assert.NotContains(t, r.log, "::warning::")
	assert.Len(t, told, 2)
	assert.Contains(t, told[slack], "❌ release (v2) failed after ")
	assert.Contains(t, told[slack], "the images were not built, so nothing is deployed: api: `RUN make` failed with ***")
	assert.Contains(t, told[slack], "look at its Dockerfile")
	assert.Contains(t, told[status], `"state":"failure"`)
	assert.Contains(t, told[status], "shiksha/production")
	assert.Equal(t, 1, strings.Count(r.report, "RUN make"), "the summary has it from the build: %s", r.report)
	assert.False(t, r.sets("release", ""), r.outputs)

	r = enter(map[string]string{"checks": "nowhere.yml"}, nil)
	assert.Equal(t, 3, r.code, r.log)
	assert.Contains(t, told[slack], "⛔ release (v2) bad-input after ")
	assert.Contains(t, told[slack], "nowhere.yml")
	assert.Contains(t, told[status], `"state":"failure"`)

	r = enter(map[string]string{"dry-run": "true"}, fails)
	assert.Equal(t, 1, r.code, r.log)
	assert.Empty(t, told)
}

// A stack whose images are all somebody else's is released with what their
// registries have; a target that was asked for and is not there stays an error.
func TestNothingToBuild(t *testing.T) {
	t.Parallel()
	nothing := func(making.Options) (*making.Result, error) {
		return &making.Result{}, fault.New(fault.Input, "compose.yaml:1", "", "%w", making.ErrNothing)
	}
	r := enter(t, nil, nothing, nil)
	require.Zero(t, r.code, r.log)
	require.NotNil(t, r.releasing)
	assert.Empty(t, r.releasing.Images)
	assert.Contains(t, r.log, "every image is taken from its registry")
	assert.NotContains(t, r.report, "build")

	r = enter(t, map[string]string{"targets": "api"}, nothing, nil)
	assert.Equal(t, 3, r.code)
	assert.Nil(t, r.releasing)
}

// A dry run keeps nothing of what it builds, and plans with it all the same.
func TestDryRunPushesNothing(t *testing.T) {
	t.Parallel()
	r := enter(t, map[string]string{"dry-run": "true", "images": "web=r/web@sha256:given"}, nil, nil)
	require.Zero(t, r.code, r.log)
	assert.False(t, r.making.Push)
	assert.True(t, r.releasing.DryRun)
	assert.Equal(t, []string{"api", "worker"}, r.releasing.Unpushed)
	assert.Equal(t, map[string]string{"web": "r/web@sha256:given"}, r.releasing.Images)
}

// A release that fails went back by itself: the pipeline adds nothing but the
// checks that decided it.
func TestFailedReleaseIsTheDeploysToTell(t *testing.T) {
	t.Parallel()
	r := enter(t, nil, nil, fault.New(fault.Failed, "api", "look", "never became healthy"))
	assert.Equal(t, 1, r.code)
	assert.True(t, r.sets("outcome", "failed"), r.outputs)
	assert.True(t, r.sets("failed", "1"), r.outputs)
	assert.Contains(t, r.report, "never became healthy")
}

// What ends a release before it began is in the summary too, below the build that went well.
func TestAReleaseThatCannotBeginIsSummed(t *testing.T) {
	t.Parallel()
	r := enter(t, map[string]string{"checks": "nowhere.yml"}, nil, nil)
	assert.Equal(t, 3, r.code)
	assert.NotNil(t, r.making)
	assert.Nil(t, r.releasing)
	assert.True(t, r.sets("outcome", "bad-input"), r.outputs)
	assert.Contains(t, r.report, "2 images built and pushed")
	assert.Contains(t, r.report, "## ⛔ bad-input\n")
	assert.Contains(t, r.report, "nowhere.yml")
}

// A report that could not be written is told before anything is built; what keeps it from
// being written later takes nothing away from a verified release.
func TestAReportThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"/x.xml", "../x.xml", "."} {
		r := enter(t, map[string]string{"junit": name}, nil, nil)
		assert.Equal(t, 3, r.code, name)
		assert.Contains(t, r.log, "junit: ", name)
		assert.Nil(t, r.making, name)
	}
	r := enter(t, map[string]string{"junit": "out/x.xml"}, nil, nil)
	assert.Zero(t, r.code, r.log) // out is the file of the outputs
	assert.Contains(t, r.log, "::warning::junit: cannot write out/x.xml: ")
	assert.False(t, r.sets("junit", "out/x.xml"), r.outputs)
	assert.True(t, r.sets("passed", "1"), r.outputs)
}

// What is wrong with either half is told at once, before anything is built.
func TestBadInputsAreToldTogether(t *testing.T) {
	t.Parallel()
	r := enter(t, map[string]string{"host": "", "build-args": "A", "probe-url": "x"}, nil, nil)
	assert.Equal(t, 3, r.code)
	assert.Nil(t, r.making)
	for _, name := range []string{"host", "build-args", "probe-url"} {
		assert.Contains(t, r.log, name+": ")
	}
}
