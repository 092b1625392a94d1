package converge

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeFiles hold the records of one release in memory.
type fakeFiles map[string][]byte

func (f fakeFiles) Read(_ context.Context, name string) ([]byte, error) {
	if data, ok := f[name]; ok {
		return data, nil
	}
	return nil, fs.ErrNotExist
}
func (f fakeFiles) List(context.Context, string) ([]fs.FileInfo, error) { return nil, fs.ErrNotExist }
func (f fakeFiles) Write(_ context.Context, name string, data []byte, _ fs.FileMode) error {
	f[path.Clean(name)] = data
	return nil
}
func (f fakeFiles) MkdirAll(context.Context, string, fs.FileMode) error { return nil }
func (f fakeFiles) Remove(_ context.Context, name string) error         { delete(f, name); return nil }

// begun is a release that its ledger knows of.
func begun(t *testing.T, files release.Files, record *release.Record) *transition {
	t.Helper()
	ledger, err := release.Open(t.Context(), files, "/state", "shop")
	require.NoError(t, err)
	require.NoError(t, ledger.Append(t.Context(), record))
	return &transition{Target: &target.Target{Sink: event.Discard}, ledger: ledger, record: record, facts: &facts{}, result: &Result{},
		opts: Options{Stack: &stack.Stack{Name: "shop"}, RollbackOnFailure: true}}
}

// cancelled is the context of a run that was told to end.
func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A release that ends before its rollout changed nothing, or takes back what it did,
// and the ledger says which.
func TestEndedBeforeTheRollout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		migrated, swapped bool
		outcome           release.Outcome
		kind              fault.Kind
	}{
		"nothing was done":                     {false, false, release.Refused, fault.Refused},
		"a migration failed":                   {true, false, release.Failed, fault.Failed},
		"a database was brought back, no more": {false, true, release.Failed, fault.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := &release.Record{}
			cause, undone := errors.New("the host does not answer"), false
			d := begun(t, fakeFiles{}, record)
			d.result.Rollout = &rollout.Report{}
			if c.migrated {
				record.Migrations = []release.Migration{{Service: "api"}}
				cause = fault.New(fault.Failed, "", "", "%w", cause)
			}
			if c.swapped {
				d.undoDatabase = func(context.Context) error { undone = true; return nil }
			}
			ended := d.endBefore(t.Context(), cause)
			require.ErrorIs(t, ended, cause)
			assert.Equal(t, c.kind, fault.Of(ended))
			assert.Equal(t, c.swapped, undone, "the database is as it was")
			last, _ := d.ledger.Latest()
			assert.Equal(t, c.outcome, last.Outcome)
		})
	}
}

// silentPlatform stands for a host that does not answer any more.
type silentPlatform struct{ Platform }

func (silentPlatform) Adapt(context.Context, *stack.Stack) error { return nil }

func (silentPlatform) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{}, errors.New("the host does not answer")
}

// A host that does not answer after its database was brought back takes nothing from
// what is known of the release before: the way back needs that.
func TestWhatIsKnownStays(t *testing.T) {
	t.Parallel()
	ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
	require.NoError(t, err)
	known := &facts{verified: &release.Record{Number: 1, Version: "v1"}}
	d := &transition{Target: &target.Target{Sink: event.Discard, Host: &host.Host{}}, on: silentPlatform{}, ledger: ledger, facts: known,
		opts: Options{Stack: &stack.Stack{Name: "shop"}, Images: func(context.Context, *release.Record) (map[string]engine.Image, error) { return nil, nil }}}
	require.Error(t, d.replan(cancelled(t)), "and nobody dials")
	assert.Same(t, known, d.facts)
	assert.Equal(t, "v1 serves again", d.servesNow())
}

