package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/probe"
)

func TestReadSources(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files map[string]string
		want  sources
	}{
		"deb822, as in Debian's own images": {
			files: map[string]string{"sources.list.d/debian.sources": "Types: deb\n# a note: with a colon\nURIs: http://mirror.test/debian\n" +
				"Suites: bookworm bookworm-updates\nComponents: main contrib\n\nTypes: deb\nURIs: http://mirror.test/security\n" +
				"Suites: bookworm-security\nComponents: main\n"},
			want: sources{mirror: "http://mirror.test/debian", lines: []string{
				"deb http://mirror.test/debian bookworm main",
				"deb http://mirror.test/debian bookworm-updates main",
				"deb http://mirror.test/security bookworm-security main",
			}},
		},
		"one line each, with options": {
			files: map[string]string{
				"sources.list":             "deb [arch=amd64 signed-by=/k.gpg] https://m.test/debian bookworm main non-free\ndeb-src https://m.test/debian bookworm main\n",
				"sources.list.d/else.list": "deb https://packages.test/apt stable main\n# deb http://old.test bookworm main\n",
			},
			want: sources{mirror: "https://m.test/debian", lines: []string{"deb https://m.test/debian bookworm main"}},
		},
		"another distribution": {
			files: map[string]string{"sources.list": "deb http://archive.ubuntu.com/ubuntu jammy main\n"},
			want:  sources{mirror: debianMirror, lines: []string{"deb " + debianMirror + " bookworm main"}},
		},
		"switched off": {
			files: map[string]string{"sources.list.d/a.sources": "Enabled: no\nTypes: deb\nURIs: http://off.test\nSuites: bookworm\nComponents: main\n"},
			want:  sources{mirror: debianMirror, lines: []string{"deb " + debianMirror + " bookworm main"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range test.files {
				path := filepath.Join(dir, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			}
			assert.Equal(t, test.want, readSources(dir))
		})
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		ids           probe.IDs
		stored        []string
		lost, doubled int
	}{
		"all there":                       {probe.IDs{Sent: 2, Acknowledged: 2}, []string{"r-0", "r-1"}, 0, 0},
		"one lost":                        {probe.IDs{Sent: 2, Acknowledged: 2}, []string{"r-1"}, 1, 0},
		"one twice":                       {probe.IDs{Sent: 2, Acknowledged: 2}, []string{"r-0", "r-1", "r-1"}, 0, 1},
		"no answer, and stored":           {probe.IDs{Sent: 2, Acknowledged: 1, Unknown: []string{"r-1"}}, []string{"r-0", "r-1"}, 0, 0},
		"no answer, and another one lost": {probe.IDs{Sent: 2, Acknowledged: 1, Unknown: []string{"r-1"}}, []string{"r-1"}, 1, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lost, doubled := account(test.ids, test.stored)
			assert.Equal(t, test.lost, lost, "lost")
			assert.Equal(t, test.doubled, doubled, "doubled")
		})
	}
}

func TestMain(m *testing.M) { Main(m) }

// TestQuickstartServes starts the quickstart's images the way its Compose file
// does and puts the load on them: what the end-to-end tests then blame on a
// deploy is not the lab's own.
func TestQuickstartServes(t *testing.T) {
	f := New(t)
	ctx := t.Context()
	api := f.MustPublish(Release{Version: "smoke", WarmUp: "200ms"})
	network := f.Project + "_data"
	label := "com.docker.compose.project=" + f.Project
	docker := func(args ...string) string {
		t.Helper()
		out, err := f.Docker(ctx, args...)
		require.NoError(t, err)
		return out
	}
	docker("network", "create", "--label", label, network)
	run := func(args ...string) string {
		t.Helper()
		return docker(append([]string{"run", "--detach", "--label", label, "--network", network}, args...)...)
	}
	postgres := run("--network-alias", "postgres", "--env", "POSTGRES_USER=quickstart", "--env", "POSTGRES_DB=quickstart",
		"--env", "POSTGRES_PASSWORD=quick", "postgres:15")
	for range 3 {
		run("--network-alias", "api", "--env", "DATABASE_URL=postgres://quickstart:quick@postgres:5432/quickstart?sslmode=disable", api)
	}
	ready := func() bool {
		_, err := f.Docker(ctx, "exec", postgres, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "quickstart", "-d", "quickstart")
		return err == nil
	}
	require.Eventually(t, ready, 30*time.Second, 100*time.Millisecond)
	run("--network-alias", "nginx", "--publish", fmt.Sprintf("127.0.0.1:%d:8080", f.Port),
		"--volume", f.Dir+"/nginx/nginx.conf:/etc/nginx/nginx.conf:ro", "nginx:1.22")
	require.Eventually(t, func() bool { return Serving(ctx, f.URL()+"/healthz") == "smoke" }, 20*time.Second, 100*time.Millisecond)

	load := f.Load()
	time.Sleep(5 * time.Second) // the load has to run for a while
	report, err := load.Stop(context.WithoutCancel(ctx))
	require.NoError(t, err)
	assert.Greater(t, report.Requests, 1000)
	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Greater(t, report.PostsSent, 250)
	assert.Zero(t, report.PostsLost)
	assert.Zero(t, report.PostsDoubled)
	t.Logf("%d requests, p99 %v, longest gap %v", report.Requests, report.P99Before, report.LongestGap)
}

