package preflight_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
)

// queue is a cache and a broker, and what the worker is told of them.
func queue(environment string) files {
	return files{"compose.yaml": `services:
  redis:
    image: redis:7
    command: redis-server --maxmemory-policy allkeys-lru
    networks: {default: {aliases: [cache]}}
  broker:
    image: redis:7
  celery_worker:
    image: example/backend:v1
    command: celery -A app worker
    environment:
` + indent(environment, "      ")}
}

func TestWhichRedisIsTheBroker(t *testing.T) {
	t.Parallel()
	for name, environment := range map[string]string{
		"its name": "CELERY_BROKER_URL: redis://redis:6379/0", "with a password": "BROKER_URL: redis://:p@ss#1@redis:6379/0",
		"its alias": "CELERY_BROKER_URL: redis://cache", "no variable of a broker": "REDIS_URL: redis://redis:6379", "a host": "REDIS_HOST: redis",
		"several": "CELERY_BROKER_URL: redis://broker:6379/0;redis://redis:6379/0",
	} {
		assert.Len(t, faults(look(t, queue(environment), ""), "P02.eviction"), 1, name)
	}
	for name, environment := range map[string]string{
		"another one": "CELERY_BROKER_URL: redis://broker:6379/0", "a cache beside it": "CACHE_URL: redis://redis\nCELERY_BROKER_URL: redis://broker",
		"another's name": "CELERY_BROKER_URL: redis://my-redis.example.org:6379/0", "only the scheme": "REDIS_URL: redis://elsewhere:6379",
	} {
		assert.Empty(t, faults(look(t, queue(environment), ""), "P02.eviction"), name)
	}
}

// faults are the results of a check that find fault.
func faults(r *check.Report, name string) []check.Result {
	var out []check.Result
	for _, result := range about(r, name) {
		if result.Outcome != check.Pass && result.Outcome != check.Skip {
			out = append(out, result)
		}
	}
	return out
}

func TestRedisReadsTheFileThatItsCommandNames(t *testing.T) {
	t.Parallel()
	stack := func(command, conf string) files {
		return files{"compose.yaml": `services:
  redis:
    image: redis:7
    command: ` + command + `
    volumes: ["./redis.conf:/etc/redis.conf:ro"]
    healthcheck: {test: [CMD, redis-cli, ping]}
  celery_worker:
    image: example/backend:v1
    command: celery -A app worker
    environment: {CELERY_BROKER_URL: "redis://redis:6379/0"}
`, "redis.conf": conf}
	}
	const conf = "# maxmemory-policy noeviction\nport 6379\nmaxmemory-policy allkeys-lru\nrequirepass 0123456789abcdef\n"
	bad := look(t, stack("redis-server /etc/redis.conf", conf), "")
	reported(t, bad, "P02.eviction", check.Warn, "redis.conf:3", "allkeys-lru may throw away queued tasks of celery_worker")
	reported(t, bad, "P02.health-lies", check.Warn, "compose.yaml:6", "NOAUTH")
	for name, f := range map[string]files{
		"the file is not read":    stack("redis-server", conf),
		"the command has it last": stack("redis-server /etc/redis.conf --maxmemory-policy noeviction", conf),
		"the last line counts":    stack("redis-server /etc/redis.conf", conf+"maxmemory-policy noeviction\n"),
		"comments do not count":   stack("redis-server /etc/redis.conf", "# maxmemory-policy allkeys-lru\n# requirepass foobared\n"),
	} {
		assert.Empty(t, faults(look(t, f, ""), "P02.eviction"), name)
	}
	assert.Empty(t, faults(look(t, stack("redis-server /etc/redis.conf", "# requirepass foobared\nrequirepass \"\"\n"), ""), "P02.health-lies"))
}

// Redis reads an included file where it is included; what it is told last counts.
func TestRedisReadsWhatItsFileIncludes(t *testing.T) {
	t.Parallel()
	stack := func(conf string) files {
		return files{"compose.yaml": `services:
  redis:
    image: redis:7
    command: redis-server /etc/redis/redis.conf
    volumes: ["./redis:/etc/redis:ro"]
    healthcheck: {test: [CMD, redis-cli, ping]}
  celery_worker:
    image: example/backend:v1
    command: celery -A app worker
    environment: {CELERY_BROKER_URL: "redis://redis:6379/0"}
`, "redis/redis.conf": conf, "redis/conf.d/cache.conf": "requirepass 0123456789abcdef\nmaxmemory-policy allkeys-lru\n",
			"redis/queue.conf": "maxmemory-policy noeviction\n", "redis/self.conf": "include /etc/redis/self.conf\nmaxmemory-policy allkeys-lfu\n"}
	}
	for conf, place := range map[string]string{
		"include /etc/redis/conf.d/cache.conf\n": "redis/conf.d/cache.conf:2", "INCLUDE \"/etc/redis/conf.d/*.conf\"\n": "redis/conf.d/cache.conf:2",
		"maxmemory-policy noeviction\ninclude /etc/redis/conf.d/cache.conf\n": "redis/conf.d/cache.conf:2",
		"include /etc/redis/queue.conf\nmaxmemory-policy allkeys-lru\n":       "redis/redis.conf:2", "include /etc/redis/self.conf\n": "redis/self.conf:2",
	} {
		reported(t, look(t, stack(conf), ""), "P02.eviction", check.Warn, place, "may throw away queued tasks")
	}
	reported(t, look(t, stack("include /etc/redis/conf.d/cache.conf\n"), ""), "P02.health-lies", check.Warn, "compose.yaml:6", "NOAUTH")
	for _, conf := range []string{
		"include /etc/redis/conf.d/cache.conf\nmaxmemory-policy noeviction\n", "include /etc/redis/conf.d/cache.conf\ninclude /etc/redis/queue.conf\n",
		"# include /etc/redis/conf.d/cache.conf\n", "include /etc/redis/elsewhere.conf\n", "",
	} {
		assert.Empty(t, faults(look(t, stack(conf), ""), "P02.eviction"), conf)
	}
}
