package rollback

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/content"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// kept are files of this machine, as a store needs them.
type kept struct{ disk.Files }

func (kept) Overwrite(_ context.Context, name string, data []byte, perm fs.FileMode) error {
	return os.WriteFile(name, data, perm)
}
func (kept) RemoveAll(_ context.Context, name string) error { return os.RemoveAll(name) }
func (kept) Exists(_ context.Context, name string) (bool, error) {
	_, err := os.Stat(name)
	return err == nil, nil
}

// fakeHost takes any stack as it is, or none; nodes is set where others pull the images.
type fakeHost struct {
	platform.Platform
	refuses error
	nodes   bool
}

func (f fakeHost) Adapt(context.Context, *stack.Stack) error { return f.refuses }

// After a release that was not verified the live files are compared with those of the last
// one that was.
func TestLiveFilesAreComparedWithTheVerifiedRelease(t *testing.T) {
	t.Parallel()
	ws, state := t.TempDir(), t.TempDir()
	text := "services: {gateway: {image: nginx, volumes: ['./conf:/etc/nginx/conf.d:ro'], x-shiksha: {reload: {test: [nginx, -t], signal: SIGHUP}}}, api: {image: api}}\n"
	require.NoError(t, os.WriteFile(filepath.Join(ws, "compose.yaml"), []byte(text), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(ws, "conf"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(ws, "conf", "api.conf"), []byte("v2"), 0o600))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: ws, Project: "shop", StateDir: state})
	require.NoError(t, err)
	digest := "@sha256:" + strings.Repeat("1", 64)
	require.NoError(t, st.Pin(map[string]string{"gateway": "nginx" + digest, "api": "api" + digest}))
	sealed, err := st.Seal()
	require.NoError(t, err)

	l, err := release.Open(t.Context(), disk.Files{}, state, "shop")
	require.NoError(t, err)
	require.NoError(t, l.Append(t.Context(), &release.Record{Outcome: good}))
	require.NoError(t, l.WriteSealed(t.Context(), 1, sealed))
	live := func(on platform.Platform) map[string][]string {
		found, err := altered(t.Context(), content.New(kept{}, filepath.Join(state, "shop")), on, l)
		require.NoError(t, err)
		return found
	}
	assert.Empty(t, live(fakeHost{}), "nothing came after it")
	require.NoError(t, l.Append(t.Context(), &release.Record{Outcome: release.Interrupted}))
	assert.Equal(t, map[string][]string{"gateway": {"/etc/nginx/conf.d"}}, live(fakeHost{}))
	assert.Empty(t, live(fakeHost{refuses: errors.New("it is of a Swarm")}))
}
