package kind

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeTasks are units that a Swarm placed. What waits for a node has no container.
type fakeTasks struct{ Units }

func (f fakeTasks) Observe(ctx context.Context, project string) (stack.Observed, error) {
	seen, err := f.Units.Observe(ctx, project)
	seen.Scheduled = true
	return seen, err
}

func (f fakeTasks) Inspect(ctx context.Context, id string) (stack.Unit, error) {
	u, err := f.Units.Inspect(ctx, id)
	if err == nil && u.State == stack.Created && u.Service != "job" {
		return stack.Unit{}, errGone{}
	}
	return u, err
}

func TestContainers_OnNodes(t *testing.T) {
	t.Parallel()
	look := func(change func(units map[string][]stack.Unit)) Finding {
		return look{check: "containers: {}", scene: func(t *testing.T) *Scene {
			s := shop(func(units map[string][]stack.Unit, _ *Scene) {
				units["api"][0].Node, units["api"][1].Node, units["job"][0].Node = "a", "b", "b"
				change(units)
			})(t)
			s.Units = fakeTasks{s.Units}
			return s
		}}.at(t, "")
	}
	f := look(func(map[string][]stack.Unit) {})
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	assert.Equal(t, "3 tasks of 2 services, nodes: 2", f.Found)

	f = look(func(units map[string][]stack.Unit) { units["api"][0].Node, units["api"][0].State = "", stack.Dead })
	assert.Equal(t, "shop-api-1", f.Where, "a single host's unit has no node")

	f = look(func(units map[string][]stack.Unit) { units["api"][1].State = stack.Created })
	assert.Equal(t, check.Fail, f.Outcome)
	assert.Equal(t, "shop-api-2 on node b", f.Where)
	assert.Equal(t, "created", f.Found, "a task that waits for a node did not go away")

	f = look(func(units map[string][]stack.Unit) { units["job"][0].State = stack.Created })
	assert.Equal(t, check.Fail, f.Outcome)
	assert.Equal(t, "a job that ended with 0", f.Expected)
}

// A port that a service publishes is asked at each node that runs a task of it, once.
func TestTCP_AtNodes(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	// The address of the check's own is where nobody listens.
	ask := func(published string, units *fakeUnits) Finding {
		s := local(units).Begin(t.Context(), "it")
		(&TCP{Address: "127.0.0.9:" + port, Published: published}).Look(s)
		return s.Finding
	}
	at := func(addresses ...string) *fakeUnits {
		u := &fakeUnits{units: map[string][]stack.Unit{"api": nil}}
		for _, a := range addresses {
			u.units["api"] = append(u.units["api"], stack.Unit{State: stack.Running, NodeAddress: a})
		}
		return u
	}
	f := ask("api", at("127.0.0.1", "127.0.0.1", ""))
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	assert.Len(t, f.Evidence, 1)
	f = ask("api", at("127.0.0.1", "127.0.0.2"))
	assert.Equal(t, check.Fail, f.Outcome)
	assert.True(t, strings.HasPrefix(f.Where, "127.0.0.2:"), f.Where)
	for _, none := range []stack.Unit{{State: stack.Created, Joining: true}, {State: stack.Exited, GivenUp: true}} {
		u := at("127.0.0.1", "127.0.0.2")
		none.NodeAddress = "127.0.0.2"
		u.units["api"][1] = none
		assert.Equal(t, check.Pass, ask("api", u).Outcome, "nothing of it runs there")
	}
	for name, published := range map[string]string{"a service of no task": "other", "no service": ""} {
		f = ask(published, at("127.0.0.1"))
		assert.Equal(t, check.Fail, f.Outcome, name)
		assert.True(t, strings.HasPrefix(f.Where, "127.0.0.9:"), f.Where)
	}
	f = ask("api", &fakeUnits{err: errors.New("no engine")})
	assert.Equal(t, check.Fail, ask("", &fakeUnits{err: errors.New("no engine")}).Outcome, "an address needs no look at nodes")
	assert.Equal(t, check.Unknown, f.Outcome, "of nodes that cannot be seen nothing is known")
}
