package kind

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/stack"
)

// Server says which server a check speaks to: the units of a service, each by its
// own address and as the host sees it, or an address.
type Server struct {
	Service string `yaml:"service" help:"Service whose units are asked, each by its own address, from the host."`
	Port    int    `yaml:"port" jsonschema:"exclusiveMinimum=0" help:"Port of the service's units. Default: 443 for tls, 9090 for prometheus, 9093 for alertmanager, 3000 for grafana; the others need it."`
	From    string `yaml:"from" jsonschema:"enum=runner,enum=host" help:"Where an address is asked from: the runner (default) or the host."`
}

// dials tells which service's units are connected to, and an address with their port: sshd
// mostly tells them apart by that. The address is "" where the port is not known.
func (v Server) dials() (service, addr string) { return v.dialsAt(0) }

// dialsAt does where a port of the kind's own is asked when none is given.
func (v Server) dialsAt(port int) (service, addr string) {
	port = cmp.Or(v.Port, port)
	if v.Service == "" || port == 0 {
		return "", ""
	}
	return v.Service, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// endpoint is one server: what reports call it and how it is reached.
type endpoint struct {
	name string
	// addr is host:port.
	addr string
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// unit is the one that it is; none where it is an address.
	unit *stack.Unit
}

// errNoForwarding is why units cannot be reached where sshd does not forward.
var errNoForwarding = errors.New("sshd on the host forwards no TCP")

const forwardingHint = "allow AllowTcpForwarding for the user in its sshd_config, or use an exec check, which needs none"

// units gives the endpoints of a service's running units.
func (v Server) units(s *Sight, port int) ([]endpoint, error) {
	if v.Port != 0 {
		port = v.Port
	}
	units, err := s.running(s.Ctx, v.Service)
	if err != nil {
		return nil, err
	}
	var out []endpoint
	for _, u := range units {
		ip := u.AddressOn(func(string) bool { return true })
		if ip == "" && s.onHostNetwork(v.Service) {
			ip = "127.0.0.1"
		}
		if ip == "" {
			return nil, fmt.Errorf("%s has no address on any network", u.Name)
		}
		out = append(out, endpoint{u.Name, net.JoinHostPort(ip, strconv.Itoa(port)), s.fromHost, &u})
	}
	return out, nil
}

func (s *Scene) onHostNetwork(service string) bool {
	return s.Stack != nil && s.Stack.Services[service] != nil && s.Stack.Services[service].NetworkMode == "host"
}

func (s *Scene) fromHost(ctx context.Context, _, addr string) (net.Conn, error) {
	c, err := s.Ground.DialTCP(ctx, addr)
	if err != nil && (fault.Of(err) == fault.Refused || host.IsConnectionLost(err)) {
		return nil, fmt.Errorf("%w: %w", errNoForwarding, err)
	}
	return c, err
}

// address gives the endpoint of an address.
func (v Server) address(s *Sight, addr string) endpoint {
	if v.From == OnHost {
		return endpoint{addr + " from the host", addr, s.fromHost, nil}
	}
	return endpoint{addr, addr, s.Dial, nil}
}

// blindTo tells that an error says nothing about the server: the way to it is
// closed, not the server down.
func blindTo(err error) bool { return errors.Is(err, errNoForwarding) }

// absent settles what it means that the server could not be reached.
func (s *Sight) absent(point string, err error, expected string) {
	if blindTo(err) {
		s.blind(err, forwardingHint)
		return
	}
	s.need(point, false, expected, plain(err))
}

// plain takes the addresses of Go's own layers out of an error of the network.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"Get ", "Post ", "Head ", "Put "} {
		if strings.HasPrefix(text, prefix+`"`) {
			if _, after, ok := strings.Cut(text, `": `); ok {
				text = after
			}
		}
	}
	return text
}

// roots reads certificates of an authority of the team's own; none means the
// system's.
func roots(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, errors.New("ca holds no certificate in PEM form")
	}
	return pool, nil
}

// client makes an HTTP client for an endpoint that opens a connection for every
// request, as new users do, and follows no redirect.
func (e endpoint) client(config *tls.Config) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { return e.dial(ctx, network, e.addr) },
			// Nothing of the environment's proxies: a check asks the server itself.
			Proxy: nil, DisableKeepAlives: true, TLSClientConfig: config, ForceAttemptHTTP2: true,
		},
	}
}

// answer is what a server said.
type answer struct {
	status  int
	header  http.Header
	body    string
	latency time.Duration
	// cut tells that the body goes on.
	cut bool
}

// maxBody bounds what is kept of an answer.
const maxBody = 4 << 20

func do(client *http.Client, request *http.Request) (*answer, error) {
	begun := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("the answer broke off: %w", err)
	}
	kept := body[:min(len(body), maxBody)]
	return &answer{response.StatusCode, response.Header, string(kept), time.Since(begun), len(body) > maxBody}, nil
}
