package swarm

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
)

// A node that fails in the middle of a rollout leaves a release that ends by itself,
// says how in its exit code and its record, and can be released over.
func TestANodeFailsInARollout(t *testing.T) {
	if !whole() {
		t.Skip("set SHIKSHA_E2E_SWARM=1 (make e2e-swarm)")
	}
	f := lab.New(t)
	swarm := swarmlab.Shared(t, f)
	_, err := swarm.Manager.Docker(t.Context(), "node", "update", "--label-add", "quickstart.data=true", swarm.Manager.ID)
	require.NoError(t, err)
	s := subject{Fixture: swarm.On(t, f), engine: "swarm"}
	// So slow to become healthy that there is time to fail in between.
	for _, version := range []string{"n1", "n2", "n3"} {
		f.MustPublish(lab.Release{Version: version, WarmUp: "4s"})
	}
	s.release("n1", 0)
	for _, c := range []struct {
		name, before, version string
		fail, mend            func(context.Context) error
	}{
		{"the worker is stopped", "n1", "n2", swarm.Worker.Stop, swarm.Worker.Start},
		{"the manager's engine is restarted", "n2", "n3", swarm.Manager.Restart, func(context.Context) error { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			began := time.Now()
			ended := s.rolling(t, swarm, c.version)
			require.NoError(t, c.fail(t.Context()))
			t.Logf("failed %s after the start", time.Since(began).Round(time.Second))
			result := <-ended
			t.Logf("ended with %d after %s", result.Exit, time.Since(began).Round(time.Second))
			serves, outcome := c.version, "verified "+c.version
			switch result.Exit {
			case 0:
			case 1:
				serves, outcome = c.before, "failed "+c.version
			case 5:
				outcome = "interrupted " + c.version
			default:
				t.Fatalf("exit %d says nothing about who serves\n%s%s", result.Exit, result.Stdout, result.Stderr)
			}
			assert.Equal(t, outcome, outcomes(t, s)[0], result.Stderr)
			if result.Exit != 5 {
				s.serve(t, serves)
			}
			require.NoError(t, c.mend(t.Context()))
			require.NoError(t, swarm.AwaitNodes(t.Context(), "ready", "ready"))
			// An engine that was restarted may not know a network any more that its tasks have: such a task
			// is ill, and the release goes back. That is Swarm's, and does not come twice.
			if again := s.Shiksha("deploy", "--version", c.version, "--engine", s.engine); again.Exit != 0 {
				require.Contains(t, again.Stderr, "unknown network", again.Stdout)
				s.release(c.version, 0)
			}
			s.serve(t, c.version)
		})
	}
}

// rolling begins a release and gives its end, once Swarm has started a new task of the
// API. An engine that was restarted takes more than 20 seconds until it starts tasks again.
func (s subject) rolling(t *testing.T, swarm *swarmlab.Swarm, version string) <-chan lab.Result {
	t.Helper()
	before := s.started(t, swarm)
	cmd, err := s.Command(t.Context(), s.Dir, nil, s.Args("deploy", "--version", version, "--engine", s.engine, "--wait-timeout", "1m")...)
	require.NoError(t, err)
	ended := make(chan lab.Result, 1)
	go func() {
		result, err := lab.Wait(cmd, nil)
		if err != nil {
			result.Exit = -1
		}
		ended <- result
	}()
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(s.started(t, swarm), func(id string) bool { return !slices.Contains(before, id) })
	}, time.Minute, 100*time.Millisecond, "no new task was started")
	return ended
}

// started are the tasks of the API that have begun to start.
func (s subject) started(t *testing.T, swarm *swarmlab.Swarm) (ids []string) {
	tasks, err := swarm.Manager.Docker(t.Context(), "service", "ps", "--no-trunc", "--format", "{{.ID}} {{.CurrentState}}", s.Project+"_api")
	require.NoError(t, err)
	for line := range strings.Lines(tasks) {
		id, state, _ := strings.Cut(line, " ")
		if strings.HasPrefix(state, "Starting") || strings.HasPrefix(state, "Running") {
			ids = append(ids, id)
		}
	}
	return ids
}

// serve waits until users are answered by a version, and by no other for a while.
func (s subject) serve(t *testing.T, version string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for range 5 {
			assert.Equal(c, version, lab.Serving(t.Context(), s.URL()))
		}
	}, 30*time.Second, 200*time.Millisecond)
}
