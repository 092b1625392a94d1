package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shiksha/actions/actions/build"
	"github.com/shiksha/actions/actions/deploy"
	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/actions/verify"
	making "github.com/shiksha/actions/pkg/build"
	"github.com/shiksha/actions/pkg/converge"
	releasing "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/report"
)

// pipelineInputs is everything a pipeline can be told: what a deploy can, and how
// the images are made. The root action.yml is made of them.
type pipelineInputs struct {
	deploy.Inputs
	build.Recipe

	JUnit string `name:"junit" group:"checks" placeholder:"FILE" help:"File in the workspace to write a report of the checks to in JUnit XML."`
}

// Check tells what is wrong with the inputs beyond their types.
func (in *pipelineInputs) Check(s inputs.Source) []error {
	problems := append(in.Inputs.Check(s), in.Recipe.Check(s)...)
	return append(problems, s.CheckReport("junit", in.JUnit)...)
}

// making is what the build of a pipeline is told. It pushes, since the host pulls;
// a dry run keeps nothing.
func (in *pipelineInputs) making() build.Inputs {
	return build.Inputs{
		ComposeFile: in.ComposeFile, Project: in.Project, EnvFile: in.EnvFile, Version: in.Version,
		Recipe: in.Recipe, Push: !in.DryRun,
		Registry: in.Registry, Username: in.Username, Password: in.Password,
	}
}

// releasing is what the deploy of a pipeline is told: the images that were built,
// and those that the input images names instead.
func (in *pipelineInputs) releasing(built map[string]string) (deploy.Inputs, error) {
	given, err := in.Source.References()
	if err != nil {
		return deploy.Inputs{}, err
	}
	all := map[string]string{}
	maps.Copy(all, built)
	maps.Copy(all, given)
	data, err := json.Marshal(all)
	if err != nil {
		return deploy.Inputs{}, err
	}
	release := in.Inputs
	release.Images = inputs.Content(data)
	return release, nil
}

// pipeline is `shiksha pipeline`, and the root action: the whole way from a commit
// to a verified release. It builds what the stack builds, releases it by digest, and
// the deploy goes back when a check fails.
type pipeline struct {
	pipelineInputs
	JSON bool `name:"json" person:"" help:"Print the report of the release as JSON on standard output."`

	// Making and Releasing are the verbs; they are nil but in tests.
	Making    build.Verb  `kong:"-"`
	Releasing deploy.Verb `kong:"-"`
}

// Help is what `shiksha pipeline --help` teaches.
func (*pipeline) Help() string {
	return `Takes a commit to a verified release in one step:

    build     the services of the Compose file that have build: (or the targets of the bake file), pushed as it names
              them; a stack without any goes on with the images that its registry has
    deploy    those digests: plan, roll, switch
    verify    the checks, while the old units can still come back
    back      when a build fails nothing was deployed; when a rollout or a check fails, what served before serves again

    shiksha pipeline --host deploy@gpu1.example.org --version v2 \
        --registry ghcr.io --registry-username me --registry-password=@token
    shiksha pipeline --host deploy@gpu1.example.org --version v2 --dry-run     # does it build, and what would change

The inputs are those of build and deploy. It always pushes what it builds, since the host pulls it; a dry run pushes
nothing and plans with the images that were built as new ones.

` + door.ExitStatus
}

// Run builds, deploys and verifies.
func (c *pipeline) Run(s *door.Session) error {
	begun := converge.Begin(c.Version)
	built, err := c.build(s)
	if err != nil {
		s.Output("outcome", fault.Of(err).String())
		c.tell(s, begun, fmt.Errorf("the images were not built, so nothing is deployed: %w", err))
		return err
	}
	s.GoesOn()
	if err := s.Context.Err(); err != nil {
		c.tell(s, begun, err)
		return err
	}
	return c.release(s, built)
}

// tell tells those who would hear of the release that it did not begin. The build told
// the rest; its plan is nobody's news.
func (c *pipeline) tell(s *door.Session, begun *converge.Result, err error) {
	if c.DryRun {
		return
	}
	begun.Project = c.Project
	_ = c.Follow(s, c.JSON).Unbegun(begun, err) // the caller has it
}

// build makes the images. A stack that builds none is not an error here: all of
// its images come from a registry.
func (c *pipeline) build(s *door.Session) (*making.Result, error) {
	do := c.Making
	if do == nil {
		do = making.Run
	}
	var built *making.Result
	command := build.Command{Inputs: c.making(), Quiet: c.JSON}
	command.Verb = func(ctx context.Context, o making.Options, sink event.Sink) (*making.Result, error) {
		var err error
		built, err = do(ctx, o, sink)
		if errors.Is(err, making.ErrNothing) && len(o.Targets) == 0 {
			sink.Emit(event.Event{Time: time.Now(), Level: event.Notice, Phase: "build",
				Text: "no service has `build:`: every image is taken from its registry"})
			err = nil
		}
		return built, err
	}
	return built, command.Run(s)
}

// release deploys what was built; the deploy verifies, and goes back by itself.
func (c *pipeline) release(s *door.Session, built *making.Result) error {
	do := c.Releasing
	if do == nil {
		do = releasing.Run
	}
	in, err := c.releasing(built.Images)
	if err != nil {
		return err
	}
	var came *converge.Result
	command := deploy.Command{Inputs: in, JSON: c.JSON}
	command.Verb = func(ctx context.Context, o releasing.Options, sink event.Sink) (*converge.Result, error) {
		if o.DryRun {
			o.Unpushed = slices.DeleteFunc(built.Services(), func(name string) bool { return o.Images[name] != "" })
		}
		var err error
		came, err = do(ctx, o, sink)
		return came, err
	}
	err = command.Run(s)
	if came != nil && came.Checks != nil {
		told := &report.Verification{Project: came.Project, Host: came.Host, Release: came.Release, Version: came.Version,
			Outcome: came.Outcome, Started: came.Started, Checks: came.Checks}
		if wrong := verify.Count(s, told, c.JUnit); err == nil {
			err = wrong
		}
	}
	return err
}
