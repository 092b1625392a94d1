package engine

import (
	"context"
	"testing"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

func TestEnsureMakesOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := load(t, `{services: {api: {image: V1, networks: [a, b], volumes: ["v:/v", "w:/w"]}}, networks: {a: {}, b: {internal: true}}, volumes: {v: {}, w: {}}}`)
	require.NoError(t, e.EnsureNetworks(t.Context(), s, []string{"a"}))
	require.NoError(t, e.EnsureVolumes(t.Context(), s, []string{"v"}))
	seen, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	require.Contains(t, seen.Networks, "a")
	require.NotContains(t, seen.Networks, "b")
	require.NotContains(t, seen.Volumes, "w")

	ground(t, e, s)
	ground(t, e, s)
	now, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	assert.Len(t, now.Networks, 2)
	assert.Len(t, now.Volumes, 2)
	assert.Equal(t, seen.Networks["a"].ID, now.Networks["a"].ID)
	require.ErrorContains(t, e.EnsureNetworks(t.Context(), s, []string{"zz"}), "network zz is not defined")
	require.ErrorContains(t, e.EnsureVolumes(t.Context(), s, []string{"zz"}), "volume zz is not defined")
	assert.Empty(t, warnings(rec, s.Name))
}

func TestEnsureARenamedOne(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1, networks: [a]}}, networks: {a: {}}, volumes: {v: {}}}`)
	ground(t, e, s)
	old := run(t, e, s, "api", 1)
	other := rename(t, load(t, `{services: {api: {image: V1, networks: [a]}}, networks: {a: {}}, volumes: {v: {}}}`), s.Name)
	n, v := other.Project.Networks["a"], other.Project.Volumes["v"]
	n.Name, v.Name = s.Name+"_renamed", s.Name+"_renamed"
	other.Project.Networks["a"], other.Project.Volumes["v"] = n, v
	seen, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	networks, volumes := Diverged(other, seen)
	assert.Equal(t, []string{"a"}, networks)
	assert.Equal(t, []string{"v"}, volumes)

	ground(t, e, other)
	now, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	assert.Equal(t, s.Name+"_renamed", now.Networks["a"].Name, "the newer of two is given")
	assert.Contains(t, inspect(t, old[0]).NetworkSettings.Networks, s.Name+"_a", "the old unit stays where it is")
	fresh := run(t, e, other, "api", 1)
	assert.Contains(t, inspect(t, fresh[0]).NetworkSettings.Networks, s.Name+"_renamed")
}

func TestEnsureExternalAndForeignOnes(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := load(t, `{services: {api: {image: V1, networks: [a]}}, networks: {a: {external: true, name: enginetest-no-such}}, volumes: {v: {external: true, name: enginetest-no-such}}}`)
	err := e.EnsureNetworks(t.Context(), s, nil)
	require.ErrorContains(t, err, "network a: enginetest-no-such is declared external and does not exist")
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.Equal(t, "make it on the host: docker network create enginetest-no-such", fault.Hint(err))
	err = e.EnsureVolumes(t.Context(), s, nil)
	require.ErrorContains(t, err, "volume v: enginetest-no-such is declared external and does not exist")

	mine := load(t, `{services: {api: {image: V1, networks: [a], volumes: ["vol:/v"]}}, networks: {a: {}}, volumes: {vol: {}}}`)
	_, err = daemon.NetworkCreate(t.Context(), mine.Name+"_a", client.NetworkCreateOptions{Labels: map[string]string{"enginetest": "1"}})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = daemon.NetworkRemove(context.Background(), mine.Name+"_a", client.NetworkRemoveOptions{})
	})
	_, err = daemon.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: mine.Name + "_vol", Labels: map[string]string{api.ProjectLabel: "another"}})
	require.NoError(t, err)
	t.Cleanup(func() { down(t, "another") })
	ground(t, e, mine)
	require.Len(t, warnings(rec, mine.Name), 2)
	assert.Contains(t, warnings(rec, mine.Name)[0], "was not made by compose and is used as it is")
	assert.Contains(t, warnings(rec, mine.Name)[1], "belongs to project another and is used as it is")
	ids := run(t, e, mine, "api", 1)
	require.NoError(t, e.Stop(t.Context(), ids, 0))
	require.NoError(t, e.Remove(t.Context(), ids))
}
