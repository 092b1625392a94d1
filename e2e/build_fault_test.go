package e2e

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	buildkit "github.com/moby/buildkit/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// whole skips a test of builds that the short run leaves out.
func whole(t *testing.T) {
	t.Helper()
	if os.Getenv("SHIKSHA_E2E_BUILD") == "" {
		t.Skip("the short run leaves it out; `make e2e-build` has it")
	}
}

// A registry that is busy for a while is waited for, as long as it says; one that
// stays so is told.
func TestBuildAndABusyRegistry(t *testing.T) {
	whole(t)
	s := newSite(t)
	// BuildKit itself is refused some twenty times before it gives up once.
	for name, c := range map[string]struct {
		status int
		times  int64
		long   bool
		exit   int
		says   []string
	}{
		"429 and then well":     {http.StatusTooManyRequests, 30, false, 0, []string{"429 Too Many Requests", "trying again in 3s", "pushed"}},
		"500 and then well":     {http.StatusInternalServerError, 12, false, 0, []string{"pushed"}},
		"429 all the time":      {http.StatusTooManyRequests, 1 << 40, false, 1, []string{"trying again in 3s", "429 Too Many Requests", "hint: the registry does not take it at the moment"}},
		"500 all the time":      {http.StatusInternalServerError, 1 << 40, true, 1, []string{"trying again in 3s", "500 Internal Server Error", "hint: the registry does not take it at the moment"}},
		"401 is not waited for": {http.StatusUnauthorized, 1 << 40, false, 1, []string{"hint: look at registry"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.long {
				whole(t)
			}
			fake := startFakeBusyRegistry(t, s.Fixture.Registry, c.status, "3", c.times)
			result := s.push(t, fake.address, name, c.exit)
			for _, text := range c.says {
				assert.Contains(t, result.Stdout+result.Stderr, text)
			}
			assert.Positive(t, fake.refused.Load())
			t.Logf("%.1fs, %d refused", result.Took.Seconds(), fake.refused.Load())
		})
	}
}

// push builds and pushes one service to a registry of the test's own, with content
// that was never pushed before. With more arguments, which are those of a login, it
// has the password.
func (s *site) push(t *testing.T, registry, content string, want int, more ...string) lab.Result {
	t.Helper()
	s.write("compose.yaml", fmt.Sprintf("services:\n  web: {build: ./web, image: \"%s/%s/web:v1\"}\n", registry, strings.ToLower(s.Project)))
	s.write("web/index.html", content)
	args := append([]string{"build", "--builder", s.builder.Address, "--push", "--cache", "none"}, more...)
	var env []string
	if len(more) > 0 {
		env = []string{"INPUT_REGISTRY-PASSWORD=right"}
	}
	cmd, err := s.Command(t.Context(), s.Dir, env, args...)
	require.NoError(t, err)
	result, err := lab.Wait(cmd, nil)
	require.NoError(t, err)
	require.Equal(t, want, result.Exit, "%s%s", result.Stdout, result.Stderr)
	return result
}

// A token that expires in the middle of a push is renewed; a login that expires is
// told as what it is.
func TestBuildAndATokenThatExpires(t *testing.T) {
	whole(t)
	s := newSite(t)
	login := func(f *fakeTokenRegistry) []string {
		return []string{"--registry", f.address, "--registry-username", "ci"}
	}
	renewing := startFakeTokenRegistry(t, s.Fixture.Registry, 3, 1000)
	s.push(t, renewing.address, "renewed", 0, login(renewing)...)
	assert.Greater(t, renewing.expired, 1, "the token expired while it pushed")

	ending := startFakeTokenRegistry(t, s.Fixture.Registry, 3, 3)
	result := s.push(t, ending.address, "refused", 1, login(ending)...)
	assert.Positive(t, ending.expired)
	assert.Contains(t, result.Stderr, "hint: look at registry, registry-username and registry-password")
	assert.NotContains(t, result.Stdout+result.Stderr, "trying again", "it would be refused again")
}

// A builder whose disk is full is told as such, whoever finds it out.
func TestBuildOnAFullDisk(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.builder.Shrink(t.Context(), 64))
	t.Cleanup(func() { assert.NoError(t, s.builder.Reset(context.Background())) })
	for name, run := range map[string]string{
		"a step fills it":    "dd if=/dev/zero of=/big bs=1048576 count=100",
		"the export does so": "dd if=/dev/urandom of=/big bs=1048576 count=40", // twice is too much
	} {
		t.Run(name, func(t *testing.T) {
			s.write("web/Dockerfile", "FROM busybox:1\nCOPY index.html /\nRUN "+run+"\n")
			result := s.push(t, s.Fixture.Registry, name, 1)
			assert.Regexp(t, "(?i)no space left on device", result.Stdout+result.Stderr)
			assert.Contains(t, result.Stderr, "hint: the builder's disk is full: remove its old cache")
		})
	}
}

