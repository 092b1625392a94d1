package kind

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// TCP connects, and may say something and look at the answer.
type TCP struct {
	Server  `yaml:",inline"`
	Address string `yaml:"address" help:"host:port to connect to, instead of service and port."`
	Send    string `yaml:"send" help:"Text to send; \\r\\n in double quotes is a line end."`
	// Published names a service of a Swarm whose port is Address's on the nodes that run
	// its tasks only.
	Published string  `yaml:"-" json:"-" jsonschema:"-"`
	Expect    Pattern `yaml:"expect" help:"Regular expression that the first line of the answer has to match."`
}

// Manner is how it is looked at.
func (t *TCP) Manner() Manner {
	if t.Service != "" || t.From == OnHost {
		return brisk(OnHost)
	}
	return brisk(OnRunner)
}

// dials gives the address, which needs no unit to be known.
func (t *TCP) dials() (service, addr string) {
	if t.From == OnHost && t.Address != "" && !strings.Contains(t.Address, "{{") {
		return "", t.Address
	}
	return t.Server.dials()
}

// Check tells what cannot be asked.
func (t *TCP) Check() error {
	if t.Service != "" {
		if t.Port == 0 {
			return errors.New("needs port, the one that " + t.Service + " listens on")
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(t.Address); err != nil && !strings.Contains(t.Address, "{{") {
		return errors.New("needs address as host:port, or service and port")
	}
	return nil
}

// Look connects to every endpoint.
func (t *TCP) Look(s *Sight) {
	address, err := s.expand(t.Address)
	if err != nil {
		s.blind(err)
		return
	}
	list := []endpoint{t.address(s, address)}
	nodes, err := s.nodesOf(t.Published)
	if err != nil {
		s.blind(err)
		return
	}
	if len(nodes) > 0 {
		_, port, _ := net.SplitHostPort(address)
		list = nil
		for _, node := range nodes {
			list = append(list, t.address(s, net.JoinHostPort(node, port)))
		}
	}
	if t.Service != "" {
		if list, err = t.units(s, t.Port); err != nil {
			s.blind(err)
			return
		}
	}
	for _, e := range list {
		s.at(e.name)
		t.look(s, e)
	}
}

// nodesOf are the addresses of the nodes that run a service's tasks, each once; none on
// a single host.
func (s *Sight) nodesOf(service string) (out []string, err error) {
	if service == "" {
		return nil, nil
	}
	seen, err := s.observed(s.Ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range seen.Units[service] {
		runs := u.NodeAddress != "" && !u.Joining && !u.GivenUp
		if runs && !slices.Contains(out, u.NodeAddress) {
			out = append(out, u.NodeAddress)
		}
	}
	return out, nil
}

func (t *TCP) look(s *Sight, e endpoint) {
	conn, err := e.dial(s.Ctx, "tcp", e.addr)
	if err != nil {
		s.saw("TCP to "+e.addr, err.Error())
		s.absent("tcp.connect", err, "a connection to "+e.addr)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(s.Ctx, func() { _ = conn.Close() })()
	if t.Send != "" {
		if _, err := conn.Write([]byte(t.Send)); err != nil {
			s.blind(err)
			return
		}
	}
	if t.Expect.given() {
		line, err := bufio.NewReader(conn).ReadString('\n')
		s.saw("TCP to "+e.addr, quoted(line))
		// The end of the connection ends a line too, unless it was we who had no more time.
		whole := err == nil || errors.Is(err, io.EOF) && s.Ctx.Err() == nil
		s.need("tcp.expect", whole && t.Expect.MatchString(line), "a line that matches "+t.Expect.String(), quoted(line))
		return
	}
	open := stays(conn)
	s.saw("TCP to "+e.addr, map[bool]string{true: "connected", false: "connected and closed at once"}[open])
	s.need("tcp.open", open, "a connection to "+e.addr, map[bool]string{true: "connected", false: "it is closed at once"}[open])
}

// patience is how long a connection is watched for its end. Docker takes a
// connection to a published port also when nobody listens in the unit, and closes
// it then.
const patience = 250 * time.Millisecond

// stays tells whether a connection stays open, or something comes on it. It cannot
// be used afterwards.
func stays(conn net.Conn) bool {
	ended := make(chan bool, 1)
	go func() {
		n, _ := conn.Read(make([]byte, 1))
		ended <- n == 0
	}()
	select {
	case closed := <-ended:
		return !closed
	case <-time.After(patience):
		return true
	}
}
