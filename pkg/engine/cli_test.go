package engine

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/flags"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// strayConfiguration makes this process look like a runner whose Docker is set up
// for something else, and gives a counter of what reaches the stray engine.
func strayConfiguration(t *testing.T) (reached func() int, helperRan func() bool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	calls := make(chan struct{}, 1000)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls <- struct{}{}
		http.Error(w, "stray", http.StatusTeapot)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	home := t.TempDir()
	mark := filepath.Join(home, "helper-ran")
	helper := "#!/bin/sh\ntouch " + mark + "\necho '{\"ServerURL\":\"x\",\"Username\":\"stray\",\"Secret\":\"stray-secret\"}'\n"
	require.NoError(t, os.MkdirAll(filepath.Join(home, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "bin", "docker-credential-stray"), []byte(helper), 0o755))
	stray := "http://" + listener.Addr().String()
	content, err := json.Marshal(map[string]any{
		"currentContext": "nowhere", "credsStore": "stray", "credHelpers": map[string]string{"127.0.0.1:5000": "stray"},
		"HttpHeaders": map[string]string{"X-Stray": "1"},
		"proxies":     map[string]any{"default": map[string]string{"httpProxy": stray, "httpsProxy": stray, "noProxy": "stray.example"}},
	})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".docker"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".docker", "config.json"), content, 0o600))
	for k, v := range map[string]string{
		"HOME": home, "PATH": filepath.Join(home, "bin") + ":" + os.Getenv("PATH"), "DOCKER_CONFIG": filepath.Join(home, ".docker"),
		"DOCKER_HOST": strings.Replace(stray, "http", "tcp", 1), "DOCKER_CONTEXT": "nowhere", "DOCKER_API_VERSION": "1.12", "DOCKER_TLS_VERIFY": "1",
		"DOCKER_CERT_PATH": home, "DOCKER_DEFAULT_PLATFORM": "linux/s390x", "DOCKER_AUTH_CONFIG": `{"auths":{}}`,
		"HTTP_PROXY": stray, "HTTPS_PROXY": stray, "http_proxy": stray, "NO_PROXY": "stray.example",
		"COMPOSE_PROJECT_NAME": "stray", "COMPOSE_PROFILES": "stray", "COMPOSE_PARALLEL_LIMIT": "0", "COMPOSE_REMOVE_ORPHANS": "1",
		"INPUT_SSH-KEY": "stray-secret", "GITHUB_TOKEN": "stray-secret",
	} {
		t.Setenv(k, v)
	}
	// The configuration file's folder is settled once per process by the library.
	was := config.Dir()
	config.SetDir(filepath.Join(home, ".docker"))
	t.Cleanup(func() { config.SetDir(was) })
	return func() int { return len(calls) }, func() bool { _, err := os.Stat(mark); return err == nil }
}

func TestNothingOfTheRunnersDockerMatters(t *testing.T) {
	reached, helperRan := strayConfiguration(t)

	// The trap is real: the docker command's own reading of this environment finds
	// the proxies.
	theirs, err := command.NewDockerCli()
	require.NoError(t, err)
	require.NoError(t, theirs.Initialize(flags.NewClientOptions()))
	require.NotEmpty(t, theirs.ConfigFile().ParseProxyConfig("unix:///var/run/docker.sock", nil))

	e, rec := newEngine(t)
	s := load(t, `
services:
  api: {image: V1, environment: {MINE: "1"}, configs: [c], networks: [net], volumes: ["data:/data"], post_start: [{command: [/unit, write, /hook, ran]}]}
configs: {c: {content: hello}}
networks: {net: {}}
volumes: {data: {}}
`)
	ground(t, e, s)
	ids := run(t, e, s, "api", 2)
	for _, id := range ids {
		u, err := e.Inspect(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, stack.Running, u.State)
		assert.Equal(t, "1", u.Env["MINE"])
		all, err := json.Marshal(inspect(t, id))
		require.NoError(t, err)
		assert.NotContains(t, strings.ToLower(string(all)), "stray")
		assert.NotContains(t, strings.ToLower(string(all)), "proxy\":\"h")
		for k := range u.Env {
			assert.NotContains(t, strings.ToLower(k), "proxy")
		}
	}
	// Docker Hub has no such image or cannot be reached: either way this one is used.
	images, err := e.Resolve(t.Context(), s, nil, Auth{}, nil)
	require.NoError(t, err)
	assert.NotEmpty(t, images["api"].Note)
	assert.Zero(t, reached(), "nothing was sent to the stray engine or proxy")
	assert.False(t, helperRan(), "no credential helper was started")
	for _, ev := range rec.Events() {
		assert.NotContains(t, ev.Text, "stray")
	}
}

func TestWarningsOfTheSDKBecomeEvents(t *testing.T) {
	stderr := os.Stderr
	r, w, err := os.Pipe()
	require.NoError(t, err)
	os.Stderr = w
	t.Cleanup(func() { os.Stderr = stderr })
	e, rec := newEngine(t)
	_, done, err := e.sdk(daemon, 1)
	require.NoError(t, err)
	logrus.Warnf("found %d orphans", 3)
	logrus.Info("not interesting")
	done()
	logrus.Warn("after the sdk's work")
	require.NoError(t, w.Close())
	os.Stderr = stderr
	buf := make([]byte, 1024)
	n, _ := r.Read(buf)
	assert.Empty(t, string(buf[:n]), "nothing on standard error")
	assert.Equal(t, []string{"compose: found 3 orphans"}, warnings(rec, ""))
	assert.Equal(t, event.Warning, rec.Events()[0].Level)
}

func TestNewWantsAClient(t *testing.T) {
	t.Parallel()
	_, err := New(nil, nil)
	require.ErrorContains(t, err, "no docker client")
}
