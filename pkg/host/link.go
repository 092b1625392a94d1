package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// missedAnswers is how many keepalives may stay unanswered.
const missedAnswers = 3

// link is one SSH connection from its handshake to its end. It never comes
// back: a Host makes a new one.
type link struct {
	name   string
	client *ssh.Client
	wire   *wire
	// under are what the connection runs through, closed with it.
	under []io.Closer
	// done is closed when the connection is over; cause is set before that.
	done  chan struct{}
	cause error
	dead  atomic.Pointer[string]

	// commands limits how many Run at once: sshd allows 10 sessions a
	// connection, and files, the lock and dial-stdio need some of them.
	commands chan struct{}

	filesMu sync.Mutex
	files   *sftp.Client
}

// wire is the connection below SSH. It notes when bytes arrive, so that a busy
// connection counts as alive, and that it broke, which is known here before any
// channel above it ends.
type wire struct {
	net.Conn
	arrived atomic.Int64
	broken  atomic.Bool
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.arrived.Add(int64(n))
	}
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

// newLink takes over a connection that is logged in.
func newLink(name string, client *ssh.Client, w *wire, keepAlive time.Duration, under ...io.Closer) *link {
	l := &link{name: name, client: client, wire: w, under: under, done: make(chan struct{}),
		commands: make(chan struct{}, maxCommands)}
	go l.watch()
	go l.keepAlive(keepAlive)
	return l
}

// watch waits for the end of the connection and clears up after it.
func (l *link) watch() {
	l.cause = l.client.Wait()
	if told := l.dead.Load(); told != nil {
		l.cause = errors.New(*told)
	}
	close(l.done)
	l.close()
}

func (l *link) close() {
	// From below: a polite close of what runs above would wait for a dead wire.
	for _, c := range l.under {
		_ = c.Close()
	}
	_ = l.wire.Close()
	_ = l.client.Close()
}

// keepAlive asks the server for an answer whenever nothing arrived for an
// interval, and closes a connection on which nothing arrives any more. A cut
// cable gives no error by itself: reads would wait for ever.
func (l *link) keepAlive(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	asking := make(chan struct{}, 1)
	seen, missed := l.wire.arrived.Load(), 0
	for {
		select {
		case <-l.done:
			return
		case <-ticker.C:
		}
		if now := l.wire.arrived.Load(); now != seen {
			seen, missed = now, 0
			continue
		}
		if missed == missedAnswers {
			text := fmt.Sprintf("no answer to %d keepalives (%s)", missed, time.Duration(missed)*interval)
			l.dead.Store(&text)
			l.close()
			return
		}
		missed++
		select {
		case asking <- struct{}{}:
			go func() {
				_, _, _ = l.client.SendRequest("keepalive@openssh.com", true, nil)
				<-asking
			}()
		default: // the last question is still waiting to be sent or answered
		}
	}
}

// lost tells whether the connection is over.
func (l *link) lost() bool {
	select {
	case <-l.done:
		return true
	default:
		return l.wire.broken.Load()
	}
}

// settle gives the connection a moment to be known as over: channels end just
// before the connection they ran on does, and an end of file must not pass for
// the regular one.
func (l *link) settle() {
	select {
	case <-l.done:
	case <-time.After(10 * time.Millisecond):
	}
}

// blame turns the error of an operation into a lost connection, if it was that.
func (l *link) blame(what string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if !l.lost() {
		l.settle()
	}
	if l.lost() {
		return l.lostError(what)
	}
	return err
}

func (l *link) lostError(what string) error {
	cause := "closed"
	select {
	case <-l.done:
		if l.cause != nil && !errors.Is(l.cause, io.EOF) {
			cause = l.cause.Error()
		}
	default: // the wire is seen to be broken a moment before the connection is known to be over
		if told := l.dead.Load(); told != nil {
			cause = *told
		}
	}
	return &lostError{text: fmt.Sprintf("connection to %s lost %s: %s", l.name, what, cause)}
}

// lostError does not unwrap: a refused key or a refused port met while the
// connection is made again is not the bad input it would be at the start.
type lostError struct{ text string }

func (e *lostError) Error() string { return e.text }

// Is makes it an ErrConnectionLost.
func (e *lostError) Is(target error) bool { return target == ErrConnectionLost }

// ErrConnectionLost is every error of an operation that failed because the
// connection to the host was lost: whether it had an effect there is then unknown.
// The next operation makes the connection again.
var ErrConnectionLost = errors.New("the connection to the host was lost")

// IsConnectionLost tells whether an error is ErrConnectionLost.
func IsConnectionLost(err error) bool { return errors.Is(err, ErrConnectionLost) }

// open opens a channel. It gives up with ctx, and closes the channel if it is
// opened after that.
func (l *link) open(ctx context.Context, kind string, payload []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		channel  ssh.Channel
		requests <-chan *ssh.Request
	}
	result, err := await(ctx, l, "while opening a channel", func() (opened, error) {
		channel, requests, err := l.client.OpenChannel(kind, payload)
		return opened{channel, requests}, err
	}, func(late opened) {
		go ssh.DiscardRequests(late.requests)
		_ = late.channel.Close()
	})
	return result.channel, result.requests, err
}

// await runs something that cannot be cancelled and stops waiting for it when
// ctx ends or the connection is lost. A result that comes later goes to discard.
func await[T any](ctx context.Context, l *link, what string, run func() (T, error), discard func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	finished := make(chan outcome, 1)
	go func() {
		value, err := run()
		finished <- outcome{value, err}
	}()
	abandon := func(err error) (T, error) {
		go func() {
			if late := <-finished; late.err == nil && discard != nil {
				discard(late.value)
			}
		}()
		var zero T
		return zero, err
	}
	select {
	case got := <-finished:
		return got.value, l.blame(what, got.err)
	case <-ctx.Done():
		return abandon(fmt.Errorf("%s on %s: %w", what, l.name, context.Cause(ctx)))
	case <-l.done:
		return abandon(l.lostError(what))
	}
}
