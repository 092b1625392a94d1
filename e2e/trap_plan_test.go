package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/peers"
)

// Compose would stop every unit of a changed network at once and connect it again
// without its aliases, and throw the data of a changed volume away. Both are
// refused, also when the same release would replace the units anyway.
func TestTrap_ChangedNetworkOrVolumeIsRefused(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml",
		"    deploy:\n", "    volumes: [\"data:/data\"]\n    deploy:\n",
		"networks:\n  edge: {}\n", "networks:\n  edge: {}\nvolumes:\n  data: {}\n")
	f.Deploy("v1", 0)
	before := f.MustUnits()
	trapDocker(t, f, "exec", before["app"][0], "sh", "-c", "echo precious > /data/mark")
	events := trapWatch(t, f, "")

	for kind, change := range map[string][2]string{
		"network": {"edge: {}", "edge: { driver_opts: { com.docker.network.driver.mtu: \"1400\" } }"},
		"volume":  {"data: {}", "data: { driver_opts: { type: tmpfs, device: tmpfs } }"},
	} {
		trapEdit(t, f, "compose.yaml", change[0], change[1])
		for _, version := range []string{"v1", "v2"} {
			plan := f.Shiksha("plan", "--version", version)
			assert.Equal(t, 0, plan.Exit, plan.Stderr)
			assert.Regexp(t, `refused: `+kind+` (edge|data) is defined differently on the host`, plan.Stdout)
			result := f.Deploy(version, 2)
			assert.Contains(t, result.Stderr, kind)
			assert.Contains(t, result.Stderr, "hint: ")
		}
		trapEdit(t, f, "compose.yaml", change[1], change[0])
	}

	assert.Empty(t, events.all(), "nothing was done to any unit")
	assert.Equal(t, before, f.MustUnits())
	assert.Len(t, trapAddresses(t, f, before["gate"][0], "app"), 3, "all units still have their alias")
	assert.Equal(t, "precious", strings.TrimSpace(trapDocker(t, f, "exec", before["app"][0], "cat", "/data/mark")))
	assert.Equal(t, "v1", lab.Serving(t.Context(), f.URL()))
	assert.Contains(t, f.Deploy("v1", 0).Stdout, "nothing to change")
}

// trapGates are gateways that the override cannot serve, beside one that it can.
const trapGates = `
services:
  ok: &app
    image: nginx:1.22
    pull_policy: never
    command: [sh, -c, "sleep 1 && touch /run/ready & exec nginx -g 'daemon off;'"]
    environment: { VERSION: "${VERSION}" }
    configs: [{ source: site, target: /etc/nginx/nginx.conf }]
    healthcheck: { test: [CMD, test, -e, /run/ready], interval: 1s, timeout: 5s, retries: 20 }
    deploy: { update_config: { order: start-first, monitor: 0s } }
    x-shiksha: { gateway: ok-gate, port: 80 }
  locked: { <<: *app, x-shiksha: { gateway: locked-gate, port: 80 } }
  asked: { <<: *app, x-shiksha: { gateway: asked-gate, port: 80 } }
  named: { <<: *app, x-shiksha: { gateway: named-gate, port: 80 } }
  ok-gate: &gate
    image: nginx:1.22
    pull_policy: never
    configs: [{ source: ok, target: /etc/nginx/nginx.conf }]
    deploy: { update_config: { monitor: 0s } }
    depends_on:
      ok: { condition: service_healthy }
      locked: { condition: service_healthy }
      asked: { condition: service_healthy }
      named: { condition: service_healthy }
  locked-gate:
    <<: *gate
    read_only: true
    tmpfs: [/run, /var/lib/nginx, /var/log/nginx]
    configs: []
    volumes: ["./locked.conf:/etc/nginx/nginx.conf:ro"]
  asked-gate: { <<: *gate, configs: [{ source: asked, target: /etc/nginx/nginx.conf }] }
  named-gate: { <<: *gate, configs: [{ source: named, target: /etc/nginx/nginx.conf }] }
configs:
  site:
    content: "events {} http { server { listen 80; return 200; } }"
  ok:
    content: "events {} http { upstream u { server ok:80 max_fails=0; } server { listen 80; location / { proxy_pass http://u; } } }"
  asked:
    content: "events {} http { resolver 127.0.0.11; server { listen 80; location / { set $$up asked; proxy_pass http://$$up:80; } } }"
  named:
    content: "events {} http { upstream u { server PROJECT-named-1:80; } server { listen 80; location / { proxy_pass http://u; } } }"
`

