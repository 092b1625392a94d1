package engine

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

const shop = `
services:
  db:
    image: V1
    volumes: [data:/data]
    networks: [back]
  gone: {image: V1, profiles: [never]}
  cache: {image: V2, networks: [back], command: [wait, "3"]}
  web:
    image: V1
    deploy: {replicas: 2}
    depends_on:
      db: {condition: service_healthy, restart: true}
      cache: {condition: service_started}
      gone: {condition: service_started, required: false}
    networks: {front: {aliases: [shopfront]}, back: {}}
    volumes: [data:/data:ro]
    environment: {COLOUR: blue}
networks: {front: {labels: {a: b}}, back: {internal: true}}
volumes: {data: {labels: {c: d}}}
`

// labels gives a container's labels, comparable: Compose writes dependencies in
// the order of a map.
func labels(c container.InspectResponse) map[string]string {
	deps := strings.Split(c.Config.Labels[api.DependenciesLabel], ",")
	slices.Sort(deps)
	c.Config.Labels[api.DependenciesLabel] = strings.Join(deps, ",")
	return c.Config.Labels
}

func TestUnitsNetworksAndVolumesAreWhatComposeMakes(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, shop)
	made := func() (containers map[string]container.InspectResponse, seen stack.Observed) {
		seen, err := e.Observe(t.Context(), s.Name)
		require.NoError(t, err)
		containers = map[string]container.InspectResponse{}
		for _, us := range seen.Units {
			for _, u := range us {
				containers[u.Name] = inspect(t, u.ID)
			}
		}
		return containers, seen
	}

	project := s.Project.WithoutUnresolvedOptionalDependencies()
	require.NoError(t, plainCompose(t, e).Create(t.Context(), project, api.CreateOptions{}))
	theirs, theirSeen := made()
	require.Len(t, theirs, 4)
	networks, volumes := Diverged(s, theirSeen)
	assert.Empty(t, append(networks, volumes...), "what Compose made counts as it should be")
	down(t, s.Name)

	ground(t, e, s)
	for _, name := range []string{"db", "cache", "web"} {
		_, err := e.Create(t.Context(), s, name, s.Services[name].Replicas)
		require.NoError(t, err)
	}
	ours, ourSeen := made()
	require.Len(t, ours, 4)
	for name, want := range theirs {
		got := ours[name]
		require.NotNil(t, got.Config, name)
		assert.NotContains(t, want.Config.Labels, stack.StateLabel)
		assert.Contains(t, got.Config.Labels, stack.StateLabel, "the one label that is ours alone")
		delete(got.Config.Labels, stack.StateLabel)
		assert.Equal(t, labels(want), labels(got), name)
		want.Config.Hostname, got.Config.Hostname = "", "" // the id
		assert.Equal(t, want.Config, got.Config, name)
		assert.Equal(t, want.HostConfig, got.HostConfig, name)
		for net, ep := range want.NetworkSettings.Networks {
			names := func(ep *network.EndpointSettings, id string) []string {
				return slices.DeleteFunc(slices.Clone(ep.Aliases), func(a string) bool { return a == short(id) })
			}
			require.NotNil(t, got.NetworkSettings.Networks[net], net)
			assert.Equal(t, names(ep, want.ID), names(got.NetworkSettings.Networks[net], got.ID), "aliases of %s on %s", name, net)
		}
	}
	web := labels(ours[s.Name+"-web-1"])
	assert.Equal(t, "cache:service_started:false,db:service_healthy:true", web[api.DependenciesLabel])
	for key, want := range theirSeen.Networks {
		assert.Equal(t, want.Hash, ourSeen.Networks[key].Hash, key)
	}
	for key, want := range theirSeen.Volumes {
		assert.Equal(t, want.Hash, ourSeen.Volumes[key].Hash, key)
	}
	// And an up of the real thing has nothing to create or recreate.
	require.NoError(t, plainCompose(t, e).Create(t.Context(), project, api.CreateOptions{}))
	again, _ := made()
	for name, c := range again {
		assert.Equal(t, ours[name].ID, c.ID, name)
	}
}

