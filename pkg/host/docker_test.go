package host

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

func TestDockerBothWays(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{
		"forwarded":  nil,
		"dial-stdio": {"AllowStreamLocalForwarding no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSSHD(t, lines...)
			way := startProxy(t, server.addr)
			h := dial(t, quick(server.through(way)))
			api, err := h.Docker(t.Context())
			require.NoError(t, err)
			assert.Equal(t, name == "dial-stdio", h.usesStdio())
			same, err := h.Docker(t.Context())
			require.NoError(t, err)
			assert.Same(t, api, same)
			for range 10 {
				info, err := api.Info(t.Context(), client.InfoOptions{})
				require.NoError(t, err)
				assert.NotEmpty(t, info.Info.ServerVersion)
			}
			assert.NotEmpty(t, api.ClientVersion())

			// A stream that the client ends.
			ctx, cancel := context.WithCancel(t.Context())
			events := api.Events(ctx, client.EventsListOptions{})
			cancel()
			select {
			case err := <-events.Err:
				assert.ErrorIs(t, err, context.Canceled)
			case <-time.After(patience):
				t.Error("the stream goes on")
			}

			way.cut()
			require.Eventually(t, func() bool {
				_, err := api.Ping(t.Context(), client.PingOptions{})
				return err == nil
			}, patience, 20*time.Millisecond)
			assert.Equal(t, 1, h.Reconnected())
			assert.EqualValues(t, 2, way.accepted.Load())
		})
	}
}

// Over dial-stdio each call is a session, of which sshd allows few: a call too many
// waits for its turn, however long the others take.
func TestDockerOverStdioOpensFewSessions(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(openFolder(t), "slow.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(socket, 0o666))
	engine := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info") {
			time.Sleep(sessionPatience + 500*time.Millisecond)
		}
		w.Header().Set("Api-Version", "1.41")
		_, _ = io.WriteString(w, "{}")
	})}
	go func() { _ = engine.Serve(listener) }()
	t.Cleanup(func() { _ = engine.Close() })
	config := startSSHD(t, "AllowStreamLocalForwarding no").config()
	config.DockerSocket = socket
	h := dial(t, config)
	api, err := h.Docker(t.Context())
	require.NoError(t, err)
	require.True(t, h.usesStdio())
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			_, err := api.Info(t.Context(), client.InfoOptions{})
			assert.NoError(t, err)
		})
	}
	all.Wait()
}

// An engine that is being started refuses one connection. That is no reason to do without
// forwarding for the rest of the run.
func TestDockerThatIsStartedMeanwhileIsForwardedTo(t *testing.T) {
	t.Parallel()
	server, dir := startSSHD(t, "SetEnv PATH={dir}:/usr/bin:/bin"), openFolder(t)
	config := server.config()
	config.DockerSocket = filepath.Join(dir, "engine.sock")
	listen := func() *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: config.DockerSocket, Net: "unix"})
		require.NoError(t, err)
		require.NoError(t, os.Chmod(config.DockerSocket, 0o666))
		return l
	}
	before := listen()
	before.SetUnlinkOnClose(false)
	require.NoError(t, before.Close())
	asked, up := filepath.Join(dir, "asked"), filepath.Join(dir, "up")
	cli := "#!/bin/sh\ntouch " + asked + "\nuntil test -e " + up + "; do sleep 0.05; done\nprintf 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n'\n"
	require.NoError(t, os.WriteFile(filepath.Join(server.dir, "docker"), []byte(cli), 0o755))
	h := dial(t, config)
	dialled := make(chan error, 1)
	go func() {
		c, err := h.DialDocker(t.Context())
		if err == nil {
			err = c.Close()
		}
		dialled <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(asked); return err == nil }, patience, 20*time.Millisecond)
	require.NoError(t, os.Remove(config.DockerSocket))
	engine := listen()
	t.Cleanup(func() { _ = engine.Close() })
	require.NoError(t, os.WriteFile(up, nil, 0o644))
	require.NoError(t, <-dialled)
	assert.False(t, h.usesStdio())
}

