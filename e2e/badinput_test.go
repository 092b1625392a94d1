package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/e2e/lab"
)

// bad is one way to ask for a release wrongly: what is changed, the exit code,
// and the words that the message must have.
type bad struct {
	name string
	edit func(t *testing.T, f *lab.Fixture, flags map[string]string)
	exit int
	says []string
}

// Bad input ends with a message that names the input and the mend, the documented
// exit code, and a host on which nothing has changed.
func TestBadInput_IsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	f.MustPublish(lab.Release{Version: "b1"})
	original, err := os.ReadFile(filepath.Join(f.Dir, "compose.yaml"))
	require.NoError(t, err)
	for _, c := range append(badConnections(), badStacks()...) {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(filepath.Join(f.Dir, "compose.yaml"), original, 0o644))
			flags := hostFlags(f)
			flags["--version"] = "b1"
			c.edit(t, f, flags)
			result, err := f.Run(t.Context(), f.Dir, nil, arguments(f, flags)...)
			require.NoError(t, err)
			assert.Equal(t, c.exit, result.Exit, result.Stderr)
			for _, words := range c.says {
				assert.Contains(t, result.Stderr, words)
			}
			if !strings.Contains(result.Stderr, "is none of") { // the choices are the mend
				assert.Contains(t, result.Stderr, "hint: ", "says what to do next")
			}
			assert.Less(t, result.Took, 40*time.Second)
			units, err := f.Units(t.Context(), f.Project, true)
			require.NoError(t, err)
			assert.Empty(t, units, "nothing was made")
		})
	}
}

// hostFlags are the connection's flags of the fixture, to be changed.
func hostFlags(f *lab.Fixture) map[string]string {
	return map[string]string{
		"--host": f.Host.Address, "--ssh-key": "@" + f.Host.KeyFile, "--known-hosts": "@" + f.Host.KnownHostsFile,
		"--state-dir": f.Host.StateDir,
	}
}

func arguments(f *lab.Fixture, flags map[string]string) []string {
	args := []string{"deploy", "--project", f.Project, "--env-file", lab.EnvFile}
	for name, value := range flags {
		if value != "" {
			args = append(args, name+"="+value)
		}
	}
	return args
}

func set(name, value string) func(*testing.T, *lab.Fixture, map[string]string) {
	return func(_ *testing.T, _ *lab.Fixture, flags map[string]string) { flags[name] = value }
}

func badConnections() []bad {
	return []bad{
		{"unknown host", set("--host", "deploy@no-such-host.invalid"), 3, []string{"host", "no-such-host.invalid"}},
		{"refused port", func(_ *testing.T, f *lab.Fixture, flags map[string]string) {
			flags["--host"], flags["--known-hosts"], flags["--host-fingerprint"] = "deploy@127.0.0.1:1", "", f.Host.Fingerprint
		}, 3, []string{"host", "127.0.0.1:1", "refused"}},
		{"host that known-hosts does not have", set("--host", "deploy@127.0.0.1:1"), 3, []string{"known-hosts", "[127.0.0.1]:1"}},
		{"no host", set("--host", ""), 3, []string{"host"}},
		{"wrong key", func(t *testing.T, f *lab.Fixture, flags map[string]string) {
			flags["--ssh-key"] = "@" + newKey(t)
		}, 3, []string{"ssh-key", "deploy"}},
		{"changed host key", func(t *testing.T, f *lab.Fixture, flags map[string]string) {
			flags["--known-hosts"] = "@" + otherHostKey(t, f)
		}, 3, []string{"known-hosts", "SHA256:"}},
		{"missing known-hosts", set("--known-hosts", ""), 3, []string{"known-hosts"}},
		{"user not in the docker group", func(t *testing.T, f *lab.Fixture, flags map[string]string) {
			flags["--host"] = f.Host.NoDocker
			flags["--state-dir"] = "/tmp/" + f.Project
		}, 2, []string{"docker", "group"}},
		{"state folder not writable", set("--state-dir", "/proc/shiksha"), 2, []string{"state-dir"}},
	}
}

func newKey(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}

// otherHostKey records another key for the host than it has.
func otherHostKey(t *testing.T, f *lab.Fixture) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	name, _, ok := strings.Cut(string(f.Host.KnownHosts), " ")
	require.True(t, ok)
	path := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(path, []byte(name+" "+string(ssh.MarshalAuthorizedKey(key))), 0o600))
	return path
}

