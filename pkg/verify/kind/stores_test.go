package kind

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/host"
)

// with changes some answers of a sound part.
func with(sound map[string]string, changes ...string) map[string]string {
	out := maps.Clone(sound)
	for i := 0; i < len(changes); i += 2 {
		out[changes[i]] = changes[i+1]
	}
	return out
}

const psql = `psql -X -A -t -q -w -v ON_ERROR_STOP=1 -P null=\N -c `

func storeLooks() map[string]look {
	pg := map[string]string{"pg_isready": "accepting", psql + "SELECT 1": "1", psql + "SELECT pg_is": "f", psql + "SELECT count": "t|3 of 100",
		psql + "SELECT coalesce": "", psql + "SELECT version": "abc"}
	const auth = "[REDISCLI_AUTH=hunter2-and-more] redis-cli --raw -p 6379 "
	const beat = "[REDISCLI_AUTH=hunter2-and-more] redis-cli --no-raw -p 6379 GET beat"
	rd := map[string]string{"env -u REDISCLI_AUTH redis-cli --raw -p 6379 PING": "NOAUTH Authentication required.", auth + "PING": "PONG",
		auth + "INFO persistence": "rdb_last_bgsave_status:ok\naof_enabled:1\naof_last_write_status:ok", beat: `"1"`,
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
	p("sound", "", check.Pass, "answers")
	p("answers something else", "postgres.answer", check.Fail, "SELECT 1 answers 2", psql+"SELECT 1", "2")
	p("answers and fails", "postgres.answer", check.Fail, "SELECT 1 answers 1", psql+"SELECT 1", "!1")
	for name, c := range map[string]struct {
		text    string
		change  []string
		outcome check.Outcome
	}{
		"any role":             {"role: any", []string{psql + "SELECT pg_is", "t"}, check.Pass},
		"standby":              {"role: standby", []string{psql + "SELECT pg_is", "t"}, check.Pass},
		"primary for standby":  {"role: standby", nil, check.Fail},
		"indexes not asked":    {"indexes: false", []string{psql + "SELECT coalesce", "orders_idx"}, check.Pass},
		"indexes asked":        {"indexes: true", []string{psql + "SELECT coalesce", "orders_idx"}, check.Fail},
		"no queries":           {"indexes: true", []string{psql + "SELECT version", "!no"}, check.Pass},
		"password of the unit": {"password: {env: PASSWORD}", nil, check.Unknown},
	} {
		out["postgres, "+name] = look{"", "postgres: {service: db, " + c.text + "}", one("db", with(pg, c.change...)), c.outcome, ""}
	}
	p("not ready", "postgres.ready", check.Fail, "rejecting", "pg_isready", "!rejecting connections")
	p("no answer", "postgres.answer", check.Fail, "FATAL", psql+"SELECT 1", "!FATAL: password")
	p("standby", "postgres.role", check.Fail, "t", psql+"SELECT pg_is", "t")
	p("connections", "postgres.connections", check.Fail, "in use are 95 of 100", psql+"SELECT count", "f|95 of 100")
	p("invalid index", "postgres.indexes", check.Fail, "orders_idx", psql+"SELECT coalesce", "orders_idx")
	out["postgres query fails"] = look{"postgres.query", "postgres: {service: db, queries: [{sql: SELECT version, expect: {contains: table}}]}", one("db", with(pg, psql+"SELECT version", "!no such table")), check.Fail, "no such table"}
	p("other revision", "match.equals", check.Fail, "old", psql+"SELECT version", "old")

	r := add("redis", "redis", "redis: {service: redis, password: {env: PASSWORD}, canary: false, aof: true, commands: [{run: [GET, beat], expect: 1}]}", rd)
	r("sound", "", check.Pass, "answers")
	r("open to all", "redis.open", check.Fail, "PONG", "env -u REDISCLI_AUTH redis-cli --raw -p 6379 PING", "PONG")
	// redis-cli ends with 0 when the server turns it away.
	r("NOAUTH", "redis.ping", check.Fail, "NOAUTH", auth+"PING", "NOAUTH Authentication required.")
	r("save failed", "redis.rdb", check.Fail, "err", auth+"INFO persistence", "rdb_last_bgsave_status:err\naof_enabled:1\naof_last_write_status:ok")
	r("no append-only file", "redis.aof", check.Fail, "aof_enabled:0", auth+"INFO persistence", "rdb_last_bgsave_status:ok\naof_enabled:0")
	r("write failed", "redis.aof-write", check.Fail, "err", auth+"INFO persistence", "rdb_last_bgsave_status:ok\naof_enabled:1\naof_last_write_status:err")
	r("memory full", "redis.memory", check.Fail, "0.95", auth+"INFO memory", "used_memory:95\nmaxmemory:100\nmaxmemory_policy:noeviction")
	r("evicts queues", "redis.policy", check.Warn, "allkeys-lru", auth+"INFO memory", "used_memory:10\nmaxmemory:100\nmaxmemory_policy:allkeys-lru")
	r("no info", "redis.info", check.Unknown, "nothing", auth+"INFO memory", "")
	r("beat", "match.equals", check.Fail, "0", beat, `"0"`)
	other := add("redis", "redis", "redis: {service: redis, password: {env: PASSWORD}, canary: false, commands: [{run: [GET, beat], expect: {not: 2}}]}", rd)
	other("command refused", "redis.command", check.Fail, "NOPERM", beat, "(error) NOPERM this user has no permissions")
	other("command without a server", "redis.command", check.Fail, "Could not connect", beat, "!Could not connect to Redis")
	out["redis keeps nothing"] = look{"redis.canary", "redis: {service: redis, password: {env: PASSWORD}}", one("redis", with(rd, auth+"SET", "OK", auth+"GET", "", auth+"DEL", "0")), check.Fail, "OK; ; 0"}

	c := add("celery", "worker", "celery: {service: worker, app: app, queues: [default], task: {name: add, expect: 42}}", celery)
	c("sound", "", check.Pass, "1 answer")
	c("no worker answers", "celery.answer", check.Fail, "No nodes replied", "celery -A app inspect ping", "!Error: No nodes replied within time constraint")
	c("a worker of an older release", "celery.foreign", check.Fail, "w@ffffffffffff", "celery -A app inspect ping", `{"w@0123456789ab": {"ok": "pong"}, "w@ffffffffffff": {"ok": "pong"}}`)
	c("two for one", "celery.workers", check.Fail, "2: a@x, b@x", "celery -A app inspect ping", `{"a@x": {}, "b@x": {}}`)
	c("queue unread", "celery.queue", check.Fail, "other", "celery -A app inspect active_queues", `{"w@0123456789ab": [{"name": "other"}]}`)
	c("task refused", "celery.call", check.Fail, "no broker", "celery -A app call", "!no broker")
	add("celery", "worker", "celery: {service: worker, app: app, task: {name: add}}", celery)("no result", "celery.result", check.Fail, "nothing", "timeout 10 celery -A app result", "!",
		"celery -A app inspect stats", `{"w@0123456789ab": {"pool": {"max-concurrency": 2}}}`, "celery -A app inspect active", `{"w@0123456789ab": []}`)
	waits := add("celery", "worker", "celery: {service: worker, app: app, task: {name: add}}", with(celery, "timeout 10 celery -A app result", "!!",
		"celery -A app inspect stats", `{"w@0123456789ab": {"pool": {"max-concurrency": 2}}}`, "celery -A app inspect active", `{"w@0123456789ab": [{"name": "ocr"}, {"name": "translate"}]}`))
	waits("every slot has work", "celery.slots", check.Warn, "all 2 slots have another task")
	waits("a task that fails at once", "celery.result", check.Fail, "DisabledBackend", "timeout 10 celery -A app result", "!DisabledBackend")
	waits("a slot is free", "celery.result", check.Fail, "nothing", "celery -A app inspect active", `{"w@0123456789ab": [{"name": "ocr"}]}`)
	waits("the task hangs itself", "celery.result", check.Fail, "nothing", "celery -A app inspect active", `{"w@0123456789ab": [{"name": "ocr"}, {"name": "add"}]}`)
	waits("slots that nobody tells", "celery.result", check.Fail, "nothing", "celery -A app inspect stats", `{"w@0123456789ab": {"pool": {}}}`)
	waits("nobody tells of slots", "celery.result", check.Fail, "nothing", "celery -A app inspect stats", `{}`)
	waits("no answer about slots", "celery.answer", check.Fail, "No nodes", "celery -A app inspect stats", "!Error: No nodes replied")
	c("other result", "match.equals", check.Fail, "41", "timeout 10 celery -A app result", "41")
	add("celery", "worker", "celery: {service: worker, app: app, not_queues: [dead_letter]}", celery)("dead letters read", "celery.not-queue", check.Fail, "dead_letter")
	plain := add("celery", "worker", "celery: {service: worker, app: app}", celery)
	plain("no queues asked for", "", check.Pass, "1 answer", "celery -A app inspect active_queues", "!not now")
	plain("words before the answer", "", check.Pass, "1 answer", "celery -A app inspect ping", "warning: x\n"+`{"w@0123456789ab": {"ok": "pong"}}`)
	plain("half an answer", "celery.answer", check.Fail, "celery ended with 0", "celery -A app inspect ping", `{"w@0123456789ab": {"ok`)
	add("celery", "worker", "celery: {service: worker, app: app, workers: 2}", celery)("workers with names of their own", "", check.Pass, "2 answer",
		"celery -A app inspect ping", `{"w@0": {}, "w@x": {}}`)
	add("celery", "worker", "celery: {service: worker, app: app, not_queues: [dead]}", celery)("no dead letters read", "", check.Pass, "1 answer")
	for name, answer := range map[string]string{"that says nothing": `{"w@0123456789ab": null}`, "that does not answer": `{}`} {
		add("celery", "worker", "celery: {service: worker, app: app, not_queues: [dead]}", celery)("a worker "+name, "celery.told", check.Unknown, "1 of 1 did not", "celery -A app inspect active_queues", answer)
	}
	out["celery task without a number"] = look{"", "celery: {service: worker, app: app, task: {name: add}}", one("worker", with(celery, "celery -A app call", "")), check.Fail, "nothing"}
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
	out["backup not read"] = look{"", "backup: {service: db, dir: /backups, read: false}", one("db", with(sound, "pg_restore", "!end of file")), check.Pass, "900 bytes"}
	out["backup read"] = look{"backup.read", "backup: {service: db, dir: /backups, read: true}", one("db", with(sound, "pg_restore", "!end of file")), check.Fail, "end of file"}
	out["backup of no unit"] = look{"running", "backup: {service: db, dir: /backups}", one("web", sound), check.Fail, "has no running unit"}
	out["backup that cannot be listed"] = look{"", "backup: {service: db, dir: /backups}", one("db", nil), check.Unknown, "has no sh"}
	b("other lines", "", "900 bytes", "sh -c cd", "total x.dump\nnow big c.dump\n"+fmt.Sprintf("%d big d.dump\n", now)+list)
	out["backup by pattern"] = look{"", "backup: {service: db, dir: /backups, pattern: '^notes', read: false}", one("db", sound), check.Pass, "1 bytes"}
	out["backup in SQL cut"] = look{"backup.complete", "backup: {service: db, dir: /backups}", one("db", map[string]string{"sh -c cd": fmt.Sprintf("%d 9 a.sql", now), "tail": "COPY orders"}), check.Fail, "COPY"}
	out["backup in SQL"] = look{"", "backup: {service: db, dir: /backups}", one("db", map[string]string{"sh -c cd": fmt.Sprintf("%d 9 a.sql", now), "tail": "-- PostgreSQL database dump complete"}), check.Pass, "9 bytes"}
	b("no folder", "backup.dir", "cannot cd", "sh -c cd", "!sh: cannot cd")
	b("too few", "backup.count", "1", "sh -c cd", fmt.Sprintf("%d 900 b.dump", now))
	b("old", "backup.age", "48h", "sh -c cd", fmt.Sprintf("%d 900 b.dump\n%d 1000 a.dump", now-2*day, now-3*day))
	b("empty", "backup.size", "empty", "sh -c cd", fmt.Sprintf("%d 0 b.dump\n%d 0 a.dump", now, now-day))
	b("shrunk", "backup.shrink", "0.20", "sh -c cd", fmt.Sprintf("%d 200 b.dump\n%d 1000 a.dump", now, now-day))
	b("truncated", "backup.read", "end of file", "pg_restore", "!could not read from input file: end of file")
	gz := fmt.Sprintf("%d 900 b.sql.gz\n%d 900 a.sql.gz", now, now-day)
	out["backup none"] = look{"backup.count", "backup: {service: db, dir: /backups}", one("db", with(sound, "sh -c cd", "")), check.Fail, "0 dumps"}
	b("in gzip", "", "900 bytes", "sh -c cd", gz, "sh -c gzip", "-- PostgreSQL database dump complete")
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
	df := func(bytes, inodes, missing string) func(*testing.T) *Scene {
		return func(*testing.T) *Scene {
			s := local(nil)
			s.Ground = dfHost{bytes: bytes, inodes: inodes, missing: missing}
			return s
		}
	}
	const half, none = "/dev/vda1 100 50 50 50% /", "btrfs 0 0 0 - /"
	return map[string]look{
		"disk without docker's folder":  {"", "disk: {}", df(half, half, "/var/lib/docker"), check.Pass, "50 % at most"},
		"disk that has docker's folder": {"", "disk: {}", df(half, half, ""), check.Pass, "50 % at most"},
		"disk of docker's folder full": {"disk.fail", "disk: {}", func(*testing.T) *Scene {
			s := local(nil)
			s.Ground = dfHost{bytes: half, inodes: half, docker: "/dev/vdb1 100 95 5 95% /var/lib/docker"}
			return s
		}, check.Fail, "95 % of the bytes of /var/lib/docker"},
		"disk without the root":             {"disk.data", "disk: {}", df(half, half, "/"), check.Unknown, "No such file"},
		"disk without the folder asked for": {"disk.data", "disk: {paths: [/, /srv]}", df(half, half, "/srv"), check.Unknown, "No such file"},
		"disk without numbers of inodes":    {"", "disk: {}", df(half, none, ""), check.Pass, "50 % at most"},
		"disk whose inodes are words":       {"", "disk: {}", df(half, "nfs - - - - /", ""), check.Pass, "50 % at most"},
		"disk whose inodes are no figures":  {"disk.data", "disk: {}", df(half, "df: unknown option -i: see the manual", ""), check.Unknown, "unknown option"},
		"disk whose free inodes are none":   {"disk.data", "disk: {}", df(half, "/dev/vda1 100 50 some 50% /", ""), check.Unknown, "some"},
		"disk without bytes":                {"disk.data", "disk: {}", df(none, half, ""), check.Unknown, "btrfs 0 0 0"},
		"disk of words":                     {"disk.data", "disk: {}", df("nfs - - - - /", half, ""), check.Unknown, "nfs"},
		"disk inodes used up":               {"disk.fail", "disk: {}", df(half, "/dev/vda1 100 99 1 99% /", ""), check.Fail, "99 % of the inodes"},
		"disk nothing said":                 {"disk.data", "disk: {}", df("", half, ""), check.Unknown, "nothing"},
		"disk and memory":                   {"", "disk: {memory: 10}", disk(5, enough), check.Pass, "5 % at most"},
		"disk memory of nothing":            {"disk.memory-data", "disk: {memory: 10}", disk(5, "MemTotal: 0 kB\nMemAvailable: 5 kB\n"), check.Unknown, "MemTotal"},
		"disk of a lost host":               {"", "disk: {}", func(*testing.T) *Scene { s := local(nil); s.Ground = lostHost{}; return s }, check.Unknown, "connection lost"},
		"disk sound":                        {"", "disk: {warn: 99.9, fail: 100}", func(*testing.T) *Scene { return local(nil) }, check.Pass, "% at most"},
		"disk filling":                      {"disk.warn", "disk: {}", disk(85, enough), check.Warn, "85 %"},
		"disk full":                         {"disk.fail", "disk: {}", disk(95, enough), check.Fail, "95 %"},
		"disk no such folder":               {"disk.data", "disk: {paths: [/nowhere]}", func(*testing.T) *Scene { return local(nil) }, check.Unknown, "No such file"},
		"disk no memory":                    {"disk.memory", "disk: {memory: 10}", disk(5, "MemTotal: 100 kB\nMemAvailable: 5 kB\n"), check.Fail, "5 %"},
		"disk memory unknown":               {"disk.memory-data", "disk: {memory: 10}", disk(5, "MemTotal: 100 kB\n"), check.Unknown, "MemTotal"},
	}
}

// ownBackups are manifests on the host as pkg/backup writes them, beside real files.
func ownBackups(change func(list []backup.Backup, dir string) []backup.Backup) func(*testing.T) *Scene {
	return func(t *testing.T) *Scene {
		dir := t.TempDir()
		now := time.Now().UTC().Truncate(time.Second)
		var list []backup.Backup
		for i, at := range []time.Time{now.Add(-time.Hour), now.Add(-25 * time.Hour)} {
			content := fmt.Sprintf("PGDMP dump %d", i)
			k := backup.Backup{Schema: 1, ID: fmt.Sprintf("db-%d", 9-i), Project: "shop", Service: "db", Taken: at, Bytes: int64(len(content)),
				SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(content)))}
			require.NoError(t, os.WriteFile(filepath.Join(dir, k.ID+".dump"), []byte(content), 0o600))
			list = append(list, k)
		}
		list[1].Proven = now.Add(-24 * time.Hour)
		for _, k := range change(list, dir) {
			data, err := json.Marshal(k)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, k.ID+".json"), data, 0o600))
		}
		s := local(nil)
		s.Backups = func(context.Context, string) (*backup.Store, Ground, error) {
			return &backup.Store{Project: "shop", Dir: dir, Files: hereFiles{}, Sink: event.Discard}, here{}, nil
		}
		return s
	}
}

