package deploy

import (
	"context"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/actions/outcome"
	"github.com/shiksha/actions/pkg/converge"
	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
)

// Verb carries a release out; it is verb.Run but in tests.
type Verb func(context.Context, verb.Options, event.Sink) (*converge.Result, error)

// Command is `shiksha deploy`, and the action.
type Command struct {
	Inputs
	JSON bool `name:"json" person:"" help:"Print the report as JSON on standard output."`

	Verb Verb `kong:"-"`
}

// Help is what `shiksha deploy --help` teaches.
func (*Command) Help() string {
	return `Takes the stack of the Compose file from what runs on the host to what should run, without losing a request,
and back when that fails. Only services that differ are touched.

    shiksha deploy --host deploy@gpu1.example.org --env-file prod.env --version v2
    shiksha deploy --host deploy@gpu1.example.org --probe-url https://shop.example.org/health
    shiksha deploy --host deploy@gpu1.example.org --services api,worker --dry-run

Secrets are given as @path (--ssh-key=@id_ed25519) or in the environment (INPUT_SSH-KEY), never as a plain value.
Every input can be set in the environment, as INPUT_ and its name in upper case.

` + door.ExitStatus
}

// Run releases.
func (c *Command) Run(s *door.Session) error {
	return perform(s, &c.Inputs, c.Verb, c.JSON)
}

// PlanCommand is `shiksha plan`: a deploy that stops before it changes anything.
type PlanCommand struct {
	Inputs
	JSON bool `name:"json" person:"" help:"Print the report as JSON on standard output."`

	Verb Verb `kong:"-"`
}

// Help is what `shiksha plan --help` teaches.
func (*PlanCommand) Help() string {
	return `Says for each service what a deploy with the same inputs would do and why, what users would notice, and what
forbids it. Reads from the host, changes nothing. The same as deploy --dry-run. Without a host it plans for an empty one,
which needs no secret: the pull request of a fork gets a plan too.

    shiksha plan --host deploy@gpu1.example.org --env-file prod.env --version v2
    shiksha plan --version v2

EXIT STATUS

    0  planned: also where a deploy would be refused, which the plan says
    2  refused: nobody could look at the host, or preflight: strict found something
    3  bad input: nothing was looked at`
}

// Check tells what is wrong with the inputs beyond their types; a plan needs no
// host.
func (c *PlanCommand) Check(s inputs.Source) []error {
	c.DryRun = true
	return c.Inputs.Check(s)
}

// Run plans.
func (c *PlanCommand) Run(s *door.Session) error {
	c.DryRun = true
	return perform(s, &c.Inputs, c.Verb, c.JSON)
}

// perform carries the release out and tells what came of it.
func perform(s *door.Session, in *Inputs, do Verb, asJSON bool) error {
	begun := converge.Begin(in.Version)
	story := in.Follow(s, asJSON)
	o, err := in.options(s)
	if err != nil {
		begun.Project = in.Project
		return story.Unbegun(begun, err)
	}
	if do == nil {
		do = verb.Run
	}
	o.Began = story.Began
	result, err := do(s.Context, o, story)
	return story.Finish(result, err)
}

// Follow begins the story of the release for those that the inputs name.
func (in *Inputs) Follow(s *door.Session, asJSON bool) *outcome.Story {
	return outcome.Follow(s, outcome.About{
		Version: in.Version, DryRun: in.DryRun, Run: origin(s), ProbeURL: in.ProbeURL, ProbeBudget: in.ProbeBudget, JSON: asJSON,
	}, &in.Telling)
}
