package host

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

// attempted tells whether a client of s ever came to authentication.
func (s *sshd) attempted() bool { return strings.Contains(s.log.String(), "userauth-request") }

func TestChangedHostKeyStopsBeforeAuthentication(t *testing.T) {
	t.Parallel()
	server := startSSHD(t, "LogLevel DEBUG1")
	dir := t.TempDir()
	keygen(t, dir, "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa")
	_, other := newKey(t)
	otherRSA := publicKey(t, readFile(t, dir, "rsa.pub"))
	shown := ssh.FingerprintSHA256(server.hostKey)
	for name, c := range map[string]struct {
		change func(*Config)
		where  string
		want   string
	}{
		"another key": {func(c *Config) { c.KnownHosts = knownLine(server.addr, other) }, "known-hosts", ssh.FingerprintSHA256(other)},
		"a key of a type the server has not": {func(c *Config) { c.KnownHosts = knownLine(server.addr, otherRSA) }, "known-hosts",
			ssh.FingerprintSHA256(otherRSA)},
		"another fingerprint": {func(c *Config) { c.KnownHosts, c.Fingerprint = nil, ssh.FingerprintSHA256(other) }, "host-fingerprint",
			ssh.FingerprintSHA256(other)},
		"both, of which one": {func(c *Config) { c.Fingerprint = ssh.FingerprintSHA256(other) }, "host-fingerprint", ssh.FingerprintSHA256(other)},
		"an authority that did not sign": {func(c *Config) { c.KnownHosts = append([]byte("@cert-authority "), knownLine(server.addr, other)...) },
			"known-hosts", ssh.FingerprintSHA256(other)},
	} {
		config := server.config()
		c.change(&config)
		_, err := Dial(t.Context(), config)
		var known *fault.Error
		if assert.ErrorAs(t, err, &known, name) {
			assert.Equal(t, fault.Input, known.Kind, name)
			assert.Equal(t, c.where, known.Where, name)
			assert.ErrorContains(t, err, "it shows "+shown, name)
			assert.ErrorContains(t, err, c.want, name)
			assert.Contains(t, known.Hint, "ssh-keygen -lf", name)
		}
	}
	config := server.config()
	config.KnownHosts = append(config.KnownHosts, append([]byte("@revoked "), knownLine(server.addr, server.hostKey)...)...)
	_, err := Dial(t.Context(), config)
	assert.ErrorContains(t, err, "is marked @revoked")

	assert.Contains(t, server.log.String(), "Connection from 127.0.0.1", "the clients did come")
	assert.False(t, server.attempted(), "nobody may have tried to log in: %s", server.log)
	dial(t, server.config())
	assert.True(t, server.attempted(), "the log would have told")
}

// startAllKeys starts a server with a host key of each type and a certificate
// for the ed25519 one; its folder has ca.pub too.
func startAllKeys(t *testing.T) *sshd {
	t.Helper()
	dir := t.TempDir()
	var lines []string
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		keygen(t, dir, "-q", "-t", kind, "-N", "", "-f", kind)
		lines = append(lines, "HostKey {dir}/"+kind)
	}
	keygen(t, dir, "-q", "-t", "ed25519", "-N", "", "-f", "ca")
	keygen(t, dir, "-q", "-s", "ca", "-I", "gpu1", "-h", "-n", "127.0.0.1", "-V", "-1h:+1h", "ed25519.pub")
	lines = append(lines, "HostCertificate {dir}/ed25519-cert.pub")
	// The folder is made inside startSSHD; the keys are put there by a link.
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "{dir}", dir)
	}
	server := startSSHD(t, lines...)
	for _, name := range []string{"rsa.pub", "ecdsa.pub", "ed25519.pub", "ca.pub"} {
		require.NoError(t, os.WriteFile(filepath.Join(server.dir, name), readFile(t, dir, name), 0o600))
	}
	return server
}

