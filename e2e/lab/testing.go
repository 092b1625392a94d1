package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/ports"
)

// shared is the lab and the host that all tests of one test binary use; they are
// made when the first test asks for them.
var shared struct {
	once sync.Once
	lab  *Lab
	host *Host
	err  error
}

// projects counts the fixtures of this test binary.
var projects atomic.Int64

// Main is the TestMain of a package whose tests use New: it runs them and then
// takes away what they shared, also after an interrupt, the folders that the package
// made for itself with it.
func Main(m *testing.M, folders ...string) { os.Exit(run(m, folders)) }

func run(m *testing.M, folders []string) int {
	flag.Parse()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		closeShared(folders)
		os.Exit(1)
	}()
	code := m.Run()
	return max(code, closeShared(folders))
}

func closeShared(folders []string) int {
	for _, dir := range folders {
		if err := os.RemoveAll(dir); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "lab:", err)
		}
	}
	if shared.lab == nil {
		return 0
	}
	if err := shared.lab.Close(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

func prepareShared(options Options, host HostOptions) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	options.Out = os.Stderr
	if shared.lab, shared.err = Prepare(ctx, options); shared.err != nil {
		return
	}
	if shared.err = shared.lab.sweep(ctx); shared.err != nil {
		return
	}
	shared.host, shared.err = shared.lab.StartHost(ctx, host)
}

// leftBehind matches the names of the projects and hosts of tests, with the number
// of the process they belong to.
var leftBehind = regexp.MustCompile(`^(?:shiksha-lab-)?e2e-(\d+)\b`)

// sweep removes what tests that were killed left behind.
func (l *Lab) sweep(ctx context.Context) error {
	found, err := l.dockerLines(ctx, "ps", "--all", "--format", `{{.Names}} {{.Label "com.docker.compose.project"}}`)
	errs := []error{err}
	for _, name := range found {
		match := leftBehind.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		if pid, err := strconv.Atoi(match[1]); err != nil || alive(pid) {
			continue
		}
		if strings.HasPrefix(name, "shiksha-lab-") {
			errs = append(errs, l.removeContainers(ctx, name), os.RemoveAll(filepath.Join(stateRoot, strings.TrimPrefix(name, "shiksha-lab-"))))
			continue
		}
		errs = append(errs, l.RemoveProject(ctx, name))
	}
	return errors.Join(errs...)
}

// Fixture is what one test acts on: the shared lab and host, a project and a
// port of its own, and its own copy of the quickstart to change.
type Fixture struct {
	*Lab
	// Host is shared by the tests of the binary: do not stop it.
	Host *Host
	// Project is the name of the Compose project; all of it is removed after the
	// test.
	Project string
	// Port is where the quickstart's nginx is published, and IP the address of the
	// host that users reach it by.
	IP   string
	Port int
	// Dir is the copy of the quickstart, with the variables of the project in
	// lab.env.
	Dir string

	t *testing.T
}

// EnvFile is the name of the file with the variables of a copy of the
// quickstart.
const EnvFile = "lab.env"

// New gives a test its fixture. When the test fails, the logs and the state of
// the project's containers are kept below .lab/failures.
func New(t *testing.T) *Fixture {
	t.Helper()
	shared.once.Do(func() { prepareShared(Options{}, HostOptions{Name: fmt.Sprintf("e2e-%d", os.Getpid())}) })
	require.NoError(t, shared.err, "preparing the lab")
	port, err := ports.Free()
	require.NoError(t, err)
	f := &Fixture{
		Lab: shared.lab, Host: shared.host, IP: "127.0.0.1", Port: port, Dir: t.TempDir(), t: t,
		Project: fmt.Sprintf("e2e-%d-%d", os.Getpid(), projects.Add(1)),
	}
	require.NoError(t, f.CopyQuickstart(f.Dir, port))
	t.Cleanup(f.cleanUp)
	return f
}

