package host

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/e2e/ports"
)

// patience is for what happens soon, but on a busy machine.
const patience = 30 * time.Second

// sshd is a real OpenSSH server on a loopback port, which lets everybody in by its one key.
type sshd struct {
	dir, addr, port string
	key             []byte // the private key that it lets in
	hostKey         ssh.PublicKey
	log             *logBuffer
	command         *exec.Cmd
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startSSHD starts a server with an ed25519 host key; lines are added to its
// configuration ahead of the usual ones, so that they win ("{dir}" is its folder).
func startSSHD(t *testing.T, lines ...string) *sshd {
	t.Helper()
	// Not t.TempDir: other users have to read authorized_keys in it.
	dir, err := os.MkdirTemp("", "hosttest")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	s := &sshd{dir: dir, log: &logBuffer{}}
	require.NoError(t, os.MkdirAll("/run/sshd", 0o755), "sshd wants its privilege separation folder")
	var authorized ssh.PublicKey
	s.key, authorized = newKey(t)
	s.write(t, "authorized_keys", ssh.MarshalAuthorizedKey(authorized))
	config := strings.ReplaceAll(strings.Join(lines, "\n"), "{dir}", s.dir) + "\n"
	if !strings.Contains(config, "HostKey ") {
		private, public := newKey(t)
		s.hostKey = public
		config += "HostKey " + s.write(t, "host_ed25519", private) + "\n"
	}
	s.port = freePort(t)
	s.addr = "127.0.0.1:" + s.port
	config += fmt.Sprintf(`Port %s
ListenAddress 127.0.0.1
AuthorizedKeysFile %s/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
PidFile none
LogLevel VERBOSE
`, s.port, s.dir)
	if !strings.Contains(config, "Subsystem ") {
		config += "Subsystem sftp internal-sftp\n"
	}
	s.write(t, "sshd_config", []byte(config))
	s.start(t)
	return s
}

func (s *sshd) start(t *testing.T) {
	t.Helper()
	s.command = exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config"))
	s.command.Stderr = s.log
	require.NoError(t, s.command.Start(), "the tests need the openssh-server package")
	command := s.command
	t.Cleanup(func() { stop(command) })
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "Server listening on") },
		patience, 10*time.Millisecond, "sshd: %s", s.log)
}

func stop(command *exec.Cmd) {
	_ = command.Process.Signal(syscall.SIGTERM)
	_ = command.Wait()
}

func (s *sshd) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	if name == "authorized_keys" { // sshd reads it as the user
		require.NoError(t, os.Chmod(path, 0o644))
	}
	return path
}

// tester is the user of the tests: in the docker group, with a plain shell.
var tester string

func TestMain(m *testing.M) {
	var err error
	if tester, err = addUser("docker"); err != nil {
		fmt.Fprintln(os.Stderr, "the tests need root and a docker group:", err)
		os.Exit(1)
	}
	code := m.Run()
	removeUser(tester)
	os.Exit(code)
}

func addUser(groups ...string) (string, error) {
	name := fmt.Sprintf("hosttest%d", time.Now().UnixNano()%1e9)
	args := []string{"-M", "-d", "/tmp", "-s", "/bin/sh", "-p", "*"}
	if len(groups) > 0 {
		args = append(args, "-G", strings.Join(groups, ","))
	}
	out, err := exec.Command("useradd", append(args, name)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("useradd: %w: %s", err, out)
	}
	return name, nil
}

func removeUser(name string) { _ = exec.Command("userdel", "-f", name).Run() }

// newUser adds a user without any rights for the time of the test.
func newUser(t *testing.T) string {
	t.Helper()
	name, err := addUser()
	require.NoError(t, err)
	t.Cleanup(func() { removeUser(name) })
	return name
}

// config is what dials s.
func (s *sshd) config() Config { return s.as(tester) }

func (s *sshd) as(user string) Config {
	return Config{Address: user + "@" + s.addr, Key: s.key, KnownHosts: knownLine(s.addr, s.hostKey)}
}

// through is config for a proxy in front of s.
func (s *sshd) through(p *proxy) Config {
	c := s.config()
	c.Address, c.KnownHosts = tester+"@"+p.addr(), knownLine(p.addr(), s.hostKey)
	return c
}

func knownLine(addr string, key ssh.PublicKey) []byte {
	name, port, _ := net.SplitHostPort(addr)
	return []byte(fmt.Sprintf("[%s]:%s %s", name, port, ssh.MarshalAuthorizedKey(key)))
}

// dial connects and closes at the end of the test.
func dial(t *testing.T, c Config) *Host {
	t.Helper()
	h, err := Dial(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func newKey(t *testing.T) (private []byte, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(block), signer.PublicKey()
}

// keygen runs ssh-keygen in a folder.
func keygen(t *testing.T, dir string, args ...string) string {
	t.Helper()
	command := exec.Command("ssh-keygen", args...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	require.NoError(t, err, "ssh-keygen %v: %s", args, out)
	return string(out)
}

func readFile(t *testing.T, elements ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elements...))
	require.NoError(t, err)
	return data
}

func publicKey(t *testing.T, line []byte) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	require.NoError(t, err)
	return key
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := ports.Free()
	require.NoError(t, err)
	return strconv.Itoa(port)
}

// proxy stands between client and server: it counts, cuts and swallows.
type proxy struct {
	listener net.Listener
	target   atomic.Value
	accepted atomic.Int64
	hole     atomic.Bool // swallow everything, answer nothing
	shut     atomic.Bool // take connections and drop them at once

	mu    sync.Mutex
	conns []net.Conn
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener}
	p.target.Store(target)
	go p.serve()
	t.Cleanup(func() { _ = listener.Close(); p.cut() })
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		if p.shut.Load() {
			_ = client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target.Load().(string))
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go p.pass(client, server)
		go p.pass(server, client)
	}
}

func (p *proxy) pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !p.hole.Load() {
			_, _ = to.Write(buffer[:n])
		}
		if err != nil {
			if err == io.EOF && !p.hole.Load() {
				_ = to.Close()
			}
			return
		}
	}
}

// cut ends every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// Reconnected tells how many times the connection had to be made again.
func (h *Host) Reconnected() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.remade
}
