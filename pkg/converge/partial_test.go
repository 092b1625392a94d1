package converge

import (
	"fmt"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	sdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// joinedBy has two services on one network.
func joinedBy(t *testing.T, network types.NetworkConfig) *stack.Stack {
	t.Helper()
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{},
		Project: &types.Project{Name: "shop", Services: types.Services{}, Networks: types.Networks{"back": network}}}
	for _, name := range []string{"api", "db"} {
		c := types.ServiceConfig{Name: name}
		c.Image, c.Networks = "shop/"+name, map[string]*types.ServiceNetworkConfig{"back": nil}
		hash, err := sdk.ServiceHash(c)
		require.NoError(t, err)
		st.Order, st.Services[name], st.Project.Services[name] = append(st.Order, name), &stack.Service{Name: name, Hash: hash}, c
	}
	return st
}

// A plan of some services says what a release of them would be refused for; one that
// has nothing to do is refused for nothing.
func TestAPlanSaysWhatCannotBeParted(t *testing.T) {
	t.Parallel()
	was := types.NetworkConfig{Name: "shop_back"}
	internal := types.NetworkConfig{Name: "shop_back", Internal: true}
	const refused = "services: network back is another one now, and services that are not released use it as it was; mend: release all services"
	for name, c := range map[string]struct {
		now      types.NetworkConfig
		services []string
		action   plan.Action
		want     []string
	}{
		"another network":                 {internal, []string{"api"}, plan.Surge, []string{refused}},
		"the same":                        {was, []string{"api"}, plan.Surge, nil},
		"all services":                    {internal, nil, plan.Surge, nil},
		"another network, nothing to do":  {internal, []string{"api"}, plan.Unchanged, nil},
		"another network, both are named": {internal, []string{"api", "db"}, plan.Surge, nil},
	} {
		d := begun(t, fakeFiles{}, &release.Record{})
		sealed, err := joinedBy(t, was).Seal()
		require.NoError(t, err)
		require.NoError(t, d.ledger.WriteSealed(t.Context(), d.record.Number, sealed))
		d.on, d.facts.verified = &backPlatform{}, d.record
		d.opts.Stack, d.opts.Services = joinedBy(t, c.now), c.services
		d.plan = &plan.Plan{Steps: []plan.Step{{Service: "api", Action: c.action}}}
		require.NoError(t, d.parted(t.Context()), name)
		assert.Equal(t, c.want, d.plan.Refusals, name)
	}
}

// What cannot be read of the release before is in the plan as well; a host that does
// not answer is no refusal of the plan.
func TestAPlanSaysThatTheReleaseBeforeIsLost(t *testing.T) {
	t.Parallel()
	d := begun(t, fakeFiles{}, &release.Record{})
	d.on, d.facts.verified = &backPlatform{}, d.record
	d.opts.Stack, d.opts.Services = joinedBy(t, types.NetworkConfig{}), []string{"api"}
	d.plan = &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Surge}}}
	require.NoError(t, d.parted(t.Context()))
	require.Len(t, d.plan.Refusals, 1)
	assert.Contains(t, d.plan.Refusals[0], "releasing only some services needs the release before")

	d.plan.Refusals = nil
	require.NoError(t, d.ledger.WriteSealed(t.Context(), d.record.Number, otherwise(t, joinedBy(t, types.NetworkConfig{}))))
	require.NoError(t, d.parted(t.Context()))
	require.Len(t, d.plan.Refusals, 1)
	assert.Contains(t, d.plan.Refusals[0], "is made otherwise by this program")
	assert.Contains(t, d.plan.Refusals[0], "; mend: release all services once: that records anew what serves")

	sealed, err := joinedBy(t, types.NetworkConfig{}).Seal()
	require.NoError(t, err)
	require.NoError(t, d.ledger.WriteSealed(t.Context(), d.record.Number, sealed))
	d.plan.Refusals, d.on = nil, fakePlace{&fakeCutOff{}, fmt.Errorf("ask the manager: %w", host.ErrConnectionLost)}
	err = d.parted(t.Context())
	require.ErrorIs(t, err, host.ErrConnectionLost)
	assert.NotEqual(t, fault.Refused, fault.Of(err))
	assert.Empty(t, d.plan.Refusals)
}
