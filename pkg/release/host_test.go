package release

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

// localFiles are the files of this machine, with what a host's do: replacing a
// file in one rename.
type localFiles struct{}

func (localFiles) Read(_ context.Context, name string) ([]byte, error) { return os.ReadFile(name) }

func (localFiles) List(_ context.Context, dir string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (localFiles) Write(_ context.Context, name string, data []byte, perm fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (localFiles) MkdirAll(_ context.Context, name string, perm fs.FileMode) error {
	return os.MkdirAll(name, perm)
}

func (localFiles) Remove(_ context.Context, name string) error { return os.Remove(name) }

// startLocal starts a real process on this machine.
func startLocal(_ context.Context, argv []string) (Process, error) { return startIn(nil, argv) }

// startWithPath starts processes that find only the programs of one folder.
func startWithPath(dir string) Starter {
	return func(_ context.Context, argv []string) (Process, error) {
		sh, err := filepath.EvalSymlinks(filepath.Join(dir, argv[0]))
		if err != nil {
			return Process{}, err
		}
		if strings.Contains(sh, "busybox") { // it takes its role from the name
			sh = filepath.Join(dir, argv[0])
		}
		return startIn([]string{"PATH=" + dir}, append([]string{sh}, argv[1:]...))
	}
}

func startIn(env, argv []string) (Process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return Process{}, err
	}
	// Not StdoutPipe: its Wait closes the pipe under the reader.
	out, w, err := os.Pipe()
	if err != nil {
		return Process{}, err
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		return Process{}, err
	}
	w.Close()
	var once sync.Once
	return Process{Stdin: in, Stdout: out, Wait: cmd.Wait, Close: func() error {
		once.Do(func() { _ = cmd.Process.Signal(os.Interrupt) })
		return nil
	}}, nil
}

// TestMain lets the test binary be a second deployer: it takes the lock, says so
// and does what its input says.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "be-a-deployer" {
		if err := deployer(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Println("error:", err)
		}
		return
	}
	os.Exit(m.Run())
}

func deployer(dir, actor, heartbeat string) error {
	beat, err := time.ParseDuration(heartbeat)
	if err != nil {
		return err
	}
	ctx := context.Background()
	lock, err := Acquire(ctx, startLocal, localFiles{}, dir, Holder{Actor: actor}, Options{Heartbeat: beat})
	if err != nil {
		return err
	}
	fmt.Println("held", lock.Fence())
	buf := make([]byte, 1)
	_, _ = os.Stdin.Read(buf) // until the test closes it
	fmt.Println("checked", lock.Check(ctx))
	return lock.Release(ctx)
}

// otherDeployer is a deployer in a process of its own.
type otherDeployer struct {
	*exec.Cmd
	said chan string
	stop func()
}

func startDeployer(t *testing.T, dir, actor string, heartbeat time.Duration) *otherDeployer {
	t.Helper()
	cmd := exec.Command(os.Args[0], "be-a-deployer", dir, actor, heartbeat.String())
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, w, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	require.NoError(t, cmd.Start())
	w.Close()
	d := &otherDeployer{Cmd: cmd, said: make(chan string, 16), stop: func() { in.Close() }}
	go func() {
		defer close(d.said)
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			for line := range strings.Lines(string(buf[:n])) {
				d.said <- strings.TrimSpace(line)
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return d
}

// hear gives the next line that the deployer says.
func (d *otherDeployer) hear(t *testing.T) string {
	t.Helper()
	select {
	case line := <-d.said:
		return line
	case <-time.After(20 * time.Second):
		require.Fail(t, "the other deployer said nothing")
		return ""
	}
}

func TestHostWithoutTheTools(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{"flock", "timeout", "dd"} {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			bin := toolbox(t, "", missing)
			_, err := Acquire(t.Context(), startWithPath(bin), localFiles{}, t.TempDir(), Holder{}, Options{})
			require.Equal(t, fault.Refused, fault.Of(err), "%v", err)
			assert.EqualError(t, err, "host: the lock needs "+missing+", which the host does not have")
			assert.Contains(t, fault.Hint(err), "util-linux")
		})
	}
}

// toolbox is a folder with the programs the holder needs, without one of them,
// the others busybox's where a busybox is given.
func toolbox(t *testing.T, busybox, without string) string {
	t.Helper()
	bin := t.TempDir()
	for _, tool := range []string{"sh", "flock", "timeout", "dd"} {
		target, err := exec.LookPath(tool)
		require.NoError(t, err)
		if busybox != "" && exec.Command(busybox, tool, "--help").Run() == nil {
			target = busybox
		}
		if tool != without {
			require.NoError(t, os.Symlink(target, filepath.Join(bin, tool)))
		}
	}
	return bin
}

func TestHolderRunsOnEveryShell(t *testing.T) {
	t.Parallel()
	shells := map[string]func(*testing.T) Starter{}
	for _, shell := range []string{"dash", "bash", "busybox"} {
		program, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here: not tried", shell)
			continue
		}
		shells[shell] = func(t *testing.T) Starter {
			if shell == "busybox" {
				return startWithPath(toolbox(t, program, ""))
			}
			bin := toolbox(t, "", "sh")
			require.NoError(t, os.Symlink(program, filepath.Join(bin, "sh")))
			return startWithPath(bin)
		}
	}
	require.NotEmpty(t, shells)
	for shell, starter := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			start, dir := starter(t), t.TempDir()
			var host cuttable
			lock, err := Acquire(t.Context(), func(ctx context.Context, argv []string) (Process, error) {
				p, err := start(ctx, argv)
				host.last = p
				return p, err
			}, localFiles{}, dir, Holder{Actor: "ann"}, Options{Heartbeat: 2 * time.Second})
			require.NoError(t, err)
			_, err = Acquire(t.Context(), start, localFiles{}, dir, Holder{}, Options{Wait: 3 * time.Second})
			require.Equal(t, fault.Locked, fault.Of(err), "%v", err)
			require.NoError(t, lock.Check(t.Context()), "a heartbeat timeout later")
			require.NoError(t, lock.Release(t.Context()))

			// Without beats it ends by itself, the client's end still open.
			p, err := start(t.Context(), []string{"sh", "-c", holdScript, "x", filepath.Join(dir, "lock"), "0", "1"})
			require.NoError(t, err)
			_, err = Acquire(t.Context(), start, localFiles{}, dir, Holder{}, Options{Wait: soon})
			require.NoError(t, err)
			require.NoError(t, p.Wait())
		})
	}
}

func TestKilledShellOnTheHostLeavesNoChildWithTheLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", holdScript, "x", filepath.Join(dir, "lock"), "0", "60")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	word := make([]byte, 5)
	_, err = out.Read(word)
	require.NoError(t, err)
	require.Equal(t, "held\n", string(word))
	require.NoError(t, cmd.Process.Kill()) // its dd waits on for a minute
	_, err = take(t, dir, "next", Options{Wait: soon})
	require.NoError(t, err)
}
