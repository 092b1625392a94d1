package target

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/host"
)

// The host remembers each node that has backups once, with its newest address.
func TestShelves(t *testing.T) {
	t.Parallel()
	s := shelves{disk.Files{}, filepath.Join(t.TempDir(), "shop")}
	known, err := s.all(t.Context())
	require.NoError(t, err)
	assert.Empty(t, known)
	two, three := shelf{ID: "2", Node: "two", Address: "10.0.0.2:22", StateDir: "/srv"}, shelf{ID: "3", Node: "two", Address: "10.0.0.3:22", StateDir: "/srv"}
	for _, one := range []shelf{two, three, two} {
		require.NoError(t, s.add(t.Context(), one))
	}
	two.Address = "10.0.0.9:22"
	require.NoError(t, s.add(t.Context(), two))
	known, err = s.all(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []shelf{two, three}, known)

	require.NoError(t, os.WriteFile(s.file(), []byte("[{"), 0o600))
	_, err = s.all(t.Context())
	require.ErrorContains(t, err, s.file(), "nobody guesses where backups are")
	require.ErrorContains(t, s.add(t.Context(), two), s.file(), "what cannot be read is not written over")
}

// Where state is on a node: what its label says, what the input says, what suits there.
func TestStateDirOfANode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		label, input, want string
	}{{"/srv/state", "", "/srv/state"}, {"/srv/state", "/here", "/srv/state"}, {"", "/here", "/here"}, {"srv", "/here", ""}} {
		at := &Target{Host: &host.Host{}, StateDir: "/here", Sink: event.Discard, everywhere: c.input != ""}
		got, err := at.stateDir(t.Context(), &Node{Name: "two", StateDir: c.label})
		assert.Equal(t, c.want == "", err != nil, "%v", err)
		assert.Equal(t, c.want, got)
	}
	got, err := (&Target{StateDir: "/found"}).stateDir(t.Context(), (&Target{StateDir: "/found"}).Here())
	require.NoError(t, err)
	assert.Equal(t, "/found", got)
}
