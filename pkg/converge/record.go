package converge

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// lastWords bounds what a release that is cancelled or failed still writes on the host.
const lastWords = 4 * time.Second

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
	n.Message = "its deployer ended without recording an outcome" + unended(n)
	return d.ledger.Update(ctx, n)
}

// unended says what a release that was cut short had begun to do to a database.
func unended(n *release.Record) string {
	if n.RestoresDatabase != "" {
		return "; it was bringing the database back to backup " + n.RestoresDatabase
	}
	for _, m := range n.Migrations {
		if m.Ended.IsZero() {
			return fmt.Sprintf("; the migration of %s had begun, the database was at revision %s", m.Service, known(m.Before))
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
		return nil, fmt.Errorf("releasing only some services needs the release before: %w", err)
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
		r := release.ServiceRecord{Image: svc.Image, Pinned: svc.Pinned, Hash: svc.Hash, Replicas: svc.Replicas,
			Environment: env[name], Files: map[string]string{}, Action: string(plan.Unchanged)}
		for _, f := range svc.Files {
			r.Files[f.Target] = f.Sum
		}
		if s := d.plan.Step(name); s != nil {
			r.Action = string(s.Action)
		}
		out[name] = r
	}
	return out
}

// neverVerified names the services for which nothing is to be done because a release that
// did not end well did it, and that are not as the last verified one had them: a live
// file, a scale, one that went. Its checks were cut off, or failed.
func (d *transition) neverVerified(ctx context.Context) (names []string) {
	f := d.facts
	if f.verified == nil || f.acted == nil || f.acted.Number <= f.verified.Number || f.standing != nil {
		return nil
	}
	runs, err := d.runs(ctx)
	if err != nil {
		return nil // what cannot be released says so by itself
	}
	now, left, was := d.services(runs, nil), f.acted.Services, f.verified.Services
	every := maps.Clone(was)
	maps.Copy(every, now)
	for _, name := range slices.Sorted(maps.Keys(every)) {
		step := d.plan.Step(name)
		if (step == nil || !step.Changes()) && alike(now[name], left[name]) && !alike(now[name], was[name]) {
			names = append(names, name)
		}
	}
	if len(names) > 0 && d.plan.Empty() {
		d.plan.Notes = append(d.plan.Notes, fmt.Sprintf("release %d made %v so and was not verified: that is done now, or it is taken back",
			f.acted.Number, names))
	}
	return names
}

// alike tells whether two records of a service mean the same units.
func alike(a, b release.ServiceRecord) bool {
	return a.Hash == b.Hash && a.Replicas == b.Replicas && maps.Equal(a.Files, b.Files)
}

// end records how a release ended that had begun to change something and did not
// succeed.
func (d *transition) end(ctx context.Context, cause error) {
	outcome := release.Failed
	switch fault.Of(cause) {
	case fault.Interrupted:
		outcome = release.Interrupted
	case fault.Stuck:
		outcome = release.Stuck
	}
	d.conclude(ctx, outcome, cause)
}

// conclude records an outcome as the last thing that a release does.
func (d *transition) conclude(ctx context.Context, outcome release.Outcome, cause error) {
	last, cancel := grace.Last(ctx, lastWords)
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

// settle records a verified release and prunes what no kept release needs. Who is told
// to end only now has released all the same; who is not waits for a host that is slow.
func (d *transition) settle(ctx context.Context) error {
	d.Step("record the end")
	err := d.write(ctx, release.Verified, "")
	if err != nil && ctx.Err() != nil {
		last, cancel := grace.Last(ctx, lastWords)
		defer cancel()
		err = d.write(last, release.Verified, "")
	}
	if err != nil {
		return fault.New(fault.Interrupted, "", "run it again", "the release serves, but it could not be recorded: %w", err)
	}
	d.result.Outcome, d.result.Serving = Verified, d.opts.Version
	d.Say(event.Notice, "done", "", "%s serves after %s", title(d.opts.Version, d.record.Number),
		time.Since(d.result.Started).Round(100*time.Millisecond))
	if d.opts.KeepReleases == 0 || ctx.Err() != nil {
		return nil
	}
	if err := d.prune(ctx); err != nil {
		d.Say(event.Warning, "prune", "", "%v", err)
	}
	return nil
}
