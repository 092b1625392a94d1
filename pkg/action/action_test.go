package action

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runner is the environment of a step, with the runner's files in a folder.
func runner(t *testing.T, more map[string]string) (getenv func(string) string, dir string) {
	t.Helper()
	dir = t.TempDir()
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"),
	}
	for k, v := range more {
		env[k] = v
	}
	return func(k string) string { return env[k] }, dir
}

func nothing(string) string { return "" }

func TestInputKeepsDashes(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, map[string]string{"INPUT_DRY-RUN": " true\n", "INPUT_HOST": "a@b"})
	a := New(getenv, &strings.Builder{})
	assert.Equal(t, "true", a.Input("dry-run"))
	assert.Equal(t, "a@b", a.Input("host"))
	assert.Empty(t, a.Input("project"))
}

func TestRun(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, map[string]string{
		"GITHUB_REPOSITORY": "team/shop", "GITHUB_SHA": "abc", "GITHUB_REF_NAME": "main", "GITHUB_ACTOR": "meera",
		"GITHUB_SERVER_URL": "https://github.example/", "GITHUB_RUN_ID": "7", "GITHUB_WORKSPACE": "/github/workspace",
	})
	assert.Equal(t, Run{
		Repository: "team/shop", Commit: "abc", Ref: "main", Actor: "meera", Workspace: "/github/workspace",
		URL: "https://github.example/team/shop/actions/runs/7", ID: "7", Server: "https://github.example",
	}, New(getenv, &strings.Builder{}).Run())
	assert.Zero(t, New(nothing, &strings.Builder{}).Run(), "people have no run")
}

func TestRunThatIsRepeated(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, map[string]string{
		"GITHUB_REPOSITORY": "team/shop", "GITHUB_ACTOR": "meera", "GITHUB_TRIGGERING_ACTOR": "ben",
		"GITHUB_SERVER_URL": "https://github.example", "GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "2",
	})
	run := New(getenv, &strings.Builder{}).Run()
	assert.Equal(t, "ben", run.Actor, "who repeats a run is who releases")
	assert.Equal(t, "https://github.example/team/shop/actions/runs/7/attempts/2", run.URL)
}

func TestRunOfAFork(t *testing.T) {
	t.Parallel()
	const pull = `{"pull_request":{"number":7,"head":{"repo":{"full_name":"%s"}},"base":{"repo":{"full_name":"team/shop"}}}}`
	for name, c := range map[string]struct {
		event, told string
		want        bool
	}{
		"fork":              {"pull_request", fmt.Sprintf(pull, "stranger/shop"), true},
		"own branch":        {"pull_request", fmt.Sprintf(pull, "Team/shop"), false},
		"trusted":           {"pull_request_target", fmt.Sprintf(pull, "stranger/shop"), false},
		"fork that is gone": {"pull_request", `{"pull_request":{"head":{"repo":null}}}`, false},
		"push":              {"push", `{"ref":"refs/heads/main"}`, false},
		"not JSON":          {"pull_request", "x", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "event.json")
			require.NoError(t, os.WriteFile(path, []byte(c.told), 0o600))
			getenv, _ := runner(t, map[string]string{"GITHUB_REPOSITORY": "team/shop", "GITHUB_EVENT_NAME": c.event, "GITHUB_EVENT_PATH": path})
			run := New(getenv, &strings.Builder{}).Run()
			assert.Equal(t, c.want, run.Fork)
			assert.Equal(t, strings.Contains(c.told, "7"), run.PullRequest == 7)
		})
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, nil)
	var out strings.Builder
	a := New(getenv, &out)
	a.Mask("s3cret", "", " ")
	a.Group("roll")
	a.EndGroup()
	a.Annotate(Error, "100% broken\n::set-output name=x::y")
	a.AnnotateAt(Warning, "api/Dockerfile", 7, "careful")
	assert.Equal(t, "::add-mask::s3cret\n::group::roll\n::endgroup::\n"+
		"::error::100%25 broken%0A::set-output name=x::y\n"+
		"::warning file=api/Dockerfile,line=7::careful\n", out.String())
}

func TestCommandsOutsideARunner(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	a := New(nothing, &out)
	a.Mask("s3cret")
	a.Group("roll")
	a.EndGroup()
	a.Annotate(Warning, "x")
	require.NoError(t, a.SetOutput("release", "1"))
	require.NoError(t, a.AddSummary("# x"))
	assert.Empty(t, out.String())
}

func TestAnnotationsAreLimited(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, nil)
	var out strings.Builder
	a := New(getenv, &out)
	for range MaxAnnotations + 2 {
		a.Annotate(Warning, strings.Repeat("é", maxAnnotation))
	}
	a.Annotate(Error, "still there")
	assert.Equal(t, MaxAnnotations, strings.Count(out.String(), "::warning::"))
	assert.Equal(t, 2, strings.Count(out.String(), "\nwarning: "))
	assert.Contains(t, out.String(), "::error::still there\n")
	first, _, _ := strings.Cut(out.String(), "\n")
	assert.LessOrEqual(t, len(first), maxAnnotation+len("::warning::"))
	assert.True(t, strings.HasSuffix(first, "é..."), "a character is never split")
}

