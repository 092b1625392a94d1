package peers

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The program we are compared with is the one whose library we use: the same
// version with the same content.
func TestPinnedLikeOurLibrary(t *testing.T) {
	t.Parallel()
	sums, err := os.ReadFile("../../go.sum")
	require.NoError(t, err)
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	assert.Contains(t, string(sums), compose.module+" "+compose.version+" "+compose.sum+"\n")
	assert.Contains(t, string(mod), compose.module+" "+compose.version+"\n")
}

func TestOtherContentIsRefused(t *testing.T) {
	t.Parallel()
	other := compose
	other.sum = "h1:another"
	cache := t.TempDir()
	_, err := other.ensure(t.Context(), cache, nil)
	require.ErrorContains(t, err, "is not what was pinned")
	left, err := filepath.Glob(filepath.Join(cache, "*", other.folder, "*"))
	require.NoError(t, err)
	assert.Empty(t, left, "nothing may look finished")
}

// Builds the real plugin where the cache lacks it, and asks docker for it.
func TestDockerFindsCompose(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the Compose plugin the first time")
	}
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("no docker command line on this machine")
	}
	config, err := Compose(t.Context(), t.Output())
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "docker", "--config", config, "compose", "version", "--short")
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	require.NoError(t, err, words.String())
	assert.Equal(t, strings.TrimPrefix(compose.version, "v"), strings.TrimPrefix(string(bytes.TrimSpace(out)), "v"))

	var said bytes.Buffer
	again, err := Compose(t.Context(), &said)
	require.NoError(t, err)
	assert.Equal(t, config, again)
	assert.Empty(t, said.String(), "the second time nothing is built")
}
