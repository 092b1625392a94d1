package swarmlab_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
)

// What the preflight tells of a Swarm (P17) is so on a real one.
func TestWhatThePreflightTells(t *testing.T) {
	f := lab.New(t)
	s := swarmlab.Shared(t, f)
	ctx := t.Context()
	t.Cleanup(func() { assert.NoError(t, s.RemoveStack(context.WithoutCancel(ctx), f.Project)) })
	label := "com.docker.stack.namespace=" + f.Project
	refused := func(name, want string, args ...string) {
		t.Run(name, func(t *testing.T) {
			_, err := s.Manager.Docker(ctx, args...)
			assert.ErrorContains(t, err, want)
		})
	}
	service := func(args ...string) []string {
		return append([]string{"service", "create", "--detach", "--quiet", "--label", label, "--container-label", label}, args...)
	}
	file := func(size int) string {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("a", size)), 0o600))
		return path
	}

	refused("P17.empty", "larger than 0", "config", "create", "--label", label, f.Project+"-empty", file(0))
	refused("P17.size", "512000", "config", "create", "--label", label, f.Project+"-large", file(500<<10))
	_, err := s.Manager.Docker(ctx, "config", "create", "--label", label, f.Project+"-fits", file(500<<10-1))
	assert.NoError(t, err)
	_, err = s.Manager.Docker(ctx, "network", "create", "--driver", "bridge", "--opt", "encrypted=true", "--label", label, f.Project+"-bridge")
	assert.NoError(t, err, "what encrypts on a Swarm does no harm on one host")
	refused("P17.network-driver", "cannot be used with services", service("--network", f.Project+"-bridge", "nginx:1.22")...)
	refused("P17.host-port", "can't be used with dnsrr", service("--endpoint-mode", "dnsrr", "--publish", "published=80,target=80", "nginx:1.22")...)

	ends := func(name, want string, args ...string) {
		t.Run(name, func(t *testing.T) {
			id, err := s.Manager.Docker(ctx, service(args...)...)
			require.NoError(t, err)
			assert.EventuallyWithT(t, func(c *assert.CollectT) {
				tasks, err := s.Manager.Docker(ctx, "service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", id)
				assert.NoError(c, err)
				assert.Contains(c, tasks, want)
			}, 30*time.Second, 200*time.Millisecond)
		})
	}
	ends("P17.bind", "bind source path does not exist", "--mount", "type=bind,source=/nowhere,target=/x", "nginx:1.22")
	ends("P17.template", "expanding env failed", "--env", "FORMAT={{ .Name }}", "nginx:1.22")
	ends("P17.unhealthy", "unhealthy container", "--health-cmd", "false", "--health-interval", "300ms", "--health-retries", "1", "nginx:1.22")
	ends("P17.restart", "Complete", "nginx:1.22", "true")
	t.Run("P17.shm-size", func(t *testing.T) {
		t.Parallel()
		small := shared(t, s, label, service("--constraint", "node.hostname==manager", "nginx:1.22", "sleep", "60")...)
		assert.Equal(t, "64M", small)
		large := shared(t, s, label, service("--constraint", "node.hostname==manager", "--mount", "type=tmpfs,target=/dev/shm,tmpfs-size=256m", "nginx:1.22", "sleep", "60")...)
		assert.Equal(t, "256M", large)
	})
}

// shared is how much shared memory a task of a service has.
func shared(t *testing.T, s *swarmlab.Swarm, label string, create ...string) (size string) {
	id, err := s.Manager.Docker(t.Context(), create...)
	require.NoError(t, err)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		container, err := s.Manager.Docker(t.Context(), "ps", "--quiet", "--filter", "label=com.docker.swarm.service.id="+id)
		if assert.NoError(c, err) && assert.NotEmpty(c, container) {
			size, err = s.Manager.Docker(t.Context(), "exec", container, "sh", "-c", "df -h --output=size /dev/shm | tail -n 1 | tr -d ' '")
			assert.NoError(c, err)
		}
	}, 30*time.Second, 200*time.Millisecond)
	return size
}
