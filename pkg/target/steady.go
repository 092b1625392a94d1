package target

import (
	"context"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/stack"
)

// steadyTries is how often an act is carried out when the connection is lost in
// the middle of it; the host redials by itself, within its own budget.
const steadyTries = 3

// Where says which node has a unit of a stack: units may be on other hosts than the
// one that we speak to.
type Where interface {
	// At gives the node that has a unit.
	At(ctx context.Context, unit string) (*Node, error)
}

// Steady is the engine for a connection that may break: an act that was cut off
// is carried out again when the connection, and with it the lock, is back. That
// is safe because every act but Create leads to the same state when it is done
// twice; Create first takes away what the cut one may have made.
//
// A unit may be on another host than the one that we speak to; what concerns one
// unit goes to the engine that has it.
type Steady struct {
	*engine.Engine
	on  Where
	say func(level event.Level, phase, service, format string, args ...any)
}

// Steady is the engine for acts that a broken connection must not end.
func (t *Target) Steady(on Where) Steady { return Steady{t.Engine, on, t.Say} }

// SteadyOn is the engine of one node.
func (t *Target) SteadyOn(n *Node) Steady { return Steady{n.Engine, n, t.Say} }

// Sight is where all units of a stack are seen, and which node has each.
type Sight interface {
	Where
	// Observe looks at what runs of a project.
	Observe(ctx context.Context, project string) (stack.Observed, error)
}

// Units are the units of a stack wherever they run: Observe asks what it runs on.
type Units struct {
	Steady
	sight Sight
}

// Units looks at units and into them.
func (t *Target) Units(on Sight) Units { return Units{t.Steady(on), on} }

// Observe looks at what runs of a project.
func (u Units) Observe(ctx context.Context, project string) (stack.Observed, error) {
	return u.sight.Observe(ctx, project)
}

// again carries an act out until it ends with something else than a lost
// connection.
func (s Steady) again(ctx context.Context, what string, act func() error) error {
	for try := 1; ; try++ {
		err := act()
		if err == nil || !host.IsConnectionLost(err) || ctx.Err() != nil || try == steadyTries {
			return err
		}
		s.say(event.Warning, "roll", "", "the connection was lost during %s; going on once it is back", what)
	}
}

// Create makes units; see engine.Engine.
func (s Steady) Create(ctx context.Context, st *stack.Stack, service string, n int, after ...string) (ids []string, err error) {
	before, err := s.unitIDs(ctx, st.Name, service)
	if err != nil {
		return nil, err
	}
	first := true
	err = s.again(ctx, "create", func() error {
		if !first {
			if err := s.clear(ctx, st.Name, service, before); err != nil {
				return err
			}
		}
		first = false
		ids, err = s.Engine.Create(ctx, st, service, n, after...)
		return err
	})
	return ids, err
}

func (s Steady) unitIDs(ctx context.Context, project, service string) (ids []string, err error) {
	seen, err := s.Observe(ctx, project)
	for _, u := range seen.Units[service] {
		ids = append(ids, u.ID)
	}
	return ids, err
}

// clear removes what a cut Create may have made.
func (s Steady) clear(ctx context.Context, project, service string, keep []string) error {
	now, err := s.unitIDs(ctx, project, service)
	if err != nil {
		return err
	}
	return s.Engine.Scrap(ctx, slices.DeleteFunc(now, func(id string) bool { return slices.Contains(keep, id) }))
}

// Start starts units; see engine.Engine.
func (s Steady) Start(ctx context.Context, st *stack.Stack, service string, ids []string) error {
	return s.again(ctx, "start", func() error { return s.Engine.Start(ctx, st, service, ids) })
}

// Restart starts stopped units; see engine.Engine.
func (s Steady) Restart(ctx context.Context, ids []string, ended ...string) error {
	return s.again(ctx, "start", func() error { return s.Engine.Restart(ctx, ids, ended...) })
}

