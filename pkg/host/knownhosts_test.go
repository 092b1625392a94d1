package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"deploy@gpu1":                  "deploy@gpu1:22",
		" deploy@gpu1.example.org\n":   "deploy@gpu1.example.org:22",
		"deploy@gpu1:2222":             "deploy@gpu1:2222",
		"ssh://deploy@gpu1:2222":       "deploy@gpu1:2222",
		"ssh://deploy@gpu1/":           "deploy@gpu1:22",
		"deploy@10.0.0.1":              "deploy@10.0.0.1:22",
		"deploy@::1":                   "deploy@[::1]:22",
		"deploy@[fe80::1%eth0]":        "deploy@[fe80::1%eth0]:22",
		"ssh://deploy@[2001:db8::1]:5": "deploy@[2001:db8::1]:5",
		"gpu1":                         "nobody@gpu1:22",
		"deploy@gpu1:022":              "deploy@gpu1:22",
	} {
		a, err := parseAddress("host", text, "nobody")
		if assert.NoError(t, err, text) {
			assert.Equal(t, want, a.String(), text)
		}
	}
	for text, message := range map[string]string{
		"":                       "host: is empty",
		"gpu1":                   `host: "gpu1" names no user`,
		"@gpu1":                  `host: "gpu1" names no user`,
		"deploy@":                `host: "" is not a host name or address`,
		"deploy@gpu1:":           `host: "" is not a port`,
		"deploy@gpu1:0":          `host: "0" is not a port`,
		"deploy@gpu1:65536":      `host: "65536" is not a port`,
		"deploy@gpu1:ssh":        `host: "ssh" is not a port`,
		"deploy@gpu 1":           `host: "gpu 1" is not a host name or address`,
		"deploy@-oProxyCommand":  `host: "-oProxyCommand" is not a host name or address`,
		"deploy@gpu1/tmp":        `host: "gpu1/tmp" is not a host name or address`,
		"de ploy@gpu1":           `host: "de ploy" is not a user name`,
		"deploy@[::1":            `host: "[::1" is not a host name or address`,
		"deploy@gpu1:+22":        `host: "+22" is not a port`,
		"deploy@gpu1:22:22":      `host: "gpu1:22:22" is not an IPv6 address, and the name of a host has no colon`,
		"deploy@[fe80::g]:22":    `host: "fe80::g" is not an IPv6 address, and the name of a host has no colon`,
		"deploy@[::1]22":         `host: "[::1]22" is not a host name or address`,
		"https://deploy@gpu1":    `host: "https://" is not an SSH address`,
		"ssh://de:secret@gpu1:1": "host: contains a password, which is never used",
	} {
		_, err := parseAddress("host", text, "")
		assert.EqualError(t, err, message, text)
		assert.Equal(t, fault.Input, fault.Of(err), text)
		assert.NotEmpty(t, fault.Hint(err), text)
	}
}

