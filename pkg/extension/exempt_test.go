package extension

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnExemptionNamesAFinding(t *testing.T) {
	t.Parallel()
	for name, hint := range map[string]string{
		"P02.helth": `did you mean "P02.health"?`, "P16.conccurrency": `did you mean "P16.concurrency"?`,
		"P77.nix": `exempt: {P02.health: "it ends by itself"}`, "P18": "", "P00.health": "", "P02.": "", "P2": "", "health": "",
	} {
		_, wrong := ParseService(map[string]any{"exempt": map[string]any{name: "why"}})
		require.NotNil(t, wrong, name)
		assert.Contains(t, wrong.Text, "is not the name of a finding")
		assert.Contains(t, wrong.Hint, hint)
		assert.Equal(t, "exempt."+name, wrong.Path)
	}
	for _, name := range []string{"P02.health", "P05.test", "P17.external-links", "P01", "P17"} {
		ext, wrong := ParseService(map[string]any{"exempt": map[string]any{name: "why"}})
		require.Nil(t, wrong, name)
		assert.Equal(t, "why", ext.Exempt[name])
	}
}

// The names stand here because arrows point down: they are those that the packages of
// a preflight write, and those that the keys of a Swarm give.
func TestFindingsAreThoseOfAPreflight(t *testing.T) {
	t.Parallel()
	written, key := regexp.MustCompile(`"(P\d\d\.[a-z0-9-]+)"`), regexp.MustCompile(`\{name: "([a-z_]+)", written`)
	var told []string
	tree := os.DirFS("../preflight")
	require.NoError(t, fs.WalkDir(tree, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(tree, path)
		for _, m := range written.FindAllSubmatch(text, -1) {
			told = append(told, string(m[1]))
		}
		for _, m := range key.FindAllSubmatch(text, -1) {
			told = append(told, "P17."+strings.ReplaceAll(string(m[1]), "_", "-"))
		}
		return err
	}))
	slices.Sort(told)
	assert.Equal(t, slices.Compact(told), findings)
}
