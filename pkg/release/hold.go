package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shiksha/actions/pkg/fault"
)

// Process is a command that keeps running on the host. Wait gives nil when it
// ended with exit code 0; Close ends it and may be called twice.
type Process struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	Wait   func() error
	Close  func() error
}

// Starter starts a command on the host without a shell looking at its words. ctx
// bounds the start, not the process.
type Starter func(ctx context.Context, argv []string) (Process, error)

// holdScript holds the lock $1 for as long as it gets a dot on its input every
// $3 seconds, and answers each with a dot. It waits up to $2 seconds for the
// lock. Plain POSIX words, for dash and busybox alike: flock has no -w there, so
// timeout bounds it (the lock belongs to the open file, which flock and this
// shell share). Children close the file: one that outlived a killed shell would
// keep the lock. lookScript knows the file by its number, 9.
const holdScript = `
umask 077
for tool in flock timeout dd; do
  command -v "$tool" >/dev/null 2>&1 || { echo "missing $tool"; exit 0; }
done
( : >>"$1" ) 2>/dev/null || { echo denied; exit 0; }
exec 9>>"$1"
if ! flock -n 9; then
  [ "$2" -gt 0 ] && timeout "$2" flock 9 || { echo busy; exit 0; }
fi
echo held
while [ "$( exec 9>&-; timeout "$3" dd bs=1 count=1 2>/dev/null )" = . ]; do
  echo . || exit 0
done
`

var errBusy = errors.New("somebody else holds the lock")

// hold is one process on the host that has the lock.
type hold struct {
	process Process
	timeout time.Duration

	acked atomic.Int64   // when the last answered beat was sent, after epoch
	sent  chan time.Time // beats without an answer yet, in order

	once  sync.Once
	lost  chan struct{}
	why   error // set before lost is closed
	ended chan struct{}
}

// epoch is the base of hold.acked, so that the monotonic clock is compared.
var epoch = time.Now()

// slowStart is how long a host may need, beside the wait for the lock, to say that it
// is held.
const slowStart = 30 * time.Second

// startHold starts the process and waits for its first words: errBusy when the
// lock was not free within wait.
func startHold(ctx context.Context, start Starter, file string, wait, beat time.Duration) (*hold, error) {
	argv := []string{"sh", "-c", holdScript, "shiksha-lock", file, seconds(wait), seconds(beat)}
	ctx, cancel := context.WithTimeoutCause(ctx, wait+slowStart, errors.New("the host did not answer whether the lock is free"))
	defer cancel()
	p, err := start(ctx, argv) // one that is cut off gets end of file, and lets go
	if err != nil {
		return nil, fmt.Errorf("take the lock: %w", err)
	}
	h := &hold{process: p, timeout: beat, sent: make(chan time.Time, 1024), lost: make(chan struct{}), ended: make(chan struct{})}
	out := bufio.NewReader(p.Stdout)
	if err := h.greet(ctx, out, file); err != nil {
		_ = p.Close()
		go p.Wait()
		return nil, err
	}
	go h.listen(out)
	go h.speak()
	go h.watch()
	return h, nil
}

