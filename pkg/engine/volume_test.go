package engine

import (
	"context"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

// withVolume is the image of the tests with a VOLUME of its own.
func withVolume(t *testing.T) string {
	t.Helper()
	made, err := daemon.ContainerCreate(t.Context(), client.ContainerCreateOptions{Config: &container.Config{Image: imageV1}})
	require.NoError(t, err)
	ref := "enginetest-volume:" + strings.ToLower(t.Name())
	_, err = daemon.ContainerCommit(t.Context(), made.ID, client.ContainerCommitOptions{Reference: ref, Changes: []string{"VOLUME /img/"}})
	require.NoError(t, err)
	_, err = daemon.ContainerRemove(t.Context(), made.ID, client.ContainerRemoveOptions{Force: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := daemon.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{Force: true})
		assert.NoError(t, err)
	})
	return ref
}

// mountedIn gives the names of a unit's volumes by their place; they are removed at
// the end of the test.
func mountedIn(t *testing.T, id string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range inspect(t, id).Mounts {
		out[m.Destination] = m.Name
		t.Cleanup(func() {
			_, _ = daemon.VolumeRemove(context.Background(), m.Name, client.VolumeRemoveOptions{Force: true})
		})
	}
	return out
}

// version is a service whose environment says which version it is.
func version(t *testing.T, name, image, v string) *stack.Stack {
	t.Helper()
	s := load(t, `{services: {db: {image: `+image+`, volumes: [/own], environment: {V: "`+v+`"}}}}`)
	if name != "" {
		s = rename(t, s, name)
	}
	return s
}

// end stops and removes units.
func end(t *testing.T, e *Engine, ids ...string) {
	t.Helper()
	require.NoError(t, e.Stop(t.Context(), ids, 0))
	require.NoError(t, e.Remove(t.Context(), ids))
}

func TestAnonymousVolumesGoOnToTheNextUnit(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	image := withVolume(t)
	v1 := version(t, "", image, "1")
	name := v1.Name
	ground(t, e, v1)
	old := run(t, e, v1, "db", 1)
	has := mountedIn(t, old[0])
	require.Len(t, has, 2)
	for place := range has {
		output(t, e, old[0], "/unit", "write", place+"/data", "of "+place)
	}
	seen, err := e.Observe(t.Context(), name)
	require.NoError(t, err)
	assert.Equal(t, []string{"/img", "/own"}, seen.Units["db"][0].Anonymous)

	v2 := version(t, name, image, "2")
	next, err := e.Create(t.Context(), v2, "db", 1, old...)
	require.NoError(t, err)
	assert.Equal(t, has, mountedIn(t, next[0]))
	require.NoError(t, e.Stop(t.Context(), old, 0))

	// The way back.
	require.NoError(t, e.Scrap(t.Context(), next))
	require.NoError(t, e.Restart(t.Context(), old))
	assert.Equal(t, "of /img", output(t, e, old[0], "/unit", "cat", "/img/data"))

	// And on.
	next, err = e.Create(t.Context(), v2, "db", 1, old...)
	require.NoError(t, err)
	end(t, e, old...)
	require.NoError(t, e.Start(t.Context(), v2, "db", next))
	for place := range has {
		assert.Equal(t, "of "+place, output(t, e, next[0], "/unit", "cat", place+"/data"))
	}
	e.TellLeft(t.Context())
	assert.Empty(t, warnings(rec, name), "somebody has them")

	// Nothing is left of the service, and then it comes back.
	end(t, e, next...)
	e.TellLeft(t.Context())
	e.TellLeft(t.Context())
	told := warnings(rec, name)
	require.Len(t, told, 1, "once")
	for place, volume := range has {
		assert.Contains(t, told[0], place+" of "+name+"-db-2 in "+volume)
	}
	again := run(t, e, v1, "db", 1)
	assert.Equal(t, has, mountedIn(t, again[0]))
	assert.Equal(t, "of /own", output(t, e, again[0], "/unit", "cat", "/own/data"))
}