// hereFiles are this machine's files as the host's.
type hereFiles struct{ backup.Files }

func (hereFiles) Read(_ context.Context, path string) ([]byte, error) { return os.ReadFile(path) }

func (hereFiles) List(_ context.Context, dir string) (infos []fs.FileInfo, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, wrong := e.Info()
		infos, err = append(infos, info), errors.Join(err, wrong)
	}
	return infos, err
}

func ownBackupLooks() map[string]look {
	const row = "backup: {service: db, keep: 2, proven: 7d}"
	type kept = []backup.Backup
	as := func(list kept, _ string) kept { return list }
	write := func(name, content string) func(kept, string) kept {
		return func(list kept, dir string) kept {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				panic(err)
			}
			return list
		}
	}
	return map[string]look{
		"own backup sound":     {"", row, ownBackups(as), check.Pass, "12 bytes, 1h0m"},
		"own backup none":      {"backup.count", "backup: {service: db}", ownBackups(func(kept, string) kept { return nil }), check.Fail, "the host 0"},
		"own backup of others": {"backup.count", "backup: {service: other}", ownBackups(as), check.Fail, "0"},
		"own backup too few":   {"backup.count", "backup: {service: db, keep: 2}", ownBackups(func(list kept, _ string) kept { return list[:1] }), check.Fail, "1"},
		"own backup old": {"backup.age", row, ownBackups(func(list kept, _ string) kept {
			list[0].Taken = list[0].Taken.Add(-26 * time.Hour)
			list[1].Taken = list[1].Taken.Add(-26 * time.Hour)
			return list
		}), check.Fail, "27h0m0s old"},
		"own backup of the future": {"backup.age", row, ownBackups(func(list kept, _ string) kept {
			list[0].Taken = list[0].Taken.Add(365 * 24 * time.Hour)
			return list
		}), check.Fail, "old"},
		"own backup shrunk": {"backup.shrink", "backup: {service: db}", ownBackups(func(list kept, dir string) kept {
			list[1].Bytes = 100
			return write("db-8.dump", strings.Repeat("x", 100))(list, dir)
		}), check.Fail, "0.12: 12 bytes after 100"},
		"own backup truncated":   {"backup.lost", row, ownBackups(write("db-9.dump", "PGDMP")), check.Fail, "its file has 5 bytes, not 12"},
		"own backup bits turned": {"backup.sum", row, ownBackups(write("db-9.dump", "PGDMP dump X")), check.Fail, "it was changed since it was taken"},
		"own backup gone": {"backup.sum-read", "backup: {service: db, age: 30d}", ownBackups(func(list kept, dir string) kept {
			_ = os.Remove(filepath.Join(dir, "db-9.dump"))
			_ = os.Mkdir(filepath.Join(dir, "db-9.dump"), 0o700)
			info, _ := os.Stat(filepath.Join(dir, "db-9.dump"))
			list[0].Bytes = info.Size()
			return list
		}), check.Unknown, "directory"},
		"own backup never proven":          {"backup.proven", row, ownBackups(func(list kept, _ string) kept { list[1].Proven = time.Time{}; return list }), check.Fail, "restored: never"},
		"own backup proven long ago":       {"backup.proven", "backup: {service: db, proven: 12h}", ownBackups(as), check.Fail, "restored: 20"},
		"own backup not proven, not asked": {"", "backup: {service: db}", ownBackups(func(list kept, _ string) kept { list[1].Proven = time.Time{}; return list }), check.Pass, "12 bytes"},
		"own backup not read":              {"", "backup: {service: db, read: false}", ownBackups(write("db-9.dump", "PGDMP dump X")), check.Pass, "12 bytes"},
		"own backup read":                  {"backup.sum", "backup: {service: db, read: true}", ownBackups(write("db-9.dump", "PGDMP dump X")), check.Fail, "it was changed"},
		"own backup proven twice": {"", "backup: {service: db, proven: 12h}", ownBackups(func(list kept, _ string) kept {
			list[0].Proven = time.Now().Add(-time.Hour)
			return list
		}), check.Pass, "12 bytes"},
		"own backup without a store": {"", row, func(t *testing.T) *Scene {
			s := local(nil)
			s.Backups = func(context.Context, string) (*backup.Store, Ground, error) { return nil, nil, errors.New("no host") }
			return s
		}, check.Unknown, "no host"},
		"own backup in a folder that is none": {"", row, func(t *testing.T) *Scene {
			s := ownBackups(as)(t)
			store, ground, _ := s.Backups(t.Context(), "db")
			store.Dir += "/db-9.dump"
			s.Backups = func(context.Context, string) (*backup.Store, Ground, error) { return store, ground, nil }
			return s
		}, check.Unknown, "not a directory"},
		"own backup on a host that runs nothing": {"", row, func(t *testing.T) *Scene {
			s := ownBackups(as)(t)
			store, _, _ := s.Backups(t.Context(), "db")
			s.Backups = func(context.Context, string) (*backup.Store, Ground, error) { return store, lostHost{}, nil }
			return s
		}, check.Unknown, "connection lost"},
		"own backup on another node": {"backup.count", "backup: {service: db}", func(t *testing.T) *Scene {
			s := ownBackups(func(kept, string) kept { return nil })(t)
			store, ground, _ := s.Backups(t.Context(), "db")
			store.Node = "two"
			s.Backups = func(_ context.Context, service string) (*backup.Store, Ground, error) {
				require.Equal(t, "db", service)
				return store, ground, nil
			}
			return s
		}, check.Fail, "node two"},
		"own backup nowhere": {"", row, func(*testing.T) *Scene { return local(nil) }, check.Unknown, "nobody knows where"},
	}
}

// lostHost is a host to which the connection is lost.
type lostHost struct{ here }

func (lostHost) Run(context.Context, []string, io.Reader) (host.Output, error) {
	return host.Output{}, errors.New("connection lost")
}

// dfHost answers df alone.
type dfHost struct {
	here
	bytes, inodes, missing string
	// docker is what it answers of Docker's folder instead.
	docker string
}

func (h dfHost) Run(_ context.Context, argv []string, _ io.Reader) (host.Output, error) {
	if argv[len(argv)-1] == h.missing {
		return host.Output{Exit: 1, Stderr: []byte("df: No such file or directory")}, nil
	}
	if h.docker != "" && argv[len(argv)-1] == "/var/lib/docker" {
		return host.Output{Stdout: []byte(h.docker)}, nil
	}
	return host.Output{Stdout: []byte(map[string]string{"-Pk": h.bytes, "-Pi": h.inodes}[argv[1]])}, nil
}
