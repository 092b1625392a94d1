package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// trapStack is a small stack of stock nginx: a gateway and one service behind it
// that says its version in X-Release. It becomes healthy WARMUP seconds after its
// start and needs no database, so a test that is not about the quickstart's own
// services is quicker with it.
const trapStack = `
services:
  gate:
    image: nginx:1.22
    pull_policy: never
    ports: ["${PORT}:8080"]
    volumes: ["./gate.conf:/etc/nginx/nginx.conf:ro"]
    networks: [edge]
    depends_on:
      app: { condition: service_healthy }
    deploy: { update_config: { monitor: 0s } }
    x-shiksha:
      reload: nginx
  app: &app
    image: nginx:1.22
    pull_policy: never
    command: [sh, -c, "sleep ${WARMUP:-0} && touch /run/ready & exec nginx -g 'daemon off;'"]
    environment: { VERSION: "${VERSION}" }
    configs: [{ source: site, target: /etc/nginx/nginx.conf }]
    healthcheck:
      test: [CMD, test, -e, /run/ready]
      interval: 1s
      timeout: 5s
      retries: 20
      start_period: 120s
    networks: [edge]
    deploy:
      replicas: 3
      update_config: { order: start-first, parallelism: 3, monitor: 1s }
    x-shiksha: &behind
      gateway: gate
      port: 8000
networks:
  edge: {}
configs:
  site:
    content: |
      pid /run/nginx.pid;
      events {}
      http {
        access_log off;
        server { listen 8000; location / { add_header X-Release ${VERSION}; return 200 "ok"; } }
      }
`

// trapGate is the gateway's configuration: upstream app, like the quickstart's.
const trapGate = `
worker_processes 2;
events { worker_connections 1024; }
http {
  access_log off;
  upstream app { server app:8000 max_fails=0; keepalive 16; }
  server {
    listen 8080;
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`

// trapMini gives a fixture with trapStack in the place of the quickstart.
func trapMini(t *testing.T) *lab.Fixture {
	t.Helper()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", trapStack)
	trapWrite(t, f, "gate.conf", trapGate)
	return f
}

// trapQuick gives a fixture with the quickstart whose monitor times are short, and
// whose API may take its time where the machine is busy.
func trapQuick(t *testing.T, versions ...lab.Release) *lab.Fixture {
	t.Helper()
	f := lab.New(t)
	text, err := os.ReadFile(filepath.Join(f.Dir, "compose.yaml"))
	require.NoError(t, err)
	patient := regexp.MustCompile(`start_period: \d+s`).ReplaceAllString(string(text), "start_period: 120s")
	require.NotEqual(t, string(text), patient)
	trapWrite(t, f, "compose.yaml", patient)
	trapEdit(t, f, "compose.yaml", "monitor: 5s", "monitor: 1s")
	atOnce(t, f)
	for _, v := range versions {
		f.MustPublish(v)
	}
	return f
}

func trapWrite(t *testing.T, f *lab.Fixture, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(f.Dir, name), []byte(text), 0o644))
}

// trapEdit replaces text of a file in the fixture's folder; the text must be there.
func trapEdit(t *testing.T, f *lab.Fixture, name string, pairs ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Dir, name))
	require.NoError(t, err)
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(t, string(text), pairs[i], "%s has what the test edits", name)
		text = []byte(strings.Replace(string(text), pairs[i], pairs[i+1], 1))
	}
	trapWrite(t, f, name, string(text))
}

// trapVariables adds lines to the fixture's env file; later ones win.
func trapVariables(t *testing.T, f *lab.Fixture, lines ...string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(f.Dir, lab.EnvFile), os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString(strings.Join(lines, "\n") + "\n")
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func trapDocker(t *testing.T, f *lab.Fixture, args ...string) string {
	t.Helper()
	out, err := f.Docker(t.Context(), args...)
	require.NoError(t, err)
	return out
}

// trapRun is a deploy under way whose lines can be waited for.
type trapRun struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error

	mu    sync.Mutex
	lines []string
}

// trapBegin starts a verb with debug lines (they name each step as it begins).
func trapBegin(t *testing.T, f *lab.Fixture, env []string, args ...string) *trapRun {
	t.Helper()
	cmd, err := f.Command(t.Context(), f.Dir, append([]string{"RUNNER_DEBUG=1"}, env...), args...)
	require.NoError(t, err)
	r := &trapRun{cmd: cmd, ended: make(chan struct{})}
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(t, cmd.Start())
	go func() {
		for lines := bufio.NewScanner(read); lines.Scan(); {
			r.mu.Lock()
			r.lines = append(r.lines, lines.Text())
			r.mu.Unlock()
		}
	}()
	go func() {
		r.err = cmd.Wait()
		_ = write.Close()
		close(r.ended)
	}()
	return r
}

