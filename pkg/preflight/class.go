package preflight

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/shiksha/actions/pkg/stack"
)

// class is what a service is for, as far as its image and its keys tell.
type class struct {
	database, worker, celery, gateway, gpu bool
	nginx, redis, prometheus, alertmanager bool
	grafana                                bool
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

// classify recognises the services of a stack. It is the one place that does.
func classify(st *stack.Stack) map[string]class {
	out := map[string]class{}
	for _, name := range st.Order {
		svc, c := st.Services[name], st.Project.Services[name]
		image := imageName(svc.Image)
		command := strings.Join(append(slices.Clone([]string(c.Entrypoint)), c.Command...), " ")
		k := class{
			database: slices.Contains(databases, image), redis: slices.Contains(redises, image),
			gateway: slices.Contains(gateways, image), nginx: strings.HasPrefix(image, "nginx") && !strings.Contains(image, "exporter") || image == "openresty",
			prometheus: image == "prometheus", alertmanager: image == "alertmanager", grafana: strings.HasPrefix(image, "grafana"),
			gpu: st.UsesGPU(name), celery: strings.Contains(command, "celery"),
		}
		beat := strings.Contains(command, "celery") && strings.Contains(command, " beat")
		k.worker = !k.database && !k.gateway && !beat && (workWord.MatchString(name) || workWord.MatchString(command))
		if k.nginx && strings.Contains(image, "exporter") {
			k.nginx, k.gateway = false, false
		}
		out[name] = k
	}
	for _, name := range st.Order {
		if gw := st.Services[name].Ext.Gateway; gw != "" {
			k := out[gw]
			k.gateway = true
			out[gw] = k
		}
	}
	return out
}

// imageName is the last part of an image's repository: "postgres" of
// docker.io/library/postgres:15.
func imageName(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return ""
	}
	return path.Base(reference.Path(named))
}

// with lists the services of a class in the stack's order.
func (f *findings) with(is func(class) bool) []*stack.Service {
	var out []*stack.Service
	for _, name := range f.st.Order {
		if is(f.classes[name]) {
			out = append(out, f.st.Services[name])
		}
	}
	return out
}

// healthTest is the command of a service's own healthcheck as one line.
func (f *findings) healthTest(service string) string {
	h := f.st.Project.Services[service].HealthCheck
	if h == nil || h.Disable || len(h.Test) == 0 {
		return ""
	}
	return strings.TrimPrefix(strings.TrimPrefix(strings.Join(h.Test, " "), "CMD-SHELL "), "CMD ")
}
