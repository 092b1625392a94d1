package swarm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
)

// block is a command of the document: where it is typed, and what.
var block = regexp.MustCompile("(?m)^ *```sh (\\w+)\n((?:.*\n)+?) *```$")

// wrapper stands in the place of shiksha: keys and the state folder are the lab's.
const wrapper = `#!/bin/sh
verb=$1 state=
for word do
  shift
  case $word in
    deploy@gpu1.example.org) word=$LAB_OLD state=$LAB_OLD_STATE ;;
    deploy@node1.example.org) word=$LAB_NEW state=$LAB_NEW_STATE ;;
  esac
  set -- "$@" "$word"
done
case $verb in
  preflight) ;;
  plan | deploy) set -- "$@" --project "$LAB_PROJECT" --ssh-key "$LAB_KEY" --known-hosts "$LAB_KNOWN" --state-dir "$state" ;;
  *) set -- "$@" --ssh-key "$LAB_KEY" --backup-ssh-key "$LAB_VAULT_KEY" --known-hosts "$LAB_KNOWN" --state-dir "$state" ;;
esac
exec "$LAB_SHIKSHA" "$@"
`

// move is a stack on its way from one host to a Swarm, as the document says.
type move struct {
	*lab.Fixture
	t     *testing.T
	swarm *swarmlab.Swarm
	env   []string
	// token is what the manager says a node joins with, backup the newest one.
	token, backup string
}

// The commands of docs/outgrowing-one-host.md bring a stack with its data from one
// host to a Swarm, as they stand; only three nodes are two here.
func TestOutgrowingOneHost(t *testing.T) {
	if !whole() {
		t.Skip("set SHIKSHA_E2E_SWARM=1 (make e2e-swarm)")
	}
	f := lab.New(t)
	s, err := swarmlab.Start(t.Context(), f.Lab, swarmlab.Options{Name: f.Project, Apart: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	m := &move{Fixture: f, t: t, swarm: s}
	m.prepare()
	f.MustPublish(lab.Release{Version: "v1"})
	f.Deploy("v1", 0, "--known-hosts", "@"+m.file("known_hosts"))
	m.ask(m.postgres(), "INSERT INTO orders (id) VALUES ('from the old host')")

	text, err := os.ReadFile(filepath.Join(f.Root, "docs", "outgrowing-one-host.md"))
	require.NoError(t, err)
	blocks := block.FindAllStringSubmatch(string(text), -1)
	require.Len(t, blocks, 10)
	for i, b := range blocks {
		began := time.Now()
		m.run(b[1], b[2])
		t.Logf("%5.1fs  %s: %s", time.Since(began).Seconds(), b[1], strings.TrimSpace(b[2]))
		if i == len(blocks)-2 {
			m.moved()
		}
	}
	assert.Eventually(t, func() bool { return lab.Serving(t.Context(), f.URL()) == "v1" }, 20*time.Second, 200*time.Millisecond, "the way back")
}

func (m *move) file(name string) string { return filepath.Join(m.Dir, name) }

// prepare makes the host that has the copies, and the stack of the document: the
// quickstart, with a database that is dumped.
func (m *move) prepare() {
	t := m.t
	vault, err := m.StartHost(t.Context(), lab.HostOptions{Name: m.Project + "-vault", NoEngine: true, SSHD: []string{"ForceCommand internal-sftp"}})
	require.NoError(t, err)
	compose, err := os.ReadFile(m.file("compose.yaml"))
	require.NoError(t, err)
	text := strings.Replace(string(compose), "  postgres:\n    image: postgres:15\n", "  postgres:\n    image: postgres:15\n    x-shiksha: {backups: {copy: \"sftp://"+
		vault.Address+vault.StateDir+"/vault\"}}\n", 1)
	require.NotEqual(t, string(compose), text)
	require.Contains(t, text, "node.labels.quickstart.data")
	text = strings.ReplaceAll(text, "node.labels.quickstart.data", "node.labels.shop.data")
	require.NoError(t, os.WriteFile(m.file("compose.yaml"), []byte(text), 0o600))
	known := append(append([]byte{}, m.Host.KnownHosts...), append(vault.KnownHosts, m.swarm.Manager.Host.KnownHosts...)...)
	require.NoError(t, os.WriteFile(m.file("known_hosts"), known, 0o600))
	// One key for all, as the document has it.
	m.letIn(m.swarm.Manager.Host)
	m.letIn(m.swarm.Worker.Host)

	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "shiksha"), []byte(wrapper), 0o755))
	program, err := m.Lab.Shiksha(t.Context())
	require.NoError(t, err)
	old, now := m.Host, m.swarm.Manager.Host
	m.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LAB_SHIKSHA="+program, "LAB_PROJECT="+m.Project, "LAB_KEY=@"+old.KeyFile,
		"LAB_VAULT_KEY=@"+vault.KeyFile, "LAB_KNOWN=@"+m.file("known_hosts"), "LAB_OLD="+old.Address, "LAB_OLD_STATE="+old.StateDir,
		"LAB_NEW="+now.Address, "LAB_NEW_STATE="+now.StateDir)
	// The nodes have the registry under another name than the old host.
	require.NoError(t, os.WriteFile(m.file("prod.env"), fmt.Appendf(nil, "REGISTRY=%s\nPORT=%d\n", m.swarm.Registry, m.Port), 0o600))
}

