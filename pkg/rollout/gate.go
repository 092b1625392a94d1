package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	// pollEvery is how often a unit is looked at while it is gated, pollSoon how
	// often in the first eagerFor: most units are well within seconds, and each
	// look that comes late is added to the release.
	pollEvery, pollSoon = 250 * time.Millisecond, 80 * time.Millisecond
	eagerFor            = 8 * time.Second
	// tailLines of a failed unit's log go into the report.
	tailLines = 20
	// tailBudget is how long they may take to be read.
	tailBudget = 10 * time.Second
	// startLimit is how long a unit without a healthcheck may take to run.
	startLimit = 30 * time.Second
)

// gate waits until the units are well and stay well for the monitor time, and
// gives those that do. Failed units are tolerated up to max_failure_ratio of the
// service.
func (s *service) gate(ctx context.Context, ids []string) ([]string, error) {
	defer s.span("gate", s.svc.Name)()
	defer s.telling(ids)()
	deadline := time.Now().Add(s.budget())
	errs := make([]error, len(ids))
	done := make(chan int)
	for i, id := range ids {
		go func() {
			errs[i] = s.pass(ctx, id, deadline)
			s.passed(id)
			done <- i
		}()
	}
	for range ids {
		<-done
	}
	var well []string
	for i, id := range ids {
		if errs[i] == nil {
			well = append(well, id)
			continue
		}
		s.failed++
		// A cancelled gate says nothing of its units.
		if ctx.Err() == nil {
			s.tail(ctx, id)
		}
	}
	if err := together(errs); err != nil {
		if ctx.Err() != nil || len(well) == 0 || float64(s.failed) > s.svc.Update.MaxFailureRatio*float64(s.step.Replicas) {
			return nil, err
		}
		s.say(event.Warning, s.svc.Name, "%d of %d units failed, within max_failure_ratio: %v", s.failed, s.step.Replicas, err)
	}
	return well, nil
}

// together makes one error of what the units of a batch failed with.
func together(errs []error) error {
	var first error
	more := 0
	for _, err := range errs {
		switch {
		case err == nil:
		case first == nil:
			first = err
		default:
			more++
		}
	}
	if more == 0 {
		return first
	}
	return fmt.Errorf("%w (and %d more of its units)", first, more)
}

// budget is how long the units may take to become healthy: the service's own
// start_period and retries, never more than wait-timeout.
func (s *service) budget() time.Duration {
	d := s.WaitTimeout
	if h := s.svc.Health; h != nil && (d == 0 || h.Budget() < d) {
		d = h.Budget()
	}
	if d == 0 {
		d = startLimit
	}
	return d
}

// limit says what made the budget as long as it is: whoever raises another limit
// changes nothing.
func (s *service) limit() string {
	h := s.svc.Health
	switch {
	case s.WaitTimeout == 0 && h == nil:
		return "what a unit without a healthcheck has to start"
	case h == nil:
		return "wait-timeout"
	case s.WaitTimeout > 0 && s.WaitTimeout < h.Budget():
		return fmt.Sprintf("wait-timeout, its healthcheck may take %s: give the release a longer one", h.Budget())
	}
	return "start_period + retries x (interval + timeout) of its healthcheck"
}

// look looks at a unit that is waited for.
func (s *service) look(ctx context.Context, id string) (stack.Unit, error) {
	u, err := s.Eyes.Inspect(ctx, id)
	if err != nil {
		return u, err
	}
	s.looking.Lock()
	defer s.looking.Unlock()
	if s.seen == nil {
		s.seen = map[string]stack.Unit{}
	}
	s.seen[id] = u
	return u, nil
}

// passed says of a unit that it is not waited for any more.
func (s *service) passed(id string) {
	s.looking.Lock()
	defer s.looking.Unlock()
	delete(s.seen, id)
}

