package kind

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/release"
)

// harm is done to a part, has to be seen by a check, and is undone.
type harm struct {
	check string // its number
	name  string
	do    func(*testing.T)
	undo  func(*testing.T)
	found string
	// unknown harm cannot be told from missing data.
	outcome check.Outcome
}

// site is the parts as the thirteen checks of testdata/parts/verify.yml see them.
type site struct {
	*parts
	address, grafana, disk string
	broken                 map[string]string // what the stand-in for Grafana answers, by path
}

// thirteen runs the checks V01 to V13: all of them pass on parts that are well, and
// each fails on the same parts broken in the ways it is for.
func (p *parts) thirteen(t *testing.T) {
	s := &site{parts: p, disk: smallDisk(t), broken: map[string]string{}}
	s.grafana = fakeGrafana(s.broken)(t).URL
	s.address = docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", p.project+"-gateway-1")
	s.scene.URL, s.scene.Version, s.scene.Window = "https://"+s.address, "v2", time.Second
	s.scene.Services = map[string]release.ServiceRecord{"api": {Replicas: 2}}
	for _, name := range []string{"redis", "db", "worker", "beat", "prometheus", "alertmanager", "nginx", "vllm", "frontend", "gateway"} {
		s.scene.Services[name] = release.ServiceRecord{Replicas: 1}
	}
	p.inside("db", `until pg_isready -q -h 127.0.0.1 -U shop; do sleep 0.1; done
psql -q -U shop -c "CREATE TABLE orders(id int PRIMARY KEY)" -c "CREATE TABLE alembic_version(version_num text)" -c "INSERT INTO alembic_version VALUES ('0002')"
mkdir /backups && pg_dump -U shop -Fc -Z 0 -f /backups/a.dump shop`)(t)

	var numbers []string
	for _, c := range s.checks(t) {
		number, _, _ := strings.Cut(c.Name, " ")
		numbers = append(numbers, number)
		s.sees(t, number, check.Pass, "")
	}
	assert.Len(t, numbers, 13)
	seen := map[string]bool{}
	for _, h := range s.harms() {
		t.Run(h.check+" "+h.name, func(t *testing.T) {
			h.do(t)
			if h.undo != nil {
				defer h.undo(t)
			}
			outcome := h.outcome
			if outcome == "" {
				outcome = check.Fail
			}
			s.sees(t, h.check, outcome, h.found)
			seen[h.check] = true
		})
	}
	for _, number := range numbers {
		assert.True(t, seen[number], "no test in which %s fails", number)
	}
	// The steps that follow look at the same parts without a release.
	s.scene.Services, s.scene.URL = nil, ""
}

// checks reads the file as it is for these parts now.
func (s *site) checks(t *testing.T) []Check {
	t.Helper()
	text, err := os.ReadFile("testdata/parts/verify.yml")
	require.NoError(t, err)
	filled := strings.NewReplacer("ADDRESS", s.address, "CA}", fmt.Sprintf("%q}", s.ca), "CA,", fmt.Sprintf("%q,", s.ca), "GRAFANA", s.grafana, "DISK", s.disk).Replace(string(text))
	checks, err := ReadFile("verify.yml", []byte(filled))
	require.NoError(t, err)
	return checks
}

// sees looks until a check has an outcome: parts take a moment to start, to reload, to
// scrape.
func (s *site) sees(t *testing.T, number string, outcome check.Outcome, found string) {
	t.Helper()
	checks := s.checks(t)
	c := checks[slices.IndexFunc(checks, func(c Check) bool { return strings.HasPrefix(c.Name, number) })]
	var f Finding
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		sight := s.scene.Begin(ctx, c.Name)
		c.Look(sight)
		cancel()
		f = sight.Finding
		if c.Level == LevelWarn && f.Outcome == check.Fail {
			f.Outcome = check.Warn // as the contract does
		}
		if f.Outcome == outcome && strings.Contains(f.Expected+" "+f.Found, found) || time.Now().After(end) {
			break
		}
	}
	require.Equal(t, outcome, f.Outcome, "%s: %+v", c.Name, f)
	assert.Contains(t, f.Expected+" "+f.Found, found)
	assert.NotContains(t, fmt.Sprintf("%+v", f), password, "a secret is shown nowhere")
	if outcome != check.Pass {
		assert.NotEmpty(t, f.Expected, "it says what was expected")
		assert.NotEmpty(t, f.Found, "and what was found")
	}
}

