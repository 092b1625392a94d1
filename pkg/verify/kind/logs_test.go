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