func TestCreateMakesExactlyNBesideWhateverIsThere(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := load(t, `{services: {api: {image: V1, networks: [net]}, other: {image: V1}}, networks: {net: {}}}`)
	ground(t, e, s)
	old := run(t, e, s, "api", 3)
	stopped, paused := old[1], old[2]
	require.NoError(t, e.Stop(t.Context(), []string{stopped}, 0))
	_, err := daemon.ContainerPause(t.Context(), paused, client.ContainerPauseOptions{})
	require.NoError(t, err)
	leftover, err := e.Create(t.Context(), s, "api", 1) // of an interrupted run: never started
	require.NoError(t, err)
	run(t, e, s, "other", 1)

	next := load(t, `{services: {api: {image: V2, networks: [net]}}, networks: {net: {}}}`)
	v2 := rename(t, next, s.Name)
	ids, err := e.Create(t.Context(), v2, "api", 2)
	require.NoError(t, err)
	assert.Len(t, ids, 2)
	for i, id := range ids {
		c := inspect(t, id)
		assert.Equal(t, v2.Services["api"].Hash, c.Config.Labels[api.ConfigHashLabel])
		assert.Equal(t, s.Name+"-api-"+string(rune('5'+i)), strings.TrimPrefix(c.Name, "/"))
	}
	want := []stack.State{stack.Running, stack.Exited, stack.Paused, stack.Created, stack.Created, stack.Created}
	assert.Equal(t, want, states(t, e, s.Name, "api"), "nothing else changes its state")

	require.NoError(t, e.Start(t.Context(), v2, "api", ids))
	want[4], want[5] = stack.Running, stack.Running
	assert.Equal(t, want, states(t, e, s.Name, "api"), "only the new ones are started, not %v", leftover)
	assert.Empty(t, warnings(rec, s.Name))
}

// rename gives a stack another project name, as another version of that project.
func rename(t *testing.T, s *stack.Stack, name string) *stack.Stack {
	t.Helper()
	was := s.Name
	s.Name, s.Project.Name = name, name
	for key, svc := range s.Project.Services {
		svc.CustomLabels[api.ProjectLabel] = name
		hash, err := compose.ServiceHash(svc)
		require.NoError(t, err)
		s.Services[key].Hash = hash
	}
	for key, n := range s.Project.Networks {
		n.Name = strings.Replace(n.Name, was, name, 1)
		s.Project.Networks[key] = n
	}
	for key, v := range s.Project.Volumes {
		v.Name = strings.Replace(v.Name, was, name, 1)
		s.Project.Volumes[key] = v
	}
	return s
}

func TestCreateRemovesWhatIsNotAsExpected(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1}}}`)
	ground(t, e, s)
	run(t, e, s, "api", 1)
	s.Services["api"].Hash = strings.Repeat("0", 64)
	_, err := e.Create(t.Context(), s, "api", 2)
	require.ErrorContains(t, err, "create 2 of api")
	require.ErrorContains(t, err, "wanted 000000000000")
	assert.Equal(t, []stack.State{stack.Running}, states(t, e, s.Name, "api"))

	_, err = e.Create(t.Context(), s, "api", 0)
	require.ErrorContains(t, err, "asked for 0 units")
	_, err = e.Create(t.Context(), s, "nobody", 1)
	require.ErrorContains(t, err, "no such service")
}

func TestCreateLeavesADivergedNetworkAndItsUnitsAlone(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1, networks: [net]}}, networks: {net: {}}, volumes: {data: {}}}`)
	ground(t, e, s)
	old := run(t, e, s, "api", 1)
	before := inspect(t, old[0])

	changed := rename(t, load(t, `{services: {api: {image: V2, networks: [net]}}, networks: {net: {labels: {x: y}}}, volumes: {data: {labels: {x: y}}}}`), s.Name)
	seen, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	networks, volumes := Diverged(changed, seen)
	assert.Equal(t, []string{"net"}, networks)
	assert.Equal(t, []string{"data"}, volumes)

	ground(t, e, changed)
	run(t, e, changed, "api", 1)
	after := inspect(t, old[0])
	assert.Equal(t, before.State.StartedAt, after.State.StartedAt)
	assert.Equal(t, before.State.Pid, after.State.Pid)
	assert.Equal(t, before.NetworkSettings.Networks, after.NetworkSettings.Networks)
	now, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	assert.Equal(t, seen.Networks, now.Networks)
	assert.Equal(t, seen.Volumes, now.Volumes)
}