func TestEveryPinWorks(t *testing.T) {
	t.Parallel()
	server := startAllKeys(t)
	key := func(name string) ssh.PublicKey { return publicKey(t, readFile(t, server.dir, name+".pub")) }
	at := "[127.0.0.1]:" + server.port
	hashed := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(hashed, "known_hosts"), []byte(at+" "+authorized(key("rsa"))+"\n"), 0o600))
	keygen(t, hashed, "-H", "-f", "known_hosts")
	for name, pin := range map[string]Config{
		"rsa":              {KnownHosts: []byte(at + " " + authorized(key("rsa")))},
		"ecdsa":            {KnownHosts: []byte(at + " " + authorized(key("ecdsa")))},
		"ed25519":          {KnownHosts: []byte(at + " " + authorized(key("ed25519")))},
		"hashed":           {KnownHosts: readFile(t, hashed, "known_hosts")},
		"bare name":        {KnownHosts: []byte("127.0.0.1 " + authorized(key("ecdsa")))},
		"authority":        {KnownHosts: []byte("@cert-authority * " + authorized(key("ca")))},
		"old and new":      {KnownHosts: []byte(at + " " + authorized(key("ca")) + "\n" + at + " " + authorized(key("ed25519")))},
		"print of rsa":     {Fingerprint: ssh.FingerprintSHA256(key("rsa"))},
		"print of ecdsa":   {Fingerprint: ssh.FingerprintSHA256(key("ecdsa"))},
		"print by keygen":  {Fingerprint: keygen(t, server.dir, "-l", "-f", "ed25519.pub")},
		"record and print": {KnownHosts: []byte(at + " " + authorized(key("rsa"))), Fingerprint: ssh.FingerprintSHA256(key("rsa"))},
	} {
		t.Run(name, func(t *testing.T) {
			pin.Address, pin.Key = tester+"@"+server.addr, server.key
			out, err := dial(t, pin).Run(t.Context(), []string{"echo", "in"}, nil)
			require.NoError(t, err)
			assert.Equal(t, "in\n", string(out.Stdout))
		})
	}
	t.Run("a revoked authority", func(t *testing.T) {
		c := Config{Address: tester + "@" + server.addr, Key: server.key,
			KnownHosts: []byte("@cert-authority * " + authorized(key("ca")) + "\n@revoked * " + authorized(key("ca")))}
		_, err := Dial(t.Context(), c)
		assert.ErrorContains(t, err, "@revoked")
	})
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	private, key := newKey(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	notSSH := startProxy(t, "127.0.0.1:1")
	notSSH.shut.Store(true)
	const refused = "127.0.0.1:1" // a free port may be another test's a moment later
	for name, c := range map[string]struct{ addr, text, hint string }{
		"unknown host": {"no-such-host.invalid:22", "no-such-host.invalid", "spelled right"},
		"refused port": {refused, "connection refused", "listens on port"},
		"silent port":  {silent.Addr().String(), "no answer within", "firewall"},
		"hangs up":     {notSSH.addr(), "no SSH handshake", "is sshd's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := Dial(t.Context(), Config{Address: "deploy@" + c.addr, Key: private,
				KnownHosts: []byte("* " + authorized(key)), ConnectTimeout: 2 * time.Second})
			var known *fault.Error
			require.ErrorAs(t, err, &known)
			assert.Equal(t, fault.Input, known.Kind)
			assert.Equal(t, "host", known.Where)
			assert.ErrorContains(t, err, c.addr+" cannot be reached: 3 tries in ")
			assert.ErrorContains(t, err, c.text)
			assert.Contains(t, known.Hint, c.hint)
			assert.Less(t, time.Since(began), 30*time.Second)
		})
	}
	assert.Zero(t, notSSH.accepted.Load()%3)
}

func TestDialIsCancelled(t *testing.T) {
	t.Parallel()
	private, key := newKey(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	for _, addr := range []string{silent.Addr().String(), "127.0.0.1:1"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		_, err = Dial(ctx, Config{Address: "deploy@" + addr, Key: private, KnownHosts: []byte("* " + authorized(key))})
		cancel()
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "connecting to "+addr)
		assert.Less(t, time.Since(began), 5*time.Second)
	}
}

func TestDialTriesAgain(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	way := startProxy(t, server.addr)
	way.shut.Store(true)
	go func() {
		for way.accepted.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		way.shut.Store(false)
	}()
	h := dial(t, server.through(way))
	assert.Zero(t, h.Reconnected())
	assert.Equal(t, tester+"@"+way.addr(), h.String())
}
