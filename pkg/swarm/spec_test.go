package swarm

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

var write = flag.Bool("write", false, "write the golden files")

// fakeManager answers what a stack is adapted by: its nodes.
type fakeManager struct {
	client.APIClient
	nodes []swarm.Node
}

func (f *fakeManager) NodeList(context.Context, client.NodeListOptions) (client.NodeListResult, error) {
	return client.NodeListResult{Items: f.nodes}, nil
}

func node(name string, role swarm.NodeRole, labels map[string]string) swarm.Node {
	return swarm.Node{
		ID: "id-" + name, Spec: swarm.NodeSpec{Annotations: swarm.Annotations{Labels: labels}, Role: role, Availability: swarm.NodeAvailabilityActive},
		Description: swarm.NodeDescription{Hostname: name, Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"}},
		Status:      swarm.NodeStatus{State: swarm.NodeStateReady},
	}
}

// newSwarm is a Swarm of a manager and two workers, with or without IPVS.
func newSwarm(ipvs bool) *Swarm {
	nodes := []swarm.Node{node("m1", swarm.NodeRoleManager, nil), node("w1", swarm.NodeRoleWorker, map[string]string{"disk": "ssd"}), node("w2", swarm.NodeRoleWorker, nil)}
	return &Swarm{Host: Host{API: &fakeManager{nodes: nodes}, Sink: event.Discard, Probe: func(context.Context, []string) (int, error) {
		return map[bool]int{true: 0, false: 1}[ipvs], nil
	}}, where: map[string]string{}}
}

// adapted reads a workspace with the given Compose file, adapts it and pins its images.
func adapted(t *testing.T, s *Swarm, workspace, file string) *stack.Stack {
	t.Helper()
	if file != "" {
		workspace = t.TempDir()
		for name, text := range map[string]string{"compose.yaml": file, "site.conf": "server {}\n", "key.pem": "secret\n", "dir/a.conf": "a\n", "dir/sub/b.conf": "b\n"} {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(workspace, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(workspace, name), []byte(text), 0o644))
		}
	}
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: workspace, Project: "shop", StateDir: "/var/lib/shiksha", Environment: map[string]string{"VERSION": "v1"}})
	require.NoError(t, err)
	require.NoError(t, s.Adapt(t.Context(), st))
	images := map[string]string{}
	for _, name := range st.Order {
		images[name] = "registry.example.org/" + name + "@sha256:" + strings.Repeat("a", 64)
	}
	require.NoError(t, st.Pin(images))
	return st
}

// specs are the specs of all services, written down.
func specs(t *testing.T, s *Swarm, st *stack.Stack) string {
	t.Helper()
	all := map[string]swarm.ServiceSpec{}
	for _, name := range st.Order {
		objects := s.objectsOf(st, name)
		ids := map[string]string{}
		for _, o := range objects {
			ids[kindOf(o.secret)+o.name] = "id-of-" + o.name
		}
		spec, err := specOf(st, name, objects, ids, 7)
		require.NoError(t, err)
		all[name] = spec
	}
	text, err := json.MarshalIndent(all, "", " ")
	require.NoError(t, err)
	return string(text) + "\n"
}

const everything = `
services:
  web:
    image: example/web:v1
    command: [serve, --port, "8000"]
    entrypoint: /entry
    environment: {A: b, NOTHING: }
    healthcheck: {test: [CMD, /ok], interval: 3s, retries: 2}
    labels: {a: b}
    ports: ["8080:8000", "9090:9000/udp"]
    volumes: ["data:/data", "./site.conf:/etc/site.conf:ro", "./dir:/etc/dir:ro", "/srv:/srv"]
    configs: [greeting, {source: from-file, target: /etc/from-file, mode: 0440}]
    secrets: [token, {source: key, target: key.pem}]
    networks: {front: {aliases: [shop]}}
    extra_hosts: ["db:10.0.0.1"]
    mem_limit: 512m
    cpus: 0.5
    stop_grace_period: 20s
    stop_signal: SIGINT
    cap_add: [NET_ADMIN]
    ulimits: {nofile: 1000}
    logging: {driver: json-file, options: {max-size: 10m}}
    deploy:
      replicas: 4
      labels: {edge: "yes"}
      placement: {constraints: ["node.labels.disk == ssd"], max_replicas_per_node: 2}
      resources: {reservations: {memory: 64m}}
      restart_policy: {condition: on-failure, delay: 5s}
      update_config: {order: start-first, parallelism: 2, delay: 3s, failure_action: pause, monitor: 9s, max_failure_ratio: 0.3}
    depends_on: {job: {condition: service_completed_successfully}}
  job:
    image: example/job:v1
    restart: always
  everywhere:
    image: example/agent:v1
    deploy: {mode: global, endpoint_mode: dnsrr, placement: {constraints: ["node.role==worker"]}}
networks: {front: {}}
volumes: {data: {}}
configs:
  greeting: {content: hello}
  from-file: {file: ./site.conf}
secrets:
  token: {environment: VERSION}
  key: {file: ./key.pem}
`

