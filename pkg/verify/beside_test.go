package verify

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
)

// fakeLock is a lock as it is seen.
type fakeLock struct {
	release.Sight
	asked int
}

func (f *fakeLock) LockOf(context.Context, string) release.Sight { f.asked++; return f.Sight }

// fakeHost are the host's files, which may be away.
type fakeHost struct {
	disk.Files
	away error
}

func (f *fakeHost) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	if f.away != nil {
		return nil, f.away
	}
	return f.Files.List(ctx, dir)
}

// What a release that is under way, or ended meanwhile, makes is not what was left over: the
// hint says so before it says anything of units, and nothing else changes.
func TestAVerificationBesideARelease(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	begin := func(r release.Record) func(*testing.T, *release.Ledger) {
		return func(t *testing.T, run *release.Ledger) { require.NoError(t, run.Append(t.Context(), &r)) }
	}
	held := func(fence int64) release.Sight {
		return release.Sight{Hand: release.Held, Fence: fence, Holder: release.Holder{Actor: "ann", Since: at}}
	}
	second := release.Record{Version: "v2", Actor: "ann", Fence: 7, Ended: at}
	verified, refused := second, second
	verified.Outcome, refused.Outcome = release.Verified, release.Refused
	const left = "containers: it is left over or made by hand"
	const again = "; if that finds it too: " + left
	underWay := "release 2 (v2) is under way, by ann since 2026-03-01 09:00:00 UTC: run it again when it has ended" + again
	for name, c := range map[string]struct {
		before, meanwhile func(*testing.T, *release.Ledger)
		lock              release.Sight
		away              error
		hint              string
	}{
		"nothing":                           {lock: release.Sight{Hand: release.Free}, hint: left},
		"one is under way":                  {before: begin(second), lock: held(7), hint: underWay},
		"one has begun":                     {meanwhile: begin(second), lock: held(7), hint: underWay},
		"one was cut off before":            {before: begin(second), lock: release.Sight{Hand: release.Free}, hint: left},
		"one was cut off, another run is":   {before: begin(second), lock: held(8), hint: left},
		"a backup is under way":             {lock: held(8), hint: left},
		"one ended":                         {meanwhile: begin(verified), lock: release.Sight{Hand: release.Free}, hint: "release 2 (v2) by ann ended as verified at 2026-03-01 09:00:00 UTC, while this looked: run it again" + again},
		"one ended, and the lock is unseen": {meanwhile: begin(verified), hint: "release 2 (v2) by ann ended as verified at 2026-03-01 09:00:00 UTC, while this looked: run it again" + again},
		"one was refused":                   {meanwhile: begin(refused), lock: release.Sight{Hand: release.Free}, hint: left},
		"the host does not tell":            {before: begin(second), lock: release.Sight{Hand: release.Unseen}, hint: left},
		"the host is away":                  {before: begin(second), lock: held(7), away: errors.New("away"), hint: left},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, files, lock := t.TempDir(), &fakeHost{}, &fakeLock{Sight: c.lock}
			open := func(files release.Files) *release.Ledger {
				l, err := release.Open(t.Context(), files, dir, "shop")
				require.NoError(t, err)
				return l
			}
			run := open(disk.Files{})
			begin(release.Record{Version: "v1", Outcome: release.Verified})(t, run)
			if c.before != nil {
				c.before(t, run)
			}
			l := open(files)
			seen, _ := l.LatestChange()
			if c.meanwhile != nil {
				c.meanwhile(t, run)
			}
			files.away = c.away
			r := &Result{Project: "shop", Report: &check.Report{Results: []check.Result{
				{Name: "containers", Required: true, Outcome: check.Fail, Hint: "it is left over or made by hand"},
				{Name: "ports", Required: true, Outcome: check.Fail},
				{Name: "http", Required: true, Outcome: check.Pass, Hint: "well"},
			}}}
			was := fault.New(fault.Failed, "x", left, "verification failed")
			err := r.beside(t.Context(), lock, l, seen, was)
			assert.Equal(t, c.hint, fault.Hint(err))
			assert.Equal(t, []any{fault.Failed, was.Error(), 1}, []any{fault.Of(err), err.Error(), lock.asked})
			want := "it is left over or made by hand"
			if c.hint != left {
				want = "if a run after that release finds it too: " + want
			}
			assert.Equal(t, []string{want, "", "well"}, []string{r.Report.Results[0].Hint, r.Report.Results[1].Hint, r.Report.Results[2].Hint})
		})
	}
}

// Who finds that all is well asks nobody.
func TestAVerificationThatEndsWellAsksNothing(t *testing.T) {
	t.Parallel()
	lock := &fakeLock{}
	require.NoError(t, (&Result{}).beside(t.Context(), lock, nil, release.Record{}, nil))
	assert.Zero(t, lock.asked)
}
