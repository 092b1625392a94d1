package kind

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
)

// TCP connects, and may say something and look at the answer.
type TCP struct {
	Server  `yaml:",inline"`
	Address string  `yaml:"address" help:"host:port to connect to, instead of service and port."`
	Send    string  `yaml:"send" help:"Text to send; \\r\\n in double quotes is a line end."`
	Expect  Pattern `yaml:"expect" help:"Regular expression that the first line of the answer has to match."`
}

// Manner is how it is looked at.
func (t *TCP) Manner() Manner {
	if t.Service != "" || t.From == OnHost {
		return brisk(OnHost)
	}
	return brisk(OnRunner)
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

func (t *TCP) look(s *Sight, e endpoint) {
	conn, err := e.dial(s.Ctx, "tcp", e.addr)
	if err != nil {
		s.saw("TCP to "+e.addr, err.Error())
		s.absent("tcp.connect", err, "a connection to "+e.addr)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(s.Ctx, func() { _ = conn.Close() })()
	line := ""
	if t.Send != "" {
		_, err = conn.Write([]byte(t.Send))
	}
	if err == nil && t.Expect.given() {
		line, err = bufio.NewReader(conn).ReadString('\n')
	}
	s.saw("TCP to "+e.addr, "connected "+line)
	if t.Expect.given() {
		s.need("tcp.expect", t.Expect.MatchString(line), "a line that matches "+t.Expect.String(), quoted(line))
		return
	}
	s.need("tcp.send", err == nil, "a connection to "+e.addr, "connected")
}
