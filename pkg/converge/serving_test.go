package converge

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// Who is told how a release ended is told what serves only where that is known, and which
// services are not as they were.
func TestWhatServesAfterAReleaseThatDidNotSucceed(t *testing.T) {
	t.Parallel()
	ill := errors.New("api is ill")
	failed := func(ctx context.Context, d *transition) error { return d.fail(ctx, ill) }
	unchanged := func(ctx context.Context, d *transition) error { return d.endBefore(ctx, ill) }
	before := []release.Record{cutOffRun(release.Interrupted, "surge api")}
	for name, c := range map[string]struct {
		before  []release.Record
		end     func(context.Context, *transition) error
		kind    fault.Kind
		unsure  bool
		changed []string
	}{
		"it went back": {nil, failed, fault.Failed, false, nil},
		"it could not go back": {nil, func(ctx context.Context, d *transition) error {
			d.on = silentPlatform{}
			return d.fail(ctx, ill)
		}, fault.Stuck, true, []string{"api"}},
		"cancelled on its way": {nil, func(_ context.Context, d *transition) error { return d.fail(cancelled(t), ill) }, fault.Interrupted, true, []string{"api"}},
		"cancelled, and what it did is undone": {nil, func(_ context.Context, d *transition) error {
			d.result.Rollout.Undone = []string{"api"}
			return d.fail(cancelled(t), ill)
		}, fault.Interrupted, false, nil},
		"it stays": {nil, func(ctx context.Context, d *transition) error {
			d.opts.RollbackOnFailure = false
			return d.fail(ctx, ill)
		}, fault.Failed, true, []string{"api"}},
		"it was paused, and its batch undid itself": {nil, func(ctx context.Context, d *transition) error {
			d.opts.Stack.Services["api"].Update.FailureAction = stack.Pause
			d.result.Rollout.Undone = []string{"api"}
			return d.fail(ctx, ill)
		}, fault.Failed, false, nil},
		"what a migration needs was made, and cannot go": {nil, func(ctx context.Context, d *transition) error {
			d.on = silentPlatform{}
			return d.endBefore(ctx, ill)
		}, fault.Stuck, true, []string{"api"}},
		"what a migration needs was made, and went": {nil, unchanged, fault.Failed, false, nil},
		"a migration failed": {nil, func(ctx context.Context, d *transition) error {
			d.result.Rollout, d.record.Migrations = nil, []release.Migration{{Service: "api", Exit: 1}}
			return d.endBefore(ctx, fault.As(fault.Failed, ill))
		}, fault.Failed, false, nil},
		"refused": {nil, func(ctx context.Context, d *transition) error {
			d.result.Rollout = nil
			return d.refuse(ctx, ill)
		}, fault.Refused, false, nil},
		"refused after one that was cut off": {before, func(ctx context.Context, d *transition) error {
			d.result.Rollout = nil
			return d.refuse(ctx, ill)
		}, fault.Refused, true, nil},
		"it went back, and so did one that was cut off": {before, failed, fault.Failed, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := afterCutOff(t, map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": "v1"}, c.before...)
			d.Sink, d.opts.RollbackOnFailure, d.result.Changed = event.Discard, true, d.plan.Changed()
			d.was()
			err := d.keepTrue(c.end(t.Context(), d))
			assert.Equal(t, c.kind, fault.Of(err), "%v", err)
			assert.Equal(t, "v1", d.result.Serving)
			assert.Equal(t, c.unsure, d.result.Unsure)
			assert.Equal(t, c.changed, d.result.Changed)
		})
	}
}

// Those of a release before that was not verified, and what was touched twice, are told once.
func TestWhatStaysIsToldOnce(t *testing.T) {
	t.Parallel()
	d := &transition{unproved: []string{"gateway", "api"}, result: &Result{Changed: []string{"api", "web"}, Rollout: &rollout.Report{Touched: []string{"db", "api", "db", "web"}, Undone: []string{"web"}}}}
	_ = d.keepTrue(fault.New(fault.Interrupted, "", "", "interrupted"))
	assert.Equal(t, []string{"gateway", "api", "db"}, d.result.Changed)
}

// What is new serves also where only its record could not be written.
func TestWhatServesAndCouldNotBeRecorded(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"v2": "v2", "": "release 3"} {
		d, _ := afterCutOff(t, map[string]string{"api": "v1"}, cutOffRun(release.Interrupted))
		d.Sink, d.opts.Version = event.Discard, version
		d.was()
		d.result.Changed = d.plan.Changed()
		d.ledger.Guard(func(context.Context) error { return errors.New("the host does not answer") })
		err := d.keepTrue(d.settle(t.Context()))
		assert.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
		assert.Equal(t, want, d.result.Serving)
		assert.False(t, d.result.Unsure)
		assert.Equal(t, []string{"api", "beat", "worker"}, d.result.Changed)
	}
}

// Before a release changes anything, what serves is the last verified one, or what is known to
// run where the record of that is damaged.
func TestWhatServedBefore(t *testing.T) {
	t.Parallel()
	verified := &release.Record{Number: 2, Version: "v1"}
	for name, c := range map[string]struct {
		facts   facts
		earlier earlier
		serving string
		unsure  bool
	}{
		"a verified one":        {facts{verified: verified}, earlier{}, "v1", false},
		"none":                  {facts{}, earlier{}, "", false},
		"one was cut off since": {facts{verified: verified}, earlier{since: []release.Record{{Outcome: release.Interrupted}}}, "v1", true},
		"one was paused since":  {facts{verified: verified}, earlier{since: []release.Record{{Outcome: release.Failed}}}, "v1", true},
		"a damaged one":         {facts{verified: verified, standing: &standing{number: 3}}, earlier{}, "release 3", false},
	} {
		d := &transition{facts: &c.facts, earlier: c.earlier, plan: &plan.Plan{}, result: &Result{}}
		d.was()
		assert.Equal(t, c.serving, d.result.Serving, name)
		assert.Equal(t, c.unsure, d.result.Unsure, name)
	}
}
