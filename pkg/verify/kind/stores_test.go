package kind

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/shiksha/actions/pkg/check"
)

// with changes some answers of a sound part.
func with(sound map[string]string, changes ...string) map[string]string {
	out := maps.Clone(sound)
	for i := 0; i < len(changes); i += 2 {
		out[changes[i]] = changes[i+1]
	}
	return out
}

const psql = "psql -X -A -t -q -w -v ON_ERROR_STOP=1 -c "

func storeLooks() map[string]look {
	pg := map[string]string{"pg_isready": "accepting", psql + "SELECT 1": "1", psql + "SELECT pg_is": "f", psql + "SELECT count": "t|3 of 100",
		psql + "SELECT coalesce": "", psql + "SELECT version": "abc"}
	const auth = "[REDISCLI_AUTH=hunter2-and-more] redis-cli --raw -p 6379 "
	rd := map[string]string{"env -u REDISCLI_AUTH redis-cli --raw -p 6379 PING": "NOAUTH Authentication required.", auth + "PING": "PONG",
		auth + "INFO persistence": "rdb_last_bgsave_status:ok\naof_enabled:1\naof_last_write_status:ok", auth + "GET beat": "1",
		auth + "INFO memory": "used_memory:10\nmaxmemory:100\nmaxmemory_policy:noeviction"}
	celery := map[string]string{"celery -A app inspect ping": `{"w@0123456789ab": {"ok": "pong"}}`,
		"celery -A app inspect active_queues": `{"w@0123456789ab": [{"name": "default"}, {"name": "dead_letter"}]}`,
		"celery -A app call":                  "some-id", "timeout 10 celery -A app result": "42"}
	out := map[string]look{}
	add := func(prefix, service, text string, sound map[string]string) func(name, point string, o check.Outcome, found string, changes ...string) {
		return func(name, point string, o check.Outcome, found string, changes ...string) {
			out[prefix+" "+name] = look{point, text, one(service, with(sound, changes...)), o, found}
		}
	}
	p := add("postgres", "db", "postgres: {service: db, queries: [{sql: SELECT version, expect: abc}]}", pg)
	p("sound", "", check.Pass, "it does")
	p("not ready", "postgres.ready", check.Fail, "rejecting", "pg_isready", "!rejecting connections")
	p("no answer", "postgres.answer", check.Fail, "FATAL", psql+"SELECT 1", "!FATAL: password")
	p("standby", "postgres.role", check.Fail, "t", psql+"SELECT pg_is", "t")
	p("connections", "postgres.connections", check.Fail, "f|95 of 100", psql+"SELECT count", "f|95 of 100")
	p("invalid index", "postgres.indexes", check.Fail, "orders_idx", psql+"SELECT coalesce", "orders_idx")
	out["postgres query fails"] = look{"postgres.query", "postgres: {service: db, queries: [{sql: SELECT version, expect: {contains: table}}]}", one("db", with(pg, psql+"SELECT version", "!no such table")), check.Fail, "no such table"}
	p("other revision", "match.equals", check.Fail, "old", psql+"SELECT version", "old")

	r := add("redis", "redis", "redis: {service: redis, password: {env: PASSWORD}, canary: false, aof: true, commands: [{run: [GET, beat], expect: 1}]}", rd)
	r("sound", "", check.Pass, "it does")
	r("open to all", "redis.open", check.Fail, "PONG", "env -u REDISCLI_AUTH redis-cli --raw -p 6379 PING", "PONG")
	// redis-cli ends with 0 when the server turns it away.
	r("NOAUTH", "redis.ping", check.Fail, "NOAUTH", auth+"PING", "NOAUTH Authentication required.")
	r("save failed", "redis.rdb", check.Fail, "err", auth+"INFO persistence", "rdb_last_bgsave_status:err\naof_enabled:1\naof_last_write_status:ok")
	r("no append-only file", "redis.aof", check.Fail, "aof_enabled:0", auth+"INFO persistence", "rdb_last_bgsave_status:ok\naof_enabled:0")
	r("write failed", "redis.aof-write", check.Fail, "err", auth+"INFO persistence", "rdb_last_bgsave_status:ok\naof_enabled:1\naof_last_write_status:err")
	r("memory full", "redis.memory", check.Fail, "0.95", auth+"INFO memory", "used_memory:95\nmaxmemory:100\nmaxmemory_policy:noeviction")
	r("evicts queues", "redis.policy", check.Warn, "allkeys-lru", auth+"INFO memory", "used_memory:10\nmaxmemory:100\nmaxmemory_policy:allkeys-lru")
	r("no info", "redis.info", check.Unknown, "nothing", auth+"INFO memory", "")
	r("beat", "match.equals", check.Fail, "0", auth+"GET beat", "0")
	out["redis keeps nothing"] = look{"redis.canary", "redis: {service: redis, password: {env: PASSWORD}}", one("redis", with(rd, auth+"SET", "OK", auth+"GET", "", auth+"DEL", "0")), check.Fail, "OK; ; 0"}

	c := add("celery", "worker", "celery: {service: worker, app: app, queues: [default], task: {name: add, expect: 42}}", celery)
	c("sound", "", check.Pass, "1 answer")
	c("no worker answers", "celery.answer", check.Fail, "No nodes replied", "celery -A app inspect ping", "!Error: No nodes replied within time constraint")
	add("celery", "worker", "celery: {service: worker, app: app, workers: 2}", celery)("a worker of an older release", "celery.foreign", check.Fail, "w@ffffffffffff", "celery -A app inspect ping", `{"w@0123456789ab": {"ok": "pong"}, "w@ffffffffffff": {"ok": "pong"}}`)
	c("two for one", "celery.workers", check.Fail, "2: a@x, b@x", "celery -A app inspect ping", `{"a@x": {}, "b@x": {}}`)
	c("queue unread", "celery.queue", check.Fail, "other", "celery -A app inspect active_queues", `{"w@0123456789ab": [{"name": "other"}]}`)
	c("task refused", "celery.call", check.Fail, "no broker", "celery -A app call", "!no broker")
	add("celery", "worker", "celery: {service: worker, app: app, task: {name: add}}", celery)("no result", "celery.result", check.Fail, "nothing", "timeout 10 celery -A app result", "!")
	c("other result", "match.equals", check.Fail, "41", "timeout 10 celery -A app result", "41")
	add("celery", "worker", "celery: {service: worker, app: app, not_queues: [dead_letter]}", celery)("dead letters read", "celery.not-queue", check.Fail, "dead_letter")
	backupLooks(out)
	return out
}

