package deploy

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/report"
)

// StatusCommand is `shiksha status`.
type StatusCommand struct {
	inputs.Query

	Verb func(context.Context, verb.Options, event.Sink) (*verb.StatusResult, error) `kong:"-"`
}

// Help is what `shiksha status --help` teaches.
func (*StatusCommand) Help() string {
	return `Says what runs on the host, by service, and which release it belongs to; whether a later one is under way, was cut
off or is stuck, and what to do then; and who holds the lock. Changes nothing and takes no lock.

    shiksha status --host deploy@gpu1.example.org --project shop`
}

// Run looks and prints.
func (c *StatusCommand) Run(s *door.Session) error {
	look := c.Verb
	if look == nil {
		look = verb.Status
	}
	result, err := look(s.Context, about(&c.Query, s), s.Sink)
	if err != nil {
		return err
	}
	told := status(result)
	if c.JSON {
		return printJSON(s, told)
	}
	s.Print(told.Text(time.Now()))
	return nil
}

// HistoryCommand is `shiksha history`.
type HistoryCommand struct {
	inputs.Query

	Verb func(context.Context, verb.Options, event.Sink) (*verb.HistoryResult, error) `kong:"-"`
}

// Help is what `shiksha history --help` teaches.
func (*HistoryCommand) Help() string {
	return `Lists the releases of a project on the host, the newest first: what, when, by whom, how it ended, and which of
them a rollback could not bring back, or only with the registry's help.

    shiksha history --host deploy@gpu1.example.org --project shop`
}

// Run reads and prints.
func (c *HistoryCommand) Run(s *door.Session) error {
	read := c.Verb
	if read == nil {
		read = verb.History
	}
	result, err := read(s.Context, about(&c.Query, s), s.Sink)
	if err != nil {
		return err
	}
	told := history(result)
	if c.JSON {
		return printJSON(s, told)
	}
	s.Print(told.Text())
	return nil
}

func about(q *inputs.Query, s *door.Session) verb.Options {
	return verb.Options{Host: q.Config(s.Person), Project: q.Project, StateDir: q.StateDir}
}

func printJSON(s *door.Session, told interface{ JSON() ([]byte, error) }) error {
	data, err := told.JSON()
	if err == nil {
		s.Print(string(data) + "\n")
	}
	return err
}

func status(r *verb.StatusResult) *report.Status {
	told := &report.Status{Project: r.Project, Host: r.Host}
	if r.Release > 0 {
		told.Release = &report.Past{Number: r.Release, Version: r.Version, Outcome: string(release.Verified), Started: r.Since, Serves: true,
			Migrated: r.Migrated, Lost: r.Lost}
	}
	told.Lock, told.Newer = lock(r.Lock), r.Newer
	if r.Newest != nil {
		newest := past(*r.Newest, r.Lock)
		told.Newest = &newest
	}
	if r.Unfinished != nil {
		unfinished := past(*r.Unfinished, r.Lock)
		told.Unfinished = &unfinished
	}
	told.Notes = told.Remarks()
	for _, s := range r.Services {
		told.Services = append(told.Services, report.Running{
			Service: s.Service, Serving: s.Serving + s.Done, Wanted: s.Wanted, State: state(s), Restarts: s.Restarts, Image: s.Image, Since: s.Since,
		})
	}
	return told
}

// state says how a service is, in a word where that is all: one that is started again and
// again looks well whenever it is seen running.
func state(s verb.ServiceStatus) string {
	word := "ok"
	switch {
	case s.Foreign > 0:
		return fmt.Sprintf("%d not of this release", s.Foreign)
	case s.Wanted == 0:
		return "not in this release"
	case s.Done >= s.Wanted:
		return "done"
	case s.Serving+s.Done == 0:
		word = "down"
	case s.Serving+s.Done < s.Wanted:
		word = "degraded"
	}
	switch s.Restarts {
	case 0:
		return word
	case 1:
		return word + ", restarted once"
	}
	return fmt.Sprintf("%s, restarted %d times", word, s.Restarts)
}

func history(r *verb.HistoryResult) *report.History {
	told := &report.History{Project: r.Project, Host: r.Host, Lock: lock(r.Lock), Newer: r.Newer, Unsettled: r.Newer != ""}
	serving := 0
	for _, rec := range r.Releases {
		if rec.Outcome == release.Verified {
			serving = max(serving, rec.Number)
		}
	}
	for _, rec := range r.Releases {
		told.Unsettled = told.Unsettled || rec.Number > serving && !rec.Outcome.Clean()
		past := past(rec, r.Lock)
		past.Serves = rec.Number == serving
		past.Migrated, past.Lost = past.Serves && release.MigratedSince(r.Releases, serving), past.Serves && r.Lost
		past.Lacks = r.Lacks[rec.Number]
		told.Releases = append(told.Releases, past)
	}
	return told
}

// past tells of one release, and of one that has recorded no end what the lock says of it.
func past(rec release.Record, seen release.Sight) report.Past {
	past := report.Past{
		Number: rec.Number, Version: rec.Version, Commit: rec.Commit, Actor: rec.Actor, RunURL: rec.RunURL,
		Outcome: string(rec.Outcome), Standing: string(seen.Of(rec)), Refused: rec.TurnedDown(),
		RollsBack: rec.RollsBack, Restores: rec.Restores, Reason: rec.Reason, Started: rec.Started,
		RestoredDatabase: rec.RestoresDatabase != "",
	}
	if !rec.Ended.IsZero() {
		past.Seconds = rec.Ended.Sub(rec.Started).Seconds()
	}
	for name, svc := range rec.Services {
		if rec.Outcome != release.Refused && svc.Action != "" && !svc.Stays() {
			past.Changed = append(past.Changed, name)
		}
	}
	sort.Strings(past.Changed)
	if rec.Outcome != release.Verified {
		past.Failure = rec.Message
	}
	return past
}

// lock tells who holds the lock; that nobody does is told, too.
func lock(seen release.Sight) *report.Lock {
	told := &report.Lock{Why: seen.Why}
	if seen.Hand == release.Held || seen.Hand == release.Free {
		held := seen.Hand == release.Held
		told.Held = &held
	}
	if seen.Hand == release.Held {
		h := seen.Holder
		told.Actor, told.RunURL, told.Since, told.Holder = h.Actor, h.RunURL, h.Since, h.String()
	}
	return told
}
