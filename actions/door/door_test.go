package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// command runs do behind the door.
type command struct {
	Work work `cmd:""`
}

type work struct {
	Token inputs.Secret `name:"token"`
	do    func(*Session) error
}

func (w *work) Run(s *Session) error { return w.do(s) }

// run opens a door and gives what came out of it.
func run(t *testing.T, env map[string]string, do func(*Session) error, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	d := &Door{
		Args: append([]string{"work"}, args...), Getenv: func(k string) string { return env[k] }, Stdout: &out, Stderr: &errs,
		Dir: "/here", Exit: func(int) { t.Error("exits") },
	}
	code = d.Main(&command{Work: work{do: do}})
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for kind := fault.Failed; kind <= fault.Stuck; kind++ {
		code, stdout, stderr := run(t, nil, func(*Session) error {
			return fmt.Errorf("roll: %w", fault.New(kind, "api", "look there", "broke\x1b[2J"))
		})
		assert.Equal(t, int(kind), code)
		assert.Equal(t, "shiksha: roll: api: broke\n  hint: look there\n", stderr)
		assert.Empty(t, stdout)
	}
	code, stdout, stderr := run(t, nil, func(s *Session) error { s.Print("done\n"); return nil })
	assert.Zero(t, code)
	assert.Equal(t, "done\n", stdout)
	assert.Empty(t, stderr)
	code, _, stderr = run(t, nil, nil, "--tocken=x")
	assert.Equal(t, 3, code)
	assert.Contains(t, stderr, `did you mean "--token"?`)
}

func TestPeopleAndRunners(t *testing.T) {
	t.Parallel()
	look := func(into **Session) func(*Session) error {
		return func(s *Session) error { *into = s; return nil }
	}
	var person, runner *Session
	run(t, map[string]string{"SSH_AUTH_SOCK": "/run/agent", "HOME": "/home/x"}, look(&person))
	assert.Equal(t, &inputs.Person{AgentSocket: "/run/agent", KnownHosts: "/home/x/.ssh/known_hosts"}, person.Person)
	assert.Equal(t, "/here", person.Workspace)
	run(t, map[string]string{"SSH_AUTH_SOCK": "/run/agent", "HOME": "/home/x", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/ws"}, look(&runner))
	assert.Nil(t, runner.Person, "never the runner's agent or known_hosts")
	assert.Equal(t, "/ws", runner.Workspace)
}

func TestARunOfTheRunner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "INPUT_TOKEN": "hunter2-long", "GITHUB_OUTPUT": filepath.Join(dir, "out"),
		"GITHUB_STEP_SUMMARY": filepath.Join(dir, "sum"),
	}
	code, stdout, stderr := run(t, env, func(s *Session) error {
		s.Sink.Emit(event.Event{Level: event.Info, Phase: "roll", Text: "token hunter2-long", Output: "::error::hunter2-long"})
		s.Sink.Emit(event.Event{Level: event.Warning, Phase: "roll", Text: "careful with hunter2-long"})
		s.Output("plan", "hunter2-long")
		s.Summary("# hunter2-long")
		s.Protect("later-secret")
		return errors.New("later-secret was wrong")
	})
	assert.Equal(t, 1, code)
	assert.Empty(t, stderr, "commands are read from standard output only")
	masks, said, _ := strings.Cut(stdout, "::group::roll\n")
	assert.Contains(t, masks, "::add-mask::hunter2-long\n", "masked before anything is printed")
	assert.NotContains(t, masks, "::add-mask::***")
	assert.NotContains(t, said, "hunter2-long")
	assert.Contains(t, said, "::warning::careful with ***\n")
	assert.True(t, strings.HasSuffix(said, "::add-mask::later-secret\n::endgroup::\n::error::shiksha: *** was wrong\n"), said)
	assert.Regexp(t, `::stop-commands::(\w+)\n +\| ::error::\*\*\*\n::\w+::\n`, said)
	for _, file := range []string{"out", "sum"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		assert.Contains(t, string(data), "***")
		assert.NotContains(t, string(data), "hunter2")
	}
}

// A run that ends before its verb could tell anything leaves an outcome and a summary
// all the same; where the verb told, its word stands.
func TestEveryRunOfTheRunnerTells(t *testing.T) {
	t.Parallel()
	read := func(do func(*Session) error, args ...string) (out, sum string) {
		dir := t.TempDir()
		env := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": filepath.Join(dir, "out"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "sum"), "INPUT_TOKEN": "hunter2-long"}
		run(t, env, do, args...)
		data, err := os.ReadFile(env["GITHUB_OUTPUT"])
		require.NoError(t, err)
		text, err := os.ReadFile(env["GITHUB_STEP_SUMMARY"])
		require.NoError(t, err)
		return string(data), string(text)
	}
	out, sum := read(nil, "--tocken=x")
	assert.Contains(t, out, "\nbad-input\n")
	assert.Contains(t, sum, "## ⛔ bad-input\n")
	assert.Contains(t, sum, "tocken")

	out, sum = read(func(*Session) error {
		return fault.New(fault.Locked, "", "wait", "somebody has | hunter2-long\n  - and <b>more</b>")
	})
	assert.Contains(t, out, "\nlocked\n")
	assert.Contains(t, sum, "\nsomebody has &#124; &#42;&#42;&#42;\n")
	assert.Contains(t, sum, "\n  - and &#60;b&#62;more")
	assert.Contains(t, sum, "hint: wait")

	out, sum = read(func(s *Session) error {
		s.Output("outcome", "stuck")
		s.Summary("# mine")
		return errors.New("x")
	})
	assert.Contains(t, out, "\nstuck\n")
	assert.NotContains(t, out, "failed")
	assert.Equal(t, "# mine\n", sum)

	out, sum = read(func(*Session) error { panic("oh") })
	assert.Contains(t, out, "\ninterrupted\n")
	assert.Contains(t, sum, "internal error: oh")
}

