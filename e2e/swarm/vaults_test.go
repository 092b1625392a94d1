package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
	"github.com/shiksha/actions/pkg/backups"
	"github.com/shiksha/actions/pkg/release"
)

// dumped is the quickstart's database with backups, a service that migrates it and two
// that write to it all the time, on the node that has it: one is on all such nodes.
const dumped = `services:
  postgres:
    x-shiksha: { backups: { keep-least: 3 } }
  app:
    image: postgres:15
    entrypoint: [psql, -v, ON_ERROR_STOP=1, -AtXqc]
    command: ["SELECT pg_sleep(100000)"]
    environment: { PGHOST: postgres, PGUSER: quickstart, PGPASSWORD: quickstart, VERSION: "${MIGRATION}" }
    networks: [data]
    stop_grace_period: 0s
    depends_on: { postgres: { condition: service_healthy } }
    deploy: { update_config: { monitor: 0s } }
    x-shiksha: { migrate: { command: ["${MIGRATION}"], timeout: 30s } }
  ticker: &ticker
    image: postgres:15
    entrypoint: [sh, -c]
    command:
    - |
      until psql -Xqc "CREATE TABLE IF NOT EXISTS ticks (who text, at timestamptz DEFAULT now())"; do sleep 1; done
      while true; do psql -Xqc "INSERT INTO ticks VALUES ('$$HOSTNAME')"; sleep 0.1; done
    environment: { PGHOST: postgres, PGUSER: quickstart, PGPASSWORD: quickstart, PGCONNECT_TIMEOUT: 2 }
    networks: [data]
    stop_grace_period: 1s
    depends_on: { postgres: { condition: service_healthy } }
    deploy: { update_config: { monitor: 0s }, placement: &beside { constraints: [node.labels.quickstart.data == true] } }
  agent:
    <<: *ticker
    deploy: { mode: global, update_config: { monitor: 0s }, placement: *beside }
`

// vaults is a stack whose database runs on the worker.
type vaults struct {
	subject
	t     *testing.T
	swarm *swarmlab.Swarm
	files []string
}

// A database on a worker is dumped, proven, migrated and brought back there; the
// manager is the host that is told to.
func TestADatabaseOnAWorker(t *testing.T) {
	if !whole() {
		t.Skip("set SHIKSHA_E2E_SWARM=1 (make e2e-swarm)")
	}
	f := lab.New(t)
	swarm := swarmlab.Shared(t, f)
	v := &vaults{subject{Fixture: swarm.On(t, f), engine: "swarm"}, t, swarm, []string{"--compose-file", "compose.yaml,dumped.yaml"}}
	v.label("--label-rm", "quickstart.data", swarm.Manager.ID)
	v.label("--label-add", "quickstart.data=true", swarm.Worker.ID)
	t.Cleanup(func() { v.label("--label-rm", "quickstart.data", swarm.Worker.ID) })
	v.label("--label-add", "io.shiksha.state-dir="+swarm.Worker.Host.StateDir, swarm.Worker.ID)
	v.write(t, "dumped.yaml", dumped)
	f.MustPublish(lab.Release{Version: "w1"})
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"a migration is preceded by a backup there", v.migrated},
		{"a backup is taken, proven and listed there", v.proven},
		{"its rows come back", v.restored},
		{"a node that cannot be reached is refused", v.unreached},
		{"what a database that moved has left behind is said", v.moved},
	} {
		began := time.Now()
		part.run()
		t.Logf("%5.1fs  %s", time.Since(began).Seconds(), part.name)
	}
}

func (v *vaults) label(flag, label, node string) {
	v.t.Helper()
	_, err := v.swarm.Manager.Docker(context.WithoutCancel(v.t.Context()), "node", "update", flag, label, node)
	if flag != "--label-rm" {
		require.NoError(v.t, err)
	}
}

// migrate releases with a migration.
func (v *vaults) migrate(statement string) {
	v.t.Helper()
	env := fmt.Sprintf("REGISTRY=%s\nPORT=%d\nMIGRATION=%s\n", v.swarm.Registry, v.Port, statement)
	require.NoError(v.t, os.WriteFile(filepath.Join(v.Dir, lab.EnvFile), []byte(env), 0o600))
	v.release("w1", 0, v.files...)
}

// ask runs a statement in the database, on the worker.
func (v *vaults) ask(statement string) string {
	v.t.Helper()
	label := "label=com.docker.swarm.service.name=" + v.Project + "_postgres"
	id, err := v.swarm.Worker.Docker(v.t.Context(), "ps", "--quiet", "--filter", label)
	require.NoError(v.t, err)
	out, err := v.swarm.Worker.Docker(v.t.Context(), "exec", id, "psql", "-U", "quickstart", "-AtXqc", statement)
	require.NoError(v.t, err)
	return out
}

// dumps are those on a node's disk.
func (v *vaults) dumps(n *swarmlab.Node) (ids []string) {
	paths, err := filepath.Glob(filepath.Join(n.Host.StateDir, v.Project, "backups", "*.dump"))
	require.NoError(v.t, err)
	for _, p := range paths {
		ids = append(ids, strings.TrimSuffix(filepath.Base(p), ".dump"))
	}
	return ids
}

