package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ensureEngine uses the engine that answers, or starts one that ends with the
// lab.
func (l *Lab) ensureEngine(ctx context.Context) error {
	// Every lab holds this while it uses the engine; the one that started it
	// waits for the others before it stops it.
	users := filepath.Join(os.TempDir(), "shiksha-lab.users")
	leave, err := lockFile(ctx, users, syscall.LOCK_SH)
	if err != nil {
		return err
	}
	l.AtClose(func(context.Context) error { leave(); return nil })

	engine := l.leftover("dockerd", "dockerd")
	if engine == nil {
		if l.engineSettles(ctx) {
			return nil
		}
		if engine, err = l.startEngine(); err != nil {
			return err
		}
	}
	l.AtClose(func(ctx context.Context) error {
		leave()
		alone, err := lockFile(ctx, users, syscall.LOCK_EX)
		if err != nil {
			return fmt.Errorf("the Docker Engine stays (pid %d): another lab still uses it", engine.pid)
		}
		defer alone()
		l.say("stopping the Docker Engine")
		return engine.stop(ctx)
	})
	err = l.await(ctx, engine, time.Minute, l.engineAnswers)
	if err == nil || !l.panicsOverNetworks() {
		return err
	}
	l.say("the engine panics over a network that an earlier one was stopped while removing: %s is put aside", networkStore)
	if err := os.Rename(networkStore, networkStore+".damaged"); err != nil {
		return err
	}
	if engine, err = l.startEngine(); err != nil {
		return err
	}
	return l.await(ctx, engine, time.Minute, l.engineAnswers)
}

func (l *Lab) startEngine() (*server, error) {
	l.say("starting the Docker Engine (its log: %s)", filepath.Join(l.Dir, "dockerd.log"))
	return l.start("dockerd", "dockerd", "--host", "unix://"+Socket, "--log-level", "warn")
}

// networkStore is where an engine with the default root has its networks, and no more.
const networkStore = "/var/lib/docker/network/files/local-kv.db"

// panicsOverNetworks tells whether the engine ended over its network store: one of 20.10 that
// is stopped while it removes a network may leave half of that there, and then none starts.
func (l *Lab) panicsOverNetworks() bool {
	log, _ := os.ReadFile(filepath.Join(l.Dir, "dockerd.log"))
	return bytes.Contains(log, []byte("panic:")) && bytes.Contains(log, []byte("reservePools"))
}

// engineSettles tells whether an engine answers. One that is starting or ending
// does not, and lets no other start beside it: that is waited for.
func (l *Lab) engineSettles(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !l.engineAnswers(ctx) {
		text, _ := os.ReadFile("/var/run/docker.pid")
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || !runs(pid, "dockerd") || !pause(ctx, 200*time.Millisecond) {
			return false
		}
	}
	return true
}

func (l *Lab) engineAnswers(ctx context.Context) bool {
	if !present("docker") {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := l.Docker(ctx, "version")
	return err == nil
}

// Docker runs the docker command line against this machine's engine and gives
// what it printed on standard output, without the space around it.
func (l *Lab) Docker(ctx context.Context, args ...string) (string, error) {
	return l.docker(ctx, nil, args...)
}

func (l *Lab) docker(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	// The user's own contexts, proxies and credentials stay out of it.
	args = append([]string{"--config", filepath.Join(l.Dir, "docker"), "--host", "unix://" + Socket}, args...)
	cmd := exec.CommandContext(ctx, "docker", args...)
	// The builder every engine has, plugin or not.
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0", "DOCKER_CONTEXT=", "DOCKER_HOST=")
	cmd.Stdin = stdin
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args[4:], " "), err, lastLines(words.String(), 20))
	}
	return strings.TrimSpace(out.String()), err
}

// dockerLines is Docker with its output as lines, empty ones left out.
func (l *Lab) dockerLines(ctx context.Context, args ...string) ([]string, error) {
	out, err := l.Docker(ctx, args...)
	return strings.Fields(out), err
}

// removeContainers removes containers by name or id; one that is not there is
// no error.
func (l *Lab) removeContainers(ctx context.Context, names ...string) error {
	var errs []error
	for _, name := range names {
		_, err := l.Docker(ctx, "rm", "--force", "--volumes", name)
		if err != nil && !strings.Contains(err.Error(), "No such container") {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// server is a child process that runs until it is stopped.
type server struct {
	name    string
	pidFile string
	pid     int
	ended   chan struct{} // closes when it has ended; nil for an adopted one
}

// start runs a program in the background with a log file and a pid file in the
// lab's folder.
func (l *Lab) start(name string, argv ...string) (*server, error) {
	log, err := os.Create(filepath.Join(l.Dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C at the terminal is for us, who stop it last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	s := &server{name: name, pidFile: filepath.Join(l.Dir, name+".pid"), pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(s.ended) }()
	owner := fmt.Sprintf("%d %d\n", os.Getpid(), s.pid)
	return s, os.WriteFile(s.pidFile, []byte(owner), 0o600)
}

// leftover gives the server that an earlier lab could not stop, because it was
// killed; nil when there is none.
func (l *Lab) leftover(name, program string) *server {
	path := filepath.Join(l.Dir, name+".pid")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var owner, pid int
	if _, err := fmt.Sscan(string(text), &owner, &pid); err != nil || pid <= 1 {
		return nil
	}
	if alive(owner) || !runs(pid, program) {
		return nil
	}
	return &server{name: name, pidFile: path, pid: pid}
}

// runs tells whether a process is a program's.
func runs(pid int, program string) bool {
	running, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return strings.TrimSpace(string(running)) == program
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// stop ends the server, politely first.
func (s *server) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_ = syscall.Kill(s.pid, syscall.SIGTERM)
	for s.running() {
		if !pause(ctx, 50*time.Millisecond) {
			_ = syscall.Kill(s.pid, syscall.SIGKILL)
			return fmt.Errorf("%s did not end on SIGTERM and was killed", s.name)
		}
	}
	return os.Remove(s.pidFile)
}

func (s *server) running() bool {
	if s.ended == nil {
		return alive(s.pid)
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// await waits until the server answers; its own end is an error with its last
// words.
func (l *Lab) await(ctx context.Context, s *server, limit time.Duration, answers func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !answers(ctx) {
		if !s.running() {
			return l.withLog(fmt.Errorf("%s ended right after its start", s.name), s.name+".log")
		}
		if !pause(ctx, 100*time.Millisecond) {
			return l.withLog(fmt.Errorf("waiting for %s to answer: %w", s.name, ctx.Err()), s.name+".log")
		}
	}
	return nil
}

// logged runs a program whose output goes to a log file; when it fails, the
// error has the file's last lines.
func (l *Lab) logged(cmd *exec.Cmd, name string) error {
	log, err := os.Create(filepath.Join(l.Dir, name))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	err = errors.Join(cmd.Run(), log.Close())
	if err != nil {
		return l.withLog(fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err), name)
	}
	return nil
}

// withLog adds the path and the last lines of a log file to an error.
func (l *Lab) withLog(err error, name string) error {
	path := filepath.Join(l.Dir, name)
	text, readErr := os.ReadFile(path)
	if readErr != nil {
		return err
	}
	return fmt.Errorf("%w\n--- the end of %s\n%s", err, path, lastLines(string(text), 15))
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
