package finding

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/shiksha/actions/pkg/stack"
)

// Class is what a service is for, as far as its image and its keys tell.
type Class struct {
	Database, Worker, Celery, Gateway, GPU bool
	Nginx, Redis, Prometheus, Alertmanager bool
	Grafana                                bool
}

// databases are images whose ports nobody outside the stack has business with.
var databases = []string{
	"postgres", "postgresql", "pgvector", "postgis", "timescaledb", "mysql", "mariadb", "percona", "mongo", "mongodb", "redis", "redis-stack",
	"redis-stack-server", "valkey", "keydb", "dragonfly", "memcached", "elasticsearch", "opensearch", "clickhouse", "clickhouse-server",
	"cassandra", "scylla", "rabbitmq", "etcd", "neo4j", "qdrant", "weaviate", "milvus", "influxdb", "couchdb", "cockroach", "nats", "kafka",
}

var (
	gateways = []string{"nginx", "nginx-unprivileged", "openresty", "traefik", "caddy", "haproxy", "envoy", "httpd", "kong"}
	redises  = []string{"redis", "redis-stack", "redis-stack-server", "valkey", "keydb", "dragonfly"}
	workWord = regexp.MustCompile(`(^|[-_ /])(workers?|celery|sidekiq|rq|dramatiq|huey|resque|queue)($|[-_ /0-9])`)
)

// Classify recognises the services of a stack. It is the one place that does.
func Classify(st *stack.Stack) map[string]Class {
	out := map[string]Class{}
	for _, name := range st.Order {
		svc, c := st.Services[name], st.Project.Services[name]
		image := ImageName(svc.Image)
		command := strings.Join(append(slices.Clone([]string(c.Entrypoint)), c.Command...), " ")
		k := Class{
			Database: slices.Contains(databases, image), Redis: slices.Contains(redises, image),
			Gateway: slices.Contains(gateways, image), Nginx: strings.HasPrefix(image, "nginx") && !strings.Contains(image, "exporter") || image == "openresty",
			Prometheus: image == "prometheus", Alertmanager: image == "alertmanager", Grafana: strings.HasPrefix(image, "grafana"),
			GPU: st.UsesGPU(name), Celery: strings.Contains(command, "celery"),
		}
		beat := strings.Contains(command, "celery") && strings.Contains(command, " beat")
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

// ImageName is the last part of an image's repository: "postgres" of
// docker.io/library/postgres:15.
func ImageName(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return ""
	}
	return path.Base(reference.Path(named))
}

// HealthTest is the command of a service's own healthcheck as one line.
func (f *Findings) HealthTest(service string) string {
	h := f.Stack.Project.Services[service].HealthCheck
	if h == nil || h.Disable || len(h.Test) == 0 {
		return ""
	}
	return strings.TrimPrefix(strings.TrimPrefix(strings.Join(h.Test, " "), "CMD-SHELL "), "CMD ")
}
