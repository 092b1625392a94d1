package build

import (
	"context"
	"os"

	"github.com/shiksha/actions/actions/door"
	verb "github.com/shiksha/actions/pkg/build"
	"github.com/shiksha/actions/pkg/event"
)

// Verb carries a build out; it is verb.Run but in tests.
type Verb func(context.Context, verb.Options, event.Sink) (*verb.Result, error)

// Command is `shiksha build`, and the action.
type Command struct {
	Inputs
	JSON bool `name:"json" person:"" help:"Print the report as JSON on standard output."`

	Verb Verb `kong:"-"`
	// Quiet prints no result: the build is a part of something else, which does.
	Quiet bool `kong:"-"`
}

// Help is what `shiksha build --help` teaches.
func (*Command) Help() string {
	return `Builds the services of the Compose file that have build:, all at once with BuildKit, and says each image's digest.
What is pushed is what the Compose file names, so a deploy finds it.

    shiksha build                                                  # does it build? nothing is kept
    shiksha build --load --targets api                             # for the engine of this machine
    shiksha build --push --platforms linux/amd64,linux/arm64 \
        --registry ghcr.io --registry-username me --registry-password=@token
    shiksha build --builder unix:///run/buildkit/buildkitd.sock    # with a BuildKit of your own

Secrets are given as @path (--secrets=@file) or in the environment (INPUT_SECRETS), never as a plain value.
Every input can be set in the environment, as INPUT_ and its name in upper case.

EXIT STATUS

    0  built: and pushed, where that was asked
    1  failed: a step or the registry; nothing runs differently
    2  refused: there is no builder that could do it
    3  bad input: nothing was built
    5  interrupted: run it again, what was built is cached`
}

// Run builds.
func (c *Command) Run(s *door.Session) error {
	// A bake file and the library would see the runner's environment, with the
	// inputs in it.
	for _, name := range []string{"BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "BUILDX_NO_DEFAULT_LOAD"} {
		if err := os.Setenv(name, "1"); err != nil {
			return err
		}
	}
	o, err := c.options(s)
	if err != nil {
		return err
	}
	do := c.Verb
	if do == nil {
		do = verb.Run
	}
	result, err := do(s.Context, o, s.Sink)
	s.HandOver(result.Written...)
	told := tell(result, o, s.Action.Run().URL, err)
	data, marshalError := told.JSON()
	if marshalError != nil {
		return marshalError
	}
	for _, out := range outputs {
		s.Output(out.Name, out.value(result, data))
	}
	s.Summary(told.Markdown())
	switch {
	case c.JSON:
		s.Print(string(data) + "\n")
	case err == nil && !c.Quiet:
		s.Print(told.Text())
	}
	return err
}
