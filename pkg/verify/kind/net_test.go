package kind

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shiksha/actions/pkg/check"
)

// served is a scene whose url is a server with the given answers by path.
func served(status int, header map[string]string, body string) func(*testing.T) *Scene {
	return handled(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func handled(h http.HandlerFunc) func(*testing.T) *Scene {
	return func(t *testing.T) *Scene {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		s := local(nil)
		s.URL = server.URL
		return s
	}
}

// nobody is a scene whose url nobody listens at.
func nobody(t *testing.T) *Scene {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := local(nil)
	s.URL = "http://" + l.Addr().String()
	_ = l.Close()
	return s
}

const well = `{"status":"healthy","database":"connected","n":3,"version":"v2","at":%d,"list":[]}`

func httpLooks() map[string]look {
	healthy := served(200, map[string]string{"X-Release": "v2"}, fmt.Sprintf(well, time.Now().Unix()))
	json := func(match string) string { return "http: {path: /health, expect: {json: {" + match + "}}}" }
	out := map[string]look{
		"http sound":                       {"", "http: {path: /health, expect: {status: 200, headers: {X-Release: v2}, json: {status: healthy, database: connected, version: '{{version}}', n: {gt: 2, le: 3}, at: {age_below: 1m}}}}", healthy, check.Pass, "status 200"},
		"http nobody listens":              {"http.answer", "http: {path: /}", nobody, check.Fail, "refused"},
		"http status":                      {"http.status", "http: {path: /}", served(503, nil, "down"), check.Fail, "status 503: down"},
		"http not json":                    {"http.json", json("status: {exists: true}"), served(200, nil, "healthy"), check.Fail, "healthy"},
		"http slow":                        {"http.latency", "http: {path: /, expect: {latency: 10ms}}", handled(func(w http.ResponseWriter, _ *http.Request) { time.Sleep(40 * time.Millisecond) }), check.Fail, "after"},
		"http p95":                         {"http.p95", "http: {path: /, repeat: 3, expect: {p95: 10ms}}", handled(func(w http.ResponseWriter, _ *http.Request) { time.Sleep(40 * time.Millisecond) }), check.Fail, "p95"},
		"http one unit behind the gateway": {"http.distinct", "http: {path: /, repeat: 3, expect: {distinct: {header: X-Release, count: 2}}}", healthy, check.Fail, "1: v2"},
		"http capture":                     {"capture", "http: {path: /, capture: {asset: '/assets/(\\w+)'}}", healthy, check.Fail, "healthy"},
		"http variable in a pattern":       {"", "http: {path: /health, expect: {status: 200, body: {matches: '\"version\":\\s*\"{{version}}\"'}}}", healthy, check.Pass, "status 200"},
		"http other version in a pattern":  {"match.matches", "http: {path: /health, expect: {status: 200, body: {matches: '\"status\":\\s*\"{{version}}\"'}}}", healthy, check.Fail, "healthy"},
		"http database disconnected though healthy": {"match.equals", json("status: healthy, database: connected"),
			served(200, nil, `{"status":"healthy","database":"disconnected"}`), check.Fail, `database is disconnected`},
		"http unhealthy is not healthy": {"match.equals", json("status: healthy"), served(200, nil, `{"status":"unhealthy"}`), check.Fail, "unhealthy"},
		"http longer than is read":      {"http.whole", "http: {path: /, expect: {body: {not_matches: Traceback}}}", served(200, nil, strings.Repeat("x", maxBody)+"Traceback"), check.Unknown, "a longer one"},
		"http long, and it is there":    {"", "http: {path: /, expect: {body: {matches: ^xx}}}", served(200, nil, strings.Repeat("x", maxBody+1)), check.Pass, "status 200"},
		"http as long as is read":       {"", "http: {path: /, expect: {body: {not_matches: Traceback}}}", served(200, nil, strings.Repeat("x", maxBody)), check.Pass, "status 200"},
		"http no service unit":          {"running", "http: {service: api, port: 80}", one("web", nil), check.Fail, "has no running unit"},
	}
	for operator, operand := range map[string]string{
		"not": "healthy", "matches": "^x", "not_matches": "^h", "contains": "x", "empty": "true", "age_below": "1s",
	} {
		out["http operator "+operator] = look{"match." + operator, json("status: {" + operator + ": " + operand + "}"), healthy, check.Fail, "healthy"}
	}
	for operator, operand := range map[string]string{"lt": "3", "le": "2", "gt": "3", "ge": "4"} {
		out["http operator "+operator] = look{"match." + operator, json("n: {" + operator + ": " + operand + "}"), healthy, check.Fail, "n is 3"}
	}
	out["http operator exists"] = look{"match.exists", json("nope: {exists: true}"), healthy, check.Fail, "nothing"}
	out["http old answer"] = look{"match.age_below", json("at: {age_below: 1m}"), served(200, nil, `{"at": 1700000000}`), check.Fail, "1700000000"}
	// Nothing but exists holds for a value that is not there.
	for operator := range operators {
		if operator != "exists" {
			operand := "1"
			if operator == "empty" {
				operand = "true"
			}
			if operator == "age_below" {
				operand = "1s"
			}
			out["http absent "+operator] = look{"match." + operator, json("nope: {" + operator + ": " + operand + "}"), healthy, check.Fail, "nothing"}
		}
	}
	var n atomic.Int64
	limit := func(status int, after int64) func(*testing.T) *Scene {
		return handled(func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1)%10 >= after {
				w.WriteHeader(status)
			}
		})
	}
	const row = "rate-limit: {path: /, requests: 20, rate: 1000}"
	out["limit sound"] = look{"", row, limit(429, 5), check.Pass, "429"}
	out["limit nobody listens"] = look{"http.answer", row, nobody, check.Fail, "refused"}
	out["limit by another status"] = look{"", "rate-limit: {path: /, requests: 20, rate: 1000, limited: 503}", limit(503, 5), check.Pass, "503"}
	out["limit of what is refused anyway"] = look{"", "rate-limit: {path: /, requests: 20, rate: 1000, limited: 429, expect: {status: 401}}", handled(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{401, 429}[n.Add(1)%2])
	}), check.Pass, "401"}
	out["limit none"] = look{"rate-limit.limited", row, limit(429, 10), check.Fail, "20 with 200"}
	out["limit for all"] = look{"rate-limit.served", row, limit(429, 0), check.Fail, "20 with 429"}
	out["limit by 503"] = look{"rate-limit.other", "rate-limit: {path: /, requests: 20, rate: 1000, limited: 429, least: 1}", handled(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{200, 429, 503}[n.Add(1)%3])
	}), check.Fail, "with 503"}
	return out
}

