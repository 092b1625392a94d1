// Package verify is the doorway of the verb verify: it declares the inputs and
// tells what was found as lines for people, JSON, JUnit, outputs and a summary.
// action.yml and the tables of README.md are generated from the declarations.
package verify

//go:generate go test -count=1 -run ^TestGenerated$ . -write

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/report"
	verb "github.com/shiksha/actions/pkg/verify"
)

// Inputs is everything a verification can be told.
type Inputs struct {
	inputs.Connection
	inputs.Platform

	ComposeFile inputs.List `name:"compose-file" group:"stack" placeholder:"FILE,..." help:"Compose files in the workspace, read for the project's name and for the checks under x-shiksha. Default: compose.yaml where there is one; without it project is enough."`
	Project     string      `name:"project" group:"stack" help:"Name of the Compose project. Default: the name in the Compose file, else the folder's (in a workflow the repository's)."`
	StateDir    string      `name:"state-dir" group:"stack" placeholder:"DIR" help:"Folder on the host for releases and the lock. Default: /var/lib/shiksha, or the user's own state folder where that cannot be written, or is empty and theirs is not."`

	Checks string        `name:"checks" group:"checks" placeholder:"FILE" help:"File of checks in the workspace. Default: x-shiksha.checks of the Compose file in the workspace, else of the release's (a file that deploy got as checks is not kept), else what its Compose file promises."`
	Only   inputs.List   `name:"only" group:"checks" placeholder:"NAME,..." help:"Run only these checks, by name. The others are reported as skipped."`
	Skip   inputs.List   `name:"skip" group:"checks" placeholder:"NAME,..." help:"Checks to leave out, by name. They are reported as skipped."`
	Time   time.Duration `name:"timeout" group:"checks" default:"5m" help:"Longest time for all checks. What is not over by then is unknown."`
	Window time.Duration `name:"stability-window" group:"checks" default:"10s" help:"How long nothing may restart, lose its health or stop answering. A unit that has run for so long needs no waiting."`
	URL    string        `name:"url" group:"checks" placeholder:"URL" help:"Address under which users reach the stack. Checks with only a path ask there, and {{url}} is its value."`
	JUnit  string        `name:"junit" group:"checks" placeholder:"FILE" help:"File in the workspace to write a report to in JUnit XML."`
	FailOn string        `name:"fail-on" group:"checks" default:"fail" enum:"fail,warn" help:"warn makes a warning fail too."`
}

// Check tells what is wrong with the inputs beyond their types.
func (in *Inputs) Check(s inputs.Source) []error {
	problems := append(in.Connection.Check(s), inputs.CheckStack(in.Project, in.StateDir, in.URL)...)
	return append(problems, s.CheckReport("junit", in.JUnit)...)
}

// Verb verifies; it is verb.Run but in tests.
type Verb func(context.Context, verb.Options, event.Sink) (*verb.Result, error)

// Command is `shiksha verify`, and the action.
type Command struct {
	Inputs
	JSON bool `name:"json" person:"" help:"Print the report as JSON on standard output."`

	Verb Verb `kong:"-"`
}

// ExitStatus explains the exit codes of a verification.
const ExitStatus = `EXIT STATUS

    0  verified: every check that decides passed
    1  failed: a check failed
    2  could not decide: a check that decides is unknown, or the host lets nobody look
    3  bad input: nothing was looked at, also where nobody answers at the host's address
    5  interrupted`

// Help is what `shiksha verify --help` teaches.
func (*Command) Help() string {
	return `Looks whether what runs on a host is what was released and works, and changes nothing. Without checks it looks at
what the Compose file promises: every unit there, healthy, of the released image, not restarted, published ports
answering.

    shiksha verify --host deploy@gpu1.example.org --project shop
    shiksha verify --host deploy@gpu1.example.org --checks verify.yml --url https://shop.example.org --junit verify.xml

` + ExitStatus
}

// Run verifies and tells what came of it.
func (c *Command) Run(s *door.Session) error {
	o, err := c.options(s)
	if err != nil {
		return err
	}
	look := c.Verb
	if look == nil {
		look = verb.Run
	}
	result, err := look(s.Context, o, s.Sink)
	told := tell(result, err)
	return c.finish(s, told, err)
}

