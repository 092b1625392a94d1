package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/actions/manifest"
)

//go:generate go test -count=1 -run ^TestRootAction$ . -write

var write = flag.Bool("write", false, "write the generated files instead of comparing them")

// front are the commands of the root action, as far as they are there, in the order
// in which what they share is told. The first is what it does when it is not told.
var front = []string{"pipeline", "deploy", "plan", "build", "verify", "rollback"}

// TestRootAction keeps the root action.yml, the front door to all the others, what
// the declarations of the commands make of it.
func TestRootAction(t *testing.T) {
	var names []string
	var doors []manifest.Command
	for _, name := range front {
		if in, there := inputsOf(t, name); there {
			names = append(names, name)
			doors = append(doors, manifest.Command{Name: name, Inputs: in})
		}
	}
	require.Contains(t, names, front[0])
	root := manifest.Action{
		Name:        "Shiksha: release a Compose stack",
		Description: "Build a Docker Compose stack, release it on your own host without losing a request, verify it, and go back when it fails.",
		Icon:        "upload-cloud", Color: "blue", Image: "Dockerfile", Args: []string{"${{ inputs.command }}"},
		First:   []manifest.Input{{Name: "command", Help: "What to do. pipeline builds what the Compose file builds, deploys it, verifies it, and goes back when it fails; the others are one part of that.", Default: front[0], Enum: names}},
		Outputs: outputsOf(t, names),
	}
	assert.Less(t, len(root.Description), 125, "the Marketplace takes no longer ones")
	manifest.Check(t, *write, map[string]string{"action.yml": root.YAML(manifest.Union(doors))})
}

// inputsOf gives the inputs of a command as it declares them.
func inputsOf(t *testing.T, name string) (list []manifest.Input, there bool) {
	t.Helper()
	parser, err := inputs.NewParser(&commands{}, inputs.Source{}, io.Discard, io.Discard, func(int) {})
	require.NoError(t, err)
	for _, node := range parser.Model().Children {
		if node.Name == name {
			return manifest.Inputs(node), true
		}
	}
	return nil, false
}

// outputsOf joins the outputs of the actions; what several have is told as the first
// tells it.
func outputsOf(t *testing.T, names []string) (all []manifest.Output) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("actions", name, "action.yml"))
		if os.IsNotExist(err) {
			continue // plan is deploy's, and pipeline is all of theirs
		}
		require.NoError(t, err)
		var action struct{ Outputs yaml.Node }
		require.NoError(t, yaml.Unmarshal(text, &action))
		for at := 0; at+1 < len(action.Outputs.Content); at += 2 {
			output := manifest.Output{Name: action.Outputs.Content[at].Value}
			var told struct{ Description string }
			require.NoError(t, action.Outputs.Content[at+1].Decode(&told))
			output.Help = told.Description
			if !slices.ContainsFunc(all, func(o manifest.Output) bool { return o.Name == output.Name }) {
				all = append(all, output)
			}
		}
	}
	return all
}

// Each action in the repository has its place behind the front door.
func TestEveryActionIsBehindTheFrontDoor(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("actions/*/action.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		assert.Contains(t, front, name)
		_, there := inputsOf(t, name)
		assert.True(t, there, "%s is an action and no command of the program", name)
	}
}
