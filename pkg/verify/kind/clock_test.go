package kind

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
)

// What a host says of its units is in its own time, and judged by that.
func TestContainers_ByTheClockOfTheirHost(t *testing.T) {
	t.Parallel()
	at := func(skew, ago time.Duration) time.Time { return time.Now().Add(skew - ago) }
	for name, c := range map[string]struct {
		skew    time.Duration
		change  func(u *stack.Unit, skew time.Duration)
		outcome check.Outcome
		found   string
	}{
		"ahead, calm": {time.Minute, func(u *stack.Unit, skew time.Duration) { u.StartedAt = at(skew, 40*time.Second) }, check.Pass, "3 units"},
		"ahead, just restarted": {time.Minute, func(u *stack.Unit, skew time.Duration) { u.StartedAt, u.Restarts = at(skew, time.Second), 1 },
			check.Fail, "1 restarts, the last 1s ago"},
		"behind, just restarted": {-time.Minute, func(u *stack.Unit, skew time.Duration) { u.StartedAt, u.Restarts = at(skew, time.Second), 1 },
			check.Fail, "1 restarts, the last 1s ago"},
		"behind, flipped": {-time.Minute, func(u *stack.Unit, skew time.Duration) {
			u.Probes = []stack.HealthProbe{{At: at(skew, 20*time.Second), OK: true}, {At: at(skew, 10*time.Second)}, {At: at(skew, time.Second), OK: true}}
		}, check.Fail, "one failed 10s ago"},
		"behind, killed for memory since the release": {-10 * time.Minute, func(u *stack.Unit, skew time.Duration) {
			u.StartedAt, u.OOMKilled = at(skew, 3*time.Minute), true
		}, check.Fail, "one was"},
		"ahead, killed for memory before the release": {10 * time.Minute, func(u *stack.Unit, skew time.Duration) {
			u.StartedAt, u.OOMKilled = at(skew, 8*time.Minute), true
		}, check.Warn, "one since"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := look{check: "containers: {}", scene: shop(func(units map[string][]stack.Unit, s *Scene) {
				for i := range units["api"] {
					units["api"][i].StartedAt = at(c.skew, time.Hour)
				}
				c.change(&units["api"][0], c.skew)
				s.Began, s.Ahead = time.Now().Add(-5*time.Minute), func(context.Context, string) (time.Duration, error) { return c.skew, nil }
			})}.at(t, "")
			assert.Equal(t, c.outcome, f.Outcome, "%+v", f)
			assert.Contains(t, f.Found, c.found)
		})
	}
}

// Each node of a Swarm keeps its own time, and is asked for it once.
func TestContainers_ClocksOfNodes(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	f := look{check: "containers: {replicas: {api: 3}}", scene: shop(func(units map[string][]stack.Unit, s *Scene) {
		units["api"] = append(units["api"], units["api"][1])
		units["api"][2].ID, s.Services = "api-3", nil
		for i, node := range []string{"a", "b", "b"} {
			units["api"][i].Node = node
		}
		for i := range 2 {
			units["api"][i+1].StartedAt = time.Now().Add(time.Hour - time.Minute)
		}
		s.Ahead = func(_ context.Context, unit string) (time.Duration, error) {
			asked.Add(1)
			return map[string]time.Duration{"api-2": time.Hour, "api-3": time.Hour}[unit], nil
		}
	})}.at(t, "")
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	assert.EqualValues(t, 2, asked.Load())
}

// Without the host's time nothing is known of when something was.
func TestContainers_AClockThatIsNotTold(t *testing.T) {
	t.Parallel()
	silent := func(context.Context, string) (time.Duration, error) { return 0, errors.New("no clock") }
	f := look{check: "containers: {}", scene: shop(func(_ map[string][]stack.Unit, s *Scene) { s.Ahead = silent })}.at(t, "")
	assert.Equal(t, check.Unknown, f.Outcome, "%+v", f)
	assert.Contains(t, f.Found, "no clock")
	f = look{check: "logs: {services: [api], forbid: [x]}", scene: func(t *testing.T) *Scene {
		s := one("api", nil)(t)
		s.Began, s.Ahead = time.Now(), silent
		return s
	}}.at(t, "")
	assert.Equal(t, check.Unknown, f.Outcome, "%+v", f)
}

// A log's lines have the time of their host.
func TestLogs_ByTheClockOfTheirHost(t *testing.T) {
	t.Parallel()
	for skew, began := range map[time.Duration]time.Duration{time.Minute: 5 * time.Minute, -time.Hour: 5 * time.Minute, 0: 0} {
		for text, ago := range map[string]time.Duration{"": began, ", since: 2m": 2 * time.Minute} {
			var since time.Time
			shell := fakeShell{logs: func(at time.Time) string { since = at; return "ready" }}
			f := look{check: "logs: {services: [api], forbid: [x]" + text + "}", scene: func(t *testing.T) *Scene {
				s := one("api", nil)(t)
				s.Shell = shell
				if began > 0 {
					s.Began = time.Now().Add(-began)
				}
				s.Ahead = func(context.Context, string) (time.Duration, error) { return skew, nil }
				return s
			}}.at(t, "")
			require.Equal(t, check.Pass, f.Outcome, "%+v", f)
			if ago == 0 {
				assert.True(t, since.IsZero(), "a release that never was began at no time")
				continue
			}
			assert.WithinDuration(t, time.Now().Add(skew-ago), since, 10*time.Second)
		}
	}
}

// When an alert began Prometheus says in the time of its host.
func TestPrometheus_ByTheClockOfItsHost(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]check.Outcome{0: check.Warn, -10 * time.Minute: check.Fail} {
		active := time.Now().Add(-8 * time.Minute).UTC().Format(time.RFC3339Nano)
		s := fakeMonitor(map[string]string{
			"/-/ready": "ready", "/metrics": "prometheus_config_last_reload_successful 1\n", "/api/v1/rules": `{"data":{"groups":[]}}`,
			"/api/v1/alerts": fmt.Sprintf(`{"data":{"alerts":[{"state":"firing","activeAt":%q,"labels":{"alertname":"ApiDown","severity":"critical"}}]}}`, active),
		})(t)
		at, err := url.Parse(s.URL)
		require.NoError(t, err)
		port, err := strconv.Atoi(at.Port())
		require.NoError(t, err)
		s.Units = one("prometheus", nil)(t).Units
		s.Began = time.Now().Add(-5 * time.Minute)
		s.Ahead = func(context.Context, string) (time.Duration, error) { return skew, nil }
		for where, p := range map[string]Monitor{"a unit": {Server: Server{Service: "prometheus", Port: port}}, "an address": {URL: s.URL}} {
			looking := s.Begin(t.Context(), "it")
			(&Prometheus{Monitor: p}).Look(looking)
			wanted := want
			if where == "an address" {
				wanted = check.Warn // whose clock it has is not known
			}
			assert.Equal(t, wanted, looking.Finding.Outcome, "%s, %s: %+v", where, skew, looking.Finding)
		}
	}
}