// Where the database cannot be swapped back, what writes to it is not started: it is
// of the newer code. Others go back.
func TestNotSwappedBack(t *testing.T) {
	t.Parallel()
	for touched, back := range map[string]bool{"api": false, "web": true} {
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: silentPlatform{}, facts: &facts{}, writers: []string{"api"},
			opts: Options{Stack: &stack.Stack{Name: "shop"}, RollbackOnFailure: true}, result: &Result{Rollout: &rollout.Report{Touched: []string{touched}}},
			undoDatabase: func(context.Context) error { return errors.New("it could not be swapped back") }}
		err := d.fail(t.Context(), errors.New("api is ill"))
		assert.Equal(t, fault.Stuck, fault.Of(err))
		require.ErrorContains(t, err, "it could not be swapped back; [api] was left as it is")
		assert.Equal(t, back, strings.Contains(err.Error(), "the host does not answer"), "%s: %v", touched, err)
	}
}

// backPlatform carries out any way back and remembers what for.
type backPlatform struct {
	Platform
	back []string
}

func (*backPlatform) Adapt(context.Context, *stack.Stack) error { return nil }

func (*backPlatform) Observe(context.Context, string) (stack.Observed, error) {
	units := map[string][]stack.Unit{}
	for _, name := range []string{"api", "db"} {
		units[name] = []stack.Unit{{ID: name, Service: name, State: stack.Running}}
	}
	return stack.Observed{Units: units}, nil
}

func (b *backPlatform) Carry(_ context.Context, p *plan.Plan, _ *stack.Stack, _ rollout.How) (rollout.Report, error) {
	for _, s := range p.Steps {
		if s.Changes() {
			b.back = append(b.back, s.Service)
		}
	}
	return rollout.Report{}, nil
}

// A database whose unit is down can be swapped back once the way back has brought up
// the one from before; what writes to it follows.
func TestSwappedBackOnceTheDatabaseRuns(t *testing.T) {
	t.Parallel()
	for touched, back := range map[string]string{"db api": "db api", "api": ""} {
		on, asked := &backPlatform{}, 0
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, facts: &facts{}, writers: []string{"api"}, record: &release.Record{},
			opts: Options{Stack: &stack.Stack{Name: "shop"}, RollbackOnFailure: true, Lock: &release.Lock{}}, result: &Result{Rollout: &rollout.Report{}}}
		d.undoDatabase = func(context.Context) error {
			if asked++; !slices.Contains(on.back, "db") {
				return target.ErrStopped
			}
			return nil
		}
		err := d.takeBack(t.Context(), strings.Fields(touched))
		assert.Equal(t, back, strings.Join(on.back, " "))
		assert.Equal(t, back == "", err != nil, "%v", err)
		assert.Equal(t, len(strings.Fields(touched)), asked, "nothing is asked again where nothing changed")
	}
}

