package swarm_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/preflight/swarm"
	"github.com/shiksha/actions/pkg/stack"
)

var write = flag.Bool("write", false, "write the golden files")

// load reads a Compose file that stands alone in a workspace.
func load(t *testing.T, text string, files ...string) *stack.Stack {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i+1 < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(files[i+1]), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o644))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	return st
}

func look(t *testing.T, st *stack.Stack) *check.Report {
	t.Helper()
	f := finding.Of(t.Context(), st, finding.Options{Swarm: true})
	swarm.Look(f)
	return f.Report()
}

// about are the results of one check, as "outcome file:line found".
func about(r *check.Report, name string) []string {
	var out []string
	for _, result := range r.Results {
		if result.Name == name || strings.HasPrefix(result.Name, name+" ") {
			out = append(out, fmt.Sprintf("%s %s:%d %s", result.Outcome, result.File, result.Line, result.Found))
		}
	}
	return out
}

// quiet is a service of which a Swarm makes the same as one host, but for what is
// added to it.
const quiet = `services:
  api:
    image: example/api:v1
    networks: [inner]
    deploy: {restart_policy: {condition: any}}
%s
networks:
  inner: {driver_opts: {encrypted: "true"}}
%s`

func TestNothingIsOtherwise(t *testing.T) {
	t.Parallel()
	r := look(t, load(t, fmt.Sprintf(quiet, "", "")))
	require.Len(t, r.Results, 1)
	assert.Equal(t, check.Pass, r.Results[0].Outcome)
}

