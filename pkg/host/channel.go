package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

// conn is a net.Conn over an SSH channel. Deadlines are accepted and have no
// effect, since channels know none: net/http and the Docker client need them for
// nothing, keepalives end a connection that hangs, and a ctx ends a request by
// closing its conn.
type conn struct {
	stream
	channel ssh.Channel
	remote  net.Addr
}

func newConn(l *link, channel ssh.Channel, remote net.Addr) *conn {
	return &conn{stream: stream{Reader: channel, link: l}, channel: channel, remote: remote}
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.channel.Write(b)
	return n, c.link.blame("while writing", err)
}

// CloseWrite tells the other side that nothing more comes.
func (c *conn) CloseWrite() error { return c.channel.CloseWrite() }

// Close closes both directions. A channel that the other side closed first is
// closed all the same.
func (c *conn) Close() error {
	_ = c.channel.Close()
	return nil
}

func (c *conn) LocalAddr() net.Addr              { return c.link.client.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr             { return c.remote }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// DialTCP connects to host:port as seen from the host, through the SSH
// connection.
func (h *Host) DialTCP(ctx context.Context, addr string) (net.Conn, error) {
	name, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dialling from %s: %w", h, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dialling %s from %s: %q is not a port number", addr, h, service)
	}
	payload := ssh.Marshal(struct {
		Host       string
		Port       uint32
		Originator string
		From       uint32
	}{name, uint32(port), "127.0.0.1", 0})
	l, channel, requests, err := h.open(ctx, "direct-tcpip", payload)
	if err != nil {
		if refusal(err) == ssh.Prohibited {
			return nil, fault.New(fault.Refused, h.String(), "allow it in its sshd_config (AllowTcpForwarding, PermitOpen)",
				"sshd does not forward to %s: %w", addr, err)
		}
		return nil, fmt.Errorf("dialling %s from %s: %w", addr, h, err)
	}
	go ssh.DiscardRequests(requests)
	return newConn(l, channel, &net.TCPAddr{IP: net.ParseIP(name), Port: int(port)}), nil
}

// ForbidsForwarding tells whether an error of DialTCP is sshd's no: whether somebody
// listens there was not tried.
func ForbidsForwarding(err error) bool { return refusal(err) == ssh.Prohibited }

// sessionPatience is how long a session that sshd refuses is asked for again: sshd
// counts one against MaxSessions until a moment after its command ended.
const sessionPatience = 2 * time.Second

// session is one command or subsystem on the host.
type session struct {
	link    *link
	channel ssh.Channel
	// over is closed when the server has closed the channel; then exit is what
	// the command ended with, or -1 when that was never told.
	over chan struct{}
	exit int
}

// session opens a session channel and starts kind ("exec" or "subsystem") on it.
func (h *Host) session(ctx context.Context, kind, argument string) (*session, error) {
	giveUp := time.Now().Add(sessionPatience)
	for {
		l, channel, requests, err := h.open(ctx, "session", nil)
		if err == nil {
			return startSession(ctx, l, channel, requests, kind, argument)
		}
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) || time.Now().After(giveUp) {
			return nil, h.explainSession(err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a session on %s (%s): %w", h, err, context.Cause(ctx))
		case <-time.After(sessionPatience / 40):
		}
	}
}

// open opens a channel. A connection that turns out to be lost only now is made
// again: an unopened channel did nothing on the host.
func (h *Host) open(ctx context.Context, kind string, payload []byte) (*link, ssh.Channel, <-chan *ssh.Request, error) {
	for try := 1; ; try++ {
		l, err := h.use(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		channel, requests, err := l.open(ctx, kind, payload)
		if err == nil {
			return l, channel, requests, nil
		}
		if !IsConnectionLost(err) || try == 2 {
			return nil, nil, nil, err
		}
	}
}

func (h *Host) explainSession(err error) error {
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return err
	}
	return fault.New(fault.Refused, h.String(), "raise MaxSessions in its sshd_config (10 is the default and enough; 1 or 0 is not)",
		"sshd opens no further session: %w", err)
}

func startSession(ctx context.Context, l *link, channel ssh.Channel, requests <-chan *ssh.Request, kind, argument string) (*session, error) {
	s := &session{link: l, channel: channel, over: make(chan struct{}), exit: -1}
	go s.listen(requests)
	payload := ssh.Marshal(struct{ Text string }{argument})
	accepted, err := await(ctx, l, "while starting a command", func() (bool, error) {
		return channel.SendRequest(kind, true, payload)
	}, nil)
	if err != nil || !accepted {
		go channel.Close()
	}
	if err == nil && !accepted {
		err = fault.New(fault.Refused, l.name, "see sshd_config there (ForceCommand, Subsystem) and the options in authorized_keys",
			"sshd refuses the request %q", kind)
	}
	return s, err
}

func (s *session) listen(requests <-chan *ssh.Request) {
	defer close(s.over)
	for request := range requests {
		switch request.Type {
		case "exit-status":
			var status struct{ Code uint32 }
			if ssh.Unmarshal(request.Payload, &status) == nil {
				s.exit = int(status.Code)
			}
		case "exit-signal":
			var status struct {
				Name string
				Rest []byte `ssh:"rest"`
			}
			if ssh.Unmarshal(request.Payload, &status) == nil {
				s.exit = 128 + signalNumbers[status.Name]
			}
		}
		if request.WantReply {
			_ = request.Reply(false, nil)
		}
	}
}

// signalNumbers are those of Linux for the names that SSH knows.
var signalNumbers = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12,
	"PIPE": 13, "ALRM": 14, "TERM": 15,
}