// A failed release that brought the database back leaves it to no release that stays
// as it is: its record says that it was swapped back.
func TestADatabaseThatWasBroughtBackIsNotPaused(t *testing.T) {
	t.Parallel()
	paused := &stack.Service{Name: "api"}
	paused.Update.FailureAction = stack.Pause
	for _, rolls := range []bool{true, false} {
		undone := false
		d := &transition{Target: &target.Target{Sink: event.Discard}, facts: &facts{}, result: &Result{Rollout: &rollout.Report{Failed: "api"}},
			opts: Options{Stack: &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": paused}}, RollbackOnFailure: rolls}}
		require.ErrorContains(t, d.fail(t.Context(), errors.New("api is ill")), "what was changed stays")
		d.undoDatabase = func(context.Context) error { undone = true; return nil }
		require.EqualError(t, d.fail(t.Context(), errors.New("api is ill")), "api is ill")
		assert.True(t, undone)
	}
}

// What is cut off in a migration, a backup or a restore is interrupted, whatever it
// calls itself: the next run has to heal what goes on in the database's server.
func TestCutOffIsInterrupted(t *testing.T) {
	t.Parallel()
	for _, kind := range []fault.Kind{fault.Failed, fault.Refused, fault.Interrupted} {
		d := begun(t, fakeFiles{}, &release.Record{Migrations: []release.Migration{{Service: "api"}}})
		ended := d.endBefore(cancelled(t), fault.New(kind, "", "", "it ended"))
		assert.Equal(t, fault.Interrupted, fault.Of(ended), kind)
		last, _ := d.ledger.Latest()
		assert.Equal(t, release.Interrupted, last.Outcome, kind)
	}
}

// A way back that is told to end while it fills the fresh database has left the one in
// use alone, and its record says so: nobody later takes it for brought back. One that
// had stopped what writes, or may have swapped, is interrupted.
func TestToldToEndWhileADatabaseIsFilled(t *testing.T) {
	t.Parallel()
	undo := func(context.Context) error { return nil }
	for name, c := range map[string]struct {
		stopped []string
		undo    func(context.Context) error
		outcome release.Outcome
	}{
		"filling":  {nil, nil, release.Refused},
		"stopping": {[]string{"api"}, nil, release.Interrupted},
		"swapping": {nil, undo, release.Interrupted},
	} {
		d := begun(t, fakeFiles{}, &release.Record{RestoresDatabase: "b1"})
		d.undoDatabase, d.result.Rollout = c.undo, &rollout.Report{Touched: c.stopped}
		ended := d.endBefore(cancelled(t), fault.New(fault.Refused, "", "", "backup b1 could not be restored"))
		assert.Equal(t, fault.Interrupted, fault.Of(ended), name)
		last, _ := d.ledger.Latest()
		assert.Equal(t, c.outcome, last.Outcome, name)
		assert.Equal(t, c.outcome == release.Interrupted, (&facts{since: []release.Record{last}}).swapped() && !last.ChangedNothing(), name)
	}
}

// watched remembers whether somebody looked at what runs.
type watched struct {
	Platform
	looked bool
}

func (w *watched) Observe(context.Context, string) (stack.Observed, error) {
	w.looked = true
	return stack.Observed{}, nil
}

// What a way back that was told to end has filled in part is taken away by the next
// release, though there is nothing else of it to heal.
func TestWhatWasHalfFilledIsTakenAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		newest release.Record
		heals  bool
		since  []release.Record
	}{
		"a way back that was refused": {release.Record{Outcome: release.Refused, RestoresDatabase: "b1"}, true, nil},
		"one that is over":            {release.Record{Outcome: release.Verified, RestoresDatabase: "b1"}, false, nil},
		"a release that was refused":  {release.Record{Outcome: release.Refused}, false, nil},
		"killed after one that was killed in its migration": {release.Record{Outcome: release.Interrupted}, true,
			[]release.Record{{Outcome: release.Interrupted, Migrations: []release.Migration{{}}}, {Outcome: release.Interrupted}}},
		"after one that went back since": {release.Record{Outcome: release.Interrupted}, false,
			[]release.Record{{Outcome: release.Interrupted, Migrations: []release.Migration{{}}}, {Outcome: release.Failed}, {Outcome: release.Interrupted}}},
	} {
		on := &watched{}
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, opts: Options{Stack: &stack.Stack{Name: "shop"}},
			facts: &facts{newest: &c.newest, acted: &release.Record{Outcome: release.Verified}, since: c.since}}
		require.NoError(t, d.heal(t.Context()), name)
		assert.Equal(t, c.heals, on.looked, name)
	}
}

// A release that is told to end when all was verified is recorded as what it is.
func TestToldToEndWhenItIsDone(t *testing.T) {
	t.Parallel()
	d := begun(t, fakeFiles{}, &release.Record{})
	d.opts.KeepReleases = 5
	require.NoError(t, d.settle(cancelled(t)))
	last, _ := d.ledger.Latest()
	assert.Equal(t, release.Verified, last.Outcome)
	assert.Equal(t, Verified, d.result.Outcome)

	d = begun(t, fakeFiles{}, &release.Record{})
	d.ledger.Guard(func(context.Context) error { return errors.New("the host does not answer") })
	assert.Equal(t, fault.Interrupted, fault.Of(d.settle(t.Context())), "what serves is new, and the record says started")
}

// slowFiles are on a host that takes a while to answer.
type slowFiles struct {
	fakeFiles
	takes time.Duration
}

func (s *slowFiles) Write(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	if err := grace.Pause(ctx, s.takes); err != nil {
		return err
	}
	return s.fakeFiles.Write(ctx, name, data, perm)
}