// letIn lets the user of the old host into a node with the same key.
func (m *move) letIn(node *lab.Host) {
	public, err := os.ReadFile(filepath.Join(filepath.Dir(m.Host.KeyFile), "authorized_keys"))
	require.NoError(m.t, err)
	require.NoError(m.t, os.WriteFile(filepath.Join(filepath.Dir(node.KeyFile), "authorized_keys"), public, 0o644))
}

// run types a block of the document where it belongs.
func (m *move) run(where, text string) {
	m.t.Helper()
	socket := map[string]string{"gpu1": lab.Socket, "node1": m.swarm.Manager.Socket, "node2": m.swarm.Worker.Socket, "shiksha": ""}
	at, known := socket[where]
	require.True(m.t, known, "where is %s?", where)
	pairs := []string{"10.0.0.1", m.swarm.Manager.Address, "SWMTKN-1-...", m.token, "BACKUP", m.backup, "project shop", "project " + m.Project, "project=shop", "project=" + m.Project,
		"true node1", "true manager"}
	script := strings.NewReplacer(pairs...).Replace(text)
	cmd := exec.CommandContext(m.t.Context(), "sh", "-euc", script)
	cmd.Dir, cmd.Env = m.Dir, append(m.env, "DOCKER_HOST=unix://"+at, "DOCKER_CONTEXT=", "DOCKER_CONFIG="+filepath.Join(m.Lab.Dir, "docker"))
	out, err := cmd.CombinedOutput()
	require.NoError(m.t, err, "%s: %s\n%s", where, script, out)
	if found := regexp.MustCompile(`SWMTKN-\S+`).FindString(string(out)); found != "" && strings.Contains(string(out), "worker") {
		m.token = found
	}
	if found := regexp.MustCompile(`postgres-\d+T\d+Z\w*`).FindString(string(out)); found != "" {
		m.backup = found
	}
}

// moved makes sure that the Swarm serves with the data of the old host.
func (m *move) moved() {
	url := fmt.Sprintf("http://%s:%d", m.swarm.Manager.Address, m.Port)
	assert.Equal(m.t, "v1", lab.Serving(m.t.Context(), url))
	label := "label=com.docker.swarm.service.name=" + m.Project + "_postgres"
	id, err := m.swarm.Manager.Docker(m.t.Context(), "ps", "--quiet", "--filter", label)
	require.NoError(m.t, err)
	told, err := m.swarm.Manager.Docker(m.t.Context(), "exec", id, "psql", "-U", "quickstart", "-qtA", "-c", "SELECT id FROM orders")
	require.NoError(m.t, err)
	assert.Contains(m.t, told, "from the old host")
	assert.NotEqual(m.t, "v1", lab.Serving(m.t.Context(), m.URL()), "the old host's gateway is stopped")
}

// postgres is the old host's database.
func (m *move) postgres() string { return m.MustUnits()["postgres"][0] }

func (m *move) ask(container, statement string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	_, err := m.Docker(ctx, "exec", container, "psql", "-U", "quickstart", "-qtA", "-c", statement)
	require.NoError(m.t, err)
}
