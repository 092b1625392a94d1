package swarm

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
)

// running is a release under way.
type running struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
}

// Write keeps what the program prints.
func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// start begins a release and waits until the program is at a step of a service.
func (s subject) start(t *testing.T, version, step string) *running {
	t.Helper()
	args := s.Args("deploy", "--version", version, "--engine", s.engine)
	cmd, err := s.Command(t.Context(), s.Dir, []string{"RUNNER_DEBUG=1"}, args...)
	require.NoError(t, err)
	r := &running{cmd: cmd}
	cmd.Stdout, cmd.Stderr = r, r
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(r.said(), step) }, time.Minute, 50*time.Millisecond, "waiting for %s", step)
	return r
}

// end waits for the program and gives its exit code.
func (r *running) end(t *testing.T) int {
	t.Helper()
	err := r.cmd.Wait()
	t.Logf("%s", r.said())
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

// The program ends while Swarm goes on, and the gateway is where the program is not.
func TestEndings(t *testing.T) {
	if !whole() {
		t.Skip("set SHIKSHA_E2E_SWARM=1 (make e2e-swarm)")
	}
	f := lab.New(t)
	swarm := swarmlab.Shared(t, f)
	_, err := swarm.Manager.Docker(t.Context(), "node", "update", "--label-add", "quickstart.data=true", swarm.Manager.ID)
	require.NoError(t, err)
	for _, version := range []string{"f1", "f2"} {
		f.MustPublish(lab.Release{Version: version, WarmUp: "1s"})
	}
	s := subject{Fixture: swarm.On(t, f), engine: "swarm"}
	s.release("f1", 0)
	stories := []struct {
		name string
		run  func(*testing.T, subject, *swarmlab.Swarm)
	}{
		{"the program is killed", killed}, {"the program is told to end", told}, {"the gateway is on the worker", gatewayAway},
	}
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) { story.run(t, s.in(t), swarm) })
	}
}

// killed: Swarm goes on by itself, and the gateway is not left on tasks that are gone.
func killed(t *testing.T, s subject, _ *swarmlab.Swarm) {
	r := s.start(t, "f2", "step: watch")
	require.NoError(t, r.cmd.Process.Kill())
	_ = r.cmd.Wait()
	assert.Eventually(t, func() bool { return lab.Serving(t.Context(), s.URL()) == "f2" }, 40*time.Second, 200*time.Millisecond, "the gateway follows")
	time.Sleep(2 * time.Second)
	assert.Equal(t, "f2", lab.Serving(t.Context(), s.URL()))
	s.release("f2", 0)
	assert.Equal(t, "verified f2", outcomes(t, s)[0])
}

func told(t *testing.T, s subject, _ *swarmlab.Swarm) {
	r := s.start(t, "f1", "step: watch")
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
	began := time.Now()
	assert.Equal(t, 5, r.end(t))
	assert.Less(t, time.Since(began), 7*time.Second)
	assert.NotEmpty(t, lab.Serving(t.Context(), s.URL()))
	assert.Equal(t, "interrupted f1", outcomes(t, s)[0])
	s.release("f1", 0)
	assert.Equal(t, "f1", lab.Serving(t.Context(), s.URL()))
}

// gatewayAway has the gateway on the worker: it is switched through that node's own
// connection, and verify looks into it.
func gatewayAway(t *testing.T, s subject, swarm *swarmlab.Swarm) {
	s.write(t, "away.yaml", "services: {nginx: {deploy: {placement: {constraints: !override [\"node.role==worker\"]}}}}\n")
	s.IP = swarm.Worker.Address
	files := []string{"--compose-file", "compose.yaml,away.yaml"}
	s.release("f1", 0, files...)
	s.lossless(t, func() { s.release("f2", 0, files...) })
	assert.Equal(t, "f2", lab.Serving(t.Context(), s.URL()))
}
