package kind

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeFar is an engine that is far away: each look into a unit takes a while.
type fakeFar struct {
	*fakeUnits
	now, most, looks atomic.Int64
	broken           string
}

func (f *fakeFar) Inspect(ctx context.Context, id string) (stack.Unit, error) {
	f.looks.Add(1)
	f.most.Store(max(f.most.Load(), f.now.Add(1)))
	defer f.now.Add(-1)
	select {
	case <-time.After(250 * time.Millisecond):
	case <-ctx.Done():
		return stack.Unit{}, fmt.Errorf("look at %s: %w", id, ctx.Err())
	}
	if id == f.broken {
		panic("index out of range")
	}
	return f.fakeUnits.Inspect(ctx, id)
}

// many is a release of 60 services with 2 units each, on an engine that is far away.
func many() (*Scene, *fakeFar) {
	far := &fakeFar{fakeUnits: &fakeUnits{units: map[string][]stack.Unit{}}}
	s := &Scene{Units: far, Project: "shop", Window: 10 * time.Second, Services: map[string]release.ServiceRecord{}}
	for i := range 60 {
		name := fmt.Sprintf("s%02d", i)
		s.Services[name] = release.ServiceRecord{Replicas: 2}
		for _, n := range []string{"-1", "-2"} {
			far.units[name] = append(far.units[name], stack.Unit{ID: name + n, Name: "shop-" + name + n, Service: name, State: stack.Running,
				Health: stack.NoHealth, StartedAt: time.Now().Add(-time.Hour)})
		}
	}
	return s, far
}

// sights is one look of the kind containers.
func sights(t *testing.T, s *Scene) Finding {
	looking := s.Begin(t.Context(), "it")
	(&Containers{}).Look(looking)
	return looking.Finding
}

func TestContainers_SeveralAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, far := many()
		begun := time.Now()
		f := sights(t, s)
		assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
		assert.Equal(t, "120 units of 60 services", f.Found)
		assert.EqualValues(t, 8, far.most.Load())
		assert.Equal(t, 15*250*time.Millisecond, time.Since(begun))
	})
}

// A command beside the units is none of them, and a task that waits for a node has no
// container to be looked into.
func TestContainers_OnlyWhatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, far := many()
		far.units["s03"] = append(far.units["s03"], stack.Unit{ID: "once", Service: "s03", State: stack.Running, OneOff: true})
		assert.Equal(t, check.Pass, sights(t, s).Outcome)
		assert.EqualValues(t, 120, far.looks.Swap(0))
		far.units["s04"][0].State = stack.Created
		assert.Equal(t, check.Fail, sights(t, s).Outcome)
		assert.EqualValues(t, 119, far.looks.Load())
	})
}

// What is told is the first that is wrong in the order of services, whichever was seen first.
func TestContainers_InOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, far := many()
		for _, name := range []string{"s50", "s07", "s31"} {
			far.units[name][1].State = stack.Exited
		}
		assert.Equal(t, "shop-s07-2", sights(t, s).Where)
	})
}

// How long a unit is up is judged by when it was looked into, not by when all were.
func TestContainers_WhenItWasSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, far := many()
		far.units["s00"][0].StartedAt = time.Now().Add(-8 * time.Second)
		f := sights(t, s)
		assert.Equal(t, check.Fail, f.Outcome, "%+v", f)
		assert.Contains(t, f.Found, "started 8.")
	})
}

// A mistake of ours is met where the look is, which outlives it, and not in a goroutine that
// would end the release.
func TestContainers_AMistakeOfOurs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, far := many()
		far.broken = "s20-1"
		assert.PanicsWithValue(t, "index out of range", func() { sights(t, s) })
	})
}

// A log that is too long is not made shorter by a later beginning.
func TestLogs_TooLong(t *testing.T) {
	t.Parallel()
	s := one("api", nil)(t)
	looking := s.Begin(t.Context(), "it")
	s.Shell = endless{}
	(&Logs{Services: []string{"api"}, Forbid: []Pattern{}}).Look(looking)
	assert.Equal(t, check.Unknown, looking.Finding.Outcome, "%+v", looking.Finding)
	assert.NotContains(t, looking.Finding.Hint, "since: 10m")
	assert.Contains(t, looking.Finding.Hint, "max-size")
	assert.Contains(t, looking.Finding.Hint, "timeout")
}

// endless is a log that nobody reads to its end in time.
type endless struct{ Shell }

func (endless) Logs(context.Context, string, time.Time, func(string, bool)) error {
	return errors.New("no answer within 30s")
}