// edits changes a file in a unit, and tells nginx of it.
func (s *site) edits(unit, file, script string) func(*testing.T) {
	return func(t *testing.T) {
		docker(t, "exec", s.project+"-"+unit, "sh", "-c", "cp "+file+" /tmp/kept && sed -i '"+script+"' "+file+" && nginx -s reload")
	}
}

func (s *site) mends(unit, file string) func(*testing.T) {
	return func(t *testing.T) {
		docker(t, "exec", s.project+"-"+unit, "sh", "-c", "cat /tmp/kept > "+file+" && nginx -s reload")
	}
}

func (s *site) harms() (all []harm) {
	return slices.Concat(s.containerHarms(), s.edgeHarms(), s.apiHarms(), s.storeHarms(), s.workerHarms(), s.modelHarms(), s.monitoringHarms(), s.hostHarms())
}

func (s *site) containerHarms() []harm {
	unit := func(verb, name string) func(*testing.T) {
		return func(t *testing.T) { docker(t, verb, s.project+"-"+name) }
	}
	return []harm{
		{"V01", "a unit without a healthcheck that died", unit("kill", "api-2"), unit("start", "api-2"), "exited, exit code 137", ""},
		{"V01", "a unit that restarted within the window", func(t *testing.T) {
			s.scene.Window = time.Hour
			docker(t, "restart", "--time", "0", s.project+"-frontend-1")
		}, func(*testing.T) { s.scene.Window = time.Second }, "no restart in 1h", ""},
		{"V01", "a unit that an older release left", func(t *testing.T) { s.unit("celery", "1", nil, services, "sleep", "600") },
			func(t *testing.T) { docker(t, "rm", "--force", s.project+"-celery-1") }, s.project + "-celery-1", ""},
		{"V01", "a unit too many", func(t *testing.T) { s.unit("vllm", "2", nil, services, "sleep", "600") },
			func(t *testing.T) { docker(t, "rm", "--force", s.project+"-vllm-2") }, "1 of vllm 2 of vllm", ""},
		{"V01", "a unit that is unhealthy", func(t *testing.T) {
			docker(t, "rm", "--force", s.project+"-alertmanager-1")
			s.unit("alertmanager", "1", []string{"--health-cmd", "false", "--health-interval", "200ms", "--health-retries", "1"}, services, "sleep", "600")
		}, func(t *testing.T) {
			docker(t, "rm", "--force", s.project+"-alertmanager-1")
			s.alertmanager()
		}, "unhealthy", ""},
	}
}

func (s *site) edgeHarms() []harm {
	const conf, gateway = "/etc/nginx/nginx.conf", "gateway-1"
	mend := s.mends(gateway, conf)
	edit := func(script string) func(*testing.T) { return s.edits(gateway, conf, script) }
	return []harm{
		{"V02", "no redirect to https", edit("s/return 301 .*/return 200;/"), mend, "status 200", ""},
		{"V02", "a location that drops the headers", edit(`s/return 404 "nothing"/add_header X-Mine 1; return 404/`), mend, "headers of a 404: header Strict-Transport-Security", ""},
		{"V02", "old versions of TLS", edit("s/ssl_protocols.*/ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0;/"), mend, "TLS 1.0 is taken", ""},
		{"V02", "a configuration that nginx would not start with", func(t *testing.T) {
			docker(t, "exec", s.project+"-gateway-1", "sh", "-c", "cp "+conf+" /tmp/kept && echo 'upstream' >> "+conf)
		}, mend, "exit code 1", ""},
		{"V02", "an expired certificate", s.recertify("shop.example.org", -1), s.recertify("shop.example.org", 90), "it ended on", ""},
		{"V02", "the certificate of another name", s.recertify("other.example.org", 90), s.recertify("shop.example.org", 90), "other.example.org", ""},
		{"V02", "a certificate that ends soon", s.recertify("shop.example.org", 10), s.recertify("shop.example.org", 90), "it ends in 9 days", check.Warn},
		{"V03", "only one replica behind the gateway", func(t *testing.T) {
			ip := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", s.project+"-api-1")
			edit("s/server api:8000/server " + ip + ":8000/")(t)
		}, mend, "2 different X-Instance in 8 answers 1: ", ""},
		{"V04", "metrics that are public", edit("s/return 403/return 200/"), mend, "metrics are not public: status 403 status 200", ""},
	}
}

