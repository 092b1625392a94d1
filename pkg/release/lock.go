package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiksha/actions/pkg/fault"
)

// Holder says who holds the lock, for the message that somebody else gets.
// Since is set by Acquire when it is zero.
type Holder struct {
	RunURL string    `json:"run_url,omitempty"`
	Actor  string    `json:"actor,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// String names the holder and since when.
func (h Holder) String() string {
	if h == (Holder{}) {
		return "a run that has not said who it is"
	}
	text := h.Actor
	if text == "" {
		text = "somebody"
	}
	if !h.Since.IsZero() {
		text += " since " + moment(h.Since)
	}
	if h.RunURL != "" {
		text += " (" + h.RunURL + ")"
	}
	return text
}

// Options are those of Acquire; the zero value does not wait.
type Options struct {
	// Wait is how long to wait for somebody else to end.
	Wait time.Duration
	// Heartbeat is how long the host keeps the lock of a run it does not hear
	// of, in whole seconds; a third of it passes between two beats.
	Heartbeat time.Duration
	// Waiting is called once, when the wait begins, with who is waited for.
	Waiting func(Holder)
}

// DefaultHeartbeat is the heartbeat timeout of a lock that names none.
const DefaultHeartbeat = 15 * time.Second

// slice is the longest that one process on the host waits for the lock: it is
// also how long a waiter that vanished stays in the queue.
const slice = 10 * time.Second

// lockFile is lock.json.
type lockFile struct {
	Holder
	Fence int64 `json:"fence"`
}

// Lock is the right to change a project on its host. It is held by flock in a
// process there, so it is free the moment that process ends, whatever files say.
type Lock struct {
	start  Starter
	files  Files
	dir    string
	holder Holder
	beat   time.Duration
	fence  int64

	mu       sync.Mutex
	hold     *hold
	takers   int // those who take the lock again, or will when it is lost
	released bool
}

// Acquire takes the lock of the project in dir (see Dir), making the folder where
// there is none. When somebody else holds it, it waits up to options.Wait and
// then gives a fault.Locked that names them; a host without flock or timeout and a
// folder that may not be written give a fault.Refused. ctx bounds the acquiring
// only: the lock outlives it, because undoing does too.
func Acquire(ctx context.Context, start Starter, files Files, dir string, holder Holder, options Options) (*Lock, error) {
	if holder.Since.IsZero() {
		holder.Since = time.Now()
	}
	holder.Since = holder.Since.UTC()
	l := &Lock{start: start, files: files, dir: dir, holder: holder, beat: options.Heartbeat}
	if l.beat <= 0 {
		l.beat = DefaultHeartbeat
	}
	l.beat = max(l.beat.Truncate(time.Second), time.Second)
	if err := files.MkdirAll(ctx, dir, 0o700); err != nil {
		return nil, stateFault(err, "take the lock")
	}
	h, err := l.queue(ctx, options)
	if err != nil {
		return nil, err
	}
	l.hold = h
	if err := l.sign(ctx); err != nil {
		return nil, errors.Join(err, h.release(ctx))
	}
	return l, nil
}

// queue tries until the lock is held or the wait is over.
func (l *Lock) queue(ctx context.Context, options Options) (*hold, error) {
	deadline := time.Now().Add(options.Wait)
	told := false
	var wait time.Duration
	for {
		h, err := startHold(ctx, l.start, path.Join(l.dir, "lock"), wait, l.beat)
		if errors.As(err, &garbled{}) {
			return nil, fault.New(fault.Refused, "", fault.Shell, "%w", err)
		}
		if !errors.Is(err, errBusy) {
			return h, err
		}
		other, err := l.other(ctx)
		if err != nil {
			return nil, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, locked(other, options.Wait)
		}
		if !told && options.Waiting != nil {
			options.Waiting(other)
		}
		told = true
		// The host counts whole seconds; the last slice may be a little long.
		wait = min(slice, time.Duration(math.Ceil(left.Seconds()))*time.Second)
	}
}

func locked(other Holder, waited time.Duration) error {
	text := ""
	if waited > 0 {
		text = fmt.Sprintf(" after waiting %s", waited)
	}
	return fault.New(fault.Locked, "", "run it again when that one has ended, or let it wait longer (--lock-wait; lock-wait in a workflow)",
		"the project is locked%s: held by %s", text, other)
}

// other reads who holds the lock.
func (l *Lock) other(ctx context.Context) (Holder, error) {
	sign, err := l.signed(ctx)
	return sign.Holder, err
}

// signed reads what the holder of the lock has signed. A lock.json of another fence
// than the current one is of a holder that is gone.
func (l *Lock) signed(ctx context.Context) (lockFile, error) {
	data, err := l.files.Read(ctx, l.signFile())
	if errors.Is(err, fs.ErrNotExist) {
		return lockFile{}, nil
	}
	if err != nil {
		return lockFile{}, stateFault(err, "read who holds the lock")
	}
	var sign lockFile
	if json.Unmarshal(data, &sign) != nil {
		return lockFile{}, nil
	}
	fence, err := l.readFence(ctx)
	if err != nil || fence != sign.Fence {
		return lockFile{}, err
	}
	return sign, nil
}

func (l *Lock) signFile() string { return path.Join(l.dir, "lock.json") }

func (l *Lock) fenceFile() string { return path.Join(l.dir, "fence") }

// readFence gives the current fencing number: 0 when there was none yet, -1 for
// one that cannot be read.
func (l *Lock) readFence(ctx context.Context) (int64, error) {
	data, err := l.files.Read(ctx, l.fenceFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, stateFault(err, "read the fencing number")
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n < 0 || n == math.MaxInt64 {
		return -1, nil
	}
	return n, nil
}

// sign raises the fence and names the holder; it is done under the lock.
func (l *Lock) sign(ctx context.Context) error {
	fence, err := l.readFence(ctx)
	if err != nil {
		return err
	}
	if fence < 0 {
		// A damaged number must not be given out twice: seconds are above any count.
		fence = time.Now().Unix()
	}
	l.fence = fence + 1
	if err := l.files.Write(ctx, l.fenceFile(), fmt.Appendf(nil, "%d\n", l.fence), 0o600); err != nil {
		return stateFault(err, "write the fencing number")
	}
	data, err := encode(lockFile{Holder: l.holder, Fence: l.fence})
	if err != nil {
		return fmt.Errorf("name the holder of the lock: %w", err)
	}
	if err := l.files.Write(ctx, l.signFile(), data, 0o600); err != nil {
		return stateFault(err, "name the holder of the lock")
	}
	return nil
}

// Fence is the fencing number of this holder; each holder's is greater than the
// one before.
func (l *Lock) Fence() int64 { return l.fence }

func (l *Lock) current() *hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hold
}

// Lost is closed when the holding process on the host ended or did not answer
// its heartbeat in time: somebody else may hold the lock from then on. Releasing
// closes it too. After Regain there is a new channel.
func (l *Lock) Lost() <-chan struct{} { return l.current().lost }

// Check tells whether the lock is still ours: the host answered the last
// heartbeat and nobody took a higher fence. It is fault.Interrupted otherwise.
// While a lost lock is being taken again it waits for what comes of that, as long
// as ctx allows and one taking may last.
func (l *Lock) Check(ctx context.Context) error {
	h := l.current()
	err := l.judge(ctx, h)
	if err == nil || errors.Is(err, errTaken) {
		return err
	}
	// A connection that is cut may fail the reading before the hold hears of it.
	if !h.stale() {
		select {
		case <-h.lost:
		case <-ctx.Done():
		case <-time.After(hearsay):
		}
	}
	if h.stale() && !l.await(ctx, h) {
		return err
	}
	return l.judge(ctx, l.current())
}

// hearsay is how much later than another session of its connection a hold may hear that
// that was cut.
const hearsay = time.Second

// judge is Check without the waiting. The hold is looked at again after the fence was
// read, which may have taken a while.
func (l *Lock) judge(ctx context.Context, h *hold) error {
	if h.stale() {
		return l.gone("the host no longer hears of this run: %w", h.reason())
	}
	if err := l.checkFence(ctx); err != nil {
		return err
	}
	if h.stale() {
		return l.gone("the host no longer hears of this run: %w", h.reason())
	}
	return nil
}

func (l *Lock) checkFence(ctx context.Context) error {
	fence, err := l.readFence(ctx)
	if err != nil || fence == l.fence {
		return err
	}
	other, err := l.other(ctx)
	if err != nil {
		return err
	}
	return l.gone("%s %w (fence %d, ours was %d)", other, errTaken, fence, l.fence)
}

var errTaken = errors.New("took it over")

func (l *Lock) gone(format string, args ...any) error {
	return fault.New(fault.Interrupted, "", "users are served; run it again, it heals what is half done",
		"the lock is lost: "+format, args...)
}

// Regain takes the lock again after the connection was lost and made anew, with
// the same fence, provided nobody else had it in between; otherwise it is
// fault.Interrupted. It waits for the host to miss the old heartbeat. A lock that was
// released stays so.
func (l *Lock) Regain(ctx context.Context) error {
	defer l.hope()()
	l.current().end(errors.New("the connection was made again"))
	if l.over() {
		return nil
	}
	h, err := startHold(ctx, l.start, path.Join(l.dir, "lock"), l.missed(), l.beat)
	if errors.Is(err, errBusy) {
		if err := l.checkFence(ctx); err != nil {
			return err
		}
		return l.gone("it is still held after %s", l.missed())
	}
	if err != nil {
		return err
	}
	if err := l.checkFence(ctx); err != nil {
		return errors.Join(err, h.release(ctx))
	}
	if !l.follow(h) {
		return h.release(ctx)
	}
	return nil
}

// Release gives the lock back and waits until the host has let go of it. The
// error is about the waiting only: the host lets go by itself in any case, at the
// latest one heartbeat later. Releasing a lost or released lock does nothing.
func (l *Lock) Release(ctx context.Context) error {
	l.mu.Lock()
	l.released = true
	h := l.hold
	l.mu.Unlock()
	if !h.stale() && l.checkFence(ctx) == nil {
		// Left behind it would be harmless: its fence tells that it is old.
		_ = l.files.Remove(ctx, l.signFile())
	}
	return h.release(ctx)
}
