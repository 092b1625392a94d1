package preflight_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
)

// What a flag of Compose takes is no service.
func TestValuesOfFlagsAreNoServices(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": twoServices}
	for _, script := range []string{
		"docker compose up -d --pull always api", "docker compose exec -u postgres api psql", "docker compose up --timeout 30s api",
		"docker compose exec -Tu postgres -w /srv api psql", "docker compose exec -upostgres api psql", "docker compose run --rm --entrypoint sh api -c true",
		"docker compose run -e MODE --name once api backup", "docker compose up --pull=always -d api", "docker compose stop -t 30s api",
		"docker compose pull --policy missing api", "docker compose up --wait --wait-timeout 5m api", "docker compose exec -it api sh",
		"docker compose up --no-attach celery_worker api", "docker compose exec -T api backup",
	} {
		assert.Empty(t, faults(look(t, f.with(files{".github/workflows/d.yml": workflow(script)}), ""), "P16.services"), script)
	}
	for script, service := range map[string]string{
		"docker compose up -d --pull always backend": "backend", "docker compose exec -u postgres db psql": "db", "docker compose up -d backend": "backend",
		"docker compose exec -T broker psql": "broker", "docker compose exec -upostgres db psql": "db", "docker compose exec -it db sh": "db",
		"docker compose stop -t 30 db": "db", "docker compose run --rm once": "once", "docker compose up --build db": "db", "docker compose pull -q db": "db",
	} {
		bad := look(t, f.with(files{".github/workflows/d.yml": workflow(script)}), "")
		reported(t, bad, "P16.services", check.Warn, ".github/workflows/d.yml:9", "names the service "+service+",")
		assert.Len(t, faults(bad, "P16.services"), 1, script)
	}
}

// Of the commands of the one action, some only look.
func TestWhichCommandsDeploy(t *testing.T) {
	t.Parallel()
	job := func(with string) files {
		return files{"compose.yaml": twoServices, ".github/workflows/d.yml": "on: push\npermissions: {contents: read}\njobs:\n  look:\n    runs-on: ubuntu-latest\n" +
			"    steps: [{uses: shiksha/actions@v1, with: {host: a@b" + with + "}}]\n"}
	}
	for _, command := range []string{"plan", "build", "verify"} {
		r := look(t, job(", command: "+command), "")
		assert.Empty(t, append(about(r, "P16.environment"), about(r, "P16.concurrency")...), command)
	}
	for _, with := range []string{"", ", command: pipeline", ", command: deploy", ", command: rollback", `, command: "${{ inputs.command }}"`} {
		r := look(t, job(with), "")
		reported(t, r, "P16.environment", check.Warn, ".github/workflows/d.yml:4", "job look deploys")
		reported(t, r, "P16.concurrency", check.Warn, ".github/workflows/d.yml:4", "two of it may run at once")
	}
}

// What GitHub takes is no mistake because the linter is older; a slip of the pen is one.
func TestKeysThatTheLinterDoesNotKnow(t *testing.T) {
	t.Parallel()
	of := func(concurrency, environment string) files {
		return files{"compose.yaml": twoServices, ".github/workflows/d.yml": "on: push\npermissions: {contents: read}\nconcurrency: {group: production, " + concurrency + "}\njobs:\n  d:\n" +
			"    runs-on: ubuntu-latest\n    environment: {name: production, " + environment + "}\n    steps: [{uses: shiksha/actions/deploy@v1, with: {host: a@b}}]\n"}
	}
	good := look(t, of("queue: max", "deployment: false"), "")
	assert.Empty(t, about(good, "P16.actionlint"))
	require.Len(t, about(good, "P16.workflows"), 1)
	bad := look(t, of("queu: max", "deploiment: false"), "")
	reported(t, bad, "P16.actionlint", check.Warn, ".github/workflows/d.yml:3", `unexpected key "queu"`)
	reported(t, bad, "P16.actionlint", check.Warn, ".github/workflows/d.yml:7", `unexpected key "deploiment"`)
}