// What the override cannot serve is found before anything changes: a gateway that
// cannot be written, one that asks DNS at each request (nginx before 1.27.3 knows
// `resolve` in its paid edition only, so here by a variable), and one that names a
// container. A service behind a good gateway is not held up by them.
func TestTrap_GatewaysThatCannotBeMovedAreRefused(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", strings.ReplaceAll(trapGates, "PROJECT", f.Project))
	trapWrite(t, f, "locked.conf", "events {} http { upstream u { server locked:80; } server { listen 80; location / { proxy_pass http://u; } } }")
	f.Deploy("v1", 0)
	before := f.MustUnits()

	plan := f.Shiksha("plan", "--version", "v2").Stdout
	events := trapWatch(t, f, "")
	for service, words := range map[string]string{
		"locked": "its /etc/hosts cannot be written",
		"asked":  "through a variable",
		"named":  "by the name of one unit",
	} {
		assert.Regexp(t, `refused: .*`+words, plan)
		result := f.Deploy("v2", 2, "--services", service)
		assert.Contains(t, result.Stderr, words)
		assert.Contains(t, result.Stderr, "hint: ")
	}
	assert.NotRegexp(t, `refused: .*ok-gate`, plan)
	f.Deploy("v2", 2)
	assert.Empty(t, events.all(), "a refused release changed something")
	assert.Equal(t, before, f.MustUnits())

	f.Deploy("v2", 0, "--services", "ok")
	after := f.MustUnits()
	assert.NotEqual(t, before["ok"], after["ok"])
	assert.Equal(t, before["locked"], after["locked"])

	trapEdit(t, f, "compose.yaml", "resolver 127.0.0.11; server { listen 80; location / { set $$up asked; proxy_pass http://$$up:80; } }",
		"upstream u { server asked:80 max_fails=0; } server { listen 80; location / { proxy_pass http://u; } }")
	result := f.Deploy("v2", 2, "--services", "asked,asked-gate")
	assert.Contains(t, result.Stderr, "release asked-gate alone first", "the mend alone does not let it through: the gateway comes after")
	f.Deploy("v2", 0, "--services", "asked-gate")
	f.Deploy("v2", 0, "--services", "asked")
	assert.NotEqual(t, before["asked"], f.MustUnits()["asked"])
}

// trapMove has a service behind one of two gateways.
const trapMove = `
services:
  ok:
    image: nginx:1.22
    pull_policy: never
    command: [sh, -c, "sleep 1 && touch /run/ready & exec nginx -g 'daemon off;'"]
    environment: { VERSION: "${VERSION}" }
    configs: [{ source: site, target: /etc/nginx/nginx.conf }]
    healthcheck: { test: [CMD, test, -e, /run/ready], interval: 1s, timeout: 5s, retries: 20 }
    deploy: { update_config: { order: start-first, monitor: 0s } }
    x-shiksha: { gateway: web, port: 80 }
  web: &gate
    image: nginx:1.22
    pull_policy: never
    configs: [{ source: leads, target: /etc/nginx/nginx.conf }]
    deploy: { update_config: { monitor: 0s } }
    depends_on: { ok: { condition: service_healthy } }
  edge:
    <<: *gate
    configs: [{ source: idle, target: /etc/nginx/nginx.conf }]
configs:
  site:
    content: "events {} http { server { listen 80; return 200; } }"
  leads:
    content: "events {} http { upstream u { server ok:80 max_fails=0; } server { listen 80; location / { proxy_pass http://u; } } }"
  idle:
    content: "events {} http { server { listen 80; return 404; } }"
`