// The runner looks for a command behind the white space of a line.
func TestALinePastTheLimitIsNoCommand(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, nil)
	var out strings.Builder
	a := New(getenv, &out)
	for range MaxAnnotations {
		a.Annotate(Warning, "x")
	}
	out.Reset()
	a.Annotate(Warning, "it ended\n::add-mask::e\r::stop-commands::x\n##[set-output name=x]y")
	assert.Equal(t, "warning: it ended\n  | ::add-mask::e\n  | ::stop-commands::x\n  | ## [set-output name=x]y\n", out.String())
}

func TestInertTextIsNoCommand(t *testing.T) {
	t.Parallel()
	const said = "::error::a\n\n \u00a0::add-mask::b\r\n\t::c ##[error]d\r::e a::f\n"
	const json = `{"found": "##[error]\n::x"}`
	getenv, _ := runner(t, nil)
	a := New(getenv, &strings.Builder{})
	assert.Equal(t, "| ::error::a\n\n|  \u00a0::add-mask::b\r\n| \t::c ## [error]d\r| ::e a::f\n", a.Inert(said))
	assert.Equal(t, "{\"found\": \"##\\u005berror]\\n::x\"}", a.Inert(json))
	assert.Equal(t, "api  2 running\n", a.Inert("api  2 running\n"))
	assert.Equal(t, said, New(nothing, &strings.Builder{}).Inert(said), "people have no commands")
}

func TestVerbatimStopsCommands(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, nil)
	tokens := map[string]bool{}
	for range 2 {
		var out strings.Builder
		New(getenv, &out).Verbatim("::add-mask::a\n##[error]b")
		lines := strings.Split(out.String(), "\n")
		require.Len(t, lines, 5)
		token := strings.TrimPrefix(lines[0], "::stop-commands::")
		assert.Equal(t, []string{"::stop-commands::" + token, "::add-mask::a", "##[error]b", "::" + token + "::", ""}, lines)
		assert.GreaterOrEqual(t, len(token), 20)
		tokens[token] = true
	}
	assert.Len(t, tokens, 2, "a token that repeats could be guessed")
}

func TestSetOutput(t *testing.T) {
	t.Parallel()
	getenv, dir := runner(t, nil)
	a := New(getenv, &strings.Builder{})
	injected := "x\n_GitHubActionsFileCommandDelimeter_\nstolen=1"
	require.NoError(t, a.SetOutput("plan", injected))
	require.NoError(t, a.SetOutput("release", "7"))
	data, err := os.ReadFile(filepath.Join(dir, "output"))
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	delimiter := strings.TrimPrefix(lines[0], "plan<<")
	assert.Equal(t, strings.Split(injected, "\n"), lines[1:4])
	assert.Equal(t, delimiter, lines[4])
	assert.NotEqual(t, "release<<"+delimiter, lines[5], "each output has a delimiter of its own")

	require.ErrorContains(t, a.setOutput("plan", "a\nend\nb", "end"), "delimiter")
	require.Error(t, a.SetOutput("a\nb", "x"))
	require.Error(t, a.SetOutput("plan", strings.Repeat("x", MaxOutput+1)))
}

func TestFilesThatAreNotThere(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, map[string]string{"GITHUB_OUTPUT": "/nowhere/at/all", "GITHUB_STEP_SUMMARY": ""})
	a := New(getenv, &strings.Builder{})
	require.ErrorContains(t, a.SetOutput("release", "7"), "GITHUB_OUTPUT")
	require.NoError(t, a.AddSummary("# x"))
}

func TestSummaryFits(t *testing.T) {
	t.Parallel()
	getenv, dir := runner(t, nil)
	a := New(getenv, &strings.Builder{})
	require.NoError(t, a.AddSummary("# first"))
	line := strings.Repeat("x", 99) + "\n"
	require.NoError(t, a.AddSummary(strings.Repeat(line, MaxSummary/50)))
	require.NoError(t, a.AddSummary("more"))
	data, err := os.ReadFile(filepath.Join(dir, "summary"))
	require.NoError(t, err)
	assert.LessOrEqual(t, len(data), MaxSummary)
	assert.Greater(t, len(data), MaxSummary-1000)
	assert.Contains(t, string(data), "# first\n")
	assert.Equal(t, 1, strings.Count(string(data), "did not fit"))
	assert.Contains(t, string(data), line+strings.TrimLeft(summaryCut, "")+"", "cut at the end of a line")
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestNeverPanics(t *testing.T) {
	t.Parallel()
	getenv, _ := runner(t, nil)
	a := New(getenv, brokenPipe{})
	assert.NotPanics(t, func() {
		a.Mask("abcd")
		a.Group("x")
		a.Annotate(Notice, "x")
		a.Verbatim("x")
		a.EndGroup()
	})
}
