package converge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// lastWords bounds what a release that is cancelled still writes on the host; calmWords what one
// that failed does, whose host may be far away or slow: what is not written looks cut off.
const lastWords, calmWords = 4 * time.Second, 20 * time.Second

// begin writes the record of the release before anything is changed, so that an
// interrupted one is seen by the next.
func (d *transition) begin(ctx context.Context) error {
	if err := d.closeInterrupted(ctx); err != nil {
		return err
	}
	key, err := d.ledger.Key(ctx)
	if err != nil {
		return err
	}
	d.others = d.othersSecrets(ctx)
	runs, err := d.runs(ctx)
	if err != nil {
		return err
	}
	model, err := runs.Redacted()
	if err != nil {
		return err
	}
	sealed, err := runs.Seal()
	if err != nil {
		return err
	}
	d.record = &release.Record{
		Version: d.opts.Version, Commit: d.opts.Run.Commit, Actor: d.opts.Run.Actor, RunURL: d.opts.Run.URL,
		Fence: d.opts.Lock.Fence(), Started: time.Now().UTC(), Outcome: release.Started, Previous: d.result.Previous,
		Services: d.services(runs, key), Model: json.RawMessage(model),
	}
	if b := d.opts.Back; b != nil {
		d.record.RollsBack, d.record.Restores, d.record.Reason = b.Undoes, b.Restores, b.Reason
		d.record.RestoresDatabase = b.Backup
	}
	if err := d.ledger.Append(ctx, d.record); err != nil {
		return err
	}
	d.result.Release = d.record.Number
	return d.ledger.WriteSealed(ctx, d.record.Number, sealed)
}

// closeInterrupted ends the record of a release that never ended itself.
func (d *transition) closeInterrupted(ctx context.Context) error {
	n := d.facts.newest
	if n == nil || n.Outcome != release.Started {
		return nil
	}
	n.Outcome, n.Ended = release.Interrupted, time.Now().UTC()
	n.Message = "its deployer ended without recording an outcome" + halfDone(n)
	return d.ledger.Update(ctx, n)
}

// halfDone says what a release that was cut short had begun to do to a database.
func halfDone(n *release.Record) string {
	if n.RestoresDatabase != "" {
		return "; it was bringing the database back to backup " + n.RestoresDatabase
	}
	for _, m := range n.Migrations {
		if m.Ended.IsZero() {
			return fmt.Sprintf("; the migration of %s had begun, the database was at revision %s", m.Service, release.Revision(m.Before))
		}
	}
	return ""
}

// runs is the stack that runs when the release is done: all of the wanted one, or
// of a release of some services only the others as the release before had them.
func (d *transition) runs(ctx context.Context) (*stack.Stack, error) {
	if len(d.opts.Services) == 0 {
		return d.opts.Stack, nil
	}
	if d.facts.verified == nil {
		return d.opts.Stack.Partial(nil, d.opts.Services)
	}
	before, err := d.before(ctx)
	if err != nil {
		err = fmt.Errorf("releasing only some services needs the release before: %w", err)
		if unreached(ctx, err) {
			return nil, err
		}
		return nil, fault.New(fault.Refused, "services", "release all services once: that records anew what serves", "%w", err)
	}
	runs, err := d.opts.Stack.Partial(before, d.opts.Services)
	if err != nil {
		return nil, fault.New(fault.Refused, "services", "release all services", "%w", err)
	}
	return runs, nil
}

// parted says in the plan why some services cannot be released without the others.
// One that has nothing to do changes nothing for those.
func (d *transition) parted(ctx context.Context) error {
	if d.plan.Empty() {
		return nil
	}
	_, err := d.runs(ctx)
	if fault.Of(err) != fault.Refused {
		return err
	}
	text := err.Error()
	if hint := fault.Hint(err); hint != "" {
		text += "; mend: " + hint
	}
	d.plan.Refusals = append(d.plan.Refusals, text)
	return nil
}

// services describes what runs when the release is done, and what it does to each.
func (d *transition) services(runs *stack.Stack, key []byte) map[string]release.ServiceRecord {
	env := runs.EnvironmentHashes(key)
	out := map[string]release.ServiceRecord{}
	for _, name := range runs.Order {
		svc := runs.Services[name]
		r := release.ServiceRecord{Image: svc.Image, Pinned: svc.Pinned, Resolved: d.resolved(svc), Hash: svc.Hash, Replicas: svc.Replicas,
			Environment: env[name], Files: sums(svc), Action: string(plan.Unchanged)}
		if s := d.plan.Step(name); s != nil {
			r.Action = string(s.Action)
		}
		out[name] = r
	}
	return out
}

