package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
)

const (
	// firstTries and firstBudget bound the first connection: a typing error in
	// the address has to show within half a minute.
	firstTries  = 3
	firstBudget = 28 * time.Second
)

// reach makes the first connection. What another try cannot mend (a key, a pin)
// ends it at once.
func (s *settings) reach(ctx context.Context) (*link, error) {
	began := time.Now()
	var last error
	for try := 1; try <= firstTries; try++ {
		// A slow host gets all its time at first; the other tries share the rest.
		bound, cancel := context.WithTimeout(ctx, s.connectTimeout)
		if try > 1 {
			cancel()
			bound, cancel = context.WithTimeout(ctx, (firstBudget-time.Since(began))/time.Duration(firstTries-try+1))
		}
		l, err := s.connect(bound)
		cancel()
		var known *fault.Error
		switch {
		case err == nil:
			return l, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("connecting to %s: %w", s.target.network(), context.Cause(ctx))
		case errors.As(err, &known):
			return nil, err
		}
		last = err
		if try == firstTries {
			break
		}
		if err := grace.Pause(ctx, time.Duration(try)*jitter(500*time.Millisecond)); err != nil {
			return nil, fmt.Errorf("connecting to %s: %w", s.target.network(), err)
		}
	}
	var away *unreachable
	where, hint := s.target, "see whether sshd runs there and whether this machine may reach it"
	if errors.As(last, &away) {
		where, hint = away.endpoint, away.hint()
	}
	return nil, fault.New(fault.Input, where.input, hint, "%s cannot be reached: %d tries in %s, the last one: %w",
		where.network(), firstTries, time.Since(began).Round(100*time.Millisecond), last)
}

// unreachable is a failure that may pass.
type unreachable struct {
	endpoint endpoint
	err      error
}

func (e *unreachable) Error() string { return e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

func (e *unreachable) hint() string {
	var unknown *net.DNSError
	text := e.err.Error()
	switch {
	case errors.As(e.err, &unknown):
		return "see whether the name is spelled right and known to this machine's DNS"
	case strings.Contains(text, "refused"):
		return "see whether sshd runs there and listens on port " + e.endpoint.port
	case errors.Is(e.err, errNotSSH) && !errors.Is(e.err, context.DeadlineExceeded):
		return "see whether port " + e.endpoint.port + " is sshd's, and MaxStartups and deny lists there"
	}
	return "see whether a firewall stands between this machine and port " + e.endpoint.port + ", and whether that port is sshd's"
}

var errNotSSH = errors.New("no SSH handshake")

// connect makes one connection, once.
func (s *settings) connect(ctx context.Context) (*link, error) {
	var first error
	for _, round := range s.target.trust.rounds {
		l, err := s.connectRound(ctx, round)
		if err == nil {
			s.target.trust.prefer(round)
			return l, nil
		}
		var known *fault.Error
		if !errors.As(err, &known) || known.Where != "host-fingerprint" {
			return nil, err
		}
		// Another of the server's keys may be the pinned one.
		if first == nil || errors.Is(first, errNoSuchKey) {
			first = err
		}
	}
	return nil, first
}

// errNoSuchKey is a server without a key of the pinned type.
var errNoSuchKey = errors.New("no host key of a recorded type")

func (s *settings) connectRound(ctx context.Context, algorithms []string) (*link, error) {
	first := s.target
	if s.jump != nil {
		first = *s.jump
	}
	dialer := net.Dialer{Timeout: s.connectTimeout, KeepAlive: s.keepAlive}
	raw, err := dialer.DialContext(ctx, "tcp", first.network())
	if err != nil {
		return nil, &unreachable{first, err}
	}
	if s.jump == nil {
		client, w, err := s.handshake(ctx, raw, first, algorithms)
		if err != nil {
			return nil, err
		}
		return newLink(s.target.String(), client, w, s.keepAlive), nil
	}
	return s.connectThrough(ctx, raw, algorithms)
}

// connectThrough goes on from the jump host to the target.
func (s *settings) connectThrough(ctx context.Context, raw net.Conn, algorithms []string) (*link, error) {
	jump, _, err := s.handshake(ctx, raw, *s.jump, s.jump.trust.rounds[0])
	if err != nil {
		return nil, err
	}
	inner, err := s.forward(ctx, jump)
	if err != nil {
		_ = jump.Close()
		return nil, err
	}
	client, w, err := s.handshake(ctx, passage{inner, jump}, s.target, algorithms)
	if err != nil {
		return nil, err
	}
	return newLink(s.target.String(), client, w, s.keepAlive, jump), nil
}

// passage is the way through a jump host. Its end ends the connection to that host: one
// that hangs would never answer the close of a channel, and a read on it would not end.
type passage struct {
	net.Conn
	jump io.Closer
}

// Close closes the jump host's connection first, so that nothing waits for an answer.
func (p passage) Close() error { return errors.Join(p.jump.Close(), p.Conn.Close()) }

// forward opens the way from the jump host to the target.
func (s *settings) forward(ctx context.Context, jump *ssh.Client) (net.Conn, error) {
	bound, cancel := context.WithTimeout(ctx, s.connectTimeout)
	defer cancel()
	conn, err := jump.DialContext(bound, "tcp", s.target.network())
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return conn, nil
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		return nil, fault.New(fault.Input, "jump-host", "allow it in its sshd_config (AllowTcpForwarding, PermitOpen)",
			"%s may not forward to %s: %w", s.jump.network(), s.target.network(), err)
	}
	return nil, &unreachable{s.target, fmt.Errorf("from the jump host %s: %w", s.jump.network(), err)}
}

