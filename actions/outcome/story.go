package outcome

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/report"
)

// Told hears of a release: GitHub, a channel, a graph. It is asked for one thing
// at a time. What it could not be told is a warning and changes nothing.
type Told interface {
	Started(context.Context, *report.Release) error
	Finished(context.Context, *report.Release) error
}

// patience bounds what is told at the end; a cancelled run has grace.Words.
const patience = 15 * time.Second

// Story follows a release from its first change to its end, tells those who
// listen, and keeps what a unit that failed said last. Nobody who listens holds
// the release up: starts are told beside it.
type Story struct {
	event.Sink
	session *door.Session
	about   About
	told    []listener
	ctx     context.Context
	hush    context.CancelFunc

	mu     sync.Mutex
	logs   []report.Log
	warned []string
}

// listener is one who is told; ready is closed when it has heard of the start.
type listener struct {
	Told
	ready chan struct{}
}

// Follow begins the story of a release for those that the inputs name. A plan is
// the news of its pull request only.
func Follow(s *door.Session, a About, in *inputs.Telling) *Story {
	a.Server, a.Environment, a.EnvironmentURL = s.Action.Run().Server, in.Environment, in.EnvironmentURL
	if a.DryRun {
		return follow(s, a, reviewers(s, in)...)
	}
	return follow(s, a, listeners(s, in)...)
}

func follow(s *door.Session, a About, told ...Told) *Story {
	t := &Story{Sink: Sink(s, a), session: s, about: a}
	t.ctx, t.hush = context.WithCancel(context.WithoutCancel(s.Context))
	for _, listening := range told {
		t.told = append(t.told, listener{Told: listening})
	}
	return t
}

// Emit passes an event on and keeps the last lines of a unit that failed.
func (t *Story) Emit(e event.Event) {
	if e.Output != "" && e.Unit != "" && e.Level >= event.Warning {
		t.mu.Lock()
		t.logs = append(t.logs, report.Log{Unit: e.Unit, Text: e.Output})
		t.mu.Unlock()
	}
	t.Sink.Emit(e)
}

// Began tells that the release is about to change something; it does not wait.
func (t *Story) Began(result *converge.Result) {
	r := t.public(Tell(result, t.about, nil))
	r.Outcome = ""
	for i := range t.told {
		l := &t.told[i]
		l.ready = make(chan struct{})
		go func() {
			defer close(l.ready)
			t.warn(l.Started(t.ctx, r))
		}()
	}
}

// Finish tells what came of the release, also of one that failed: outputs and
// summary first, since nothing can keep them from being written, then everybody
// who listens, then the caller. The error goes on to the door.
func (t *Story) Finish(result *converge.Result, err error) error {
	r := Tell(result, t.about, err)
	t.mu.Lock()
	for _, l := range t.logs {
		r.AddLog(l.Unit, l.Text)
	}
	t.mu.Unlock()
	data, marshalError := r.JSON()
	if marshalError != nil {
		return marshalError
	}
	write(t.session, r, data)
	t.tell(t.public(r))
	show(t.session, r, data, t.about.JSON, err)
	return err
}

// Unbegun tells those who listen, and nobody else, of a release that ended before its
// verb could begin: outputs, summary and caller have that from elsewhere. It gives the
// error back.
func (t *Story) Unbegun(result *converge.Result, err error) error {
	ended := err
	if t.session.Context.Err() != nil {
		ended = fault.As(fault.Interrupted, err) // as the door does
	}
	t.tell(t.public(Tell(result, t.about, result.End(ended))))
	return err
}

// tell tells everybody of the end, all at once and within the time there is.
func (t *Story) tell(r *report.Release) {
	defer t.hush()
	defer time.AfterFunc(patience, t.hush).Stop()
	defer context.AfterFunc(t.session.Context, func() { time.AfterFunc(grace.Words, t.hush) })()
	var all sync.WaitGroup
	for _, l := range t.told {
		all.Go(func() {
			if l.ready != nil {
				<-l.ready
			}
			t.warn(l.Finished(t.ctx, r))
		})
	}
	all.Wait()
}

// public gives a copy of a release that may leave the machine.
func (t *Story) public(r *report.Release) *report.Release {
	clean := &report.Release{}
	data, err := r.JSON()
	if err == nil {
		err = json.Unmarshal([]byte(t.session.Redact(string(data))), clean)
	}
	if err != nil {
		// A secret that looks like a piece of JSON; what has none of it is enough, with the
		// place and the commit, by which it is known who is to hear of it.
		return &report.Release{Number: r.Number, Previous: r.Previous, Outcome: r.Outcome, Started: r.Started, Seconds: r.Seconds,
			Environment: t.session.Redact(r.Environment), Commit: t.session.Redact(r.Commit)}
	}
	return clean
}

// warn says once what could not be told.
func (t *Story) warn(err error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			t.warn(one)
		}
		return
	}
	if err == nil {
		return
	}
	t.mu.Lock()
	known := slices.Contains(t.warned, err.Error())
	t.warned = append(t.warned, err.Error())
	t.mu.Unlock()
	if !known {
		t.session.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "tell", Text: err.Error()})
	}
}