func TestAnOutputThatCannotBeWrittenIsAWarning(t *testing.T) {
	t.Parallel()
	code, stdout, _ := run(t, map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": "/nowhere/at/all"}, func(s *Session) error {
		s.Output("release", "1")
		return nil
	})
	assert.Zero(t, code)
	assert.Contains(t, stdout, "::warning::cannot open the file of GITHUB_OUTPUT")
}

func TestPanicIsNotARefusal(t *testing.T) {
	t.Parallel()
	code, _, stderr := run(t, nil, func(*Session) error { panic("oh") })
	assert.Equal(t, int(fault.Interrupted), code)
	assert.Contains(t, stderr, "shiksha: internal error: oh\n")
	assert.Contains(t, stderr, "door_test.go", "with the place where it happened")
}

// What is printed is cut to what a runner takes, but never through a secret: half of one
// is not known any more.
func TestNoHalfOfASecretIsAnnotated(t *testing.T) {
	t.Parallel()
	env := map[string]string{"GITHUB_ACTIONS": "true", "INPUT_TOKEN": "hunter2-long"}
	for end := 4080; end < 4100; end++ {
		_, stdout, _ := run(t, env, func(s *Session) error {
			s.Sink.Emit(event.Event{Level: event.Warning, Phase: "roll", Text: strings.Repeat("x", end) + "hunter2-long",
				Output: strings.Repeat("x", end-4080+1985) + "hunter2-long"})
			return errors.New(strings.Repeat("x", end-len("shiksha: ")) + "hunter2-long")
		})
		_, said, _ := strings.Cut(stdout, "::group::roll\n")
		require.NotEmpty(t, said)
		assert.NotContains(t, said, "hunte")
	}
}

// Ctrl-C at `shiksha deploy | tee log` ends tee first. This test runs once more as a
// process of its own, whose output nobody reads.
func TestAReaderThatWentAwayEndsNoRelease(t *testing.T) {
	t.Parallel()
	if done := os.Getenv("DOOR_TEST_DONE"); done != "" {
		d := Process()
		d.Args = []string{"work"}
		os.Exit(d.Main(&command{Work: work{do: func(s *Session) error {
			s.Note("half done\n")
			s.Print("half done\n")
			return errors.Join(os.WriteFile(done, nil, 0o600), fault.New(fault.Locked, "", "", "told to nobody"))
		}}}))
	}
	done := filepath.Join(t.TempDir(), "done")
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	child := exec.Command(os.Args[0], "-test.run=^TestAReaderThatWentAwayEndsNoRelease$")
	child.Env = append(os.Environ(), "DOOR_TEST_DONE="+done)
	child.Stdout, child.Stderr = writer, writer
	err = child.Run()
	require.NoError(t, writer.Close())
	var ended *exec.ExitError
	require.ErrorAs(t, err, &ended)
	assert.Equal(t, int(fault.Locked), ended.ExitCode(), "%s", err)
	assert.FileExists(t, done)
}

// Signals reach the whole process, so this test runs alone.
func TestSignals(t *testing.T) {
	var mu sync.Mutex
	var exits []int
	var errs strings.Builder
	d := &Door{
		Args: []string{"work"}, Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: &errs,
		Exit: func(code int) { mu.Lock(); defer mu.Unlock(); exits = append(exits, code) },
	}
	code := d.Main(&command{Work: work{do: func(s *Session) error {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
		<-s.Context.Done()
		mu.Lock()
		assert.Empty(t, exits, "the first signal only asks")
		mu.Unlock()
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		assert.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(exits) == 1 }, 5*time.Second, time.Millisecond)
		return fmt.Errorf("stopped: %w", context.Canceled)
	}}})
	assert.Equal(t, []int{5}, exits)
	assert.Equal(t, 5, code, "a verb that says nothing else was interrupted")
	assert.Contains(t, errs.String(), "shiksha: stopped")
}

// A run on a runner that has not ended when the time of a cancelled one is over
// ends as interrupted, told as such, before the runner kills it without a word.
func TestOverdue(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": filepath.Join(dir, "out")}
	hangs, exits := make(chan struct{}), make(chan int, 1)
	var out strings.Builder
	d := &Door{
		Args: []string{"work"}, Getenv: func(k string) string { return env[k] }, Stdout: &out, Stderr: io.Discard, whole: 300 * time.Millisecond,
		Exit: func(code int) { exits <- code; close(hangs) },
	}
	began := time.Now()
	d.Main(&command{Work: work{do: func(*Session) error {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
		<-hangs
		return nil
	}}})
	assert.Equal(t, 5, <-exits)
	assert.GreaterOrEqual(t, time.Since(began), d.whole)
	outputs, err := os.ReadFile(filepath.Join(dir, "out"))
	require.NoError(t, err)
	assert.Contains(t, string(outputs), "\ninterrupted\n")
	assert.Contains(t, out.String(), "did not end in time")
}
