// Package gateway moves the traffic of a stock nginx container from one set of
// units to another without a change to nginx's configuration. The addresses of
// the serving set go into the container's /etc/hosts between marks; nginx reads
// that file when it loads its configuration, so a reload is the switch.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// Runner is what a gateway needs of the engine. Exec runs argv in the container
// as its root user and gives a non-zero exit without an error; Tail gives the
// last lines of the container's log.
//
// There is no Signal on purpose: the engine counts every signal that it sends as
// a manual stop, and a gateway with `restart: unless-stopped` would not come back
// when the host boots. Signals are sent from inside the container.
type Runner interface {
	Exec(ctx context.Context, id string, argv []string, stdin []byte) (stdout, stderr string, exit int, err error)
	Inspect(ctx context.Context, id string) (stack.Unit, error)
	Tail(ctx context.Context, id string, lines int) (string, error)
}

// Nginx is one running unit of a gateway service. Its methods are to be called
// one after another, under the lock of the project.
type Nginx struct {
	runner        Runner
	unit          stack.Unit
	sink          event.Sink
	reloadTimeout time.Duration
	execTimeout   time.Duration
	keepOld       bool
	// known is what the last call left to know, nil when it is in doubt. An act may
	// begin with it only where it notices by itself that it is true no more.
	known *sight
}

// Option changes how a gateway is treated.
type Option func(*Nginx)

// KeepOldWorkers leaves workers that are still busy at the end of the drain
// budget alone, so that their connections to other services live on; those to
// units that go end with these. Without it the workers are ended, because the units
// behind them are about to go.
func KeepOldWorkers() Option { return func(g *Nginx) { g.keepOld = true } }

// New gives a handle on the gateway that runs in unit. It makes no call.
func New(r Runner, unit stack.Unit, sink event.Sink, opts ...Option) *Nginx {
	g := &Nginx{runner: r, unit: unit, sink: sink, reloadTimeout: 10 * time.Second, execTimeout: time.Minute}
	for _, opt := range opts {
		opt(g)
	}
	return g
}

// errNoShell says that the image has no sh to run anything with.
var errNoShell = errors.New("its image has no shell")

// result is what one script gave.
type result struct {
	stdout, stderr string
	exit           int
}

// script runs a POSIX sh script in the container; args become $1, $2, ...
func (g *Nginx) script(ctx context.Context, what, text string, stdin []byte, args ...string) (result, error) {
	bounded, cancel := context.WithTimeout(ctx, g.execTimeout)
	defer cancel()
	argv := append([]string{"sh", "-c", text, "shiksha"}, args...)
	stdout, stderr, exit, err := g.runner.Exec(bounded, g.unit.ID, argv, stdin)
	switch {
	case missingShell(stdout+stderr, exit, err):
		return result{}, g.refuse("use an image of nginx that has a shell (the official ones do)", "%w", errNoShell)
	case err != nil && ctx.Err() == nil && bounded.Err() != nil:
		return result{}, g.fail("look at the load of the host, then run this again",
			"no answer within %s while waiting to %s", g.execTimeout, what)
	case err != nil:
		return result{}, g.fail("", "cannot %s: %w", what, err)
	}
	return result{stdout: stdout, stderr: stderr, exit: exit}, nil
}

// missingShell tells whether the engine could not start sh. Engines report it as
// an error, or as exit 126/127 with their own words on one of the streams.
func missingShell(out string, exit int, err error) bool {
	if err != nil {
		out += err.Error()
	} else if exit != 126 && exit != 127 {
		return false
	}
	return strings.Contains(out, `"sh": executable file not found`) ||
		strings.Contains(out, "exec failed") && strings.Contains(out, "no such file or directory")
}

// where names the gateway in messages.
func (g *Nginx) where() string {
	if g.unit.Name != "" {
		return "gateway " + g.unit.Name
	}
	return "gateway " + g.unit.Service
}

func (g *Nginx) fail(hint, format string, args ...any) error {
	return fault.New(fault.Failed, g.where(), hint, format, args...)
}

func (g *Nginx) refuse(hint, format string, args ...any) error {
	return fault.New(fault.Refused, g.where(), hint, format, args...)
}

func (g *Nginx) say(level event.Level, service, format string, args ...any) {
	g.sink.Emit(event.Event{
		Time: time.Now(), Level: level, Service: service, Unit: g.unit.Name,
		Text: fmt.Sprintf(format, args...),
	})
}

// Fingerprint identifies what a gateway is doing: which container, since when,
// with which override, master and workers. Two are equal (==) when nobody
// restarted, replaced or reloaded the gateway or touched its override in between.
type Fingerprint struct {
	Container string
	// StartedAt is the start of the container, RFC 3339 with nanoseconds, UTC.
	StartedAt string
	// Override is the sha256 (hex) of the marked lines.
	Override string
	// Master and Workers name processes as pid@start, start in clock ticks since
	// boot; Workers lists those that take new connections, in order of pid.
	Master, Workers string
}

// Fingerprint takes the gateway's fingerprint; a gateway that takes no connections
// has none. Compare one taken after the switch
// with one taken right before the old units are retired.
func (g *Nginx) Fingerprint(ctx context.Context) (Fingerprint, error) {
	unit, err := g.inspect(ctx)
	if err != nil {
		return Fingerprint{}, err
	}
	seen, err := g.look(ctx)
	if err != nil {
		return Fingerprint{}, err
	}
	return g.fingerprint(unit, seen)
}

// inspect looks at the container, which has to run.
func (g *Nginx) inspect(ctx context.Context) (stack.Unit, error) {
	unit, err := g.runner.Inspect(ctx, g.unit.ID)
	if err != nil {
		return unit, g.fail("", "cannot look at the container: %w", err)
	}
	if unit.State != stack.Running || unit.StartedAt.IsZero() {
		return unit, g.fail("start the gateway, then run this again", "the container is %s, not running", unit.State)
	}
	return unit, nil
}

func (g *Nginx) fingerprint(unit stack.Unit, seen sight) (Fingerprint, error) {
	var workers []string
	for _, w := range seen.workers {
		if !w.leaving {
			workers = append(workers, w.process.String())
		}
	}
	if len(workers) == 0 {
		return Fingerprint{}, g.fail("look at the gateway's log", "nginx takes no connections, it is shutting down")
	}
	return Fingerprint{
		Container: g.unit.ID,
		StartedAt: unit.StartedAt.UTC().Format(time.RFC3339Nano),
		Override:  overrideSum(seen.hosts),
		Master:    seen.master.String(),
		Workers:   strings.Join(workers, " "),
	}, nil
}
