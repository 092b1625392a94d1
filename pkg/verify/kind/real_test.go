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
	secret := []string{"--env", "REDIS_PASSWORD=" + password, "--env", "WRONG=not-the-password"}
	p.start("redis", secret, services, "redis-server", "--requirepass", password, "--appendonly", "yes", "--maxmemory", "64mb", "--protected-mode", "no")
	p.start("db", []string{"--env", "POSTGRES_PASSWORD=" + password, "--env", "POSTGRES_USER=shop"}, "postgres:15", "postgres")
	p.start("worker", append([]string{"--volume", folder + ":/parts:ro", "--workdir", "/parts"}, secret...), services,
		"celery", "-A", "tasks", "worker", "-c", "1", "-Q", "default,ocr,celery", "--without-mingle", "--without-gossip")
	p.start("prometheus", []string{"--volume", folder + ":/parts:ro"}, services, "sh", "-c", "cp /parts/prometheus.yml /tmp && exec prometheus --config.file /tmp/prometheus.yml --storage.tsdb.path /tmp/data")
	p.start("alertmanager", []string{"--volume", folder + ":/parts:ro"}, services, "sh", "-c", "cp /parts/alertmanager.yml /tmp && exec prometheus-alertmanager --config.file /tmp/alertmanager.yml --storage.path /tmp/data")
	p.start("nginx", []string{"--volume", folder + "/nginx.conf:/etc/nginx/nginx.conf:ro", "--volume", p.tls + ":/tls:ro"}, "nginx:1.22")
	p.start("vllm", []string{"--volume", folder + ":/parts:ro", "--volume", folder + "/nvidia-smi:/usr/bin/nvidia-smi:ro"}, services, "python3", "/parts/vllm.py")
	return p
}

// start starts a unit of a service as Compose would label it.
func (p *parts) start(service string, options []string, image string, command ...string) {
	p.t.Helper()
	name := p.project + "-" + service + "-1"
	args := append([]string{"run", "--detach", "--name", name, "--network", p.project, "--network-alias", service,
		"--label", "com.docker.compose.project=" + p.project, "--label", "com.docker.compose.service=" + service,
		"--label", "com.docker.compose.container-number=1", "--label", "com.docker.compose.oneoff=False"}, options...)
	docker(p.t, append(append(args, image), command...)...)
	p.t.Cleanup(func() { docker(p.t, "rm", "--force", "--volumes", name) })
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
		docker(t, "exec", p.project+"-nginx-1", "nginx", "-s", "reload")
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

// Each kind at the real part: sound, then broken in the way the check is for.
func TestRealParts(t *testing.T) {
	p := newParts(t)
	is := func(text string) func() string { return func() string { return text } }
	tls := func() string {
		return "tls: {service: nginx, port: 443, name: shop.example.org, ca: " + fmt.Sprintf("%q", p.ca) + "}"
	}
	const (
		redis  = "redis: {service: redis, password: {env: REDIS_PASSWORD}, aof: true}"
		db     = "postgres: {service: db, queries: [{sql: SELECT count(*) FROM orders, expect: 3}]}"
		celery = "celery: {service: worker, app: tasks, queues: [default, ocr], not_queues: [dead_letter], task: {name: canary, args: ['20', '22'], expect: 42}}"
		prom   = "prometheus: {service: prometheus, jobs: [self], rules: 2, alertmanagers: 1, queries: [{query: 'up{job=\"self\"}', expect: 1}]}"
		am     = "alertmanager: {service: alertmanager, receivers: [pager]}"
		vllm   = "all:\n  - http: {service: vllm, port: 8000, path: /v1/models, capture: {model: '\"id\": \"([^\"]+)\"'}}\n" +
			"  - http: {service: vllm, port: 8000, path: /v1/completions, method: POST, body: '{\"model\": \"{{model}}\"}', expect: {json: {choices.#: 1}}}\n  - gpu: {service: vllm}"
		backup = "backup: {service: db, dir: /backups}"
	)
	for _, s := range []step{
		{"nginx with a certificate", nil, tls, check.Pass, "left"},
		{"nginx serves headers on a 404", nil, func() string {
			return "http: {service: nginx, port: 443, scheme: https, host: shop.example.org, ca: " + fmt.Sprintf("%q", p.ca) + ", expect: {status: 404, headers: {Strict-Transport-Security: {contains: max-age}}}}"
		}, check.Pass, "404"},
		{"nginx with an expired certificate", p.recertify("shop.example.org", -1), tls, check.Fail, "it ended on"},
		{"nginx with another name", p.recertify("other.example.org", 90), tls, check.Fail, "other.example.org"},
		{"nginx limits", nil, is("rate-limit: {service: nginx, port: 80, path: /limited, requests: 30, rate: 500}"), check.Pass, "429"},
		{"nginx does not limit", nil, is("rate-limit: {service: nginx, port: 80, path: /, requests: 30, rate: 500}"), check.Fail, "30 with 200"},
		{"redis", nil, is(redis), check.Pass, ""},
		{"redis with another password", nil, is("redis: {service: redis, password: {env: WRONG}}"), check.Fail, "NOAUTH"},
		{"redis without a password", nil, is("redis: {service: redis}"), check.Fail, "NOAUTH"},
		{"redis that evicts queues", p.inside("redis", "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli config set maxmemory-policy allkeys-lru"), is(redis), check.Warn, "allkeys-lru"},
		{"postgres", p.inside("db", `until pg_isready -q -h 127.0.0.1 -U shop; do sleep 0.1; done; psql -q -U shop -c "CREATE TABLE orders(id int PRIMARY KEY)" -c "INSERT INTO orders SELECT generate_series(1,3)"`), is(db), check.Pass, ""},
		{"a dump", p.inside("db", `mkdir /backups && pg_dump -U shop -Fc -Z 0 -f /backups/a.dump shop`), is(backup), check.Pass, "bytes"},
		{"a dump cut off", p.inside("db", `head -c $(($(stat -c %s /backups/a.dump) - 80)) /backups/a.dump > /backups/b.dump && touch -d '+1 second' /backups/b.dump`), is(backup), check.Fail, "pg_restore"},
		{"postgres with an invalid index", p.inside("db", `psql -q -U shop -c "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_pkey'::regclass"`), is(db), check.Fail, "orders_pkey"},
		{"celery", nil, is(celery), check.Pass, "1 answer"},
		{"celery that left a queue", p.inside("worker", "celery -A tasks control cancel_consumer ocr"), is(celery), check.Fail, "default"},
		{"prometheus", nil, is(prom), check.Pass, ""},
		{"prometheus with a target down", nil, is("prometheus: {service: prometheus, jobs: [dead]}"), check.Fail, "dead is down"},
		{"prometheus without data", nil, is("prometheus: {service: prometheus, queries: [{query: nobody_exports_this, expect: 1}]}"), check.Unknown, "without data"},
		{"prometheus without the rule group", p.inside("prometheus", "sed -i s/rules.yml/no.yml/ /tmp/prometheus.yml; kill -HUP 1"), is(prom), check.Fail, "0"},
		{"prometheus with a broken configuration", p.inside("prometheus", "echo broken >> /tmp/prometheus.yml; kill -HUP 1"), is("prometheus: {service: prometheus}"), check.Fail, "reload failed"},
		{"alertmanager", nil, is(am), check.Pass, "1 receivers"},
		{"alertmanager with a broken configuration", p.inside("alertmanager", "echo broken >> /tmp/alertmanager.yml; kill -HUP 1"), is(am), check.Fail, "reload failed"},
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
