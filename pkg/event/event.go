// Package event is what the domain says while it works: data, not text on a
// terminal. One renderer (package report) turns events into console lines,
// groups, annotations and the job summary.
package event

import (
	"sync"
	"time"
)

// Level ranks an event.
type Level int

// The levels. Debug is shown only on request (RUNNER_DEBUG, --verbose).
const (
	Debug Level = iota
	Info
	Notice
	Warning
	Error
)

// Event is one thing that happened. Phase is the verb's stage ("preflight",
// "roll", ...); Service and Unit are set where the event is about one. Output
// holds untrusted text of a container, which the renderer prints apart from our
// own words because it may look like a workflow command.
type Event struct {
	Time    time.Time
	Level   Level
	Phase   string
	Service string
	Unit    string
	Text    string
	Output  string
	File    string
	Line    int
}

// Sink takes events. Emit must not block for long and is safe for concurrent use.
type Sink interface {
	Emit(Event)
}

// Discard is a Sink that drops everything.
var Discard Sink = discard{}

type discard struct{}

func (discard) Emit(Event) {}

// Recorder is a Sink that keeps everything, for reports and tests.
type Recorder struct {
	mu     sync.Mutex
	events []Event
}

// Emit keeps the event.
func (r *Recorder) Emit(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events gives a copy of what was kept so far, in order.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}
