package engine

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"

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
