// Package door is how every run enters and leaves the program: it reads the
// inputs, makes secrets unreadable before the first line is printed, turns
// signals into a cancelled context, and tells an error once, with its hint and
// its exit code. The verbs behind it know nothing of runners, terminals or
// processes.
package door

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/action"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/report"
)

// ExitStatus explains the exit codes in the help of a command.
const ExitStatus = `EXIT STATUS

    0  verified: the release serves (or there was nothing to do)
    1  failed: what served before serves again, unless the message says that what was
       changed stays
    2  refused: nothing was changed, something on the host or in the stack forbids it
    3  bad input: nothing was changed
    4  locked: somebody else is releasing this project
    5  interrupted: users are served, unless the message says otherwise; run the same
       again, or do what the message says
    6  stuck: it failed and could not go back, a person is needed`

// Door is what a run has of its process.
type Door struct {
	Args           []string
	Getenv         func(string) string
	Stdout, Stderr io.Writer
	// Terminal tells whether Stdout and Stderr are one.
	Terminal bool
	// Dir is the folder the run was started in.
	Dir string
	// Exit ends the process at once, for --help and for a second signal.
	Exit func(code int)

	// whole is when a cancelled run is over; 0 for grace.Whole.
	whole time.Duration
}

// Process is the door of this process.
func Process() *Door {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	return &Door{
		Args: os.Args[1:], Getenv: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr, Dir: dir, Exit: os.Exit,
		Terminal: terminal(os.Stdout) && terminal(os.Stderr),
	}
}

// Session is what a command runs in.
type Session struct {
	// Context ends with the first signal.
	Context context.Context
	// Action is the runner's side; it does nothing outside a runner.
	Action *action.Action
	// Sink takes the events of the verb.
	Sink event.Sink
	// Person is what the account offers for inputs that were left out, nil on a
	// runner.
	Person *inputs.Person
	// Workspace is the folder that files of the stack are in.
	Workspace string
	// DockerHost is the address of this machine's engine, "" for the usual one.
	DockerHost string

	door     *Door
	redactor *report.Redactor
	stdout   io.WriteCloser
	log      io.WriteCloser
	console  *report.Console
	// told is whether the outcome was set, summed whether there is a summary.
	told, summed atomic.Bool
}

// Main runs the command that the arguments name and gives the exit code. Cli is
// a pointer to a struct of kong commands; each has Run(*Session) error.
func (d *Door) Main(cli any, options ...kong.Option) int {
	raw := action.New(d.Getenv, d.Stdout)
	source := inputs.Source{Runner: raw.Active(), Input: raw.Input, Workspace: d.workspace(raw), ReadFile: os.ReadFile}
	parser, err := inputs.NewParser(cli, source, d.Stdout, d.Stderr, d.Exit, options...)
	if err != nil {
		return d.newSession(raw, nil).fail(err)
	}
	parsed, err := parser.Parse(d.Args)
	var secrets []string
	if parsed != nil {
		secrets = inputs.Secrets(parsed)
	}
	s := d.newSession(raw, secrets)
	defer s.close()
	if err != nil {
		return s.fail(err)
	}
	ctx, stop := d.listen(s.overdue)
	defer stop()
	s.Context = ctx
	return s.fail(s.run(parsed))
}

// run runs the command. A verb that a signal ended without saying how it left
// the host counts as interrupted, and so does one that a mistake of ours ended:
// the process's own exit code for a panic would claim that nothing was changed.
func (s *Session) run(parsed *kong.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Note(string(debug.Stack()))
			err = fault.New(fault.Interrupted, "", "this is a mistake in shiksha, please report it; running the same again heals",
				"internal error: %v", p)
		}
	}()
	if err = parsed.Run(s); err != nil && s.Context.Err() != nil {
		err = fault.As(fault.Interrupted, err)
	}
	return err
}

// newSession masks the secrets, then opens what can print.
func (d *Door) newSession(raw *action.Action, secrets []string) *Session {
	s := &Session{door: d, redactor: &report.Redactor{}, Workspace: d.workspace(raw), DockerHost: d.Getenv("DOCKER_HOST")}
	s.Protect(secrets...)
	s.stdout = s.redactor.Writer(d.Stdout)
	s.Action = action.New(d.Getenv, s.stdout)
	options := report.Options{Start: time.Now(), Verbose: raw.Debug(), Color: s.Color(), Redact: s.Redact}
	if raw.Active() {
		// Commands are read from standard output only, so everything goes there.
		s.log = s.stdout
		options.Workflow, options.Annotate, options.AnnotateAt = s.Action, s.annotate, s.annotateAt
	} else {
		s.log = s.redactor.Writer(d.Stderr)
		s.Person = &inputs.Person{AgentSocket: d.Getenv("SSH_AUTH_SOCK")}
		if home := d.Getenv("HOME"); home != "" {
			s.Person.KnownHosts = home + "/.ssh/known_hosts"
		}
	}
	s.console = report.NewConsole(s.log, options)
	s.Sink = s.console
	return s
}

