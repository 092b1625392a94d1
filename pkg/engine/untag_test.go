package engine

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeNames are the names of one image. The containerd store lists that of a pull by
// digest among the tags, and its digest is the image's ID; the classic one does neither.
// Only the last name cannot be taken while a container has the image.
type fakeNames struct {
	client.APIClient
	id    string
	names []string
	used  bool
}

func (f *fakeNames) ImageInspect(_ context.Context, ref string, _ ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	if !slices.Contains(f.names, ref) {
		return client.ImageInspectResult{}, errdefs.ErrNotFound
	}
	out := image.InspectResponse{ID: f.id}
	for _, name := range f.names {
		if repository, digest, _ := strings.Cut(name, "@"); digest == "" || f.id == digest {
			out.RepoTags = append(out.RepoTags, name)
		} else {
			out.RepoDigests = append(out.RepoDigests, repository+"@"+digest)
		}
	}
	return client.ImageInspectResult{InspectResponse: out}, nil
}

func (f *fakeNames) ImageRemove(_ context.Context, ref string, _ client.ImageRemoveOptions) (client.ImageRemoveResult, error) {
	switch i := slices.Index(f.names, ref); {
	case i < 0:
		return client.ImageRemoveResult{}, errdefs.ErrNotFound
	case f.used && len(f.names) == 1:
		return client.ImageRemoveResult{}, errdefs.ErrConflict
	default:
		f.names = slices.Delete(f.names, i, i+1)
	}
	return client.ImageRemoveResult{}, nil
}

func (f *fakeNames) ContainerList(_ context.Context, o client.ContainerListOptions) (out client.ContainerListResult, err error) {
	if o.All && f.used && o.Filters["ancestor"][f.id] {
		out.Items = []container.Summary{{ImageID: f.id}}
	}
	return out, nil
}

// The classic store kept what a forgotten release had pulled, for `docker image prune`
// to take, which nothing told anybody to run: the disk filled until P10.disk refused.
func TestUntagLetsWhatWasPulledGo(t *testing.T) {
	t.Parallel()
	const id, pulled, classic = "sha256:" + digest0, "ghcr.io/team/api@sha256:" + digest0, "sha256:1"
	const first, second, theirs = "shiksha.local/shop/api:release-1", "shiksha.local/shop/api:release-2", "shiksha.local/blog/web:release-9"
	const again, mirror, main = "ghcr.io/team/api@sha256:2", "mirror.example.org/api@sha256:" + digest0, "ghcr.io/team/api:main"
	for name, c := range map[string]struct {
		id    string
		names []string
		used  bool
		left  []string
	}{
		"the last release":    {id, []string{first, pulled}, false, []string{}},
		"another release":     {id, []string{first, second, pulled}, false, []string{second, pulled}},
		"a tag of somebody's": {id, []string{first, main, pulled}, false, []string{main, pulled}},
		"a container":         {id, []string{first, pulled}, true, []string{pulled}},
		"built on the host":   {id, []string{first}, false, []string{}},
		"two names":           {id, []string{first, pulled, mirror}, false, []string{}},
		"two, and in use":     {id, []string{first, pulled, mirror}, true, []string{pulled, mirror}},
		"gone already":        {id, []string{pulled}, false, []string{pulled}},

		"classic, the last release": {classic, []string{first, pulled}, false, []string{}},
		// A second build may be the same image under another digest.
		"classic, another release":     {classic, []string{first, second, pulled, again}, false, []string{second, pulled, again}},
		"classic, another project":     {classic, []string{first, theirs, pulled}, false, []string{theirs, pulled}},
		"classic, a tag of somebody's": {classic, []string{first, main, pulled}, false, []string{main, pulled}},
		"classic, a container":         {classic, []string{first, pulled}, true, []string{pulled}},
		"classic, built on the host":   {classic, []string{first}, false, []string{}},
		"classic, two names":           {classic, []string{first, pulled, mirror}, false, []string{}},
		"classic, two, and in use":     {classic, []string{first, pulled, mirror}, true, []string{pulled, mirror}},
	} {
		store := &fakeNames{id: c.id, names: c.names, used: c.used}
		e, err := New(store, nil)
		require.NoError(t, err)
		require.NoError(t, e.Untag(t.Context(), first), name)
		assert.Equal(t, c.left, store.names, name)
	}
	// A kept release goes by what it pinned, whether or not its tag is there.
	for of, kept := range map[string]string{id: pulled, classic: mirror} {
		store := &fakeNames{id: of, names: []string{first, pulled, mirror}}
		e, err := New(store, nil)
		require.NoError(t, err)
		require.NoError(t, e.Untag(t.Context(), first, "ghcr.io/team/other@sha256:3", kept))
		assert.Equal(t, []string{pulled, mirror}, store.names, of)
	}
}

// The same with a real store, whichever the engine has.
func TestAForgottenImageLeavesTheRealStore(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	r := startRegistry(t, "s3cret-pass")
	pinned := r.push(t, "team/forgotten:v1", platformImage(t, "linux", runtime.GOARCH, 1))
	require.NoError(t, e.Pull(t.Context(), pinned, "", r.auth))
	there := func() bool {
		t.Helper()
		there, err := e.ImagePresent(t.Context(), pinned)
		require.NoError(t, err)
		return there
	}
	const first, theirs = "enginetest.local/forgotten/api:release-1", "enginetest.local/other/api:release-1"
	require.NoError(t, e.Tag(t.Context(), pinned, first))
	require.NoError(t, e.Tag(t.Context(), pinned, theirs))
	require.NoError(t, e.Untag(t.Context(), first))
	assert.True(t, there(), "another project has it")
	made, err := daemon.ContainerCreate(t.Context(), client.ContainerCreateOptions{Config: &container.Config{Image: pinned, Cmd: []string{"/nothing"}}})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = daemon.ContainerRemove(context.Background(), made.ID, client.ContainerRemoveOptions{Force: true})
	})
	require.NoError(t, e.Untag(t.Context(), theirs))
	assert.True(t, there(), "a container has it")
	_, err = daemon.ContainerRemove(t.Context(), made.ID, client.ContainerRemoveOptions{})
	require.NoError(t, err)
	require.NoError(t, e.Tag(t.Context(), pinned, first))
	require.NoError(t, e.Untag(t.Context(), first))
	assert.False(t, there(), "nobody has it")
}
