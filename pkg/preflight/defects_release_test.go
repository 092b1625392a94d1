package preflight_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
)

const flow = ".github/workflows/d.yml"

func TestD2_AMigrationInTheOldImage(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": twoServices}
	early := look(t, f.with(files{flow: workflow("docker compose run --rm api alembic upgrade head\ndocker compose pull\ndocker compose up -d")}), "")
	reported(t, early, "P16.migration", check.Warn, flow+":9", "it is the old code's")
	inside := look(t, f.with(files{flow: workflow("docker compose pull\ndocker compose exec -T api alembic upgrade head\ndocker compose up -d")}), "")
	reported(t, inside, "P16.migration", check.Warn, flow+":9", "it is the old code's")
	sound(t, look(t, f.with(files{flow: workflow("docker compose pull\ndocker compose run --rm api alembic upgrade head\ndocker compose up -d")}), ""), "P16.migration")
}

func TestD5_ARollbackThatCannotConnect(t *testing.T) {
	t.Parallel()
	const head = "on: push\npermissions: {contents: read}\nconcurrency: deploy\njobs:\n  deploy:\n    runs-on: ubuntu-latest\n    environment: production\n    steps:\n      - run: eval $(ssh-agent) && ssh-add key && ssh h docker compose up -d\n"
	const back = "  rollback:\n    needs: deploy\n    if: needs.deploy.result == 'failure'\n    environment: production\n    runs-on: %s\n    steps:\n      - run: %s\n"
	f := files{"compose.yaml": twoServices}
	job := func(machine, script string) files {
		return f.with(files{flow: head + fmt.Sprintf(back, machine, script)})
	}
	reported(t, look(t, job("ubuntu-latest", "ssh deploy@host docker compose up -d"), ""), "P16.ssh-key", check.Warn, flow+":16", "job rollback connects, and nothing in this job loads a key")
	sound(t, look(t, job("ubuntu-latest", "ssh -i key -o UserKnownHostsFile=hosts deploy@host docker compose up -d"), ""), "P16.ssh-key")
	sound(t, look(t, job("self-hosted", "ssh deploy@host docker compose up -d"), ""), "P16.ssh-key")
}

func TestD10_ATagThatWasNeverPushed(t *testing.T) {
	t.Parallel()
	const build = "on: {push: {tags: ['v*']}}\npermissions: {contents: read}\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n" +
		"      - uses: docker/metadata-action@0123456789012345678901234567890123456789\n        with:\n          images: ghcr.io/team/shop/backend\n          tags: |\n            type=semver,pattern={{version}}\n"
	f := files{"compose.yaml": twoServices, ".github/workflows/build.yml": build}
	const login = "docker login ghcr.io -u x --password-stdin <token\n"
	look1 := func(script string) *check.Report { return look(t, f.with(files{flow: workflow(script)}), "") }
	bad := look1("docker manifest inspect ghcr.io/team/shop/backend:${{ github.ref_name }}")
	reported(t, bad, "P16.tag", check.Warn, flow+":9", "pushes it without the v")
	reported(t, bad, "P16.login", check.Warn, flow+":9", "without a login")
	reported(t, look1(login+"docker manifest inspect ghcr.io/team/shop/backend:$VERSION"), "P16.tag", check.Warn, flow+":9", "pushes it without the v")
	good := look1(login + "docker manifest inspect \"ghcr.io/team/shop/backend:${VERSION#v}\"")
	sound(t, good, "P16.tag")
	sound(t, good, "P16.login")
}

func TestD28_ABuildThatCannotWork(t *testing.T) {
	t.Parallel()
	const build = "on: push\npermissions: {contents: read}\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n" +
		"      - uses: docker/build-push-action@0123456789012345678901234567890123456789\n        with: {context: frontend, push: true, tags: team/shop/frontend}\n"
	f := files{"compose.yaml": twoServices, flow: build}
	reported(t, look(t, f, ""), "P16.dockerfile", check.Warn, flow+":7", "builds from frontend/Dockerfile, which the repository does not have")
	lean := look(t, f.with(files{"frontend/Dockerfile": "FROM node:20\nCOPY . .\nRUN npm ci --only=production\nRUN npx tsc && npx vite build\n"}), "")
	sound(t, lean, "P16.dockerfile")
	reported(t, lean, "P16.build-packages", check.Warn, "frontend/Dockerfile:4", "installs the production packages only")
	good := look(t, f.with(files{"frontend/Dockerfile": "FROM node:20 AS build\nRUN npm ci\nRUN npm run build\nFROM node:20\nRUN npm ci --omit=dev\nCOPY --from=build /dist /dist\n"}), "")
	sound(t, good, "P16.dockerfile")
	sound(t, good, "P16.build-packages")
}