// TestSandboxHost looks at the host as a client does.
func TestSandboxHost(t *testing.T) {
	f := New(t)
	before, err := f.Host.Connections(t.Context())
	require.NoError(t, err)
	deploy := login(t, f.Host, "deploy")
	nobody := login(t, f.Host, "nodocker")
	after, err := f.Host.Connections(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, after-before, "connections")

	assert.Equal(t, "deploy", say(t, deploy, "id -un"))
	assert.Empty(t, say(t, deploy, "touch "+f.Host.StateDir+"/probe && command -v flock timeout dd > /dev/null || echo missing"))
	require.NoError(t, os.Remove(filepath.Join(f.Host.StateDir, "probe")), "the state folder is the same on both sides")
	socket, err := deploy.Dial("unix", Socket)
	require.NoError(t, err)
	require.NoError(t, socket.Close())
	_, err = nobody.Dial("unix", Socket)
	assert.Error(t, err, "a user outside the group reaches the engine")
}

func TestHostWithoutForwarding(t *testing.T) {
	f := New(t)
	h, err := f.StartHost(t.Context(), HostOptions{
		Name: f.Project + "-dial", DockerCLI: true, SSHD: []string{"AllowStreamLocalForwarding no"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.Stop(context.Background())) })
	client := login(t, h, "deploy")
	_, err = client.Dial("unix", Socket)
	require.Error(t, err)
	assert.NotEmpty(t, say(t, client, "docker version --format '{{.Server.Version}}'"))
}

// A release made by our own build is the one that docker build makes.
func TestPublishBuilt(t *testing.T) {
	f := New(t)
	builder, err := f.StartBuilder(t.Context(), nil, nil)
	require.NoError(t, err)
	atHand, err := f.BuilderAtHand(t.Context())
	require.NoError(t, err)
	require.NotNil(t, atHand, "once it has been made it is at hand")
	require.NoError(t, atHand.Stop(t.Context()))
	config := func(version string, publish func(Release) (string, error)) v1.Config {
		text, err := publish(Release{Version: version, Behaviour: "dies-late", WarmUp: "1s"})
		require.NoError(t, err)
		ref, err := name.ParseReference(text)
		require.NoError(t, err)
		image, err := remote.Image(ref, remote.WithContext(t.Context()))
		require.NoError(t, err)
		file, err := image.ConfigFile()
		require.NoError(t, err)
		return file.Config
	}
	theirs := config("lab-1", func(r Release) (string, error) { return f.Publish(t.Context(), r) })
	ours := config("lab-1", func(r Release) (string, error) { return f.PublishBuilt(t.Context(), builder, r) })
	assert.Contains(t, ours.Env, "VERSION=lab-1")
	assert.Contains(t, ours.Env, "BEHAVIOUR=dies-late")
	assert.ElementsMatch(t, theirs.Env, ours.Env)
	assert.Equal(t, theirs.Entrypoint, ours.Entrypoint)
	assert.Equal(t, theirs.User, ours.User)
}

func TestRegistryWithLogin(t *testing.T) {
	f := New(t)
	r, err := f.StartRegistry(t.Context(), RegistryOptions{Username: "lab", Password: "right"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Stop(context.Background())) })
	ref := r.Address + "/quickstart/api:login"
	require.NoError(t, f.Build(t.Context(), ref, Release{Version: "login"}))
	require.NoError(t, r.Push(t.Context(), ref))
	_, err = f.Docker(t.Context(), "pull", ref)
	assert.ErrorContains(t, err, "no basic auth credentials")
}

func login(t *testing.T, h *Host, user string) *ssh.Client {
	t.Helper()
	key, err := ssh.ParsePrivateKey(h.Key)
	require.NoError(t, err)
	client, err := ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.Port), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			assert.Equal(t, h.Fingerprint, ssh.FingerprintSHA256(key))
			return nil
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func say(t *testing.T, client *ssh.Client, command string) string {
	t.Helper()
	session, err := client.NewSession()
	require.NoError(t, err)
	out, err := session.CombinedOutput(command)
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}
