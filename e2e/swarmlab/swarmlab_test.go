package swarmlab_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
	"github.com/shiksha/actions/pkg/host"
)

func TestMain(m *testing.M) { lab.Main(m) }

// whole skips what the short run leaves out: there the Swarm is made and used by the
// tests of e2e/swarm.
func whole(t *testing.T) {
	t.Helper()
	if os.Getenv("SHIKSHA_E2E_SWARM") == "" {
		t.Skip("the short run leaves it out; `make e2e-swarm` has it")
	}
}

// serve is a web server that answers with the name of its node.
const serve = `echo "server { listen 80; return 200 $NODE; }" > /etc/nginx/conf.d/node.conf && exec nginx -g "daemon off;"`

// The Swarm that tests act on is one: two machines, a network across them, ports on
// each, and nodes that fail and come back. Swarm balances nothing here but by DNS.
func TestTwoNodes(t *testing.T) {
	whole(t)
	f := lab.New(t)
	began := time.Now()
	s := swarmlab.Shared(t, f)
	t.Logf("two nodes after %s; virtual addresses: %v", time.Since(began).Round(100*time.Millisecond), swarmlab.HasIPVS())
	ctx := t.Context()
	t.Cleanup(func() { assert.NoError(t, s.RemoveStack(context.WithoutCancel(ctx), f.Project)) })

	nodes, err := s.Manager.Docker(ctx, "node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}")
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"manager Ready Leader", "worker Ready "}, strings.Split(nodes+" ", "\n"))
	shared, err := f.Docker(ctx, "info", "--format", "{{.Swarm.LocalNodeState}}")
	require.NoError(t, err)
	assert.Equal(t, "inactive", shared, "the engine of this machine is no part of it")

	label := "com.docker.stack.namespace=" + f.Project
	_, err = s.Manager.Docker(ctx, "network", "create", "--driver", "overlay", "--label", label, f.Project)
	require.NoError(t, err)
	_, err = s.Manager.Docker(ctx, "service", "create", "--quiet", "--name", f.Project, "--label", label, "--container-label", label, "--mode", "global",
		"--endpoint-mode", "dnsrr", "--network", f.Project, "--publish", fmt.Sprintf("mode=host,target=80,published=%d", f.Port),
		"--env", "NODE={{.Node.Hostname}}", "nginx:1.22", "sh", "-c", serve)
	require.NoError(t, err, "the image comes from the registry that stands for Docker Hub")

	t.Run("a port of each node is reached from this machine", func(t *testing.T) { answers(t, s, f.Port) })
	t.Run("tasks reach each other across nodes", func(t *testing.T) { reachEachOther(t, s, f.Project, label) })
	t.Run("sshd of the worker is reached through the manager", func(t *testing.T) { jump(t, s) })
	t.Run("a file of one node is not on the other", func(t *testing.T) {
		_, err := s.Worker.Docker(ctx, "run", "--rm", "--mount", "type=bind,source="+s.Manager.Host.StateDir+",target=/x", "nginx:1.22", "true")
		assert.ErrorContains(t, err, "does not exist")
	})
	t.Run("nodes fail and come back", func(t *testing.T) { failures(t, s, f) })
}

// answers makes sure that each node's port is answered by the task on it.
func answers(t *testing.T, s *swarmlab.Swarm, port int) {
	for _, n := range []*swarmlab.Node{s.Manager, s.Worker} {
		assert.EventuallyWithT(t, func(c *assert.CollectT) {
			resp, err := http.Get(fmt.Sprintf("http://%s:%d/", n.Address, port))
			if assert.NoError(c, err) {
				body, err := io.ReadAll(resp.Body)
				assert.NoError(c, err)
				assert.Equal(c, n.Name, string(body))
				assert.NoError(c, resp.Body.Close())
			}
		}, 30*time.Second, 200*time.Millisecond)
	}
}

// reachEachOther asks, in each task, all tasks of the service by their addresses on
// the overlay network.
func reachEachOther(t *testing.T, s *swarmlab.Swarm, service, label string) {
	const ask = `for address in $(getent ahostsv4 "tasks.$0" | awk '$2 == "STREAM" { print $1 }'); do
exec 3<>/dev/tcp/$address/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3; echo; done`
	for _, n := range []*swarmlab.Node{s.Manager, s.Worker} {
		id, err := n.Docker(t.Context(), "ps", "--quiet", "--filter", "label="+label)
		require.NoError(t, err)
		heard, err := n.Docker(t.Context(), "exec", id, "bash", "-c", ask, service)
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"manager", "worker"}, strings.Fields(heard), "heard on the %s", n.Name)
	}
}

// jump reaches the worker's engine through the manager's sshd, with the manager's
// key and pins.
func jump(t *testing.T, s *swarmlab.Swarm) {
	of := s.Manager.Host
	h, err := host.Dial(t.Context(), host.Config{Address: "deploy@" + s.Worker.Address, Jump: of.Address, Key: of.Key, KnownHosts: of.KnownHosts})
	require.NoError(t, err)
	defer func() { assert.NoError(t, h.Close()) }()
	engine, err := h.Docker(t.Context())
	require.NoError(t, err)
	info, err := engine.Info(t.Context(), client.InfoOptions{})
	require.NoError(t, err)
	assert.Equal(t, s.Worker.ID, info.Info.Swarm.NodeID)
}

// failures stops, kills and cuts off each node's engine.
func failures(t *testing.T, s *swarmlab.Swarm, f *lab.Fixture) {
	ctx := t.Context()
	require.NoError(t, s.Worker.Stop(ctx))
	require.NoError(t, s.AwaitNodes(ctx, "ready", "down"))
	_, err := s.Worker.Docker(ctx, "version")
	assert.Error(t, err)
	require.NoError(t, s.Worker.Start(ctx))
	require.NoError(t, s.AwaitNodes(ctx, "ready", "ready"))
	answers(t, s, f.Port)

	require.NoError(t, s.Manager.Kill(ctx))
	require.NoError(t, s.Manager.Start(ctx))
	require.NoError(t, s.AwaitNodes(ctx, "ready", "ready"))
	answers(t, s, f.Port)

	require.NoError(t, s.Worker.PowerOff())
	require.NoError(t, s.AwaitNodes(ctx, "ready", "down"))
	require.NoError(t, s.Worker.PowerOn(ctx))
	require.NoError(t, s.Worker.Start(ctx))
	require.NoError(t, s.AwaitNodes(ctx, "ready", "ready"))
	answers(t, s, f.Port)
}
