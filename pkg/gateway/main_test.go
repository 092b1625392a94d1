package gateway_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	gatewayImage = "nginx:1.22"
	backendImage = "gatewaytest-backend"
)

var (
	_       gateway.Runner = (*engine.Engine)(nil)
	running *engine.Engine
)

func TestMain(m *testing.M) {
	code, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// prepare builds the backend's image and connects to the engine.
func prepare(m *testing.M) (int, error) {
	if err := exec.Command("docker", "image", "inspect", gatewayImage).Run(); err != nil {
		return 1, fmt.Errorf("run make test (it prepares %s): %w", gatewayImage, err)
	}
	dir, err := os.MkdirTemp("", "gatewaytest-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "backend"), "./testdata/backend")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the backend: %w: %s", err, out)
	}
	dockerfile := "FROM scratch\nCOPY backend /backend\nENTRYPOINT [\"/backend\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return 1, err
	}
	if out, err := exec.Command("docker", "build", "-q", "-t", backendImage, dir).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the backend's image: %w: %s", err, out)
	}
	api, err := client.New(client.FromEnv)
	if err != nil {
		return 1, err
	}
	defer api.Close()
	if running, err = engine.New(api, event.Discard); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	require.NoError(t, err, "docker %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// lab is a network with a gateway in front of units of the service api.
type lab struct {
	t             *testing.T
	prefix        string
	config        string // path of the gateway's nginx.conf on this machine
	unit          stack.Unit
	url           string
	nginx         *gateway.Nginx
	events        *event.Recorder
	gatewayArgs   []string
	gatewayImage  string
	gatewayAction []string
}

const plainConfig = `
worker_processes 2;
events { worker_connections 512; }
http {
  access_log off;
  upstream pool { server api:8000 max_fails=0; }
  server {
    listen 80;
    location / { proxy_pass http://pool; proxy_buffering off; proxy_read_timeout 60s; }
  }
}
`

// newLab makes the network; start starts the gateway.
func newLab(t *testing.T) *lab {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	l := &lab{
		t: t, prefix: fmt.Sprintf("gatewaytest-%s-%d", name, os.Getpid()), events: &event.Recorder{},
		config: filepath.Join(t.TempDir(), "nginx.conf"), gatewayImage: gatewayImage,
	}
	docker(t, "network", "create", l.prefix)
	t.Cleanup(func() { docker(t, "network", "rm", l.prefix) })
	l.write(plainConfig)
	return l
}

// write changes nginx.conf in place: it is bind-mounted.
func (l *lab) write(config string) {
	require.NoError(l.t, os.WriteFile(l.config, []byte(config), 0o644))
}

// run starts a container on the network and gives its id and address.
func (l *lab) run(name string, args ...string) (id, addr string) {
	l.t.Helper()
	full := l.prefix + "-" + name
	id = docker(l.t, append([]string{"run", "-d", "--network", l.prefix, "--name", full}, args...)...)
	l.t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", full).Run() })
	format := `{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}`
	return id, docker(l.t, "inspect", "-f", format, id)
}

// units starts units of api and gives their addresses, when they answer.
func (l *lab) units(names ...string) []string {
	l.t.Helper()
	var addrs []string
	for _, name := range names {
		_, addr := l.run(name, "--network-alias", "api", backendImage, name)
		addrs = append(addrs, addr)
	}
	for _, addr := range addrs {
		l.answers("http://" + addr + ":8000/")
	}
	return addrs
}

func (l *lab) answers(url string) {
	l.t.Helper()
	require.Eventually(l.t, func() bool { _, err := get(l.t.Context(), url); return err == nil },
		20*time.Second, 50*time.Millisecond, url)
}

func (l *lab) remove(names ...string) {
	l.t.Helper()
	for _, name := range names {
		docker(l.t, "rm", "-f", l.prefix+"-"+name)
	}
}

// start starts the gateway and waits until it answers.
func (l *lab) start(opts ...gateway.Option) *gateway.Nginx {
	l.t.Helper()
	l.boot(opts...)
	l.answers(l.url)
	return l.nginx
}

// boot starts the gateway.
func (l *lab) boot(opts ...gateway.Option) *gateway.Nginx {
	l.t.Helper()
	args := append([]string{"-v", l.config + ":/etc/nginx/nginx.conf:ro"}, l.gatewayArgs...)
	id, addr := l.run("gw", append(append(args, l.gatewayImage), l.gatewayAction...)...)
	unit, err := running.Inspect(l.t.Context(), id)
	require.NoError(l.t, err)
	l.unit, l.url = unit, "http://"+addr+"/"
	l.nginx = gateway.New(running, unit, l.events, opts...)
	return l.nginx
}

// hosts reads the gateway's /etc/hosts.
func (l *lab) hosts() string {
	l.t.Helper()
	return docker(l.t, "exec", l.unit.ID, "cat", "/etc/hosts")
}

// get makes one request on a connection of its own.
func get(ctx context.Context, url string) (string, error) {
	return fetch(ctx, url, 15*time.Second)
}
