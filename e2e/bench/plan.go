package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/shiksha/actions/e2e/lab"
)

// The most that a plan and all of a preflight may take, in milliseconds.
const (
	planLimit      = 2_000
	preflightLimit = 20_000
)

// watchers are the services whose images read their own configuration.
var watchers = []string{"nginx", "prometheus", "alertmanager"}

// foresee measures what is looked at before a release of a stack of 15 units that
// runs, everything of which is to change; nothing has to be pulled.
func foresee(ctx context.Context, b *bench) ([]row, error) {
	p, err := b.fifteen(ctx)
	if err != nil {
		return nil, err
	}
	b.tell("bringing 15 units up")
	release := 0
	next := func() { release++; p.version = fmt.Sprintf("v%d", release) }
	next()
	if _, err := b.deploy(ctx, p, verified); err != nil {
		return nil, err
	}
	runs, err := b.rounds(ctx, "plan and preflight of 15 units",
		func(ctx context.Context) (measured, error) {
			next()
			return b.deploy(ctx, p, planned, "--dry-run")
		},
		func(ctx context.Context) (measured, error) { return b.preflight(ctx, p) })
	if err != nil {
		return nil, err
	}
	return []row{
		{Name: "plan of 15 running units", Unit: "ms", Ours: column(runs[0], took), Target: target{Of: "value", Limit: planLimit, Below: true}},
		{Name: "preflight of 15 units, nothing to pull", Unit: "ms", Ours: column(runs[1], took), Target: target{Of: "value", Limit: preflightLimit, Below: true}},
	}, nil
}

// preflight measures its three parts one after the other: without a host; on the host,
// which a plan is; and in the images, as a release of the watchers reports it.
func (b *bench) preflight(ctx context.Context, p *project) (measured, error) {
	cmd, err := b.lab.Command(ctx, p.dir, nil, "preflight", "--project", p.name, "--env-file", varsFile, "--version", p.version)
	if err != nil {
		return measured{}, err
	}
	_, static, err := b.measure(ctx, cmd)
	if err != nil {
		return measured{}, err
	}
	onHost, err := b.deploy(ctx, p, planned, "--dry-run")
	if err != nil {
		return measured{}, err
	}
	released, err := b.deploy(ctx, p, verified, "--services", strings.Join(watchers, ","))
	if err == nil && released.try == 0 {
		err = fmt.Errorf("no image read its configuration")
	}
	return measured{took: static.took + onHost.took + released.try}, err
}

// fifteen writes a stack of 12 services and 15 units.
func (b *bench) fifteen(ctx context.Context) (*project, error) {
	image, err := b.publishSleeper(ctx)
	if err != nil {
		return nil, err
	}
	p := &project{name: "bench-fifteen", dir: filepath.Join(b.dir, "bench-fifteen"), files: []string{"compose.yaml"}, vars: []string{"LEVEL=info"}}
	if err := b.fresh(ctx, p.name); err != nil {
		return nil, err
	}
	for _, name := range watchers[1:] {
		ref := "bench/" + name + ":lab"
		b.images = append(b.images, ref)
		if _, err := b.lab.Docker(ctx, "tag", lab.ServicesImage, ref); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"compose.yaml":     fifteenStack(image),
		varsFile:           strings.Join(p.vars, "\n") + "\n",
		"nginx.conf":       "events {}\nhttp { upstream api { server api:80; } server { listen 8080; location / { proxy_pass http://api; } } }\n",
		"prometheus.yml":   "rule_files: [rules.yml]\nscrape_configs:\n  - job_name: self\n    static_configs: [{targets: ['prometheus:9090']}]\n",
		"rules.yml":        "groups:\n  - name: a\n    rules:\n      - alert: Down\n        expr: up == 0\n",
		"alertmanager.yml": "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func fifteenStack(image string) string {
	var out strings.Builder
	out.WriteString("services:\n")
	service := func(name, image, rest string, replicas int) {
		fmt.Fprintf(&out, "  %s:\n    image: %s\n    environment: {VERSION: \"${VERSION}\"}\n    stop_grace_period: 2s\n    deploy: {replicas: %d, update_config: {monitor: 0s}}\n%s",
			name, image, replicas, rest)
	}
	service("nginx", "nginx:1.22", "    pull_policy: never\n    volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\"]\n    depends_on: [api]\n", 1)
	service("prometheus", "bench/prometheus:lab", "    pull_policy: never\n    entrypoint: [prometheus]\n    command: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.path=/tmp/data]\n"+
		"    volumes: [\"./prometheus.yml:/etc/prometheus/prometheus.yml:ro\", \"./rules.yml:/etc/prometheus/rules.yml:ro\"]\n", 1)
	service("alertmanager", "bench/alertmanager:lab", "    pull_policy: never\n    entrypoint: [prometheus-alertmanager]\n    command: [--config.file=/etc/alertmanager/alertmanager.yml, --storage.path=/tmp/data, --cluster.listen-address=]\n"+
		"    volumes: [\"./alertmanager.yml:/etc/alertmanager/alertmanager.yml:ro\"]\n", 1)
	service("api", image, "", 3)
	service("worker", image, "", 2)
	for n := range 7 {
		service(fmt.Sprintf("s%d", n+1), image, "", 1)
	}
	return out.String()
}
