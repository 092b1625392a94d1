package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/peers"
)

// startedBuilder is the container that a build starts where it is given no builder.
const startedBuilder = "buildx_buildkit_shiksha0"

// base is an image that is on every machine of the lab.
const base = "debian:bookworm-slim"

// fakePrivileges stands before the real engine. Not every engine lets a container
// do what BuildKit has to: a builder that is created through this one is an
// ordinary container that hands everything to the BuildKit of the machine. What is
// real is the container's life: made, asked, used again, removed.
type fakePrivileges struct {
	address string
	created atomic.Int64
}

func (s *site) startFakePrivileges(t *testing.T) *fakePrivileges {
	t.Helper()
	binds, env := s.inContainers(t)
	f := &fakePrivileges{}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", lab.Socket)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	proxy.Transport = &http.Transport{DialContext: dial}
	proxy.FlushInterval = -1
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/containers/create") {
			changed, err := withoutPrivileges(req, binds, env)
			assert.NoError(t, err)
			if changed {
				f.created.Add(1)
			}
		}
		proxy.ServeHTTP(w, req)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	f.address = "unix://" + socket
	return f
}

// withoutPrivileges changes what is created, where it asks for privileges.
func withoutPrivileges(req *http.Request, binds, env []string) (changed bool, err error) {
	var asked map[string]any
	if err := json.NewDecoder(req.Body).Decode(&asked); err != nil {
		return false, err
	}
	if host, _ := asked["HostConfig"].(map[string]any); host["Privileged"] == true {
		host["Privileged"], host["Init"], host["Binds"] = false, false, binds
		asked["Env"], asked["Entrypoint"], asked["Cmd"] = env, []string{"sleep"}, []string{"600"}
		changed = true
	}
	data, err := json.Marshal(asked)
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return changed, err
}

// inContainers is how a container reaches the BuildKit of the machine.
func (s *site) inContainers(t *testing.T) (binds, env []string) {
	t.Helper()
	program, err := peers.Buildctl(t.Context(), io.Discard)
	require.NoError(t, err)
	return []string{program + ":/usr/bin/buildctl:ro", s.builder.Root + ":" + s.builder.Root}, []string{"BUILDKIT_HOST=" + s.builder.Address}
}

// in runs a build that is told to use a builder, or none.
func (s *site) in(t *testing.T, engine, builder string, more ...string) lab.Result {
	t.Helper()
	args := []string{"build", "--targets", "web", "--version", "v1", "--buildkit-image", base, "--platforms", both}
	if builder != "" {
		args = append(args, "--builder", builder)
	}
	cmd, err := s.Command(t.Context(), s.Dir, []string{"DOCKER_HOST=" + engine}, append(args, more...)...)
	require.NoError(t, err)
	result, err := lab.Wait(cmd, nil)
	require.NoError(t, err)
	return result
}

// A container that runs BuildKit is named and used, and left as it is.
func TestBuildInANamedContainer(t *testing.T) {
	whole(t)
	s := newSite(t)
	binds, env := s.inContainers(t)
	name := strings.ToLower(s.Project) + "-builder"
	args := []string{"run", "--detach", "--name", name, "--env", env[0]}
	for _, bind := range binds {
		args = append(args, "--volume", bind)
	}
	_, err := s.Docker(t.Context(), append(args, base, "sleep", "600")...)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = s.Docker(context.Background(), "rm", "--force", name) })

	result := s.in(t, "unix://"+lab.Socket, name)
	require.Zero(t, result.Exit, "%s%s", result.Stdout, result.Stderr)
	assert.Contains(t, result.Stderr, name+": the container that the input builder names")
	assert.Contains(t, result.Stderr, "it is running and is used again")
	state, err := s.Docker(t.Context(), "inspect", "--format", "{{.State.Running}}", name)
	require.NoError(t, err)
	assert.Equal(t, "true", state)

	result = s.in(t, "unix://"+lab.Socket, "nobody")
	assert.Equal(t, 3, result.Exit, result.Stdout)
	assert.Contains(t, result.Stderr, "builder: there is no container nobody")
}

// Without a builder, and with an engine whose own cannot do it, one is started in a
// container; that is told, and the container goes with the build, also with one
// that is cancelled. Its volume stays for the next one.
func TestBuildStartsABuilder(t *testing.T) {
	whole(t)
	s := newSite(t)
	f := s.startFakePrivileges(t)
	t.Cleanup(func() {
		_, _ = s.Docker(context.Background(), "rm", "--force", startedBuilder)
		_, _ = s.Docker(context.Background(), "volume", "rm", "--force", startedBuilder+"_state")
	})
	result := s.in(t, f.address, "")
	require.Zero(t, result.Exit, "%s%s", result.Stdout, result.Stderr)
	assert.Contains(t, result.Stderr, startedBuilder+": BuildKit in a container, because the engine's own cannot export caches or several platforms")
	assert.EqualValues(t, 1, f.created.Load(), result.Stderr)
	s.noBuilder(t)
	volume, err := s.Docker(t.Context(), "volume", "ls", "--quiet", "--filter", "name="+startedBuilder)
	require.NoError(t, err)
	assert.Equal(t, startedBuilder+"_state", volume)

	s.write("web/Dockerfile", "FROM busybox:1\nRUN echo "+t.Name()+"; "+endless+"\n")
	cmd, err := s.Command(t.Context(), s.Dir, []string{"DOCKER_HOST=" + f.address}, "build", "--targets", "web", "--version", "v1", "--buildkit-image", base)
	require.NoError(t, err)
	var words bytes.Buffer
	cmd.Stderr = &words
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return s.running(endless) }, 30*time.Second, 50*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	at := time.Now()
	_ = cmd.Wait()
	assert.Less(t, time.Since(at), 7*time.Second)
	assert.Equal(t, 5, cmd.ProcessState.ExitCode(), words.String())
	s.noBuilder(t)
	assert.Eventually(t, func() bool { return !s.running(endless) }, 10*time.Second, 50*time.Millisecond)
}

// noBuilder makes sure that no container of a builder is left.
func (s *site) noBuilder(t *testing.T) {
	t.Helper()
	left, err := s.Docker(t.Context(), "ps", "--all", "--quiet", "--filter", "name="+startedBuilder)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// An engine that allows no privileged containers cannot start a builder: that is
// told with what else to do, and nothing is left.
func TestBuildWhereNoBuilderCanBeStarted(t *testing.T) {
	s := newSite(t)
	if _, err := s.Docker(t.Context(), "run", "--rm", "--privileged", base, "true"); err == nil {
		t.Skip("this engine allows privileged containers")
	}
	result := s.in(t, "unix://"+lab.Socket, "")
	assert.Equal(t, 2, result.Exit, result.Stdout)
	assert.Contains(t, result.Stderr, startedBuilder+" does not answer")
	assert.Contains(t, result.Stderr, "hint: a builder in a container needs an engine that allows privileged containers")
	s.noBuilder(t)
}