// telling tells from time to time who of the units is waited for, in one line however
// many they are, until the function that it gives is called.
func (s *service) telling(ids []string) (stop func()) {
	return event.Tell(s.Sink, event.Event{Phase: "roll", Service: s.svc.Name}, func() (text string, limit time.Duration) {
		s.looking.Lock()
		defer s.looking.Unlock()
		more := 0
		for _, id := range ids {
			u, waits := s.seen[id]
			switch {
			case !waits:
			case text == "":
				text, limit = s.awaited(u)
			default:
				more++
			}
		}
		if more > 0 {
			text = fmt.Sprintf("%s (and %d more of its units are waited for)", text, more)
		}
		return text, limit
	})
}

// awaited says what a unit is waited for, and how long that may take from the beginning.
func (s *service) awaited(u stack.Unit) (text string, limit time.Duration) {
	switch {
	case s.svc.Job:
		return fmt.Sprintf("%s is %s and its end is waited for", u.Name, u.State), s.endBudget()
	case u.State != stack.Running:
		return fmt.Sprintf("%s is %s and does not run yet", u.Name, u.State), s.budget()
	case u.Health == stack.HealthStart:
		return u.Name + " is running, its healthcheck has not passed yet", s.budget()
	}
	return fmt.Sprintf("%s is %s and watched for %s (monitor)", u.Name, wellness(u), s.svc.Update.Monitor), 0
}

// pass takes one unit through the gate.
func (s *service) pass(ctx context.Context, id string, deadline time.Time) error {
	if s.svc.Job {
		return s.finished(ctx, id)
	}
	u, err := s.healthy(ctx, id, deadline)
	if err == nil {
		s.say(event.Info, s.svc.Name, "%s is %s", u.Name, wellness(u))
		err = s.stays(ctx, u)
	}
	if errors.Is(err, errEnded) {
		return fault.New(fault.Failed, "", fmt.Sprintf("if that is all it has to do, let a service wait for it: `depends_on: {%s: {condition: service_completed_successfully}}`", s.svc.Name),
			"%w, and no service waits for its end", err)
	}
	return err
}

// errEnded is a unit that ended well, of a service that is to stay up. Mostly that is a
// program that has to run once: what Compose calls up and this release a failure.
var errEnded = errors.New("ended with exit code 0")

func wellness(u stack.Unit) string {
	if u.Health == stack.NoHealth {
		return "running (it has no healthcheck)"
	}
	return "healthy"
}

// healthy waits for the first healthy answer; a unit that ends, restarts, is
// killed for memory or turns unhealthy fails at once.
func (s *service) healthy(ctx context.Context, id string, deadline time.Time) (stack.Unit, error) {
	var was stack.Unit
	for began, first := time.Now(), true; ; first = false {
		u, err := s.look(ctx, id)
		if err != nil {
			return u, err
		}
		if first && s.proved(id) {
			was = u
		}
		if err := ill(u, was); err != nil {
			return u, err
		}
		if u.State == stack.Running && (u.Health == stack.HealthOK || u.Health == stack.NoHealth) {
			return u, nil
		}
		if time.Now().After(deadline) {
			return u, fmt.Errorf("%s is not healthy after %s (it is %s, health %s); the limit is %s", u.Name, s.budget(), u.State, u.Health, s.limit())
		}
		every := pollEvery
		if time.Since(began) < eagerFor {
			every = pollSoon
		}
		if err := grace.Pause(ctx, every); err != nil {
			return u, err
		}
	}
}

// again waits until an old unit that was started again is healthy.
func (s *service) again(ctx context.Context, id string) error {
	defer s.telling([]string{id})()
	_, err := s.healthy(ctx, id, time.Now().Add(s.budget()))
	return err
}

// proved tells whether a unit served before this release. What happened to it in
// its life until then is no fault of the release: the engine counts restarts until
// somebody starts the unit by hand. Nor is it of those that were starting when it came:
// a database that recovers from a crash restarted. Other good units are gated only where a
// run that was cut short left them, and nobody saw them stay: their restarts count.
func (s *service) proved(id string) bool { return s.step.Starting || slices.Contains(s.step.Old, id) }

