package host

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

func TestKeysAsTheyArePasted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kinds := map[string][]string{
		"ed25519":   {"-t", "ed25519"},
		"rsa":       {"-t", "rsa", "-b", "2048"},
		"rsa pem":   {"-t", "rsa", "-b", "2048", "-m", "PEM"},
		"rsa pkcs8": {"-t", "rsa", "-b", "2048", "-m", "PKCS8"},
		"ecdsa":     {"-t", "ecdsa", "-b", "384"},
		"ecdsa pem": {"-t", "ecdsa", "-m", "PEM"},
	}
	for kind, args := range kinds {
		file := strings.ReplaceAll(kind, " ", "-")
		keygen(t, dir, append(args, "-q", "-N", "", "-f", file)...)
		text := string(readFile(t, dir, file))
		want := ssh.FingerprintSHA256(publicKey(t, readFile(t, dir, file+".pub")))
		for slip, pasted := range map[string]string{
			"as it is":           text,
			"no last line end":   strings.TrimSpace(text),
			"CRLF":               strings.ReplaceAll(text, "\n", "\r\n"),
			"literal line ends":  strings.ReplaceAll(text, "\n", `\n`),
			"on one line":        strings.ReplaceAll(text, "\n", " "),
			"indented":           "    " + strings.ReplaceAll(text, "\n", "\n    "),
			"text around it":     "the key:\n" + text + "\nthat was it",
			"byte order mark":    "\ufeff" + text,
			"passphrase to none": text,
		} {
			signer, err := parseKey([]byte(pasted), []byte("not needed"))
			if assert.NoError(t, err, "%s, %s", kind, slip) {
				assert.Equal(t, want, ssh.FingerprintSHA256(signer.PublicKey()), "%s, %s", kind, slip)
			}
		}
	}
}

func TestEncryptedKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for kind, args := range map[string][]string{"openssh": {"-t", "ed25519"}, "pem": {"-t", "rsa", "-b", "2048", "-m", "PEM"}} {
		keygen(t, dir, append(args, "-q", "-a", "2", "-N", "open sesame", "-f", kind)...)
		text := readFile(t, dir, kind)
		for _, pasted := range []string{string(text), strings.ReplaceAll(string(text), "\n", "\r\n"), strings.ReplaceAll(string(text), "\n", `\n`)} {
			_, err := parseKey([]byte(pasted), []byte("open sesame"))
			assert.NoError(t, err, kind)
			_, err = parseKey([]byte(pasted), []byte("open sesame\n"))
			assert.NoError(t, err, "%s, line end behind the passphrase", kind)
			_, err = parseKey([]byte(pasted), []byte("open barley"))
			assert.EqualError(t, err, "ssh-key-passphrase: does not open ssh-key", kind)
			assert.NotContains(t, err.Error()+fault.Hint(err), "barley")
			_, err = parseKey([]byte(pasted), nil)
			assert.EqualError(t, err, "ssh-key-passphrase: is missing: ssh-key is encrypted", kind)
			assert.Equal(t, fault.Input, fault.Of(err))
		}
	}
}

