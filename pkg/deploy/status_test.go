package deploy

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeLooks are what a closer look at units tells; one that it has not is gone.
type fakeLooks map[string]stack.Unit

func (f fakeLooks) Inspect(_ context.Context, id string) (stack.Unit, error) {
	if u, ok := f[id]; ok {
		return u, nil
	}
	return stack.Unit{}, errors.New("no such container")
}

// A job that ended well is done and not down, one that failed is down. Since when a
// service runs is when it was started last, and how often it was is told: a list of
// containers says neither.
func TestStatuses(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	unit := func(id string, state stack.State) stack.Unit {
		return stack.Unit{ID: id, State: state, Hash: "h", Created: made}
	}
	seen := stack.Observed{Units: map[string][]stack.Unit{
		"api":     {unit("api-1", stack.Running), unit("api-2", stack.Running)},
		"gone":    {unit("gone-1", stack.Running)},
		"prepare": {unit("prepare-1", stack.Exited)},
		"seed":    {unit("seed-1", stack.Exited)},
		"worker":  {unit("worker-1", stack.Exited)},
	}}
	ended := func(id string, code int) stack.Unit {
		u := unit(id, stack.Exited)
		u.ExitCode, u.StartedAt = code, made.Add(time.Hour)
		return u
	}
	started := func(id string, after time.Duration, restarts int) stack.Unit {
		u := unit(id, stack.Running)
		u.StartedAt, u.Restarts = made.Add(after), restarts
		return u
	}
	verified := release.Record{Services: map[string]release.ServiceRecord{}, Model: []byte(`{"services": {"api": {"depends_on": {
		"prepare": {"condition": "service_completed_successfully"}, "seed": {"condition": "service_completed_successfully"}}}}}`)}
	for name, units := range seen.Units {
		verified.Services[name] = release.ServiceRecord{Image: name, Hash: "h", Replicas: len(units)}
	}
	seen = closer(t.Context(), fakeLooks{"api-1": started("api-1", time.Hour, 0), "api-2": started("api-2", 2*time.Hour, 9),
		"prepare-1": ended("prepare-1", 0), "seed-1": ended("seed-1", 1), "worker-1": ended("worker-1", 0)}, seen)
	assert.Equal(t, []ServiceStatus{
		{Service: "api", Image: "api", Wanted: 2, Serving: 2, Restarts: 9, Since: made.Add(2 * time.Hour)},
		{Service: "gone", Image: "gone", Wanted: 1, Serving: 1, Since: made},
		{Service: "prepare", Image: "prepare", Wanted: 1, Done: 1},
		{Service: "seed", Image: "seed", Wanted: 1},
		{Service: "worker", Image: "worker", Wanted: 1},
	}, statuses(seen, verified))
}

// A rollback runs no job again: what the newer release left of one is done, and no unit
// that somebody made. One that is at work is.
func TestStatuses_JobsAfterARollback(t *testing.T) {
	t.Parallel()
	verified := release.Record{Services: map[string]release.ServiceRecord{"api": {Image: "api", Hash: "v1", Replicas: 1}, "prepare": {Image: "prepare", Hash: "v1", Replicas: 1}},
		Model: []byte(`{"services": {"api": {"depends_on": {"prepare": {"condition": "service_completed_successfully"}}}}}`)}
	for want, u := range map[ServiceStatus]stack.Unit{
		{Service: "prepare", Image: "prepare", Wanted: 1, Done: 1}:    {State: stack.Exited, Hash: "v2"},
		{Service: "prepare", Image: "prepare", Wanted: 1}:             {State: stack.Exited, ExitCode: 1, Hash: "v2"},
		{Service: "prepare", Image: "prepare", Wanted: 1, Foreign: 1}: {State: stack.Running, Hash: "v2"},
	} {
		seen := stack.Observed{Units: map[string][]stack.Unit{"api": {{State: stack.Exited, Hash: "v2"}}, "prepare": {u}}}
		assert.Equal(t, []ServiceStatus{{Service: "api", Image: "api", Wanted: 1, Foreign: 1}, want}, statuses(seen, verified))
	}
}

