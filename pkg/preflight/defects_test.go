package preflight_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// The defects are those of a stack that nobody ever got into production; the table
// is in docs/defects.md. Each has a fixture with the defect, and a sound one.

func workflow(script string) string {
	text := "on: push\npermissions: {contents: read}\nconcurrency: deploy\njobs:\n  deploy:\n    runs-on: ubuntu-latest\n    environment: production\n    steps:\n      - run: |\n"
	return text + indent(script, "          ")
}

func indent(text, by string) string {
	out := ""
	for _, line := range splitLines(text) {
		out += by + line + "\n"
	}
	return out
}

func splitLines(text string) []string {
	var out []string
	for start, i := 0, 0; i <= len(text); i++ {
		if i == len(text) || text[i] == '\n' {
			out = append(out, text[start:i])
			start = i + 1
		}
	}
	return out
}

const twoServices = "services:\n  api:\n    image: example/backend:v1\n  celery_worker:\n    image: example/backend:v1\n    stop_grace_period: 30m\n"

func TestD1_AServiceThatIsNotThere(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": twoServices}
	bad := look(t, f.with(files{".github/workflows/d.yml": workflow("docker compose up -d --scale backend=6 celery-worker")}), "")
	reported(t, bad, "P16.services", check.Warn, ".github/workflows/d.yml:9", "the service backend")
	reported(t, bad, "P16.services", check.Warn, ".github/workflows/d.yml:9", "the service celery-worker")
	sound(t, look(t, f.with(files{".github/workflows/d.yml": workflow("docker compose up -d --scale api=6 celery_worker")}), ""), "P16.services")

	_, err := deploy.Run(t.Context(), deploy.Options{Workspace: workspace(t, f), Services: []string{"backend"}}, event.Discard)
	assert.Equal(t, fault.Input, fault.Of(err), "deploy itself refuses the name")
	assert.ErrorContains(t, err, `no service "backend"`)
}

func TestD3_ARemoteScriptThatGoesOnAfterAnError(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": twoServices}
	bad := look(t, f.with(files{".github/workflows/d.yml": workflow("ssh deploy@host bash -s <<'EOF'\nalembic upgrade head\necho done\nEOF")}), "")
	reported(t, bad, "P16.remote-errors", check.Warn, ".github/workflows/d.yml:9", "goes on after an error")
	sound(t, look(t, f.with(files{".github/workflows/d.yml": workflow("ssh deploy@host bash -s <<'EOF'\nset -euo pipefail\nalembic upgrade head\necho done\nEOF")}), ""), "P16.remote-errors")
}

func TestD4_ALoopThatPassesWhenEveryTryFailed(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": twoServices}
	const loop = "for i in $(seq 10); do\n  curl -f https://shop.example.org/health && exit 0\n  sleep 6\ndone"
	reported(t, look(t, f.with(files{".github/workflows/d.yml": workflow(loop)}), ""), "P16.loop", check.Warn, ".github/workflows/d.yml:9", "ends with sleep")
	sound(t, look(t, f.with(files{".github/workflows/d.yml": workflow(loop + "\nexit 1")}), ""), "P16.loop")
}

func TestD6_GoingBackIsToTheLastVerifiedRelease(t *testing.T) {
	t.Parallel()
	l := ledger(t, release.Record{Version: "v1.0.0", Outcome: release.Verified}, release.Record{Version: "v1.1.0-bad", Outcome: release.Failed})
	last, ok := l.LatestVerified()
	require.True(t, ok)
	assert.Equal(t, "v1.0.0", last.Version, "the newest record is a release that failed; nobody goes back to it")
}

func TestD7_GoingBackThatGoesForward(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": "services:\n  api:\n    image: example/backend:${VERSION:-latest}\n"}
	reported(t, look(t, f, ""), "P02.latest", check.Warn, "compose.yaml:3", "has no version")
	sound(t, look(t, f, "VERSION=v1"), "P02.latest")
}

func TestD8_ARollbackWhateverFailed(t *testing.T) {
	t.Parallel()
	jobs := func(condition string) files {
		return files{"compose.yaml": twoServices, ".github/workflows/d.yml": `on: push
permissions: {contents: read}
concurrency: deploy
jobs:
  check:
    runs-on: ubuntu-latest
    steps: [{run: "true"}]
  deploy:
    needs: check
    runs-on: ubuntu-latest
    environment: production
    steps: [{uses: shiksha/actions/deploy@v1, with: {host: a@b}}]
  rollback:
    needs: deploy
    if: ` + condition + `
    runs-on: ubuntu-latest
    environment: production
    steps: [{run: ./rollback}]
`}
	}
	reported(t, look(t, jobs("failure()"), ""), "P16.rollback", check.Warn, ".github/workflows/d.yml:15", "any job before failed")
	sound(t, look(t, jobs("failure() && needs.deploy.result == 'failure'"), ""), "P16.rollback")
}

