package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeNeighbours is an engine on which more than one project runs. It remembers what was
// asked of its list.
type fakeNeighbours struct {
	client.APIClient
	items []container.Summary
	asked []client.ContainerListOptions
	err   error
}

func (f *fakeNeighbours) ContainerList(_ context.Context, o client.ContainerListOptions) (client.ContainerListResult, error) {
	f.asked = append(f.asked, o)
	return client.ContainerListResult{Items: f.items}, f.err
}

// What runs beside a project is what no label says to be its own, and lasts: a task of
// another release, or of the project, is gone in a moment.
func TestFindsWhatRunsBesideTheProject(t *testing.T) {
	t.Parallel()
	v4 := netip.MustParseAddr("0.0.0.0")
	is := func(id, image string, labels map[string]string) container.Summary {
		return container.Summary{ID: id, Names: []string{"/n-" + id}, Image: image, State: container.StateRunning, Labels: labels}
	}
	accessory := is("1", "postgres:16", map[string]string{"service": "shop-db"})
	accessory.Mounts = []container.MountPoint{{Type: mount.TypeBind, Source: "/home/deploy/shop-db/data/", Destination: "/var/lib/postgresql/data", RW: true},
		{Type: mount.TypeBind, Source: "/srv/read"}, {Type: mount.TypeVolume, Name: "pg", Destination: "/x", RW: true}}
	accessory.Ports = []container.PortSummary{{PrivatePort: 5432, PublicPort: 5432, Type: "tcp", IP: v4}}
	fake := &fakeNeighbours{items: []container.Summary{accessory,
		is("2", "nginx", map[string]string{api.ProjectLabel: "ops", api.ServiceLabel: "web"}),
		is("3", "nginx", map[string]string{"com.docker.stack.namespace": "ops", "com.docker.swarm.service.name": "ops_web"}),
		is("4", "postgres:16", map[string]string{api.ProjectLabel: "shop", api.ServiceLabel: "db"}),
		is("5", "postgres:16", map[string]string{api.ProjectLabel: "shop", api.OneoffLabel: "True", runLabel: "prove"}),
		is("6", "postgres:16", map[string]string{api.ProjectLabel: "ops", api.OneoffLabel: "True", runLabel: "prove"}),
	}}
	e, err := New(fake, event.Discard)
	require.NoError(t, err)
	s := &stack.Stack{Name: "shop", Project: &types.Project{}}
	seen := stack.Observed{Others: map[string]stack.Other{}}
	require.NoError(t, e.FindForeign(t.Context(), s, seen))
	assert.Equal(t, map[string]stack.Other{
		"1": {Name: "n-1", Image: "postgres:16", Writes: []string{"/home/deploy/shop-db/data", "pg"}, Ports: map[string][]netip.Addr{"5432/tcp": {v4}}},
		"2": {Name: "n-2", Image: "nginx", Project: "ops", Service: "web"},
		"3": {Name: "n-3", Image: "nginx", Project: "ops", Task: "ops_web"},
	}, seen.Others)
	assert.Equal(t, []client.ContainerListOptions{{}}, fake.asked, "once, without what is stopped and without sizes")

	require.NoError(t, e.FindForeign(t.Context(), s, stack.Observed{}))
	assert.Len(t, fake.asked, 1, "nobody wants to know")
	fake.err = errors.New("the engine is away")
	assert.ErrorContains(t, e.FindForeign(t.Context(), s, seen), "the engine is away")
}
