package preflight_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
)

// tlsStack serves what a server block of nginx says, with ./tls in its folder.
func tlsStack(server string) files {
	return files{
		"compose.yaml": "services:\n  nginx:\n    image: nginx:1.27\n    volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\", \"./tls:/etc/nginx/tls:ro\"]\n",
		"nginx.conf":   "events {}\nhttp {\n server {\n  listen 443 ssl;\n" + server + " }\n}\n",
		"tls/README":   "made by hand\n",
	}
}

// issueRSA is issue with a key of the other kind.
func (a authority) issueRSA(t *testing.T, names ...string) (chain, key string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(0, 3, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	require.NoError(t, err)
	block := func(kind string, data []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
	}
	return block("CERTIFICATE", der) + block("CERTIFICATE", a.cert.Raw), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
}

// A server may have a certificate of each kind; the first key is the first one's.
func TestCertificatesOfTwoKinds(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ec, ecKey := ca.issue(t, now.AddDate(0, 3, 0), "shop.example.org")
	rs, rsKey := ca.issueRSA(t, "shop.example.org")
	const paths = "  ssl_certificate /etc/nginx/tls/rsa.pem;\n  ssl_certificate /etc/nginx/tls/ec.pem;\n" +
		"  ssl_certificate_key /etc/nginx/tls/rsa.key;\n  ssl_certificate_key /etc/nginx/tls/ec.key;\n"
	tls := files{"tls/rsa.pem": rs, "tls/rsa.key": rsKey, "tls/ec.pem": ec, "tls/ec.key": ecKey}
	good := look(t, tlsStack("  server_name shop.example.org;\n"+paths).with(tls), "")
	assert.Empty(t, about(good, "P06.key"))
	assert.Len(t, about(good, "P06.certificate"), 2)

	crossed := files{"tls/rsa.pem": rs, "tls/rsa.key": ecKey, "tls/ec.pem": ec, "tls/ec.key": rsKey}
	bad := look(t, tlsStack(paths).with(crossed), "")
	reported(t, bad, "P06.key", check.Fail, "tls/rsa.pem", "belongs to another certificate")
	reported(t, bad, "P06.key", check.Fail, "tls/ec.pem", "belongs to another certificate")

	named := look(t, tlsStack("  server_name shop.example.org;\n  server_name www.example.org;\n"+paths).with(tls), "")
	reported(t, named, "P06.names", check.Fail, "tls/ec.pem", "not for www.example.org")
}

func TestWhereACertificateIs(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	chain, key := ca.issue(t, now.AddDate(0, 3, 0), "shop.example.org")
	_, other := ca.issue(t, now.AddDate(0, 3, 0), "shop.example.org")
	relative := tlsStack("  ssl_certificate tls/chain.pem;\n  ssl_certificate_key tls/key.pem;\n")
	good := look(t, relative.with(files{"tls/chain.pem": chain, "tls/key.pem": key}), "")
	require.Len(t, about(good, "P06.certificate"), 1, "nginx reads it beside its own nginx.conf")
	assert.Equal(t, check.Pass, about(good, "P06.certificate")[0].Outcome)
	reported(t, look(t, relative.with(files{"tls/chain.pem": chain, "tls/key.pem": other}), ""), "P06.key", check.Fail, "tls/chain.pem", "belongs to another")
	reported(t, look(t, tlsStack("  ssl_certificate certs/chain.pem;\n"), ""), "P06.certificate", check.Fail, "nginx.conf:5", "nothing is mounted at /etc/nginx/certs/chain.pem")

	const asked = "  ssl_certificate /run/secrets/cert;\n"
	for given, want := range map[string]check.Outcome{
		"    secrets: [cert]\nsecrets: {cert: {environment: TLS_CERT}}\n":                                    check.Skip,
		"    secrets: [{source: tls, target: cert}]\nsecrets: {tls: {environment: TLS_CERT}}\n":              check.Skip,
		"    secrets: [{source: tls, target: /run/secrets/cert}]\nsecrets: {tls: {environment: TLS_CERT}}\n": check.Skip,
		"    secrets: [tls]\nsecrets: {tls: {environment: TLS_CERT}}\n":                                      check.Fail,
		"    secrets: [{source: cert, target: other}]\nsecrets: {cert: {environment: TLS_CERT}}\n":           check.Fail,
		"    configs: [cert]\nconfigs: {cert: {environment: TLS_CERT}}\n":                                    check.Fail,
	} {
		f := tlsStack(asked)
		f["compose.yaml"] += given
		r := about(look(t, f, "TLS_CERT=of-an-env-file\n"), "P06.certificate")
		require.Len(t, r, 1, given)
		assert.Equal(t, want, r[0].Outcome, given)
	}

	for name, server := range map[string]string{
		"a variable": "  ssl_certificate /etc/tls/$ssl_server_name.pem;\n", "a template's": "  ssl_certificate ${CERT};\n",
		"a value": "  ssl_certificate data:$chain;\n", "an engine's": "  ssl_certificate engine:pkcs11:1;\n",
	} {
		r := about(look(t, tlsStack(server), ""), "P06.certificate")
		require.Len(t, r, 1, name)
		assert.Equal(t, check.Skip, r[0].Outcome, name)
	}
}
