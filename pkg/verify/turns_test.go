package verify

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/verify/kind"
)

// Each of many checks has its time, whenever its turn comes.
func TestTurns_ManyChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shell, begun := &fakeShell{}, time.Now()
		took := slices.Repeat([]string{"1250ms"}, 200)
		report := run(t.Context(), &kind.Scene{Units: shell, Shell: shell}, commands(t, took...), func(check.Result) {})
		assert.Equal(t, len(took), report.Count(check.Pass))
		assert.Equal(t, 34*1250*time.Millisecond, time.Since(begun))
	})
}

// Once a check that decides has not passed, who goes back for that waits for no turn more.
func TestTurns_NotAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shell, begun := &fakeShell{}, time.Now()
		report := run(t.Context(), &kind.Scene{Units: shell, Shell: shell}, commands(t, slices.Repeat([]string{"1h"}, 60)...), func(check.Result) {})
		assert.Equal(t, 60, report.Count(check.Unknown))
		assert.Equal(t, 39*time.Second, time.Since(begun), "30 s for the first six, then 1 s for each six")
	})
}

// queued is one check whose turn comes only while nobody else holds the only one, which
// others do from one moment to another.
func queued(ctx context.Context, scene *kind.Scene, c kind.Check, from, to time.Duration) check.Result {
	looks := make(chan struct{}, 1)
	hold := func() { looks <- struct{}{} }
	if from == 0 {
		hold()
	}
	go func() {
		time.Sleep(from)
		if from > 0 {
			hold()
		}
		time.Sleep(to - from)
		<-looks
	}()
	return patient{scene, &c, contractOf(&c, scene.Window), looks, &atomic.Bool{}}.result(ctx)
}

func TestTurns_WaitingIsNotCounted(t *testing.T) {
	t.Parallel()
	const look = 250 * time.Millisecond
	for name, c := range map[string]struct {
		check    string
		up       func(time.Duration) bool
		from, to time.Duration
		outcome  check.Outcome
		took     time.Duration
		found    string
	}{
		"one that has passed once is looked at again":   {"", always, 500 * time.Millisecond, 4 * time.Minute, check.Pass, 4*time.Minute + time.Second + 2*look, "connected"},
		"its window begins with its first look":         {"", always, 0, time.Minute, check.Pass, 70*time.Second + look, "connected"},
		"who goes in that window does not pass":         {"", but(63*time.Second, time.Hour), 0, time.Minute, check.Fail, 99*time.Second + 3*look, "refused"},
		"who comes late has its time all the same":      {"", from(80 * time.Second), 0, time.Minute, check.Pass, 90*time.Second + look, "connected"},
		"who never comes has its time and no more":      {"timeout: 5s\n  window: 0s", never, 0, time.Minute, check.Fail, 65 * time.Second, "refused"},
		"one that waits between two looks, just so":     {"timeout: 5s\n  window: 0s", never, 1500 * time.Millisecond, time.Minute, check.Fail, 63 * time.Second, "refused"},
		"one look may take all the time that is left":   {"timeout: 5s\n  window: 0s\n  passes: 1", always, 0, time.Minute, check.Pass, time.Minute + look, "connected"},
		"the time for all checks ends the wait, though": {"", always, 0, time.Hour, check.Unknown, 5 * time.Minute, "the time for all checks was up"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				service := &fakeService{begun: time.Now(), up: c.up}
				checks := reads(t, "- name: it\n  tcp: {address: 'shop:80'}\n  "+c.check)
				r := queued(ctx, &kind.Scene{Dial: service.Dial, Window: 10 * time.Second}, checks[0], c.from, c.to)
				assert.Equal(t, c.outcome, r.Outcome, "%+v", r)
				assert.Contains(t, r.Found, c.found)
				assert.Equal(t, c.took, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
				time.Sleep(time.Hour)
			})
		})
	}
}

// A look that has waited may take what its check has left, not only a second.
func TestTurns_ALookHasItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shell := &fakeShell{}
		checks := reads(t, "- {name: it, timeout: 7s, exec: {service: api, command: [forever]}}")
		r := queued(t.Context(), &kind.Scene{Units: shell, Shell: shell}, checks[0], 0, time.Minute)
		assert.Contains(t, r.Found, "no answer within 7s", "%+v", r)
		assert.Equal(t, 67*time.Second, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
	})
}
