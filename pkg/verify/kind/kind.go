// Package kind has the kinds of checks: how each is written down, and one look
// at what it is about. When to look, how often, and what a row of looks means is
// the contract of package verify. A kind never passes on missing data: what it
// cannot read is unknown.
package kind

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/stack"
)

// Kind is one kind of check with its settings.
type Kind interface {
	// Manner says what the contract does by default.
	Manner() Manner
	// Look looks once.
	Look(s *Sight)
}

// Places that a check runs at.
const (
	OnRunner = "runner"
	OnHost   = "host"
	InUnit   = "unit"
)

// Manner is how a kind is looked at where a check does not say it.
type Manner struct {
	// Place is where the probe runs: OnRunner, OnHost or InUnit.
	Place string
	// Interval is the pause between two looks, Passes how many in a row have to
	// pass.
	Interval time.Duration
	Passes   int
	// Timeout is how long it may take to pass; 0 for as long as most do.
	Timeout time.Duration
	// Watched kinds have to pass all through the stability window; the others
	// look at what does not change by the second.
	Watched bool
	// Back is set for what remembers: the window then is how far it looks back, not
	// how long it has to be watched.
	Back bool
	// Long is set for what reads something large, or asks often: one look may take all
	// the time that the check has.
	Long bool
}

// brisk is for what answers at once and may flap, calm for what costs something or
// only changes with time.
func brisk(place string) Manner {
	return Manner{Place: place, Interval: time.Second, Passes: 3, Watched: true}
}
func calm(place string) Manner { return Manner{Place: place, Interval: 2 * time.Second, Passes: 1} }

// Ground is the host: its network and its commands.
type Ground interface {
	DialTCP(ctx context.Context, addr string) (net.Conn, error)
	Run(ctx context.Context, argv []string, stdin io.Reader) (host.Output, error)
}

// Units are the containers on the host.
type Units interface {
	Observe(ctx context.Context, project string) (stack.Observed, error)
	Inspect(ctx context.Context, id string) (stack.Unit, error)
}

// Shell looks into units. Env are NAME=value for the command alone.
type Shell interface {
	ExecEnv(ctx context.Context, id string, argv, env []string, stdin []byte) (stdout, stderr string, exit int, err error)
	// Logs gives every line, and tells of each whether its end was cut off.
	Logs(ctx context.Context, id string, since time.Time, each func(line string, cut bool)) error
}

// Evidence is kept this long and this many.
const (
	maxText     = 300
	maxEvidence = 6
)

// outcomes from the best to the worst.
var severity = map[check.Outcome]int{check.Pass: 0, check.Skip: 1, check.Warn: 2, check.Unknown: 3, check.Fail: 4}

// Worse tells whether a decides over b.
func Worse(a, b check.Outcome) bool { return severity[a] > severity[b] }
