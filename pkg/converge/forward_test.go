package converge

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeDials is a verifier whose checks connect to addresses.
type fakeDials struct {
	Verifier
	addrs map[string]Way
}

func (f fakeDials) Dials(*stack.Stack) map[string]Way { return f.addrs }

// Where sshd does not forward, what needs that is told before anything is changed: the
// port of a unit that a running gateway is led to, and what a check asks.
func TestWhatSSHDDoesNotForward(t *testing.T) {
	t.Parallel()
	forbidden := fmt.Errorf("sshd does not forward: %w", &ssh.OpenChannelError{Reason: ssh.Prohibited})
	running, gone := []stack.Unit{{ID: "g", State: stack.Running}}, []stack.Unit{{ID: "g", State: stack.Exited}, {ID: "o", State: stack.Running, OneOff: true}}
	const port, check = "port 8000 of api (x-shiksha.port)", `what the check "web port 80" asks`
	checks := fakeDials{addrs: map[string]Way{"web port 80": {"web", "127.0.0.1:80"}}}
	for name, c := range map[string]struct {
		action   plan.Action
		gateways []stack.Unit
		verify   Verifier
		swarm    bool
		answer   error
		want     []string
	}{
		"a gateway runs":              {plan.Surge, running, nil, false, forbidden, []string{port}},
		"and there is a check":        {plan.Surge, running, checks, false, forbidden, []string{port, check}},
		"a first release":             {plan.Create, gone, checks, false, forbidden, []string{check}},
		"nothing has to be reached":   {plan.Create, nil, nil, false, forbidden, nil},
		"the service stays":           {plan.Remove, running, nil, false, forbidden, nil},
		"nothing changes":             {plan.Unchanged, running, checks, false, forbidden, nil},
		"only a database goes back":   {plan.Unchanged, running, checks, false, forbidden, []string{check}},
		"a Swarm's updater does":      {plan.Surge, running, checks, true, forbidden, []string{check}},
		"nobody listens":              {plan.Surge, running, checks, false, errors.New("connection refused"), nil},
		"it forwards, and is reached": {plan.Surge, running, checks, false, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := &stack.Service{Name: "api"}
			api.Ext.Port, api.Ext.Gateway = 8000, "gateway"
			d := &transition{opts: Options{Stack: &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": api}}, Verify: c.verify},
				plan:  &plan.Plan{Steps: []plan.Step{{Service: "api", Gateway: "gateway", Action: c.action}}},
				facts: &facts{observed: stack.Observed{Scheduled: c.swarm, Units: map[string][]stack.Unit{"gateway": c.gateways}}}}
			if name == "only a database goes back" {
				d.opts.Back = &Back{Database: func(context.Context) ([]string, func(context.Context) error, error) { return nil, nil, nil }}
			}
			asked := 0
			closed, err := d.forwards(t.Context(), func(_ context.Context, addr string) error {
				asked++
				assert.Contains(t, []string{"127.0.0.1:8000", "127.0.0.1:80"}, addr)
				return c.answer
			})
			require.NoError(t, err)
			assert.Equal(t, c.want, closed)
			if errors.Is(c.answer, forbidden) {
				assert.Equal(t, len(c.want), asked, "nothing is asked that nobody needs")
			}
		})
	}
}

// An allowance of sshd may name the fixed address of a unit: that one it has to be asked for.
func TestWhatSSHDForwardsToAFixedAddress(t *testing.T) {
	t.Parallel()
	forbidden := fmt.Errorf("sshd does not forward: %w", &ssh.OpenChannelError{Reason: ssh.Prohibited})
	const what = `what the check "it" asks`
	unit := stack.Unit{State: stack.Running, Addresses: map[string]string{"shop_default": "172.20.0.5"}}
	exited := stack.Unit{State: stack.Exited, Addresses: map[string]string{"shop_default": "172.20.0.5"}}
	fixed := &types.ServiceNetworkConfig{Ipv4Address: "172.20.0.6"}
	for name, c := range map[string]struct {
		way     Way
		units   []stack.Unit
		network *types.ServiceNetworkConfig
		allows  string
		want    []string
	}{
		"the unit's":                  {Way{"web", "127.0.0.1:80"}, []stack.Unit{unit}, nil, "172.20.0.5:80", nil},
		"the Compose file's":          {Way{"web", "127.0.0.1:80"}, nil, fixed, "172.20.0.6:80", nil},
		"another":                     {Way{"web", "127.0.0.1:80"}, []stack.Unit{unit}, fixed, "172.20.0.9:80", []string{what}},
		"another port":                {Way{"web", "127.0.0.1:80"}, []stack.Unit{unit}, fixed, "172.20.0.5:81", []string{what}},
		"of a unit that does not run": {Way{"web", "127.0.0.1:80"}, []stack.Unit{exited}, nil, "172.20.0.5:80", []string{what}},
		"not of a unit":               {Way{"", "127.0.0.1:80"}, []stack.Unit{unit}, nil, "172.20.0.5:80", []string{what}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := types.ServiceConfig{Name: "web"}
			web.Networks = map[string]*types.ServiceNetworkConfig{"default": c.network}
			project := &types.Project{Services: types.Services{"web": web}}
			d := &transition{opts: Options{Stack: &stack.Stack{Name: "shop", Project: project}, Verify: fakeDials{addrs: map[string]Way{"it": c.way}}},
				plan:  &plan.Plan{Steps: []plan.Step{{Service: "web", Action: plan.Create}}},
				facts: &facts{observed: stack.Observed{Units: map[string][]stack.Unit{"web": c.units}}}}
			closed, err := d.forwards(t.Context(), func(_ context.Context, addr string) error {
				if addr == c.allows {
					return nil
				}
				return forbidden
			})
			require.NoError(t, err)
			assert.Equal(t, c.want, closed)
		})
	}
}

// The units of a network without IPv4 are asked for at their IPv6 address.
func TestFixedAddressesThatAreDialled(t *testing.T) {
	t.Parallel()
	no := false
	for name, c := range map[string]struct {
		of   *bool
		want []string
	}{
		"with IPv4": {nil, nil}, "without": {&no, []string{"[fd00::6]:80"}},
	} {
		web := types.ServiceConfig{Name: "web"}
		web.Networks = map[string]*types.ServiceNetworkConfig{"edge": {Ipv6Address: "fd00::6"}}
		project := &types.Project{Services: types.Services{"web": web}, Networks: types.Networks{"edge": {EnableIPv4: c.of}}}
		d := &transition{opts: Options{Stack: &stack.Stack{Name: "shop", Project: project}}, facts: &facts{}}
		assert.Equal(t, c.want, d.own(Way{"web", "127.0.0.1:80"}), name)
	}
}
