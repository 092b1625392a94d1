package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

func open(t *testing.T, state string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), localFiles{}, state, "shop")
	require.NoError(t, err)
	return l
}

func record(version string) *Record {
	return &Record{
		Version: version, Commit: "abc", Actor: "ann", RunURL: "https://example.org/1",
		Services: map[string]ServiceRecord{"api": {Image: "api:" + version, Replicas: 3,
			Environment: map[string]string{"A": "1f"}, Files: map[string]string{"/etc/x": "2e"}, Action: "surge"}},
		Model: json.RawMessage(`{"services": {"api": {"command": "<a> & é"}}}`),
	}
}

// releases appends releases with the given outcomes.
func releases(t *testing.T, l *Ledger, outcomes ...Outcome) {
	t.Helper()
	for _, o := range outcomes {
		r := record(fmt.Sprintf("v%d", l.Next()))
		require.NoError(t, l.Append(t.Context(), r))
		if o != Started {
			r.Outcome, r.Ended = o, time.Now()
			require.NoError(t, l.Update(t.Context(), r))
		}
	}
}

func numbers(rs []Record) []int {
	var ns []int
	for _, r := range rs {
		ns = append(ns, r.Number)
	}
	return ns
}

func TestLedgerKeepsReleases(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	l := open(t, state)
	_, ok := l.Latest()
	assert.False(t, ok)
	assert.Equal(t, 1, l.Next())

	r := record("v1")
	require.NoError(t, l.Append(t.Context(), r))
	assert.Equal(t, 1, r.Number)
	assert.Equal(t, "shop", r.Project)
	assert.Equal(t, Started, r.Outcome)
	assert.WithinDuration(t, time.Now(), r.Started, time.Minute)
	seen, ok := open(t, state).Latest()
	require.True(t, ok)
	assert.Equal(t, *r, seen, "what is read is what Append gave back")
	assert.Equal(t, Started, seen.Outcome, "an interrupted release is seen by the next run")

	r.Outcome, r.Ended, r.Message = Verified, time.Now(), "all \xff well"
	r.Steps = []Step{{Name: "roll", Service: "api", Started: time.Now(), Ended: time.Now()}}
	r.Probe = json.RawMessage(`{"failed": 0}`)
	require.NoError(t, l.Update(t.Context(), r))
	releases(t, l, Failed)

	l = open(t, state)
	assert.Empty(t, l.Damage())
	assert.Equal(t, []int{1, 2}, numbers(l.All()))
	verified, ok := l.LatestVerified()
	require.True(t, ok)
	assert.Equal(t, *r, verified)
	assert.Equal(t, "all \ufffd well", verified.Message)
	second, err := l.Get(2)
	require.NoError(t, err)
	assert.Equal(t, verified.Sum, second.PrevSum)
	_, err = l.Get(3)
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.False(t, l.Uncertain())

	for name, mode := range map[string]fs.FileMode{"shop": 0o700, "shop/releases": 0o700, "shop/releases/1.json": 0o600, "shop/chain.json": 0o600} {
		info, err := os.Stat(filepath.Join(state, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
	}
}

func TestOnlyTheNewestAndOnlyItsEndIsUpdated(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	releases(t, l, Verified, Started)
	first, err := l.Get(1)
	require.NoError(t, err)
	first.Message = "later"
	assert.ErrorContains(t, l.Update(t.Context(), &first), "only the newest record")

	second, err := l.Get(2)
	require.NoError(t, err)
	for name, change := range map[string]func(*Record){
		"version":  func(r *Record) { r.Version = "v9" },
		"services": func(r *Record) { r.Services = nil },
		"model":    func(r *Record) { r.Model = json.RawMessage(`{}`) },
		"chain":    func(r *Record) { r.PrevSum = "" },
	} {
		changed := second
		change(&changed)
		assert.ErrorContains(t, l.Update(t.Context(), &changed), "fixed once it was appended", name)
	}
	odd := second
	odd.Outcome = "fine"
	assert.ErrorContains(t, l.Update(t.Context(), &odd), `unknown outcome "fine"`)
	assert.ErrorContains(t, l.Append(t.Context(), record("v3")), "release 2 has not ended")

	second.Outcome = Interrupted
	require.NoError(t, l.Update(t.Context(), &second))
	second.Outcome = Started
	assert.ErrorContains(t, l.Update(t.Context(), &second), "it has ended as interrupted")
	assert.ErrorContains(t, l.Append(t.Context(), &Record{Number: 7}), "the next is 3")
	require.NoError(t, l.Append(t.Context(), &Record{Number: 3}))
}

func TestGuardStopsEveryWrite(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	releases(t, l, Started)
	r, _ := l.Latest()
	lost := errors.New("the lock is lost")
	l.Guard(func(context.Context) error { return lost })
	assert.ErrorIs(t, l.Append(t.Context(), record("v2")), lost)
	assert.ErrorIs(t, l.Update(t.Context(), &r), lost)
	assert.ErrorIs(t, l.WriteSealed(t.Context(), 1, nil), lost)
	_, err := l.Prune(t.Context(), 1)
	assert.ErrorIs(t, err, lost)
}

func TestASecondWriterIsNoticed(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	one, two := open(t, state), open(t, state)
	releases(t, one, Verified)
	err := two.Append(t.Context(), record("v1"))
	assert.Equal(t, fault.Interrupted, fault.Of(err))
	assert.ErrorContains(t, err, "release 1 was written by somebody else")
	require.NoError(t, two.Reload(t.Context()))
	require.NoError(t, two.Append(t.Context(), record("v2")))
}

func TestDirIsOneFolderOfTheStateDir(t *testing.T) {
	t.Parallel()
	dir, err := Dir("/var/lib/shiksha/", "shop_1-a")
	require.NoError(t, err)
	assert.Equal(t, "/var/lib/shiksha/shop_1-a", dir)
	for _, project := range []string{"", "..", "a/b", "-a", "Shop", "a b", "a\n", strings.Repeat("é", 3)} {
		_, err := Dir("/x", project)
		assert.Equal(t, fault.Input, fault.Of(err), "%q", project)
		assert.ErrorContains(t, err, "project: ")
	}
	_, err = Open(t.Context(), localFiles{}, "state", "shop")
	assert.Equal(t, fault.Input, fault.Of(err))
	assert.ErrorContains(t, err, "state-dir: ")
}

// fakeReadOnly is a host whose user may not write; root, as whom tests run, may
// always.
type fakeReadOnly struct{ localFiles }

func (fakeReadOnly) MkdirAll(_ context.Context, name string, _ fs.FileMode) error {
	return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrPermission}
}

func (fakeReadOnly) Write(_ context.Context, name string, _ []byte, _ fs.FileMode) error {
	return &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

func TestStateDirOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), fakeReadOnly{}, t.TempDir(), "shop")
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.ErrorContains(t, err, "state-dir: open the ledger: ")

	state := t.TempDir()
	open(t, state)
	l, err := Open(t.Context(), fakeReadOnly{}, state, "shop")
	require.NoError(t, err, "reading is enough to look at the history")
	assert.Equal(t, fault.Refused, fault.Of(l.Append(t.Context(), record("v1"))))
}

