package onhost_test

import (
	"cmp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/stack"
)

// migrates is what the Compose file says of a service whose migration is a command.
func migrates(command string) string {
	return "\n    x-shiksha: {migrate: {command: [\"" + command + "\"], backed-up-elsewhere: true}}"
}

// aMigration gives what is said of a service that migrates on a Swarm, whose tasks are on the
// nodes with the given addresses and write to a volume.
func aMigration(t *testing.T, name, service, rest string, closed []string, at ...string) []check.Result {
	t.Helper()
	if !strings.Contains(service, "x-shiksha") {
		service += migrates("a")
	}
	st := load(t, "services:\n  api:\n    image: example/api:v1\n    "+service+"\n"+rest)
	seen := stack.Observed{Scheduled: true, Closed: closed, Units: map[string][]stack.Unit{}}
	for _, address := range at {
		seen.Units["api"] = append(seen.Units["api"], stack.Unit{ID: address, Node: "node" + address[len(address)-1:], NodeAddress: address, Writes: []string{"shop_data"}, State: stack.Running})
	}
	p := &plan.Plan{Migrations: []plan.Migration{{Service: "api"}}}
	found := about(onhost.Look(st, p, seen, onhost.Facts{}), name)
	seen.Scheduled = false
	require.Empty(t, about(onhost.Look(st, p, seen, onhost.Facts{}), name), "one host")
	seen.Scheduled, p.Migrations = true, nil
	require.Empty(t, about(onhost.Look(st, p, seen, onhost.Facts{}), name), "nothing migrates")
	return found
}

// What `docker stack deploy` made no container can join, and a migration is one: said before
// the dump.
func TestAMigrationOnANetworkThatIsClosed(t *testing.T) {
	t.Parallel()
	closed := []string{"shop_default", "shop_other", "edge"}
	r := aMigration(t, "P17.migrate", "restart: always", "", closed)
	require.Len(t, r, 1)
	assert.Equal(t, check.Fail, r[0].Outcome)
	assert.Equal(t, "its migration runs in a container of the manager, which cannot join shop_default: that network is there and is not attachable", r[0].Found)
	assert.Contains(t, r[0].Hint, "docker stack rm shop")
	assert.Contains(t, r[0].Hint, "by another key")
	assert.Contains(t, r[0].Hint, "with api on another network, and its database and whoever else speaks to it on both")

	r = aMigration(t, "P17.migrate", "networks: [edge]", "networks: {edge: {external: true}}\n", closed)
	require.Len(t, r, 1)
	assert.Contains(t, r[0].Hint, "docker network create --driver overlay --attachable")
	assert.NotContains(t, r[0].Hint, "stack rm")
	assert.Contains(t, r[0].Hint, "and whoever else speaks to it on both")
	assert.Empty(t, aMigration(t, "P17.migrate", "networks: [inner]", "networks: {inner: {}}\n", closed))
}