// Each key alone, and what is said about it.
func TestKeys(t *testing.T) {
	t.Parallel()
	for service, want := range map[string]string{
		"annotations: {a: b}":                        "P17.annotations warn 6 annotations are left out",
		"blkio_config: {weight: 300}":                "P17.blkio-config warn 6 limits of block devices",
		"build: .":                                   "P17.build warn 6 no node builds it",
		"cgroup: host":                               "P17.cgroup warn 6 cgroup namespace",
		"cgroup_parent: shop":                        "P17.cgroup-parent warn 6 go under the cgroup",
		"container_name: the-api":                    "P17.container-name warn 6 tasks are called shop_api.1.ID",
		"cpu_count: 2":                               "P17.cpu-count warn 6 left to the node",
		"cpu_percent: 50":                            "P17.cpu-percent warn 6 left to the node",
		"cpu_period: 100000":                         "P17.cpu-period warn 6 left to the node",
		"cpu_quota: 50000":                           "P17.cpu-quota warn 6 left to the node",
		"cpu_rt_period: 100000":                      "P17.cpu-rt-period warn 6 left to the node",
		"cpu_rt_runtime: 95000":                      "P17.cpu-rt-runtime warn 6 left to the node",
		"cpu_shares: 70":                             "P17.cpu-shares warn 6 left to the node",
		"cpuset: \"0\"":                              "P17.cpuset warn 6 left to the node",
		"device_cgroup_rules: [\"c 1:3 mr\"]":        "P17.device-cgroup-rules fail 6 rules for devices",
		"devices: [/dev/fuse]":                       "P17.devices fail 6 no device",
		"dns_opt: [use-vc]":                          "P17.dns-opt warn 6 options of the resolver",
		"domainname: example.org":                    "P17.domainname warn 6 no domain name",
		"external_links: [other]":                    "P17.external-links fail 6 links to other containers",
		"gpus: all":                                  "P17.gpus fail 6 no GPU",
		"group_add: [video]":                         "P17.group-add fail 6 no further group",
		"ipc: host":                                  "P17.ipc warn 6 shared memory of its own",
		"mac_address: 02:42:ac:11:00:02":             "P17.mac-address warn 6 MAC address",
		"mem_swappiness: 10":                         "P17.mem-swappiness warn 6 left to the node",
		"memswap_limit: 2g":                          "P17.memswap-limit warn 6 left to the engine",
		"oom_kill_disable: true":                     "P17.oom-kill-disable warn 6 killed when memory runs out",
		"pid: host":                                  "P17.pid warn 6 its own processes only",
		"platform: linux/arm64":                      "P17.platform warn 6 any node whose platform",
		"post_start: [{command: [a]}]":               "P17.post-start fail 6 nothing runs after",
		"pre_stop: [{command: [a]}]":                 "P17.pre-stop fail 6 nothing runs before a task stops",
		"privileged: true":                           "P17.privileged fail 6 never privileged",
		"pull_policy: never":                         "P17.pull-policy warn 6 each node pulls",
		"runtime: nvidia":                            "P17.runtime warn 6 by default",
		"security_opt: [\"no-new-privileges:true\"]": "P17.security-opt warn 6 by default",
		"shm_size: 256m":                             "P17.shm-size warn 6 64 MB of shared memory",
		"storage_opt: {size: 1G}":                    "P17.storage-opt warn 6 options of the storage",
		"tmpfs: /run":                                "P17.tmpfs warn 6 nothing is mounted there",
		"userns_mode: host":                          "P17.userns-mode warn 6 user namespace",
		"uts: host":                                  "P17.uts warn 6 host name of its own",
		"healthcheck: {test: [CMD, a]}":              "P17.unhealthy warn 6 another one is started",
		"healthcheck: {test: [CMD, a], start_interval: 1s}":                            "P17.start-interval warn 6 engines before 25.0",
		"mem_reservation: 1g":                                                          "P17.reservations warn 6 waits until a node",
		"environment: {FORMAT: \"{{ .Name }}\"}":                                       "P17.template fail 6 the variable FORMAT has {{",
		"hostname: \"{{.Other}}\"":                                                     "P17.template fail 6 the host name has {{",
		"ports: [\"80:80\"]":                                                           "P17.ingress warn 6 80 answers on every node",
		"ports: [\"127.0.0.1:80:80\"]":                                                 "P17.host-ip fail 6 not on 127.0.0.1 only",
		"ports: [{target: 80, published: 80-90}]":                                      "P17.port-range fail 6 no port from a range",
		"ports: [{target: 80, published: \"80\", mode: host}]":                         "P17.host-port warn 6 80 answers only on the nodes",
		"volumes: [/data]":                                                             "P17.anonymous warn 6 a new, empty one",
		"volumes: [\"/srv/data:/data\"]":                                               "P17.bind fail 6 what it writes there stays",
		"volumes: [\"/srv/data:/data:ro\"]":                                            "P17.bind warn 6 not made where it is missing",
		"volumes: [\"/var/run/docker.sock:/docker.sock\"]":                             "P17.bind warn 6 each node that may run a task",
		"volumes: [\"/srv/data:/data:z\"]":                                             "P17.selinux warn 6 not labelled",
		"volumes: [{type: image, source: a, target: /a}]":                              "P17.image-volume fail 6 engines before 28.0",
		"volumes: [\"data:/data\"]":                                                    "P17.volume fail 6 nothing keeps the service there",
		"volumes: [{type: volume, source: data, target: /data, volume: {subpath: a}}]": "P17.subpath fail 6 the whole volume",
	} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			more := ""
			if strings.Contains(service, "data:/data") || strings.Contains(service, "source: data") {
				more = "volumes: {data: {}}"
			}
			st := load(t, fmt.Sprintf(quiet, "    "+service, more))
			name, rest, _ := strings.Cut(want, " ")
			outcome, rest, _ := strings.Cut(rest, " ")
			line, found, _ := strings.Cut(rest, " ")
			said := about(look(t, st), name)
			require.NotEmpty(t, said)
			assert.True(t, strings.HasPrefix(said[0], outcome+" compose.yaml:"+line+" "), said[0])
			assert.Contains(t, said[0], found)
		})
	}
}

// The two examples, whole: what a team that moves them is told.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]compose.LoadOptions{
		"quickstart": {Workspace: "../../../examples/quickstart", EnvFile: []byte("VERSION=v1\n")},
		"shikshasetu": {Workspace: "../../../examples/shikshasetu", Files: []string{"docker-compose.production.yml", "docker-compose.exporters.yml"},
			EnvFile: everyVariable(t, "../../../examples/shikshasetu/.env.production.example")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.StateDir = "/var/lib/shiksha"
			st, err := compose.Load(t.Context(), o)
			require.NoError(t, err)
			var text strings.Builder
			for _, r := range look(t, st).Results {
				fmt.Fprintf(&text, "%s %s\n    at %s: %s\n    %s\n    mend: %s\n", r.Outcome, r.Name, r.File, written(t, o.Workspace, r), r.Found, r.Hint)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *write {
				require.NoError(t, os.WriteFile(golden, []byte(text.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run with -write to make it")
			assert.Equal(t, string(want), text.String())
		})
	}
}

// written is the line of the file that a finding is about: its number would change with
// each line above it.
func written(t *testing.T, workspace string, r check.Result) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(workspace, r.File))
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	require.True(t, 1 <= r.Line && r.Line <= len(lines), "%s has no line %d", r.File, r.Line)
	return strings.TrimSpace(lines[r.Line-1])
}

