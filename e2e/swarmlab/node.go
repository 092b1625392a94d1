package swarmlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/shiksha/actions/e2e/lab"
)

// Node is one node: an engine and the sshd in front of it.
type Node struct {
	// Name is its host name, Address its IP address, and ID what the Swarm calls it.
	Name, Address, ID string
	// Host is the node as users and shiksha reach it.
	Host *lab.Host
	// Socket is the engine's, for this machine.
	Socket string

	lab  *lab.Lab
	net  string   // a process in the network namespace
	dir  string   // what the engine keeps
	run  string   // sockets and pid files, by short paths
	args []string // the engine with its flags
	// power is the first process of the node: when it ends, all others end.
	power *exec.Cmd
	// ended closes when the engine has ended.
	ended chan struct{}
}

// boot makes a node with everything but its engine.
func (s *Swarm) boot(ctx context.Context, name, address string, beside *lab.Host) (*Node, error) {
	full := s.name + "-" + name
	n := &Node{Name: name, Address: address, lab: s.lab, dir: filepath.Join(s.lab.Dir, "swarm", full), run: filepath.Join(runRoot, full)}
	n.Socket = filepath.Join(n.run, "docker.sock")
	if err := errors.Join(disown(full, n.dir), own(full, n.dir), os.MkdirAll(n.dir, 0o755)); err != nil {
		return nil, err
	}
	plug := func(ctx context.Context, pid int) error {
		n.net = strconv.Itoa(pid)
		return s.net.plug(ctx, address, n.net)
	}
	var err error
	n.Host, err = s.lab.StartHost(ctx, lab.HostOptions{Name: full, Beside: beside, Network: &lab.Network{Address: address, Run: n.run, Plug: plug}})
	if err != nil {
		return nil, errors.Join(err, n.remove())
	}
	group, err := socketGroup()
	if err != nil {
		return nil, err
	}
	n.args = []string{
		"dockerd", "--host", "unix://" + n.Socket, "--group", group, "--data-root", filepath.Join(n.dir, "data"),
		"--exec-root", filepath.Join(n.run, "exec"), "--pidfile", n.pidFile(), "--log-level", "warn",
		"--insecure-registry", s.Machine + "/32", "--registry-mirror", "http://" + s.Registry,
	}
	return n, n.PowerOn(ctx)
}

// settle is what the first process of a node does: what another machine would not
// have is taken out of sight. Children that nobody waits for are its own.
const settle = `set -e
mount --make-rprivate /
mount -t proc proc /proc
hostname "$1"
mkdir -p "$2/keep" "$3"
mount --bind "$3" "$2/keep"
mount -t tmpfs -o mode=755 tmpfs "$(dirname "$3")"
mkdir "$3"
mount --bind "$2/keep" "$3"
case $4 in /tmp/*) ;; *) mount -t tmpfs -o mode=1777 tmpfs /tmp ;; esac
sleep infinity &
echo ready
while :; do wait; done
`

// PowerOn brings the node up, without its engine.
func (n *Node) PowerOn(ctx context.Context) error {
	n.power = exec.Command("nsenter", "--net=/proc/"+n.net+"/ns/net", "bash", "-c", settle, "bash", n.Name, n.run, n.Host.StateDir, n.dir)
	n.power.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL, Setpgid: true,
	}
	var words bytes.Buffer
	n.power.Stderr = &words
	said, err := n.power.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.power.Start(); err != nil {
		return err
	}
	line := make([]byte, len("ready"))
	if _, err := said.Read(line); err != nil {
		return errors.Join(fmt.Errorf("the node %s did not come up: %w", n.Name, err), n.power.Wait(), errors.New(words.String()))
	}
	return nil
}

// PowerOff ends every process of the node at once, the engine and its containers
// among them: a power cut. sshd is left.
func (n *Node) PowerOff() error {
	if n.power == nil || n.power.Process == nil {
		return nil
	}
	err := n.power.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_ = n.power.Wait() // that it was killed is no error
	if n.ended != nil {
		<-n.ended
	}
	n.power = nil
	return err
}

// remove takes the node away: its processes, its sshd, its files.
func (n *Node) remove() error {
	// Whoever cancelled still wants the machine back as it was.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := []error{n.PowerOff()}
	if n.Host != nil {
		errs = append(errs, n.Host.Stop(ctx))
	}
	return errors.Join(append(errs, disown(filepath.Base(n.run), n.dir))...)
}

// socketGroup is the number of the group that may use this machine's engine: the
// user deploy of a sandbox host is in it.
func socketGroup() (string, error) {
	info, err := os.Stat(lab.Socket)
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: its group cannot be read", lab.Socket)
	}
	return strconv.Itoa(int(stat.Gid)), nil
}
