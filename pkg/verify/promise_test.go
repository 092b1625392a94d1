package verify

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/stack"
)

// A published port is asked for at an address of the host where it is: what is published
// on every IPv6 address alone is on no IPv4 one.
func TestWherePublishedPortsAreAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ports []types.ServicePortConfig
		want  []string
	}{
		"on all":                 {[]types.ServicePortConfig{{Published: "443"}}, []string{"127.0.0.1:443"}},
		"on all of IPv4":         {[]types.ServicePortConfig{{Published: "443", HostIP: "0.0.0.0"}}, []string{"127.0.0.1:443"}},
		"on one":                 {[]types.ServicePortConfig{{Published: "443", HostIP: "10.0.0.5"}}, []string{"10.0.0.5:443"}},
		"on one of IPv6":         {[]types.ServicePortConfig{{Published: "443", HostIP: "2001:db8::1"}}, []string{"[2001:db8::1]:443"}},
		"on all of IPv6":         {[]types.ServicePortConfig{{Published: "443", HostIP: "::"}}, []string{"[::1]:443"}},
		"on both":                {[]types.ServicePortConfig{{Published: "443", HostIP: "::"}, {Published: "443", HostIP: "0.0.0.0"}}, []string{"127.0.0.1:443", "127.0.0.1:443"}},
		"with one of IPv4":       {[]types.ServicePortConfig{{Published: "443", HostIP: "::"}, {Published: "443", HostIP: "10.0.0.5"}}, []string{"[::1]:443", "10.0.0.5:443"}},
		"another port on IPv4":   {[]types.ServicePortConfig{{Published: "443", HostIP: "::"}, {Published: "80"}}, []string{"[::1]:443", "127.0.0.1:80"}},
		"the same of UDP on all": {[]types.ServicePortConfig{{Published: "443", HostIP: "::"}, {Published: "443", Protocol: "udp"}}, []string{"[::1]:443"}},
	} {
		web := types.ServiceConfig{Name: "web"}
		web.Ports = c.ports
		st := &stack.Stack{Services: map[string]*stack.Service{"web": {Name: "web", Replicas: 1}}, Project: &types.Project{Services: types.Services{"web": web}}}
		var asked []string
		for _, check := range ports(st, "web") {
			asked = append(asked, check.TCP.Address)
		}
		assert.Equal(t, c.want, asked, name)
	}
	web := types.ServiceConfig{Name: "web"}
	web.Ports = []types.ServicePortConfig{{Published: "443", HostIP: "::"}}
	st := &stack.Stack{Services: map[string]*stack.Service{"web": {Name: "web", Replicas: 1, Virtual: true}}, Project: &types.Project{Services: types.Services{"web": web}}}
	assert.Equal(t, "127.0.0.1:443", ports(st, "web")[0].TCP.Address, "a Swarm publishes on all")
}
