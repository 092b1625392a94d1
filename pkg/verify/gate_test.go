package verify

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

// A release of some services only is not held to what a service promises that was
// never released.
func TestGateOfSomeServices(t *testing.T) {
	t.Parallel()
	web := types.ServiceConfig{Name: "web"}
	web.Ports = []types.ServicePortConfig{{Published: "8080", Target: 80}}
	whole := &stack.Stack{
		Name: "shop", Order: []string{"db", "web"},
		Services: map[string]*stack.Service{"db": {Name: "db", Replicas: 1}, "web": {Name: "web", Replicas: 1}},
		Project:  &types.Project{Services: types.Services{"db": {Name: "db"}, "web": web}},
	}
	gate, err := NewGate(whole, Settings{})
	require.NoError(t, err)
	assert.Len(t, gate.of(whole), 2, "containers, and the port of web")

	some, err := whole.Partial(nil, []string{"db"})
	require.NoError(t, err)
	checks := gate.of(some)
	require.Len(t, checks, 1)
	assert.Equal(t, "containers", checks[0].Name)

	gate, err = NewGate(whole, Settings{Skip: []string{"web port 8080"}})
	require.NoError(t, err)
	checks = gate.of(whole)
	require.Len(t, checks, 2)
	assert.Empty(t, checks[0].LeftOut)
	assert.Equal(t, "left out by the input skip", checks[1].LeftOut, "what is to be left out stays out, and is told")
}