func (s *site) apiHarms() []harm {
	const health = "/srv/health"
	mend := s.mends("api-2", health)
	return []harm{
		{"V03", "healthy though the database is disconnected", s.edits("api-2", health, `s/"connected"/"disconnected"/`), mend, `database to be "connected" database is disconnected`, ""},
		{"V03", "unhealthy, which a grep for healthy would take", s.edits("api-2", health, `s/"healthy"/"unhealthy"/`), mend, `status is unhealthy`, ""},
		{"V03", "one replica of the old version", s.edits("api-2", health, `s/"v2"/"v1"/`), mend, `version to be "v2" version is v1`, ""},
		{"V03", "a replica that does not answer", s.edits("api-2", "/etc/nginx/nginx.conf", "s/listen 8000/listen 8001/"), s.mends("api-2", "/etc/nginx/nginx.conf"), "refused", ""},
		{"V04", "a path that is gone", s.edits("api-1", "/etc/nginx/nginx.conf", "s/return 401/return 404/"), s.mends("api-1", "/etc/nginx/nginx.conf"), "status 401 or 422 status 404", ""},
		{"V04", "a path that is not documented", s.edits("api-1", "/srv/openapi.json", `s/login/logon/`), s.mends("api-1", "/srv/openapi.json"), "to be there nothing", ""},
		{"V10", "an asset that browsers may not keep", s.edits("frontend-1", "/etc/nginx/nginx.conf", "s/immutable/max-age=0/"), s.mends("frontend-1", "/etc/nginx/nginx.conf"), "hashed asset: header Cache-Control", ""},
		{"V10", "an asset that the page names and is not there", s.edits("frontend-1", "/srv/index.html", "s/app-1a2b/app-9z9z/"), s.mends("frontend-1", "/srv/index.html"), "hashed asset: status 2xx status 404", ""},
		{"V10", "a deep link that is not found", s.edits("frontend-1", "/etc/nginx/nginx.conf", "s,uri /index.html,uri =404,"), s.mends("frontend-1", "/etc/nginx/nginx.conf"), "status 404", ""},
		{"V10", "the page of the old build", s.edits("frontend-1", "/srv/index.html", `s/"v2"/"v1"/`), s.mends("frontend-1", "/srv/index.html"), "a match of", ""},
	}
}