// certificate makes one that an authority of its own signed.
func certificate(t *testing.T, name string, ends time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: ends, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// secured is a look at a TLS server.
func secured(point, name string, days int, oldest uint16, trust bool, outcome check.Outcome, found string) look {
	l := look{point: point, outcome: outcome, found: found}
	var authority string
	l.scene = func(t *testing.T) *Scene { return local(nil) }
	// The address and the authority are known only when the server runs.
	t := &testing.T{}
	pair, ca := certificate(t, name, time.Now().Add(time.Duration(days)*24*time.Hour))
	if authority = ca; !trust {
		_, authority = certificate(t, "other", time.Now().Add(time.Hour))
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: oldest})
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = c.(*tls.Conn).Handshake(); _ = c.Close() }()
		}
	}()
	l.check = fmt.Sprintf("tls:\n  address: %s\n  name: shop.example.org\n  ca: |\n    %s", listener.Addr(), strings.ReplaceAll(authority, "\n", "\n    "))
	return l
}

func tlsLooks() map[string]look {
	const name = "shop.example.org"
	return map[string]look{
		"tls sound":          secured("", name, 90, tls.VersionTLS12, true, check.Pass, "89 days"),
		"tls expired":        secured("tls.expired", name, -2, tls.VersionTLS12, true, check.Fail, "it ended on"),
		"tls wrong name":     secured("tls.name", "other.example.org", 90, tls.VersionTLS12, true, check.Fail, "one for other.example.org"),
		"tls own authority":  secured("tls.chain", name, 90, tls.VersionTLS12, false, check.Fail, "unknown authority"),
		"tls ends this week": secured("tls.fail", name, 3, tls.VersionTLS12, true, check.Fail, "2 days"),
		"tls ends soon":      secured("tls.warn", name, 14, tls.VersionTLS12, true, check.Warn, "13 days"),
		"tls old version":    secured("tls.version", name, 90, tls.VersionTLS10, true, check.Fail, "is taken"),
		"tls nobody listens": {"tls.answer", "tls: {address: 127.0.0.1:1}", func(*testing.T) *Scene { return local(nil) }, check.Fail, "refused"},
	}
}

// speaking is a TCP server that says a line and waits. One that says less, or nothing,
// closes then.
func speaking(words string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, words)
			if !strings.HasSuffix(words, "\n") {
				_ = c.Close()
			}
		}
	}()
	return listener.Addr().String()
}

func tcpLooks() map[string]look {
	plain := func(*testing.T) *Scene { return local(nil) }
	return map[string]look{
		"tcp sound":          {"", "tcp: {address: '" + speaking("220 hello\r\n") + "', expect: ^220}", plain, check.Pass, "220"},
		"tcp says and goes":  {"", "tcp: {address: '" + speaking("220 hello") + "', expect: ^220}", plain, check.Pass, "220"},
		"tcp goes":           {"tcp.expect", "tcp: {address: '" + speaking("") + "', expect: ^220}", plain, check.Fail, "nothing"},
		"tcp greets":         {"", "tcp: {address: '" + speaking("220 hello\r\n") + "'}", plain, check.Pass, "connected"},
		"tcp nobody listens": {"tcp.connect", "tcp: {address: 127.0.0.1:1}", plain, check.Fail, "refused"},
		"tcp other greeting": {"tcp.expect", "tcp: {address: '" + speaking("500 busy\r\n") + "', expect: ^220}", plain, check.Fail, "500 busy"},
		// As Docker's proxy does for a unit that does not listen.
		"tcp closed at once": {"tcp.open", "tcp: {address: '" + speaking("") + "'}", plain, check.Fail, "closed"},
	}
}
