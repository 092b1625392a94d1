package deploy

import (
	"context"
	"strings"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/check"
	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/report"
)

// Preflighter looks before a release; it is verb.Preflight but in tests.
type Preflighter func(context.Context, verb.Options, event.Sink) (*check.Report, string, error)

// PreflightCommand is `shiksha preflight`.
type PreflightCommand struct {
	Source

	Engine string `name:"engine" group:"stack" default:"auto" enum:"auto,compose,swarm" help:"swarm tells too what a Swarm ignores or does otherwise, and so does auto where the stack asks for one."`
	Strict bool   `name:"strict" group:"stack" default:"false" help:"Warnings count as failures."`
	All    bool   `name:"all" person:"" help:"Show what passed too."`
	JSON   bool   `name:"json" person:"" help:"Print the results as JSON on standard output."`

	Verb Preflighter `kong:"-"`
}

// Help is what `shiksha preflight --help` teaches.
func (*PreflightCommand) Help() string {
	return `Looks at everything about the stack that can be known without a host: the Compose file, the secrets (by name only),
the configuration of nginx, Prometheus, Alertmanager and Grafana as their containers would see it, certificates, and the
workflows of the repository. Every finding says the file, the line and the mend. A deploy looks at the same first.

    shiksha preflight --env-file prod.env --version v2
    shiksha preflight --strict --json
    shiksha preflight --engine swarm

A service is let off a finding in the Compose file, with the reason:

    x-shiksha: {exempt: {P02.health: "it has no port to ask"}}

EXIT STATUS

    0  nothing that would stop a release
    2  something cannot work, or must not be (with --strict also: should not be)
    3  bad input: the stack could not be read`
}

// Check tells what is wrong with the inputs beyond their types.
func (c *PreflightCommand) Check(inputs.Source) []error {
	problems := inputs.CheckProject(c.Project)
	if _, err := c.References(); err != nil {
		problems = append(problems, err)
	}
	return problems
}

// Run looks and tells.
func (c *PreflightCommand) Run(s *door.Session) error {
	o, err := c.options(s)
	if err != nil {
		return err
	}
	o.Engine = c.Engine
	if c.Strict {
		o.Preflight = verb.Strict
	}
	look := c.Verb
	if look == nil {
		look = verb.Preflight
	}
	found, project, err := look(s.Context, o, s.Sink)
	if found == nil {
		return err
	}
	told := &report.Checks{Title: "preflight of " + project, Report: *found, All: c.All, Color: s.Color()}
	s.Summary(told.Markdown())
	if c.JSON {
		data, err := told.JSON()
		if err != nil {
			return err
		}
		s.Print(string(data) + "\n")
	} else {
		s.Print(told.Text())
	}
	if err != nil {
		// The table has said each; the last line says what that means.
		return fault.New(fault.Of(err), "", "mend what is above, or let a service off in the Compose file: x-shiksha.exempt", "this stack would be refused")
	}
	return nil
}

// options reads where the stack comes from.
func (in *Source) options(s *door.Session) (verb.Options, error) {
	env, err := in.EnvFile.Bytes(s.Workspace)
	if err != nil {
		return verb.Options{}, fault.New(fault.Input, "env-file",
			"give the path of a file in the workspace, or lines of NAME=value", "%w", err)
	}
	s.Protect(inputs.SecretValues(string(env))...)
	images, err := in.References()
	if err != nil {
		return verb.Options{}, err
	}
	o := verb.Options{
		Workspace: s.Workspace, ComposeFiles: in.ComposeFile, Project: in.Project,
		EnvFile: env, EnvFileName: in.EnvFile.Name(s.Workspace), Version: in.Version, Images: images,
	}
	if in.Version != "" {
		o.Environment = map[string]string{"VERSION": in.Version}
	}
	// The checkout is called like the repository on a runner's own machine, but in
	// the action's container it is always /github/workspace.
	_, o.Folder, _ = strings.Cut(s.Action.Run().Repository, "/")
	return o, nil
}