// sums are those of the files of a service, by where it has them.
func sums(svc *stack.Service) map[string]string {
	out := map[string]string{}
	for _, f := range svc.Files {
		out[f.Target] = f.Sum
	}
	return out
}

// neverVerified names the services for which nothing is to be done because a release that
// did not end well did it, and that are not as the last verified one had them: a live
// file, a scale, one that went. Its checks were cut off, or failed.
func (d *transition) neverVerified(ctx context.Context) (names []string) {
	f := d.facts
	if f.verified == nil || len(f.since) == 0 || f.standing != nil {
		return nil
	}
	runs, err := d.runs(ctx)
	if err != nil {
		return nil // what cannot be released says so by itself
	}
	now, was, by := d.services(runs, nil), f.verified.Services, 0
	every := maps.Clone(was)
	maps.Copy(every, now)
	for _, name := range slices.Sorted(maps.Keys(every)) {
		step := d.plan.Step(name)
		for _, r := range slices.Backward(f.since) {
			if (step == nil || !step.Changes()) && alike(now[name], r.Services[name]) && !alike(now[name], was[name]) {
				names, by = append(names, name), max(by, r.Number)
				break
			}
		}
	}
	if len(names) > 0 && d.plan.Empty() {
		d.plan.Notes = append(d.plan.Notes, fmt.Sprintf("release %d made %v so and was not verified: that is done now, or it is taken back", by, names))
	}
	return names
}

// alike tells whether two records of a service mean the same units.
func alike(a, b release.ServiceRecord) bool {
	return a.Hash == b.Hash && a.Replicas == b.Replicas && maps.Equal(a.Files, b.Files)
}

// end records how a release ended that had begun to change something and did not
// succeed. One that failed and did not go back closes no books on a run before it that did
// not end: later ones still find that there is something to heal.
func (d *transition) end(ctx context.Context, cause error) {
	outcome := release.Failed
	switch kind := fault.Of(cause); {
	case kind == fault.Interrupted:
		outcome = release.Interrupted
	case kind == fault.Stuck:
		outcome = release.Stuck
	case d.earlier.unfinished() && !d.tookBack:
		// A migration that failed says nothing of the version: a lock may be free the next time.
		migrating := slices.ContainsFunc(d.record.Migrations, func(m release.Migration) bool { return m.Exit != 0 })
		outcome, d.turnedDown = release.Interrupted, d.result.Rollout != nil && !migrating
		cause = fmt.Errorf("%w; what %s left, which did not end, is not taken back", cause, d.earlier.by())
		d.Say(event.Warning, "record", "", "what %s left, which did not end, is not taken back: the next release does that%s", d.earlier.by(), d.home("; or "))
	}
	d.conclude(ctx, outcome, cause)
}

// interruptedBy ends a release that was interrupted while it went on, or while what failed of it
// was undone.
func (d *transition) interruptedBy(ctx context.Context, cause error) error {
	switch {
	case rollout.HalfBack(cause):
		return d.halfway(ctx, cause)
	case len(d.writers) > 0:
		return fault.New(fault.Interrupted, "", d.unanswered(), "%w", cause)
	}
	return cause
}

// backCut tells whether a way back ended before it was through because the run was told to
// end, or has lost its host or its lock: whoever comes next goes on. A database that is the
// older one is not left to them.
func (d *transition) backCut(ctx, back context.Context, err error) bool {
	if err == nil || d.undoDatabase != nil {
		return false
	}
	late := back.Err() != nil // its time is over, which the rollout takes for told to end
	return ctx.Err() != nil || host.IsConnectionLost(err) || !late && fault.Of(err) == fault.Interrupted
}

