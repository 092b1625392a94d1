package engine

import (
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/stretchr/testify/assert"
)

// A unit on nothing is not one of which nothing is known.
func TestUnitOfKnowsNetworksAndVolumes(t *testing.T) {
	t.Parallel()
	c := container.Summary{ID: "a", NetworkSettings: &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
		"shop_edge": {NetworkID: "4fe2"}, "common": {NetworkID: "3ad1"}, "gone": nil,
	}}, Mounts: []container.MountPoint{
		{Type: mount.TypeVolume, Name: "pg_v1", Source: "/var/lib/docker/volumes/pg_v1/_data"},
		{Type: mount.TypeVolume, Name: "cache", RW: true}, {Type: mount.TypeBind, Source: "/srv"},
		{Type: mount.TypeBind, Source: "/data", RW: true}, {Type: mount.TypeTmpfs, RW: true},
	}}
	u := unitOf(c)
	assert.Equal(t, []string{"common", "3ad1", "gone", "shop_edge", "4fe2"}, u.Networks)
	assert.Equal(t, []string{"cache", "pg_v1"}, u.Volumes)
	assert.Equal(t, []string{"/data", "cache"}, u.Writes)

	alone := unitOf(container.Summary{NetworkSettings: &container.NetworkSettingsSummary{}})
	assert.Equal(t, []string{}, alone.Networks)
	assert.Equal(t, []string{}, alone.Volumes)
	assert.Nil(t, unitOf(container.Summary{}).Networks)
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
