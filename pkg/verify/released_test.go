package verify

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// Published ports and jobs of what serves are known also where this program would make its
// units otherwise.
func TestAReleaseThatIsMadeOtherwiseIsVerified(t *testing.T) {
	t.Parallel()
	c := types.ServiceConfig{Name: "api"}
	c.Image = "api"
	st := &stack.Stack{Name: "shop", Order: []string{"api"}, Services: map[string]*stack.Service{"api": {Name: "api", Image: "api", HostPorts: []string{"443/tcp"}}},
		Project: &types.Project{Name: "shop", Services: types.Services{"api": c}}}
	require.NoError(t, st.Pin(map[string]string{"api": "api@sha256:" + strings.Repeat("1", 64)}))
	sealed, err := st.Seal()
	require.NoError(t, err)
	l, err := release.Open(t.Context(), disk.Files{}, t.TempDir(), "shop")
	require.NoError(t, err)
	require.NoError(t, l.Append(t.Context(), &release.Record{Outcome: release.Verified}))
	require.NoError(t, l.WriteSealed(t.Context(), 1, []byte(strings.ReplaceAll(string(sealed), st.Services["api"].Hash, strings.Repeat("0", 64)))))
	var told event.Recorder
	serves, record := (&Options{}).released(t.Context(), &target.Target{Sink: &told}, l)
	assert.Equal(t, 1, record.Number)
	assert.Empty(t, told.Events())
	require.NotNil(t, serves)
	assert.Equal(t, []string{"443/tcp"}, serves.Services["api"].HostPorts)
}
