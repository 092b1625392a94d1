package kind

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/stack"
)

// Units are asked at their first address by name, at the check's port, and on the
// host's own where they share its network.
func TestServer_Units(t *testing.T) {
	t.Parallel()
	at := map[string]string{"b": "10.0.0.2", "a": "10.0.0.1"}
	six, both := map[string]string{"b": "fd00::2", "a": "fd00::1"}, map[string]string{"b": "10.0.0.2", "a": "fd00::1"}
	for name, c := range map[string]struct {
		server    Server
		addresses map[string]string
		mode      string
		want      string
	}{
		"the kind's port":          {Server{Service: "it"}, at, "", "10.0.0.1:80"},
		"the check's port":         {Server{Service: "it", Port: 8080}, at, "", "10.0.0.1:8080"},
		"on the host's network":    {Server{Service: "it"}, nil, "host", "127.0.0.1:80"},
		"on no network":            {Server{Service: "it"}, nil, "none", "shop-it-1 has no address on any network"},
		"its own, though on hosts": {Server{Service: "it"}, at, "host", "10.0.0.1:80"},
		"of IPv6":                  {Server{Service: "it"}, six, "", "[fd00::1]:80"},
		"of IPv4, if there is one": {Server{Service: "it"}, both, "", "10.0.0.2:80"},
	} {
		s := local(&fakeUnits{units: map[string][]stack.Unit{"it": {{ID: "a", Name: "shop-it-1", State: stack.Running, Addresses: c.addresses}}}})
		s.Stack = &stack.Stack{Services: map[string]*stack.Service{"it": {NetworkMode: c.mode}}}
		found, err := c.server.units(s.Begin(t.Context(), "it"), 80)
		if err != nil {
			assert.Equal(t, c.want, err.Error(), name)
			continue
		}
		require.Len(t, found, 1, name)
		assert.Equal(t, c.want, found[0].addr, name)
	}
	s := local(&fakeUnits{units: map[string][]stack.Unit{"it": {{ID: "a", Name: "shop-it-1", State: stack.Running, Addresses: six}}}})
	base, _, err := (&Request{Server: Server{Service: "it", Port: 8000}, Path: "/x"}).endpoints(s.Begin(t.Context(), "it"))
	require.NoError(t, err)
	assert.Equal(t, "http://[fd00::1]:8000/x", base.String())

	s = local(&fakeUnits{units: map[string][]stack.Unit{"it": {{ID: "a", Name: "shop-it-1", State: stack.Running}}}})
	_, err = Server{Service: "it"}.units(s.Begin(t.Context(), "it"), 80)
	assert.ErrorContains(t, err, "no address", "of a release that nobody knows nothing is assumed")
}

// fakeWay is a host whose way to an address is closed, or leads elsewhere.
type fakeWay struct {
	here
	err   error
	asked *[]string
}

func (w fakeWay) DialTCP(ctx context.Context, addr string) (net.Conn, error) {
	if w.asked != nil {
		*w.asked = append(*w.asked, addr)
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.here.DialTCP(ctx, addr)
}

// That sshd forwards nothing, or the connection is gone, says nothing of the part.
func TestReach_AClosedWayIsUnknown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err     error
		outcome check.Outcome
	}{
		"forwarding is refused":  {fault.New(fault.Refused, "", "", "administratively prohibited"), check.Unknown},
		"the connection is lost": {fmt.Errorf("dial: %w", host.ErrConnectionLost), check.Unknown},
		"nobody listens":         {errors.New("connection refused"), check.Fail},
	} {
		f := look{check: "tcp: {service: it, port: 80}", scene: func(t *testing.T) *Scene {
			s := one("it", nil)(t)
			s.Ground = fakeWay{err: c.err}
			return s
		}}.at(t, "")
		assert.Equal(t, c.outcome, f.Outcome, "%s: %+v", name, f)
		assert.Equal(t, c.outcome == check.Unknown, strings.Contains(f.Hint, "AllowTcpForwarding"), "%s: %+v", name, f)
	}
}