// authorized gives a key as it stands in a file, without a line end.
func authorized(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func TestKnownHostsNames(t *testing.T) {
	t.Parallel()
	_, key := newKey(t)
	known := func(name string) address {
		a, err := parseAddress("host", "u@"+name, "")
		require.NoError(t, err)
		return a
	}
	for _, c := range []struct {
		names string
		host  string
		want  bool
	}{
		{"gpu1", "gpu1", true}, {"GPU1", "gpu1", true}, {"gpu1", "GPU1", true}, {"gpu1", "gpu2", false},
		{"a,gpu1,b", "gpu1", true}, {"*.example.org", "gpu1.example.org", true}, {"*.example.org", "example.org", false},
		{"gpu?", "gpu1", true}, {"gpu?", "gpu", false}, {"*,!gpu1", "gpu1", false}, {"*,!gpu1", "gpu2", true}, {"!gpu1", "gpu2", false},
		{"[gpu1]:2222", "gpu1:2222", true}, {"[gpu1]:2222", "gpu1", false}, {"[gpu1]:2222", "gpu1:2223", false},
		{"[gpu1]:22", "gpu1", true}, {"gpu1", "gpu1:2222", true}, {"[gpu*]:*", "gpu1:2222", true}, {"gpu[1-3]", "gpu1", false},
		{"::1", "[::1]", true}, {"[::1]:2222", "[::1]:2222", true}, {"10.0.0.*", "10.0.0.7", true},
	} {
		parsed, err := parseKnownHosts([]byte(c.names + " " + authorized(key)))
		require.NoError(t, err)
		assert.Equal(t, c.want, len(parsed.matching(known(c.host))) > 0, "%s for %s", c.names, c.host)
	}
}

func TestKnownHostsHashedByOpenSSH(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, key := newKey(t)
	file := filepath.Join(dir, "known_hosts")
	require.NoError(t, os.WriteFile(file, []byte("gpu1,10.0.0.1 "+authorized(key)+"\n[gpu2]:2222 "+authorized(key)+"\n"), 0o600))
	keygen(t, dir, "-H", "-f", "known_hosts")
	content := readFile(t, file)
	require.NotContains(t, string(content), "gpu")
	known, err := parseKnownHosts(content)
	require.NoError(t, err)
	for name, want := range map[string]int{"gpu1": 1, "10.0.0.1": 1, "gpu2:2222": 1, "gpu2": 0, "gpu3": 0} {
		a, err := parseAddress("host", "u@"+name, "")
		require.NoError(t, err)
		assert.Len(t, known.matching(a), want, name)
	}
}

func TestKnownHostsSlips(t *testing.T) {
	t.Parallel()
	_, key := newKey(t)
	line := "gpu1 " + authorized(key)
	for name, text := range map[string]string{
		"comments and empty lines": "# gpu1:22 SSH-2.0-OpenSSH_9.2\n\n" + line,
		"CRLF":                     line + "\r\n# x\r\n",
		"literal line ends":        `# x\n` + line + `\n`,
		"byte order mark":          "\ufeff" + line,
		"comment behind the key":   line + " root@gpu1",
		"a type nobody knows yet":  "gpu1 ssh-mldsa AAAACXNzaC1tbGRzYQAAAAE=\n" + line,
	} {
		known, err := parseKnownHosts([]byte(text))
		if assert.NoError(t, err, name) {
			assert.Len(t, known.matching(address{"u", "gpu1", "22"}), 1, name)
		}
	}
	for text, message := range map[string]string{
		line[:40]:                            "known-hosts: line 1: not a line of a known_hosts file (cut off?)",
		"# fine\n" + authorized(key):         "known-hosts: line 2: the name of the host is missing in front of the key",
		"known_hosts":                        "known-hosts: line 1: one word is not a line of a known_hosts file; on the command line a file is named with @",
		"SHA256:abc":                         "known-hosts: line 1: this is a fingerprint; it belongs into host-fingerprint",
		"-----BEGIN OPENSSH PRIVATE KEY----": "known-hosts: line 1: this is a key in a file of its own",
		"@nonsense " + line:                  "known-hosts: line 1: ",
	} {
		_, err := parseKnownHosts([]byte(text))
		assert.ErrorContains(t, err, message, text)
		assert.Equal(t, fault.Input, fault.Of(err))
	}
}

func TestPinsAreRequired(t *testing.T) {
	t.Parallel()
	private, key := newKey(t)
	line := authorized(key)
	for name, c := range map[string]struct {
		config Config
		where  string
		text   string
		hint   string
	}{
		"nothing":           {Config{}, "known-hosts", "is missing", "ssh-keyscan -p 2222 gpu1"},
		"only comments":     {Config{KnownHosts: []byte("# gpu1\n")}, "known-hosts", "is missing", "ssh-keyscan"},
		"another host":      {Config{KnownHosts: []byte("gpu2 " + line)}, "known-hosts", "has no entry for [gpu1]:2222; it has gpu2", "ssh-keyscan"},
		"another port":      {Config{KnownHosts: []byte("[gpu1]:2223 " + line)}, "known-hosts", "it has [gpu1]:2223", "ssh-keyscan"},
		"revoked only":      {Config{KnownHosts: []byte("@revoked gpu1 " + line)}, "known-hosts", "it has revoked keys only", "ssh-keyscan"},
		"MD5":               {Config{Fingerprint: "MD5:" + strings.Repeat("ab:", 15) + "ab"}, "host-fingerprint", "is an MD5 fingerprint", "ssh-keygen -lf"},
		"a key as print":    {Config{Fingerprint: line}, "host-fingerprint", "is a whole public key", "ssh-keygen -lf"},
		"cut off print":     {Config{Fingerprint: "SHA256:abc"}, "host-fingerprint", "is not a SHA256 fingerprint", "ssh-keygen -lf"},
		"jump without pin":  {Config{Fingerprint: ssh.FingerprintSHA256(key), Jump: "bastion"}, "known-hosts", "the host key of bastion:22", "ssh-keyscan bastion"},
		"jump not recorded": {Config{KnownHosts: []byte("gpu1 " + line), Jump: "bastion"}, "known-hosts", "has no entry for bastion", "ssh-keyscan bastion"},
		"bad jump":          {Config{KnownHosts: []byte("gpu1 " + line), Jump: "-x"}, "jump-host", "is not a host name", "user@host"},
	} {
		c.config.Address, c.config.Key = "deploy@gpu1:2222", private
		_, err := c.config.check()
		var known *fault.Error
		if assert.ErrorAs(t, err, &known, name) {
			assert.Equal(t, fault.Input, known.Kind, name)
			assert.Equal(t, c.where, known.Where, name)
			assert.ErrorContains(t, err, c.text, name)
			assert.Contains(t, known.Hint, c.hint, name)
		}
	}
}

func TestRecordedAlgorithms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keygen(t, dir, "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa")
	keygen(t, dir, "-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa")
	rsa, ecdsa := string(readFile(t, dir, "rsa.pub")), string(readFile(t, dir, "ecdsa.pub"))
	known, err := parseKnownHosts([]byte("gpu1 " + rsa + "gpu1 " + ecdsa + "@cert-authority *.org " + rsa))
	require.NoError(t, err)
	for name, want := range map[string][]string{
		"gpu1":     {"ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"},
		"gpu1.org": certificateAlgorithms,
	} {
		trust, err := known.trust(address{"u", name, "22"}, nil)
		require.NoError(t, err)
		assert.Equal(t, [][]string{want}, trust.rounds, name)
	}
}

// FuzzKnownHosts: a file that is taken names for every entry a line that is there,
// and no garbage pins a key for a name that the file does not hold.
func FuzzKnownHosts(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	f.Add("gpu1,10.0.0.1 " + key + "\n@revoked * " + key + "\n# comment\n")
	f.Add("@cert-authority *.example.org,!bad.example.org " + key)
	f.Add("|1|BMQrpEHMKbFWLtpkWCAYRgzaEJQ=|ZYQOPFpVpLKBjZwAxqAkkwhoBWQ= " + key)
	f.Fuzz(func(t *testing.T, content string) {
		known, err := parseKnownHosts([]byte(content))
		if err != nil {
			assert.Equal(t, fault.Input, fault.Of(err))
			return
		}
		lines := strings.Count(unfold(content), "\n") + 1
		for _, e := range known.entries {
			assert.True(t, e.line >= 1 && e.line <= lines, "line %d of %d", e.line, lines)
			assert.NotNil(t, e.key)
		}
		if !strings.ContainsAny(content, "*?|") && !strings.Contains(content, "gpu7") {
			assert.Empty(t, known.matching(address{host: "gpu7", port: sshPort}))
		}
	})
}