func TestD9_TheDeployedImageIsNotTheBuiltOne(t *testing.T) {
	t.Parallel()
	build := `on: push
permissions: {packages: write}
env: {REGISTRY: ghcr.io}
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: docker/metadata-action@0123456789012345678901234567890123456789
        with:
          images: ${{ env.REGISTRY }}/${{ github.repository_owner }}/shop/backend
`
	bad := files{"compose.yaml": "services:\n  api:\n    image: shop/backend:v1\n", ".github/workflows/build.yml": build}
	reported(t, look(t, bad, ""), "P01.images", check.Warn, "compose.yaml:3", "ghcr.io/*/shop/backend")
	sound(t, look(t, bad.with(files{"compose.yaml": "services:\n  api:\n    image: ghcr.io/example/shop/backend:v1\n"}), ""), "P01.images")
}

func TestD11_ASecretInTheTextOfARemoteCommand(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": twoServices}
	bad := look(t, f.with(files{".github/workflows/d.yml": workflow("ssh deploy@host bash -s <<EOF\nset -e\necho ${{ secrets.TOKEN }} | docker login ghcr.io --password-stdin\nEOF")}), "")
	reported(t, bad, "P16.remote-secrets", check.Warn, ".github/workflows/d.yml:9", "part of the remote command")
	sound(t, look(t, f.with(files{".github/workflows/d.yml": workflow("ssh deploy@host bash -s <<'EOF'\nset -e\nuptime\nEOF")}), ""), "P16.remote-secrets")
}

func TestD12_TrustOnEveryUse(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": twoServices}
	bad := look(t, f.with(files{".github/workflows/d.yml": workflow("ssh-keyscan host >> ~/.ssh/known_hosts") + "      - uses: example/scan@master\n"}), "")
	reported(t, bad, "P16.keyscan", check.Warn, ".github/workflows/d.yml:9", "trusts whoever answers")
	reported(t, bad, "P16.pinned", check.Warn, ".github/workflows/d.yml:11", "example/scan@master")
	good := look(t, f.with(files{".github/workflows/d.yml": workflow("true") + "      - uses: example/scan@0123456789012345678901234567890123456789 # v1\n"}), "")
	sound(t, good, "P16.keyscan")
	sound(t, good, "P16.pinned")
}

func TestD13_NothingKeepsTwoDeploymentsApart(t *testing.T) {
	t.Parallel()
	bad := look(t, files{"compose.yaml": twoServices, ".github/workflows/d.yml": "on: push\npermissions: {contents: read}\njobs:\n  deploy:\n    runs-on: ubuntu-latest\n    steps:\n      - {uses: shiksha/actions/deploy@v1, with: {host: a@b}}\n"}, "")
	reported(t, bad, "P16.concurrency", check.Warn, ".github/workflows/d.yml:4", "two of it may run at once")
	reported(t, bad, "P16.environment", check.Warn, ".github/workflows/d.yml:4", "has no environment")
	good := look(t, files{"compose.yaml": twoServices, ".github/workflows/d.yml": workflow("shiksha deploy")}, "")
	sound(t, good, "P16.concurrency")
	sound(t, good, "P16.environment")
}

func TestD14_AFileMountThatKeepsTheOldContent(t *testing.T) {
	t.Parallel()
	bad := files{"compose.yaml": "services:\n  web:\n    image: nginx:1.27\n    volumes:\n      - /opt/shop/nginx.conf:/etc/nginx/nginx.conf:ro\n"}
	reported(t, look(t, bad, ""), "P02.host-file", check.Warn, "compose.yaml:5", "keeps the old one")
	good := files{"compose.yaml": "services:\n  web:\n    image: nginx:1.27\n    volumes:\n      - ./nginx.conf:/etc/nginx/nginx.conf:ro\n", "nginx.conf": "events {}\nhttp {}\n"}
	sound(t, look(t, good, ""), "P02.host-file")

	before, after := pinned(t, good), pinned(t, good.with(files{"nginx.conf": "events {}\nhttp { server_tokens off; }\n"}))
	running := stack.Observed{Units: map[string][]stack.Unit{"web": {{ID: "1", Service: "web", Number: 1, State: stack.Running,
		Health: stack.NoHealth, Hash: before.Services["web"].Hash, Image: before.Services["web"].Pinned}}}}
	assert.Equal(t, plan.StopFirst, plan.Make(plan.Input{Desired: after, Observed: running}).Step("web").Action,
		"a changed file is another mount: the container is replaced, not left with the old one")
}