// greet waits until the lock is held and the first beat is answered, from which
// on it is known how long the host will be patient.
func (h *hold) greet(ctx context.Context, out *bufio.Reader, file string) error {
	word, err := firstWord(ctx, out)
	if err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	if err := meaning(word, file); err != nil {
		return err
	}
	at := time.Now()
	if _, err := io.WriteString(h.process.Stdin, "."); err != nil {
		return fmt.Errorf("take the lock: the heartbeat could not be sent: %w", err)
	}
	if word, err = nextWord(ctx, out); err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	if word != "." {
		return fmt.Errorf("take the lock: the host answered %q to the heartbeat", word)
	}
	h.acked.Store(int64(at.Sub(epoch)))
	return nil
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// garbled is the error of a process on the host that says none of our words first: the
// login shell says something before, or is none that runs a script of several lines.
type garbled struct{ error }

func (g garbled) Unwrap() error { return g.error }

func firstWord(ctx context.Context, out *bufio.Reader) (string, error) {
	word, err := nextWord(ctx, out)
	if errors.Is(err, io.EOF) {
		err = garbled{err}
	}
	return word, err
}

func nextWord(ctx context.Context, out *bufio.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := out.ReadString('\n')
		got <- answer{strings.TrimSpace(line), err}
	}()
	select {
	case a := <-got:
		if a.err != nil {
			return "", fmt.Errorf("the process on the host ended without a word: %w", a.err)
		}
		return a.line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func meaning(word, file string) error {
	if tool, ok := strings.CutPrefix(word, "missing "); ok {
		return fault.New(fault.Refused, "host", "install it (util-linux has flock, coreutils has timeout and dd)",
			"the lock needs %s, which the host does not have", tool)
	}
	switch word {
	case "held":
		return nil
	case "busy":
		return errBusy
	case "denied":
		return fault.New(fault.Refused, "state-dir",
			"log in as the user that released there before, or let this one own all of it: sudo chown -R USER "+path.Dir(file),
			"the lock file %s cannot be written by this user", file)
	}
	return garbled{fmt.Errorf("take the lock: the host answered %q", word)}
}

// listen takes the answers; the end of them is the end of the hold.
func (h *hold) listen(out *bufio.Reader) {
	defer close(h.ended)
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			break
		}
		if line != ".\n" {
			continue
		}
		select {
		case at := <-h.sent:
			h.acked.Store(int64(at.Sub(epoch)))
		default:
		}
	}
	err := h.process.Wait()
	if err == nil {
		err = errors.New("the process that held it ended")
	}
	h.end(err)
}

// speak sends a beat three times in the host's patience.
func (h *hold) speak() {
	ticker := time.NewTicker(h.timeout / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-h.lost:
			return
		}
		select {
		case h.sent <- time.Now():
		case <-h.lost:
			return
		}
		if _, err := io.WriteString(h.process.Stdin, "."); err != nil {
			h.end(fmt.Errorf("the heartbeat could not be sent: %w", err))
			return
		}
	}
}

// watch gives the hold up once the host may have: it counts from when a beat was
// sent, the host from when it came, which is later. So nobody else gets the lock
// while this side still believes in it.
func (h *hold) watch() {
	ticker := time.NewTicker(h.timeout / 15)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if h.silent() {
				h.end(fmt.Errorf("the host did not answer for %s", h.timeout))
				return
			}
		case <-h.lost:
			return
		}
	}
}

func (h *hold) silent() bool { return h.silence() >= h.timeout }

// silence is how long ago the last beat that was answered is.
func (h *hold) silence() time.Duration { return time.Since(epoch) - time.Duration(h.acked.Load()) }

// stale tells that the lock may be somebody else's, at this very moment.
func (h *hold) stale() bool {
	select {
	case <-h.lost:
		return true
	default:
		return h.silent()
	}
}

func (h *hold) reason() error {
	select {
	case <-h.lost:
		return h.why
	default:
		return fmt.Errorf("it did not answer for %s", h.timeout)
	}
}

func (h *hold) end(why error) {
	h.once.Do(func() {
		h.why = why
		close(h.lost)
		_ = h.process.Stdin.Close()
		_ = h.process.Close()
	})
}

// release ends the process with the end of its input and waits for it. What is
// lost already is left to the host.
func (h *hold) release(ctx context.Context) error {
	first := false
	h.once.Do(func() {
		first, h.why = true, errors.New("it was released")
		close(h.lost)
		_ = h.process.Stdin.Close()
	})
	if !first {
		return nil
	}
	defer h.process.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, h.timeout, errors.New("the host did not say in time that it is free"))
	defer cancel()
	select {
	case <-h.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("give the lock back: %w", context.Cause(ctx))
	}
}