// An address is asked from where the check says.
func TestReach_From(t *testing.T) {
	t.Parallel()
	for from, byHost := range map[string]bool{"": false, ", from: runner": false, ", from: host": true} {
		var asked []string
		s := served(200, nil, "")(t)
		s.Ground = fakeWay{asked: &asked}
		address := strings.TrimPrefix(s.URL, "http://")
		f := look{check: "tcp: {address: '" + address + "'" + from + "}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
		assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
		assert.Equal(t, byHost, len(asked) > 0, from)
		assert.Equal(t, byHost, strings.HasSuffix(f.Where, " from the host"), f.Where)
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`Get "http://h:80/": dial tcp: refused`: "dial tcp: refused",
		`Post "http://h/": EOF`:                 "EOF",
		`read "http://h/": broken`:              `read "http://h/": broken`,
		`Get lost`:                              "Get lost",
	} {
		assert.Equal(t, want, plain(errors.New(text)))
	}
}

// What nobody asked for is not asked.
func TestPrometheus_TargetsOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": false, ", targets: false": false, ", targets: true": true, ", jobs: [api]": true} {
		var asked atomic.Bool
		s := handled(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v1/targets" {
				asked.Store(true)
			}
			_, _ = io.WriteString(w, `{"status":"success","data":{"activeTargets":[]}}`)
		})
		look{check: "prometheus: {url: '{{url}}'" + text + "}", scene: s}.at(t, "")
		assert.Equal(t, want, asked.Load(), text)
	}
}

// A limit is tried with as many requests as the check says, and an answer that never
// came is told as such.
func TestRateLimit_Requests(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	const row = "rate-limit: {path: /, requests: 20, rate: 1000}"
	f := look{check: row, scene: handled(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) > 5 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})}.at(t, "")
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	assert.EqualValues(t, 20, n.Load())
	f = look{check: row, scene: handled(func(http.ResponseWriter, *http.Request) {
		if n.Add(1)%2 == 0 {
			panic(http.ErrAbortHandler)
		}
	})}.at(t, "")
	assert.Equal(t, check.Fail, f.Outcome)
	assert.Contains(t, f.Found, "10 with no answer, 10 with 200")
}

// A number that no row of requests can have is bad input, and no panic in mid-release.
func TestRateLimit_Numbers(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"requests: -5":             "rate-limit requests is -5, and has to be from 1 to 10000",
		"requests: 0":              "rate-limit requests is 0, and has to be",
		"requests: 10001":          "rate-limit requests is 10001, and has to be",
		"rate: -1":                 "rate-limit rate is -1, and has to be from 1 to 10000",
		"rate: 0":                  "rate-limit rate is 0, and has to be",
		"rate: 2000000000":         "rate-limit rate is 2000000000, and has to be",
		"rate: 10001":              "rate-limit rate is 10001, and has to be",
		"least: 0":                 "rate-limit least is 0, and has to be from 1 to 40",
		"least: -1":                "rate-limit least is -1, and has to be",
		"least: 41":                "rate-limit least is 41, and has to be",
		"requests: 9, least: 10":   "rate-limit least is 10, and has to be from 1 to 9",
		"served: 0":                "rate-limit served is 0, and has to be from 1 to 40",
		"served: -1":               "rate-limit served is -1, and has to be",
		"served: 41":               "rate-limit served is 41, and has to be",
		"least: 20, served: 21":    "rate-limit least and served together are 41, of 40 requests",
		"requests: 1":              "rate-limit least and served together are 2, of 1 requests",
		"url: h":                   "rate-limit url is not an address of http or https",
		"rate: 0, url: 'http://h'": "rate-limit rate is 0, and has to be",
	} {
		_, err := ReadFile("verify.yml", []byte("- {name: a, rate-limit: {path: /, "+text+"}}"))
		require.ErrorContains(t, err, says, text)
		assert.Equal(t, fault.Input, fault.Of(err), text)
	}
	for _, text := range []string{"requests: 2", "requests: 10000", "rate: 1", "rate: 10000", "least: 39", "served: 39", "least: 1, served: 1", "least: 20, served: 20"} {
		_, err := ReadFile("verify.yml", []byte("- {name: a, rate-limit: {path: /, "+text+"}}"))
		require.NoError(t, err, text)
	}
}

