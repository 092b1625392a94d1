package kind

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
)

// logLooks are looks at logs with lines of which only the beginning was read: what is in
// it decides, what is not may have stood in the rest.
func logLooks() map[string]look {
	cutTo := func(text string) func(*testing.T) *Scene {
		return func(t *testing.T) *Scene {
			s := one("api", nil)(t)
			units := s.Units.(*fakeUnits)
			units.log, units.logCut = text, true
			return s
		}
	}
	return map[string]look{
		"logs cut":                      {"logs.whole", "logs: {services: [api], forbid: [Traceback]}", cutTo("ready"), check.Unknown, "only the beginning of 1 of 1"},
		"logs cut, as many as may be":   {"logs.whole", "logs: {services: [api], forbid: [Traceback], max: 1}", cutTo("Traceback"), check.Unknown, "only the beginning"},
		"logs cut, too many":            {"logs.forbid", "logs: {services: [api], forbid: [Traceback], max: 1}", cutTo("Traceback\nTraceback"), check.Fail, "2, the last: Traceback"},
		"logs cut, required not seen":   {"", "logs: {services: [api], require: [ready]}", cutTo("working"), check.Unknown, "only the beginning"},
		"logs cut, required seen":       {"", "logs: {services: [api], require: [ready]}", cutTo("ready"), check.Pass, "1 lines"},
		"logs cut, required and forbid": {"logs.whole", "logs: {services: [api], forbid: [Traceback], require: [ready]}", cutTo("ready"), check.Unknown, "only the beginning"},
	}
}

// A log is judged whole, however long it is: an access log grows by megabytes in a release.
func TestLogs_Long(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("x", 399)+"\n", 20_000)
	for text, want := range map[string]check.Outcome{"ready\n" + long: check.Pass, "ready\nTraceback\n" + long: check.Fail, long: check.Fail} {
		f := sees(t, "logs: {services: [it], forbid: [Traceback], require: [ready]}", fakeShell{logs: func(time.Time) string { return text }}, "a")
		assert.Equal(t, want, f.Outcome, "%+v", f)
	}
}

// What was not found is no evidence.
func TestLogs_Evidence(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"ready": 0, "Traceback": 1} {
		f := sees(t, "logs: {services: [it], forbid: [Traceback]}", fakeShell{logs: func(time.Time) string { return text }}, "a")
		assert.Len(t, f.Evidence, want, "%+v", f)
	}
}

// A unit that the release kept wrote before it what is required of it; what is forbidden is
// looked for since the release alone.
func TestLogs_OfAUnitThatWasKept(t *testing.T) {
	t.Parallel()
	const ready, both = "logs: {services: [api], require: [ready]}", "logs: {services: [api], require: [ready], forbid: [Traceback]}"
	for name, c := range map[string]struct {
		check, before, after string
		started              time.Duration // before the release
		outcome              check.Outcome
		reads                int
		hint                 string
	}{
		"it said so before":              {ready, "ready\n", "", time.Hour, check.Pass, 2, ""},
		"it said so again":               {ready, "ready\n", "ready\n", time.Hour, check.Pass, 1, ""},
		"it never said so":               {ready, "works\n", "works\n", time.Hour, check.Fail, 2, "its log may not reach back"},
		"it failed before":               {both, "Traceback\nready\n", "", time.Hour, check.Pass, 2, ""},
		"it fails since":                 {both, "ready\n", "Traceback\n", time.Hour, check.Fail, 2, ""},
		"a new one":                      {ready, "ready\n", "", -time.Second, check.Fail, 1, ""},
		"one of which that is not known": {ready, "ready\n", "", 0, check.Fail, 1, ""},
		"so far back and no farther":     {"logs: {services: [api], require: [ready], since: 1s}", "ready\n", "", time.Hour, check.Fail, 1, ""},
	} {
		reads, began := 0, time.Now().Add(-time.Minute)
		f := look{check: c.check, scene: func(t *testing.T) *Scene {
			s := one("api", nil)(t)
			if c.started != 0 {
				s.Units.(*fakeUnits).units["api"][0].StartedAt = began.Add(-c.started)
			}
			s.Began = began
			s.Shell = fakeShell{logs: func(since time.Time) string {
				if reads++; c.started > 0 && since.Before(began.Add(-c.started)) {
					return c.before + c.after
				}
				return c.after
			}}
			return s
		}}.at(t, "")
		assert.Equal(t, c.outcome, f.Outcome, "%s: %+v", name, f)
		assert.Equal(t, c.reads, reads, name)
		assert.Contains(t, f.Hint, c.hint, name)
	}
}