// Standing is New for whoever works on a test that takes long: the project, what its
// host remembers and the folder of its files outlive the test, and the next call with
// the name finds them again. All of its ports are fixed. TearDown takes it away.
func Standing(t *testing.T, name string, port, registry int) *Fixture {
	t.Helper()
	shared.once.Do(func() { prepareShared(Options{RegistryPort: registry}, HostOptions{Name: name, KeepState: true}) })
	require.NoError(t, shared.err, "preparing the lab")
	f := &Fixture{Lab: shared.lab, Host: shared.host, IP: "127.0.0.1", Port: port, Dir: filepath.Join(shared.lab.Dir, "standing", name), Project: name, t: t}
	require.NoError(t, os.MkdirAll(f.Dir, 0o755))
	return f
}

// TearDown takes away what Standing left.
func (f *Fixture) TearDown() error {
	return errors.Join(f.RemoveProject(context.Background(), f.Project), os.RemoveAll(f.Host.StateDir), os.RemoveAll(f.Dir))
}

// In is the same fixture for a part of its test.
func (f *Fixture) In(t *testing.T) *Fixture {
	part := *f
	part.t = t
	return &part
}

func (f *Fixture) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if f.t.Failed() {
		dir := filepath.Join(f.Lab.Dir, "failures", strings.ReplaceAll(f.t.Name(), "/", "_"))
		f.t.Logf("the project's logs and state are in %s (%v)", dir, f.Dump(ctx, f.Project, dir))
	}
	if err := f.RemoveProject(ctx, f.Project); err != nil {
		f.t.Errorf("removing the project %s: %v", f.Project, err)
	}
}

// CopyQuickstart copies what a deploy of the quickstart needs into a folder, and
// writes its variables into EnvFile.
func (l *Lab) CopyQuickstart(dir string, port int) error {
	for _, name := range []string{"compose.yaml", "nginx/nginx.conf"} {
		content, err := os.ReadFile(filepath.Join(l.QuickstartDir(), name))
		if err != nil {
			return err
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	env := fmt.Sprintf("REGISTRY=%s\nPORT=%d\n", l.Registry, port)
	return os.WriteFile(filepath.Join(dir, EnvFile), []byte(env), 0o600)
}

// URL is where users reach the quickstart.
func (f *Fixture) URL() string { return fmt.Sprintf("http://%s:%d", f.IP, f.Port) }

// Args are the arguments of a verb on this fixture, more behind them.
func (f *Fixture) Args(verb string, more ...string) []string {
	args := append([]string{verb}, f.Host.Flags()...)
	args = append(args, "--project", f.Project)
	if verb == "deploy" || verb == "plan" {
		args = append(args, "--env-file", EnvFile)
	}
	return append(args, more...)
}

// Shiksha runs a verb in the fixture's folder to its end.
func (f *Fixture) Shiksha(verb string, more ...string) Result {
	f.t.Helper()
	result, err := f.Run(f.t.Context(), f.Dir, nil, f.Args(verb, more...)...)
	require.NoError(f.t, err)
	return result
}

// Deploy releases a version that was published, and fails the test unless the
// program ends with the wanted code.
func (f *Fixture) Deploy(version string, want int, more ...string) Result {
	f.t.Helper()
	result := f.Shiksha("deploy", append([]string{"--version", version}, more...)...)
	require.Equal(f.t, want, result.Exit, "deploy of %s\n%s%s", version, result.Stdout, result.Stderr)
	return result
}

// MustPublish is Publish that fails the test.
func (f *Fixture) MustPublish(release Release) string {
	f.t.Helper()
	ref, err := f.Publish(f.t.Context(), release)
	require.NoError(f.t, err)
	return ref
}

// MustUnits is Units of the running containers, that fails the test.
func (f *Fixture) MustUnits() map[string][]string {
	f.t.Helper()
	units, err := f.Units(f.t.Context(), f.Project, false)
	require.NoError(f.t, err)
	return units
}

// Load starts the load and stops it at the latest with the test.
func (f *Fixture) Load() *Load {
	f.t.Helper()
	load, err := StartLoad(f.t.Context(), f.URL())
	require.NoError(f.t, err)
	f.t.Cleanup(func() { load.probe.Stop() })
	return load
}
