package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// fakeBusyRegistry stands before a real registry and answers the first writes
// with a status of its own. It does not prove what a busy registry of a vendor
// says in its body.
type fakeBusyRegistry struct {
	address string
	status  int
	left    atomic.Int64 // how many writes are refused still; very many for all
	refused atomic.Int64
}

func startFakeBusyRegistry(t *testing.T, real string, status int, times int64) *fakeBusyRegistry {
	t.Helper()
	target, err := url.Parse("http://" + real)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	f := &fakeBusyRegistry{status: status}
	f.left.Store(times)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		write := req.Method == http.MethodPost || req.Method == http.MethodPut
		if write && f.left.Add(-1) >= 0 {
			f.refused.Add(1)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(f.status)
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	f.address = strings.Replace(server.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	return f
}

// A registry that is busy for a while is waited for; one that stays so is told.
func TestBuildAndABusyRegistry(t *testing.T) {
	whole(t)
	s := newSite(t)
	for name, c := range map[string]struct {
		status int
		times  int64
		exit   int
		says   string
	}{
		"429 and then well":     {http.StatusTooManyRequests, 12, 0, "pushed"},
		"500 and then well":     {http.StatusInternalServerError, 12, 0, "pushed"},
		"500 all the time":      {http.StatusInternalServerError, 1 << 40, 1, "hint: the registry does not take it at the moment"},
		"401 is not waited for": {http.StatusUnauthorized, 1 << 40, 1, "hint: look at registry"},
	} {
		t.Run(name, func(t *testing.T) {
			fake := startFakeBusyRegistry(t, s.Fixture.Registry, c.status, c.times)
			s.write("compose.yaml", fmt.Sprintf("services:\n  web: {build: ./web, image: \"%s/%s/web:v1\"}\n", fake.address, strings.ToLower(s.Project)))
			s.write("web/index.html", name)
			cmd, err := s.Command(t.Context(), s.Dir, nil, "build", "--builder", s.builder.Address, "--push", "--cache", "none")
			require.NoError(t, err)
			result, err := lab.Wait(cmd, nil)
			require.NoError(t, err)
			assert.Equal(t, c.exit, result.Exit, "%s%s", result.Stdout, result.Stderr)
			assert.Contains(t, result.Stdout+result.Stderr, c.says)
			assert.Positive(t, fake.refused.Load())
			t.Logf("%.1fs, %d refused", result.Took.Seconds(), fake.refused.Load())
		})
	}
}

// started runs a build whose step does not end, and waits until the step runs.
func (s *site) started(t *testing.T) (end func() lab.Result, signal func(os.Signal)) {
	t.Helper()
	mark := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(mark)
	require.NoError(t, err)
	s.write("web/Dockerfile", "FROM busybox:1\nRUN echo "+t.Name()+"; sleep 300\n")
	cmd, err := s.Command(t.Context(), s.Dir, nil, "build", "--builder", s.builder.Address, "--targets", "web", "--version", "v1", "--env-file", lab.EnvFile)
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return s.running("sleep 300") }, 30*time.Second, 50*time.Millisecond)
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

// A build that is cancelled ends in time and leaves nothing running.
func TestBuildCancelled(t *testing.T) {
	whole(t)
	s := newSite(t)
	end, signal := s.started(t)
	at := time.Now()
	signal(syscall.SIGINT)
	result := end()
	assert.Equal(t, 5, result.Exit, result.Stdout)
	assert.Less(t, time.Since(at), 7*time.Second)
	assert.Eventually(t, func() bool { return !s.running("sleep 300") }, 10*time.Second, 50*time.Millisecond, "the step goes on")
}

// A builder that dies is told as such, and the next build works.
func TestBuilderDies(t *testing.T) {
	whole(t)
	s := newSite(t)
	end, _ := s.started(t)
	require.NoError(t, s.builder.Kill())
	result := end()
	assert.Equal(t, 1, result.Exit, result.Stdout)
	assert.Contains(t, result.Stdout, "went away while it built")
	assert.Contains(t, result.Stdout, "hint: look at the builder's own log")
	require.NoError(t, s.builder.Reset(t.Context()))
	s.write("web/Dockerfile", webDockerfile)
	s.build(0, "--targets", "web")
}