func TestDockerCannotBeUsed(t *testing.T) {
	t.Parallel()
	open, shut := startSSHD(t), startSSHD(t, "AllowStreamLocalForwarding no")
	dir := openFolder(t)
	stale := filepath.Join(dir, "stale.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	require.NoError(t, err)
	listener.SetUnlinkOnClose(false)
	require.NoError(t, listener.Close())
	require.NoError(t, os.Chmod(stale, 0o666))
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	outsider, rootless := newUser(t), newUser(t)
	own := rootlessSocket(t, rootless)
	for name, c := range map[string]struct{ user, socket, text, hint string }{
		"not in the group": {outsider, "", "user " + outsider + " may not use the docker engine", "usermod -aG docker " + outsider},
		"no socket":        {tester, filepath.Join(dir, "none.sock"), "the docker engine does not run: there is no " + dir, "systemctl"},
		"rootless alone":   {rootless, filepath.Join(dir, "none.sock"), "there is no " + dir + "/none.sock, only an engine without root (" + own + ")", "for the whole host"},
		"rootless beside":  {rootless, stale, "the docker engine does not run: nobody listens on " + stale, "systemctl restart docker"},
		"no socket but":    {tester, file, file + " is not a socket", "systemctl"},
		"nobody listens":   {tester, stale, "the docker engine does not run: nobody listens on " + stale, "systemctl restart docker"},
	} {
		for _, server := range []*sshd{open, shut} {
			config := server.as(c.user)
			config.DockerSocket = c.socket
			h := dial(t, config)
			_, err := h.Docker(t.Context())
			assert.Equal(t, fault.Refused, fault.Of(err), name)
			assert.ErrorContains(t, err, h.String()+": "+c.text, name)
			assert.Contains(t, fault.Hint(err), c.hint, name)
			assert.False(t, h.usesStdio(), name)
		}
	}
}

// rootlessSocket is where a user's own engine listens.
func rootlessSocket(t *testing.T, name string) string {
	t.Helper()
	u, err := user.Lookup(name)
	require.NoError(t, err)
	dir := filepath.Join("/run/user", u.Uid)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "docker.sock"), Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return filepath.Join(dir, "docker.sock")
}

func TestDockerWithoutForwardingAndCLI(t *testing.T) {
	t.Parallel()
	server := startSSHD(t, "AllowStreamLocalForwarding no", "SetEnv PATH=/nowhere")
	h := dial(t, server.config())
	// The check itself needs sh and test, which this PATH hides as well.
	_, err := h.Docker(t.Context())
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.ErrorContains(t, err, "dial-stdio` is no way either")
	assert.ErrorContains(t, err, "not found")
	assert.Contains(t, fault.Hint(err), "AllowStreamLocalForwarding")
}

func TestDockerEnvironmentIsNotRead(t *testing.T) {
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	t.Setenv("DOCKER_API_VERSION", "1.12")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	h := dial(t, startSSHD(t).config())
	api, err := h.Docker(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, "1.12", api.ClientVersion())
	_, err = api.Info(t.Context(), client.InfoOptions{})
	assert.NoError(t, err)
}

// The conn must do what moby's hijack does: half-close one way and read on.
func TestDialDockerHalfClose(t *testing.T) {
	t.Parallel()
	dir := openFolder(t)
	socket := filepath.Join(dir, "echo.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	require.NoError(t, os.Chmod(socket, 0o666))
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		data, _ := io.ReadAll(c) // answers only after the end of file
		_, _ = c.Write(append([]byte("got "), data...))
		_ = c.Close()
	}()
	config := startSSHD(t).config()
	config.DockerSocket = socket
	c, err := dial(t, config).DialDocker(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Hour)))
	_, err = io.WriteString(c, "hello")
	require.NoError(t, err)
	require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
	data, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, "got hello", string(data))
	assert.NoError(t, c.Close())
	assert.Equal(t, "unix", c.RemoteAddr().Network())
	assert.NotNil(t, c.LocalAddr())
}

func TestDialTCP(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "from the host") }))
	t.Cleanup(web.Close)
	h := dial(t, startSSHD(t).config())
	browser := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return h.DialTCP(ctx, addr)
	}}}
	t.Cleanup(browser.CloseIdleConnections)
	answer, err := browser.Get(web.URL)
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	assert.Equal(t, "from the host", string(data))

	_, err = h.DialTCP(t.Context(), "127.0.0.1:1")
	assert.ErrorContains(t, err, "onnection refused")
	assert.False(t, IsConnectionLost(err))
	assert.False(t, ForbidsForwarding(err), "it was forwarded, and nobody listens")
	for _, addr := range []string{"nowhere", "127.0.0.1:http", "127.0.0.1:70000"} {
		_, err = h.DialTCP(t.Context(), addr)
		assert.Error(t, err, addr)
	}
	shut := dial(t, startSSHD(t, "AllowTcpForwarding no").config())
	_, err = shut.DialTCP(t.Context(), web.Listener.Addr().String())
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.ErrorContains(t, err, "sshd does not forward to")
	assert.True(t, ForbidsForwarding(err))
}