func TestNoTwoUnitsGetTheSameAnonymousVolume(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	v1 := version(t, "", "V1", "1")
	ground(t, e, v1)
	two := run(t, e, v1, "db", 2)
	first, second := mountedIn(t, two[0])["/own"], mountedIn(t, two[1])["/own"]
	both, err := e.Create(t.Context(), version(t, v1.Name, "V1", "2"), "db", 2, two...)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{first, second}, []string{mountedIn(t, both[0])["/own"], mountedIn(t, both[1])["/own"]})

	third, err := e.Create(t.Context(), v1, "db", 1, two...)
	require.NoError(t, err)
	assert.NotContains(t, []string{first, second}, mountedIn(t, third[0])["/own"], "units that stay have both")
	beside, err := e.Create(t.Context(), v1, "db", 1)
	require.NoError(t, err)
	assert.NotContains(t, []string{first, second}, mountedIn(t, beside[0])["/own"], "it follows nobody")

	// One that never ran gives what it took over, but does not come before one that ran.
	require.NoError(t, e.Scrap(t.Context(), both))
	require.NoError(t, e.Stop(t.Context(), two, 0))
	last, err := e.Create(t.Context(), v1, "db", 1, third[0], two[0])
	require.NoError(t, err)
	assert.Equal(t, first, mountedIn(t, last[0])["/own"])
}

func TestWhatIsWrittenByNobodyIsScrapped(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := version(t, "", "V1", "1")
	ground(t, e, s)
	never, err := e.Create(t.Context(), s, "db", 1)
	require.NoError(t, err)
	failed := run(t, e, s, "db", 1)
	gone := []string{mountedIn(t, never[0])["/own"], mountedIn(t, failed[0])["/own"]}
	require.NoError(t, e.Remove(t.Context(), never))
	require.NoError(t, e.Stop(t.Context(), failed, 0))
	require.NoError(t, e.Scrap(t.Context(), failed))
	require.NoError(t, e.Scrap(t.Context(), failed), "gone already")
	for _, volume := range gone {
		_, err := daemon.VolumeInspect(t.Context(), volume, client.VolumeInspectOptions{})
		assert.True(t, isGone(err), "%v", err)
	}
	e.TellLeft(t.Context())
	assert.Empty(t, warnings(rec, s.Name))
}

// What the file mounts now is not covered by what was there before, and what another
// service shares stays that service's.
func TestAnonymousVolumesDoNotCoverWhatTheFileSays(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	image := withVolume(t)
	was := load(t, `{services: {db: {image: `+image+`, volumes: [/own]}}}`)
	ground(t, e, was)
	old := run(t, e, was, "db", 1)
	has := mountedIn(t, old[0])
	for text, volumes := range map[string]string{
		"named":       `["data:/own", "data:/img"]`,
		"in memory":   `[{type: tmpfs, target: /own}, {type: tmpfs, target: /img}]`,
		"a host path": `["/tmp:/own", "/tmp:/img/"]`,
	} {
		now := rename(t, load(t, `{services: {db: {image: `+image+`, volumes: `+volumes+`}}, volumes: {data: {}}}`), was.Name)
		ground(t, e, now)
		ids, err := e.Create(t.Context(), now, "db", 1, old...)
		require.NoError(t, err, text)
		for _, m := range inspect(t, ids[0]).Mounts {
			assert.NotContains(t, []string{has["/own"], has["/img"]}, m.Name, text)
		}
		require.NoError(t, e.Scrap(t.Context(), ids))
	}
	short := rename(t, load(t, `{services: {db: {image: `+image+`, tmpfs: [/own], labels: {x: y}}}}`), was.Name)
	ids, err := e.Create(t.Context(), short, "db", 1, old...)
	require.NoError(t, err)
	assert.Equal(t, has["/img"], mountedIn(t, ids[0])["/img"])

	pair := load(t, `{services: {main: {image: `+image+`}, side: {image: `+image+`, volumes_from: [main]}}}`)
	ground(t, e, pair)
	main := run(t, e, pair, "main", 1)
	side := run(t, e, pair, "side", 1)
	shared := mountedIn(t, main[0])["/img"]
	assert.Equal(t, shared, mountedIn(t, side[0])["/img"])
	next, err := e.Create(t.Context(), pair, "side", 1, side...)
	require.NoError(t, err)
	assert.Empty(t, inspect(t, next[0]).HostConfig.Mounts, "it has it of main")
	assert.Equal(t, shared, mountedIn(t, next[0])["/img"])
}

// Files of a release that is forgotten stay as long as a container mounts them.
func TestObserveTellsWhatIsMounted(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	folder := t.TempDir()
	s := load(t, `{services: {api: {image: V1, volumes: ["`+folder+`:/in", "data:/data"], tmpfs: [/tmp]}}, volumes: {data: {}}}`)
	ground(t, e, s)
	_, err := e.Create(t.Context(), s, "api", 1)
	require.NoError(t, err)
	seen, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	assert.Equal(t, []string{folder}, seen.Units["api"][0].Mounts)
	assert.Empty(t, seen.Units["api"][0].Anonymous)
}