func TestD15_AVariableThatRendersEmpty(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": "services:\n  db:\n    image: postgres:15\n    env_file: prod.env\n    environment:\n      DSN: postgres://app:${POSTGRES_PASSWORD}@db/app\n", "prod.env": "POSTGRES_PASSWORD=x\n"}
	_, _, err := load(t, f, "")
	assert.Equal(t, fault.Input, fault.Of(err))
	assert.ErrorContains(t, err, "POSTGRES_PASSWORD (line 6")
	_, _, err = load(t, f, "POSTGRES_PASSWORD=x")
	assert.NoError(t, err)
}

func nginxStack(conf string) files {
	return files{
		"compose.yaml": `services:
  api:
    image: example/api:v1
    networks: [front]
    deploy: {replicas: 3}
  vllm:
    image: example/llm:v1
    networks: [back]
    ports: ["127.0.0.1:8001:8000"]
  nginx:
    image: nginx:1.27
    networks: [front]
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://localhost:80/health"]}
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf:ro
      - uploads:/usr/share/nginx/html/uploads:ro
networks: {front: {}, back: {}}
volumes: {uploads: {}}
`,
		"nginx.conf": "events {}\nhttp {\n" + conf + "\n}\n",
	}
}

func TestD16_NamesThatNginxDoesNotFind(t *testing.T) {
	t.Parallel()
	bad := look(t, nginxStack("upstream api {\n server api-1:8000;\n}\nserver {\n location / { proxy_pass http://api; }\n location /ml { proxy_pass http://vllm:8001; }\n}"), "")
	reported(t, bad, "P05.hosts", check.Fail, "nginx.conf:4", "no service is called api-1")
	reported(t, bad, "P05.hosts", check.Fail, "nginx.conf:8", "vllm is on no network that nginx is on")
	assert.Equal(t, check.Fail, bad.Worst(check.Fail), "nginx would not start: nothing is released")
	good := look(t, nginxStack("upstream backend {\n server api:8000;\n}\nserver {\n location / { proxy_pass http://backend; }\n}"), "")
	sound(t, good, "P05.hosts")
	sameNet := nginxStack("server {\n location / { proxy_pass http://vllm:8001; }\n}")
	sameNet["compose.yaml"] = replace(sameNet["compose.yaml"], "networks: [back]", "networks: [front]")
	reported(t, look(t, sameNet, ""), "P05.hosts", check.Warn, "nginx.conf:4", "it listens on 8000")
}

func TestD17_AHealthCheckThatDependsOnThePublicName(t *testing.T) {
	t.Parallel()
	bad := look(t, nginxStack("server {\n listen 80;\n location / { return 301 https://$host$request_uri; }\n}"), "")
	reported(t, bad, "P05.health", check.Warn, "compose.yaml:13", "nginx.conf:5 redirects")
	sound(t, look(t, nginxStack("server {\n listen 80;\n location = /health { return 200; }\n location / { return 301 https://$host$request_uri; }\n}"), ""), "P05.health")
}

func TestD18_RateLimitingThatLooksLikeAnOutage(t *testing.T) {
	t.Parallel()
	const zone = "limit_req_zone $binary_remote_addr zone=api:10m rate=10r/s;\n"
	reported(t, look(t, nginxStack(zone+"server { location / { limit_req zone=api; return 200; } }"), ""), "P05.limits", check.Warn, "nginx.conf:4", "get 503")
	sound(t, look(t, nginxStack(zone+"limit_req_status 429;\nserver { location / { limit_req zone=api; return 200; } }"), ""), "P05.limits")
}

func TestD19_AHeaderThatDropsTheOthers(t *testing.T) {
	t.Parallel()
	const top = "add_header Strict-Transport-Security max-age=1;\n"
	bad := look(t, nginxStack(top+"server {\n location /uploads/ {\n  add_header Cache-Control private;\n }\n}"), "")
	reported(t, bad, "P05.headers", check.Warn, "nginx.conf:6", "drops the inherited Strict-Transport-Security")
	sound(t, look(t, nginxStack(top+"server {\n location /uploads/ {\n  add_header Cache-Control private; add_header Strict-Transport-Security max-age=1;\n }\n}"), ""), "P05.headers")
}

func TestD20_FailuresThatEjectEveryUnit(t *testing.T) {
	t.Parallel()
	bad := look(t, nginxStack("upstream backend {\n server api:8000 max_fails=3 fail_timeout=30s;\n}"), "")
	reported(t, bad, "P05.max-fails", check.Warn, "nginx.conf:4", "gets nothing for 30s")
	sound(t, look(t, nginxStack("upstream backend {\n server api:8000 max_fails=0;\n}"), ""), "P05.max-fails")
}

