package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/door"
	verb "github.com/shiksha/actions/pkg/build"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

type commands struct {
	Build Command `cmd:""`
}

func enter(t *testing.T, do Verb, env map[string]string, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	d := &door.Door{Args: append([]string{"build"}, args...), Getenv: func(k string) string { return env[k] }, Stdout: &out, Stderr: &errs, Dir: dir,
		Exit: func(int) { t.Error("exits") }}
	code = d.Main(&commands{Build: Command{Verb: do}})
	return code, out.String(), errs.String()
}

func result() *verb.Result {
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	return &verb.Result{
		Commit: "checked-out", Builder: "tcp://b:1", Why: "it was named", Started: at, Ended: at.Add(42 * time.Second),
		Images: map[string]string{"api": "r/api@sha256:1", "worker": "r/api@sha256:1"},
		Targets: []verb.Target{{Name: "api", Digest: "sha256:1", Tags: []string{"r/api:v1"}, Steps: 8, Cached: 6, Took: 30 * time.Second,
			Platforms: []verb.Platform{{Name: "linux/amd64", Size: 1_100_000}, {Name: "linux/arm64", Size: 1_050_000}},
			Metadata:  map[string]string{"containerimage.digest": "sha256:1"}}},
	}
}

// The action's container is root, the next checkout often is not: what a build leaves in
// the workspace belongs to whom the workspace does, also after a failure.
func TestWhatIsWrittenIsTheWorkspaces(t *testing.T) {
	me := os.Geteuid()
	runner, other := me, me
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "passwd")
	require.NoError(t, os.WriteFile(outside, []byte("x"), 0o600))
	if me == 0 { // who is not can give nothing away, and everything stays theirs
		runner, other = 1000, 1001
		require.NoError(t, os.Chown(dir, runner, runner))
	}
	owner := func(path string) int {
		info, err := os.Lstat(path)
		require.NoError(t, err)
		return int(info.Sys().(*syscall.Stat_t).Uid)
	}
	out := filepath.Join(dir, "made", "out")
	do := func(_ context.Context, o verb.Options, _ event.Sink) (*verb.Result, error) {
		require.NoError(t, os.MkdirAll(filepath.Join(out, "etc"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(out, "etc", "file"), nil, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(out, "mine"), nil, 0o600))
		require.NoError(t, os.Chown(filepath.Join(out, "mine"), other, os.Getegid()))
		require.NoError(t, os.Symlink(outside, filepath.Join(out, "link")))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "others"), nil, 0o600))
		return &verb.Result{Written: []string{out, filepath.Join(dir, "never-made"), outside}}, errors.New("no room")
	}
	code, stdout, _ := enter(t, do, map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": dir}, "/elsewhere")
	assert.Equal(t, 1, code)
	assert.NotContains(t, stdout, "::warning::")
	for path, want := range map[string]int{filepath.Dir(out): runner, out: runner, out + "/etc": runner, out + "/etc/file": runner, out + "/link": runner,
		out + "/mine": other, outside: me, filepath.Join(dir, "others"): me} {
		assert.Equal(t, want, owner(path), path)
	}

	require.NoError(t, os.RemoveAll(out))
	enter(t, do, nil, dir)
	assert.Equal(t, me, owner(out), "people keep what they write")
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	var got verb.Options
	do := func(_ context.Context, o verb.Options, sink event.Sink) (*verb.Result, error) {
		got = o
		sink.Emit(event.Event{Level: event.Info, Phase: "build", Text: "npm says " + string(o.Secrets["npm"])})
		return result(), nil
	}
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": dir, "GITHUB_SHA": "abc", "GITHUB_REF": "refs/tags/v1.2.3",
		"GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "Team/Shop", "ACTIONS_RESULTS_URL": "https://results.example/",
		"ACTIONS_RUNTIME_TOKEN": "runtime-token", "INPUT_PUSH": "true", "INPUT_PLATFORMS": "linux/amd64\nlinux/arm64", "INPUT_VERSION": "v2",
		"INPUT_BUILD-ARGS": "A=1,2\nB=x=y", "INPUT_LABELS": `{"team": "core"}`, "INPUT_SECRETS": "npm=t0$ken-of-npm\nkey=\"line one\nline two\"",
		"INPUT_REGISTRY": "ghcr.io", "INPUT_REGISTRY-USERNAME": "u", "INPUT_REGISTRY-PASSWORD": "pass-word",
		"INPUT_CACHE-FROM": "type=registry,ref=r/a:c\ntype=registry,ref=r/b:c",
	}
	code, stdout, _ := enter(t, do, env, "/elsewhere")
	require.Zero(t, code, stdout)
	assert.Equal(t, dir, got.Workspace)
	assert.Equal(t, "Shop", got.Folder, "the container's folder is called workspace")
	assert.True(t, got.Push)
	assert.Equal(t, []string{"linux/amd64", "linux/arm64"}, got.Platforms)
	assert.Equal(t, map[string]string{"A": "1,2", "B": "x=y"}, got.BuildArgs)
	assert.Equal(t, map[string]string{"team": "core"}, got.Labels)
	assert.Equal(t, map[string][]byte{"npm": []byte("t0$ken-of-npm"), "key": []byte("line one\nline two")}, got.Secrets)
	assert.Equal(t, verb.Login{Registry: "ghcr.io", Username: "u", Password: "pass-word"}, got.Registry)
	assert.Equal(t, verb.GitHubCache{URL: "https://results.example/", Token: "runtime-token"}, got.GitHub)
	assert.Equal(t, verb.Git{Commit: "abc", Ref: "refs/tags/v1.2.3", Source: "https://github.example/Team/Shop"}, got.Git)
	assert.Equal(t, []string{"type=registry,ref=r/a:c", "type=registry,ref=r/b:c"}, got.CacheFrom)
	assert.Equal(t, map[string]string{"VERSION": "v2"}, got.Environment)
	assert.Contains(t, stdout, "npm says ***")
	assert.Contains(t, stdout, "::add-mask::runtime-token")
}

