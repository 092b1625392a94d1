package shikshasetu

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	runnable = regexp.MustCompile("(?s)```sh run\n(.*?)```")
	anyShell = regexp.MustCompile("(?s)```sh[a-z ]*\n(.*?)```")
)

// The documents' commands that need no host are run as they stand, in a copy of
// the example; the others have to be shell at least.
func TestDocuments_CommandsWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(example)))
	paths, err := filepath.Glob(filepath.Join(example, "docs", "*.md"))
	require.NoError(t, err)
	ran := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, block := range anyShell.FindAllStringSubmatch(string(text), -1) {
			out, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", block[1]).CombinedOutput()
			assert.NoError(t, err, "%s: %s\n%s", path, block[1], out)
		}
		for _, block := range runnable.FindAllStringSubmatch(string(text), -1) {
			cmd := exec.CommandContext(t.Context(), "sh", "-euc", block[1])
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s: %s\n%s", path, block[1], out)
			ran++
		}
	}
	assert.Equal(t, 2, ran)
}
