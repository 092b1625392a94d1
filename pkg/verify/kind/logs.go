package kind

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/stack"
)

// Logs looks at what units wrote since the release began.
type Logs struct {
	Services []string  `yaml:"services" jsonschema:"required" help:"Services whose units' logs are read."`
	Forbid   []Pattern `yaml:"forbid" help:"Regular expressions that no line may match."`
	Max      int       `yaml:"max" help:"How many lines may match forbid. Default: 0."`
	Require  []Pattern `yaml:"require" help:"Regular expressions that a line of every unit has to match. Of a unit that is older than the release any line since the unit began counts, unless since says otherwise."`
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
			since := l.since(s, there)
			recent, err := l.read(s, u, since)
			all := recent
			kept := l.Since == 0 && !u.StartedAt.IsZero() && u.StartedAt.Before(since)
			if err == nil && kept && slices.Contains(recent.required, false) {
				// It said so before the release. A first line may be older than what the engine
				// calls the start.
				all, err = l.read(s, u, u.StartedAt.Add(-time.Second))
			}
			if err != nil {
				s.blind(err, "the logging driver of the service may not be readable, or its log is too long to be read in time (the engine reads it from its beginning): give the service "+
					`logging: {options: {max-size: 10m, max-file: "3"}}, or this check a longer timeout`)
				continue
			}
			l.forbidden(s, recent)
			l.required(s, all, kept)
			lines += all.lines
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

// read reads the log of a unit since a moment.
func (l *Logs) read(s *Sight, u stack.Unit, since time.Time) (*tally, error) {
	t := &tally{logs: l, forbidden: make([]int, len(l.Forbid)), last: make([]string, len(l.Forbid)), required: make([]bool, len(l.Require))}
	return t, s.Shell.Logs(s.Ctx, u.ID, since, t.add)
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

// whole tells whether all lines were read to their end. What decides is found in any part of
// a log; for the rest they have to be.
func (t *tally) whole(s *Sight) bool {
	return s.know("logs.whole", t.cut == 0, "whole lines", fmt.Sprintf("only the beginning of %d of %d", t.cut, t.lines), "a line of more than 1 MiB is not read to its end")
}

// forbidden judges what no line may match.
func (l *Logs) forbidden(s *Sight, t *tally) {
	for i, pattern := range l.Forbid {
		if t.forbidden[i] > 0 {
			s.saw(pattern.String(), t.last[i])
		}
		if s.need("logs.forbid", t.forbidden[i] <= l.Max, fmt.Sprintf("at most %d lines that match %s", l.Max, pattern), fmt.Sprintf("%d, the last: %s", t.forbidden[i], t.last[i])) {
			t.whole(s)
		}
	}
}

// required judges what a line has to match.
func (l *Logs) required(s *Sight, t *tally, kept bool) {
	hint := ""
	if kept {
		hint = "the release has not replaced this unit, and its log may not reach back to its start (max-size): require a line that it writes again and again"
	}
	for i, pattern := range l.Require {
		if !t.required[i] && !t.whole(s) {
			continue
		}
		s.need("logs.require", t.required[i], "a line that matches "+pattern.String(), fmt.Sprintf("none in %d lines", t.lines), hint)
	}
}
