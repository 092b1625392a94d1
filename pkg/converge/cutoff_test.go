package converge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeCutOff is a host with what a run that was cut off left, and remembers what a way back
// changes.
type fakeCutOff struct {
	Platform
	units map[string][]stack.Unit
	back  []string
}

func (*fakeCutOff) Adapt(context.Context, *stack.Stack) error { return nil }

func (*fakeCutOff) HoldsImages() bool { return false }

func (f *fakeCutOff) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: f.units}, nil
}

func (f *fakeCutOff) Carry(_ context.Context, p *plan.Plan, _ *stack.Stack, _ rollout.How) (rollout.Report, error) {
	for _, s := range p.Steps {
		if s.Changes() {
			f.back = append(f.back, string(s.Action)+" "+s.Service)
		}
	}
	return rollout.Report{}, nil
}

// cutOffShop is a stack of an API, a beat, and a worker that finishes what it has.
func cutOffShop(t *testing.T) *stack.Stack {
	t.Helper()
	st := &stack.Stack{Name: "shop", Order: []string{"api", "beat", "worker", "search"}, Services: map[string]*stack.Service{},
		Project: &types.Project{Name: "shop", Services: types.Services{}}}
	pinned := map[string]string{}
	for _, name := range st.Order {
		c := types.ServiceConfig{Name: name}
		c.Image, pinned[name] = name, "sha256:"+name
		st.Services[name], st.Project.Services[name] = &stack.Service{Name: name, Image: name, Replicas: 1}, c
	}
	st.Services["worker"].Ext.Idle = &stack.Idle{Stop: []string{"pause"}, Wait: []string{"idle"}, Budget: time.Minute}
	require.NoError(t, st.Pin(pinned))
	return st
}

// afterCutOff is a release after records that follow a verified one, on a host where each
// service runs of the verified one ("v1"), another ("v2"), or is in a state.
func afterCutOff(t *testing.T, runs map[string]string, records ...release.Record) (*transition, *fakeCutOff) {
	t.Helper()
	st := cutOffShop(t)
	on := &fakeCutOff{units: map[string][]stack.Unit{}}
	for name, is := range runs {
		u := stack.Unit{ID: name + "-1", Service: name, Number: 1, State: stack.Running, Hash: is}
		if svc := st.Services[name]; svc != nil && is != "v2" {
			u.Hash = svc.Hash
		}
		if is == string(stack.Exited) || is == string(stack.Restarting) {
			u.State = stack.State(is)
		}
		on.units[name] = []stack.Unit{u}
	}
	d := begun(t, fakeFiles{}, &release.Record{Version: "v1", Outcome: release.Verified})
	sealed, err := st.Seal()
	require.NoError(t, err)
	require.NoError(t, d.ledger.WriteSealed(t.Context(), 1, sealed))
	for _, r := range records {
		require.NoError(t, d.ledger.Append(t.Context(), &r))
	}
	d.on, d.opts.Stack, d.opts.Lock = on, st, &release.Lock{}
	d.plan = &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Surge}, {Service: "beat", Action: plan.StopFirst}, {Service: "worker", Action: plan.Drain}}}
	d.facts = &facts{stack: st, observed: stack.Observed{Units: on.units}}
	d.facts.know(d.ledger)
	d.facts.verified.Services = d.services(st, nil) // as the release was recorded
	d.earlier = d.facts.leaves()
	require.NoError(t, d.closeInterrupted(t.Context()))
	d.record = &release.Record{Outcome: release.Started}
	require.NoError(t, d.ledger.Append(t.Context(), d.record))
	d.result.Rollout = &rollout.Report{Touched: []string{"api"}, Failed: "api", Spans: []rollout.Span{{Name: "undo", Service: "api"}}}
	return d, on
}

// cutOffRun is a run that was to change the API, the beat and the worker, and did not end.
func cutOffRun(outcome release.Outcome, steps ...string) release.Record {
	r := release.Record{Version: "v2", Outcome: outcome, Services: map[string]release.ServiceRecord{
		"api":    {Hash: "v2", Replicas: 1, Action: string(plan.Surge)},
		"beat":   {Hash: "v2", Replicas: 1, Action: string(plan.StopFirst)},
		"worker": {Hash: "v2", Replicas: 1, Action: string(plan.Drain)},
		"extra":  {Hash: "v2", Replicas: 1, Action: string(plan.Create)},
		"search": {Hash: "search", Replicas: 1, Action: string(plan.Unchanged)},
	}}
	for _, name := range steps {
		step, service, _ := strings.Cut(name, " ")
		r.Steps = append(r.Steps, release.Step{Name: step, Service: service})
	}
	return r
}