func TestD35_ABackupThatIsNone(t *testing.T) {
	t.Parallel()
	const stack = "services:\n  postgres_backup:\n    image: postgres:15\n    entrypoint: [sh, /backup.sh]\n    volumes: [\"./scripts/backup.sh:/backup.sh:ro\"]\n"
	_, _, err := load(t, files{"compose.yaml": stack}, "")
	assert.ErrorContains(t, err, "scripts/backup.sh", "Docker would make a folder of that name")
	const script = "#!/bin/sh\nset -e\npg_dump -h postgres shop | gzip > /backups/$(date +%F).gz\nif [ $? -eq 0 ]; then echo completed successfully; fi\nfind /backups -mtime +7 -delete\n"
	bad := look(t, files{"compose.yaml": stack, "scripts/backup.sh": script}, "")
	reported(t, bad, "P12.pipefail", check.Warn, "scripts/backup.sh:3", "taken for a good one")
	sound(t, look(t, files{"compose.yaml": stack, "scripts/backup.sh": strings.ReplaceAll(script, "set -e", "set -euo pipefail")}, ""), "P12.pipefail")
	inline := "services:\n  b:\n    image: postgres:15\n    command: [sh, -c, \"pg_dump shop | gzip > /b.gz\"]\n"
	reported(t, look(t, files{"compose.yaml": inline}, ""), "P12.pipefail", check.Warn, "compose.yaml:4", "taken for a good one")
}

// Only PostgreSQL is dumped: of another database each release was refused after its pull.
func TestBackupsAreOfPostgres(t *testing.T) {
	t.Parallel()
	const only = "services:\n  db:\n    image: %s\n    x-shiksha:\n      backups: {}\n"
	const stack = only + "  api:\n    image: shop\n    x-shiksha:\n      migrate: {command: [migrate]}\n"
	for _, image := range []string{"mariadb:11", "docker.io/library/mysql:8", "redis:7", "cockroachdb/cockroach:v24", "ghcr.io/team/mongo:7"} {
		r := look(t, files{"compose.yaml": fmt.Sprintf(stack, image)}, "")
		reported(t, r, "P12.postgres", check.Fail, "compose.yaml:5", "only PostgreSQL is dumped")
		assert.Contains(t, about(r, "P12.postgres")[0].Hint, "backed-up-elsewhere")
		// Where nothing migrates no release dumps it.
		reported(t, look(t, files{"compose.yaml": fmt.Sprintf(only, image)}, ""), "P12.postgres", check.Warn, "compose.yaml:5", "only PostgreSQL is dumped")
	}
	for _, image := range []string{"postgres:16", "bitnami/postgresql:16", "postgis/postgis:16-3.4", "pgvector/pgvector:pg16", "timescale/timescaledb:latest-pg16", "ghcr.io/team/shop-db:1"} {
		sound(t, look(t, files{"compose.yaml": fmt.Sprintf(stack, image)}, ""), "P12.postgres")
	}
	sound(t, look(t, files{"compose.yaml": "services:\n  db: {image: \"mariadb:11\"}\n"}, ""), "P12.postgres")
}

// A plan is no deployment: a fork's has neither an environment nor a host.
func TestAPlanNeedsNoEnvironment(t *testing.T) {
	t.Parallel()
	const job = "on: pull_request\npermissions: {contents: read}\njobs:\n  plan:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: shiksha/actions/deploy@v1\n        with: {dry-run: %s}\n"
	f := files{"compose.yaml": twoServices}
	reported(t, look(t, f.with(files{flow: fmt.Sprintf(job, "false")}), ""), "P16.environment", check.Warn, flow+":4", "everybody who may push may release")
	plan := look(t, f.with(files{flow: fmt.Sprintf(job, "true")}), "")
	sound(t, plan, "P16.environment")
	sound(t, plan, "P16.concurrency")
}

// The page of the defects and the tests are kept together: each row has a test that
// is named after it.
func TestEveryDefectHasItsTest(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/defects.md")
	require.NoError(t, err)
	paths, err := filepath.Glob("defects*_test.go")
	require.NoError(t, err)
	var code strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		code.Write(text)
	}
	for n := 1; n <= 37; n++ {
		assert.Contains(t, string(page), fmt.Sprintf("\n| D%d |", n))
		assert.Regexp(t, fmt.Sprintf(`func Test(D\d+_)*D%d_`, n), code.String())
	}
}