// ill says what is wrong with a unit that should be starting or running, beside
// what it was like when it was first looked at (nothing for one that has to prove
// itself).
func ill(u, was stack.Unit) error {
	switch {
	case u.OOMKilled && !was.OOMKilled:
		return fmt.Errorf("%s was killed because it needs more memory than its limit", u.Name)
	case u.Restarts > was.Restarts || u.State == stack.Restarting:
		return fmt.Errorf("%s restarted %d times (last exit code %d)", u.Name, u.Restarts, u.ExitCode)
	case u.State == stack.Exited && u.ExitCode == 0:
		return fmt.Errorf("%s %w", u.Name, errEnded)
	case u.State == stack.Exited || u.State == stack.Dead || u.State == stack.Removing:
		return fmt.Errorf("%s ended with exit code %d", u.Name, u.ExitCode)
	case u.Health == stack.HealthFailed:
		return fmt.Errorf("%s is unhealthy", u.Name)
	}
	return nil
}

// stays watches a healthy unit for the monitor time: no restart, no memory kill,
// no flip of its health, as Swarm does.
func (s *service) stays(ctx context.Context, first stack.Unit) error {
	until := time.Now().Add(s.svc.Update.Monitor)
	for time.Now().Before(until) {
		if err := grace.Pause(ctx, min(pollEvery, time.Until(until))); err != nil {
			return err
		}
		u, err := s.look(ctx, first.ID)
		if err != nil {
			return err
		}
		err = ill(u, first)
		if err == nil && !u.StartedAt.Equal(first.StartedAt) {
			err = fmt.Errorf("%s was restarted", u.Name)
		}
		if err == nil && u.Health != first.Health {
			err = fmt.Errorf("%s turned from %s to %s", u.Name, first.Health, u.Health)
		}
		if err != nil {
			return fmt.Errorf("%w within the %s it is watched after becoming healthy (monitor)", err, s.svc.Update.Monitor)
		}
	}
	return nil
}

// endBudget is how long a unit may take that has to do its work and end.
func (s *service) endBudget() time.Duration {
	if s.WaitTimeout == 0 {
		return startLimit
	}
	return s.WaitTimeout
}

// finished waits for a unit that has to do its work and end with 0.
func (s *service) finished(ctx context.Context, id string) error {
	limit := s.endBudget()
	for deadline := time.Now().Add(limit); ; {
		u, err := s.look(ctx, id)
		if err != nil {
			return err
		}
		if u.State == stack.Exited && u.ExitCode == 0 {
			return nil
		}
		if err := ill(u, stack.Unit{}); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has not ended after %s, but others wait for it with service_completed_successfully; the limit is wait-timeout: give the release a longer one", u.Name, limit)
		}
		if err := grace.Pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// tail reports the last log lines of a unit that failed, before it is removed, and
// of an ill one what its healthcheck printed: many a program logs nothing of it. That
// nothing is to be read is told as well: somebody will look for it.
func (s *service) tail(ctx context.Context, id string) {
	look, cancel := grace.Last(ctx, tailBudget)
	defer cancel()
	name := id
	u, err := s.Eyes.Inspect(look, id)
	if err == nil {
		name = u.Name
	}
	say := func(text, out string) {
		s.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "roll", Service: s.svc.Name, Unit: name, Text: text, Output: out})
	}
	if n := len(u.Probes); n > 0 && u.Health == stack.HealthFailed && !u.Probes[n-1].OK && u.Probes[n-1].Output != "" {
		say("last answer of its healthcheck", lastOf(s.Stack.HideSecrets(u.Probes[n-1].Output)))
	}
	switch out, err := s.Eyes.Tail(look, id, tailLines); {
	case err != nil:
		say(fmt.Sprintf("the last lines of the failed unit cannot be read: %v", err), "")
	case out == "":
		say("the failed unit has logged nothing", "")
	default:
		say("last lines of the failed unit", s.Stack.HideSecrets(out))
	}
}

// lastOf gives the last lines of a text.
func lastOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