// everyVariable sets each variable that a file of examples names.
func everyVariable(t *testing.T, path string) []byte {
	t.Helper()
	example, err := os.ReadFile(path)
	require.NoError(t, err)
	env := "VERSION=v1.0.0\n"
	for line := range strings.Lines(string(example)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			if strings.HasPrefix(value, "<") {
				value = "/srv/" + strings.ToLower(name)
			}
			env += name + "=" + value + "\n"
		}
	}
	return []byte(env)
}

// What needs more than one key to be seen.
func TestStacks(t *testing.T) {
	t.Parallel()
	const api = "services:\n  api:\n    image: example/api:v1\n    networks: [inner]\n"
	const inner = "\nnetworks:\n  inner: {driver_opts: {encrypted: \"true\"}}\n"
	const db = "  db:\n    image: example/db:v1\n    networks: [inner]\n    deploy: {restart_policy: {condition: any}}\n"
	const database = "services:\n  db:\n    image: postgres:16\n    networks: [inner]\n    volumes: [\"data:/data\"]\n"
	const asked = "\nx-shiksha: {engine: swarm}\n"
	const migrates = "    x-shiksha: {migrate: {command: [a]}}\n"
	const pinned = "    deploy: {restart_policy: {condition: any}, placement: {constraints: [node.labels.%s == true]}}\n"
	tests := map[string]struct {
		compose, name string
		files         []string
		want          []string
	}{
		"a task that ends comes back": {api + inner, "P17.restart", nil, []string{"warn compose.yaml:2 a task that ends is started again, whatever it ended with; on one host it stays down"}},
		"restart": {api + "    restart: unless-stopped\n" + inner, "P17.restart", nil,
			[]string{"warn compose.yaml:5 restart: unless-stopped becomes a new task after 5 s, perhaps on another node, without what the container has written"}},
		"restart on failure": {api + "    restart: on-failure:3\n" + inner, "P17.restart", nil,
			[]string{"warn compose.yaml:5 restart: on-failure:3 becomes a new task after 5 s, perhaps on another node, without what the container has written"}},
		"one that is ill and ends well": {api + "    restart: on-failure\n    healthcheck: {test: [CMD, a]}\n" + inner, "P17.stays-away", nil,
			[]string{"fail compose.yaml:6 a task that becomes unhealthy is stopped, and where the program then ends with 0 none takes its place: it did not fail"}},
		"a job ends": {api + "  web:\n    image: example/web:v1\n    networks: [inner]\n    restart: always\n    depends_on: {api: {condition: service_completed_successfully}}\n" + inner, "P17.restart", nil,
			[]string{"warn compose.yaml:8 restart: always becomes a new task after 5 s, perhaps on another node, without what the container has written"}},
		"order": {api + "    depends_on: [db]\n" + db + inner, "P17.depends-on", nil,
			[]string{"warn compose.yaml:5 a release keeps the order, a Swarm does not: when a node comes back, it starts whether db runs or not"}},
		"links": {api + "    links: [db]\n" + db + inner, "P17.links", nil, []string{"warn compose.yaml:5 links are left out, with the names they give"}},
		"another's network": {"services:\n  api:\n    image: example/api:v1\n    network_mode: service:db\n" + db + inner, "P17.network-mode", nil,
			[]string{"fail compose.yaml:4 network_mode is left out, and the task joins the stack's network"}},
		"another's volumes": {api + "    volumes_from: [db]\n" + db + inner, "P17.volumes-from", nil, []string{"fail compose.yaml:5 volumes of other services are left out"}},
		"a GPU": {api + "    deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}\n" + inner, "P17.gpu", nil,
			[]string{"fail compose.yaml:5 a task gets no device by reservations.devices"}},
		"a GPU for both engines": {api + "    deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}], generic_resources: [{discrete_resource_spec: {kind: GPU, value: 1}}]}}}\n" + inner, "P17.gpu", nil,
			[]string{"warn compose.yaml:5 reservations.devices is left out, and generic_resources chooses the node"}},
		"reserved": {api + "    deploy: {resources: {reservations: {memory: 1g}}}\n" + inner, "P17.reservations", nil,
			[]string{"warn compose.yaml:5 a task waits until a node has this much that no other task has reserved; one host starts it anyway"}},
		"on each node": {api + "    deploy: {mode: global}\n" + inner, "P17.global", nil, []string{"warn compose.yaml:5 each node has a task of it, where one host has one unit"}},
		"a gateway": {api + "    x-shiksha: {gateway: web, port: 80}\n  web: {image: \"nginx:1\", networks: [inner]}\n" + inner, "P17.gateway", nil,
			[]string{"warn compose.yaml:5 where the nodes' kernels have IPVS, api is one address that they balance: web sees one server, so its own choice, its retries and its counts of failures have nothing to choose from"}},
		"a gateway that is switched": {api + "    deploy: {endpoint_mode: dnsrr}\n    x-shiksha: {gateway: web, port: 80}\n  web: {image: \"nginx:1\", networks: [inner]}\n" + inner, "P17.gateway", nil, nil},
		"long requests": {api + "    stop_grace_period: 20s\n    x-shiksha: {gateway: web, port: 80, drain: 10m}\n  web: {image: \"nginx:1\", networks: [inner]}\n" + inner, "P17.drain", nil,
			[]string{"warn compose.yaml:6 a Swarm waits for no gateway: two seconds after an old task has got its last request it is told to stop, and what takes longer than 20s is cut off"}},
		"long requests that may end": {api + "    stop_grace_period: 10m\n    x-shiksha: {gateway: web, port: 80, drain: 10m}\n  web: {image: \"nginx:1\", networks: [inner]}\n" + inner, "P17.drain", nil, nil},
		"a database that is dumped": {api + "    x-shiksha: {backups: {}}\n" + inner, "P17.backups", nil,
			[]string{"warn compose.yaml:5 dumps are made and kept on the node that the database runs on, which is reached through the manager: on another node it begins without them"}},
		"reload": {api + "    volumes: [\"./a.conf:/a.conf:ro\"]\n    x-shiksha: {reload: nginx}\n" + inner, "P17.reload", []string{"a.conf", "a"},
			[]string{"warn compose.yaml:6 a task keeps the files that it was started with: changed ones replace it, and nothing is reloaded"}},
		"a worker": {api + "    x-shiksha: {drain: {stop: [a], idle: [b]}}\n" + inner, "P17.drain", nil,
			[]string{"warn compose.yaml:5 only a release lets a worker finish: where its node is drained, a Swarm stops it without asking whether it is idle"}},
		"a folder": {api + "    volumes: [\"./conf:/etc/conf:ro\"]\n" + inner, "P17.folder", []string{"conf/a", "a"},
			[]string{"warn compose.yaml:5 conf is not mounted as a folder: each of its files stands at its place, beside those that the image has in /etc/conf"}},
		"an empty file": {api + "    volumes: [\"./conf:/etc/conf:ro\"]\n" + inner, "P17.empty", []string{"conf/a", "a", "conf/keep", ""},
			[]string{"fail compose.yaml:5 conf/keep is empty, and a Swarm keeps no empty file"}},
		"a large file": {api + "    volumes: [\"./a.bin:/a.bin:ro\"]\n" + inner, "P17.size", []string{"a.bin", strings.Repeat("a", 600<<10)},
			[]string{"fail compose.yaml:5 a.bin is 600 KiB, and a Swarm keeps less than 500 KiB of a file"}},
		"an empty config": {api + "    configs: [a]\nconfigs: {a: {content: \"\"}}" + inner, "P17.empty", nil,
			[]string{"fail compose.yaml:5 config a is empty, and a Swarm keeps no empty file"}},
		"a large config": {api + "    configs: [a]\nconfigs: {a: {content: " + strings.Repeat("a", 600<<10) + "}}" + inner, "P17.size", nil,
			[]string{"fail compose.yaml:5 config a is 600 KiB, and a Swarm keeps less than 500 KiB of a file"}},
		"a volume that is kept on a node": {api + "    volumes: [\"data:/data\"]\n" + fmt.Sprintf(pinned, "data") + "volumes: {data: {}}" + inner, "P17.volume", nil, nil},
		"a role keeps nothing anywhere": {api + "    volumes: [\"data:/data\"]\n    deploy: {placement: {constraints: [node.role==manager]}}\nvolumes: {data: {}}" + inner, "P17.volume", nil,
			[]string{"fail compose.yaml:5 the volume data is on one node, and nothing keeps the service there: on another it begins empty"}},
		"a volume from elsewhere": {api + "    volumes: [\"data:/data\"]\nvolumes: {data: {driver_opts: {type: nfs, o: addr=nas, device: \":/data\"}}}" + inner, "P17.volume", nil, nil},
		"a volume of a plugin":    {api + "    volumes: [\"data:/data\"]\nvolumes: {data: {driver: rexray}}" + inner, "P17.volume", nil, nil},
		"a volume on each node": {api + "    volumes: [\"data:/data\"]\n    deploy: {mode: global}\nvolumes: {data: {}}" + inner, "P17.volume", nil,
			[]string{"warn compose.yaml:5 each node has a volume data of its own"}},
		"a volume for two that may part": {api + "    volumes: [\"data:/data\"]\n" + fmt.Sprintf(pinned, "a") + "  web:\n    image: example/web:v1\n    volumes: [\"data:/data:ro\"]\n" + fmt.Sprintf(pinned, "b") +
			"volumes:\n  data: {}" + inner, "P17.volume", nil, []string{"fail compose.yaml:12 api, web share the volume data, and their constraints may lead to different nodes"}},
		"a path of a chosen node": {api + "    volumes: [\"/srv/data:/data\"]\n" + fmt.Sprintf(pinned, "data") + inner, "P17.bind", nil, nil},
		"an update that waits for a port": {api + "    ports: [{target: 80, published: \"80\", mode: host}]\n    deploy: {update_config: {order: start-first}}\n" + inner, "P17.start-first", nil,
			[]string{"warn compose.yaml:6 a new task waits for a node whose port 80 is free: with a task on each node there is none, and the update stands still"}},
		"two databases on one volume": {database + "    deploy: {update_config: {order: start-first}}\nvolumes: {data: {}}" + inner, "P17.start-first", nil,
			[]string{"fail compose.yaml:6 a Swarm starts the new task beside the old one, and two databases at once damage shop_data; one host stops the old one first"}},
		"two databases on the way back": {database + "    deploy: {rollback_config: {order: start-first}}\nvolumes: {data: {}}" + inner, "P17.start-first", nil,
			[]string{"fail compose.yaml:6 a Swarm starts the new task beside the old one, and two databases at once damage shop_data; one host stops the old one first"}},
		"one database after the other":  {database + "    deploy: {update_config: {order: stop-first}}\nvolumes: {data: {}}" + inner, "P17.start-first", nil, nil},
		"a cache has nothing to damage": {api + "    deploy: {update_config: {order: start-first}}\n    x-shiksha: {backups: {}}\n" + inner, "P17.start-first", nil, nil},
		"an application's own volume":   {api + "    volumes: [\"data:/data\"]\n    deploy: {update_config: {order: start-first}}\nvolumes: {data: {}}" + inner, "P17.start-first", nil, nil},
		"a fixed address": {"services:\n  api:\n    image: example/api:v1\n    networks: {inner: {ipv4_address: 10.9.0.5, priority: 5}}\nnetworks:\n  inner: {ipam: {config: [{subnet: 10.9.0.0/24}]}}\n", "P17.address", nil,
			[]string{"fail compose.yaml:4 a task gets any address of inner, not the one that is written"}},
		"a chosen interface": {"services:\n  api:\n    image: example/api:v1\n    networks: {inner: {priority: 5}}\n" + inner, "P17.attachment", nil,
			[]string{"warn compose.yaml:4 the order, names and options of network interfaces are left out"}},
		"a bridge": {api + "networks:\n  inner: {driver: bridge}\n", "P17.network-driver", nil, []string{"fail compose.yaml:6 tasks cannot join a network of the driver bridge"}},
		"somebody else's network": {api + "networks:\n  inner: {external: true, name: shared}\n", "P17.external-network", nil,
			[]string{"warn compose.yaml:6 shared has to be a network of the Swarm, not one of a single host"}},
		"between the nodes": {api + "networks:\n  inner: {enable_ipv6: true}\n", "P17.encryption", nil,
			[]string{"warn compose.yaml:6 what services say to each other on inner goes from node to node as it is; on one host it never leaves it"}},
		"who hands out addresses": {api + "networks:\n  inner: {ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.9}]}}\n", "P17.ipam", nil,
			[]string{"warn compose.yaml:6 of its addresses only the subnet is kept: the managers hand them out on all nodes"}},
		"a migration with a secret of the Swarm": {api + "    secrets: [a]\n" + migrates + "secrets: {a: {external: true}}" + inner + asked, "P17.migrate", nil,
			[]string{"fail compose.yaml:5 its migration runs in a container of the manager, which cannot have the external secrets.a"}},
		"a migration that nothing is written into": {api + "    read_only: true\n    configs: [a]\n" + migrates + "configs: {a: {content: b}}" + inner + asked, "P17.migrate", nil,
			[]string{"fail compose.yaml:6 its migration runs in a container of the manager, and the content of configs.a cannot be put into a read-only one"}},
		"a migration on an overlay": {api + migrates + "networks:\n  inner: {driver: overlay}\n", "P17.migrate", nil,
			[]string{"fail compose.yaml:4 its migration runs in a container of the manager, which cannot join inner: that is not attachable"}},
		"a migration that has it all":     {api + "    configs: [a, b]\n" + migrates + "configs: {a: {content: b}, b: {file: b}}\nnetworks:\n  inner: {driver: overlay, attachable: true}\n", "P17.migrate", []string{"b", "b"}, nil},
		"a mounted file is no content":    {api + "    read_only: true\n    configs: [b]\n" + migrates + "configs: {b: {file: b}}" + inner, "P17.migrate", []string{"b", "b"}, nil},
		"what does not migrate":           {api + "    secrets: [a]\nsecrets: {a: {external: true}}\nnetworks:\n  inner: {driver: overlay}\n" + asked, "P17.migrate", nil, nil},
		"IPv6":                            {api + "networks:\n  inner: {enable_ipv6: true}\n", "P17.ipv6", nil, []string{"warn compose.yaml:6 virtual addresses and ports of the Swarm are IPv4 only"}},
		"a template that is meant for it": {api + "    hostname: \"api-{{.Node.Hostname}}\"\n" + inner, "P17.template", nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, about(look(t, load(t, test.compose, test.files...)), test.name))
		})
	}
}

