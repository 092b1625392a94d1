package converge

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// What a release that was cut short had begun to do to the database is in its
// record, and decides whether code that runs already has to migrate it again.
func TestWhatACutOffReleaseDidToTheDatabase(t *testing.T) {
	t.Parallel()
	ended := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		record  release.Record
		says    string
		swapped bool
	}{
		"nothing":          {release.Record{Outcome: release.Interrupted}, "", false},
		"a migration":      {release.Record{Migrations: []release.Migration{{Service: "api", Before: "41", Exit: -1}}}, "; the migration of api had begun, the database was at revision 41", false},
		"one that ended":   {release.Record{Migrations: []release.Migration{{Service: "api", Ended: ended}}}, "", false},
		"a way back":       {release.Record{Outcome: release.Started, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", true},
		"one taken back":   {release.Record{Outcome: release.Failed, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", false},
		"one refused":      {release.Record{Outcome: release.Refused, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", false},
		"one that is over": {release.Record{Outcome: release.Verified, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", false},
	} {
		assert.Equal(t, c.says, halfDone(&c.record), name)
		assert.Equal(t, c.swapped, (&facts{since: []release.Record{c.record}}).swapped(), name)
	}
	assert.False(t, (&facts{}).swapped())
}

// A release that was refused does not hide the one before it that was cut short: that
// is still to be healed.
func TestARefusalHidesNoInterruption(t *testing.T) {
	t.Parallel()
	ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
	require.NoError(t, err)
	for _, r := range []release.Record{{Outcome: release.Verified}, {Outcome: release.Interrupted, RestoresDatabase: "b1"}, {Outcome: release.Refused}} {
		require.NoError(t, ledger.Append(t.Context(), &r))
	}
	f := &facts{stack: &stack.Stack{}}
	f.know(ledger)
	in := f.input(Options{}, nil)
	assert.Equal(t, []bool{true, true, false}, []bool{in.Interrupted, in.SchemaBack, in.Settled})
	assert.Equal(t, []int{3, 2, 1}, []int{f.newest.Number, f.acted.Number, f.verified.Number})
}

// What is ill while nothing of a later release is left was not made so by one.
func TestWholeIsWhatNothingIsLeftOfALaterRelease(t *testing.T) {
	t.Parallel()
	unit := func(hash string) map[string][]stack.Unit {
		return map[string][]stack.Unit{"api": {{Service: "api", State: stack.Exited, Hash: hash}}}
	}
	verified := release.Record{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"api": {Hash: "v1"}, "job": {Hash: "v1"}, "proxy": {Hash: "of the container before"}},
		Model: []byte(`{"services": {"proxy": {"network_mode": "service:api"}, "api": {"depends_on": {"job": {"condition": "service_completed_successfully"}}}}}`)}
	for name, c := range map[string]struct {
		last  release.Outcome
		units map[string][]stack.Unit
		whole bool
	}{
		"verified, and changed by hand": {"", unit("else"), true},
		"went back":                     {release.Failed, unit("v1"), true},
		"paused":                        {release.Failed, unit("v2"), false},
		"left a service":                {release.Failed, map[string][]stack.Unit{"new": {{Service: "new", Hash: "v2"}}}, false},
		"left a job that ended":         {release.Failed, map[string][]stack.Unit{"job": {{Service: "job", State: stack.Exited, Hash: "v2"}}}, true},
		"left a job at work":            {release.Failed, map[string][]stack.Unit{"job": {{Service: "job", State: stack.Running, Hash: "v2"}}}, false},
		"beside one of somebody":        {release.Failed, map[string][]stack.Unit{"pgadmin": {{Service: "pgadmin", State: stack.Running, Hash: "x"}}}, true},
		"a sidecar was made anew":       {release.Failed, map[string][]stack.Unit{"proxy": {{Service: "proxy", State: stack.Running, Hash: "x"}}}, true},
		"cut off":                       {release.Interrupted, unit("v1"), false},
		"stuck":                         {release.Stuck, unit("v1"), false},
	} {
		ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
		require.NoError(t, err)
		first := verified
		require.NoError(t, ledger.Append(t.Context(), &first))
		if c.last != "" {
			require.NoError(t, ledger.Append(t.Context(), &release.Record{Outcome: c.last, Services: services("new", "create"), Steps: []release.Step{{Service: "api"}}}))
		}
		f := &facts{stack: &stack.Stack{}, observed: stack.Observed{Units: c.units}}
		f.know(ledger)
		assert.Equal(t, c.whole, f.input(Options{}, nil).Whole, name)
	}
	assert.False(t, (&facts{}).whole(), "nothing was verified")
}

// A pooler that refuses the options of a session is told as such: by hand, where nobody
// sets them, the migration works.
func TestAPoolerThatRefusesOptions(t *testing.T) {
	t.Parallel()
	d := &transition{record: &release.Record{Backups: []string{"db-1"}, Migrations: []release.Migration{{Output: "FATAL:  unsupported startup parameter in options: lock_timeout"}}}}
	assert.Contains(t, d.afterFailure(d.record.Migrations[0]), "write lock-timeout: 0 in x-shiksha.migrate")
	assert.Contains(t, d.afterFailure(d.record.Migrations[0]), "is backup db-1")
	d.record.Migrations[0].Output = "relation orders exists"
	assert.Contains(t, d.afterFailure(d.record.Migrations[0]), "mend the migration")
}

// Who was not told to end has time to record how a release failed: what a slow host was not told
// looks cut off, and would be tried again.
func TestAFailureHasTimeToBeRecorded(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{false, true} {
		d := begun(t, fakeFiles{}, &release.Record{})
		var left time.Duration
		d.ledger.Guard(func(ctx context.Context) error {
			until, _ := ctx.Deadline()
			left = time.Until(until)
			return nil
		})
		ctx := t.Context()
		if told {
			ctx = cancelled(t)
		}
		d.conclude(ctx, release.Failed, errors.New("api is ill"))
		assert.Equal(t, told, left <= lastWords, left)
		last, _ := d.ledger.Latest()
		assert.Equal(t, release.Failed, last.Outcome)
	}
}

// A record spells the two actions that change nothing as the plan does.
func TestWhatStaysByItsRecordChangesNothingByItsPlan(t *testing.T) {
	t.Parallel()
	for _, a := range []plan.Action{
		plan.Create, plan.Surge, plan.StopFirst, plan.Drain, plan.Scale, plan.Reload, plan.Gate, plan.Heal, plan.Unchanged, plan.Remove, plan.Keep,
	} {
		assert.Equal(t, !plan.Step{Action: a}.Changes(), release.ServiceRecord{Action: string(a)}.Stays(), a)
	}
	assert.False(t, release.ServiceRecord{}.Stays(), "a service that a record lacks")
}
