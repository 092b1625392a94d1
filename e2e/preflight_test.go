package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/ports"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/report"
)

// watchedStack has the three whose configuration only they themselves can judge.
const watchedStack = `
services:
  gate:
    image: nginx:1.22
    pull_policy: never
    volumes: ["./gate.conf:/etc/nginx/nginx.conf:ro"]
    deploy: { update_config: { monitor: 0s } }
    x-shiksha: { reload: nginx }
  prometheus:
    image: %[1]s/prometheus:lab
    pull_policy: never
    entrypoint: [prometheus]
    command: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.path=/tmp/data]
    volumes: ["./prometheus.yml:/etc/prometheus/prometheus.yml:ro", "./rules.yml:/etc/prometheus/rules.yml:ro"]
    deploy: { update_config: { monitor: 0s } }
  alertmanager:
    image: %[1]s/alertmanager:lab
    pull_policy: never
    entrypoint: [prometheus-alertmanager]
    command: [--config.file=/etc/alertmanager/alertmanager.yml, --storage.path=/tmp/data, --cluster.listen-address=]
    volumes: ["./alertmanager.yml:/etc/alertmanager/alertmanager.yml:ro"]
    deploy: { update_config: { monitor: 0s } }
`

// What a program refuses is refused before anything changes, with the file and the
// line; and names resolve of what does not run yet.
func TestPreflight_EachImageReadsWhatItIsAboutToGet(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	for _, name := range []string{"prometheus", "alertmanager"} {
		ref := f.Project + "/" + name + ":lab"
		trapDocker(t, f, "tag", lab.ServicesImage, ref)
		t.Cleanup(func() { _ = f.Forget(context.WithoutCancel(t.Context()), ref) })
	}
	trapWrite(t, f, "compose.yaml", fmt.Sprintf(watchedStack, f.Project))
	const gate = "events {}\nhttp {\n  upstream p { server prometheus:9090; }\n  server { listen 8080; location / { proxy_pass http://p; } }\n}\n"
	trapWrite(t, f, "gate.conf", gate)
	trapWrite(t, f, "prometheus.yml", "rule_files: [rules.yml]\nscrape_configs:\n  - job_name: self\n    static_configs: [{targets: ['prometheus:9090']}]\n")
	trapWrite(t, f, "rules.yml", "groups:\n  - name: a\n    rules:\n      - alert: Down\n        expr: up == 0\n        labels: {severity: page}\n")
	trapWrite(t, f, "alertmanager.yml", "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")

	first := f.Deploy("v1", 0)
	for _, good := range []string{"gate: nginx -t in its image", "prometheus: promtool check config in its image", "alertmanager: amtool check-config in its image"} {
		assert.Contains(t, first.Stdout+first.Stderr, good)
	}
	before := f.MustUnits()
	for _, c := range []struct{ name, file, bad, says string }{
		{"nginx", "gate.conf", strings.Replace(gate, "  server {", "  gzipp on;\n  server {", 1), "gate.conf:4: "},
		{"promtool", "prometheus.yml", "scrape_configs:\n  - job_name: self\n    scrape_intervall: 5s\n", "scrape_intervall"},
		{"amtool", "alertmanager.yml", "route: {receiver: nobody, group_wait: soon}\nreceivers: [{name: nobody}]\n", "soon"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trapWrite(t, f, c.file, c.bad)
			refused := f.Deploy("v2", 2)
			assert.Contains(t, refused.Stderr, c.says)
			assert.Contains(t, refused.Stderr, "P0")
			assert.Equal(t, before, f.MustUnits(), "nothing was changed")
		})
		trapWrite(t, f, "gate.conf", gate)
		trapWrite(t, f, "prometheus.yml", "rule_files: [rules.yml]\nscrape_configs: []\n")
		trapWrite(t, f, "alertmanager.yml", "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
	}
	var outcomes []string
	for _, p := range history(t, f) {
		outcomes = append(outcomes, p.Outcome)
	}
	assert.Equal(t, []string{"refused", "refused", "refused", "verified"}, outcomes, "the host knows that they changed nothing")
	t.Run("drift", func(t *testing.T) {
		made := trapDocker(t, f, "run", "--detach", "--label", "com.docker.compose.project="+f.Project, "--label", "com.docker.compose.service=alertmanager",
			"--label", "com.docker.compose.config-hash=by-hand", "--label", "com.docker.compose.container-number=2", "--label", "com.docker.compose.oneoff=False", "nginx:1.22")
		planned := f.Shiksha("plan", "--version", "v3")
		assert.Zero(t, planned.Exit)
		assert.Regexp(t, `drift: \S+ was made with another configuration`, planned.Stdout)
		refused := f.Deploy("v3", 2)
		assert.Contains(t, refused.Stderr, "changed on the host by hand since the last release")
		assert.Contains(t, f.MustUnits()["alertmanager"], made, "nothing was changed")
		f.Deploy("v3", 0, "--adopt")
		assert.NotContains(t, f.MustUnits()["alertmanager"], made)
	})
	left := trapDocker(t, f, "ps", "-aq", "--filter", "label=com.docker.compose.project="+f.Project, "--filter", "label=io.shiksha.task")
	assert.Empty(t, left, "no trial is left behind")
}