// A release that fails after one that did not end takes back what that one left as well, and
// nothing else.
func TestAWayBackAfterACutOffRun(t *testing.T) {
	t.Parallel()
	all := func(change ...string) map[string]string {
		out := map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": "v1"}
		for i := 0; i < len(change); i += 2 {
			out[change[i]] = change[i+1]
		}
		return out
	}
	migration := cutOffRun(release.Interrupted)
	migration.Migrations = []release.Migration{{Service: "api", Exit: 1}}
	failed, cut := release.Failed, cutOffRun(release.Interrupted, "surge api", "drain worker")
	for name, c := range map[string]struct {
		runs    map[string]string
		records []release.Record
		back    string
	}{
		"two services are new":         {all("api", "v2", "beat", "v2"), []release.Record{cut}, "drain worker, stop-first beat, stop-first api"},
		"killed":                       {all("beat", "v2"), []release.Record{cutOffRun(release.Started)}, "drain worker, stop-first beat"},
		"stuck":                        {all("beat", "v2"), []release.Record{cutOffRun(release.Stuck, "surge api")}, "stop-first beat"},
		"workers were told":            {all(), []release.Record{cut}, "drain worker"},
		"it was not come to":           {all(), []release.Record{cutOffRun(release.Interrupted, "surge api")}, ""},
		"one was stopped":              {all("beat", "exited"), []release.Record{cut}, "create beat, drain worker"},
		"one is ill, as it was":        {all("beat", "restarting", "worker", "restarting"), []release.Record{cut}, ""},
		"it had not been to touch it":  {all("search", "exited"), []release.Record{cutOffRun(release.Interrupted, "surge api")}, ""},
		"a service came":               {all("extra", "v2"), []release.Record{cutOffRun(release.Interrupted, "surge api")}, "remove extra"},
		"one that no run made":         {all("old", "v3"), []release.Record{cutOffRun(release.Interrupted, "surge api")}, ""},
		"then one was refused":         {all(), []release.Record{cut, {Outcome: release.Refused}}, "drain worker"},
		"then one went back":           {all(), []release.Record{cut, cutOffRun(failed, "undo api")}, ""},
		"then one could not":           {all(), []release.Record{cut, cutOffRun(release.Interrupted, "undo api")}, "drain worker"},
		"only a migration failed then": {all(), []release.Record{cutOffRun(release.Interrupted, "surge api"), migration}, ""},
		"paused":                       {all("beat", "v2"), []release.Record{cutOffRun(failed, "surge api")}, "stop-first beat"},
		"it ended well":                {all("beat", "v2"), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, on := afterCutOff(t, c.runs, c.records...)
			err := d.fail(t.Context(), errors.New("api-2 is unhealthy"))
			assert.Equal(t, fault.Failed, fault.Of(err), "%v", err)
			assert.Equal(t, c.back, strings.Join(on.back, ", "))
			assert.Contains(t, fault.Hint(err), "v1 serves again")
			d.end(t.Context(), err)
			last, _ := d.ledger.Latest()
			assert.Equal(t, release.Failed, last.Outcome, "nothing is left to heal")
		})
	}
}

// Where the record of the last run cannot be read, what it was to change is not known: all that
// is not as the last verified release has it goes back, but for what nobody knows who made.
func TestAWayBackAfterARunThatCannotBeRead(t *testing.T) {
	t.Parallel()
	d, on := afterCutOff(t, map[string]string{"api": "v1", "beat": "v2", "worker": "v1", "search": "exited", "extra": "v2"})
	d.earlier = earlier{uncertain: true}
	err := d.fail(t.Context(), errors.New("api-2 is unhealthy"))
	assert.Equal(t, fault.Failed, fault.Of(err), "%v", err)
	assert.Equal(t, "create search, drain worker, stop-first beat", strings.Join(on.back, ", "))
}

