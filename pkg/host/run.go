package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	maxCommands = 5
	// maxOutput bounds what Run keeps of each stream; more is for Start.
	maxOutput = 32 << 20
	// maxCommandLine is the longest single argument Linux takes, which the
	// whole command is to the login shell.
	maxCommandLine = 128<<10 - 1
)

// Output is what a command left behind.
type Output struct {
	Stdout, Stderr []byte
	// Exit is the exit code, 128 plus the number of the signal that ended it.
	Exit int
}

// Run runs a command on the host and waits for it. Each element of argv reaches
// the command as it is: it is quoted for the POSIX shell that sshd hands the
// line to. stdin may be nil. A non-zero exit code is not an error. When ctx
// ends Run returns at once and the command gets end of file and SIGTERM (which
// OpenSSH delivers to every user but root).
func (h *Host) Run(ctx context.Context, argv []string, stdin io.Reader) (Output, error) {
	line, err := quote(argv)
	if err != nil {
		return Output{}, err
	}
	done, err := h.queue(ctx, argv[0])
	if err != nil {
		return Output{}, err
	}
	defer done()
	s, err := h.session(ctx, "exec", line)
	if err != nil {
		return Output{}, err
	}
	return s.collect(ctx, argv[0], stdin)
}

// queue waits until the connection has a session to spare for a command. The
// places belong to the connection, so that nobody holds one while it is made
// again and the reconnect checks need it.
func (h *Host) queue(ctx context.Context, name string) (done func(), err error) {
	for {
		l, err := h.use(ctx)
		if err != nil {
			return nil, err
		}
		select {
		case l.commands <- struct{}{}:
			return func() { <-l.commands }, nil
		case <-l.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting to run %s on %s: %w", name, h, context.Cause(ctx))
		}
	}
}

// quote makes one shell line of argv. Inside single quotes a POSIX shell
// interprets nothing, so only the single quote itself needs care.
func quote(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("no command to run on the host")
	}
	words := make([]string, len(argv))
	for i, arg := range argv {
		if strings.ContainsRune(arg, 0) {
			return "", fmt.Errorf("argument %d of %s contains a NUL byte, which no command can be given", i, argv[0])
		}
		words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	line := strings.Join(words, " ")
	if len(line) > maxCommandLine {
		return "", fmt.Errorf("the arguments of %s are %d bytes long, %d at most fit: pass them on stdin", argv[0], len(line), maxCommandLine)
	}
	return line, nil
}

// collect feeds and drains a command until it is over.
func (s *session) collect(ctx context.Context, name string, stdin io.Reader) (Output, error) {
	var stdout, stderr bounded
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&stdout, s.channel) })
	reading.Go(func() { _, _ = io.Copy(&stderr, s.channel.Stderr()) })
	go func() {
		if stdin != nil {
			_, _ = io.Copy(s.channel, stdin)
		}
		_ = s.channel.CloseWrite()
	}()
	ended := make(chan struct{})
	go func() {
		reading.Wait()
		<-s.over
		close(ended)
	}()
	select {
	case <-ended:
		_ = s.channel.Close()
	case <-s.link.done:
		return Output{}, s.link.lostError("while " + name + " ran")
	case <-ctx.Done():
		s.kill()
		return Output{}, fmt.Errorf("running %s on %s: %w", name, s.link.name, context.Cause(ctx))
	}
	switch {
	case s.exit < 0:
		return Output{}, s.link.blame("while "+name+" ran", fmt.Errorf("%s on %s ended without an exit code", name, s.link.name))
	case stdout.over || stderr.over:
		return Output{}, fmt.Errorf("%s on %s printed more than %d MiB", name, s.link.name, maxOutput>>20)
	}
	return Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: s.exit}, nil
}

// kill asks for SIGTERM, more than once, and lets go: a signal that comes before
// sshd's child leads a process group of its own is lost. It does not wait: on a
// connection that hangs even a close would.
func (s *session) kill() {
	go func() {
		defer func() { _ = s.channel.Close() }()
		for range 5 {
			_, _ = s.channel.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"TERM"}))
			select {
			case <-s.over:
				return
			case <-s.link.done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

// bounded is a buffer that swallows what is too much, so that the command is
// not blocked by it.
type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxOutput {
		b.over = true
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// ReadFrom would let io.Copy go round the limit.
func (b *bounded) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{b}, r)
}

// Process is a command that keeps running on the host.
type Process struct {
	// Stdin is the command's standard input; closing it gives it end of file.
	Stdin io.WriteCloser
	// Stdout is its standard output. An end of file that comes from a lost
	// connection is an error instead (IsConnectionLost). Once about 2 MiB are
	// unread the command blocks.
	Stdout io.Reader

	name    string
	session *session
	stderr  *tail
	closing sync.Once
	closed  chan struct{}
}

// ExitError is a Process that ended with another code than 0.
type ExitError struct {
	Command string
	Code    int
	// Stderr is the end of what it printed there.
	Stderr string
}

// Error gives the command, the code and the last words.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s ended with exit code %d", e.Command, e.Code)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// Start starts a command on the host that outlives the call: ctx bounds only
// the start. On Close the command gets end of file and SIGTERM (which OpenSSH
// delivers to every user but root); when the connection is cut it gets neither.
func (h *Host) Start(ctx context.Context, argv []string) (*Process, error) {
	line, err := quote(argv)
	if err != nil {
		return nil, err
	}
	s, err := h.session(ctx, "exec", line)
	if err != nil {
		return nil, err
	}
	p := &Process{
		name:    argv[0],
		session: s,
		Stdin:   processInput{s},
		Stdout:  &stream{link: s.link, Reader: s.channel},
		stderr:  &tail{done: make(chan struct{})},
		closed:  make(chan struct{}),
	}
	go p.stderr.drain(s.channel.Stderr())
	return p, nil
}

// Wait waits for the end of the command: nil for exit code 0, *ExitError for
// another, an error for which IsConnectionLost is true when the connection went,
// ErrClosed after Close.
func (p *Process) Wait() error {
	select {
	case <-p.session.over:
		<-p.stderr.done
	case <-p.session.link.done:
		return p.session.link.lostError("while " + p.name + " ran")
	case <-p.closed:
		return fmt.Errorf("%s was closed: %w", p.name, ErrClosed)
	}
	switch code := p.session.exit; {
	case code == 0:
		return nil
	case code < 0:
		return p.session.link.blame("while "+p.name+" ran", errors.New(p.name+" ended without an exit code"))
	default:
		return &ExitError{Command: p.name, Code: code, Stderr: p.stderr.String()}
	}
}

// Close ends the command and what is left of its streams. It may be called twice
// and does not wait.
func (p *Process) Close() error {
	p.closing.Do(func() {
		close(p.closed)
		p.session.kill()
	})
	return nil
}

type processInput struct{ session *session }

func (i processInput) Write(b []byte) (int, error) {
	n, err := i.session.channel.Write(b)
	return n, i.session.link.blame("while writing to a command", err)
}

func (i processInput) Close() error {
	err := i.session.channel.CloseWrite()
	if errors.Is(err, io.EOF) { // the command is gone already
		return nil
	}
	return err
}

// stream reads a channel and tells a lost connection from an end of file.
type stream struct {
	io.Reader
	link *link
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	return n, s.link.blame("while reading", err)
}

// tail keeps the last words of a stream.
type tail struct {
	mu   sync.Mutex
	kept []byte
	done chan struct{}
}

const tailSize = 4 << 10

func (t *tail) drain(r io.Reader) {
	defer close(t.done)
	_, _ = io.Copy(t, r)
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if extra := len(t.kept) - tailSize; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.kept))
}