func TestOutputsAndSummary(t *testing.T) {
	for name, failure := range map[string]error{"built": nil, "failed": fault.New(fault.Failed, "api: api/Dockerfile:7", "", "`RUN make` failed: exit code: 2")} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			do := func(context.Context, verb.Options, event.Sink) (*verb.Result, error) { return result(), failure }
			env := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": filepath.Join(dir, "out"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "sum"),
				"GITHUB_WORKSPACE": dir, "INPUT_PUSH": "true", "GITHUB_SHA": "of-the-event"}
			code, _, _ := enter(t, do, env, dir)
			assert.Equal(t, fault.Code(failure), code)
			outputs, err := os.ReadFile(filepath.Join(dir, "out"))
			require.NoError(t, err)
			for _, text := range []string{`{"api":"r/api@sha256:1","worker":"r/api@sha256:1"}`, `{"api":"sha256:1"}`, `{"api":["r/api:v1"]}`,
				`{"api":{"containerimage.digest":"sha256:1"}}`, `"outcome":"` + name + `"`, `"commit":"checked-out"`} {
				assert.Contains(t, string(outputs), text)
			}
			summary, err := os.ReadFile(filepath.Join(dir, "sum"))
			require.NoError(t, err)
			assert.Contains(t, string(summary), "| api | linux/amd64 | 1.1 MB | 6 of 8 | 30.0s | sha256:1 |\n| | linux/arm64 | 1.1 MB | | | |")
		})
	}
}

// A secret arrives as it was given, and no line of secrets is passed over.
func TestSecretsAsTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		"a=x$y": "x$y", "a=x$$y": "x$$y", "a=x$$$$y": "x$$$$y", "a=$": "$", "a=${X}": "${X}", "a='x$$y'": "x$$y", `a="x$$y"`: "x$$y",
		"# one\na=p#w": "p#w", "a=\"one\n$two\"": "one\n$two", `{"a": "x$$y"}`: "x$$y",
	} {
		found, err := secrets(text)
		require.NoError(t, err, text)
		assert.Equal(t, map[string]string{"a": want}, found, text)
	}
	for _, text := range []string{"t0ken", "a=b\nt0ken", "t0ken\na=b", "=t0ken"} {
		_, err := secrets(text)
		require.ErrorContains(t, err, "secrets: cannot be read as id=value lines", text)
		assert.NotContains(t, err.Error(), "t0ken")
	}
}

// A workflow writes lines, so that a comma is a part of its value, also where there is
// only one. On the command line commas separate.
func TestPairs(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"A=1,2":                    {"A": "1,2"},
		"NODE_OPTIONS=--a=1,--b=2": {"NODE_OPTIONS": "--a=1,--b=2"},
		"COLOURS=#fff,#000":        {"COLOURS": "#fff,#000"},
		"A=1,2\n# none\nB= x ":     {"A": "1,2", "B": " x"},
		`{"A": "1,2"}`:             {"A": "1,2"},
	} {
		found, err := pairs("build-args", text, true)
		require.NoError(t, err, text)
		assert.Equal(t, want, found, text)
	}
	found, err := pairs("build-args", "A=1, B=2", false)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"A": "1", "B": "2"}, found)
	for _, text := range []string{"A=1,2", "A=#fff,#000"} {
		_, err = pairs("build-args", text, false)
		require.ErrorContains(t, err, "is not NAME=value", text)
		assert.Contains(t, fault.Hint(err), `{"NAME": "a,b"}`)
	}
}

func TestBadInputs(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"half a login":   {[]string{"--registry-username=u"}, "registry-password: is required"},
		"arguments":      {[]string{"--build-args=A"}, `build-args: "A" is not NAME=value`},
		"arguments JSON": {[]string{`--build-args={"A": `}, "build-args: begins like JSON"},
		"labels JSON":    {[]string{`--labels={"A": 1}`}, "labels: begins like JSON"},
		"twice":          {[]string{"--build-args=A=1,A=2"}, "build-args: names A twice"},
		"a cache":        {[]string{"--cache=disk"}, `cache: "disk" is none of registry, gha, none`},
		"a plain secret": {[]string{"--secrets=a=b"}, "secrets: a secret on the command line is visible"},
	} {
		t.Run(name, func(t *testing.T) {
			do := func(context.Context, verb.Options, event.Sink) (*verb.Result, error) {
				t.Error("the verb was called")
				return nil, nil
			}
			code, _, stderr := enter(t, do, nil, t.TempDir(), c.args...)
			assert.Equal(t, 3, code)
			assert.Contains(t, stderr, "shiksha: "+c.says)
		})
	}
	code, stdout, _ := enter(t, nil, map[string]string{"GITHUB_ACTIONS": "true", "INPUT_SECRETS": `{"npm": "hush-hush"`}, t.TempDir())
	assert.Equal(t, 3, code)
	assert.NotContains(t, strings.ReplaceAll(stdout, "::add-mask::", ""), `"hush-hush"}`)
}
