package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// A unit on nothing is not one of which nothing is known.
func TestUnitOfKnowsNetworksAndVolumes(t *testing.T) {
	t.Parallel()
	c := container.Summary{ID: "a", NetworkSettings: &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
		"shop_edge": {NetworkID: "4fe2"}, "common": {NetworkID: "3ad1"}, "gone": nil,
	}}, Mounts: []container.MountPoint{
		{Type: mount.TypeVolume, Name: "pg_v1", Source: "/var/lib/docker/volumes/pg_v1/_data"},
		{Type: mount.TypeVolume, Name: "cache", Destination: "/var/cache", RW: true}, {Type: mount.TypeBind, Source: "/srv"},
		{Type: mount.TypeBind, Source: "/data", Destination: "/in/data", RW: true}, {Type: mount.TypeTmpfs, RW: true},
	}}
	u := unitOf(c)
	assert.Equal(t, []string{"common", "3ad1", "gone", "shop_edge", "4fe2"}, u.Networks)
	assert.Equal(t, []string{"cache", "pg_v1"}, u.Volumes)
	assert.Equal(t, []string{"/data", "cache"}, u.Writes)
	assert.Equal(t, map[string]string{"/var/cache": "cache", "/in/data": "/data"}, u.Targets)

	alone := unitOf(container.Summary{NetworkSettings: &container.NetworkSettingsSummary{}})
	assert.Equal(t, []string{}, alone.Networks)
	assert.Equal(t, []string{}, alone.Volumes)
	assert.Nil(t, unitOf(container.Summary{}).Networks)
}

// Only what is published is a port of the host.
func TestUnitOfKnowsPortsOfTheHost(t *testing.T) {
	t.Parallel()
	v4, v6 := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::")
	u := unitOf(container.Summary{Ports: []container.PortSummary{
		{PrivatePort: 8080, PublicPort: 80, Type: "tcp", IP: v4}, {PrivatePort: 8080, PublicPort: 80, Type: "tcp", IP: v6}, {PrivatePort: 9000, Type: "tcp"},
	}})
	assert.Equal(t, map[string][]netip.Addr{"80/tcp": {v4, v6}}, u.Ports)
	assert.Nil(t, unitOf(container.Summary{}).Ports)
}

// How a unit ended is in no field of a list, only in its words. What cannot be read there
// did not end well: a job that was killed is not done.
func TestUnitOfKnowsHowItEnded(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]int{
		"Exited (0) 2 minutes ago": 0, "Exited (1) Less than a second ago": 1, "Exited (143) About an hour ago": 143, "Exited (255) 3 weeks ago": 255,
		"Exited (3221225786) 2 days ago": 3221225786, "Exited (-1) 2 days ago": -1, "Exited (137)": 137,
		"": -1, "Exited": -1, "Exited 5 minutes ago": -1, "Exited () 5 minutes ago": -1, "Exited (unknown)": -1, "exited": -1, "Up 5 minutes": -1,
	} {
		u := unitOf(container.Summary{State: container.StateExited, Status: status})
		assert.Equal(t, stack.Exited, u.State, status)
		assert.Equal(t, want, u.ExitCode, status)
	}
	for state, status := range map[container.ContainerState]string{
		container.StateRunning: "Up 2 minutes (healthy)", container.StateCreated: "Created", container.StateDead: "Dead",
		container.StateRemoving: "Removal In Progress", container.StateRestarting: "Restarting (3) 5 seconds ago",
	} {
		u := unitOf(container.Summary{State: state, Status: status})
		assert.Equal(t, stack.State(state), u.State, "it has not ended by itself")
		assert.Zero(t, u.ExitCode, status)
	}
}

// fakeWordless is an engine whose list does not say how a container ended.
type fakeWordless struct {
	client.APIClient
	status string
	state  container.ContainerState
	exit   int
	err    error
	looks  int
}

func (f *fakeWordless) ContainerList(context.Context, client.ContainerListOptions) (client.ContainerListResult, error) {
	of := map[string]string{api.ServiceLabel: "migrate", api.ContainerNumberLabel: "1"}
	return client.ContainerListResult{Items: []container.Summary{{ID: "1", Names: []string{"/shop-migrate-1"}, Labels: of, State: container.StateExited, Status: f.status}}}, nil
}

func (f *fakeWordless) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{}, nil
}

func (f *fakeWordless) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	return client.VolumeListResult{}, nil
}

func (f *fakeWordless) ContainerInspect(context.Context, string, client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	f.looks++
	return client.ContainerInspectResult{Container: container.InspectResponse{ID: "1", State: &container.State{Status: f.state, ExitCode: f.exit}}}, f.err
}

// Where the list has other words the unit is looked into, and only there.
func TestObserveLooksHowAUnitEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fake        fakeWordless
		exit, looks int
	}{
		"its words say it":         {fakeWordless{status: "Exited (143) 2 minutes ago"}, 143, 0},
		"it ended well":            {fakeWordless{state: container.StateExited}, 0, 1},
		"it ended with 7":          {fakeWordless{state: container.StateExited, exit: 7}, 7, 1},
		"it was started meanwhile": {fakeWordless{state: container.StateRunning}, -1, 1},
		"it is gone by then":       {fakeWordless{err: errdefs.ErrNotFound}, -1, 1},
	} {
		e, err := New(&c.fake, &event.Recorder{})
		require.NoError(t, err)
		seen, err := e.Observe(t.Context(), "shop")
		require.NoError(t, err, name)
		require.Len(t, seen.Units["migrate"], 1, name)
		assert.Equal(t, c.exit, seen.Units["migrate"][0].ExitCode, name)
		assert.Equal(t, c.looks, c.fake.looks, name)
	}
	e, err := New(&fakeWordless{err: errors.New("the engine is away")}, &event.Recorder{})
	require.NoError(t, err)
	_, err = e.Observe(t.Context(), "shop")
	assert.ErrorContains(t, err, "the engine is away", "it may have ended well")
}

// A unit on a network without IPv4 has its IPv6 address there.
func TestUnitOfKnowsAddresses(t *testing.T) {
	t.Parallel()
	at := func(v4, v6 string) *network.EndpointSettings {
		ep := &network.EndpointSettings{}
		if v4 != "" {
			ep.IPAddress = netip.MustParseAddr(v4)
		}
		if v6 != "" {
			ep.GlobalIPv6Address = netip.MustParseAddr(v6)
		}
		return ep
	}
	u := unitOf(container.Summary{NetworkSettings: &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
		"four": at("172.20.0.5", ""), "both": at("172.21.0.5", "fd00:1::5"), "six": at("", "fd00:2::5"), "none": at("", ""), "gone": nil,
	}}})
	assert.Equal(t, map[string]string{"four": "172.20.0.5", "both": "172.21.0.5", "six": "fd00:2::5"}, u.Addresses)
}