// The hash of a unit that shares the network of another is of that other one, which no record
// knows: it is the release's own all the same. That of a container which the file names is known.
func TestStatuses_WhoSharesANetwork(t *testing.T) {
	t.Parallel()
	verified := release.Record{Services: map[string]release.ServiceRecord{"vpn": {Image: "vpn", Hash: "v1", Replicas: 1}, "torrent": {Image: "torrent", Hash: "v1", Replicas: 1},
		"heir": {Image: "heir", Hash: "v1", Replicas: 1}},
		Model: []byte(`{"services": {"vpn": {}, "torrent": {"network_mode": "service:vpn"}, "heir": {"volumes_from": ["container:legacy"]}}}`)}
	seen := stack.Observed{Units: map[string][]stack.Unit{"vpn": {{State: stack.Running, Hash: "v1"}}, "torrent": {{State: stack.Running, Hash: "beside vpn-1"}},
		"heir": {{State: stack.Running, Hash: "v2"}}}}
	assert.Equal(t, []ServiceStatus{{Service: "heir", Image: "heir", Wanted: 1, Foreign: 1}, {Service: "torrent", Image: "torrent", Wanted: 1, Serving: 1}, {Service: "vpn", Image: "vpn", Wanted: 1, Serving: 1}},
		statuses(seen, verified))
}

// A Swarm's manager knows no container, and makes a new task of one that ended.
func TestASwarmIsNotLookedInto(t *testing.T) {
	t.Parallel()
	seen := stack.Observed{Scheduled: true, Units: map[string][]stack.Unit{"prepare": {{ID: "1", State: stack.Exited}}}}
	got := closer(t.Context(), fakeLooks{"1": {ID: "1", ExitCode: 1}}, seen)
	assert.Equal(t, seen, got)
}

// fakeState is a host's files in memory.
type fakeState map[string][]byte

func (f fakeState) Read(_ context.Context, name string) ([]byte, error) {
	if data, ok := f[name]; ok {
		return data, nil
	}
	return nil, fs.ErrNotExist
}

func (f fakeState) List(_ context.Context, dir string) (all []fs.FileInfo, err error) {
	for name := range f {
		if path.Dir(name) == dir {
			all = append(all, fakeInfo(path.Base(name)))
		}
	}
	return all, nil
}

func (f fakeState) Write(_ context.Context, name string, data []byte, _ fs.FileMode) error {
	f[name] = data
	return nil
}

func (f fakeState) MkdirAll(context.Context, string, fs.FileMode) error { return nil }

func (f fakeState) Remove(_ context.Context, name string) error { delete(f, name); return nil }

// fakeInfo is a file of which only the name is asked.
type fakeInfo string

func (i fakeInfo) Name() string     { return string(i) }
func (fakeInfo) Size() int64        { return 0 }
func (fakeInfo) Mode() fs.FileMode  { return 0o600 }
func (fakeInfo) ModTime() time.Time { return time.Time{} }
func (fakeInfo) IsDir() bool        { return false }
func (fakeInfo) Sys() any           { return nil }

// fakeLocks are looks at a lock, one after the other; each is what happens at it.
type fakeLocks struct {
	looks []func() release.Sight
	n     int
}

func (f *fakeLocks) LockOf(context.Context, string) release.Sight {
	f.n++
	return f.looks[min(f.n, len(f.looks))-1]()
}