// A gateway that a service leaves and that sends requests to it yet would be left on units
// that are gone. The way that the refusal names ends with the other gateway.
func TestTrap_AServiceWhoseGatewayBecomesAnother(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", trapMove)
	f.Deploy("v1", 0)
	before := f.MustUnits()

	trapEdit(t, f, "compose.yaml", "gateway: web", "gateway: edge", "source: idle,", "source: leads,")
	f.Deploy("v1", 0, "--services", "edge")
	assert.Regexp(t, `refused: .*nobody would lead it to the new units`, f.Shiksha("plan", "--version", "v2").Stdout)
	result := f.Deploy("v2", 2)
	assert.Contains(t, result.Stderr, "gateway web, where ok was until now, runs and sends requests to it")
	assert.Equal(t, before["ok"], f.MustUnits()["ok"])

	trapEdit(t, f, "compose.yaml", "source: leads,", "source: idle,") // the first is web's
	f.Deploy("v1", 0, "--services", "web")
	f.Deploy("v2", 0)
	after := f.MustUnits()
	assert.NotEqual(t, before["ok"], after["ok"])
	served := func() {
		const get = `exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; head -n 1 <&3`
		assert.Contains(t, trapDocker(t, f, "exec", after["edge"][0], "bash", "-c", get), " 200 ")
	}
	served()

	// What is gone back to says web of ok, which was not released with it.
	result = f.Shiksha("rollback")
	assert.Equal(t, 0, result.Exit, result.Stderr)
	back := f.MustUnits()
	assert.NotEqual(t, after["ok"], back["ok"])
	assert.Equal(t, after["edge"], back["edge"])
	served()
}