func compose(old, with string) func(*testing.T, *lab.Fixture, map[string]string) {
	return func(t *testing.T, f *lab.Fixture, _ map[string]string) { edit(t, f, old, with) }
}

func badStacks() []bad {
	return []bad{
		{"unparsable Compose file", compose("services:", "services: [}"), 3, []string{"compose.yaml:", "YAML"}},
		{"unknown Compose key", compose("  postgres:\n    image:", "  postgres:\n    helthcheck: {}\n    image:"), 3, []string{"helthcheck", "healthcheck"}},
		{"unset variable", set("--version", ""), 3, []string{"VERSION"}},
		{"service that does not exist", set("--services", "apy"), 3, []string{"services", `"apy"`, "api"}},
		{"image that does not exist", set("--version", "no-such-version"), 3, []string{"api", "no-such-version"}},
		{"strategy that does not exist", set("--strategy", "yolo"), 3, []string{"strategy", "rolling"}},
		{"a secret as a plain argument", set("--ssh-key", "-----BEGIN OPENSSH PRIVATE KEY-----"), 3, []string{"ssh-key", "@"}},
		{"a file outside the workspace", compose("./nginx/nginx.conf", "../../etc/passwd"), 3, []string{"compose.yaml", "workspace"}},
		{"an unknown x-shiksha key", compose("gateway: nginx", "gatway: nginx"), 3, []string{"gatway", "gateway"}},
	}
}

// A host whose engine is down says so, and not that the input is wrong.
func TestBadInput_EngineDown(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	host, err := f.StartHost(t.Context(), lab.HostOptions{Name: "no-engine", NoEngine: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = host.Stop(context.WithoutCancel(t.Context())) })
	f.Host = host
	result := f.Shiksha("deploy", "--version", "b1")
	assert.Equal(t, 2, result.Exit)
	assert.Contains(t, result.Stderr, "engine")
	assert.Contains(t, result.Stderr, "hint: ")
}

// Where sshd does not forward TCP nobody could see whether the new units answer, so
// nothing begins.
func TestBadInput_NoForwarding(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	f.MustPublish(lab.Release{Version: "closed"})
	host, err := f.StartHost(t.Context(), lab.HostOptions{Name: f.Project + "-closed", DockerCLI: true, SSHD: []string{"AllowTcpForwarding no"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = host.Stop(context.WithoutCancel(t.Context())) })
	f.Host = host
	result := f.Shiksha("deploy", "--version", "closed")
	assert.Equal(t, 2, result.Exit, result.Stderr)
	assert.Contains(t, result.Stderr, "P10.forwarding")
	assert.Contains(t, result.Stderr, "sshd does not forward TCP")
	assert.Empty(t, f.MustUnits(), "nothing was begun")
}

// A registry that wants a password gets the right one, and refuses a wrong one
// before anything changes.
func TestBadInput_RegistryPassword(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	quick(t, f)
	registry, err := f.StartRegistry(t.Context(), lab.RegistryOptions{Username: "robot", Password: "s3cret-enough"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = registry.Stop(context.WithoutCancel(t.Context())) })
	ref := registry.Address + "/quickstart/api:locked"
	require.NoError(t, f.Build(t.Context(), ref, lab.Release{Version: "locked"}))
	require.NoError(t, registry.Push(t.Context(), ref))
	_, err = f.Docker(t.Context(), "rmi", ref)
	require.NoError(t, err)

	deploy := func(password string) lab.Result {
		file := filepath.Join(t.TempDir(), "password")
		require.NoError(t, os.WriteFile(file, []byte(password), 0o600))
		return f.Shiksha("deploy", "--version", "locked", "--services", "worker,api,postgres", "--images", "api="+ref+",worker="+ref,
			"--registry", registry.Address, "--registry-username", "robot", "--registry-password", "@"+file)
	}
	wrong := deploy("wrong-password")
	assert.Equal(t, 3, wrong.Exit, wrong.Stderr)
	assert.Contains(t, wrong.Stderr, "registry-password")
	assert.NotContains(t, wrong.Stderr+wrong.Stdout, "wrong-password")
	units, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	assert.Empty(t, units)

	right := deploy("s3cret-enough")
	assert.Equal(t, 0, right.Exit, right.Stderr)
	assert.NotContains(t, right.Stderr+right.Stdout, "s3cret-enough")
}