// The bounds that a check names are the ones it is held to.
func TestRateLimit_Bounds(t *testing.T) {
	t.Parallel()
	for text, outcome := range map[string]check.Outcome{"least: 5": check.Pass, "least: 6": check.Fail, "served: 5": check.Pass, "served: 6": check.Fail} {
		var n atomic.Int64
		f := look{check: "rate-limit: {path: /, requests: 10, rate: 1000, " + text + "}", scene: handled(func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1) > 5 {
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})}.at(t, "")
		assert.Equal(t, outcome, f.Outcome, "%s: %+v", text, f)
	}
}

// A server that takes every connection and never answers holds a row of requests up
// for as long as the look may take, and no longer.
func TestRateLimit_NobodyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Scene{URL: "http://shop", Dial: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			return near, nil
		}}
		checks, err := ReadFile("verify.yml", []byte("- {name: it, rate-limit: {path: /, requests: 20, rate: 1000}}"))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errors.New("no answer within 5s"))
		defer cancel()
		look, begun := s.Begin(ctx, "it"), time.Now()
		over := make(chan struct{})
		go func() { checks[0].Look(look); close(over) }()
		select {
		case <-over:
		case <-time.After(time.Hour):
			t.Fatal("it hangs")
		}
		assert.Equal(t, 5*time.Second, time.Since(begun))
		assert.Equal(t, check.Fail, look.Finding.Outcome, "%+v", look.Finding)
		assert.Equal(t, "no answer within 5s", look.Finding.Found)
		assert.NotEmpty(t, look.Finding.Evidence, "what was asked is shown")
	})
}

// One answer is enough to count, whatever the others met.
func TestRateLimit_OneAnswers(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	f := look{check: "rate-limit: {path: /, requests: 20, rate: 1000}", scene: handled(func(http.ResponseWriter, *http.Request) {
		if n.Add(1) != 7 {
			panic(http.ErrAbortHandler)
		}
	})}.at(t, "")
	assert.Equal(t, check.Fail, f.Outcome)
	assert.Contains(t, f.Found, "of 20 requests, 19 with no answer, 1 with 200")
}

// A certificate is looked at in every unit, and a way that closes while older
// versions are tried is no refusal of theirs.
func TestTLS_OfAService(t *testing.T) {
	t.Parallel()
	sound := secured("", "shop.example.org", 90, tls.VersionTLS12, true, check.Pass, "")
	_, rest, _ := strings.Cut(sound.check, "address: 127.0.0.1:")
	port, rest, _ := strings.Cut(rest, "\n")
	text := "tls:\n  service: it\n  port: " + port + "\n" + rest
	f := look{check: text, scene: one("it", nil)}.at(t, "")
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	assert.Equal(t, "shop-it-1", f.Where)
	f = look{check: text + "\n  min_version: '1.3'", scene: one("it", nil)}.at(t, "")
	assert.Equal(t, check.Fail, f.Outcome, "%+v", f)
	assert.Equal(t, "TLS 1.2 is taken", f.Found)
	f = look{check: text, scene: func(t *testing.T) *Scene {
		s := one("it", nil)(t)
		s.Ground = &fakeClosing{open: 1}
		return s
	}}.at(t, "")
	assert.Equal(t, check.Unknown, f.Outcome, "%+v", f)
}

// Silence is no refusal: what stands before a server may drop an old version, and then
// there is no time left to ask for the next one.
func TestTLS_SilenceIsNoRefusal(t *testing.T) {
	t.Parallel()
	pair, ca := certificate(t, "shop.example.org", time.Now().Add(90*24*time.Hour))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.SupportedVersions, tls.VersionTLS12) {
			<-t.Context().Done()
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
	}})
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = c.(*tls.Conn).Handshake(); _ = c.Close() }()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s := local(nil).Begin(ctx, "it")
	(&TLS{Address: listener.Addr().String(), Name: "shop.example.org", CA: ca}).Look(s)
	assert.Equal(t, check.Unknown, s.Finding.Outcome, "%+v", s.Finding)
	assert.Contains(t, s.Finding.Found, "nothing came back to TLS 1.0")
	assert.NotEmpty(t, s.Finding.Hint)
}

// fakeClosing is a host whose way closes after some connections.
type fakeClosing struct {
	here
	open int
}

func (c *fakeClosing) DialTCP(ctx context.Context, addr string) (net.Conn, error) {
	if c.open--; c.open < 0 {
		return nil, host.ErrConnectionLost
	}
	return c.here.DialTCP(ctx, addr)
}
