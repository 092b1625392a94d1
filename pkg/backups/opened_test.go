package backups

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// After an upgrade that makes units otherwise the databases of the release that serves are
// dumped all the same: what is backed up, and how, is in no hash.
func TestAReleaseThatIsMadeOtherwiseIsBackedUp(t *testing.T) {
	t.Parallel()
	c := types.ServiceConfig{Name: "db"}
	c.Image = "postgres"
	st := &stack.Stack{Name: "shop", Order: []string{"db"}, Services: map[string]*stack.Service{"db": {Name: "db", Image: "postgres"}},
		Project: &types.Project{Name: "shop", Services: types.Services{"db": c}}}
	st.Services["db"].Ext.Backups = &stack.Backups{Database: "shop", Least: 7}
	require.NoError(t, st.Pin(map[string]string{"db": "postgres@sha256:" + strings.Repeat("1", 64)}))
	sealed, err := st.Seal()
	require.NoError(t, err)
	otherwise := strings.ReplaceAll(string(sealed), st.Services["db"].Hash, strings.Repeat("0", 64))

	l, err := release.Open(t.Context(), disk.Files{}, t.TempDir(), "shop")
	require.NoError(t, err)
	require.NoError(t, l.Append(t.Context(), &release.Record{Outcome: release.Verified}))
	_, _, err = Options{}.serving(t.Context(), l)
	require.ErrorContains(t, err, "the host has no stored environment and model of release 1")
	require.NoError(t, l.WriteSealed(t.Context(), 1, []byte(otherwise)))
	serves, _, err := Options{}.serving(t.Context(), l)
	require.NoError(t, err)
	assert.Equal(t, st.Services["db"].Ext.Backups, serves.Services["db"].Ext.Backups)
}
