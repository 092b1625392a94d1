package swarm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
)

const (
	// pollEvery is how often a service on its way is looked at. Swarm waits two seconds
	// between taking a task out of its DNS and ending it: a gateway has to be
	// switched within that.
	pollEvery = 250 * time.Millisecond
	// guardEvery is how often the lock and the probe are asked meanwhile, toldEvery how
	// often what still goes on is told.
	guardEvery, toldEvery = time.Second, 15 * time.Second
	// lostTries is how many looks in a row may be cut off: the host makes the
	// connection anew within its own budget, and a manager's engine may restart.
	lostFor = 2 * time.Minute
	// record is what a cut-off release keeps of its time to write down how it ended.
	record = 1500 * time.Millisecond
	// usually is how long a service may take where nothing else is said.
	usually = 10 * time.Minute
)

// watch follows a service until it is what it is to be, failed, or took too long.
func (c *change) watch(ctx context.Context, follow *follower) error {
	defer c.span("watch", c.step.Service)()
	w := &watching{change: c, follow: follow, began: time.Now(), told: time.Now(), moved: time.Now()}
	limit := c.how.WaitTimeout
	if limit == 0 {
		limit = usually
	}
	for {
		done, err := w.once(ctx)
		if done || err != nil {
			return err
		}
		if time.Since(w.moved) > limit {
			return fmt.Errorf("nothing moved for %s (wait-timeout): %s", limit, c.goal.stuck(w.seen))
		}
		if err := grace.Pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// watching is one watch under way.
type watching struct {
	*change
	follow *follower
	seen   state
	// moved is when a task last changed its state, calm since when all is well.
	began, told, moved, asked, calm, lost time.Time
	figure                                string
}

// once looks once.
func (w *watching) once(ctx context.Context) (done bool, err error) {
	if err := w.guard(ctx); err != nil {
		return false, err
	}
	seen, err := w.state(ctx)
	if err != nil {
		return false, w.endure(ctx, err)
	}
	w.lost, w.seen = time.Time{}, seen
	if err := w.follow.sync(ctx, seen); err != nil {
		return false, err
	}
	if figure := w.goal.figure(seen); figure != w.figure {
		w.figure, w.moved = figure, time.Now()
	}
	if time.Since(w.told) > toldEvery {
		w.told = time.Now()
		w.say(event.Info, w.step.Service, "%s, %s so far", w.figure, time.Since(w.began).Round(time.Second))
	}
	reached, err := w.goal.judge(seen)
	if err != nil || !reached {
		w.calm = time.Time{}
		return false, err
	}
	if !w.stays(seen) {
		return false, nil
	}
	if w.follow.behind(seen) {
		w.moved = time.Now()
		return false, nil
	}
	return true, nil
}

// stays tells whether what is well has been so long enough. Swarm's updater watches
// what it replaces itself.
func (w *watching) stays(seen state) bool {
	if w.calm.IsZero() {
		w.calm = time.Now()
		w.say(event.Info, w.step.Service, "%s", w.goal.figure(seen))
	}
	updated := seen.service.UpdateStatus != nil && seen.service.UpdateStatus.State != ""
	if updated || w.goal.job || w.goal.replicas == 0 || w.goal.back {
		return true
	}
	return time.Since(w.calm) >= w.svc.Update.Monitor
}

// guard asks whether the release may go on.
func (w *watching) guard(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w.goal.back || time.Since(w.asked) < guardEvery {
		return nil
	}
	w.asked = time.Now()
	return w.how.Guard(ctx)
}

// endure lets a look pass that was cut off: the connection, or the manager's engine,
// comes back, and what the Swarm does goes on meanwhile.
func (w *watching) endure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w.lost.IsZero() {
		w.lost = time.Now()
		w.say(event.Warning, w.step.Service, "the manager does not answer (%v); watching on once it is back", err)
	}
	var known *fault.Error
	if errors.As(err, &known) && known.Kind == fault.Interrupted || time.Since(w.lost) > lostFor {
		return err
	}
	w.moved = time.Now()
	return nil
}

// state is a service and all of its tasks at one moment.
type state struct {
	service swarm.Service
	tasks   []swarm.Task
}

func (c *change) state(ctx context.Context) (state, error) {
	look, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	res, err := c.API.ServiceInspect(look, c.id, client.ServiceInspectOptions{})
	if err != nil {
		return state{}, wrap(err, "look at the service")
	}
	tasks, err := c.tasks(look)
	return state{res.Service, tasks}, err
}

// last is what a cut-off release still does: Swarm goes on by itself, so the gateway
// follows it as long as there is time.
func (c *change) last(ctx context.Context, follow *follower) {
	if follow == nil || ctx.Err() == nil {
		return // the lock is gone: somebody else may hold it
	}
	last, cancel := grace.Last(ctx, grace.Acts-record)
	defer cancel()
	for last.Err() == nil {
		seen, err := c.state(last)
		if err != nil || follow.sync(last, seen) != nil {
			return
		}
		if reached, err := c.goal.judge(seen); reached || err != nil {
			_ = follow.close(last)
			return
		}
		_ = grace.Pause(last, pollEvery)
	}
}

// tail reports the last lines of a task that failed.
func (c *change) tail(ctx context.Context) {
	look, cancel := grace.Last(ctx, 10*time.Second)
	defer cancel()
	seen, err := c.state(look)
	if err != nil {
		return
	}
	bad := c.goal.failures(seen)
	if len(bad) == 0 {
		return
	}
	t := bad[0]
	u := unitOf(seen.service, t, nil)
	c.settleOne(u.ID, t.NodeID)
	e, err := c.engineOf(look, u.ID)
	if err != nil {
		return
	}
	text := "last lines of the failed unit"
	out, err := e.Tail(look, u.ID, tailLines)
	switch {
	case err != nil:
		text = fmt.Sprintf("the last lines of the failed unit cannot be read: %v", err)
	case out == "":
		text = "the failed unit has logged nothing"
	}
	c.Sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "roll", Service: c.svc.Name, Unit: u.Name, Text: text, Output: c.st.HideSecrets(out)})
}

// tailLines of a failed unit's log go into the report.
const tailLines = 20