// handshake proves the server's key, then the user's.
func (s *settings) handshake(ctx context.Context, raw net.Conn, to endpoint, algorithms []string) (*ssh.Client, *wire, error) {
	offer, err := s.login.offer(ctx)
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	defer offer.done()
	config := s.newClientConfig(to.user)
	config.HostKeyAlgorithms = algorithms
	offer.apply(config)
	var verdict error
	config.HostKeyCallback = func(name string, remote net.Addr, key ssh.PublicKey) error {
		verdict = to.trust.check(name, remote, key)
		return verdict
	}
	w := &wire{Conn: raw}
	conn, channels, requests, err := s.greet(ctx, w, to, config)
	if err == nil {
		return ssh.NewClient(conn, channels, requests), w, nil
	}
	_ = raw.Close()
	var none *ssh.AlgorithmNegotiationError
	switch {
	case verdict != nil:
		return nil, nil, verdict
	case ctx.Err() != nil:
		return nil, nil, &unreachable{to, fmt.Errorf("ssh handshake with %s: %w", to.network(), ctx.Err())}
	case errors.As(err, &none) && none.What == "host key":
		return nil, nil, s.otherKey(ctx, to, none)
	case offer.started && !brokenOff(err):
		return nil, nil, offer.refused(to.address, trimPrefixes(err))
	}
	return nil, nil, &unreachable{to, fmt.Errorf("%w with %s: %w", errNotSSH, to.network(), trimPrefixes(err))}
}

// greet runs the handshake within ConnectTimeout. Channels know no deadlines, so
// the end of the time closes the connection.
func (s *settings) greet(ctx context.Context, w *wire, to endpoint, config *ssh.ClientConfig) (ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	bound, cancel := context.WithTimeout(ctx, s.connectTimeout)
	defer cancel()
	stop := context.AfterFunc(bound, func() { _ = w.Close() })
	conn, channels, requests, err := ssh.NewClientConn(w, to.network(), config)
	if stop() {
		return conn, channels, requests, err
	}
	if err == nil {
		_ = conn.Close()
	}
	return nil, nil, nil, fmt.Errorf("no answer within %s: %w", s.connectTimeout, context.Cause(bound))
}

// otherKey is for a server that has no key of the pinned type. To tell which it
// has instead, it is looked at once more and left before authentication.
func (s *settings) otherKey(ctx context.Context, to endpoint, none *ssh.AlgorithmNegotiationError) error {
	byPrint := len(to.trust.entries) == 0
	where := "known-hosts"
	if byPrint {
		where = "host-fingerprint"
	}
	plain := fault.New(fault.Input, where, changedHint, "%s has %w: it has %s, recorded is %s",
		to.network(), errNoSuchKey, strings.Join(none.RequestedAlgorithms, ", "), to.trust.wanted())
	if byPrint || to.input != s.firstHop() {
		return plain
	}
	raw, err := (&net.Dialer{Timeout: s.connectTimeout}).DialContext(ctx, "tcp", to.network())
	if err != nil {
		return plain
	}
	defer raw.Close()
	config := s.newClientConfig(to.user)
	var shown ssh.PublicKey
	config.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		shown = key
		return errors.New("only looking")
	}
	if conn, _, _, err := s.greet(ctx, &wire{Conn: raw}, to, config); err == nil {
		_ = conn.Close()
	}
	if shown == nil {
		return plain
	}
	return to.trust.mismatch(where, shown)
}

func (s *settings) firstHop() string {
	if s.jump != nil {
		return s.jump.input
	}
	return s.target.input
}

// brokenOff tells a connection that ended from a server that said no.
func brokenOff(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network)
}

func trimPrefixes(err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "ssh: handshake failed: ") {
		return inner
	}
	return err
}

// jitter spreads what many runners started at the same second.
func jitter(d time.Duration) time.Duration { return d + rand.N(d) }