// halfway ends a release that failed and is not taken back yet: it is not to be run again,
// that would try what was just refused.
func (d *transition) halfway(ctx context.Context, err error) error {
	d.turnedDown = true
	state, then := "users are served", "release a version that works"
	failed := d.opts.Stack.Services[d.result.Rollout.Failed]
	switch {
	case len(d.writers) > 0:
		state = "users may get no answer of " + strings.Join(d.writers, ", ")
	case rollout.Away(err):
		state = "users may not all be served"
	case failed != nil && failed.ContainerName != "" && !rollout.HalfBack(err):
		state = "users may get no answer of " + failed.Name // its name was needed: none of it is left but by the way back
	case !errors.Is(context.Cause(ctx), context.Canceled):
		state = "see who releases now and what runs with shiksha status" // the lock or the host is gone
	}
	if former := d.former(""); former != "" {
		then = former + ", or " + then
	}
	return fault.New(fault.Interrupted, "", state+"; "+then+d.migrated(), "%w", err)
}

// swapBack takes back that the database was brought back. Who is told to end meanwhile does
// it all the same: without it what writes to the database may not start.
func (d *transition) swapBack(ctx context.Context) error {
	last, cancel := grace.Last(ctx, backBudget)
	defer cancel()
	err := d.outlast(last, d.undoDatabase)
	if err == nil {
		d.undoDatabase = nil
	}
	return err
}

// conclude records an outcome as the last thing that a release does.
func (d *transition) conclude(ctx context.Context, outcome release.Outcome, cause error) {
	d.result.Probe = d.probe.End()
	limit := calmWords
	if ctx.Err() != nil {
		limit = lastWords
	}
	last, cancel := grace.Last(ctx, limit)
	defer cancel()
	if err := d.write(last, outcome, cause.Error()); err != nil {
		d.Say(event.Warning, "record", "", "the outcome could not be recorded on the host: %v", err)
	}
}

func (d *transition) write(ctx context.Context, outcome release.Outcome, message string) error {
	d.record.Outcome, d.record.Message, d.record.Ended = outcome, message, time.Now().UTC()
	d.record.Steps = nil // a write that was cut off may have filled them
	if r := d.result.Rollout; r != nil {
		for _, s := range r.Spans {
			d.record.Steps = append(d.record.Steps, release.Step{Name: s.Name, Service: s.Service, Started: s.Started, Ended: s.Ended})
		}
	}
	if d.turnedDown {
		d.record.Steps = append(d.record.Steps, release.Step{Name: release.WayBack})
	}
	if d.result.Probe != nil {
		data, err := json.Marshal(d.result.Probe)
		if err != nil {
			return err
		}
		d.record.Probe = data
	}
	if d.result.Checks != nil {
		data, err := json.Marshal(d.result.Checks)
		if err != nil {
			return err
		}
		d.record.Checks = data
	}
	return d.ledger.Update(ctx, d.record)
}

// keepTrue leaves in the result of a release that did not succeed only what is so: which services
// are not as they were, and that nobody knows what serves where there are any. It gives back
// the error that the release ended with.
func (d *transition) keepTrue(err error) error {
	if err == nil || d.record != nil && d.record.Outcome == release.Verified { // that could not be recorded: it serves all the same
		return err
	}
	d.result.Changed = nil
	if r := d.result.Rollout; r != nil && !d.cleared {
		for _, name := range slices.Concat(d.unproved, r.Touched) {
			if !slices.Contains(r.Undone, name) && !slices.Contains(d.result.Changed, name) {
				d.result.Changed = append(d.result.Changed, name)
			}
		}
	}
	if fault.Of(err) == fault.Stuck || len(d.result.Changed) > 0 || d.undoDatabase != nil {
		d.result.Unsure = true
	}
	return err
}

// settle records a verified release and prunes what no kept release needs. Who is told
// to end only now has released all the same; who is not waits for a host that is slow.
func (d *transition) settle(ctx context.Context) error {
	d.Step("record the end")
	d.result.Serving, d.result.Unsure = called(d.opts.Version, d.record.Number), false
	err := d.write(ctx, release.Verified, "")
	if err != nil && ctx.Err() != nil {
		last, cancel := grace.Last(ctx, lastWords)
		defer cancel()
		err = d.write(last, release.Verified, "")
	}
	if err != nil {
		return fault.New(fault.Interrupted, "", "run it again", "the release serves, but it could not be recorded: %w", err)
	}
	d.result.Outcome = Verified
	d.Say(event.Notice, "done", "", "%s serves after %s", d.result.Serving,
		time.Since(d.result.Started).Round(100*time.Millisecond))
	d.leftStopped()
	if d.opts.KeepReleases == 0 || ctx.Err() != nil {
		return nil
	}
	if err := d.prune(ctx); err != nil {
		d.Say(event.Warning, "prune", "", "%v", err)
	}
	return nil
}