// Stop stops units; see engine.Engine.
func (s Steady) Stop(ctx context.Context, ids []string, grace time.Duration) error {
	return s.again(ctx, "stop", func() error { return s.Engine.Stop(ctx, ids, grace) })
}

// StopService stops units; see engine.Engine.
func (s Steady) StopService(ctx context.Context, st *stack.Stack, service string, ids []string, grace time.Duration) error {
	return s.again(ctx, "stop", func() error { return s.Engine.StopService(ctx, st, service, ids, grace) })
}

// Remove removes units; see engine.Engine.
func (s Steady) Remove(ctx context.Context, ids []string) error {
	return s.again(ctx, "remove", func() error { return s.Engine.Remove(ctx, ids) })
}

// Scrap removes units of an attempt that came to nothing; see engine.Engine.
func (s Steady) Scrap(ctx context.Context, ids []string) error {
	return s.again(ctx, "remove", func() error { return s.Engine.Scrap(ctx, ids) })
}

// Observe looks at the project; see engine.Engine.
func (s Steady) Observe(ctx context.Context, project string) (seen stack.Observed, err error) {
	err = s.again(ctx, "a look at the host", func() error { seen, err = s.Engine.Observe(ctx, project); return err })
	return seen, err
}

// FindForeign looks for what somebody else made; see engine.Engine.
func (s Steady) FindForeign(ctx context.Context, st *stack.Stack, seen stack.Observed) error {
	return s.again(ctx, "a look at the host", func() error { return s.Engine.FindForeign(ctx, st, seen) })
}

// Inspect looks at a unit; see engine.Engine.
func (s Steady) Inspect(ctx context.Context, id string) (u stack.Unit, err error) {
	err = s.there(ctx, "a look at a unit", id, func(e *engine.Engine) error { u, err = e.Inspect(ctx, id); return err })
	return u, err
}

// Ahead is how far the clock of the host that has a unit goes before this machine's; see
// engine.Engine.
func (s Steady) Ahead(ctx context.Context, id string) (ahead time.Duration, err error) {
	err = s.there(ctx, "a look at a clock", id, func(e *engine.Engine) error { ahead, err = e.Ahead(ctx); return err })
	return ahead, err
}

// Exec runs a command in a unit; see engine.Engine. What rollouts and gateways
// run there may run twice.
func (s Steady) Exec(ctx context.Context, id string, argv []string, stdin []byte) (stdout, stderr string, exit int, err error) {
	err = s.there(ctx, "a command in a unit", id, func(e *engine.Engine) error { stdout, stderr, exit, err = e.Exec(ctx, id, argv, stdin); return err })
	return stdout, stderr, exit, err
}

// ExecEnv runs a command in a unit with variables, once: what a check runs may be
// anything; see engine.Engine.
func (s Steady) ExecEnv(ctx context.Context, id string, argv, env []string, stdin []byte) (stdout, stderr string, exit int, err error) {
	n, err := s.on.At(ctx, id)
	if err != nil {
		return "", "", 0, err
	}
	return n.Engine.ExecEnv(ctx, id, argv, env, stdin)
}

// Tail gives the last lines of a unit's output; see engine.Engine.
func (s Steady) Tail(ctx context.Context, id string, lines int) (text string, err error) {
	err = s.there(ctx, "a look at a log", id, func(e *engine.Engine) error { text, err = e.Tail(ctx, id, lines); return err })
	return text, err
}

// Logs gives each line of a unit's output since a moment, once: whoever counts them would
// count the first ones twice, and looks again by itself; see engine.Engine.
func (s Steady) Logs(ctx context.Context, id string, since time.Time, each func(line string, cut bool)) error {
	n, err := s.on.At(ctx, id)
	if err != nil {
		return err
	}
	return n.Engine.Logs(ctx, id, since, each)
}

// there carries an act out on the engine that has a unit.
func (s Steady) there(ctx context.Context, what, unit string, act func(*engine.Engine) error) error {
	return s.again(ctx, what, func() error {
		n, err := s.on.At(ctx, unit)
		if err != nil {
			return err
		}
		return act(n.Engine)
	})
}
