package verify

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/verify/kind"
)

// The thirteen checks of the ShikshaSetu stack need no code of their own.
func TestShikshaSetuIsExpressible(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/shikshasetu.verify.yml")
	require.NoError(t, err)
	checks, err := kind.ReadFile("shikshasetu.verify.yml", content)
	require.NoError(t, err)
	assert.Len(t, checks, 13)
}

// A verification looks for the project that a deploy of the same files released,
// also where only the checkout's name says what it is called.
func TestProjectOfTheComposeFile(t *testing.T) {
	t.Parallel()
	const nameless = "services: {a: {image: a}}\n"
	for name, test := range map[string]struct{ text, folder, given, want string }{
		"named":                    {"name: shop\n" + nameless, "other", "", "shop"},
		"called like the checkout": {nameless, "Shiksha.Setu", "", "shikshasetu"},
		"given":                    {nameless, "other", "shop", "shop"},
		"no Compose file":          {"", "other", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Workspace: t.TempDir(), Folder: test.folder, Settings: Settings{Project: test.given}}
			if test.text != "" {
				require.NoError(t, os.WriteFile(filepath.Join(o.Workspace, "compose.yaml"), []byte(test.text), 0o600))
			}
			_, err := o.compose()
			require.NoError(t, err)
			assert.Equal(t, test.want, o.Project)
		})
	}
}