// A release that fails and does not go back for what an unfinished one left does not hide it.
func TestAFailureHidesNoUnfinishedRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		records []release.Record
		end     func(*transition) error
		outcome release.Outcome
		cutOff  bool
		refused bool
	}{
		"a migration failed": {[]release.Record{cutOffRun(release.Interrupted)}, func(d *transition) error {
			d.result.Rollout, d.record.Migrations = nil, []release.Migration{{Service: "api", Exit: 1}}
			return d.endBefore(t.Context(), fault.New(fault.Failed, "", "", "the migration failed"))
		}, release.Interrupted, true, false},
		"a migration failed after its database came up": {[]release.Record{cutOffRun(release.Interrupted)}, func(d *transition) error {
			d.result.Rollout, d.record.Migrations = &rollout.Report{}, []release.Migration{{Service: "api"}, {Service: "api", Exit: 1}}
			return d.endBefore(t.Context(), fault.New(fault.Failed, "", "", "the migration failed"))
		}, release.Interrupted, true, false},
		"no way back is wanted": {[]release.Record{cutOffRun(release.Stuck)}, func(d *transition) error {
			d.opts.RollbackOnFailure = false
			err := d.fail(t.Context(), errors.New("api is ill"))
			d.end(t.Context(), err)
			return err
		}, release.Interrupted, true, true},
		"it was paused": {[]release.Record{cutOffRun(release.Interrupted)}, func(d *transition) error {
			d.opts.Stack.Services["api"].Update.FailureAction = stack.Pause
			err := d.fail(t.Context(), errors.New("api is ill"))
			d.end(t.Context(), err)
			return err
		}, release.Interrupted, true, true},
		"nothing was unfinished": {nil, func(d *transition) error {
			d.opts.RollbackOnFailure = false
			err := d.fail(t.Context(), errors.New("api is ill"))
			d.end(t.Context(), err)
			return err
		}, release.Failed, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, on := afterCutOff(t, map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": "v1"}, c.records...)
			d.Sink = &event.Recorder{}
			err := c.end(d)
			assert.Equal(t, fault.Failed, fault.Of(err), "%v", err)
			assert.Empty(t, on.back)
			said := d.Sink.(*event.Recorder).Events()
			assert.Equal(t, c.cutOff, slices.ContainsFunc(said, func(e event.Event) bool {
				return strings.Contains(e.Text, "is not taken back: the next release does that; or go back to what served before: shiksha rollback --release 1")
			}), said)
			last, _ := d.ledger.Latest()
			assert.Equal(t, c.outcome, last.Outcome)
			assert.Equal(t, c.cutOff, strings.Contains(last.Message, "what release 2 left, which did not end, is not taken back"), last.Message)
			assert.Equal(t, c.refused, last.TurnedDown(), "to run it again fails again, where it was judged")
			f := &facts{stack: d.opts.Stack}
			f.know(d.ledger)
			assert.Equal(t, c.cutOff, f.input(Options{}, nil).Interrupted)
		})
	}
}

// What a way back to a backup had begun is known for as long as no release ended since.
func TestAnInterruptionHidesNoDatabaseThatWentBack(t *testing.T) {
	t.Parallel()
	for outcome, known := range map[release.Outcome]bool{release.Interrupted: true, release.Stuck: true, release.Failed: false, release.Verified: false} {
		ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
		require.NoError(t, err)
		for _, r := range []release.Record{{Outcome: release.Verified}, {Outcome: release.Interrupted, RestoresDatabase: "b1"}, cutOffRun(outcome, "undo api")} {
			require.NoError(t, ledger.Append(t.Context(), &r))
		}
		f := &facts{stack: &stack.Stack{}}
		f.know(ledger)
		assert.Equal(t, known, f.input(Options{}, nil).SchemaBack, outcome)
	}
}

// A live file that a later run wanted otherwise, and did not come to, is what the run
// before it left still.
func TestWhatTheLastRunDidNotComeToIsUnproved(t *testing.T) {
	t.Parallel()
	left := cutOffRun(release.Interrupted)
	left.Services["beat"] = release.ServiceRecord{Hash: "beat", Replicas: 1, Action: string(plan.Reload)}
	d, _ := afterCutOff(t, map[string]string{"beat": "v1"}, left, cutOffRun(release.Interrupted))
	d.plan = &plan.Plan{}
	now := d.services(d.opts.Stack, nil)
	was := now["beat"]
	for i := range d.facts.since {
		if r := d.facts.since[i]; r.Number == 2 {
			r.Services["beat"] = was
		}
	}
	was.Replicas = 7
	d.facts.verified.Services["beat"] = was
	assert.Equal(t, []string{"beat"}, d.neverVerified(t.Context()))
	assert.Contains(t, strings.Join(d.plan.Notes, ""), "release 2 made [beat] so")
}

