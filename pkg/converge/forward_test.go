package converge

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeDials is a verifier whose checks connect to addresses.
type fakeDials struct {
	Verifier
	addrs map[string]string
}

func (f fakeDials) Dials(*stack.Stack) map[string]string { return f.addrs }

// Where sshd does not forward, what needs that is told before anything is changed: the
// port of a unit that a running gateway is led to, and what a check asks.
func TestWhatSSHDDoesNotForward(t *testing.T) {
	t.Parallel()
	forbidden := fmt.Errorf("sshd does not forward: %w", &ssh.OpenChannelError{Reason: ssh.Prohibited})
	running, gone := []stack.Unit{{ID: "g", State: stack.Running}}, []stack.Unit{{ID: "g", State: stack.Exited}, {ID: "o", State: stack.Running, OneOff: true}}
	const port, check = "port 8000 of api (x-shiksha.port)", `what the check "web port 80" asks`
	checks := fakeDials{addrs: map[string]string{"web port 80": "127.0.0.1:80"}}
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