// workspace is the folder that files of the stack are in: a runner's checkout, or where
// a person is.
func (d *Door) workspace(raw *action.Action) string { return cmp.Or(raw.Run().Workspace, d.Dir) }

// Protect keeps more secrets out of everything that is printed from here on.
func (s *Session) Protect(secrets ...string) {
	// Past the redactor, which would turn the masks themselves into stars.
	action.New(s.door.Getenv, s.door.Stdout).Mask(s.redactor.Add(secrets...)...)
}

// Redact gives text without the secrets.
func (s *Session) Redact(text string) string { return s.redactor.String(text) }

// Print writes text for the caller to standard output, without secrets. What it quotes
// is no command to a runner.
func (s *Session) Print(text string) {
	_ = s.console.Close()
	_, _ = io.WriteString(s.stdout, s.Action.Inert(text))
}

// Color tells whether what is printed may have colours.
func (s *Session) Color() bool { return s.door.Terminal && s.door.Getenv("NO_COLOR") == "" }

// Note writes text for people: to standard error, or the runner's log.
func (s *Session) Note(text string) {
	_ = s.console.Close()
	_, _ = io.WriteString(s.log, s.Action.Inert(text))
}

// Output sets an output of the step, without secrets. That it cannot be written
// is a warning: the release is what counts.
func (s *Session) Output(name, value string) {
	if name == "outcome" {
		s.told.Store(true)
	}
	if err := s.Action.SetOutput(name, s.redactor.String(value)); err != nil {
		s.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "report", Text: err.Error()})
	}
}

// Summary adds to the job summary, without secrets.
func (s *Session) Summary(markdown string) {
	s.summed.Store(true)
	if err := s.Action.AddSummary(s.redactor.String(markdown)); err != nil {
		s.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "report", Text: err.Error()})
	}
}

// GoesOn tells that what is in the job summary so far is only a part of the run: how it
// ends is still to be told there.
func (s *Session) GoesOn() { s.summed.Store(false) }

func (s *Session) annotate(level event.Level, text string) { s.annotateAt(level, "", 0, text) }

func (s *Session) annotateAt(level event.Level, file string, line int, text string) {
	kind := action.Notice
	switch level {
	case event.Warning:
		kind = action.Warning
	case event.Error:
		kind = action.Error
	}
	// Without secrets before it is cut to what the runner takes: half of one is not known.
	s.Action.AnnotateAt(kind, file, line, s.Redact(text))
}

// fail tells the error, if there is one, and gives the exit code.
func (s *Session) fail(err error) int {
	_ = s.console.Close()
	if err == nil {
		return 0
	}
	text := "shiksha: " + report.Error(err.Error())
	hint := ""
	if h := fault.Hint(err); h != "" {
		hint = "  hint: " + report.Error(h)
	}
	if s.Action.Active() {
		// The runner prints an annotation in the log as well: once is enough.
		s.Action.Annotate(action.Error, s.Redact(joinLines(text, hint)))
		s.leave(fault.Of(err).String(), joinLines(report.Error(err.Error()), hint))
	} else {
		_, _ = io.WriteString(s.log, joinLines(text, hint)+"\n")
	}
	s.close()
	return fault.Code(err)
}

// leave tells the steps and the readers after this one what a run came to that ended
// before its verb could: a missing input, say.
func (s *Session) leave(outcome, text string) {
	if !s.told.Load() {
		s.Output("outcome", outcome)
	}
	if !s.summed.Load() {
		s.Summary(report.Problem(outcome, s.Redact(text)))
	}
	_ = s.console.Close()
}

func (s *Session) close() {
	_ = s.console.Close()
	_ = s.log.Close()
	_ = s.stdout.Close()
}

func joinLines(text, more string) string {
	if more == "" {
		return text
	}
	return text + "\n" + more
}

// overdue ends a run that has not ended by itself in the time that a cancelled one
// has: better told than killed. People who wait are not hurried.
func (s *Session) overdue() {
	if !s.Action.Active() {
		return
	}
	s.Output("outcome", fault.Interrupted.String())
	s.door.Exit(s.fail(fault.New(fault.Interrupted, "", "run the same again: it finds what was left and heals it first",
		"the run was cancelled and did not end in time")))
}

// listen gives a context that the first signal ends. The second one ends the
// process: whoever sends it does not want to wait, and every instant is safe. A run
// that has not ended when its grace is over is overdue.
func (d *Door) listen(overdue func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ctx = grace.Watch(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	// Ctrl-C at `shiksha deploy | tee log` ends tee first. A signal that is asked for does
	// not end the process at its next line: nobody reads it, the release goes on.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		var whole <-chan time.Time
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-whole:
				overdue()
				return
			case <-signals:
				if n > 0 {
					d.Exit(fault.Code(fault.New(fault.Interrupted, "", "", "a second signal came")))
					return
				}
				cancel()
				whole = time.After(cmp.Or(d.whole, grace.Whole))
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
