package host

import (
	"context"
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