// told is what `backup` or `backups` say.
func (v *vaults) told(verb string, more ...string) (out backups.Result) {
	v.t.Helper()
	result := v.Shiksha(verb, append(more, "--json")...)
	require.Zero(v.t, result.Exit, result.Stdout+result.Stderr)
	require.NoError(v.t, json.Unmarshal([]byte(result.Stdout), &out))
	return out
}

func (v *vaults) migrated() {
	v.release("w1", 0)
	v.ask("CREATE TABLE first (n int); INSERT INTO first VALUES (1)")
	v.migrate("CREATE TABLE second (n int)")
	text, err := os.ReadFile(filepath.Join(v.Host.StateDir, v.Project, "releases", "2.json"))
	require.NoError(v.t, err)
	var r release.Record
	require.NoError(v.t, json.Unmarshal(text, &r))
	require.Len(v.t, r.Backups, 1)
	assert.Equal(v.t, r.Backups, v.dumps(v.swarm.Worker))
}

func (v *vaults) proven() {
	made := v.told("backup", "--prove").Backups
	require.Len(v.t, made, 1)
	assert.Equal(v.t, v.swarm.Worker.Name, made[0].Node)
	assert.False(v.t, made[0].Proven.IsZero())
	assert.Contains(v.t, v.dumps(v.swarm.Worker), made[0].ID)
	assert.Empty(v.t, v.dumps(v.swarm.Manager))
	all := v.told("backups").Backups
	require.Len(v.t, all, 2)
	for _, b := range all {
		assert.Equal(v.t, v.swarm.Worker.Name, b.Node)
	}
	assert.Regexp(v.t, made[0].ID+` .* `+v.swarm.Worker.Name+`\n`, v.Shiksha("backups").Stdout)
	assert.FileExists(v.t, filepath.Join(v.swarm.Worker.Host.StateDir, "metrics", "shiksha_backup_"+v.Project+"_postgres.prom"))
	v.write(v.t, "checks.yml", "checks:\n- {name: dumps, backup: {service: postgres, keep: 2, proven: 1h, shrink: 0.1}}\n")
	result := v.Shiksha("verify", "--checks", "checks.yml", "--stability-window", "1s")
	assert.Equal(v.t, 0, result.Exit, result.Stdout+result.Stderr)
}

func (v *vaults) restored() {
	id := v.told("backups").Backups[0].ID
	v.ask("DELETE FROM first; INSERT INTO second VALUES (2)")
	const writers = "SELECT count(DISTINCT who) FROM ticks WHERE at > "
	require.Equal(v.t, "2", v.ask(writers+"now() - interval '5s'"), "both write")
	began, before := v.ask("SELECT now()"), v.ask("SELECT string_agg(DISTINCT quote_literal(who), ', ') FROM ticks")
	result := v.Shiksha("rollback", "--release", "2", "--restore-database", id)
	require.Zero(v.t, result.Exit, result.Stdout+result.Stderr)
	assert.Equal(v.t, "1 0", v.ask("SELECT (SELECT count(*) FROM first) || ' ' || (SELECT count(*) FROM second)"))
	require.Eventually(v.t, func() bool { return v.ask(writers+"'"+began+"'") == "2" }, time.Minute, 200*time.Millisecond, "both write again")
	// No task that wrote before met the older database, nor, of two in all, one that Swarm put in its place.
	assert.Equal(v.t, "0", v.ask(writers+"'"+began+"' AND who IN ("+before+")"))
	v.serve(v.t, "w1")
}

func (v *vaults) unreached() {
	before := v.dumps(v.swarm.Worker)
	v.label("--label-add", "io.shiksha.ssh="+v.swarm.Worker.Address+":1", v.swarm.Worker.ID)
	result := v.Shiksha("backup")
	v.label("--label-rm", "io.shiksha.ssh", v.swarm.Worker.ID)
	assert.Equal(v.t, 2, result.Exit, result.Stderr)
	assert.Contains(v.t, result.Stderr, "node "+v.swarm.Worker.Name)
	assert.Contains(v.t, result.Stderr, "pin its host key in known-hosts")
	assert.Equal(v.t, before, v.dumps(v.swarm.Worker))
}

// moved lets the manager have the database: an empty one, as its volume stays.
func (v *vaults) moved() {
	id := v.told("backups").Backups[0].ID
	v.label("--label-add", "quickstart.data=true", v.swarm.Manager.ID)
	v.label("--label-rm", "quickstart.data", v.swarm.Worker.ID)
	require.Eventually(v.t, func() bool {
		out, err := v.swarm.Manager.Docker(v.t.Context(), "ps", "--quiet", "--filter", "health=healthy", "--filter", "label=com.docker.swarm.service.name="+v.Project+"_postgres")
		return err == nil && out != ""
	}, time.Minute, 200*time.Millisecond, "the database on the manager")
	result := v.Shiksha("rollback", "--release", "2", "--restore-database", id, "--dry-run")
	assert.Equal(v.t, 2, result.Exit, result.Stdout+result.Stderr)
	assert.Contains(v.t, result.Stderr, "backup "+id+" is on node "+v.swarm.Worker.Name)
	assert.Len(v.t, v.told("backups").Backups, 2, "they are listed all the same")
}