func TestNotAKey(t *testing.T) {
	t.Parallel()
	private, public := newKey(t)
	dir := t.TempDir()
	keygen(t, dir, "-q", "-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "secret", "-f", "pkcs8")
	for message, text := range map[string]string{
		"ssh-key: is a public key":                  authorized(public),
		"ssh-key: is a public key; the private one": keygen(t, dir, "-e", "-m", "PKCS8", "-P", "secret", "-f", "pkcs8"),
		"ssh-key: is a PuTTY key":                   "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
		"ssh-key: is in PKCS#8 encryption":          string(readFile(t, dir, "pkcs8")),
		"ssh-key: is cut off":                       string(private[:100]),
		"ssh-key: is not a private key":             "hunter2",
		"ssh-key: is a TLS certificate":             "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
		"ssh-key: cannot be read":                   strings.Replace(string(private), "b3BlbnNzaC1rZXktdjE", "b3BlbnNza", 1),
	} {
		_, err := parseKey([]byte(text), nil)
		assert.ErrorContains(t, err, message)
		assert.Equal(t, fault.Input, fault.Of(err), message)
		assert.NotEmpty(t, fault.Hint(err), message)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	_, err := newLogin(Config{})
	assert.EqualError(t, err, "ssh-key: is missing, and no ssh-agent runs")
}

func TestAuthenticationRefused(t *testing.T) {
	t.Parallel()
	server := startSSHD(t, "PasswordAuthentication yes")
	c := server.config()
	c.Key, _ = newKey(t)
	began := time.Now()
	_, err := Dial(t.Context(), c)
	var known *fault.Error
	require.ErrorAs(t, err, &known)
	assert.Equal(t, fault.Input, known.Kind)
	assert.Equal(t, "ssh-key", known.Where)
	assert.ErrorContains(t, err, "refused user "+tester+" with SHA256:")
	assert.ErrorContains(t, err, "the server takes: publickey, password")
	assert.Contains(t, known.Hint, "authorized_keys")
	assert.Equal(t, 1, strings.Count(server.log.String(), "Connection from 127.0.0.1"), "no second try: it would count as an attack")
	assert.Less(t, time.Since(began), patience)

	c.Key, c.Address = server.key, "no-such-user@"+server.addr
	_, err = Dial(t.Context(), c)
	assert.ErrorContains(t, err, "refused user no-such-user")
}

func TestLoginKinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keygen(t, dir, "-q", "-t", "ed25519", "-N", "", "-f", "ca")
	for _, name := range []string{"user", "stranger"} {
		keygen(t, dir, "-q", "-t", "rsa", "-b", "2048", "-a", "2", "-N", "pass phrase", "-f", name)
	}
	keygen(t, dir, "-q", "-s", "ca", "-I", "test", "-n", tester, "-V", "-1h:+1h", "user.pub")
	server := startSSHD(t, "TrustedUserCAKeys "+filepath.Join(dir, "ca.pub"))
	require.NoError(t, os.WriteFile(filepath.Join(server.dir, "ca.pub"), readFile(t, dir, "ca.pub"), 0o644))
	c := server.config()
	c.Key, c.Passphrase = readFile(t, dir, "user"), []byte("pass phrase")

	t.Run("a certificate alone lets in", func(t *testing.T) {
		_, err := Dial(t.Context(), c)
		require.ErrorContains(t, err, "refused user")
		signed := c
		signed.Certificate = readFile(t, dir, "user-cert.pub")
		out, err := dial(t, signed).Run(t.Context(), []string{"id", "-un"}, nil)
		require.NoError(t, err)
		assert.Equal(t, tester+"\n", string(out.Stdout))
	})
	t.Run("certificates that cannot work", func(t *testing.T) {
		keygen(t, dir, "-q", "-s", "ca", "-I", "old", "-n", tester, "-V", "-2h:-1h", "stranger.pub")
		expired := readFile(t, dir, "stranger-cert.pub")
		keygen(t, dir, "-q", "-s", "ca", "-I", "host", "-h", "-n", "gpu1", "stranger.pub")
		for message, line := range map[string][]byte{
			"ran out at ":           expired,
			"is a host certificate": readFile(t, dir, "stranger-cert.pub"),
			"is a plain public key": readFile(t, dir, "user.pub"),
			"cannot be read":        []byte("ssh-ed25519-cert-v01@openssh.com AAAA"),
		} {
			bad := c
			bad.Certificate = line
			_, err := bad.check()
			assert.ErrorContains(t, err, "ssh-key: its certificate "+message, "no other input takes one")
			assert.Equal(t, fault.Input, fault.Of(err))
			assert.Contains(t, fault.Hint(err), "behind it in ssh-key")
		}
		other := c
		other.Key, other.Certificate = readFile(t, dir, "stranger"), readFile(t, dir, "user-cert.pub")
		_, err := other.check()
		assert.ErrorContains(t, err, "not for ssh-key")
	})
}

func TestAgent(t *testing.T) {
	t.Parallel()
	dir, server := t.TempDir(), startSSHD(t)
	socket := startAgent(t)
	c := server.config()
	c.Key, c.AgentSocket = nil, socket
	_, err := Dial(t.Context(), c)
	assert.EqualError(t, err, "ssh-key: the ssh-agent holds no key")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agent-key"), server.key, 0o600))
	add := exec.Command("ssh-add", filepath.Join(dir, "agent-key"))
	add.Env = []string{"SSH_AUTH_SOCK=" + socket}
	out, err := add.CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, err = dial(t, c).Run(t.Context(), []string{"true"}, nil)
	assert.NoError(t, err)
	c.AgentSocket = filepath.Join(dir, "nobody")
	_, err = Dial(t.Context(), c)
	assert.ErrorContains(t, err, "ssh-key: the ssh-agent does not answer")
}

func startAgent(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent")
	command := exec.Command("ssh-agent", "-D", "-a", socket)
	require.NoError(t, command.Start())
	t.Cleanup(func() { stop(command) })
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	return socket
}

func TestJumpHost(t *testing.T) {
	t.Parallel()
	bastion, target := startSSHD(t), startSSHD(t)
	require.NoError(t, os.WriteFile(filepath.Join(target.dir, "authorized_keys"), readFile(t, bastion.dir, "authorized_keys"), 0o644))
	way := startProxy(t, bastion.addr)
	config := func() Config {
		c := bastion.through(way)
		c.Jump, c.Address = way.addr(), tester+"@"+target.addr
		c.KnownHosts = append(c.KnownHosts, knownLine(target.addr, target.hostKey)...)
		return c
	}
	t.Run("through one connection", func(t *testing.T) {
		h := dial(t, config())
		out, err := h.Run(t.Context(), []string{"sh", "-c", `echo "$SSH_CONNECTION"`}, nil)
		require.NoError(t, err)
		assert.True(t, strings.HasSuffix(strings.TrimSpace(string(out.Stdout)), target.port), "%s", out.Stdout)
		assert.EqualValues(t, 1, way.accepted.Load())
		way.cut()
		require.Eventually(t, func() bool {
			_, err = h.Run(t.Context(), []string{"true"}, nil)
			return err == nil
		}, patience, 10*time.Millisecond)
		assert.Equal(t, 1, h.Reconnected())
	})
	t.Run("both are pinned", func(t *testing.T) {
		_, wrong := newKey(t)
		for input, addr := range map[string]string{"the jump host": way.addr(), "the host": target.addr} {
			c := config()
			name, port, _ := net.SplitHostPort(addr)
			var kept []string
			for _, line := range strings.Split(string(c.KnownHosts), "\n") {
				if strings.HasPrefix(line, "["+name+"]:"+port) {
					line = "[" + name + "]:" + port + " " + authorized(wrong)
				}
				kept = append(kept, line)
			}
			c.KnownHosts = []byte(strings.Join(kept, "\n"))
			_, err := Dial(t.Context(), c)
			assert.ErrorContains(t, err, "known-hosts: the host key of "+addr+" is not the recorded one", input)
		}
	})
	t.Run("nobody behind it", func(t *testing.T) {
		c := config()
		port := freePort(t)
		c.Address = tester + "@127.0.0.1:" + port
		c.KnownHosts = append(c.KnownHosts, knownLine("127.0.0.1:"+port, target.hostKey)...)
		_, err := Dial(t.Context(), c)
		assert.ErrorContains(t, err, "host: 127.0.0.1:"+port+" cannot be reached: 3 tries in ")
		assert.ErrorContains(t, err, "from the jump host "+way.addr())
	})
	t.Run("it does not forward", func(t *testing.T) {
		closed := startSSHD(t, "AllowTcpForwarding no")
		c := closed.config()
		c.Jump, c.Address = closed.addr, tester+"@"+target.addr
		c.KnownHosts = append(c.KnownHosts, knownLine(target.addr, target.hostKey)...)
		_, err := Dial(t.Context(), c)
		assert.ErrorContains(t, err, "jump-host: "+closed.addr+" may not forward to "+target.addr)
	})
}
