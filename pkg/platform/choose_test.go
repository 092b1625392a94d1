package platform

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	compose "github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/swarm"
	"github.com/shiksha/actions/pkg/target"
)

// A Swarm that cannot be asked is not taken for none, whatever is asked for. A worker may
// be released on as a host of its own.
func TestChooseWhereTheSwarmDoesNotAnswer(t *testing.T) {
	t.Parallel()
	silent := errors.New("ask the engine about its Swarm: EOF")
	for _, wanted := range []string{Auto, Compose, Swarm} {
		_, err := choose(t.Context(), &target.Target{}, nil, silent, wanted, "shop")
		require.ErrorIs(t, err, silent, wanted)
		assert.Equal(t, fault.Refused, fault.Of(err), wanted)
		on, err := choose(t.Context(), &target.Target{}, nil, swarm.ErrWorker, wanted, "shop")
		if wanted == Swarm {
			require.ErrorIs(t, err, swarm.ErrWorker)
			continue
		}
		require.NoError(t, err, wanted)
		assert.Equal(t, Compose, on.Name())
	}
}

// fakeBroken is an engine whose Swarm is broken, with containers by a label of theirs.
type fakeBroken struct {
	fakeWorkers
	has []string
	// once is set where they are what a command ran in.
	once  bool
	state container.ContainerState
}

func (*fakeBroken) Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error) {
	return client.SystemInfoResult{Info: system.Info{Swarm: api.Info{LocalNodeState: api.LocalNodeStateError, Error: "its certificate has expired"}}}, nil
}

func (f *fakeBroken) ContainerList(_ context.Context, o client.ContainerListOptions) (client.ContainerListResult, error) {
	var out client.ContainerListResult
	for _, label := range f.has {
		if o.All && o.Filters["label"][label] {
			c := container.Summary{ID: "1", Names: []string{"/shop_api.1"}, State: f.state, Labels: map[string]string{}}
			if f.once {
				c.Labels[compose.OneoffLabel] = "True"
			}
			out.Items = append(out.Items, c)
		}
	}
	return out, nil
}

// A host whose Swarm is broken, or was left over, is released on by itself where the stack
// has no task there, and is to run or runs without a Swarm.
func TestChooseWhereTheSwarmIsBroken(t *testing.T) {
	t.Parallel()
	const task, unit, once, up = "com.docker.stack.namespace=shop", compose.ProjectLabel + "=shop", "once", "up"
	for name, c := range map[string]struct {
		wanted string
		has    []string
		err    string
	}{
		"one host is wanted":              {Compose, nil, ""},
		"and a stack of the Swarm is":     {Compose, []string{task, unit}, "has expired (shop_api.1 of shop is on the host)"},
		"it runs as one host's":           {Auto, []string{unit, up}, ""},
		"it ran so, and was stopped":      {Auto, []string{unit}, "has expired (with engine: compose the host alone is released on)"},
		"it is started again and again":   {Auto, []string{unit, string(container.StateRestarting)}, ""},
		"only a dump was left over":       {Auto, []string{unit, once, up}, "has expired (with engine: compose the host alone is released on)"},
		"it runs nowhere":                 {Auto, nil, "has expired (with engine: compose the host alone is released on)"},
		"it ran on the Swarm":             {Auto, []string{task}, "has expired (shop_api.1 of shop is on the host)"},
		"another stack runs on the Swarm": {Compose, []string{"com.docker.stack.namespace=other"}, ""},
		"a Swarm is wanted":               {Swarm, []string{unit}, "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake := &fakeBroken{has: c.has, once: slices.Contains(c.has, once), state: container.StateExited}
				switch {
				case slices.Contains(c.has, up):
					fake.state = container.StateRunning
				case slices.Contains(c.has, string(container.StateRestarting)):
					fake.state = container.StateRestarting
				}
				e, err := engine.New(fake, event.Discard)
				require.NoError(t, err)
				said := &event.Recorder{}
				on := &target.Target{Engine: e, Sink: said}
				found, looked := swarm.Find(t.Context(), swarm.Host{API: fake, Sink: event.Discard})
				require.ErrorIs(t, looked, swarm.ErrLost)
				p, err := choose(t.Context(), on, found, looked, c.wanted, "shop")
				if c.err != "" {
					require.ErrorContains(t, err, c.err)
					assert.Equal(t, fault.Refused, fault.Of(err))
					assert.Contains(t, fault.Hint(err), "with --force")
					return
				}
				require.NoError(t, err)
				assert.Equal(t, Compose, p.Name())
				require.Len(t, said.Events(), 1)
				assert.Contains(t, said.Events()[0].Text, "shop has no task on the host")
			})
		})
	}
}

// What stops the containers of one host needs its engine and nothing else: a Compose plugin
// nobody was told to install.
func TestTheHintBesideContainersOfOneHost(t *testing.T) {
	t.Parallel()
	e, err := engine.New(&fakeWorkers{}, event.Discard)
	require.NoError(t, err)
	err = alone(t.Context(), e, "shop")
	require.ErrorContains(t, err, "2 containers of shop run on this host by themselves")
	assert.Equal(t, fault.Refused, fault.Of(err))
	const ours = "--filter label=com.docker.compose.project=shop"
	assert.Contains(t, fault.Hint(err), "all=$(docker ps -aq "+ours+"); docker stop $all && docker rm $all; docker network prune "+ours)
	assert.NotContains(t, fault.Hint(err), "docker compose")
}