func TestD21_FilesAndFiguresThatAreNotThere(t *testing.T) {
	t.Parallel()
	f := nginxStack("server {\n location /uploads/ { alias /var/www/uploads/; }\n}")
	reported(t, look(t, f, ""), "P05.alias", check.Warn, "nginx.conf:4", "nothing is mounted at /var/www/uploads/")
	sound(t, look(t, nginxStack("server {\n location /uploads/ { alias /usr/share/nginx/html/uploads/; }\n}"), ""), "P05.alias")

	exporter := "  exporter:\n    image: nginx/nginx-prometheus-exporter:1.4\n    command: [--nginx.scrape-uri=http://nginx:8080/stub_status]\n    networks: [front]\nnetworks:"
	f["compose.yaml"] = replace(f["compose.yaml"], "networks: {front", exporter+" {front")
	reported(t, look(t, f, ""), "P05.stub-status", check.Warn, "compose.yaml:19", "which nginx does not serve")
	f["nginx.conf"] = "events {}\nhttp { server { listen 8080; location = /stub_status { stub_status; } } }\n"
	sound(t, look(t, f, ""), "P05.stub-status")
}

func TestD22_DatabasesOpenToEverybody(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": "services:\n  postgres:\n    image: pgvector/pgvector:pg16\n    ports:\n      - \"5432:5432\"\n  prometheus:\n    image: prom/prometheus:v2.47.0\n    ports: [\"9090:9090\"]\n"}
	bad := look(t, f, "")
	reported(t, bad, "P02.database-ports", check.Fail, "compose.yaml:5", "port 5432 of a database")
	reported(t, bad, "P02.ports", check.Warn, "compose.yaml:8", "port 9090")
	assert.Equal(t, check.Fail, bad.Worst(check.Fail))
	f["compose.yaml"] = replace(replace(f["compose.yaml"], "\"5432", "\"127.0.0.1:5432"), "\"9090", "\"127.0.0.1:9090")
	good := look(t, f, "")
	sound(t, good, "P02.database-ports")
	sound(t, good, "P02.ports")
}

func TestD23_APortThatNobodyPublishes(t *testing.T) {
	t.Parallel()
	script := workflow("ssh deploy@host 'curl -f http://localhost:8000/health'")
	reported(t, look(t, files{"compose.yaml": twoServices, ".github/workflows/d.yml": script}, ""), "P16.ports", check.Warn, ".github/workflows/d.yml:9", "port 8000")
	published := replace(twoServices, "  api:\n", "  api:\n    ports: [\"127.0.0.1:8000:8000\"]\n")
	sound(t, look(t, files{"compose.yaml": published, ".github/workflows/d.yml": script}, ""), "P16.ports")
}

func TestD24_AHealthCheckThatAlwaysPasses(t *testing.T) {
	t.Parallel()
	redis := func(check string) files {
		return files{"compose.yaml": "services:\n  redis:\n    image: redis:7-alpine\n    command: redis-server --requirepass ${REDIS_PASSWORD}\n    healthcheck:\n      test: " + check + "\n"}
	}
	const env = "REDIS_PASSWORD=0123456789abcdef"
	reported(t, look(t, redis(`["CMD", "redis-cli", "--raw", "incr", "ping"]`), env), "P02.health-lies", check.Warn, "compose.yaml:6", "NOAUTH")
	sound(t, look(t, redis(`["CMD-SHELL", "REDISCLI_AUTH=$$REDIS_PASSWORD redis-cli ping | grep -q PONG"]`), env), "P02.health-lies")
}

func TestD25_ABrokerThatForgets(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": `services:
  redis:
    image: redis:7
    command: redis-server --maxmemory 512mb --maxmemory-policy allkeys-lru
  celery_worker:
    image: example/backend:v1
    command: celery -A app worker
    environment:
      CELERY_BROKER_URL: redis://redis:6379/0
`}
	reported(t, look(t, f, ""), "P02.eviction", check.Warn, "compose.yaml:4", "queued tasks of celery_worker")
	f["compose.yaml"] = replace(f["compose.yaml"], "allkeys-lru", "noeviction")
	sound(t, look(t, f, ""), "P02.eviction")
}

func TestD26_AWorkerKilledInTheMiddleOfItsTask(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": "services:\n  celery_worker:\n    image: example/backend:v1\n    command: celery -A app worker --time-limit=1800\n"}
	reported(t, look(t, f, ""), "P02.stop-grace", check.Warn, "compose.yaml:2", "a task may take 30m0s, but a stop kills it after 10s")
	sound(t, look(t, files{"compose.yaml": f["compose.yaml"] + "    stop_grace_period: 31m\n"}, ""), "P02.stop-grace")
}

func TestD27_HealthyIsPartOfUnhealthy(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": "services:\n  api:\n    image: example/api:v1\n    healthcheck: {test: \"curl -s localhost:8000/health | grep healthy\"}\n"}
	reported(t, look(t, f, ""), "P02.health-lies", check.Warn, "compose.yaml:4", "in unhealthy too")
	f["compose.yaml"] = replace(f["compose.yaml"], "grep healthy", "grep -qw healthy")
	sound(t, look(t, f, ""), "P02.health-lies")
}
