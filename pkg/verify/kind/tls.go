package kind

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// TLS looks at a server's certificate and at the versions of TLS that it takes.
type TLS struct {
	Server     `yaml:",inline"`
	Address    string    `yaml:"address" help:"host:port to connect to, instead of service and port."`
	Name       string    `yaml:"name" help:"Name that the certificate has to be for. Default: the host of address."`
	Names      []string  `yaml:"names" help:"More names that it has to be for."`
	CA         string    `yaml:"ca" help:"Certificates (PEM) of the authority to trust instead of the system's."`
	Warn       *Duration `yaml:"warn" help:"Warn when it expires sooner than this; 0s never warns. Default: 21d."`
	Fail       *Duration `yaml:"fail" help:"Fail when it expires sooner than this; 0s fails only when it has expired. Default: 7d."`
	MinVersion string    `yaml:"min_version" jsonschema:"enum=1.2,enum=1.3" help:"Older versions have to be refused. Default: 1.2."`
}

// Manner is how it is looked at.
func (t *TLS) Manner() Manner {
	place := OnRunner
	if t.Service != "" || t.From == OnHost {
		place = OnHost
	}
	return calm(place)
}

// Check tells what cannot be asked.
func (t *TLS) Check() error {
	if _, err := roots(t.CA); err != nil {
		return err
	}
	if t.Service != "" {
		if t.Name == "" || t.Address != "" {
			return errors.New("needs name, and no address, with service")
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(t.Address); err != nil && !strings.Contains(t.Address, "{{") {
		return errors.New("needs address as host:port, or service, port and name")
	}
	return nil
}

func (t *TLS) dials() (service, addr string) { return t.dialsAt(443) }

// Look shakes hands.
func (t *TLS) Look(s *Sight) {
	pool, err := roots(t.CA)
	if err != nil {
		s.blind(err)
		return
	}
	address, err := s.expand(t.Address)
	if err != nil {
		s.blind(err)
		return
	}
	list := []endpoint{t.address(s, address)}
	if t.Service != "" {
		if list, err = t.units(s, 443); err != nil {
			s.blind(err)
			return
		}
	}
	for _, e := range list {
		s.at(e.name)
		t.look(s, e, pool)
	}
}

func (t *TLS) look(s *Sight, e endpoint, pool *x509.CertPool) {
	name := cmp.Or(t.Name, hostname(e.addr))
	// The chain is judged below, so that the report can say what is wrong with it.
	state, err := handshake(s.Ctx, e, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		s.saw("TLS to "+e.addr, err.Error())
		s.absent("tls.answer", err, "a TLS handshake")
		return
	}
	leaf := state.PeerCertificates[0]
	left := time.Until(leaf.NotAfter)
	s.saw("TLS to "+e.addr, fmt.Sprintf("%s, certificate for %s until %s", tls.VersionName(state.Version),
		strings.Join(leaf.DNSNames, ", "), leaf.NotAfter.UTC().Format(time.DateOnly)))
	valid := s.need("tls.expired", left > 0, "a certificate that is valid", "it ended on "+leaf.NotAfter.UTC().Format(time.RFC3339))
	for _, n := range append([]string{name}, t.Names...) {
		valid = s.need("tls.name", leaf.VerifyHostname(n) == nil, "a certificate for "+n, "one for "+quoted(strings.Join(leaf.DNSNames, ", "))) && valid
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between})
	if valid {
		s.need("tls.chain", err == nil, "a chain to an authority that is trusted", fmt.Sprint(err))
	}
	ends := fmt.Sprintf("it ends in %d days", int(left.Hours()/24))
	fail, warn := given(t.Fail, Duration(7*24*time.Hour)), given(t.Warn, Duration(21*24*time.Hour))
	s.need("tls.fail", left >= time.Duration(fail), "valid for at least "+fail.String(), ends, "renew the certificate")
	s.want("tls.warn", left >= time.Duration(warn), "valid for at least "+warn.String(), ends, "renew the certificate")
	t.refusals(s, e, name)
	s.settle("pass", "a valid certificate for "+name, fmt.Sprintf("%d days left", int(left.Hours()/24)), "")
}

// refusals tries each older version of TLS alone.
func (t *TLS) refusals(s *Sight, e endpoint, name string) {
	old := []uint16{tls.VersionTLS10, tls.VersionTLS11}
	if t.MinVersion == "1.3" {
		old = append(old, tls.VersionTLS12)
	}
	for _, v := range old {
		_, err := handshake(s.Ctx, e, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: v, MaxVersion: v, CipherSuites: everySuite()})
		if err != nil && blindTo(err) {
			s.blind(err, forwardingHint)
			return
		}
		if s.Ctx.Err() != nil {
			// No answer is no refusal, and the next version would not be asked at all.
			s.blind(fmt.Errorf("nothing came back to %s: %w", tls.VersionName(v), context.Cause(s.Ctx)), "what stands before the server may drop old versions: let it refuse them")
			return
		}
		s.need("tls.version", err != nil, tls.VersionName(v)+" to be refused", tls.VersionName(v)+" is taken", "in nginx: ssl_protocols TLSv1.2 TLSv1.3;")
	}
}

// everySuite are all that this program knows, old ones too: the version is what is
// asked, not the cipher.
func everySuite() (out []uint16) {
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		out = append(out, c.ID)
	}
	return out
}

func handshake(ctx context.Context, e endpoint, config *tls.Config) (tls.ConnectionState, error) {
	raw, err := e.dial(ctx, "tcp", e.addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer raw.Close()
	// A connection through SSH knows no deadlines: closing it ends the wait.
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}