// depends_on.restart takes the dependents along, each as a rollout of its own: a
// full up would stop all of them at once.
func TestTrap_DependentsThatRestartAreRolledThemselves(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml", "networks:\n  edge: {}\n", `  front:
    <<: *app
    environment: { A: b }
    configs: []
    depends_on: { app: { condition: service_healthy, restart: true } }
    deploy: { replicas: 2, update_config: { order: start-first, parallelism: 1, monitor: 0s } }
    x-shiksha: { drain: 1s }
  bystander:
    <<: *app
    environment: { A: b }
    configs: []
    depends_on: { app: { condition: service_healthy } }
    deploy: { update_config: { monitor: 0s } }
    x-shiksha: { drain: 1s }
networks:
  edge: {}
`)
	f.Deploy("v1", 0)
	before := f.MustUnits()
	events := trapWatch(t, f, "front")
	assert.Regexp(t, `front +surge 2, 1 a time +restarts with app \(depends_on.restart\)`, f.Shiksha("plan", "--version", "v2").Stdout)
	f.Deploy("v2", 0)

	after := f.MustUnits()
	assert.Len(t, after["front"], 2)
	for _, id := range before["front"] {
		assert.NotContains(t, after["front"], id, "a dependent that restarts with app was replaced")
	}
	assert.Equal(t, before["bystander"], after["bystander"])
	assert.Equal(t, before["gate"], after["gate"])
	running := 2
	for _, line := range events.all() {
		switch action, _, _ := strings.Cut(line, " "); action {
		case "start":
			running++
		case "die":
			running--
		}
		assert.GreaterOrEqual(t, running, 2, "units of front that run, after %q", line)
	}
	assert.Contains(t, f.Deploy("v2", 0).Stdout, "nothing to change", "once is enough")
}

// The hash of what has the network of another unit is of that unit: it is released as often as
// anything else, and made anew where that unit is, forwards and back.
func TestTrap_WhoSharesANetworkIsReleasedAgain(t *testing.T) {
	t.Parallel()
	const one = "\n    image: nginx:1.22\n    pull_policy: never\n    command: [sleep, infinity]\n    stop_signal: SIGKILL\n    deploy: { update_config: { monitor: 0s } }\n"
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", "services:\n  vpn:"+one+"    environment: { EXIT: here }\n"+
		"  torrent:"+one+"    environment: { VERSION: \"${VERSION}\" }\n    network_mode: service:vpn\n")
	f.Deploy("v1", 0)
	before := f.MustUnits()
	assert.Contains(t, f.Deploy("v1", 0).Stdout, "nothing to change")
	assert.Equal(t, before, f.MustUnits())

	f.Deploy("v2", 0)
	second := f.MustUnits()
	assert.Equal(t, before["vpn"], second["vpn"])
	assert.NotEqual(t, before["torrent"], second["torrent"])
	assert.Regexp(t, `torrent +1/1 +ok`, f.Shiksha("status").Stdout)

	trapEdit(t, f, "compose.yaml", "EXIT: here", "EXIT: there")
	assert.Regexp(t, `torrent +stop-first 1 +shares the network or volumes of vpn, which is replaced`, f.Shiksha("plan", "--version", "v2").Stdout)
	f.Deploy("v2", 0)
	third := f.MustUnits()
	for _, name := range []string{"vpn", "torrent"} {
		assert.Len(t, third[name], 1)
		assert.NotEqual(t, second[name], third[name])
	}
	assert.Contains(t, f.Deploy("v2", 0).Stdout, "nothing to change", "once is enough")

	rollback(t, f, 0)
	assert.NotEqual(t, third["torrent"], f.MustUnits()["torrent"])
	assert.Regexp(t, `torrent +1/1 +ok`, f.Shiksha("status").Stdout)
}

// Orphans are always listed and never removed unless that is asked for.
func TestTrap_OrphansAreRemovedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	const old = "  old:\n    image: nginx:1.22\n    deploy: { update_config: { monitor: 0s } }\n    stop_signal: SIGKILL\n    command: [sleep, infinity]\n"
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml", "\nnetworks:\n", "\n"+old+"networks:\n")
	f.Deploy("v1", 0)
	before := f.MustUnits()
	require.Len(t, before["old"], 1)

	trapEdit(t, f, "compose.yaml", old, "")
	assert.Regexp(t, `old +keep +not in the Compose file any more; --remove-orphans takes it away`, f.Shiksha("plan", "--version", "v1").Stdout)
	f.Deploy("v1", 0)
	f.Deploy("v2", 0)
	assert.Equal(t, before["old"], f.MustUnits()["old"], "nobody asked to remove it")

	assert.Regexp(t, `old +remove +not in the Compose file any more`, f.Shiksha("plan", "--version", "v2", "--remove-orphans").Stdout)
	f.Deploy("v2", 0, "--remove-orphans")
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	assert.Empty(t, all["old"])
	assert.Len(t, all["app"], 3)
}

// People go on using Compose on the host: it lists our units, and the labels it
// knows them by are those that it writes itself.
func TestTrap_ComposeKnowsOurUnits(t *testing.T) {
	t.Parallel()
	config, err := peers.Compose(t.Context(), os.Stderr)
	require.NoError(t, err)
	f := trapQuick(t, lab.Release{Version: "label-1"})
	f.Deploy("label-1", 0)

	theirs := f.Project + "-compose"
	t.Cleanup(func() { assert.NoError(t, f.RemoveProject(context.WithoutCancel(t.Context()), theirs)) })
	compose := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "docker", append([]string{"--config", config, "--host", "unix://" + lab.Socket, "compose"}, args...)...)
		cmd.Dir = f.Dir
		cmd.Env = append(os.Environ(), "VERSION=label-1")
		var words bytes.Buffer
		cmd.Stderr = &words
		out, err := cmd.Output()
		require.NoError(t, err, words.String())
		return string(out)
	}
	listed := map[string]int{}
	for line := range strings.Lines(compose("--project-name", f.Project, "ps", "--format", "json")) {
		var unit struct{ Service, State string }
		require.NoError(t, json.Unmarshal([]byte(line), &unit))
		assert.Equal(t, "running", unit.State)
		listed[unit.Service]++
	}
	assert.Equal(t, map[string]int{"api": 3, "nginx": 1, "postgres": 1, "worker": 1}, listed)

	compose("--project-name", theirs, "--env-file", lab.EnvFile, "create", "--pull", "never", "--no-build")
	for service := range listed {
		ours, own := trapLabels(t, f, f.Project, service), trapLabels(t, f, theirs, service)
		assert.NotEmpty(t, ours["com.docker.compose.config-hash"], service)
		for _, differs := range []string{"config-hash", "project", "project.working_dir", "project.config_files", "project.environment_file"} {
			delete(ours, "com.docker.compose."+differs)
			delete(own, "com.docker.compose."+differs)
		}
		assert.Equal(t, own, ours, "labels of %s", service)
	}
}

// trapLabels gives Compose's labels of the first unit of a service, and the same
// for both sides where their order is free.
func trapLabels(t *testing.T, f *lab.Fixture, project, service string) map[string]string {
	t.Helper()
	ids, err := f.Units(t.Context(), project, true)
	require.NoError(t, err)
	for _, id := range ids[service] {
		all := map[string]string{}
		require.NoError(t, json.Unmarshal([]byte(trapDocker(t, f, "inspect", "--format", "{{json .Config.Labels}}", id)), &all))
		if all["com.docker.compose.container-number"] != "1" {
			continue
		}
		labels := map[string]string{}
		for name, value := range all {
			if strings.HasPrefix(name, "com.docker.compose.") {
				parts := strings.Split(value, ",")
				slices.Sort(parts)
				labels[name] = strings.Join(parts, ",")
			}
		}
		return labels
	}
	require.Fail(t, "no first unit", "%s of %s: %v", service, project, ids)
	return nil
}
