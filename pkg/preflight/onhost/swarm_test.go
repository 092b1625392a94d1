package onhost_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/stack"
)

// aMigration gives what is said of a service that migrates on a Swarm, whose tasks are on the
// nodes with the given addresses and write to a volume.
func aMigration(t *testing.T, service, rest string, closed []string, at ...string) []check.Result {
	t.Helper()
	st := load(t, "services:\n  api:\n    image: example/api:v1\n    "+service+"\n    x-shiksha: {migrate: {command: [a], backed-up-elsewhere: true}}\n"+rest)
	seen := stack.Observed{Scheduled: true, Closed: closed, Units: map[string][]stack.Unit{}}
	for _, address := range at {
		seen.Units["api"] = append(seen.Units["api"], stack.Unit{ID: address, Node: "node" + address[len(address)-1:], NodeAddress: address, Writes: []string{"shop_data"}, State: stack.Running})
	}
	p := &plan.Plan{Migrations: []plan.Migration{{Service: "api"}}}
	found := about(onhost.Look(st, p, seen, onhost.Facts{}), "P17.migrate")
	seen.Scheduled = false
	require.Empty(t, about(onhost.Look(st, p, seen, onhost.Facts{}), "P17.migrate"), "one host")
	seen.Scheduled, p.Migrations = true, nil
	require.Empty(t, about(onhost.Look(st, p, seen, onhost.Facts{}), "P17.migrate"), "nothing migrates")
	return found
}

// What `docker stack deploy` made no container can join, and a migration is one: said before
// the dump.
func TestAMigrationOnANetworkThatIsClosed(t *testing.T) {
	t.Parallel()
	closed := []string{"shop_default", "shop_other", "edge"}
	r := aMigration(t, "restart: always", "", closed)
	require.Len(t, r, 1)
	assert.Equal(t, check.Fail, r[0].Outcome)
	assert.Equal(t, "its migration runs in a container of the manager, which cannot join shop_default: that network is there and is not attachable", r[0].Found)
	assert.Contains(t, r[0].Hint, "docker stack rm shop")
	assert.Contains(t, r[0].Hint, "by another key")

	r = aMigration(t, "networks: [edge]", "networks: {edge: {external: true}}\n", closed)
	require.Len(t, r, 1)
	assert.Contains(t, r[0].Hint, "docker network create --driver overlay --attachable")
	assert.NotContains(t, r[0].Hint, "stack rm")
	assert.Empty(t, aMigration(t, "networks: [inner]", "networks: {inner: {}}\n", closed))
}

// A database that is a file of a volume on another node: the migration would make one of its
// own, and end well.
func TestAMigrationOfAFileOnAnotherNode(t *testing.T) {
	t.Parallel()
	const volume = "volumes: {data: {}}\n"
	sqlite := `volumes: ["data:/data"]` + "\n    environment: {DATABASE_URL: \"sqlite:////data/db.sqlite3\"}"
	plain := `volumes: ["data:/data"]`
	for name, c := range map[string]struct {
		service string
		beside  string
		at      []string
		want    check.Outcome
	}{
		"a file on another node":       {sqlite, "", []string{"10.0.0.2"}, check.Fail},
		"a file on the manager":        {sqlite, "", []string{"127.0.0.1"}, ""},
		"a file that is on both":       {sqlite, "", []string{"10.0.0.2", "127.0.0.1"}, ""},
		"a file that is not there yet": {sqlite, "", nil, ""},
		"whatever is in it":            {plain, "", []string{"10.0.0.2"}, check.Warn},
		"a file beside the volume":     {strings.Replace(sqlite, "////data", "////tmp", 1), "", []string{"10.0.0.2"}, check.Warn},
		"a folder of the volume":       {plain + "\n    environment: {MEDIA: /data/media}", "", []string{"10.0.0.2"}, check.Warn},
		"a database that is dumped":    {plain, "  db: {image: \"postgres:16\", x-shiksha: {backups: {}}}\n", []string{"10.0.0.2"}, ""},
	} {
		var got check.Outcome
		for _, r := range aMigration(t, c.service, c.beside+volume, nil, c.at...) {
			got = r.Outcome
			assert.Contains(t, r.Found, "shop_data", name)
			assert.Contains(t, r.Found, "node2", name)
			assert.Contains(t, r.Hint, "without x-shiksha.migrate", name)
		}
		assert.Equal(t, c.want, got, name)
	}
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