func TestRollbackFieldsSurviveTheWay(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	l := open(t, state)
	releases(t, l, Verified, Verified)
	r := record("v1")
	r.RollsBack, r.Previous, r.Fence = 2, 2, 41
	require.NoError(t, l.Append(t.Context(), r))
	again, err := open(t, state).Get(3)
	require.NoError(t, err)
	assert.Equal(t, 2, again.RollsBack)
	assert.Equal(t, 2, again.Previous)
	assert.EqualValues(t, 41, again.Fence)
}

// That a version was refused and is not all taken back is said in a way that a program reads
// that knows nothing of it, and changes nothing else of what a record means.
func TestARefusedVersionThatIsNotAllTakenBack(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	l := open(t, state)
	r := record("v2")
	require.NoError(t, l.Append(t.Context(), r))
	assert.True(t, r.MayHave("drain", "api"), "a run that was killed wrote no steps down")
	r.Outcome, r.Steps = Interrupted, []Step{{Name: WayBack}}
	require.NoError(t, l.Update(t.Context(), r))
	data, err := localFiles{}.Read(t.Context(), l.file(1))
	require.NoError(t, err)
	assert.Contains(t, string(data), "\"steps\": [\n    {\n      \"name\": \"way back\"\n    }\n  ]", "a step as any other")
	again, err := open(t, state).Get(1)
	require.NoError(t, err)
	assert.True(t, again.TurnedDown())
	assert.True(t, again.MayHave("drain", "api"))
	assert.False(t, again.Made("other"))
	assert.False(t, Record{Outcome: Interrupted, Steps: []Step{{Name: "undo", Service: "api"}}}.TurnedDown())
	assert.False(t, Record{Outcome: Failed, Steps: []Step{{Name: WayBack}}}.TurnedDown(), "it ended")
}
