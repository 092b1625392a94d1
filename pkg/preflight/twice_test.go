package preflight_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/preflight"
)

// With start-first the old scheduler and the new one both run what is due meanwhile, and two
// Prometheus are on the same files.
func TestWhatMayNotRunTwice(t *testing.T) {
	t.Parallel()
	const first, last = "deploy: {update_config: {order: start-first}}", "deploy: {update_config: {order: stop-first}}"
	for name, c := range map[string]struct{ service, says string }{
		"beat":                       {"image: example/app:v1\n    command: celery -A app beat\n    " + first, "what is due while both run is started twice"},
		"beat by a list":             {"image: example/app:v1\n    command: [python, -m, celery, -A, app, beat]\n    " + first, "twice"},
		"beat by a script":           {"image: example/app:v1\n    command: /start-celerybeat\n    " + first, "twice"},
		"a worker's file":            {"image: example/app:v1\n    command: celery -A app worker -s /tmp/celerybeat-schedule\n    " + first, ""},
		"beat within a worker":       {"image: example/app:v1\n    command: celery -A app worker -B -l info\n    " + first, "twice"},
		"supercronic":                {"image: example/app:v1\n    entrypoint: [/usr/local/bin/supercronic]\n    command: [/etc/crontab]\n    " + first, "twice"},
		"crond":                      {"image: example/app:v1\n    command: sh -c \"crontab /jobs && exec crond -f\"\n    " + first, "twice"},
		"cron":                       {"image: example/app:v1\n    command: cron -f\n    " + first, "twice"},
		"ofelia":                     {"image: mcuadros/ofelia:v0.3\n    command: daemon --docker\n    " + first, "twice"},
		"prometheus":                 {"image: prom/prometheus:v3\n    volumes: [\"data:/prometheus\"]\n    " + first, "two at once write to shop_data"},
		"loki":                       {"image: grafana/loki:3\n    volumes: [\"/srv/loki:/loki\"]\n    " + first, "two at once write to /srv/loki"},
		"on the way back only":       {"image: example/app:v1\n    command: celery -A app beat\n    deploy: {rollback_config: {order: start-first}}", "twice"},
		"beat, stop-first":           {"image: example/app:v1\n    command: celery -A app beat\n    " + last, ""},
		"beat without an order":      {"image: example/app:v1\n    command: celery -A app beat", ""},
		"beat by name, stops first":  {"image: example/app:v1\n    container_name: beat\n    command: celery -A app beat\n    " + first, ""},
		"beat at its own address":    {"image: example/app:v1\n    networks: {default: {ipv4_address: 10.9.0.5}}\n    command: celery -A app beat\n    " + first, ""},
		"beat on the host's network": {"image: example/app:v1\n    network_mode: host\n    command: celery -A app beat\n    " + first, ""},
		"a worker":                   {"image: example/app:v1\n    command: celery -A app worker --loglevel info -Q beat\n    " + first, ""},
		"words of another":           {"image: example/app:v1\n    command: /app --cron-format x --crondir /y\n    " + first, ""},
		"prometheus without data":    {"image: prom/prometheus:v3\n    " + first, ""},
		"prometheus with a port":     {"image: prom/prometheus:v3\n    ports: [\"127.0.0.1:9090:9090\"]\n    volumes: [\"data:/prometheus\"]\n    " + first, ""},
		"one that only reads":        {"image: prom/prometheus:v3\n    volumes: [\"data:/prometheus:ro\"]\n    " + first, ""},
	} {
		r := look(t, files{"compose.yaml": "volumes: {data: {}}\nservices:\n  it:\n    " + c.service + "\n"}, "")
		if c.says == "" {
			sound(t, r, "P02.twice")
			assert.NotEmpty(t, about(r, "P02.twice"), name)
			continue
		}
		line := 4 + strings.Count(c.service, "\n")
		reported(t, r, "P02.twice", check.Warn, fmt.Sprintf("compose.yaml:%d", line), c.says)
	}
}

// A Swarm goes by its own order, whatever would keep one host from it.
func TestWhatMayNotRunTwiceOnASwarm(t *testing.T) {
	t.Parallel()
	st, dir, err := load(t, files{"compose.yaml": "services:\n  it:\n    image: example/app:v1\n    container_name: it\n    command: celery -A app beat\n" +
		"    deploy: {update_config: {order: start-first}}\n"}, "")
	assert.NoError(t, err)
	reported(t, preflight.Static(t.Context(), st, preflight.Options{Workspace: dir, Now: now, Swarm: true}), "P02.twice", check.Warn, "compose.yaml:6", "started twice")
}
