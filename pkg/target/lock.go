package target

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
)

// giveBack is how long giving the lock back may take.
const giveBack = 10 * time.Second

// errLockLost is why a context of Hold ended.
var errLockLost = errors.New("the lock on the host was lost")

// Hold takes the project's lock on the host, waiting as long as wait for another
// holder. The context it gives ends when the lock is lost for good; drop gives
// the lock back.
func (t *Target) Hold(ctx context.Context, project string, holder release.Holder, wait time.Duration) (
	held context.Context, lock *release.Lock, drop func(), err error) {
	lock, err = t.acquire(ctx, project, holder, wait)
	if err != nil {
		return nil, nil, nil, fault.Early(ctx, err)
	}
	held, cancel := context.WithCancelCause(ctx)
	go t.watchLock(held, lock, cancel)
	return held, lock, func() {
		cancel(nil)
		// A lock that is not given back is let go by the host itself.
		last, done := grace.Last(ctx, giveBack)
		defer done()
		_ = lock.Release(last)
	}, nil
}

func (t *Target) acquire(ctx context.Context, project string, holder release.Holder, wait time.Duration) (*release.Lock, error) {
	dir, err := release.Dir(t.StateDir, project)
	if err != nil {
		return nil, err
	}
	if err := t.Files.MkdirAll(ctx, dir, 0o700); err != nil {
		if host.IsConnectionLost(err) {
			return nil, err
		}
		return nil, fault.New(fault.Refused, "state-dir", "name a folder that the user of the release may write on the host, or make it: "+
			"install -d -m 700 -o USER "+t.StateDir, "the folder for releases and the lock cannot be made: %w", err)
	}
	lock, err := release.Acquire(ctx, t.start, t.Files, dir, holder, release.Options{
		Wait:    wait,
		Waiting: func(h release.Holder) { t.Say(event.Info, "lock", "", "waiting for %s", h) },
	})
	if err != nil {
		return nil, err
	}
	// After a reconnect nothing goes on before the lock is ours again.
	t.Host.OnReconnect(lock.Regain)
	return lock, nil
}

// LockOf sees who holds a project's lock, without taking it.
func (t *Target) LockOf(ctx context.Context, project string) release.Sight {
	dir, err := release.Dir(t.StateDir, project)
	if err != nil {
		return release.Sight{Hand: release.Unseen, Why: err.Error()}
	}
	return release.Look(ctx, t.start, t.Files, dir)
}

// start hands the lock a process on the host.
func (t *Target) start(ctx context.Context, argv []string) (release.Process, error) {
	p, err := t.Host.Start(ctx, argv)
	if err != nil {
		return release.Process{}, err
	}
	return release.Process{Stdin: p.Stdin, Stdout: p.Stdout, Wait: p.Wait, Close: p.Close}, nil
}

// watchLock ends the work under the lock when it is lost for good: somebody else
// may hold it. A connection that breaks takes the lock with it; it is taken again
// with the new connection, and only if nobody had it in between.
func (t *Target) watchLock(ctx context.Context, lock *release.Lock, cancel context.CancelCauseFunc) {
	err := lock.Keep(ctx, func(ctx context.Context) error {
		// Any command makes the connection again, and with it the lock.
		_, err := t.Host.Run(ctx, []string{"true"}, nil)
		return err
	})
	if err != nil {
		cancel(fmt.Errorf("%w: %w", errLockLost, err))
	}
}
