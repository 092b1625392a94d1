package pipeline

import (
	"encoding/json"
	"maps"

	"github.com/shiksha/actions/actions/build"
	"github.com/shiksha/actions/actions/deploy"
	"github.com/shiksha/actions/actions/inputs"
)

// Inputs is everything a pipeline can be told: what a deploy can, and how the
// images are made.
type Inputs struct {
	deploy.Inputs
	build.Recipe

	JUnit string `name:"junit" group:"checks" placeholder:"FILE" help:"File in the workspace to write a report of the checks to in JUnit XML."`
}

// Check tells what is wrong with the inputs beyond their types.
func (in *Inputs) Check(s inputs.Source) []error {
	return append(in.Inputs.Check(s), in.Recipe.Check(s)...)
}

// making is what the build of a pipeline is told. It pushes, since the host pulls;
// a dry run keeps nothing.
func (in *Inputs) making() build.Inputs {
	return build.Inputs{
		ComposeFile: in.ComposeFile, Project: in.Project, EnvFile: in.EnvFile, Version: in.Version,
		Recipe: in.Recipe, Push: !in.DryRun,
		Registry: in.Registry, Username: in.Username, Password: in.Password,
	}
}

// releasing is what the deploy of a pipeline is told: the images that were built,
// and those that the input images names instead.
func (in *Inputs) releasing(built map[string]string) (deploy.Inputs, error) {
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