// A database that is a file of a volume on another node: the migration would make one of its
// own, and end well.
func TestAMigrationOfAFileOnAnotherNode(t *testing.T) {
	t.Parallel()
	const volume = "volumes: {data: {}}\n"
	sqlite := `volumes: ["data:/data"]` + "\n    environment: {DATABASE_URL: \"sqlite:////data/db.sqlite3\"}"
	plain := `volumes: ["data:/data"]`
	says := func(variables string) string { return plain + "\n    environment: {" + variables + "}" }
	const db = "  db: {image: \"postgres:16\"}\n"
	const server = `DATABASE_URL: "postgresql+psycopg://u@db.example.com/shop"`
	const cache = "  redis: {image: \"redis:7\"}\n  rabbit: {image: \"rabbitmq:3\"}\n"
	ahead, cached := "\n    depends_on: [db]", "\n    depends_on: [redis, rabbit]"
	for name, c := range map[string]struct {
		service string
		beside  string
		at      []string
		want    check.Outcome
		volume  string
	}{
		"a file on another node":                  {sqlite, "", []string{"10.0.0.2"}, check.Fail, ""},
		"a file on the manager":                   {sqlite, "", []string{"127.0.0.1"}, "", ""},
		"a file that is on both":                  {sqlite, "", []string{"10.0.0.2", "127.0.0.1"}, "", ""},
		"a file that is not there yet":            {sqlite, "", nil, "", ""},
		"whatever is in it":                       {plain, "", []string{"10.0.0.2"}, check.Warn, ""},
		"a file beside the volume":                {strings.Replace(sqlite, "////data", "////tmp", 1), "", []string{"10.0.0.2"}, check.Warn, ""},
		"a folder of the volume":                  {says("MEDIA: /data/media"), "", []string{"10.0.0.2"}, check.Warn, ""},
		"a database that is dumped":               {plain, "  db: {image: \"postgres:16\", x-shiksha: {backups: {}}}\n", []string{"10.0.0.2"}, "", ""},
		"a file that the command names":           {plain + migrates("sqlite3 /data/shop.sqlite3 < up.sql"), "", []string{"10.0.0.2"}, check.Fail, ""},
		"a file that the command names alone":     {plain + migrates("/data/shop.db"), "", []string{"10.0.0.2"}, check.Fail, ""},
		"a file that tests have":                  {says(`TEST_DATABASE_URL: "sqlite:////data/test.db"`), "", []string{"10.0.0.2"}, check.Warn, ""},
		"a cache in a file":                       {says("CACHE: /data/cache.db"), "", []string{"10.0.0.2"}, check.Warn, ""},
		"a file, and a database ahead":            {sqlite + ahead, db, []string{"10.0.0.2"}, check.Warn, ""},
		"a file, and a cache ahead":               {sqlite + cached, cache, []string{"10.0.0.2"}, check.Fail, ""},
		"uploads, and a cache ahead":              {plain + cached, cache, []string{"10.0.0.2"}, check.Warn, ""},
		"a file, and MySQL ahead":                 {sqlite + ahead, strings.Replace(db, "postgres:16", "mysql:8", 1), []string{"10.0.0.2"}, check.Warn, ""},
		"a file, and a database of somebody else": {says(server + ", SQLITE: /data/x.db"), "", []string{"10.0.0.2"}, check.Warn, ""},
		"uploads, and a database ahead":           {plain + ahead, db, []string{"10.0.0.2"}, "", ""},
		"uploads, and a database beside":          {plain, db, []string{"10.0.0.2"}, check.Warn, ""},
		"uploads, and a database of others":       {says(server), "", []string{"10.0.0.2"}, "", ""},
		"a file on a volume that nodes share":     {sqlite, "", []string{"10.0.0.2"}, "", "volumes: {data: {driver: rexray}}\n"},
		"a file on a share of this driver":        {sqlite, "", []string{"10.0.0.2"}, check.Fail, "volumes: {data: {driver: local}}\n"},
	} {
		var got check.Outcome
		for _, r := range aMigration(t, "P17.migrate-file", c.service, c.beside+cmp.Or(c.volume, volume), nil, c.at...) {
			got = r.Outcome
			assert.Contains(t, r.Found, "shop_data", name)
			assert.Contains(t, r.Found, "node2", name)
			assert.Contains(t, r.Hint, "without x-shiksha.migrate", name)
			assert.Contains(t, r.Hint, "exempt: {P17.migrate-file: ", name)
		}
		assert.Equal(t, c.want, got, name)
	}
	// Who says that his database is not there is told of the networks all the same.
	exempt := strings.Replace(sqlite+migrates("a"), "x-shiksha: {", `x-shiksha: {exempt: {P17.migrate-file: "it is a cache"}, `, 1)
	r := aMigration(t, "P17.migrate-file", exempt, volume, nil, "10.0.0.2")
	require.Len(t, r, 1)
	assert.Equal(t, check.Skip, r[0].Outcome)
	r = aMigration(t, "P17.migrate", exempt, volume, []string{"shop_default"}, "10.0.0.2")
	require.Len(t, r, 1)
	assert.Equal(t, check.Fail, r[0].Outcome)
}

// What is of others and is not there a Swarm tells when it is given the service, which may be
// after the migration of another.
func TestWhatIsOfOthersAndIsNotThere(t *testing.T) {
	t.Parallel()
	st := load(t, "services:\n  api: {image: \"example/api:v1\"}\n  web: {image: \"example/web:v1\"}\n")
	h := onhost.Facts{Lacks: map[string][]string{"api": {"network edge", "secret api_key"}, "web": {"config site"}}}
	p := &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Create, Replicas: 1}, {Service: "web", Action: plan.Unchanged}}}
	r := about(onhost.Look(st, p, stack.Observed{Scheduled: true}, h), "P17.external")
	require.Len(t, r, 2, "web stays as it is")
	assert.Equal(t, "network edge is declared external and is not on the Swarm", r[0].Found)
	assert.Equal(t, "make it: docker network create --driver overlay --attachable edge", r[0].Hint)
	assert.Equal(t, "make it: docker secret create api_key FILE", r[1].Hint)
	assert.Equal(t, check.Fail, r[1].Outcome)
}
