package kind

import (
	"strings"
	"testing"

	"github.com/shiksha/actions/pkg/check"
)

// logLooks are looks at logs of which only the end was read: what is in it decides, what
// is not may have stood before it.
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
		"logs cut":                      {"logs.whole", "logs: {services: [api], forbid: [Traceback]}", cutTo("ready"), check.Unknown, "only the last 0 KiB of it"},
		"logs cut, as many as may be":   {"logs.whole", "logs: {services: [api], forbid: [Traceback], max: 1}", cutTo("Traceback"), check.Unknown, "only the last"},
		"logs cut, too many":            {"logs.forbid", "logs: {services: [api], forbid: [Traceback], max: 1}", cutTo("Traceback\nTraceback"), check.Fail, "2, the last: Traceback"},
		"logs cut, required not seen":   {"", "logs: {services: [api], require: [ready]}", cutTo("working"), check.Unknown, "only the last"},
		"logs cut, required seen":       {"", "logs: {services: [api], require: [ready]}", cutTo("ready"), check.Pass, "1 lines"},
		"logs cut, required and forbid": {"logs.whole", "logs: {services: [api], forbid: [Traceback], require: [ready]}", cutTo("ready"), check.Unknown, "only the last"},
		"logs of 3 KiB":                 {"logs.whole", "logs: {services: [api], forbid: [Traceback]}", cutTo(strings.Repeat("x", 3<<10)), check.Unknown, "only the last 3 KiB of it"},
	}
}
