package image_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/image"
	"github.com/shiksha/actions/pkg/stack"
)

// realStack has the three whose configuration only they themselves can judge, on
// networks and volumes that the host does not have.
const realStack = `
services:
  gate:
    image: nginx:1.22
    volumes: ["./gate.conf:/etc/nginx/nginx.conf:ro", "cache:/var/cache/nginx"]
    networks: {edge: {ipv4_address: 172.29.77.5}}
    deploy: {resources: {limits: {memory: 128M}}}
  api: {image: "nginx:1.22", entrypoint: [sleep, "9"], networks: {edge: {aliases: [backend]}}, deploy: {replicas: 2}}
  db: {image: "nginx:1.22", entrypoint: [sleep, "9"], networks: [inner]}
  prometheus:
    image: %[1]s/prometheus:lab
    volumes: ["./prometheus.yml:/etc/prometheus/prometheus.yml:ro", "./rules.yml:/etc/prometheus/rules.yml:ro"]
  alertmanager:
    image: %[1]s/alertmanager:lab
    volumes: ["./alertmanager.yml:/etc/alertmanager/alertmanager.yml:ro"]
networks: {edge: {ipam: {config: [{subnet: 172.29.77.0/24}]}}, inner: {}}
volumes: {cache: {}}
`

// On a real engine: every program reads what it is about to get, finds the names of
// services that do not run yet, and says where it is wrong.
func TestRealImagesReadTheirConfiguration(t *testing.T) {
	t.Parallel()
	project := fmt.Sprintf("preflighttest-%d", os.Getpid())
	docker := func(args ...string) string {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	for _, name := range []string{"prometheus", "alertmanager"} {
		docker("tag", lab.ServicesImage, project+"/"+name+":lab")
		t.Cleanup(func() { docker("rmi", "--no-prune", project+"/"+name+":lab") })
	}
	api, err := client.New(client.FromEnv)
	require.NoError(t, err)
	e, err := engine.New(api, event.Discard)
	require.NoError(t, err)
	state, err := os.MkdirTemp("/var/lib", "shiksha-preflighttest-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(state) })

	good := map[string]string{
		"gate.conf":        "events {}\nhttp {\n  upstream u { server api:80; server backend:80; server " + project + "-api-2:80; }\n  server { listen 8080; location / { proxy_pass http://u; } }\n}\n",
		"prometheus.yml":   "rule_files: [rules.yml]\nscrape_configs:\n  - job_name: self\n    static_configs: [{targets: ['prometheus:9090']}]\n",
		"rules.yml":        "groups:\n  - name: a\n    rules:\n      - alert: Down\n        expr: up == 0\n",
		"alertmanager.yml": "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
	}
	look := func(edit map[string]string) map[string]check.Result {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), fmt.Appendf(nil, realStack, project), 0o600))
		for name, text := range good {
			if edit[name] != "" {
				text = edit[name]
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: project, StateDir: state})
		require.NoError(t, err)
		images := map[string]string{}
		for name, svc := range st.Services {
			images[name] = svc.Image
			for _, file := range svc.Files {
				require.NoError(t, os.MkdirAll(filepath.Dir(file.HostPath), 0o755))
				data, err := os.ReadFile(file.Entries[0].Source)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(file.HostPath, data, 0o644))
			}
		}
		require.NoError(t, st.Pin(images))
		found, err := image.Look(t.Context(), st, plan.Make(plan.Input{Desired: st, Observed: stack.Observed{Project: project}}),
			image.Host{Runner: e, Kept: func(f stack.File) string { return f.HostPath }})
		require.NoError(t, err)
		out := map[string]check.Result{}
		for _, r := range found {
			if _, taken := out[strings.Fields(r.Name)[0]]; !taken || r.Where == "gate" {
				out[strings.Fields(r.Name)[0]] = r
			}
		}
		return out
	}
	for name, r := range look(nil) {
		if r.Outcome != check.Skip {
			assert.Equal(t, check.Pass, r.Outcome, "%s: %s", name, r.Found)
		}
	}
	bad := look(map[string]string{
		"gate.conf":        "events {}\nhttp {\n  upstream u { server db:5432; }\n}\n",
		"rules.yml":        "groups:\n  - name: a\n    rules:\n      - alert: Down\n        expr: up = 0\n",
		"alertmanager.yml": "route: {receiver: nobody, group_wait: soon}\nreceivers: [{name: nobody}]\n",
	})
	assert.Equal(t, "fail gate.conf:3", fmt.Sprintf("%s %s:%d", bad["P05.test"].Outcome, bad["P05.test"].File, bad["P05.test"].Line), "%+v", bad["P05.test"])
	assert.Contains(t, bad["P05.test"].Found, `host not found in upstream "db:5432"`, "it is on another network")
	assert.Equal(t, check.Fail, bad["P07.promtool"].Outcome, "%+v", bad["P07.promtool"])
	assert.Equal(t, check.Fail, bad["P08.amtool"].Outcome, "%+v", bad["P08.amtool"])
	assert.Equal(t, "alertmanager.yml", bad["P08.amtool"].File, "%+v", bad["P08.amtool"])
	assert.Contains(t, bad["P08.amtool"].Found, `"soon"`)
	for _, kind := range []string{"ps -aq", "network ls -q", "volume ls -q"} {
		assert.Empty(t, docker(append(strings.Fields(kind), "--filter", "label=com.docker.compose.project="+project)...), "nothing is left of a trial")
	}
}
