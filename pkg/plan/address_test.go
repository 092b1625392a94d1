package plan_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// addressed is a new version of a worker that starts first and has an address of its own.
func addressed(n *types.ServiceNetworkConfig) plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v1"), Only: []string{"worker"}}
	in.Desired.Services["worker"].Update.Order = stack.StartFirst
	var c types.ServiceConfig
	c.Networks = map[string]*types.ServiceNetworkConfig{"edge": n, "none": nil}
	in.Desired.Project.Services["worker"] = c
	return in
}

// Two units cannot have one address: the old one gives it up before the new one starts.
func TestMake_AnAddressOfItsOwnStopsFirst(t *testing.T) {
	t.Parallel()
	for address, n := range map[string]*types.ServiceNetworkConfig{
		"172.20.0.5": {Ipv4Address: "172.20.0.5"}, "fd00::5": {Ipv6Address: "fd00::5"}, "02:42:ac:11:65:43": {MacAddress: "02:42:ac:11:65:43"}, "": {},
	} {
		in := addressed(n)
		p := plan.Make(in)
		step := p.Step("worker")
		assert.Empty(t, p.Refusals)
		if address == "" {
			assert.Equal(t, plan.Surge, step.Action)
			continue
		}
		assert.Equal(t, plan.StopFirst, step.Action)
		assert.Contains(t, step.Reasons, "start-first is not possible: address "+address)
		assert.Equal(t, "until the new units are well: address "+address, step.Interruption)

		in.Desired.Services["worker"].Replicas = 2
		assert.Equal(t, []string{"worker has 2 units, and only 1 of them can have address " + address +
			": take it out, and reach the service by its name"}, plan.Make(in).Refusals)

		in.Observed.Scheduled = true
		p = plan.Make(in)
		assert.Equal(t, plan.Surge, p.Step("worker").Action, "a Swarm gives its tasks addresses itself")
		assert.Empty(t, p.Refusals)
	}
}
