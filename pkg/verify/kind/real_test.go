package kind

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
)

// services is made by e2e/lab from Debian's packages.
const services = "shiksha-lab/services:bookworm"

const password = "correct-horse-battery"

// parts is a stack of real parts that all steps of one test share.
type parts struct {
	t       *testing.T
	project string
	tls     string // folder of nginx's certificate
	ca      string
	folder  string // testdata/parts
	scene   *Scene
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	require.NoError(t, err, "docker %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

func newParts(t *testing.T) *parts {
	for _, image := range []string{services, "postgres:15", "nginx:1.22"} {
		require.NoError(t, exec.Command("docker", "image", "inspect", image).Run(), "run make test (it prepares %s)", image)
	}
	p := &parts{t: t, project: fmt.Sprintf("kindtest-%d", os.Getpid()), tls: t.TempDir()}
	api, err := client.New(client.FromEnv)
	require.NoError(t, err)
	t.Cleanup(func() { _ = api.Close() })
	units, err := engine.New(api, event.Discard)
	require.NoError(t, err)
	p.scene = &Scene{Ground: here{}, Units: units, Shell: units, Dial: (&net.Dialer{}).DialContext, Project: p.project}
	docker(t, "network", "create", p.project)
	t.Cleanup(func() { docker(t, "network", "rm", p.project) })
	p.certify("shop.example.org", 90)
	folder, err := filepath.Abs("testdata/parts")
	require.NoError(t, err)
	p.folder = folder
	files := []string{"--volume", folder + ":/parts:ro"}
	certificates := append([]string{"--volume", p.tls + ":/tls:ro"}, files...)
	secret := append([]string{"--env", "REDIS_PASSWORD=" + password, "--env", "WRONG=not-the-password", "--workdir", "/parts"}, files...)
	p.start("redis", secret, services, "redis-server", "--dir", "/tmp", "--requirepass", password, "--appendonly", "yes", "--maxmemory", "64mb", "--protected-mode", "no")
	p.start("db", []string{"--init", "--env", "POSTGRES_PASSWORD=" + password, "--env", "POSTGRES_USER=shop"}, "postgres:15", "postgres", "-c", "max_connections=20")
	p.start("worker", secret, services, "celery", "-A", "tasks", "worker", "-c", "1", "-Q", "default,ocr,celery", "--without-mingle", "--without-gossip")
	p.start("beat", secret, services, "sh", "-c", "celery -A tasks beat -s /tmp/beat --max-interval 1 & echo $! > /tmp/pid; wait")
	p.start("prometheus", files, services, "sh", "-c", "cp /parts/prometheus.yml /tmp && exec prometheus --config.file /tmp/prometheus.yml --storage.tsdb.path /tmp/data")
	p.alertmanager()
	p.start("nginx", append(certificates, "--volume", folder+"/nginx.conf:/etc/nginx/nginx.conf:ro"), "nginx:1.22")
	p.start("vllm", append(files, "--volume", folder+"/nvidia-smi:/usr/bin/nvidia-smi:ro"), services, "python3", "/parts/vllm.py")
	for _, replica := range []string{"1", "2"} {
		p.unit("api", replica, files, "nginx:1.22", serving("api")...)
	}
	p.start("frontend", files, "nginx:1.22", serving("frontend")...)
	p.start("gateway", certificates, "nginx:1.22", "sh", "-c", "cp /parts/gateway.conf /etc/nginx/nginx.conf && exec nginx -g 'daemon off;'")
	return p
}

func (p *parts) alertmanager() {
	p.t.Helper()
	p.start("alertmanager", []string{"--volume", p.folder + ":/parts:ro"}, services, "sh", "-c",
		"cp /parts/alertmanager.yml /tmp && exec prometheus-alertmanager --config.file /tmp/alertmanager.yml --storage.path /tmp/data")
}

// serving starts nginx on a copy of its files, which a test may change.
func serving(what string) []string {
	return []string{"sh", "-c", "cp -r /parts/" + what + "/. /srv && cp /parts/" + what + ".conf /etc/nginx/nginx.conf && exec nginx -g 'daemon off;'"}
}

// start starts the only unit of a service.
func (p *parts) start(service string, options []string, image string, command ...string) {
	p.t.Helper()
	p.unit(service, "1", options, image, command...)
}

// unit starts a unit of a service as Compose would label it.
func (p *parts) unit(service, number string, options []string, image string, command ...string) {
	p.t.Helper()
	name := p.project + "-" + service + "-" + number
	args := append([]string{"run", "--detach", "--name", name, "--network", p.project, "--network-alias", service,
		"--label", "com.docker.compose.project=" + p.project, "--label", "com.docker.compose.service=" + service,
		"--label", "com.docker.compose.container-number=" + number, "--label", "com.docker.compose.oneoff=False"}, options...)
	docker(p.t, append(append(args, image), command...)...)
	p.t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", "--volumes", name).Run() })
}

// inside runs a shell command in a unit.
func (p *parts) inside(service, script string) func(t *testing.T) {
	return func(t *testing.T) {
		docker(t, "exec", p.project+"-"+service+"-1", "sh", "-c", script)
	}
}

// certify gives nginx a certificate.
func (p *parts) certify(name string, days int) {
	pair, ca := certificate(p.t, name, time.Now().Add(time.Duration(days)*24*time.Hour))
	key, err := x509.MarshalECPrivateKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	require.NoError(p.t, err)
	p.ca = ca
	require.NoError(p.t, os.WriteFile(filepath.Join(p.tls, "cert.pem"), []byte(ca), 0o644))
	require.NoError(p.t, os.WriteFile(filepath.Join(p.tls, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}), 0o644))
}

// recertify swaps the certificate and reloads nginx.
func (p *parts) recertify(name string, days int) func(*testing.T) {
	return func(t *testing.T) {
		p.certify(name, days)
		for _, service := range []string{"nginx", "gateway"} {
			docker(t, "exec", p.project+"-"+service+"-1", "nginx", "-s", "reload")
		}
	}
}

// step looks at a part after something was done to it.
type step struct {
	name    string
	do      func(t *testing.T)
	check   func() string
	outcome check.Outcome
	found   string
}

// eventually looks until the outcome is the wanted one: parts take a moment to
// start, to reload, to scrape.
func (p *parts) eventually(t *testing.T, s step) {
	t.Helper()
	text := "- name: it\n  " + strings.ReplaceAll(s.check(), "\n", "\n  ")
	checks, err := ReadFile("verify.yml", []byte(text))
	require.NoError(t, err, text)
	var f Finding
	for end := time.Now().Add(60 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		sight := p.scene.Begin(ctx, "it")
		checks[0].Look(sight)
		cancel()
		f = sight.Finding
		if f.Outcome == s.outcome && strings.Contains(f.Found, s.found) || time.Now().After(end) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Equal(t, s.outcome, f.Outcome, "%+v", f)
	assert.Contains(t, f.Found, s.found)
	assert.NotContains(t, fmt.Sprintf("%+v", f), password, "a secret is shown nowhere")
}

// Each kind at the real part: sound, then broken in the way the check is for. What the
// thirteen do not look at is looked at after them.
func TestRealParts(t *testing.T) {
	p := newParts(t)
	t.Run("the thirteen", p.thirteen)
	is := func(text string) func() string { return func() string { return text } }
	const (
		redis = "redis: {service: redis, password: {env: REDIS_PASSWORD}, aof: true}"
		db    = "postgres: {service: db, queries: [{sql: SELECT count(*) FROM orders, expect: 3}]}"
		vllm  = "all:\n  - http: {service: vllm, port: 8000, path: /v1/models, capture: {model: '\"id\": \"([^\"]+)\"'}}\n" +
			"  - http: {service: vllm, port: 8000, path: /v1/completions, method: POST, body: '{\"model\": \"{{model}}\"}', expect: {json: {choices.#: 1}}}\n  - gpu: {service: vllm}"
		backup = "backup: {service: db, dir: /backups}"
	)
	for _, s := range []step{
		{"nginx serves headers on a 404", nil, func() string {
			return "http: {service: nginx, port: 443, scheme: https, host: shop.example.org, ca: " + fmt.Sprintf("%q", p.ca) + ", expect: {status: 404, headers: {Strict-Transport-Security: {contains: max-age}}}}"
		}, check.Pass, "404"},
		{"nginx limits", nil, is("rate-limit: {service: nginx, port: 80, path: /limited, requests: 30, rate: 500}"), check.Pass, "429"},
		{"nginx does not limit", nil, is("rate-limit: {service: nginx, port: 80, path: /, requests: 30, rate: 500}"), check.Fail, "30 with 200"},
		{"redis", nil, is(redis), check.Pass, ""},
		{"redis with another password", nil, is("redis: {service: redis, password: {env: WRONG}}"), check.Fail, "NOAUTH"},
		{"redis without a password", nil, is("redis: {service: redis}"), check.Fail, "NOAUTH"},
		{"postgres", p.inside("db", `until pg_isready -q -h 127.0.0.1 -U shop; do sleep 0.1; done; psql -q -U shop -c "CREATE TABLE IF NOT EXISTS orders(id int PRIMARY KEY)" -c "INSERT INTO orders SELECT generate_series(1,3)"`), is(db), check.Pass, ""},
		{"a dump", p.inside("db", `mkdir -p /backups && rm -f /backups/* && pg_dump -U shop -Fc -Z 0 -f /backups/a.dump shop`), is(backup), check.Pass, "bytes"},
		{"vllm, a stand-in", nil, is(vllm), check.Pass, "3 of 3"},
		{"vllm with another model", nil, is(strings.ReplaceAll(vllm, "{{model}}", "other")), check.Fail, "no such model"},
		{"logs", nil, is("logs: {services: [db], forbid: [PANIC], require: [ready to accept]}"), check.Pass, "lines"},
		{"a unit that died", func(t *testing.T) { docker(t, "kill", p.project+"-nginx-1") }, is("containers: {replicas: {nginx: 1}}"), check.Fail, "exited, exit code 137"},
	} {
		t.Run(s.name, func(t *testing.T) {
			if s.do != nil {
				s.do(t)
			}
			p.eventually(t, s)
		})
	}
}