// What an unfinished release left is told also where a later one was refused, or failed:
// history sends whoever asks to status for it.
func TestWhatCameSinceTheVerifiedOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outcomes           []release.Outcome
		newest, unfinished int
	}{
		{nil, 0, 0},
		{[]release.Outcome{release.Failed}, 1, 0},
		{[]release.Outcome{release.Stuck, release.Verified}, 0, 0},
		{[]release.Outcome{release.Verified, release.Started}, 2, 0},
		{[]release.Outcome{release.Interrupted, release.Interrupted}, 2, 0},
		{[]release.Outcome{release.Verified, release.Interrupted, release.Refused}, 3, 2},
		{[]release.Outcome{release.Verified, release.Interrupted, release.Failed, release.Refused}, 4, 2},
		{[]release.Outcome{release.Interrupted, release.Verified, release.Failed, release.Refused}, 4, 0},
	} {
		var all []release.Record
		var verified release.Record
		for i, o := range c.outcomes {
			all = append(all, release.Record{Number: i + 1, Outcome: o})
			if o == release.Verified {
				verified = all[i]
			}
		}
		newest, unfinished := since(verified, all)
		number := func(r *release.Record) int {
			if r == nil {
				return 0
			}
			return r.Number
		}
		assert.Equal(t, []int{c.newest, c.unfinished}, []int{number(newest), number(unfinished)}, "%v", c.outcomes)
	}
}

// A run that ends between the look at the ledger and the one at the lock was not cut
// off: it has recorded its end before it gave the lock back.
func TestARunThatEndsMeanwhileWasNotCutOff(t *testing.T) {
	t.Parallel()
	free := func() release.Sight { return release.Sight{Hand: release.Free} }
	for name, c := range map[string]struct {
		meanwhile func(*release.Ledger, *release.Record) release.Sight
		hand      release.Hand
		standing  release.Standing
		newest    int
	}{
		"it was cut off": {func(*release.Ledger, *release.Record) release.Sight { return free() }, release.Free, release.CutOff, 1},
		"it ends": {func(run *release.Ledger, r *release.Record) release.Sight {
			r.Outcome = release.Verified
			assert.NoError(t, run.Update(t.Context(), r))
			return free()
		}, release.Free, release.Ended, 1},
		"it ends and another begins": {func(run *release.Ledger, r *release.Record) release.Sight {
			r.Outcome = release.Failed
			assert.NoError(t, run.Update(t.Context(), r))
			assert.NoError(t, run.Append(t.Context(), &release.Record{Fence: 8}))
			return release.Sight{Hand: release.Held, Fence: 8}
		}, release.Held, release.UnderWay, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := fakeState{}
			open := func() *release.Ledger {
				l, err := release.Open(t.Context(), files, "/state", "shop")
				require.NoError(t, err)
				return l
			}
			run, record := open(), &release.Record{Fence: 7}
			require.NoError(t, run.Append(t.Context(), record))
			l := open()
			after := free
			if c.hand == release.Held {
				after = func() release.Sight { return release.Sight{Hand: release.Held, Fence: 8} }
			}
			seen, err := lockOf(t.Context(), &fakeLocks{looks: []func() release.Sight{func() release.Sight { return c.meanwhile(run, record) }, after}}, l, "shop")
			require.NoError(t, err)
			newest, _ := l.Latest()
			assert.Equal(t, []any{c.hand, c.standing, c.newest}, []any{seen.Hand, seen.Of(newest), newest.Number})
		})
	}
}

// A stored release that cannot be opened is one that nobody is sent back to.
func TestAStoredReleaseThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	files := fakeState{}
	l, err := release.Open(t.Context(), files, "/state", "shop")
	require.NoError(t, err)
	require.NoError(t, l.Append(t.Context(), &release.Record{Outcome: release.Verified}))
	require.ErrorContains(t, unopened(t.Context(), l, 1), "the host has no stored environment and model of release 1")
	sealed, err := (&stack.Stack{Name: "shop", Project: &types.Project{Name: "shop"}}).Seal()
	require.NoError(t, err)
	require.NoError(t, l.WriteSealed(t.Context(), 1, sealed))
	require.NoError(t, unopened(t.Context(), l, 1))
	require.NoError(t, l.WriteSealed(t.Context(), 1, []byte("{")))
	require.ErrorContains(t, unopened(t.Context(), l, 1), "cannot be read")
}
