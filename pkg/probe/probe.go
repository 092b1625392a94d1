// Package probe measures what users of a URL see while something happens to what
// serves it. Its load is open-loop: requests leave by the clock, whether or not
// earlier ones were answered, and each one's latency counts from when it was due.
// A server that stalls is thus measured as its users feel it.
package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what to ask how often. Timeout is for one request, sending and
// reading included.
type Config struct {
	// URL is absolute, http or https. User and password in it are sent as basic
	// authentication.
	URL string
	// Rate is the requests a second that kinds with a Weight share, 1 to 10000.
	Rate    int
	Timeout time.Duration
	// Kinds are the kinds of traffic; DefaultKinds when empty.
	Kinds []Kind
	// ReleaseHeader is the response header that names who served; its values are
	// counted per phase.
	ReleaseHeader string
}

// Kind is one kind of traffic. It has either a Weight, its part of the Rate, or
// an Every, its own steady interval.
type Kind struct {
	Name   string
	Weight int
	Every  time.Duration
	// Method is GET when empty; Path is resolved against the URL.
	Method, Path string
	// Fresh opens a connection for every request; otherwise they are kept alive.
	Fresh bool
	// Slow requests take long by intention: they are left out of latencies and gaps.
	Slow bool
	// Body makes the body of the request with the given id, which also goes into
	// the X-Probe-Id header. Kinds with a Body are accounted for in IDs.
	Body func(id string) []byte
	// ContentType is that of the body.
	ContentType string
}

// Defaults of Config, and the phase that a probe begins in.
const (
	DefaultTimeout       = 10 * time.Second
	defaultReleaseHeader = "X-Release"
	Before               = "before"
	During               = "during"
	After                = "after"
)

// MaxRate is the highest Rate.
const MaxRate = 10000

// DefaultKinds ask the URL itself, half over connections that are kept alive and
// half over fresh ones: the two see different faults of a gateway.
func DefaultKinds() []Kind {
	return []Kind{{Name: "keep-alive", Weight: 1}, {Name: "fresh", Weight: 1, Fresh: true}}
}

// Probe is a running measurement.
type Probe struct {
	config Config
	run    string
	lanes  []*lane // as Kinds
	tally  *tally

	base     context.Context // of the requests
	abandon  context.CancelFunc
	halt     chan struct{} // ends the schedules
	haltOnce sync.Once
	schedule sync.WaitGroup
	requests sync.WaitGroup
	inFlight atomic.Int64
	limit    int64
	ended    sync.Once
}

// lane is one kind made ready.
type lane struct {
	Kind
	url       *url.URL
	transport *http.Transport
	sent      atomic.Int64
}

// Start checks the config (fault.Input about probe-url or probe-rate) and starts
// to measure, in phase Before. When ctx ends, so do the requests under way; these
// are not counted as failures.
func Start(ctx context.Context, config Config) (*Probe, error) {
	lanes, err := config.prepare()
	if err != nil {
		return nil, err
	}
	p := &Probe{config: config, run: newRun(), lanes: lanes, halt: make(chan struct{})}
	p.base, p.abandon = context.WithCancel(ctx)
	p.limit = config.limit()
	began := time.Now()
	p.tally = newTally(began, slices.ContainsFunc(lanes, func(l *lane) bool { return !l.Slow }))
	p.startSchedules(began)
	context.AfterFunc(ctx, p.stopSchedules)
	return p, nil
}

func newRun() string {
	b := make([]byte, 6)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}

// Mark begins a phase: requests due from now on count to it. A name used before
// goes on with that phase. There are at most 16; later names are ignored.
func (p *Probe) Mark(phase string) { p.tally.mark(phase, time.Now()) }

// FailuresIn is how many requests of one phase have failed so far.
func (p *Probe) FailuresIn(phase string) int { return p.tally.failuresIn(phase) }

// Elsewhere is the scheme and host that the answers of a phase so far redirect to,
// when all of them redirect to others than were asked; otherwise it is "".
func (p *Probe) Elsewhere(phase string) string { return p.tally.elsewhere(phase) }

// Report gives what was measured so far.
func (p *Probe) Report() Report { return p.tally.report(time.Now()) }

// Stop ends the load, waits for what is under way (at most the timeout) and
// gives the result. It may be called twice.
func (p *Probe) Stop() Report {
	p.stopSchedules()
	p.schedule.Wait()
	p.ended.Do(func() { p.tally.end(time.Now()) })
	p.requests.Wait()
	p.abandon()
	for _, l := range p.lanes {
		l.transport.CloseIdleConnections()
	}
	return p.tally.report(time.Now())
}

func (p *Probe) stopSchedules() { p.haltOnce.Do(func() { close(p.halt) }) }

// IDs is the account of the requests with a body. The id of the n-th request of
// a kind (from 0) is "<Run>-<kind>-<n>".
type IDs struct {
	Run string
	// Sent went out, Acknowledged got a success; Unknown got neither a success nor
	// a plain refusal by status, so the server may or may not have done them. The
	// list holds at most 10000, UnknownCount them all.
	Sent, Acknowledged int
	Unknown            []string
	UnknownCount       int
}

// IDs gives the account so far; after Stop it is final.
func (p *Probe) IDs() IDs {
	ids := p.tally.ids()
	ids.Run = p.run
	return ids
}