// trapDeploy begins a deploy of a version.
func trapDeploy(t *testing.T, f *lab.Fixture, version string, more ...string) *trapRun {
	t.Helper()
	return trapBegin(t, f, nil, f.Args("deploy", append([]string{"--version", version}, more...)...)...)
}

func (r *trapRun) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// await waits until a line with the text was printed.
func (r *trapRun) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for !strings.Contains(r.output(), text) {
		select {
		case <-r.ended:
			// Its last lines may have come with its end.
			require.Contains(t, r.output(), text, "it ended without that line")
		case <-time.After(5 * time.Millisecond):
			require.True(t, time.Now().Before(deadline), "no line %q within four minutes in\n%s", text, r.output())
		}
	}
}

// exit waits for the end and asserts the exit code.
func (r *trapRun) exit(t *testing.T, want int) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(8 * time.Minute):
		require.Fail(t, "it does not end", r.output())
	}
	require.Equal(t, want, r.cmd.ProcessState.ExitCode(), "exit code (%v)\n%s", r.err, r.output())
}

// trapEvents records what the engine does to the containers of a service ("" for
// all), as "create <id>". Looks inside and health reports are left out.
type trapEvents struct {
	mu    sync.Mutex
	lines []string
}

// trapWatch records until the test ends.
func trapWatch(t *testing.T, f *lab.Fixture, service string) *trapEvents {
	t.Helper()
	time.Sleep(1100 * time.Millisecond) // what happened in this second, before the watch, is not meant
	args := []string{
		"--host", "unix://" + lab.Socket, "events", "--since", fmt.Sprint(time.Now().Unix()), "--format", "{{.Action}} {{.ID}}",
		"--filter", "type=container", "--filter", "label=com.docker.compose.project=" + f.Project,
	}
	if service != "" {
		args = append(args, "--filter", "label=com.docker.compose.service="+service)
	}
	for _, event := range []string{"create", "start", "kill", "die", "stop", "restart", "rename", "destroy"} {
		args = append(args, "--filter", "event="+event)
	}
	cmd := exec.CommandContext(t.Context(), "docker", args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w := &trapEvents{}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.mu.Lock()
			w.lines = append(w.lines, lines.Text())
			w.mu.Unlock()
		}
		_ = cmd.Wait()
	}()
	return w
}

// all gives the events so far, once no more come.
func (w *trapEvents) all() []string {
	for n := -1; ; {
		w.mu.Lock()
		lines := append([]string(nil), w.lines...)
		w.mu.Unlock()
		if len(lines) == n {
			return lines
		}
		n = len(lines)
		time.Sleep(500 * time.Millisecond)
	}
}

// trapPins gives the addresses that are pinned for a service in a gateway, as the
// engine's own copy of its /etc/hosts has them; false where it is being written.
func trapPins(hostsPath, service string) (addrs []string, whole bool) {
	text, err := os.ReadFile(hostsPath)
	if err != nil || !strings.Contains(string(text), "localhost") {
		return nil, false
	}
	for line := range strings.Lines(string(text)) {
		if entry, ok := strings.CutSuffix(strings.TrimSpace(line), "# shiksha:"+service); ok {
			addrs = append(addrs, strings.Fields(entry)[0])
		}
	}
	return addrs, true
}

func trapHostsPath(t *testing.T, f *lab.Fixture, unit string) string {
	t.Helper()
	return trapDocker(t, f, "inspect", "--format", "{{.HostsPath}}", unit)
}

// trapProbe is a steady load on some paths of the fixture's gateway.
func trapProbe(t *testing.T, f *lab.Fixture, paths ...string) *probe.Probe {
	t.Helper()
	var kinds []probe.Kind
	for i, path := range paths {
		kinds = append(kinds,
			probe.Kind{Name: fmt.Sprintf("kept-%d", i), Weight: 1, Path: path},
			probe.Kind{Name: fmt.Sprintf("fresh-%d", i), Weight: 1, Path: path, Fresh: true})
	}
	p, err := probe.Start(context.WithoutCancel(t.Context()), probe.Config{URL: f.URL(), Rate: 60, Timeout: 20 * time.Second, Kinds: kinds})
	require.NoError(t, err)
	t.Cleanup(func() { p.Stop() })
	return p
}

// trapLossless asserts that nothing failed.
func trapLossless(t *testing.T, r probe.Report) {
	t.Helper()
	assert.Zero(t, r.Failed, "failed requests: %v %v", r.Failures, r.Samples)
	assert.Greater(t, r.Requests, 100, "the load ran")
}

// trapAddresses gives the addresses that a name has for a unit.
func trapAddresses(t *testing.T, f *lab.Fixture, unit, name string) []string {
	t.Helper()
	seen := map[string]bool{}
	var addrs []string
	for line := range strings.Lines(trapDocker(t, f, "exec", unit, "getent", "ahostsv4", name)) {
		if addr := strings.Fields(line)[0]; !seen[addr] {
			seen[addr] = true
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
