package act

import (
	"debug/elf"
	"path/filepath"
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
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		local, err := f.ActionImage(t.Context(), arch)
		require.NoError(t, err)
		told, err := f.Docker(t.Context(), "image", "inspect", "--format", "{{.Config.Entrypoint}} [{{.Config.User}}]", local)
		require.NoError(t, err)
		assert.Equal(t, "[/shiksha] []", told)
		assertStatic(t, f, local, machine)
		ref, err := f.PublishAction(t.Context(), local)
		require.NoError(t, err)
		layers, err := lab.CompressedLayers(t.Context(), ref)
		require.NoError(t, err)
		require.Len(t, layers, 2)
		assert.Less(t, layers[0]+layers[1], int64(limit), arch)
		t.Logf("%s: %.1f MB compressed", arch, float64(layers[0]+layers[1])/1e6)
	}
}

// assertStatic looks at the program in an image: for the right machine, and in
// need of nothing that the image does not have.
func assertStatic(t *testing.T, f *lab.Fixture, image string, machine elf.Machine) {
	t.Helper()
	id, err := f.Docker(t.Context(), "create", image)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "shiksha")
	_, err = f.Docker(t.Context(), "cp", id+":/shiksha", file)
	require.NoError(t, err)
	_, err = f.Docker(t.Context(), "rm", id)
	require.NoError(t, err)
	program, err := elf.Open(file)
	require.NoError(t, err)
	defer func() { _ = program.Close() }()
	assert.Equal(t, machine, program.Machine)
	libraries, err := program.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries)
	assert.Nil(t, program.Section(".symtab"), "symbols are left out")
}
