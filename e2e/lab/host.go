package lab

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/shiksha/actions/e2e/ports"
)

// stateRoot is where the sandbox hosts keep their state: a path the engine and
// the hosts both know by the same name.
const stateRoot = "/var/lib/shiksha-lab"

// deployID is the number of the user "deploy" in the sandbox's image.
const deployID = 1000

// HostOptions says how a sandbox host is made.
type HostOptions struct {
	// Name is unique on this machine; the container is shiksha-lab-<name>.
	Name string
	// SSHD are lines for sshd_config that go before the lab's own, for example
	// "AllowStreamLocalForwarding no".
	SSHD []string
	// DockerCLI puts the docker program on the host, for `docker system
	// dial-stdio`.
	DockerCLI bool
	// NoEngine leaves the engine's socket away: a host whose engine is down.
	NoEngine bool
	// KeepState leaves the state folder when the host stops, and begins with the one
	// that an earlier host of the name left.
	KeepState bool
	// Network makes it a machine of its own on the network; nil is this machine.
	Network *Network
	// Beside is another host: who may log in there may log in here with the same key,
	// and its known-hosts file pins this host too.
	Beside *Host
}

// Network is how a sandbox host stands on the network as a machine of its own, with
// an engine of its own.
type Network struct {
	// Address is the IP address of the host, where sshd listens on port 22.
	Address string
	// Run is the folder with the socket of the host's engine, docker.sock.
	Run string
	// Plug joins the network namespace of a process of the host, which has nothing
	// but a loopback yet, to others.
	Plug func(ctx context.Context, pid int) error
}

// Host is a running sandbox host: real OpenSSH, the machine's engine, a state
// folder of its own.
type Host struct {
	// Address is deploy@IP:port; the user is not root and may use Docker.
	Address string
	// NoDocker is the address of a user who may not use Docker.
	NoDocker string
	// IP is where sshd listens, 127.0.0.1 unless the host is a machine of its own, and
	// Port its port there.
	IP   string
	Port int
	// Key is the private key both users are let in with, KnownHosts the line
	// that pins the host's key, Fingerprint the same as SHA256:...
	Key, KnownHosts []byte
	Fingerprint     string
	// KeyFile and KnownHostsFile hold the same.
	KeyFile, KnownHostsFile string
	// StateDir exists, is empty and belongs to deploy.
	StateDir string
	// Container is the name of the container that sshd runs in.
	Container string

	lab       *Lab
	dir       string
	keepState bool
	// before counts the lab's own connections, made to see whether sshd is up.
	before int
}

// connected is how sshd begins its line about a new TCP connection.
const connected = "Connection from "

// StartHost runs a sandbox host until it is stopped or the lab closes. One of
// the same name that an earlier run left behind is replaced.
func (l *Lab) StartHost(ctx context.Context, options HostOptions) (*Host, error) {
	ip, port := "127.0.0.1", 22
	if options.Network != nil {
		ip = options.Network.Address
	} else if free, err := ports.Free(); err != nil {
		return nil, err
	} else {
		port = free
	}
	h := &Host{
		lab: l, IP: ip, Port: port, Container: "shiksha-lab-" + options.Name,
		dir: filepath.Join(l.Dir, "hosts", options.Name), StateDir: filepath.Join(stateRoot, options.Name),
		keepState: options.KeepState,
	}
	h.Address, h.NoDocker = "deploy@"+h.endpoint(), "nodocker@"+h.endpoint()
	l.say("starting the sandbox host %s (OpenSSH on %s)", h.Container, h.endpoint())
	if err := h.Stop(ctx); err != nil {
		return nil, err
	}
	if err := h.prepare(options); err != nil {
		return nil, err
	}
	args, err := h.runArgs(options)
	if err != nil {
		return nil, err
	}
	l.AtClose(h.Stop)
	if _, err := l.Docker(ctx, args...); err != nil {
		return nil, err
	}
	if err := h.plug(ctx, options.Network); err != nil {
		return nil, err
	}
	if err := h.await(ctx); err != nil {
		return nil, err
	}
	h.before, err = h.Connections(ctx)
	return h, err
}

// endpoint is sshd's IP address and port.
func (h *Host) endpoint() string { return fmt.Sprintf("%s:%d", h.IP, h.Port) }

// plug joins a host of its own to its network.
func (h *Host) plug(ctx context.Context, network *Network) error {
	if network == nil {
		return nil
	}
	pid, err := h.lab.Docker(ctx, "inspect", "--format", "{{.State.Pid}}", h.Container)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(pid)
	if err != nil {
		return fmt.Errorf("the process of %s: %w", h.Container, err)
	}
	return network.Plug(ctx, number)
}

// Stop removes the host and, unless it is to be kept, its state.
func (h *Host) Stop(ctx context.Context) error {
	err := errors.Join(h.lab.removeContainers(ctx, h.Container), os.RemoveAll(h.dir))
	if h.keepState {
		return err
	}
	return errors.Join(err, os.RemoveAll(h.StateDir))
}

// Log is what sshd said so far.
func (h *Host) Log(ctx context.Context) (string, error) {
	return h.lab.Docker(ctx, "logs", h.Container)
}

// Connections counts the TCP connections sshd has taken so far, the lab's own
// look whether it is there left out.
func (h *Host) Connections(ctx context.Context) (int, error) {
	log, err := h.Log(ctx)
	return strings.Count(log, connected) - h.before, err
}

