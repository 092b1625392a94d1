package release

import (
	"context"
	"time"
)

// Keep takes the lock again whenever it is lost: connect makes the connection to the
// host again, and may have taken the lock with it (as Regain does after a reconnect).
// It ends with ctx or when the lock is released; its error is why it is lost for good.
func (l *Lock) Keep(ctx context.Context, connect func(context.Context) error) error {
	defer l.hope()()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.Lost():
		}
		if l.over() {
			return nil
		}
		if err := connect(ctx); err != nil {
			return err
		}
		// Not Check, which would wait for this one.
		if l.judge(ctx, l.current()) == nil {
			continue
		}
		if err := l.Regain(ctx); err != nil {
			return err
		}
	}
}

// hope tells those who wait that somebody takes a lost lock again, until it is ended.
func (l *Lock) hope() (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takers++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.takers--
	}
}

// over tells that the lock was released.
func (l *Lock) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.released
}

// follow makes h the hold of the lock, unless that was released meanwhile.
func (l *Lock) follow(h *hold) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return false
	}
	l.hold = h
	return true
}

// missed is how long the host may need to miss a heartbeat.
func (l *Lock) missed() time.Duration { return l.beat + 2*time.Second }

// glance is how often somebody who waits for the lock to be taken again looks.
const glance = 100 * time.Millisecond

// await waits while h is stale and there is hope for another hold. It tells whether
// there is anything new to judge. The limit is the same for all who ask after one
// loss, so that those who ask one after another do not wait in turn.
func (l *Lock) await(ctx context.Context, h *hold) bool {
	if ctx.Err() != nil {
		return false
	}
	limit := h.timeout + l.missed() + slowStart
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for h.stale() && l.hoped(h) {
		if h.silence() >= limit {
			return false
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return !h.stale() || l.current() != h
}

// hoped tells that h may yet be followed by another hold.
func (l *Lock) hoped(h *hold) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hold == h && l.takers > 0 && !l.released
}
