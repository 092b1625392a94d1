package stack_test

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/stack"
)

// A GPU may be given by its CDI name (vendor/class=device) in devices.
func TestUsesGPU_OfCDI(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"nvidia.com/gpu=all": true, "nvidia.com/gpu=0": true, "amd.com/gpu=GPU-1": true,
		"nvidia.com/gpu=": false, "/gpu=0": false, "vendor.com/net=0": false, "nvidia.com/gpu": false, "/dev/gpu": false, "/dev/vendor/gpu=0": false, "": false,
	} {
		with := func(d types.DeviceMapping) *stack.Stack {
			llm := types.ServiceConfig{Name: "llm"}
			llm.Devices = []types.DeviceMapping{d}
			return &stack.Stack{Project: &types.Project{Services: types.Services{"llm": llm}}}
		}
		assert.Equal(t, want, with(types.DeviceMapping{Source: name, Target: name, Permissions: "rwm"}).UsesGPU("llm"), name)
		assert.False(t, with(types.DeviceMapping{Source: name, Target: "/dev/it"}).UsesGPU("llm"), "a file of the host by another name")
	}
}

// Of the networks that count, one that gives a unit an IPv4 address goes before one that
// does not, and then the first by name.
func TestUnit_AddressOn(t *testing.T) {
	t.Parallel()
	u := stack.Unit{Addresses: map[string]string{"a": "fd00::1", "b": "10.0.0.2", "c": "10.0.0.3", "d": "fd00::4", "e": ""}}
	for networks, want := range map[string]string{
		"abcde": "10.0.0.2", "acd": "10.0.0.3", "da": "fd00::1", "ed": "fd00::4", "e": "", "": "", "x": "",
	} {
		assert.Equal(t, want, u.AddressOn(func(network string) bool { return strings.Contains(networks, network) }), networks)
	}
}