// soloService holds a port of the host, so it is away while it is replaced. It needs
// some seconds to start.
const soloService = `
  solo:
    image: nginx:1.22
    pull_policy: never
    environment: { VERSION: "${VERSION}" }
    ports: ["${SOLO_PORT}:8000"]
    configs: [{ source: site, target: /etc/nginx/nginx.conf }]
    command: [sh, -c, "sleep 4; exec nginx -g 'daemon off;'"]
    stop_grace_period: 1s
    healthcheck:
      test: [CMD, bash, -c, "exec 3<>/dev/tcp/127.0.0.1/8000"]
      interval: 1s
      timeout: 5s
      retries: 60
    deploy: { update_config: { monitor: 1s } }
networks:
`

// Services of which the plan says that users notice nothing lose no request; one that
// it says is away for about n seconds is away for half to double that.
func TestPlan_PredictsWhatUsersNotice(t *testing.T) {
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml", "\nnetworks:\n", soloService)
	port, err := ports.Free()
	require.NoError(t, err)
	trapVariables(t, f, fmt.Sprintf("SOLO_PORT=%d", port))
	f.Deploy("p1", 0)
	for _, version := range []string{"p2", "p3"} {
		planned := predicted(t, f, version)
		assert.Empty(t, planned["app"].Interruption)
		assert.Zero(t, planned["app"].InterruptionSeconds)
		assert.Contains(t, planned["solo"].Interruption, "about ")
		assert.Contains(t, planned["solo"].Interruption, "holds port")
		n := planned["solo"].InterruptionSeconds
		require.Greater(t, n, 2.0, "from the record of its last start")

		balanced := trapProbe(t, f, "/")
		alone, err := probe.Start(t.Context(), probe.Config{URL: fmt.Sprintf("http://127.0.0.1:%d/", port), Rate: 40, Timeout: time.Second})
		require.NoError(t, err)
		f.Deploy(version, 0)
		gap := alone.Stop().LongestGap.Seconds()
		trapLossless(t, balanced.Stop())
		t.Logf("%s: predicted about %.1f s, was %.1f s", version, n, gap)
		assert.GreaterOrEqual(t, gap, n/2)
		assert.LessOrEqual(t, gap, n*2)
	}
}

// predicted is what a plan says, by service.
func predicted(t *testing.T, f *lab.Fixture, version string) map[string]report.Service {
	t.Helper()
	result := f.Shiksha("plan", "--version", version, "--json")
	require.Zero(t, result.Exit, result.Stderr)
	var told report.Release
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &told))
	out := map[string]report.Service{}
	for _, s := range told.Services {
		out[s.Name] = s
	}
	return out
}