// The services of Compose files as Swarm gets them, to the letter.
func TestSpecs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ipvs               bool
		workspace, compose string
	}{
		"quickstart":       {false, "../../examples/quickstart", ""},
		"quickstart-vip":   {true, "../../examples/quickstart", ""},
		"everything-dnsrr": {false, "", everything},
		"everything-vip":   {true, "", everything},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSwarm(c.ipvs)
			got := specs(t, s, adapted(t, s, c.workspace, c.compose))
			golden := filepath.Join("testdata", name+".json")
			if *write {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

// A stack that was sealed comes back as the same specs, and adapting it twice changes
// nothing.
func TestSpecsSurviveTheLedger(t *testing.T) {
	t.Parallel()
	s := newSwarm(false)
	st := adapted(t, s, "", everything)
	want := specs(t, s, st)
	sealed, err := st.Seal()
	require.NoError(t, err)
	back, err := stack.Unseal(sealed)
	require.NoError(t, err)
	require.NoError(t, s.Adapt(t.Context(), back))
	assert.Equal(t, want, specs(t, s, back))
	assert.Equal(t, st.Warnings, back.Warnings, "what a mode means is said once")
}

// A release that a single host made can come back on a Swarm.
func TestAdaptsAReleaseOfASingleHost(t *testing.T) {
	t.Parallel()
	const file = "services: {web: {image: example/web, container_name: web, volumes: [\"./site.conf:/etc/site.conf:ro\", \"./dir:/etc/dir:ro\"], x-shiksha: {reload: nginx}}}\n"
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "dir"), 0o755))
	for name, text := range map[string]string{"compose.yaml": file, "site.conf": "x\n", "dir/a.conf": "a\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/state"})
	require.NoError(t, err)
	require.NoError(t, st.Pin(map[string]string{"web": "example/web@sha256:" + strings.Repeat("a", 64)}))
	alone := st.Services["web"].Hash
	require.NoError(t, newSwarm(true).Adapt(t.Context(), st))
	web := st.Services["web"]
	assert.NotEqual(t, alone, web.Hash)
	assert.Nil(t, web.Ext.Reload)
	assert.Empty(t, web.ContainerName)
	for _, f := range web.Files {
		assert.False(t, f.Live)
		assert.True(t, strings.HasPrefix(f.HostPath, "/state/shop/files/"+f.Sum), "where a single host keeps its content: %s", f.HostPath)
	}
	_, err = st.Seal()
	require.NoError(t, err)
}

// A migration runs on the manager, which may have none of a service's volumes.
func TestSaysWhichMigrationMayHaveNoVolume(t *testing.T) {
	t.Parallel()
	const file = "services:\n  api: {image: a, volumes: [\"uploads:/u\", \"theirs:/t\"], x-shiksha: {migrate: {command: [a]}}}\n" +
		"  db: {image: d, volumes: [\"data:/d\"]}\nvolumes: {uploads: {}, data: {}, theirs: {external: true}}\n"
	st := adapted(t, newSwarm(true), "", file)
	assert.True(t, st.Scheduled)
	assert.Contains(t, st.Warnings, "Swarm: commands of x-shiksha.migrate run on the manager, without the volumes that it does not have: api may miss shop_uploads")
}

// A manager that takes no tasks lets no container of its engine into a network of the Swarm.
func TestSaysThatTheManagerCannotMigrate(t *testing.T) {
	t.Parallel()
	const migrates = "services:\n  api: {image: a, x-shiksha: {migrate: {command: [a]}}}\n"
	said := func(s *Swarm, file string) string { return strings.Join(adapted(t, s, "", file).Warnings, "\n") }
	s := newSwarm(true)
	assert.NotContains(t, said(s, migrates), "takes no tasks", "who it is, is not known")
	s.self = "id-m1"
	assert.NotContains(t, said(s, migrates), "takes no tasks")
	s.API.(*fakeManager).nodes[0].Spec.Availability = swarm.NodeAvailabilityDrain
	assert.Contains(t, said(s, migrates), "Swarm: the manager takes no tasks (it is drained or paused), and commands of x-shiksha.migrate fail")
	assert.NotContains(t, said(s, "services:\n  api: {image: a}\n"), "takes no tasks")
}

func TestWhatASwarmCannot(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"network_mode: service:b": "network_mode: service:b is not possible",
		"ipc: service:b":          "ipc: service:b is not possible",
		"volumes_from: [b]":       "volumes_from is not possible",
		"network_mode: service:b\n    pid: service:b\n    ipc: service:b": "network_mode: service:b is not possible",
	} {
		dir := t.TempDir()
		file := "services:\n  a:\n    image: a\n    " + text + "\n  b: {image: b}\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(file), 0o644))
		st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/state"})
		require.NoError(t, err)
		err = newSwarm(true).Adapt(t.Context(), st)
		assert.Equal(t, fault.Refused, fault.Of(err))
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "compose.yaml:4")
		assert.NotEmpty(t, fault.Hint(err))
	}
}

func TestNamesOfObjects(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0123456789abcdef", 4)
	assert.Equal(t, "shop_site.conf_0123456789ab", objectName("shop", "site.conf", sum))
	assert.Equal(t, "shop_a-b-c_0123456789ab", objectName("shop", "a b/c", sum))
	assert.LessOrEqual(t, len(objectName("shop", strings.Repeat("x", 200), sum)), 64)
}

func TestEligible(t *testing.T) {
	t.Parallel()
	nodes := newSwarm(true).API.(*fakeManager).nodes
	for text, want := range map[string][]string{
		"":                            {"m1", "w1", "w2"},
		"node.role==worker":           {"w1", "w2"},
		"node.role != manager":        {"w1", "w2"},
		"node.hostname == W1":         {"w1"},
		"node.labels.disk==ssd":       {"w1"},
		"node.labels.disk!=ssd":       {"m1", "w2"},
		"node.id==id-m1":              {"m1"},
		"node.platform.os==linux":     {"m1", "w1", "w2"},
		"node.platform.arch==aarch64": nil,
		"engine.labels.x==y":          nil,
		"something.else==y":           {"m1", "w1", "w2"},
		"not a constraint":            {"m1", "w1", "w2"},
	} {
		var constraints, got []string
		if text != "" {
			constraints = []string{text}
		}
		for _, n := range eligible(nodes, constraints) {
			got = append(got, n.Description.Hostname)
		}
		assert.Equal(t, want, got, text)
	}
}
