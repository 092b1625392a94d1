package platform

import (
	"context"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// A stack that asks for a Swarm, released on one host by the input engine.
func TestOneHostRefusesWhatOnlyASwarmHas(t *testing.T) {
	t.Parallel()
	with := func(readOnly bool, config, secret types.FileObjectConfig) *stack.Stack {
		c := types.ServiceConfig{Name: "api"}
		c.ReadOnly, c.Configs, c.Secrets = readOnly, []types.ServiceConfigObjConfig{{Source: "c"}}, []types.ServiceSecretConfig{{Source: "s"}}
		return &stack.Stack{Name: "shop", Order: []string{"api"}, Project: &types.Project{Services: types.Services{"api": c},
			Configs: types.Configs{"c": types.ConfigObjConfig(config)}, Secrets: types.Secrets{"s": types.SecretConfig(secret)}}}
	}
	text, made := types.FileObjectConfig{Content: "x"}, types.FileObjectConfig{External: true}
	assert.NoError(t, oneHost{}.Adapt(t.Context(), with(false, text, text)))
	for want, st := range map[string]*stack.Stack{
		"configs.c: configs.c is external, which needs a Swarm":                                  with(false, made, text),
		"secrets.s: secrets.s is external, which needs a Swarm":                                  with(false, text, made),
		"configs.c: service api is read_only, so the content of configs.c cannot be put into it": with(true, text, text),
	} {
		err := oneHost{}.Adapt(t.Context(), st)
		assert.EqualError(t, err, want)
		assert.Equal(t, fault.Input, fault.Of(err))
	}
}

// fakeWorkers is an engine with a worker that runs and one that has ended. It remembers
// the seconds that each container was given to end, nil for its own.
type fakeWorkers struct {
	client.APIClient
	given map[string]*int
}

func (*fakeWorkers) ContainerList(context.Context, client.ContainerListOptions) (client.ContainerListResult, error) {
	is := func(id, service string, state container.ContainerState) container.Summary {
		return container.Summary{ID: id, Names: []string{"/" + id}, State: state, Labels: map[string]string{api.ServiceLabel: service}}
	}
	return client.ContainerListResult{Items: []container.Summary{is("worker-1", "worker", container.StateRunning),
		is("worker-2", "worker", container.StateExited), is("db-1", "db", container.StateRunning)}}, nil
}

func (*fakeWorkers) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{}, nil
}

func (*fakeWorkers) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	return client.VolumeListResult{}, nil
}

func (*fakeWorkers) ContainerInspect(context.Context, string, client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	return client.ContainerInspectResult{}, nil
}

func (f *fakeWorkers) ContainerStop(_ context.Context, id string, o client.ContainerStopOptions) (client.ContainerStopResult, error) {
	f.given[id] = o.Timeout
	return client.ContainerStopResult{}, nil
}

// What is stopped before a restore has the time to end that it was made with: a worker may
// be in the middle of a task of half an hour.
func TestStopGivesEachUnitItsOwnTime(t *testing.T) {
	t.Parallel()
	workers := &fakeWorkers{given: map[string]*int{}}
	e, err := engine.New(workers, event.Discard)
	require.NoError(t, err)
	on := oneHost{&target.Target{Engine: e, Sink: event.Discard}}
	require.NoError(t, on.Stop(t.Context(), "shop", []string{"worker"}))
	assert.Equal(t, map[string]*int{"worker-1": nil}, workers.given)
}

// The second release of a stack in which one service has the network of another: its unit is
// as it is to be while that of the other stands, and what is written down is made of no unit.
func TestCompareIsOfUnitsAndNotOfTheRelease(t *testing.T) {
	t.Parallel()
	vpn, torrent := types.ServiceConfig{Name: "vpn"}, types.ServiceConfig{Name: "torrent"}
	vpn.Image, torrent.Image, torrent.NetworkMode = "vpn", "torrent", "service:vpn"
	st := &stack.Stack{Name: "shop", Dir: "/state/shop", Order: []string{"vpn", "torrent"},
		Project:  &types.Project{Name: "shop", Services: types.Services{"vpn": vpn, "torrent": torrent}},
		Services: map[string]*stack.Service{"vpn": {Name: "vpn", Replicas: 1}, "torrent": {Name: "torrent", Replicas: 1, Shares: []string{"vpn"}}}}
	require.NoError(t, st.Pin(map[string]string{"vpn": "sha256:1", "torrent": "sha256:2"}))
	first, err := st.Seal()
	require.NoError(t, err)
	e, err := engine.New(&fakeWorkers{}, event.Discard)
	require.NoError(t, err)
	on := oneHost{&target.Target{Engine: e, Sink: event.Discard}}
	beside := func(id string) stack.Observed {
		return stack.Observed{Units: map[string][]stack.Unit{"vpn": {{ID: id, Name: id, Service: "vpn", State: stack.Running, Hash: st.Services["vpn"].Hash}}}}
	}
	made, err := st.ResolvedHash("torrent", beside("vpn-1"))
	require.NoError(t, err)
	for id, changed := range map[string][]string{"vpn-1": nil, "vpn-2": {"torrent"}} {
		seen := beside(id)
		seen.Units["torrent"] = []stack.Unit{{ID: "torrent-1", Name: "torrent-1", Service: "torrent", State: stack.Running, Hash: made}}
		_, _, err := on.Compare(t.Context(), st, seen)
		require.NoError(t, err)
		assert.Equal(t, changed, plan.Make(plan.Input{Desired: st, Observed: seen}).Changed(), id)
		again, err := st.Seal()
		require.NoError(t, err)
		assert.Equal(t, string(first), string(again), id)
	}
}

// A release learns what runs on the host beside its project; a look at the project alone
// does not ask for that.
func TestCompareSeesWhatRunsBesideTheProject(t *testing.T) {
	t.Parallel()
	e, err := engine.New(&fakeWorkers{}, event.Discard)
	require.NoError(t, err)
	on := oneHost{&target.Target{Engine: e, Sink: event.Discard}}
	seen, err := on.Observe(t.Context(), "shop")
	require.NoError(t, err)
	assert.Empty(t, seen.Others)
	_, _, err = on.Compare(t.Context(), &stack.Stack{Name: "shop", Project: &types.Project{}}, seen)
	require.NoError(t, err)
	assert.Equal(t, "db-1", seen.Others["db-1"].Name)
}
