package verify

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	verb "github.com/shiksha/actions/pkg/verify"
)

type ended struct {
	code           int
	stdout, stderr string
}

// enter runs the program's verify in this process, on a runner when env says so.
func enter(t *testing.T, v Verb, env map[string]string, dir string, args ...string) ended {
	t.Helper()
	var cli struct {
		Verify Command `cmd:""`
	}
	cli.Verify.Verb = v
	var out, errs strings.Builder
	d := &door.Door{Args: append([]string{"verify"}, args...), Getenv: func(k string) string { return env[k] }, Stdout: &out, Stderr: &errs, Dir: dir,
		Exit: func(int) { t.Error("exits") }}
	code := d.Main(&cli)
	return ended{code, out.String(), errs.String()}
}

// host are flags of a host that nobody listens at.
func host(t *testing.T, dir string) []string {
	t.Helper()
	return []string{"--host", "deploy@127.0.0.1:1", "--ssh-key", "@" + newKey(t, dir), "--host-fingerprint", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "--project", "shop"}
}

const page = "checks:\n  - {name: page, http: {url: 'http://h/'}}\n"

// What is wrong with what a person wrote is told before a host is asked, with what
// would be right, and ends with 3.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		checks string
		flags  []string
		says   []string
	}{
		"a kind that does not exist":    {"checks:\n  - name: x\n    postgress: {service: db}\n", nil, []string{`verify.yml:3: unknown key "postgress"`, `hint: did you mean "postgres"?`}},
		"a key that does not exist":     {"checks:\n  - name: x\n    http:\n      url: http://h/\n      expct: {status: 200}\n", nil, []string{`verify.yml:5: unknown key "expct" in checks[0].http`, `hint: did you mean "expect"?`}},
		"a field that is missing":       {"checks:\n  - name: x\n    redis: {}\n", nil, []string{"verify.yml:3: service is missing in checks[0].redis"}},
		"several mistakes":              {"checks:\n  - nmae: x\n    redis: {}\n", nil, []string{"3 mistakes in verify.yml", "verify.yml:2:", "verify.yml:3:"}},
		"a value of the wrong form":     {"checks:\n  - name: x\n    timeout: soon\n    disk: {}\n", nil, []string{`verify.yml:3: checks[0].timeout: "soon" is not a length of time`, "hint: write it with its unit"}},
		"no YAML":                       {"checks: [\n", nil, []string{"verify.yml:", "not YAML"}},
		"a secret that was written out": {"checks:\n  - name: x\n    redis: {service: r, password: hunter2-and-more}\n", nil, []string{"verify.yml:3:", "a secret is not written into a check", "hint: name where it is"}},
		"skip of no check":              {page, []string{"--skip", "pgae"}, []string{`skip: there is no check "pgae"`, `hint: did you mean "page"?`}},
		"only of no check":              {page, []string{"--only", "x"}, []string{`only: there is no check "x"`, "hint: there are: page"}},
		"nothing left":                  {page, []string{"--skip", "page"}, []string{"skip: no check is left", "hint: leave at least one check of page"}},
		"no such file":                  {"", []string{"--checks", "nope.yml"}, []string{"checks:", "cannot read nope.yml", "hint: name a file of checks"}},
		"a file outside":                {"", []string{"--checks", "../nope.yml"}, []string{"checks:", "cannot read ../nope.yml"}},
		"a url that is none":            {page, []string{"--url", "shop"}, []string{"url: is not an address of http or https"}},
		"fail-on of nothing":            {page, []string{"--fail-on", "panic"}, []string{"fail-on", "fail", "warn"}},
		"no project":                    {page, []string{"--project", ""}, []string{"project:", "no Compose file was found", "hint: for example: project: shop"}},
		// Nobody answers there: the address is wrong, or the host is down.
		"a host that nobody answers at": {page, nil, []string{"host: 127.0.0.1:1 cannot be reached", "refused", "hint: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := host(t, dir)
			if c.checks != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "verify.yml"), []byte(c.checks), 0o600))
				args = append(args, "--checks", "verify.yml")
			}
			got := enter(t, nil, nil, dir, append(args, c.flags...)...)
			assert.Equal(t, 3, got.code, got.stderr)
			for _, words := range c.says {
				assert.Contains(t, got.stderr, words)
			}
			assert.NotContains(t, got.stdout+got.stderr, "hunter2")
		})
	}
}

const secret = "hunter2-and-more"

// found is a verification of which every text holds a secret that the verb learnt.
func found(outcome string, results ...check.Result) *verb.Result {
	return &verb.Result{Project: "shop", Host: "deploy@h:22", Release: 3, Version: "v3", Outcome: outcome, Started: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
		Seconds: 1.5, Report: &check.Report{Schema: check.Schema, Results: results}}
}

