package shikshasetu

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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

// Nothing answers a challenge of nginx's folder before nginx runs; the first release
// comes before certbot is told to go that way, and before it tries.
func TestDocuments_TheCertificateIsRenewedThroughWhatRuns(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(example, "docs", "PRODUCTION_DEPLOYMENT.md"))
	require.NoError(t, err)
	before, after, found := strings.Cut(string(text), "\nshiksha deploy ")
	require.True(t, found)
	assert.False(t, regexp.MustCompile(`certbot (reconfigure|renew)\b|--webroot`).MatchString(before))
	assert.Regexp(t, `(?s)certbot certonly --webroot -w /var/www/acme .*--force-renewal.*certbot renew --dry-run`, after)
	for _, flag := range []string{"--registry ghcr.io", "--wait-timeout 15m", "--checks verify.yml"} {
		line, _, _ := strings.Cut(after, "\n")
		assert.Contains(t, line, flag, "as the workflow of production has it")
	}
}