func TestCreateAtOnceStaysExact(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {a: {image: V1}, b: {image: V1, depends_on: [a]}}}`)
	ground(t, e, s)
	var wg sync.WaitGroup
	var mu sync.Mutex
	all := map[string]bool{}
	for _, service := range []string{"a", "a", "b", "b"} {
		wg.Go(func() {
			ids, err := e.Create(t.Context(), s, service, 2)
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				all[id] = true
			}
		})
	}
	wg.Wait()
	assert.Len(t, all, 8)
	assert.Len(t, states(t, e, s.Name, "a"), 4)
	assert.Len(t, states(t, e, s.Name, "b"), 4)
}

func TestCreateSaysThatTheContainerNameIsTaken(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1, container_name: NAME}}}`)
	svc := s.Project.Services["api"]
	svc.ContainerName = s.Name + "-mine"
	s.Project.Services["api"] = svc
	rename(t, s, s.Name)
	ground(t, e, s)

	squatter := load(t, `{services: {x: {image: V1}}}`)
	x := squatter.Project.Services["x"]
	x.ContainerName = svc.ContainerName
	squatter.Project.Services["x"] = x
	rename(t, squatter, squatter.Name)
	ground(t, e, squatter)
	ids := run(t, e, squatter, "x", 1)

	_, err := e.Create(t.Context(), s, "api", 1)
	require.ErrorContains(t, err, "container_name "+svc.ContainerName+" is taken on the host by a container outside this service")
	assert.Equal(t, fault.Refused, fault.Of(err))
	require.NoError(t, e.Stop(t.Context(), ids, 0))
	require.NoError(t, e.Remove(t.Context(), ids))

	run(t, e, s, "api", 1)
	_, err = e.Create(t.Context(), s, "api", 1)
	require.ErrorContains(t, err, "container_name "+svc.ContainerName+" is taken by its unit")
	assert.NotEmpty(t, fault.Hint(err))
}

func TestCreateOfAServiceThatSharesANamespace(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {main: {image: V1}, side: {image: V1, network_mode: "service:main"}, user: {image: V1, volumes_from: [main]}}}`)
	ground(t, e, s)
	main := run(t, e, s, "main", 1)
	_, err := daemon.ContainerPause(t.Context(), main[0], client.ContainerPauseOptions{})
	require.NoError(t, err)
	for _, service := range []string{"side", "user"} {
		ids, err := e.Create(t.Context(), s, service, 1)
		require.NoError(t, err, service)
		seen, err := e.Observe(t.Context(), s.Name)
		require.NoError(t, err)
		hash, err := s.ResolvedHash(service, seen)
		require.NoError(t, err)
		assert.Equal(t, hash, inspect(t, ids[0]).Config.Labels[api.ConfigHashLabel], service)
		assert.NotEqual(t, s.Services[service].Hash, hash, service)
	}
	assert.Equal(t, []stack.State{stack.Paused}, states(t, e, s.Name, "main"))
	foreign := load(t, `{services: {side: {image: V1, volumes_from: ["container:`+main[0]+`:ro"]}}}`)
	ground(t, e, foreign)
	_, err = e.Create(t.Context(), foreign, "side", 1)
	require.NoError(t, err, "a container that the file names")
}

func TestCreateIgnoresOneOffContainers(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1}}}`)
	ground(t, e, s)
	res, err := daemon.ContainerCreate(t.Context(), client.ContainerCreateOptions{Config: &container.Config{Image: imageV1, Labels: map[string]string{
		api.ProjectLabel: s.Name, api.ServiceLabel: "api", api.OneoffLabel: "True", api.ConfigHashLabel: "x", api.ContainerNumberLabel: "1",
	}}})
	require.NoError(t, err)
	ids := run(t, e, s, "api", 2)
	assert.Len(t, ids, 2)
	seen, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	require.Len(t, seen.Units["api"], 3)
	for _, u := range seen.Units["api"] {
		assert.Equal(t, u.ID == res.ID, u.OneOff)
	}
}

func TestTheSDKCannotStopOrRemoveAnything(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := load(t, `{services: {api: {image: V1, networks: [net], volumes: ["data:/data"]}}, networks: {net: {}}, volumes: {data: {}}}`)
	ground(t, e, s)
	run(t, e, s, "api", 2)
	changed := rename(t, load(t, `{services: {api: {image: V1, networks: [net], volumes: ["data:/data"]}}, networks: {net: {labels: {x: y}}}, volumes: {data: {labels: {x: y}}}}`), s.Name)
	sdk, done, err := e.sdk(&view{APIClient: daemon, sees: func(c container.Summary) (container.Summary, bool) { return c, true }}, 1)
	require.NoError(t, err)
	defer done()
	// A whole project with a changed network and fewer replicas: all that we avoid.
	err = sdk.Create(t.Context(), changed.Project, api.CreateOptions{Recreate: api.RecreateForce})
	require.ErrorContains(t, err, "which was not asked for")
	assert.Equal(t, []stack.State{stack.Running, stack.Running}, states(t, e, s.Name, "api"))
	assert.True(t, slices.ContainsFunc(rec.Events(), func(ev event.Event) bool {
		return ev.Level == event.Warning && strings.Contains(ev.Text, "told no: Volume")
	}), "the SDK's question about the volume is answered and told")
}
