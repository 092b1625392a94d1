package swarmlab_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	dockerswarm "github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
)

// What the preflight tells of a Swarm (P17) is so on a real one.
func TestWhatThePreflightTells(t *testing.T) {
	whole(t)
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
	api, err := client.New(client.WithHost("unix://" + s.Manager.Socket))
	require.NoError(t, err)
	t.Cleanup(func() { _ = api.Close() })
	labels := map[string]string{"com.docker.stack.namespace": f.Project}
	config := func(size int) error {
		_, err := api.ConfigCreate(ctx, client.ConfigCreateOptions{Spec: dockerswarm.ConfigSpec{
			Annotations: dockerswarm.Annotations{Name: fmt.Sprintf("%s-%d", f.Project, size), Labels: labels}, Data: make([]byte, size)}})
		return err
	}
	secret := func(size int) error {
		_, err := api.SecretCreate(ctx, client.SecretCreateOptions{Spec: dockerswarm.SecretSpec{
			Annotations: dockerswarm.Annotations{Name: fmt.Sprintf("%s-%d", f.Project, size), Labels: labels}, Data: make([]byte, size)}})
		return err
	}
	t.Run("P17.empty", func(t *testing.T) {
		assert.ErrorContains(t, config(0), "larger than 0")
		assert.ErrorContains(t, secret(0), "larger than 0")
	})
	t.Run("P17.size", func(t *testing.T) {
		assert.NoError(t, config(500<<10-1))
		assert.NoError(t, secret(500<<10-1))
		assert.ErrorContains(t, secret(500<<10), "less than 512000")
		assert.ErrorContains(t, config(1000<<10), "less than", "newer engines take twice as much; 500 KiB all of them do")
	})
	_, err = s.Manager.Docker(ctx, "network", "create", "--driver", "bridge", "--opt", "encrypted=true", "--label", label, f.Project+"-bridge")
	assert.NoError(t, err, "what encrypts on a Swarm does no harm on one host")
	refused("P17.network-driver", f.Project+"-bridge", service("--network", f.Project+"-bridge", "nginx:1.22")...)
	refused("P17.template", "expanding env failed", service("--env", "FORMAT={{ .Name }}", "nginx:1.22")...)
	refused("P17.host-port", "can't be used with dnsrr", service("--endpoint-mode", "dnsrr", "--publish", "published=80,target=80", "nginx:1.22")...)

	ends := func(name, want string, args ...string) {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"--stop-grace-period", "1s"}, args...)
			id, err := s.Manager.Docker(ctx, service(args...)...)
			require.NoError(t, err)
			assert.EventuallyWithT(t, func(c *assert.CollectT) {
				tasks, err := s.Manager.Docker(ctx, "service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", id)
				assert.NoError(c, err)
				assert.Contains(c, tasks, want)
			}, 30*time.Second, 200*time.Millisecond)
			if name == "P17.stays-away" {
				all, err := s.Manager.Docker(ctx, "service", "ps", "--quiet", id)
				assert.NoError(t, err)
				assert.Len(t, strings.Fields(all), 1, "no other task is started")
			}
		})
	}
	ends("P17.bind", "bind source path does not exist", "--mount", "type=bind,source=/nowhere,target=/x", "nginx:1.22")
	ends("P17.restart", "Complete", "--restart-delay", "1s", "nginx:1.22", "true")
	ends("P17.unhealthy", "unhealthy container", "--restart-delay", "1s", "--health-cmd", "false", "--health-interval", "300ms", "--health-retries", "1", "nginx:1.22", "sleep", "60")
	ends("P17.stays-away", "Complete", "--restart-condition", "on-failure", "--health-cmd", "test ! -e /ill || exit 1", "--health-interval", "300ms",
		"--health-retries", "1", "nginx:1.22", "sh", "-c", "(sleep 2; touch /ill)& exec nginx -g 'daemon off;'")
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
