package converge

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// A failed release that stays as it is names what to go back to, and only what it left.
func TestWhatStaysAfterAFailure(t *testing.T) {
	t.Parallel()
	paused := &stack.Service{Name: "api"}
	paused.Update.FailureAction = stack.Pause
	for name, c := range map[string]struct {
		facts   facts
		failed  string
		touched []string
		undone  []string
		says    string
		hint    string
	}{
		"a reload stays": {facts{verified: &release.Record{Number: 2}}, "api", []string{"gateway", "api"}, []string{"api"},
			"api is ill; failure_action is pause, so what was changed stays: [gateway]",
			"mend it and release again, or go back to what served before: shiksha rollback --release 2"},
		"it stays itself": {facts{verified: &release.Record{Number: 2}}, "api", []string{"gateway", "api"}, nil,
			"api is ill; failure_action is pause, so what was changed stays: [gateway api]",
			"mend it and release again, or go back to what served before: shiksha rollback --release 2"},
		"nothing stays": {facts{verified: &release.Record{Number: 2, Version: "v2"}}, "api", []string{"api"}, []string{"api"},
			"api is ill; failure_action is pause, and nothing of it stays", "v2 serves again"},
		"the first release":    {facts{}, "api", []string{"api"}, nil, "api is ill; failure_action is pause, so what was changed stays: [api]", "mend it and release again"},
		"a damaged one before": {facts{verified: &release.Record{Number: 2}, standing: &standing{number: 3}}, "api", []string{"api"}, nil, "api is ill; failure_action is pause, so what was changed stays: [api]", "mend it and release again"},
		"no way back": {facts{verified: &release.Record{Number: 2}}, "web", []string{"web"}, nil, "api is ill; rollback-on-failure is off, so what was changed stays: [web]",
			"mend it and release again, or go back to what served before: shiksha rollback --release 2"},
	} {
		d := &transition{Target: &target.Target{Sink: event.Discard}, facts: &c.facts,
			result: &Result{Rollout: &rollout.Report{Failed: c.failed, Touched: c.touched, Undone: c.undone}},
			opts:   Options{Stack: &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": paused}}}}
		err := d.fail(t.Context(), errors.New("api is ill"))
		require.EqualError(t, err, c.says, name)
		assert.Equal(t, c.hint, fault.Hint(err), name)
		assert.Equal(t, fault.Failed, fault.Of(err))
	}
	both := joined(&rollout.Report{Touched: []string{"db"}}, rollout.Report{Touched: []string{"db", "api"}, Undone: []string{"db", "api"}})
	assert.Equal(t, []string{"api"}, both.Undone, "the database was brought up before")
}

// A database that comes back stops what writes to it. What the release that comes back does
// not have and nobody takes away stays stopped: that is said, with what starts it again.
func TestWhatStaysStoppedBesideARestoredDatabaseIsTold(t *testing.T) {
	t.Parallel()
	unit := func(name string, state stack.State) stack.Unit {
		return stack.Unit{ID: name, Name: "shop-" + name, State: state}
	}
	before := map[string][]stack.Unit{
		"api": {unit("api-1", stack.Running)}, "search": {unit("search-1", stack.Running)}, "made": {unit("made-1", stack.Running)},
		"off": {unit("off-1", stack.Exited)}, "etl": {unit("etl-1", stack.Running), unit("etl-2", stack.Restarting), unit("etl-3", stack.Exited)},
	}
	for _, scheduled := range []bool{false, true} {
		said := &event.Recorder{}
		d := &transition{Target: &target.Target{Sink: said}, writers: []string{"api", "made", "off", "etl"}, ran: stack.Observed{Units: before, Scheduled: scheduled},
			opts: Options{Stack: &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": {Name: "api"}}}},
			rest: &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Keep}, {Service: "made", Action: plan.Remove}, {Service: "etl", Action: plan.Keep}}}}
		d.leftStopped()
		require.Len(t, said.Events(), 1)
		e := said.Events()[0]
		assert.Equal(t, event.Warning, e.Level)
		assert.Equal(t, "etl", e.Service)
		if scheduled {
			assert.Contains(t, e.Text, "start it with: docker service scale shop_etl=2")
			continue
		}
		assert.Contains(t, e.Text, "start it with: docker start shop-etl-1 shop-etl-2")
	}
}

// What is cut off while a database goes back leaves nobody at work who writes to it: nobody is
// told that users are served, nor sent to the newer release, which may not write to it.
func TestCutOffWhileADatabaseGoesBack(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*transition, context.Context, context.CancelFunc) error{
		"in the rollout": func(d *transition, ctx context.Context, _ context.CancelFunc) error {
			return d.fail(ctx, fault.New(fault.Interrupted, "api", "users are served; run the same again", "interrupted"))
		},
		"in the swap": func(d *transition, ctx context.Context, cancel context.CancelFunc) error {
			cancel()
			return d.fail(ctx, errors.New("the swap was cut off"))
		},
	} {
		for _, stopped := range [][]string{nil, {"api", "worker"}} {
			d := &transition{Target: &target.Target{Sink: event.Discard}, facts: &facts{verified: &release.Record{Number: 3}}, writers: stopped,
				result: &Result{Rollout: &rollout.Report{}}, opts: Options{Stack: &stack.Stack{Name: "shop"}}}
			ctx, cancel := context.WithCancel(t.Context())
			err := end(d, ctx, cancel)
			cancel()
			assert.Equal(t, fault.Interrupted, fault.Of(err), name)
			if stopped == nil {
				assert.Contains(t, fault.Hint(err), "run", name)
				assert.NotContains(t, fault.Hint(err), "no answer", name)
				continue
			}
			assert.Equal(t, "users may get no answer of api, worker: run the same again, which goes on with it", fault.Hint(err), name)
		}
	}
}