// Only who was told to end has to hurry: a release that nobody cancelled waits for a
// host that comes back, one that is cancelled while it writes has its last words.
func TestTheEndIsRecordedOnASlowHost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		takes, cancelled time.Duration
		recorded         bool
	}{
		"nobody cancels":              {30 * time.Second, 0, true},
		"cancelled while it writes":   {3 * time.Second, time.Second, true},
		"cancelled, with no answer":   {30 * time.Second, time.Second, false},
		"cancelled when all was done": {3 * time.Second, time.Nanosecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := &slowFiles{fakeFiles: fakeFiles{}}
				d := begun(t, files, &release.Record{})
				d.result.Rollout = &rollout.Report{Spans: []rollout.Span{{Name: "roll", Service: "api"}}}
				files.takes = c.takes
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancelled > 0 {
					time.AfterFunc(c.cancelled, cancel)
				}
				err := d.settle(ctx)
				last, _ := d.ledger.Latest()
				if !c.recorded {
					assert.Equal(t, fault.Interrupted, fault.Of(err))
					assert.Equal(t, release.Started, last.Outcome)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, release.Verified, last.Outcome)
				assert.Len(t, last.Steps, 1, "what is written again is written once")
			})
		})
	}
}

// A release that is told to end before it changed anything says so, and its record
// claims nothing that would have to be healed.
func TestToldToEndBeforeAnythingWasChanged(t *testing.T) {
	t.Parallel()
	d := begun(t, fakeFiles{}, &release.Record{RestoresDatabase: "b1"})
	ended := d.refuse(cancelled(t), errors.New("pulling"))
	assert.Equal(t, fault.Interrupted, fault.Of(ended))
	last, _ := d.ledger.Latest()
	assert.Equal(t, release.Refused, last.Outcome)
	assert.True(t, last.ChangedNothing())
	assert.Contains(t, last.Message, "interrupted before anything was changed")
}

// What cuts a look at the host off may call itself anything; a run that was told to end
// before its record began was interrupted all the same, and refused by nobody.
func TestToldToEndBeforeTheRecord(t *testing.T) {
	t.Parallel()
	ledger, err := release.Open(t.Context(), &fullDisk{fakeFiles{}, "1.json"}, "/state", "shop")
	require.NoError(t, err)
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{}, Project: &types.Project{Name: "shop"}}
	d := &transition{Target: &target.Target{Sink: event.Discard}, ledger: ledger, facts: &facts{}, plan: &plan.Plan{}, result: &Result{},
		opts: Options{Stack: st, Lock: &release.Lock{}}}
	ended := d.release(cancelled(t))
	assert.Equal(t, fault.Interrupted, fault.Of(ended), "%v", ended)
}

// fullDisk takes no file with such a name.
type fullDisk struct {
	fakeFiles
	name string
}

func (f *fullDisk) Write(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	if f.name != "" && strings.HasSuffix(name, f.name) {
		f.name = ""
		return errors.New("no space left on device")
	}
	return f.fakeFiles.Write(ctx, name, data, perm)
}

// A release of which only the record could be written is refused: the next run does
// not take it for one that was cut short.
func TestBegunInParts(t *testing.T) {
	t.Parallel()
	for file, recorded := range map[string]bool{"chain.json": true, "1.sealed": true, "1.json": false} {
		ledger, err := release.Open(t.Context(), &fullDisk{fakeFiles{}, file}, "/state", "shop")
		require.NoError(t, err)
		st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{}, Project: &types.Project{Name: "shop"}}
		d := &transition{Target: &target.Target{Sink: event.Discard}, ledger: ledger, facts: &facts{}, plan: &plan.Plan{}, result: &Result{},
			opts: Options{Stack: st, Lock: &release.Lock{}}}
		ended := d.release(t.Context())
		require.ErrorContains(t, ended, "no space left on device")
		assert.Equal(t, fault.Refused, fault.Of(ended))
		last, ok := ledger.Latest()
		assert.Equal(t, recorded, ok, file)
		assert.True(t, !ok || last.Outcome == release.Refused, "%s: %s", file, last.Outcome)
	}
}