func leaky(o check.Outcome) check.Result {
	return check.Result{Name: "leak " + secret, Kind: "http", Where: secret, Required: true, Outcome: o, Expected: "x " + secret, Found: "y " + secret, Hint: secret,
		Evidence: []check.Evidence{{Probe: "GET " + secret, Found: secret}}}
}

// runner is the environment of a step; its files are in dir.
func runner(dir string) map[string]string {
	return map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": dir, "GITHUB_OUTPUT": filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"),
		"INPUT_HOST": "deploy@h", "INPUT_SSH-KEY": "KEY", "INPUT_HOST-FINGERPRINT": "SHA256:x", "INPUT_PROJECT": "shop", "INPUT_JUNIT": "out/verify.xml"}
}

// A secret that a check read is shown in none of the ways that a verification tells:
// not in the log, the annotation, the outputs, the job summary, the JUnit file.
func TestSecretsAreShownNowhere(t *testing.T) {
	t.Parallel()
	look := func(_ context.Context, o verb.Options, sink event.Sink) (*verb.Result, error) {
		o.Protect(secret)
		sink.Emit(event.Event{Level: event.Warning, Phase: "verify", Text: "fail leak " + secret, Output: "log of " + secret + "\n"})
		return found("failed", leaky(check.Fail), leaky(check.Pass), leaky(check.Unknown)), fault.New(fault.Failed, secret, secret, "verification failed: %s", secret)
	}
	dir := t.TempDir()
	told := enter(t, look, runner(dir), dir)
	require.Equal(t, 1, told.code, told.stdout)
	texts := map[string]string{}
	for line := range strings.Lines(told.stdout + told.stderr) {
		if !strings.HasPrefix(line, "::add-mask::") { // this is how the runner is told what to hide
			texts["log"] += line
		}
	}
	for _, name := range []string{"output", "summary", "out/verify.xml"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		texts[name] = string(data)
	}
	assert.Contains(t, told.stdout, "::add-mask::"+secret)
	for name, text := range texts {
		assert.NotContains(t, text, secret, name)
		assert.Contains(t, text, "***", name)
	}
	person := enter(t, look, nil, dir, append(host(t, dir), "--json", "--junit", "j.xml")...)
	assert.Equal(t, 1, person.code)
	assert.NotContains(t, person.stdout+person.stderr, secret)
	assert.Contains(t, person.stdout, "***")
}

// The outputs and the exit code say how it ended.
func TestOutputs(t *testing.T) {
	t.Parallel()
	r := func(o check.Outcome) check.Result {
		return check.Result{Name: string(o), Kind: "http", Required: o != check.Skip, Outcome: o}
	}
	for name, c := range map[string]struct {
		result *verb.Result
		err    error
		code   int
		want   map[string]string
	}{
		"verified": {found("verified", r(check.Pass), r(check.Warn), r(check.Skip)), nil, 0, map[string]string{"outcome": "verified", "passed": "2", "failed": "0", "unknown": "0", "junit": "out/verify.xml"}},
		"failed":   {found("failed", r(check.Pass), r(check.Fail), r(check.Unknown)), fault.New(fault.Failed, "", "", "x"), 1, map[string]string{"outcome": "failed", "passed": "1", "failed": "1", "unknown": "1"}},
		"unknown":  {found("unknown", r(check.Unknown)), fault.New(fault.Refused, "", "", "x"), 2, map[string]string{"outcome": "unknown", "unknown": "1"}},
		"refused":  {&verb.Result{Outcome: "refused"}, fault.New(fault.Refused, "", "", "x"), 2, map[string]string{"outcome": "refused", "passed": "", "failed": ""}},
		"bad":      {&verb.Result{Outcome: "bad-input"}, fault.New(fault.Input, "", "", "x"), 3, map[string]string{"outcome": "bad-input"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			got := enter(t, func(context.Context, verb.Options, event.Sink) (*verb.Result, error) { return c.result, c.err }, runner(dir), dir)
			assert.Equal(t, c.code, got.code)
			data, err := os.ReadFile(filepath.Join(dir, "output"))
			require.NoError(t, err)
			outs := outputs(string(data))
			for k, v := range c.want {
				assert.Equal(t, v, outs[k], k)
			}
			assert.Contains(t, outs["report"], `"outcome":"`+c.want["outcome"]+`"`)
		})
	}
}

// outputs reads what a step wrote: name<<mark, the value, mark.
func outputs(text string) map[string]string {
	out := map[string]string{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		name, mark, ok := strings.Cut(lines[i], "<<")
		if !ok {
			continue
		}
		var value []string
		for i++; i < len(lines) && lines[i] != mark; i++ {
			value = append(value, lines[i])
		}
		out[name] = strings.Join(value, "\n")
	}
	return out
}

