package act

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// A job waits for the pull of the image each time: it stays small, and it is two
// files, each in a layer of its own, so that no layer holds what a later one takes
// away or writes again.
func TestImageIsSmallForEachArchitecture(t *testing.T) {
	wanted(t)
	f := lab.New(t)
	const limit = 20_000_000
	for _, arch := range []string{"amd64", "arm64"} {
		local, err := f.ActionImage(t.Context(), arch)
		require.NoError(t, err)
		told, err := f.Docker(t.Context(), "image", "inspect", "--format", "{{.Architecture}} {{.Config.Entrypoint}} [{{.Config.User}}]", local)
		require.NoError(t, err)
		assert.Equal(t, arch+" [/shiksha] []", told)
		ref, err := f.PublishAction(t.Context(), local)
		require.NoError(t, err)
		layers, err := lab.CompressedLayers(t.Context(), ref)
		require.NoError(t, err)
		require.Len(t, layers, 2)
		assert.Less(t, layers[0]+layers[1], int64(limit), arch)
		t.Logf("%s: %.1f MB compressed", arch, float64(layers[0]+layers[1])/1e6)
	}
}