// Flags are the inputs of shiksha that name this host.
func (h *Host) Flags() []string {
	return []string{
		"--host", h.Address, "--ssh-key", "@" + h.KeyFile, "--known-hosts", "@" + h.KnownHostsFile,
		"--state-dir", h.StateDir,
	}
}

// prepare writes keys, sshd's settings and the state folder.
func (h *Host) prepare(options HostOptions) error {
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(h.StateDir, 0o755); err != nil {
		return err
	}
	if err := os.Chown(h.StateDir, deployID, deployID); err != nil {
		return err
	}
	hostPublic, hostPEM, err := newKey()
	if err != nil {
		return err
	}
	userPublic, userPEM, err := newKey()
	if err != nil {
		return err
	}
	h.Key = userPEM
	h.KnownHosts = []byte(knownhosts.Line([]string{h.endpoint()}, hostPublic) + "\n")
	authorized := ssh.MarshalAuthorizedKey(userPublic)
	if options.Beside != nil {
		if authorized, err = options.Beside.admits(h); err != nil {
			return err
		}
	}
	h.Fingerprint = ssh.FingerprintSHA256(hostPublic)
	h.KeyFile, h.KnownHostsFile = filepath.Join(h.dir, "id_ed25519"), filepath.Join(h.dir, "known_hosts")
	for path, content := range map[string][]byte{
		h.KeyFile:                               h.Key,
		h.KnownHostsFile:                        h.KnownHosts,
		filepath.Join(h.dir, "host_key"):        hostPEM,
		filepath.Join(h.dir, "authorized_keys"): authorized,
		filepath.Join(h.dir, "sshd_config"):     []byte(h.sshdConfig(options)),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	// sshd reads it as the user who logs in.
	return os.Chmod(filepath.Join(h.dir, "authorized_keys"), 0o644)
}

// admits gives another host this one's key and pins that host beside this one. The
// other's line is there already; it gets what this host's users are let in with.
func (h *Host) admits(other *Host) (authorized []byte, err error) {
	h.KnownHosts = append(h.KnownHosts, other.KnownHosts...)
	other.Key, other.KnownHosts = h.Key, h.KnownHosts
	if err := os.WriteFile(h.KnownHostsFile, h.KnownHosts, 0o600); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(h.dir, "authorized_keys"))
}

// sshdConfig: the first value of a setting wins, so the caller's come first.
// What is not named is OpenSSH's own default.
func (h *Host) sshdConfig(options HostOptions) string {
	return strings.Join(append(options.SSHD,
		h.listen(options),
		"HostKey /etc/ssh/lab/host_key",
		"AuthorizedKeysFile /etc/ssh/lab/authorized_keys",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitRootLogin no",
		"LogLevel VERBOSE",
		"Subsystem sftp /usr/lib/openssh/sftp-server",
	), "\n") + "\n"
}

// listen is the setting of where sshd listens. The address of a machine of its own
// comes when sshd runs already.
func (h *Host) listen(options HostOptions) string {
	if options.Network != nil {
		return "ListenAddress 0.0.0.0:22"
	}
	return "ListenAddress " + h.endpoint()
}

func (h *Host) runArgs(options HostOptions) ([]string, error) {
	info, err := os.Stat(Socket)
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: its group cannot be read", Socket)
	}
	// The host's network: units are reached by their own addresses, as on a
	// real host.
	network, command := "host", []string{sshdImage}
	if options.Network != nil {
		network = "none"
		// The engine makes its socket anew at each start, so its folder is what is
		// mounted.
		command = []string{"--volume", options.Network.Run + ":/engine", "--entrypoint", "sh", sshdImage, "-c", "ln -s /engine/docker.sock " + Socket + " && exec entrypoint"}
	}
	args := []string{
		"run", "--detach", "--init", "--name", h.Container, "--label", "shiksha.lab=host", "--network", network,
		"--env", fmt.Sprintf("SOCKET_GID=%d", stat.Gid),
		"--volume", h.dir + ":/etc/ssh/lab:ro", "--volume", h.StateDir + ":" + h.StateDir,
	}
	if !options.NoEngine && options.Network == nil {
		args = append(args, "--volume", Socket+":"+Socket)
	}
	if options.DockerCLI {
		cli, err := dockerProgram()
		if err != nil {
			return nil, err
		}
		args = append(args, "--volume", cli+":/usr/bin/docker:ro")
	}
	return append(args, command...), nil
}

// await waits until sshd greets.
func (h *Host) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for !h.greets() {
		if !pause(ctx, 50*time.Millisecond) {
			log, _ := h.lab.Docker(context.WithoutCancel(ctx), "logs", h.Container)
			return fmt.Errorf("waiting for sshd on %s: %w\n%s", h.endpoint(), ctx.Err(), lastLines(log, 15))
		}
	}
	return nil
}

func (h *Host) greets() bool {
	conn, err := net.DialTimeout("tcp", h.endpoint(), time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "SSH-")
}

// dockerProgram is the docker command line of this machine, links followed.
func dockerProgram() (string, error) {
	path, err := exec.LookPath("docker")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// newKey makes an ed25519 key and gives it as OpenSSH writes it.
func newKey() (ssh.PublicKey, []byte, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "lab")
	if err != nil {
		return nil, nil, err
	}
	sshPublic, err := ssh.NewPublicKey(public)
	return sshPublic, pem.EncodeToMemory(block), err
}
