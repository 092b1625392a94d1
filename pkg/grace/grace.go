// Package grace is the time that a run still has after it was cancelled. A runner
// sends the end some seconds after it asked for it, so everything that such a run
// still does shares one deadline, however many acts it is. What only waits ends with
// the cancellation.
package grace

import (
	"context"
	"fmt"
	"time"
)

const (
	// Acts is how long after the cancellation a run may act on its host: leave what
	// serves serving, record how it ended, give the lock back.
	Acts = 5 * time.Second
	// Words is how long it may then tell others what came of it.
	Words = 1500 * time.Millisecond
	// Whole is when the process is over, whatever it does. GitHub's runner sends
	// the second signal after 7.5 s.
	Whole = 6800 * time.Millisecond
)

// key is under which a context has the one that ends with the time for acts.
type key struct{}

// Watch gives a context that remembers when it was cancelled, for Last.
func Watch(ctx context.Context) context.Context {
	over, end := context.WithCancelCause(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		time.AfterFunc(Acts, func() { end(fmt.Errorf("the %s that a cancelled run has are over", Acts)) })
	})
	return context.WithValue(ctx, key{}, over)
}

// Last gives a context for an act that has to be done although ctx may be cancelled
// already. It ends after limit, and together with all others of the run once the
// time for acts is over.
func Last(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	limited, end := context.WithTimeout(context.WithoutCancel(ctx), limit)
	over, watched := ctx.Value(key{}).(context.Context)
	if !watched {
		return limited, end
	}
	last, cut := context.WithCancelCause(limited)
	stop := context.AfterFunc(over, func() { cut(context.Cause(over)) })
	return last, func() { stop(); end(); cut(nil) }
}

// Pause waits, or ends early with the context's cause.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