// Inputs reach the verb as they were given.
func TestInputs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "v.yml"), []byte(page), 0o600))
	env := runner(dir)
	for k, v := range map[string]string{"CHECKS": "v.yml", "ONLY": "page", "SKIP": "a,b", "TIMEOUT": "90s", "STABILITY-WINDOW": "3s", "URL": "https://u", "FAIL-ON": "warn", "COMPOSE-FILE": "a.yaml"} {
		env["INPUT_"+k] = v
	}
	var o verb.Options
	got := enter(t, func(_ context.Context, given verb.Options, _ event.Sink) (*verb.Result, error) {
		o = given
		return found("verified"), nil
	}, env, dir)
	require.Zero(t, got.code, got.stdout)
	assert.NotNil(t, o.Protect)
	o.Protect = nil
	assert.Equal(t, verb.Settings{Project: "shop", File: "v.yml", Content: []byte(page), Only: []string{"page"}, Skip: []string{"a", "b"}, URL: "https://u",
		Timeout: 90 * time.Second, Window: 3 * time.Second, FailOn: check.Warn}, o.Settings)
	assert.Equal(t, []string{"a.yaml"}, o.ComposeFiles)
}

// The path of a report may be an absolute one of the workspace, as ${{ github.workspace }}
// makes it. Any other is refused before anything is looked at.
func TestThePathOfTheReport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		given, wrote string
		code         int
	}{
		"in the workspace":        {"./a/../b/x.xml", "b/x.xml", 0},
		"by its whole path":       {filepath.Join(dir, "c", "x.xml"), "c/x.xml", 0},
		"of another folder":       {"/elsewhere/x.xml", "", 3},
		"of a folder beside it":   {dir + "2/x.xml", "", 3},
		"out of the workspace":    {"../x.xml", "", 3},
		"the workspace":           {dir, "", 3},
		"a folder that is a file": {"output/x.xml", "", 0},
	} {
		env := runner(dir)
		env["INPUT_JUNIT"] = c.given
		looked := false
		got := enter(t, func(context.Context, verb.Options, event.Sink) (*verb.Result, error) {
			looked = true
			return found("verified", check.Result{Name: "page", Kind: "http", Outcome: check.Pass}), nil
		}, env, dir)
		assert.Equal(t, c.code, got.code, "%s: %s", name, got.stdout)
		assert.Equal(t, c.code == 0, looked, name)
		assert.Equal(t, c.wrote == "", strings.Contains(got.stdout, "junit: "), "%s: %s", name, got.stdout)
		if c.wrote != "" {
			assert.FileExists(t, filepath.Join(dir, c.wrote), name)
			data, err := os.ReadFile(filepath.Join(dir, "output"))
			require.NoError(t, err)
			assert.Equal(t, c.wrote, outputs(string(data))["junit"], name)
		}
	}
}

// The action's container is root, the next checkout often is not and has to be able to
// delete the report.
func TestTheReportIsTheWorkspaces(t *testing.T) {
	t.Parallel()
	owner, dir := os.Geteuid(), t.TempDir()
	if owner == 0 { // who is not can give nothing away, and the report stays theirs
		owner = 1000
		require.NoError(t, os.Chown(dir, owner, owner))
	}
	look := func(context.Context, verb.Options, event.Sink) (*verb.Result, error) { return found("verified"), nil }
	require.Zero(t, enter(t, look, runner(dir), dir).code)
	for _, name := range []string{"out", "out/verify.xml"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.EqualValues(t, owner, info.Sys().(*syscall.Stat_t).Uid, name)
	}
}

// What a server answers is shown, and is no command for the runner.
func TestAnAnswerIsNoCommand(t *testing.T) {
	t.Parallel()
	look := func(_ context.Context, o verb.Options, sink event.Sink) (*verb.Result, error) {
		return found("failed", check.Result{Name: "page", Kind: "http", Required: true, Outcome: check.Fail, Expected: "200",
			Found: "500 ##[add-mask]a\n::add-mask::b", Where: "::add-mask::c", Hint: "##[set-output name=x]y"}), nil
	}
	dir := t.TempDir()
	for name, args := range map[string][]string{"text": nil, "JSON": {"--json"}} {
		got := enter(t, look, runner(dir), dir, args...)
		assert.Contains(t, got.stdout, "add-mask]a", name)
		assert.NotContains(t, got.stdout, "##[", name)
		assert.NotRegexp(t, `(?m)^\s*::add-mask::[abc]`, got.stdout, name)
		if name == "JSON" {
			var told struct{ Checks check.Report }
			from := strings.Index(got.stdout, "{")
			require.GreaterOrEqual(t, from, 0, got.stdout)
			require.NoError(t, json.Unmarshal([]byte(got.stdout[from:]), &told), got.stdout)
			require.Len(t, told.Checks.Results, 1)
			assert.Equal(t, "500 ##[add-mask]a\n::add-mask::b", told.Checks.Results[0].Found, "JSON says what it said")
		}
	}
	person := enter(t, look, nil, dir, host(t, dir)...)
	assert.Contains(t, person.stdout, "##[add-mask]a")
}

// newKey writes a private key and gives its path.
func newKey(t *testing.T, dir string) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	path := filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}
