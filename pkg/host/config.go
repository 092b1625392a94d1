// Package host is one SSH connection to the machine that containers run on:
// commands, files and the Docker API go through it and nothing else does.
//
// The host key is pinned before the first packet; nothing is trusted on first
// use. A connection that dies is noticed by keepalives and made again on the
// next use; what was under way then fails with an error for which
// IsConnectionLost is true, and is never repeated silently.
package host

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

// Defaults of Config.
const (
	defaultConnectTimeout  = 15 * time.Second
	defaultKeepAlive       = 5 * time.Second
	defaultReconnectBudget = 60 * time.Second
	defaultDockerSocket    = "/var/run/docker.sock"
)

// Config says where the host is, how it proves itself and how the user does.
// The zero value of every optional field means its default.
type Config struct {
	// Address is user@host[:port] or ssh://user@host[:port]. The user is required.
	Address string
	// Key is a private key in OpenSSH or PEM form, Passphrase what it is
	// encrypted with, Certificate the line of its -cert.pub file.
	Key, Passphrase, Certificate []byte
	// AgentSocket is the path of an ssh-agent, for people; "" means none.
	AgentSocket string
	// KnownHosts is the content of a known_hosts file: hashed names,
	// [host]:port, wildcards, @cert-authority and @revoked are understood.
	KnownHosts []byte
	// Fingerprint pins the host instead: SHA256:..., or a line of `ssh-keygen
	// -l`; several may stand on lines of their own.
	Fingerprint string
	// Jump is [user@]host[:port] of a host to go through, pinned by the same
	// KnownHosts and entered with the same key; its user defaults to Address's.
	Jump string
	// ConnectTimeout bounds one TCP connect and, again, one SSH handshake.
	ConnectTimeout time.Duration
	// KeepAlive is how long the connection may be silent before the host is
	// asked whether it lives; three questions without an answer and it is dead.
	KeepAlive time.Duration
	// ReconnectBudget is how long a lost connection is tried to be made again.
	ReconnectBudget time.Duration
	// DockerSocket is the engine's socket on the host.
	DockerSocket string
}

// settings is a Config that was checked: everything that can be wrong without
// asking the host is known to be right.
type settings struct {
	target endpoint
	jump   *endpoint

	login login

	connectTimeout, keepAlive, reconnectBudget time.Duration

	dockerSocket string
}

// endpoint is an SSH server and what pins it.
type endpoint struct {
	address
	trust *trust
	// input names the input that the address came from.
	input string
}

func (c Config) check() (*settings, error) {
	s := &settings{
		connectTimeout:  orDefault(c.ConnectTimeout, defaultConnectTimeout),
		keepAlive:       orDefault(c.KeepAlive, defaultKeepAlive),
		reconnectBudget: orDefault(c.ReconnectBudget, defaultReconnectBudget),
		dockerSocket:    orDefault(c.DockerSocket, defaultDockerSocket),
	}
	if s.dockerSocket[0] != '/' {
		return nil, fault.New(fault.Input, "docker-socket", "give the path on the host, like "+defaultDockerSocket,
			"%q is not an absolute path", s.dockerSocket)
	}
	if err := s.checkAddresses(c); err != nil {
		return nil, err
	}
	if err := s.checkPins(c); err != nil {
		return nil, err
	}
	var err error
	s.login, err = newLogin(c)
	return s, err
}

func (s *settings) checkAddresses(c Config) error {
	target, err := parseAddress("host", c.Address, "")
	if err != nil {
		return err
	}
	s.target = endpoint{address: target, input: "host"}
	if c.Jump == "" {
		return nil
	}
	jump, err := parseAddress("jump-host", c.Jump, target.user)
	if err != nil {
		return err
	}
	s.jump = &endpoint{address: jump, input: "jump-host"}
	return nil
}

func (s *settings) checkPins(c Config) error {
	known, err := parseKnownHosts(c.KnownHosts)
	if err != nil {
		return err
	}
	prints, err := parseFingerprints(c.Fingerprint)
	if err != nil {
		return err
	}
	if s.target.trust, err = known.trust(s.target.address, prints); err != nil {
		return err
	}
	if s.jump != nil {
		s.jump.trust, err = known.trust(s.jump.address, nil)
	}
	return err
}

// newClientConfig is what both servers on the way are asked with.
func (s *settings) newClientConfig(user string) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: user, ClientVersion: "SSH-2.0-shiksha", Timeout: s.connectTimeout}
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

const sshPort = "22"

// address is an SSH server and the user to log in as.
type address struct{ user, host, port string }

// String gives user@host:port.
func (a address) String() string { return a.user + "@" + a.network() }

// network is what net.Dial takes.
func (a address) network() string { return net.JoinHostPort(a.host, a.port) }

// known is the name the server has in a known_hosts file.
func (a address) known() string {
	if a.port == sshPort {
		return strings.ToLower(a.host)
	}
	return "[" + strings.ToLower(a.host) + "]:" + a.port
}

// Host names are looked up, IPv6 addresses may carry a zone; anything else would
// reach the resolver or an error message as it is.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_:][A-Za-z0-9_.:%-]*$`)

var userName = regexp.MustCompile(`^[^\s:@/-][^\s:@/]*$`)

// parseAddress reads [ssh://][user@]host[:port] as the named input.
func parseAddress(input, text, defaultUser string) (address, error) {
	const example = "write user@host or user@host:port, for example deploy@gpu1.example.org:22"
	bad := func(format string, args ...any) (address, error) {
		return address{}, fault.New(fault.Input, input, example, format, args...)
	}
	rest := strings.TrimSpace(text)
	if rest == "" {
		return bad("is empty")
	}
	if scheme, after, found := strings.Cut(rest, "://"); found {
		if scheme != "ssh" {
			return bad("%q is not an SSH address", scheme+"://")
		}
		rest = strings.TrimSuffix(after, "/")
	}
	a := address{user: defaultUser}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		a.user, rest = rest[:at], rest[at+1:]
		if strings.Contains(a.user, ":") {
			return bad("contains a password, which is never used")
		}
	}
	if a.user == "" {
		return bad("%q names no user", rest)
	}
	var ok bool
	if a.host, a.port, ok = splitPort(rest); !ok || !hostName.MatchString(a.host) {
		return bad("%q is not a host name or address", rest)
	}
	if !userName.MatchString(a.user) {
		return bad("%q is not a user name", a.user)
	}
	port, err := strconv.ParseUint(a.port, 10, 16)
	if err != nil || port == 0 {
		return bad("%q is not a port", a.port)
	}
	a.port = strconv.FormatUint(port, 10) // known_hosts has no 022
	if strings.Contains(a.host, ":") {
		if _, err := netip.ParseAddr(a.host); err != nil {
			return bad("%q is not an IPv6 address, and the name of a host has no colon", a.host)
		}
	}
	return a, nil
}

// splitPort takes host, host:port, [v6], [v6]:port and a bare v6 address.
func splitPort(text string) (host, port string, ok bool) {
	if strings.HasPrefix(text, "[") {
		end := strings.Index(text, "]")
		if end < 0 {
			return "", "", false
		}
		host, text = text[1:end], text[end+1:]
		if text == "" {
			return host, sshPort, true
		}
		return host, strings.TrimPrefix(text, ":"), text[0] == ':'
	}
	if strings.Count(text, ":") != 1 {
		return text, sshPort, true
	}
	host, port, _ = strings.Cut(text, ":")
	return host, port, true
}
