package finding

import (
	"regexp"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/stack"
)

// Class is what a service is for, as far as its image and its keys tell.
type Class struct {
	Database, Worker, Celery, Gateway, GPU bool
	Nginx, Redis, Prometheus, Alertmanager bool
	Grafana, Loki                          bool
	// Scheduler starts work by the clock: two of them start it twice.
	Scheduler bool
}

var (
	gateways = []string{"nginx", "nginx-unprivileged", "openresty", "traefik", "caddy", "haproxy", "envoy", "httpd", "kong"}
	redises  = []string{"redis", "redis-stack", "redis-stack-server", "valkey", "keydb", "dragonfly"}
	workWord = regexp.MustCompile(`(^|[-_ /])(workers?|celery|sidekiq|rq|dramatiq|huey|resque|queue)($|[-_ /0-9])`)
	beatWord = regexp.MustCompile(`celery(?:\s+-\S+(?:\s+[^-\s]\S*)?)*\s+beat\b|(?:^|[\s/])(?:start[-_])?celery[-_]?beat(?:\.sh)?(?:\s|$)`)
	ownBeat  = regexp.MustCompile(`celery\b.*\sworker\b.*\s(-B|--beat)(\s|$)`)
	cronWord = regexp.MustCompile(`(^|[\s/;&|("'])(crond|cron -f|supercronic|ofelia)($|[\s;&|)"'])`)
)

// Classify recognises the services of a stack. It is the one place that does, but for what
// is a database: how that is rolled depends on it too, so the stack says it.
func Classify(st *stack.Stack) map[string]Class {
	out := map[string]Class{}
	for _, name := range st.Order {
		svc, c := st.Services[name], st.Project.Services[name]
		image := stack.ImageName(svc.Image)
		command := strings.Join(append(slices.Clone([]string(c.Entrypoint)), c.Command...), " ")
		k := Class{
			Database: stack.DatabaseImage(svc.Image), Redis: slices.Contains(redises, image),
			Gateway: slices.Contains(gateways, image), Nginx: strings.HasPrefix(image, "nginx") && !strings.Contains(image, "exporter") || image == "openresty",
			Prometheus: image == "prometheus", Alertmanager: image == "alertmanager", Grafana: strings.HasPrefix(image, "grafana"), Loki: image == "loki",
			GPU: st.UsesGPU(name), Celery: strings.Contains(command, "celery"),
		}
		beat := beatWord.MatchString(command)
		k.Scheduler = beat || ownBeat.MatchString(command) || image == "ofelia" || cronWord.MatchString(command)
		k.Worker = !k.Database && !k.Gateway && !beat && (workWord.MatchString(name) || workWord.MatchString(command))
		if k.Nginx && strings.Contains(image, "exporter") {
			k.Nginx, k.Gateway = false, false
		}
		out[name] = k
	}
	for _, name := range st.Order {
		if gw := st.Services[name].Ext.Gateway; gw != "" {
			k := out[gw]
			k.Gateway = true
			out[gw] = k
		}
	}
	return out
}

// HealthTest is the command of a service's own healthcheck as one line.
func (f *Findings) HealthTest(service string) string {
	h := f.Stack.Project.Services[service].HealthCheck
	if h == nil || h.Disable || len(h.Test) == 0 {
		return ""
	}
	return strings.TrimPrefix(strings.TrimPrefix(strings.Join(h.Test, " "), "CMD-SHELL "), "CMD ")
}