// A release of some services is refused where it would settle the ledger over others that a
// run which did not end may have left.
func TestSomeServicesAfterACutOffRun(t *testing.T) {
	t.Parallel()
	cut := cutOffRun(release.Interrupted, "surge api", "drain worker")
	// Nothing ran of the beat before this one, and nothing does since.
	dead := cutOffRun(release.Interrupted, "surge api")
	dead.Services["beat"] = release.ServiceRecord{Hash: cutOffShop(t).Services["beat"].Hash, Replicas: 1, Action: string(plan.Create)}
	for name, c := range map[string]struct {
		services string
		runs     map[string]string
		records  []release.Record
		left     string
	}{
		"workers were told":        {"api", map[string]string{"api": "v1", "beat": "v1", "worker": "v1"}, []release.Record{cut}, "worker"},
		"they are named":           {"api worker", map[string]string{"api": "v1", "beat": "v1", "worker": "v1"}, []release.Record{cut}, ""},
		"one is new":               {"api worker", map[string]string{"api": "v1", "beat": "v2", "worker": "v1"}, []release.Record{cut}, "beat"},
		"only what is named":       {"api", map[string]string{"api": "v2", "beat": "v1", "worker": "v1"}, []release.Record{cutOffRun(release.Interrupted, "surge api")}, ""},
		"all":                      {"", map[string]string{"api": "v1", "beat": "v2", "worker": "v1"}, []release.Record{cut}, ""},
		"one that is left, paused": {"api", map[string]string{"api": "v1", "beat": "v2", "worker": "v1"}, []release.Record{cutOffRun(release.Failed, "surge api")}, "beat"},
		"it went back":             {"api", map[string]string{"api": "v1", "beat": "v1", "worker": "v1"}, []release.Record{cutOffRun(release.Failed, "surge api")}, ""},
		"changed by hand":          {"api", map[string]string{"api": "v1", "beat": "v2", "worker": "v1"}, nil, ""},
		"one that did not run":     {"api", map[string]string{"api": "v1", "beat": "exited", "worker": "v1"}, []release.Record{dead}, ""},
		"one that was stopped":     {"api", map[string]string{"api": "v1", "beat": "exited", "worker": "v1"}, []release.Record{cutOffRun(release.Interrupted, "surge api"), dead}, "beat"},
		"another is ill":           {"api", map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": "exited"}, []release.Record{cutOffRun(release.Interrupted, "surge api")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := afterCutOff(t, c.runs, c.records...)
			d.opts.Services = strings.Fields(c.services)
			require.NoError(t, d.hides(t.Context()))
			if c.left == "" {
				assert.Empty(t, d.plan.Refusals)
				return
			}
			require.Len(t, d.plan.Refusals, 1)
			assert.Contains(t, d.plan.Refusals[0], fmt.Sprintf("release %d did not end well and may have left %s otherwise than before", 1+len(c.records), c.left))
			assert.Contains(t, d.plan.Refusals[0], "or name those too, or first go back to what served before: shiksha rollback --release 1")
			d.plan.Refusals = nil
			d.earlier.since = slices.Clone(d.earlier.since)
			d.earlier.since[0].Restores = 1
			require.NoError(t, d.hides(t.Context()))
			wayBack := strings.HasSuffix(d.plan.Refusals[0], "or name those too, or first run the rollback that release 2 was again")
			assert.Equal(t, !c.records[0].Outcome.Clean(), wayBack, d.plan.Refusals[0])
			d.plan.Steps = nil
			d.plan.Refusals = nil
			require.NoError(t, d.hides(t.Context()))
			assert.Empty(t, d.plan.Refusals, "nothing is to be done, so nothing is settled")
		})
	}
}

// The first release had nothing to go back to, and what it left is not taken for verified.
func TestSomeServicesAfterAFirstReleaseThatWasCutOff(t *testing.T) {
	t.Parallel()
	d, _ := afterCutOff(t, map[string]string{"api": "v2", "beat": "v2"}, cutOffRun(release.Interrupted))
	d.facts.verified, d.opts.Services = nil, []string{"api"}
	require.NoError(t, d.hides(t.Context()))
	require.Len(t, d.plan.Refusals, 1)
	assert.Contains(t, d.plan.Refusals[0], "may have left beat otherwise")
	assert.NotContains(t, d.plan.Refusals[0], "rollback")
	assert.False(t, d.heals(), "what another tool made may be among it")
}
