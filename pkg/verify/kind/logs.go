package kind

import (
	"errors"
	"fmt"
	"time"
)

// Logs looks at what units wrote since the release began.
type Logs struct {
	Services []string  `yaml:"services" jsonschema:"required" help:"Services whose units' logs are read."`
	Forbid   []Pattern `yaml:"forbid" help:"Regular expressions that no line may match."`
	Max      int       `yaml:"max" help:"How many lines may match forbid. Default: 0."`
	Require  []Pattern `yaml:"require" help:"Regular expressions that a line of every unit has to match."`
	Since    Duration  `yaml:"since" jsonschema:"exclusiveMinimum=0" help:"How far to look back. Default: to the beginning of the release or of the unit, whichever is later. A log that is too long to be read within the timeout of the check is unknown: the engine reads it from its beginning, whatever this says."`
}

// Manner is how it is looked at: the log remembers, so one look is enough. It may be large.
func (l *Logs) Manner() Manner {
	return Manner{Place: OnHost, Interval: time.Second, Passes: 1, Long: true}
}

// Check tells what cannot be looked for.
func (l *Logs) Check() error {
	switch {
	case len(l.Services) == 0:
		return errors.New("needs at least one service in services")
	case len(l.Forbid)+len(l.Require) == 0:
		return errors.New("needs forbid or require")
	}
	return nil
}

// Look reads the logs of every unit.
func (l *Logs) Look(s *Sight) {
	lines := 0
	for _, service := range l.Services {
		units, err := s.running(s.Ctx, service)
		if err != nil {
			s.blind(err)
			continue
		}
		for _, u := range units {
			s.at(u.Name)
			there, err := s.clock(s.Ctx, u)
			if err != nil {
				s.blind(err)
				continue
			}
			tally := l.tally()
			if err := s.Shell.Logs(s.Ctx, u.ID, l.since(s, there), tally.add); err != nil {
				s.blind(err, "the logging driver of the service may not be readable, or its log is too long to be read in time (the engine reads it from its beginning): give the service "+
					`logging: {options: {max-size: 10m, max-file: "3"}}, or this check a longer timeout`)
				continue
			}
			l.compare(s, tally)
			lines += tally.lines
		}
	}
	s.settle("pass", "no line that must not be there", fmt.Sprintf("%d lines read", lines), "")
}

// since is from when on lines are read, by the clock of the unit's host.
func (l *Logs) since(s *Sight, there clock) time.Time {
	if l.Since > 0 {
		return there.now().Add(-time.Duration(l.Since))
	}
	return there.of(s.Began)
}

// tally is what is kept of a log while it goes by.
type tally struct {
	logs       *Logs
	lines, cut int
	// forbidden are by pattern how many lines match it, with the last of them.
	forbidden []int
	last      []string
	required  []bool
}

func (l *Logs) tally() *tally {
	return &tally{logs: l, forbidden: make([]int, len(l.Forbid)), last: make([]string, len(l.Forbid)), required: make([]bool, len(l.Require))}
}

func (t *tally) add(line string, cut bool) {
	t.lines++
	if cut {
		t.cut++
	}
	for i, pattern := range t.logs.Forbid {
		if pattern.MatchString(line) {
			t.forbidden[i]++
			t.last[i] = line
		}
	}
	for i, pattern := range t.logs.Require {
		t.required[i] = t.required[i] || pattern.MatchString(line)
	}
}

// compare judges what was read. What decides is found in any part of a log; for the rest
// all lines have to have been read to their end.
func (l *Logs) compare(s *Sight, t *tally) {
	whole := func() bool {
		return s.know("logs.whole", t.cut == 0, "whole lines", fmt.Sprintf("only the beginning of %d of %d", t.cut, t.lines), "a line of more than 1 MiB is not read to its end")
	}
	for i, pattern := range l.Forbid {
		if t.forbidden[i] > 0 {
			s.saw(pattern.String(), t.last[i])
		}
		if s.need("logs.forbid", t.forbidden[i] <= l.Max, fmt.Sprintf("at most %d lines that match %s", l.Max, pattern), fmt.Sprintf("%d, the last: %s", t.forbidden[i], t.last[i])) {
			whole()
		}
	}
	for i, pattern := range l.Require {
		if !t.required[i] && !whole() {
			continue
		}
		s.need("logs.require", t.required[i], "a line that matches "+pattern.String(), fmt.Sprintf("none in %d lines", t.lines))
	}
}