func (s *site) storeHarms() []harm {
	sql := func(statement string) func(*testing.T) {
		return s.inside("db", `until pg_isready -q -h 127.0.0.1 -U shop; do sleep 0.1; done; psql -q -U shop -c "`+statement+`"`)
	}
	redis := func(words string) func(*testing.T) {
		return s.inside("redis", "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli "+words)
	}
	return []harm{
		{"V05", "another revision than the code's", sql("UPDATE alembic_version SET version_num = '0001'"), sql("UPDATE alembic_version SET version_num = '0002'"), `to be "0002" the answer to SELECT version_num FROM alembic_version is 0001`, ""},
		{"V05", "an invalid index", sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_pkey'::regclass"), sql("UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'orders_pkey'::regclass"), "orders_pkey", ""},
		{"V05", "connections used up", s.inside("db", `for n in 1 2 3 4 5 6 7 8 9 10 11; do (psql -U shop -c "SELECT pg_sleep(60)" >/dev/null 2>&1 &) ; done`),
			sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"), "less than 0.5 of max_connections in use in use are", ""},
		{"V05", "a table that is not there", sql("ALTER TABLE alembic_version RENAME TO away"), sql("ALTER TABLE away RENAME TO alembic_version"), "does not exist", ""},
		{"V05", "a server that takes nobody in", func(t *testing.T) { docker(t, "pause", s.project+"-db-1") }, func(t *testing.T) { docker(t, "unpause", s.project+"-db-1") }, "", ""},
		{"V06", "open to all", redis(`config set requirepass ""`), s.inside("redis", "redis-cli config set requirepass $REDIS_PASSWORD"), "NOAUTH for a client without a password PONG", ""},
		{"V06", "another password: NOAUTH or WRONGPASS, and exit code 0", redis("config set requirepass other"), s.inside("redis", "REDISCLI_AUTH=other redis-cli config set requirepass $REDIS_PASSWORD"), "PONG", ""},
		{"V06", "no append-only file", redis("config set appendonly no"), redis("config set appendonly yes"), "aof_enabled:0", ""},
		{"V06", "memory used up", redis("config set maxmemory 1mb"), redis("config set maxmemory 64mb"), "", ""},
		{"V06", "queues may be evicted", redis("config set maxmemory-policy allkeys-lru"), redis("config set maxmemory-policy noeviction"), "allkeys-lru", check.Warn},
	}
}

func (s *site) workerHarms() []harm {
	celery := func(words string) func(*testing.T) { return s.inside("worker", "celery -A tasks control "+words) }
	return []harm{
		{"V07", "a queue that nobody reads", celery("cancel_consumer ocr"), celery("add_consumer ocr"), "a worker that reads ocr they read celery, default", ""},
		{"V07", "a queue that nobody may read", celery("add_consumer dead_letter"), celery("cancel_consumer dead_letter"), "no worker that reads dead_letter", ""},
		{"V07", "every slot has work", s.inside("worker", "celery -A tasks call long --args '[120]' > /tmp/long"), s.inside("worker", "celery -A tasks control terminate SIGTERM $(cat /tmp/long)"),
			"all 1 slots have another task", check.Warn},
		{"V07", "a worker of an older release", func(t *testing.T) {
			name := s.project + "-old-worker"
			docker(t, "run", "--detach", "--name", name, "--network", s.project, "--env", "REDIS_PASSWORD="+password, "--volume", s.folder+":/parts:ro", "--workdir", "/parts",
				services, "celery", "-A", "tasks", "worker", "-c", "1", "-Q", "default", "--without-mingle", "--without-gossip")
		}, func(t *testing.T) { docker(t, "rm", "--force", s.project+"-old-worker") }, "workers of this release's units only", ""},
		{"V08", "a beat that hangs", s.inside("beat", "kill -STOP $(cat /tmp/pid)"), s.inside("beat", "kill -CONT $(cat /tmp/pid)"), "a time less than 4s away", ""},
		{"V08", "a beat that is gone", func(t *testing.T) { docker(t, "kill", s.project+"-beat-1") }, func(t *testing.T) { docker(t, "start", s.project+"-beat-1") }, "exited", ""},
		{"V08", "two beats", func(t *testing.T) { s.unit("beat", "2", nil, services, "sleep", "600") }, func(t *testing.T) { docker(t, "rm", "--force", s.project+"-beat-2") }, "1 of beat 2 of beat", ""},
	}
}

func (s *site) modelHarms() []harm {
	return []harm{
		{"V09", "a stand-in for vLLM that says it is ill", s.inside("vllm", "touch /tmp/broken"), s.inside("vllm", "rm /tmp/broken"), "status 503", ""},
		{"V09", "a stand-in for nvidia-smi without a GPU", s.inside("vllm", "touch /tmp/no-gpu"), s.inside("vllm", "rm /tmp/no-gpu"), "a GPU driver that answers", ""},
		{"V12", "a fake Grafana whose database is ill", func(*testing.T) { s.broken["/api/health"] = `!{"commit":"x","database":"failing","version":"10.1.5"}` },
			func(*testing.T) { delete(s.broken, "/api/health") }, "failing", check.Warn},
		{"V12", "a fake Grafana whose panel has no data", func(*testing.T) {
			s.broken["/api/ds/query"] = `{"results":{"A":{"status":200,"frames":[{"schema":{"refId":"A","fields":[]},"data":{"values":[]}}]}}}`
		},
			func(*testing.T) { delete(s.broken, "/api/ds/query") }, "without data", check.Unknown},
	}
}

func (s *site) monitoringHarms() []harm {
	hup := "; kill -HUP 1"
	mend := s.inside("prometheus", "cat /parts/prometheus.yml > /tmp/prometheus.yml"+hup)
	return []harm{
		{"V11", "a target that is down", s.edits("frontend-1", "/etc/nginx/nginx.conf", "s,location = /metrics {,location = /metrics { return 500;,"), s.mends("frontend-1", "/etc/nginx/nginx.conf"), "of frontend is down", ""},
		{"V11", "a rule group that did not load", s.inside("prometheus", "sed -i s/rules.yml/no.yml/ /tmp/prometheus.yml"+hup), mend, "3 alerting rules 0 are loaded", ""},
		{"V11", "a configuration that did not load", s.inside("prometheus", "echo broken >> /tmp/prometheus.yml"+hup), mend, "the last reload failed", ""},
		{"V11", "a query without data", s.inside("prometheus", "sed -i 's/frontend:3000.*/frontend:3000\"]}], metric_relabel_configs: [{source_labels: [__name__], regex: pages_built, action: drop}]}/' /tmp/prometheus.yml"+hup), mend, "an answer without data", check.Unknown},
		{"V11", "a new critical alert", s.inside("frontend", "cp /srv/metrics /tmp/kept; echo pages_built 1 > /srv/metrics"), nil, "FewPages fires since", ""},
		{"V11", "the same alert, when it fired before the release", func(t *testing.T) {
			checks := s.checks(t)
			c := checks[slices.IndexFunc(checks, func(c Check) bool { return strings.HasPrefix(c.Name, "V11") })]
			s.scene.Before = map[string][]string{}
			for _, p := range c.Prometheuses() {
				s.scene.Before[c.Name], _ = p.Baseline(s.scene.Begin(t.Context(), c.Name))
			}
			assert.NotEmpty(t, s.scene.Before[c.Name])
		}, func(t *testing.T) {
			s.scene.Before = nil
			s.inside("frontend", "cat /tmp/kept > /srv/metrics")(t)
		}, "pages_built is 1", ""},
		{"V11", "an Alertmanager whose configuration did not load", s.inside("alertmanager", "cp /tmp/alertmanager.yml /tmp/kept; echo broken >> /tmp/alertmanager.yml"+hup), s.inside("alertmanager", "cat /tmp/kept > /tmp/alertmanager.yml"+hup), "the last reload failed", ""},
	}
}

func (s *site) hostHarms() []harm {
	return []harm{
		{"V13", "a disk that is full", func(t *testing.T) {
			require.NoError(t, os.WriteFile(filepath.Join(s.disk, "full"), make([]byte, 1000<<10), 0o600))
		}, func(t *testing.T) { require.NoError(t, os.Remove(filepath.Join(s.disk, "full"))) }, "of the bytes of", ""},
		{"V13", "a disk without inodes", func(t *testing.T) {
			for n := range 95 {
				require.NoError(t, os.WriteFile(filepath.Join(s.disk, fmt.Sprint(n)), nil, 0o600))
			}
		}, func(t *testing.T) {
			for n := range 95 {
				require.NoError(t, os.Remove(filepath.Join(s.disk, fmt.Sprint(n))))
			}
		}, "of the inodes of", ""},
		{"V13", "a dump that was cut off", s.inside("db", `head -c $(($(stat -c %s /backups/a.dump) - 80)) /backups/a.dump > /backups/b.dump && touch -d '+1 second' /backups/b.dump`),
			s.inside("db", "rm /backups/b.dump"), "a dump that pg_restore reads to its end", ""},
		{"V13", "a dump that shrank", s.inside("db", `touch -d '-1 hour' /backups/a.dump; head -c 500 /backups/a.dump > /backups/b.dump`), s.inside("db", "rm /backups/b.dump"), "of the size of the one before", ""},
		{"V13", "an old dump", s.inside("db", "touch -d '-30 hours' /backups/a.dump"), s.inside("db", "touch /backups/a.dump"), "the newest is 30h", ""},
		{"V13", "no dump", s.inside("db", "mv /backups/a.dump /"), s.inside("db", "mv /a.dump /backups"), "0 dumps", ""},
		{"V13", "a dump of plain SQL that ended in the middle", s.inside("db", `touch -d '-1 hour' /backups/a.dump; pg_dump -U shop shop | head -n 25 | gzip > /backups/b.sql.gz; cp /backups/b.sql.gz /backups/a.sql.gz; touch -d '+1 second' /backups/b.sql.gz`),
			s.inside("db", "rm /backups/*.gz"), "the line that pg_dump writes last", ""},
	}
}

// smallDisk is a file system of a megabyte and a hundred inodes.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "tmpfs", dir).CombinedOutput()
	require.NoError(t, err, "a disk that fills needs a small file system, and so root: %s", out)
	t.Cleanup(func() {
		out, err := exec.Command("umount", dir).CombinedOutput()
		require.NoError(t, err, string(out))
	})
	return dir
}
