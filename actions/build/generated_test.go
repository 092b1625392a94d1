package build

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/actions/manifest"
	verb "github.com/shiksha/actions/pkg/build"
)

var write = flag.Bool("write", false, "write the generated files instead of comparing them")

// declared gives the inputs of the command build as they are declared.
func declared(t *testing.T) []manifest.Input {
	t.Helper()
	var cli struct {
		Build Command `cmd:""`
	}
	return manifest.Declared(t, &cli)
}

func TestGenerated(t *testing.T) {
	in := declared(t)
	var outs []manifest.Output
	for _, o := range outputs {
		outs = append(outs, manifest.Output{Name: o.Name, Help: o.Help})
	}
	door := manifest.Action{
		Name:        "Shiksha build",
		Description: "Build the images of a Docker Compose stack for several platforms with BuildKit, push them, and hand their digests to a deploy.",
		Icon:        "package", Color: "blue", Image: "../../Dockerfile", Args: []string{"build"}, Outputs: outs,
	}
	manifest.Generated(t, *write, door, in, nil)
}

// The names are an interface: workflows use them.
func TestInputNames(t *testing.T) {
	var names []string
	for _, in := range declared(t) {
		names = append(names, in.Name)
		assert.NotEmpty(t, in.Help, in.Name)
		assert.NotEmpty(t, in.Group, in.Name)
		if in.Name == "buildkit-image" {
			assert.Equal(t, verb.DefaultImage, in.Default)
		}
	}
	assert.ElementsMatch(t, []string{
		"compose-file", "bake-file", "project", "env-file", "version", "targets", "platforms", "push", "load", "tags", "registry",
		"registry-username", "registry-password", "cache", "cache-from", "cache-to", "build-args", "secrets", "labels",
		"provenance", "sbom", "builder", "buildkit-image", "no-cache", "pull", "outputs",
	}, names)
	var outs []string
	for _, o := range outputs {
		outs = append(outs, o.Name)
	}
	assert.Equal(t, []string{"images", "digests", "tags", "metadata", "report"}, outs)
}