// A platform whose programs the machine cannot run is told before the build, and
// by the step that fails, with how to add it.
func TestBuildWithoutAnEmulator(t *testing.T) {
	whole(t)
	s := newSite(t)
	// No other test runs programs of this platform. The daemon looks for emulators when
	// it starts.
	emulator := "/proc/sys/fs/binfmt_misc/qemu-riscv64"
	enable := func(ctx context.Context, yes string) error {
		var err error
		if _, missing := os.Stat(emulator); missing == nil {
			err = os.WriteFile(emulator, []byte(yes), 0o200)
		}
		return errors.Join(err, s.builder.Stop(ctx), s.builder.Start(ctx))
	}
	t.Cleanup(func() { assert.NoError(t, enable(context.Background(), "1")) })
	require.NoError(t, enable(t.Context(), "0"))
	s.write("web/true", string(riscvProgram()))
	require.NoError(t, os.Chmod(filepath.Join(s.Dir, "web", "true"), 0o755))
	s.write("web/Dockerfile", "FROM scratch\nCOPY true /true\nRUN [\"/true\"]\n")
	result := s.build(1, "--targets", "web", "--platforms", "linux/riscv64")
	add := []string{"docker/setup-qemu-action", "tonistiigi/binfmt --install", "qemu-user-static and binfmt-support"}
	for _, text := range append(add, "the builder cannot run programs of linux/riscv64, so a RUN for it will fail") {
		assert.Contains(t, result.Stdout, text)
	}
	_, hint, _ := strings.Cut(result.Stdout, "hint: ")
	for _, text := range append(add, "the builder cannot run programs of that platform") {
		assert.Contains(t, hint, text)
	}
}

// riscvProgram is the least that the kernel takes for a program of RISC-V.
func riscvProgram() []byte {
	var program bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	_ = binary.Write(&program, binary.LittleEndian, elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_RISCV),
		Version: uint32(elf.EV_CURRENT), Entry: 0x10000, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1})
	_ = binary.Write(&program, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: 0x10000, Filesz: 120, Memsz: 120, Align: 0x1000})
	return program.Bytes()
}

// endless is a step that does not end, and that nobody else on this machine runs.
var endless = fmt.Sprintf("sleep %d", 1_000_000+os.Getpid())

// started runs a build whose step does not end, and waits until the step runs.
func (s *site) started(t *testing.T, env ...string) (end func() lab.Result, signal func(os.Signal)) {
	t.Helper()
	mark := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(mark)
	require.NoError(t, err)
	s.write("web/Dockerfile", "FROM busybox:1\nRUN echo "+t.Name()+"; "+endless+"\n")
	cmd, err := s.Command(t.Context(), s.Dir, nil, "build", "--builder", s.builder.Address, "--targets", "web", "--version", "v1", "--env-file", lab.EnvFile)
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return s.running(endless) }, 30*time.Second, 50*time.Millisecond)
	return func() lab.Result {
		_ = cmd.Wait()
		text, err := os.ReadFile(mark)
		require.NoError(t, err)
		return lab.Result{Exit: cmd.ProcessState.ExitCode(), Stdout: string(text), Took: time.Since(began)}
	}, func(sig os.Signal) { require.NoError(t, cmd.Process.Signal(sig)) }
}

// running tells whether a process of that command line is there.
func (s *site) running(command string) bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		text, _ := os.ReadFile(path)
		if strings.TrimRight(strings.ReplaceAll(string(text), "\x00", " "), " ") == command {
			return true
		}
	}
	return false
}

// A build that is cancelled ends in time and leaves nothing running, neither in the
// builder nor beside it; the next build works.
func TestBuildCancelled(t *testing.T) {
	s := newSite(t)
	left := t.TempDir()
	end, signal := s.started(t, "TMPDIR="+left)
	at := time.Now()
	signal(syscall.SIGINT)
	result := end()
	assert.Equal(t, 5, result.Exit, result.Stdout)
	assert.Less(t, time.Since(at), 7*time.Second)
	assert.Contains(t, result.Stdout, "the build was cancelled")
	assert.Eventually(t, func() bool { return !s.running(endless) }, 10*time.Second, 50*time.Millisecond, "the step goes on")
	assert.Eventually(t, s.idle, 10*time.Second, 50*time.Millisecond, "the builder goes on")
	files, err := os.ReadDir(left)
	require.NoError(t, err)
	assert.Empty(t, files)
	s.write("web/Dockerfile", webDockerfile)
	s.build(0, "--targets", "web")
}

// idle tells whether the builder builds nothing and has no container of a step.
func (s *site) idle() bool {
	s.t.Helper()
	bk, err := buildkit.New(s.t.Context(), s.builder.Address)
	require.NoError(s.t, err)
	defer func() { _ = bk.Close() }()
	builds, err := bk.ControlClient().ListenBuildHistory(s.t.Context(), &controlapi.BuildHistoryRequest{ActiveOnly: true, EarlyExit: true})
	require.NoError(s.t, err)
	if _, err := builds.Recv(); !errors.Is(err, io.EOF) {
		return false
	}
	// A step has a folder with its configuration while it runs.
	steps, err := filepath.Glob(filepath.Join(s.builder.Root, "state", "runc-*", "executor", "*", "config.json"))
	require.NoError(s.t, err)
	return len(steps) == 0
}

// A builder that dies is told as such, and the next build works.
func TestBuilderDies(t *testing.T) {
	whole(t)
	s := newSite(t)
	end, _ := s.started(t)
	assert.False(t, s.idle(), "what idle looks at is there while it builds")
	require.NoError(t, s.builder.Kill())
	result := end()
	assert.Equal(t, 1, result.Exit, result.Stdout)
	assert.Contains(t, result.Stdout, "went away while it built")
	assert.Contains(t, result.Stdout, "hint: look at the builder's own log")
	require.NoError(t, s.builder.Reset(t.Context()))
	s.write("web/Dockerfile", webDockerfile)
	s.build(0, "--targets", "web")
}
