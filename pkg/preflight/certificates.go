package preflight

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/preflight/finding"
)

// expiring is how long before its end a certificate is spoken of.
const expiring = 21 * 24 * time.Hour

// certificates looks at every certificate that an nginx of the stack serves and
// that comes from the workspace.
func certificates(f *findings) {
	for _, name := range finding.SortedKeys(f.sites) {
		s := f.sites[name]
		s.walk(func(d *gateway.Directive, above []*gateway.Directive) {
			if d.Name != "ssl_certificate" || len(d.Args) != 1 || len(above) == 0 {
				return
			}
			f.certificate(s, d, above[len(above)-1].Inner)
		})
	}
}

// certificate looks at one of a server: several, of other kinds of keys, have their
// keys in the same order.
func (f *findings) certificate(s *site, cert *gateway.Directive, server []*gateway.Directive) {
	where := finding.In(s.svc.Name, cert.File, cert.Line)
	at, known := configured(cert.Args[0])
	if !known {
		f.Skip("P06.certificate", where, "shiksha verify looks at what is served", "which certificate it is, only nginx knows when it runs")
		return
	}
	file, ok := s.tree[at]
	if !ok {
		if !f.Covers(s.svc.Name, at) {
			f.Fail("P06.certificate", where, "mount it, as a secret or a volume", "nothing is mounted at %s, and nginx does not start without it", at)
			return
		}
		f.Skip("P06.certificate", where, "shiksha verify looks at what is served", "%s is not in the workspace", at)
		return
	}
	chain, err := parseChain(file.Content)
	if err != nil || len(chain) == 0 {
		f.Fail("P06.certificate", finding.In(s.svc.Name, file.Source, 0), "put the certificate first, then the intermediate ones, as PEM", "it holds no certificate that can be read")
		return
	}
	before := len(f.Results)
	where = finding.In(s.svc.Name, file.Source, 0)
	f.dates(where, chain[0])
	f.chain(where, chain)
	n, keys := slices.Index(every(server, cert.Name), cert), every(server, "ssl_certificate_key")
	if n < len(keys) && len(keys[n].Args) == 1 {
		keyAt, _ := configured(keys[n].Args[0])
		if k, ok := s.tree[keyAt]; ok {
			f.key(where, file, k)
		}
	}
	for _, names := range every(server, "server_name") {
		f.names(where, chain[0], names.Args)
	}
	if len(f.Results) == before {
		f.Pass("P06.certificate", "%s: its key, chain and names fit, until %s", file.Source, chain[0].NotAfter.Format(time.DateOnly))
	}
}

// configured is the path of a file that nginx.conf names, which nginx takes from its
// own folder. What it makes when it runs, or has from elsewhere, is not known.
func configured(name string) (string, bool) {
	if strings.Contains(name, "$") || strings.HasPrefix(name, "data:") || strings.HasPrefix(name, "engine:") || strings.HasPrefix(name, "store:") {
		return "", false
	}
	if !path.IsAbs(name) {
		name = path.Join("/etc/nginx", name)
	}
	return name, true
}

func every(list []*gateway.Directive, name string) []*gateway.Directive {
	var out []*gateway.Directive
	for _, d := range list {
		if d.Name == name {
			out = append(out, d)
		}
	}
	return out
}

func parseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return chain, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
}

func (f *findings) dates(p finding.Place, c *x509.Certificate) {
	left := c.NotAfter.Sub(f.Options.Now)
	switch {
	case left <= 0:
		f.Fail("P06.expiry", p, "renew it", "it expired on %s", c.NotAfter.Format(time.DateOnly))
	case f.Options.Now.Before(c.NotBefore):
		f.Fail("P06.expiry", p, "look at the clock, or wait", "it is valid only from %s on", c.NotBefore.Format(time.DateOnly))
	case left < expiring:
		f.Warn("P06.expiry", p, "renew it", "it expires in %d days, on %s", int(left.Hours()/24), c.NotAfter.Format(time.DateOnly))
	}
}

// chain makes sure that each certificate is signed by the next one.
func (f *findings) chain(p finding.Place, chain []*x509.Certificate) {
	for i := 0; i+1 < len(chain); i++ {
		if chain[i].CheckSignatureFrom(chain[i+1]) != nil {
			f.Fail("P06.chain", p, "put the certificate first, then each issuer after what it signed",
				"certificate %d (%s) is not signed by the next one (%s)", i+1, chain[i].Subject.CommonName, chain[i+1].Subject.CommonName)
			return
		}
	}
	if len(chain) == 1 && !slices.Equal(chain[0].RawIssuer, chain[0].RawSubject) {
		f.Warn("P06.chain", p, "append the intermediate certificate (fullchain.pem)",
			"the certificate of its issuer (%s) is missing: clients that do not know it refuse the connection", chain[0].Issuer.CommonName)
	}
}

func (f *findings) key(p finding.Place, cert, key finding.Mounted) {
	if _, err := tls.X509KeyPair(cert.Content, key.Content); err != nil {
		reason := "it cannot be read"
		if parsed, keyErr := anyKey(key.Content); keyErr == nil && parsed != nil {
			reason = "it belongs to another certificate"
		}
		f.Fail("P06.key", p, "give the key that the certificate was made for", "its key %s does not fit: %s", key.Source, reason)
	}
}

// anyKey reads a private key in the forms that nginx takes.
func anyKey(data []byte) (crypto.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, x509.ErrUnsupportedAlgorithm
	}
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	return x509.ParsePKCS1PrivateKey(block.Bytes)
}

func (f *findings) names(p finding.Place, c *x509.Certificate, names []string) {
	for _, name := range names {
		if name == "_" || name == "" || name == "localhost" || strings.ContainsAny(name, "~$") || !strings.Contains(name, ".") {
			continue
		}
		asked := strings.Replace(strings.TrimPrefix(name, "."), "*", "any", 1)
		if err := c.VerifyHostname(asked); err != nil {
			f.Fail("P06.names", p, "have it made for that name too", "it is for %s and not for %s", strings.Join(c.DNSNames, ", "), name)
		}
	}
}
