package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// A service that uses what its project does not define would get an empty volume that
// is called by the bare key.
func TestNarrowWithoutADefinition(t *testing.T) {
	t.Parallel()
	db := types.ServiceConfig{Name: "db"}
	db.Volumes = []types.ServiceVolumeConfig{{Type: types.VolumeTypeVolume, Target: "/tmp"}, {Type: types.VolumeTypeVolume, Source: "data", Target: "/data"}}
	db.Networks = map[string]*types.ServiceNetworkConfig{"back": nil}
	p := &types.Project{Services: types.Services{"db": db}}
	s := &stack.Stack{Name: "shop", Project: p}
	_, err := narrow(s, "db")
	require.ErrorContains(t, err, "network back")
	p.Networks = types.Networks{"back": {Name: "shop_back"}}
	_, err = narrow(s, "db")
	require.ErrorContains(t, err, "volume data")
	p.Volumes = types.Volumes{"data": {Name: "shop_data"}}
	_, err = narrow(s, "db")
	require.NoError(t, err)
}

// A unit says which state folder it was released with, which no unit of Compose's does.
func TestUnitsSayTheirStateFolder(t *testing.T) {
	t.Parallel()
	p := &types.Project{WorkingDir: "/srv/state/shop", Services: types.Services{"api": {Name: "api"}}}
	made, err := narrow(&stack.Stack{Name: "shop", Project: p}, "api")
	require.NoError(t, err)
	require.Equal(t, "/srv/state", unitOf(container.Summary{Labels: made.Services["api"].CustomLabels}).StateDir)
	require.Empty(t, unitOf(container.Summary{Labels: map[string]string{api.WorkingDirLabel: "/srv/checkout/shop"}}).StateDir)
}

// fakeVolumes is an engine that has some volumes.
type fakeVolumes struct {
	client.APIClient
	has map[string]error
}

func (f *fakeVolumes) VolumeInspect(_ context.Context, name string, _ client.VolumeInspectOptions) (client.VolumeInspectResult, error) {
	if err, known := f.has[name]; known {
		return client.VolumeInspectResult{}, err
	}
	return client.VolumeInspectResult{}, errdefs.ErrNotFound
}

// A migration on a Swarm runs on the manager, where no volume has to be that only the tasks
// have; Compose would refuse it.
func TestATaskWithoutTheVolumesOfOtherNodes(t *testing.T) {
	t.Parallel()
	c := types.ServiceConfig{Name: "api"}
	for _, source := range []string{"uploads", "here", "theirs", ""} {
		c.Volumes = append(c.Volumes, types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: source, Target: "/" + source})
	}
	c.Volumes = append(c.Volumes, types.ServiceVolumeConfig{Type: types.VolumeTypeBind, Source: "/srv", Target: "/srv"})
	st := &stack.Stack{Name: "shop", Project: &types.Project{Services: types.Services{"api": c}, Volumes: types.Volumes{
		"uploads": {Name: "shop_uploads"}, "here": {Name: "shop_here"}, "theirs": {Name: "theirs", External: true},
	}}}
	told := &event.Recorder{}
	e := &Engine{api: &fakeVolumes{has: map[string]error{"shop_here": nil}}, sink: told}
	mounted := func() (sources []string) {
		p, err := e.taskProject(t.Context(), st, "api", stack.Task{Name: "migrate", Command: []string{"migrate"}})
		require.NoError(t, err)
		for _, v := range p.Services["api"].Volumes {
			sources = append(sources, v.Source)
			if v.Type == types.VolumeTypeVolume && v.Source != "" {
				require.Contains(t, p.Volumes, v.Source)
			}
		}
		require.Equal(t, !st.Scheduled, p.Volumes["uploads"].Name != "")
		return sources
	}
	require.Equal(t, []string{"uploads", "here", "theirs", "", "/srv"}, mounted(), "one host has made what is missing")
	st.Scheduled = true
	require.Equal(t, []string{"here", "theirs", "", "/srv"}, mounted())
	require.Len(t, st.Project.Services["api"].Volumes, 5, "the stack stays as it is")
	require.Len(t, told.Events(), 1)
	require.Equal(t, "migrate runs without volume shop_uploads, which the host does not have", told.Events()[0].Text)

	e.api = &fakeVolumes{has: map[string]error{"shop_uploads": errors.New("EOF")}}
	_, err := e.taskProject(t.Context(), st, "api", stack.Task{Name: "migrate", Command: []string{"migrate"}})
	require.ErrorContains(t, err, "look for volume shop_uploads: EOF")
}

// What a network of `docker stack deploy` keeps out does not know why.
func TestANetworkThatNoContainerJoins(t *testing.T) {
	t.Parallel()
	closed := errors.New("rpc error: code = PermissionDenied desc = network shop_default not manually attachable")
	require.ErrorIs(t, joins(closed), closed)
	require.ErrorContains(t, joins(closed), "made without attachable, as docker stack deploy does: give what the command needs another network")
	require.NoError(t, joins(nil))
	other := errors.New("network shop_default not found")
	require.Equal(t, other, joins(other))
}
