package converge

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeCut is a way back in which something happens before its first step is over: the run
// is told to end, its host is gone, somebody else has the lock.
type fakeCut struct {
	*fakeWorkers
	during func(ctx context.Context, how rollout.How) error
}

func (f fakeCut) Carry(ctx context.Context, p *plan.Plan, _ *stack.Stack, how rollout.How) (rollout.Report, error) {
	for _, step := range p.Steps {
		if err := f.during(ctx, how); err != nil {
			return rollout.Report{}, err
		}
		f.back = append(f.back, step.Service)
	}
	return rollout.Report{}, nil
}

// goesBack is a release of the workers that failed, over one that was verified as 7.
func goesBack(t *testing.T, during func(context.Context, rollout.How) error) (*transition, fakeCut) {
	t.Helper()
	sealed, err := workers(t).Seal()
	require.NoError(t, err)
	on := fakeCut{&fakeWorkers{stack: workers(t)}, during}
	d := begun(t, fakeFiles{}, &release.Record{})
	require.NoError(t, d.ledger.WriteSealed(t.Context(), 7, sealed))
	d.on, d.facts = on, &facts{verified: &release.Record{Number: 7, Version: "v1"}}
	d.opts = Options{Stack: on.stack, RollbackOnFailure: true, Lock: &release.Lock{}}
	d.result = &Result{Rollout: &rollout.Report{Touched: on.stack.Order}}
	return d, on
}

// A way back that is told to end, loses its host or its lock begins no further step and is
// interrupted: nobody has to be called, and what was just refused is not to be run again.
func TestAWayBackThatIsCutOff(t *testing.T) {
	t.Parallel()
	gone := fault.New(fault.Interrupted, "", "users are served; run it again", "the lock is lost")
	for name, during := range map[string]func(cancel func()) func(context.Context, rollout.How) error{
		"told to end": func(cancel func()) func(context.Context, rollout.How) error {
			return func(ctx context.Context, _ rollout.How) error {
				cancel()
				return grace.Pause(ctx, 10*time.Minute) // a unit that has long to end
			}
		},
		"the lock is gone": func(func()) func(context.Context, rollout.How) error {
			return func(context.Context, rollout.How) error { return fmt.Errorf("before video: %w", gone) }
		},
		"the host is gone": func(func()) func(context.Context, rollout.How) error {
			return func(context.Context, rollout.How) error { return fmt.Errorf("stop video1: %w", host.ErrConnectionLost) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ctx = grace.Watch(ctx)
				d, on := goesBack(t, during(cancel))
				began := time.Now()
				err := d.fail(ctx, errors.New("verify: 1 of 3 checks failed"))
				assert.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
				require.ErrorContains(t, err, "verify: 1 of 3 checks failed", "it is still why")
				assert.Contains(t, fault.Hint(err), "shiksha rollback --release 7")
				assert.NotContains(t, fault.Hint(err), "run ")
				assert.Empty(t, on.back)
				assert.Less(t, time.Since(began), grace.Acts)
				d.end(ctx, err)
				last, _ := d.ledger.Latest()
				assert.Equal(t, release.Interrupted, last.Outcome)
				assert.True(t, last.TurnedDown(), "whoever reads only the record is told no less")
			})
		})
	}
}

// A unit with a name of its own that failed is gone before the way back makes the one from
// before again.
func TestAWayBackThatIsCutOffBeforeAUnitWithAName(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	d, on := goesBack(t, func(ctx context.Context, _ rollout.How) error { cancel(); return grace.Pause(ctx, time.Minute) })
	on.stack.Services["video"].ContainerName, d.result.Rollout.Failed = "the-video", "video"
	err := d.fail(ctx, errors.New("video: it is ill"))
	assert.Equal(t, "users may get no answer of video; go back to what served before: shiksha rollback --release 7, or release a version that works", fault.Hint(err))
}

// What was told to end right after it had failed may be right: it is run again, or gone
// back from.
func TestToldToEndBeforeItGoesBack(t *testing.T) {
	t.Parallel()
	d, _ := goesBack(t, nil)
	err := d.fail(cancelled(t), errors.New("verify: 1 of 3 checks failed"))
	assert.Equal(t, "run it again, or go back to what served before: shiksha rollback --release 7", fault.Hint(err))
	d.end(cancelled(t), err)
	last, _ := d.ledger.Latest()
	assert.Equal(t, release.Interrupted, last.Outcome)
	assert.False(t, last.TurnedDown())
	d.facts = &facts{}
	assert.Equal(t, "run it again", fault.Hint(d.fail(cancelled(t), errors.New("verify: 1 of 3 checks failed"))))
}

// A database is swapped back also by who was told to end meanwhile: that takes no time, and
// without it nobody may write to it.
func TestToldToEndWhileTheDatabaseIsSwappedBack(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		d, on := goesBack(t, func(ctx context.Context, _ rollout.How) error { return ctx.Err() })
		d.writers = []string{"email"}
		d.undoDatabase = func(ctx context.Context) error {
			if cancel(); fails {
				return errors.New("it could not be swapped back")
			}
			return ctx.Err()
		}
		err := d.fail(ctx, errors.New("verify: 1 of 3 checks failed"))
		assert.Empty(t, on.back)
		if fails {
			assert.Equal(t, fault.Stuck, fault.Of(err), "newer code may not write to the older database: %v", err)
			continue
		}
		assert.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
		assert.Contains(t, fault.Hint(err), "users may get no answer of email")
	}
}