func backupLooks(out map[string]look) {
	now, day := time.Now().Unix(), int64(86400)
	list := fmt.Sprintf("%d 900 b.dump\n%d 1000 a.dump\n%d 1 notes.txt", now-60, now-day, now)
	sound := map[string]string{"sh -c cd": list, "pg_restore": ""}
	b := func(name, point string, found string, changes ...string) {
		outcome := check.Fail
		if point == "" {
			outcome = check.Pass
		}
		out["backup "+name] = look{point, "backup: {service: db, dir: /backups, keep: 2}", one("db", with(sound, changes...)), outcome, found}
	}
	b("sound", "", "900 bytes")
	b("no folder", "backup.dir", "cannot cd", "sh -c cd", "!sh: cannot cd")
	b("too few", "backup.count", "1", "sh -c cd", fmt.Sprintf("%d 900 b.dump", now))
	b("old", "backup.age", "48h", "sh -c cd", fmt.Sprintf("%d 900 b.dump\n%d 1000 a.dump", now-2*day, now-3*day))
	b("empty", "backup.size", "empty", "sh -c cd", fmt.Sprintf("%d 0 b.dump\n%d 0 a.dump", now, now-day))
	b("shrunk", "backup.shrink", "0.20", "sh -c cd", fmt.Sprintf("%d 200 b.dump\n%d 1000 a.dump", now, now-day))
	b("truncated", "backup.read", "end of file", "pg_restore", "!could not read from input file: end of file")
	gz := fmt.Sprintf("%d 900 b.sql.gz\n%d 900 a.sql.gz", now, now-day)
	b("gzip damaged", "backup.gzip", "crc error", "sh -c cd", gz, "sh -c gzip", "!gzip: crc error\n-- PostgreSQL database dump complete")
	b("dump cut inside gzip", "backup.complete", "COPY", "sh -c cd", gz, "sh -c gzip", "COPY orders FROM stdin;")
}

func hostLooks() map[string]look {
	disk := func(percent int, memory string) func(*testing.T) *Scene {
		return func(*testing.T) *Scene {
			s := local(nil)
			line := fmt.Sprintf("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda1 100 %d %d %d%% /\n", percent, 100-percent, percent)
			s.Ground = fakeHost{answers: map[string]string{"df -Pk": line, "df -Pi": line, "cat /proc/meminfo": memory}}
			return s
		}
	}
	const enough = "MemTotal: 100 kB\nMemAvailable: 50 kB\n"
	return map[string]look{
		"disk sound":          {"", "disk: {warn: 99.9, fail: 100}", func(*testing.T) *Scene { return local(nil) }, check.Pass, "% at most"},
		"disk filling":        {"disk.warn", "disk: {}", disk(85, enough), check.Warn, "85 %"},
		"disk full":           {"disk.fail", "disk: {}", disk(95, enough), check.Fail, "95 %"},
		"disk no such folder": {"disk.data", "disk: {paths: [/nowhere]}", func(*testing.T) *Scene { return local(nil) }, check.Unknown, "No such file"},
		"disk no memory":      {"disk.memory", "disk: {memory: 10}", disk(5, "MemTotal: 100 kB\nMemAvailable: 5 kB\n"), check.Fail, "5 %"},
		"disk memory unknown": {"disk.memory-data", "disk: {memory: 10}", disk(5, "MemTotal: 100 kB\n"), check.Unknown, "MemTotal"},
	}
}