func (c *Command) options(s *door.Session) (verb.Options, error) {
	settings, err := inputs.ReadChecks(s.Workspace, string(c.Checks))
	if err != nil {
		return verb.Options{}, err
	}
	// The checkout is called like the repository, but in the action's container it
	// is always /github/workspace.
	_, folder, _ := strings.Cut(s.Action.Run().Repository, "/")
	return verb.Options{
		Host: c.Config(s.Person), Engine: c.Engine, StateDir: c.StateDir, Workspace: s.Workspace, ComposeFiles: c.ComposeFile, Folder: folder,
		Settings: verb.Settings{
			Project: c.Project, File: settings.Name, Content: settings.Content, Only: c.Only, Skip: c.Skip, URL: c.URL, Timeout: c.Time, Window: c.Window,
			FailOn: check.Outcome(c.FailOn), Protect: s.Protect,
		},
	}, nil
}

func tell(r *verb.Result, err error) *report.Verification {
	if r == nil {
		r = &verb.Result{}
	}
	told := &report.Verification{Project: r.Project, Host: r.Host, Release: r.Release, Version: r.Version, Restores: r.Restores, Outcome: r.Outcome,
		Started: r.Started, Seconds: r.Seconds, Checks: r.Report}
	told.Fail(err)
	return told
}

// Output is one output of the action.
type Output struct {
	Name, Help string
	value      func(v *report.Verification, json string) string
}

// Outputs are set after every run, also after one that failed.
var Outputs = []Output{
	{"outcome", "verified, failed, unknown, or what went wrong: refused, bad-input, interrupted.", func(v *report.Verification, _ string) string { return v.Outcome }},
	{"passed", "How many checks passed, with a warning or without.", func(v *report.Verification, _ string) string { return count(v, check.Pass, check.Warn) }},
	{"failed", "How many checks failed.", func(v *report.Verification, _ string) string { return count(v, check.Fail) }},
	{"unknown", "How many checks could not decide.", func(v *report.Verification, _ string) string { return count(v, check.Unknown) }},
	{"restores", "Number of the release that a rollback brought back, where that is what serves; else empty.", func(v *report.Verification, _ string) string { return number(v.Restores) }},
	{"report", "Everything that was found as one JSON object.", func(_ *report.Verification, json string) string { return json }},
	{"junit", "Path of the JUnit file; empty when none was asked for.", nil},
}

// number is "" for none.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func count(v *report.Verification, outcomes ...check.Outcome) string {
	if v.Checks == nil {
		return ""
	}
	return strconv.Itoa(len(v.Checks.With(outcomes...)))
}

// finish tells what was found, also when it failed. The error goes on to the door,
// which prints it.
func (c *Command) finish(s *door.Session, told *report.Verification, err error) error {
	data, marshalError := told.JSON()
	if marshalError != nil {
		return marshalError
	}
	for _, o := range Outputs {
		if o.value != nil {
			s.Output(o.Name, o.value(told, string(data)))
		}
	}
	if told.Checks != nil {
		junit(s, c.JUnit, told)
	}
	s.Summary(told.Markdown())
	switch {
	case c.JSON:
		s.Print(string(data) + "\n")
	case told.Checks != nil:
		s.Print(told.Text())
	}
	return err
}

// Count tells of checks that a release made: how they ended, as outputs and, where
// one is named, as a JUnit file in the workspace.
func Count(s *door.Session, told *report.Verification, file string) error {
	data, err := told.JSON()
	if err != nil {
		return err
	}
	for _, o := range Outputs {
		if slices.Contains([]string{"passed", "failed", "unknown"}, o.Name) {
			s.Output(o.Name, o.value(told, string(data)))
		}
	}
	junit(s, file, told)
	return nil
}

// junit writes the JUnit file into the workspace; no name, no file. That it cannot be
// written is a warning: what was found is what counts.
func junit(s *door.Session, file string, told *report.Verification) {
	if file == "" {
		return
	}
	name, err := writeJUnit(s, file, told)
	s.HandOver(name)
	if err != nil {
		s.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "report", Text: "junit: cannot write " + name + ": " + err.Error()})
		return
	}
	s.Output("junit", name)
}

func writeJUnit(s *door.Session, file string, told *report.Verification) (string, error) {
	name, _ := inputs.InWorkspace(s.Workspace, file)
	data, err := told.JUnit()
	if err != nil {
		return name, err
	}
	root, err := os.OpenRoot(s.Workspace)
	if err != nil {
		return name, err
	}
	defer root.Close()
	if dir := filepath.Dir(name); dir != "." {
		_ = root.MkdirAll(dir, 0o755) // writing tells what is wrong
	}
	return name, root.WriteFile(name, []byte(s.Redact(string(data))), 0o644)
}