// Keys that mean the same on a Swarm, and why.
var alike = map[string]string{
	"attach": "is for the terminal of docker compose up", "develop": "is for docker compose watch", "profiles": "is read before",
	"extends": "is read before", "env_file": "is read before", "label_file": "is read before", "scale": "is the number of replicas",
	"provider": "is refused for every engine", "pre_start": "is refused for every engine", "use_api_socket": "is refused for every engine", "models": "is refused for every engine", "net": "is of the first file format",
	"dockerfile": "is of the first file format", "log_driver": "is of the first file format", "log_opt": "is of the first file format",
	"volume_driver": "is of the second file format", "expose": "opens nothing: those on one network reach every port",
	"cap_add": "is kept", "cap_drop": "is kept", "command": "is kept", "configs": "are objects of the Swarm", "credential_spec": "is for Windows",
	"dns": "is kept", "dns_search": "is kept", "entrypoint": "is kept", "extra_hosts": "is kept", "image": "is kept", "init": "is kept",
	"isolation": "is for Windows", "labels": "is kept", "logging": "is kept", "networks": "see TestNetworks", "oom_score_adj": "is kept",
	"read_only": "is kept", "secrets": "are objects of the Swarm", "stdin_open": "is kept", "stop_grace_period": "is kept, with the same default",
	"stop_signal": "is kept", "sysctls": "is kept", "tty": "is kept", "ulimits": "is kept", "user": "is kept", "working_dir": "is kept",
	"cpus": "is the limit below deploy", "mem_limit": "is the limit below deploy", "pids_limit": "is the limit below deploy",
	"pull_refresh_after": "is not reached: every image is pinned before", "name": "is the service's",
}

// spoken are keys that findings speak of by other means than a row of keys or of
// TestKeys.
var spoken = []string{"deploy", "depends_on", "links", "network_mode", "restart", "volumes_from"}

// No key of a service is forgotten: it is the same on a Swarm, or a test of this
// package sees a finding about it.
func TestEveryKeyIsSpokenOf(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("swarm_test.go")
	require.NoError(t, err)
	var names func(reflect.Type) []string
	names = func(of reflect.Type) (out []string) {
		for i := range of.NumField() {
			field := of.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			switch {
			case field.Anonymous:
				out = append(out, names(field.Type)...)
			case name != "-" && !strings.HasPrefix(name, "#"):
				out = append(out, name)
			}
		}
		return out
	}
	all := names(reflect.TypeFor[types.ServiceConfig]())
	require.Greater(t, len(all), 90)
	for _, name := range all {
		tested := strings.Contains(string(code), "\""+name+":")
		assert.True(t, alike[name] != "" || tested || slices.Contains(spoken, name), "what does a Swarm do with %s?", name)
	}
}