// What migrated and failed is gone back from to what served with that schema while it did: the
// rollback that is named says so, or it would be refused. Nobody knows that of a database that
// a run after it may have brought back.
func TestGoingBackOverAMigrationIsNamedWhole(t *testing.T) {
	t.Parallel()
	const bare, whole = "shiksha rollback --release 12", "shiksha rollback --release 12 --accept-schema (it served with this schema already)"
	migrated := func(outcome release.Outcome, before, after string) release.Record {
		return release.Record{Number: 13, Outcome: outcome, Migrations: []release.Migration{{Service: "api", Before: before, After: after}}}
	}
	restored := func(outcome release.Outcome) release.Record {
		return release.Record{Number: 14, Outcome: outcome, RestoresDatabase: "postgres-1"}
	}
	now, same := migrated(release.Started, "41", "42"), migrated(release.Started, "42", "42")
	begun, back := release.Record{Number: 15, Outcome: release.Started}, restored(release.Started)
	for name, c := range map[string]struct {
		since  []release.Record
		record *release.Record
		want   string
	}{
		"it migrated":                              {nil, &now, whole},
		"it migrated nothing":                      {nil, &same, bare},
		"one before it migrated":                   {[]release.Record{migrated(release.Failed, "41", "42")}, &begun, whole},
		"one before it was cut off, and it begins": {[]release.Record{migrated(release.Interrupted, "41", "")}, nil, whole},
		"a database may be back":                   {[]release.Record{migrated(release.Interrupted, "41", "42"), restored(release.Interrupted)}, &begun, bare},
		"a database was swapped back":              {[]release.Record{migrated(release.Interrupted, "41", "42"), restored(release.Failed)}, &begun, whole},
		"it brings a database back":                {nil, &back, bare},
	} {
		d := &transition{facts: &facts{verified: &release.Record{Number: 12}, since: c.since}, record: c.record}
		assert.Equal(t, ", or go back to what served before: "+c.want, d.former(", or "), name)
	}
	d := &transition{Target: &target.Target{Sink: event.Discard}, facts: &facts{verified: &release.Record{Number: 12}}, record: &now,
		result: &Result{Rollout: &rollout.Report{Failed: "api", Touched: []string{"api"}}}, opts: Options{Stack: &stack.Stack{Name: "shop"}}}
	assert.Equal(t, "mend it and release again, or go back to what served before: "+whole, fault.Hint(d.fail(t.Context(), errors.New("api is ill"))))
}

// Who has a command that says which schema the older code can read is not told to accept it: a
// rollback asks that command, and what it says no to is not gone back to unawares.
func TestGoingBackOverAMigrationAsksWhoCanTell(t *testing.T) {
	t.Parallel()
	const back, accept = "go back to what served before: shiksha rollback --release 1", " --accept-schema (it served with this schema already)"
	for name, migrate := range map[string]*stack.Migrate{
		"it can be asked": {Command: []string{"migrate"}, Compatible: []string{"check"}}, "it cannot": {Command: []string{"migrate"}}, "it migrates nothing": nil,
	} {
		cut := cutOffRun(release.Interrupted)
		cut.Migrations = []release.Migration{{Service: "api", Before: "41", After: "42"}}
		d, _ := afterCutOff(t, map[string]string{"api": "v1", "beat": "v1", "worker": "v1"}, cut)
		d.opts.Stack.Services["api"].Ext.Migrate = migrate
		sealed, err := d.opts.Stack.Seal()
		require.NoError(t, err)
		require.NoError(t, d.ledger.WriteSealed(t.Context(), 1, sealed))
		want := back + accept
		if name == "it can be asked" {
			want = back
		}
		d.opts.Services = []string{"api"}
		require.NoError(t, d.hides(t.Context()), "which is told before the preflight")
		require.Len(t, d.plan.Refusals, 1)
		assert.True(t, strings.HasSuffix(d.plan.Refusals[0], ", or first "+want), "%s: %s", name, d.plan.Refusals[0])

		d.opts.Services, d.judges = nil, false
		lost, err := d.unopened(t.Context())
		require.NoError(t, err)
		assert.Empty(t, lost)
		assert.Equal(t, want, d.former(""), name)
	}
}

// Where the database stays the older one nobody is told to start by hand what is of the newer
// code: the same rollback goes on with it.
func TestNothingIsStartedByHandBesideTheOlderDatabase(t *testing.T) {
	t.Parallel()
	for _, writes := range [][]string{{"api", "worker"}, nil} {
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: silentPlatform{}, facts: &facts{}, writers: writes,
			opts: Options{Stack: &stack.Stack{Name: "shop"}, RollbackOnFailure: true}, result: &Result{Rollout: &rollout.Report{Touched: []string{"api"}}},
			undoDatabase: func(context.Context) error { return errors.New("its database does not run") }}
		err := d.fail(t.Context(), errors.New("api is ill"))
		require.Equal(t, fault.Stuck, fault.Of(err))
		want := "see that the database runs (start that by hand if it does not), then run the same rollback again, or release a version that works"
		if writes != nil {
			want += "; start nothing of api, worker by hand: its code is newer than the database"
		}
		assert.Equal(t, want, fault.Hint(err))
	}
}
