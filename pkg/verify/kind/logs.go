package kind

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Logs looks at what units wrote since the release began.
type Logs struct {
	Services []string  `yaml:"services" jsonschema:"required" help:"Services whose units' logs are read."`
	Forbid   []Pattern `yaml:"forbid" help:"Regular expressions that no line may match."`
	Max      int       `yaml:"max" help:"How many lines may match forbid all the same. Default: 0."`
	Require  []Pattern `yaml:"require" help:"Regular expressions that a line of every unit has to match."`
	Since    Duration  `yaml:"since" jsonschema:"exclusiveMinimum=0" help:"How far to look back. Default: to the beginning of the release or of the unit, whichever is later."`
}

// Manner is how it is looked at: the log remembers, so one look is enough.
func (l *Logs) Manner() Manner { return Manner{Place: OnHost, Interval: time.Second, Passes: 1} }

// Check tells what cannot be looked for.
func (l *Logs) Check() error {
	if len(l.Forbid)+len(l.Require) == 0 {
		return errors.New("needs forbid or require")
	}
	return nil
}

// Look reads the logs of every unit.
func (l *Logs) Look(s *Sight) {
	since := s.Began
	if l.Since > 0 {
		since = time.Now().Add(-time.Duration(l.Since))
	}
	lines := 0
	for _, service := range l.Services {
		units, err := s.running(s.Ctx, service)
		if err != nil {
			s.blind(err)
			continue
		}
		for _, u := range units {
			s.at(u.Name)
			text, cut, err := s.Shell.Logs(s.Ctx, u.ID, since)
			if err != nil {
				s.blind(err, "the logging driver of the service may not be readable")
				continue
			}
			beginning := func() bool {
				return s.know("logs.whole", !cut, "the whole log", fmt.Sprintf("only the last %d KiB of it", len(text)>>10), "since: 10m looks at less")
			}
			lines += l.compare(s, strings.Split(strings.TrimSpace(text), "\n"), beginning)
		}
	}
	s.settle("pass", "no line that must not be there", fmt.Sprintf("%d lines read", lines), "")
}

// compare judges what was read. What decides is found in any part of a log; for the rest
// the beginning has to have been read too.
func (l *Logs) compare(s *Sight, lines []string, beginning func() bool) int {
	for _, pattern := range l.Forbid {
		var hits []string
		for _, line := range lines {
			if pattern.MatchString(line) {
				hits = append(hits, line)
			}
		}
		if len(hits) > 0 {
			s.saw(pattern.String(), hits[len(hits)-1])
		}
		if s.need("logs.forbid", len(hits) <= l.Max, fmt.Sprintf("at most %d lines that match %s", l.Max, pattern), fmt.Sprintf("%d, the last: %s", len(hits), last(hits))) {
			beginning()
		}
	}
	for _, pattern := range l.Require {
		found := false
		for _, line := range lines {
			found = found || pattern.MatchString(line)
		}
		if !found && !beginning() {
			continue
		}
		s.need("logs.require", found, "a line that matches "+pattern.String(), fmt.Sprintf("none in %d lines", len(lines)))
	}
	return len(lines)
}

func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}
