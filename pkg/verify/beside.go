package verify

import (
	"context"
	"errors"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
)

// besideTime bounds the question whether a release is under way.
const besideTime = 20 * time.Second

// looker sees a project's lock.
type looker interface {
	LockOf(ctx context.Context, project string) release.Sight
}

// beside says first in the hint of what a verification found that a release is under way, or
// was recorded since seen was the last one: its units are neither left over nor made by hand,
// and nobody is to remove them. What the host does not tell changes nothing.
func (r *Result) beside(ctx context.Context, t looker, l *release.Ledger, seen release.Record, err error) error {
	var found *fault.Error
	if !errors.As(err, &found) {
		return err
	}
	what := meanwhile(ctx, t, l, r.Project, seen)
	if what == "" {
		return err
	}
	if r.Report != nil {
		for i, c := range r.Report.Results {
			if c.Hint != "" && c.Outcome != check.Pass {
				r.Report.Results[i].Hint = "if a run after that release finds it too: " + c.Hint
			}
		}
	}
	hint := what
	if found.Hint != "" {
		hint += "; if that finds it too: " + found.Hint
	}
	return &fault.Error{Kind: found.Kind, Where: found.Where, Hint: hint, Err: found.Err}
}

// meanwhile says what is or was done beside a verification, and what to do about it. The lock
// comes first: a run gives it back after it has recorded its end.
func meanwhile(ctx context.Context, t looker, l *release.Ledger, project string, seen release.Record) string {
	ctx, cancel := context.WithTimeout(ctx, besideTime)
	defer cancel()
	lock := t.LockOf(ctx, project)
	if l.Reload(ctx) != nil {
		return ""
	}
	if newest, _ := l.Latest(); lock.Of(newest) == release.UnderWay {
		return newest.Told(lock) + ": run it again when it has ended"
	}
	after := l.Since(seen)
	if len(after) == 0 {
		return ""
	}
	// One that has begun since the look at the lock was not cut off.
	return after[len(after)-1].Told(release.Sight{}) + ", while this looked: run it again"
}
