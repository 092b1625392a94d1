package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/report"
	"github.com/shiksha/actions/pkg/stack"
)

// Scene is what the checks of one run look at. It is shared by all of them.
type Scene struct {
	Ground Ground
	Units  Units
	Shell  Shell
	// Dial connects from the runner.
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Project string
	// Stack is what was released; nil where the host does not know it any more.
	Stack *stack.Stack
	// Services is what should run, by the ledger.
	Services map[string]release.ServiceRecord
	Version  string
	Number   int
	// Began is when the release began: what is older is not its doing. Zero where
	// nothing was released.
	Began time.Time
	// URL is the base address that users come in by, "" for none.
	URL string
	// Window is how long nothing may have restarted.
	Window time.Duration
	// Before are the alerts that were active before the release, as a Baseline lists them,
	// by check; a check of which nobody could see all has none.
	Before map[string][]string
	// Gone are the IDs of units that a Swarm had given up on a node before the release, which
	// left them so.
	Gone []string
	// Backups gives the backups of the project where the database of a service runs, and
	// the host that has them.
	Backups func(ctx context.Context, service string) (*backup.Store, Ground, error)
	// Ahead is how far the clock of the host that has a unit goes before the runner's; nil
	// where both are one.
	Ahead func(ctx context.Context, unit string) (time.Duration, error)
	// Protect tells the caller of a secret that a check read.
	Protect func(secrets ...string)

	redactor report.Redactor
	mu       sync.Mutex
	seen     stack.Observed
	seenAt   time.Time
	ahead    map[string]time.Duration // by node
	// mute turns one comparison off, for the test of the checks themselves.
	mute string
}

// freshness is how long checks of one run share a look at the units.
const freshness = 200 * time.Millisecond

// observed gives the project's units as they are now.
func (s *Scene) observed(ctx context.Context) (stack.Observed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.seenAt) < freshness {
		return s.seen, nil
	}
	seen, err := s.Units.Observe(ctx, s.Project)
	if err != nil {
		return seen, err
	}
	s.seen, s.seenAt = seen, time.Now()
	return seen, nil
}

// clock is how a unit's host counts time. What it says of the unit is in its own time,
// which need not be the runner's.
type clock struct{ ahead time.Duration }

// clock asks the host of a unit for its time, each host once.
func (s *Scene) clock(ctx context.Context, u stack.Unit) (clock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead, known := s.ahead[u.Node]
	if known || s.Ahead == nil {
		return clock{ahead}, nil
	}
	ahead, err := s.Ahead(ctx, u.ID)
	if err != nil {
		return clock{}, err
	}
	if s.ahead == nil {
		s.ahead = map[string]time.Duration{}
	}
	s.ahead[u.Node] = ahead
	return clock{ahead}, nil
}

// now is the time on the host.
func (c clock) now() time.Time { return time.Now().Add(c.ahead) }

// of is a moment of the runner's time on the host; that nothing was is true everywhere.
func (c clock) of(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(c.ahead)
}

var errNoUnit = errors.New("has no running unit")

// running lists the running units of a service by number.
func (s *Scene) running(ctx context.Context, service string) ([]stack.Unit, error) {
	seen, err := s.observed(ctx)
	if err != nil {
		return nil, err
	}
	units := slices.DeleteFunc(slices.Clone(seen.Units[service]), func(u stack.Unit) bool {
		return u.OneOff || u.State != stack.Running
	})
	if len(units) == 0 {
		return nil, fmt.Errorf("service %s %w", service, errNoUnit)
	}
	return units, nil
}

// Hide keeps secrets out of everything that the run tells.
func (s *Scene) Hide(secrets ...string) {
	s.redactor.Add(secrets...)
	if s.Protect != nil {
		s.Protect(secrets...)
	}
}

// Clean gives a text without secrets.
func (s *Scene) Clean(text string) string { return s.redactor.String(text) }

// HideEnvironment hides the secrets of the stack: what a unit answers or logs may
// quote them.
func (s *Scene) HideEnvironment() {
	if s.Stack != nil {
		s.Hide(s.Stack.Secrets()...)
	}
}
