package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/ports"
)

func post(kept bool) []Kind {
	return []Kind{{Name: "post", Weight: 1, Method: "POST", Fresh: !kept, Body: func(id string) []byte { return []byte(id) }}}
}

// hijack gives a handler the connection itself.
func hijack(t *testing.T, do func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if assert.NoError(t, err) {
			do(conn)
		}
	}
}

func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// failing is a server of a kind, and how asking it fails ("" for not at all).
type failing struct {
	url   string
	kinds []Kind
	class string
}

func statuses(t *testing.T) map[string]failing {
	status := func(code int) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://192.0.2.1/never")
			w.WriteHeader(code)
		})
	}
	return map[string]failing{
		"200":                {status(200), nil, ""},
		"204":                {status(204), nil, ""},
		"redirect":           {status(302), nil, ""},
		"502":                {status(502), nil, "http_502"},
		"429":                {status(429), nil, "http_429"},
		"404":                {status(404), nil, "http_404"},
		"post 503":           {status(503), post(true), "http_503"},
		"plain text for TLS": {"https" + status(200)[len("http"):], nil, TLS},
	}
}

func connections(t *testing.T) map[string]failing {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed.Close()
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	return map[string]failing{
		"refused":                    {"http://" + closed.Addr().String(), nil, Refused},
		"refused post":               {"http://" + closed.Addr().String(), post(true), Refused},
		"untrusted":                  {untrusted.URL, nil, TLS},
		"never answers":              {serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil, Timeout},
		"reset at once":              {serve(t, hijack(t, reset)), nil, Reset},
		"closed at once":             {serve(t, hijack(t, func(c net.Conn) { c.Close() })), nil, Reset},
		"post on a fresh connection": {serve(t, hijack(t, reset)), post(false), Reset},
		"reset in the answer": {serve(t, hijack(t, func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			reset(c)
		})), post(true), Reset},
		"end in the answer": {serve(t, hijack(t, func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			c.Close()
		})), nil, Reset},
		"not HTTP": {serve(t, hijack(t, func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-x\r\n\r\n"); c.Close() })), nil, Other},
	}
}

func TestClassesOfFailure(t *testing.T) {
	t.Parallel()
	cases := statuses(t)
	maps.Copy(cases, connections(t))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := soon
			if c.class == Timeout {
				timeout = 300 * time.Millisecond
			}
			p := begin(t, Config{URL: c.url, Rate: 20, Timeout: timeout, Kinds: c.kinds})
			until(t, p, 5)
			r := p.Stop()
			if c.class == "" {
				assert.Empty(t, r.Failures)
				assert.True(t, lossless(r))
				return
			}
			assert.Equal(t, map[string]int{c.class: r.Requests}, r.Failures, "%v", r.Samples)
			assert.Equal(t, r.Requests, r.Failed)
			assert.NotEmpty(t, r.Samples[c.class])
		})
	}
}

// A redirect to another scheme or host says nothing of what is behind it, where no
// request gets another answer.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status   int
		location string
		want     string
	}{
		"https":            {301, "https://SHOP.example.org/health", "https://SHOP.example.org"},
		"login":            {302, "https://sso.example.org:8443/in?token=geheim", "https://sso.example.org:8443"},
		"login over http":  {302, "//sso.example.org/", "http://sso.example.org"},
		"another path":     {302, "/health/", ""},
		"the same":         {302, "http://127.0.0.1:1/health/", ""},
		"no location":      {304, "", ""},
		"a page of itself": {201, "https://shop.example.org/orders/1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.location != "" {
					w.Header().Set("Location", c.location)
				}
				w.WriteHeader(c.status)
			})
			p := begin(t, Config{URL: url, Rate: 100, Timeout: soon})
			until(t, p, 3)
			assert.Equal(t, c.want, p.Elsewhere(Before))
			assert.Empty(t, p.Elsewhere(During))
		})
	}
	var n atomic.Int64
	p := begin(t, Config{Rate: 100, Timeout: soon, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 1 {
			http.Redirect(w, r, "https://shop.example.org/", http.StatusFound)
		}
	})})
	until(t, p, 5)
	assert.Empty(t, p.Elsewhere(Before), "one of them was answered")
}

// lastCall is a server that takes the second request of every connection and
// closes instead of answering, as one does whose idle timeout or reload crosses
// a request on its way. patience is how long it waits before.
func lastCall(t *testing.T, patience time.Duration) (string, *atomic.Int32) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	var cut atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for n := range 2 {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if n == 0 {
						fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
						continue
					}
					time.Sleep(patience)
					cut.Add(1)
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String(), &cut
}

func TestResetOnReload(t *testing.T) {
	t.Parallel()
	t.Run("a post counts apart", func(t *testing.T) {
		t.Parallel()
		url, cut := lastCall(t, 0)
		p := begin(t, Config{URL: url, Rate: 50, Kinds: post(true)})
		until(t, p, 40)
		r := p.Stop()
		assert.Zero(t, r.Failed, "%v %v", r.Failures, r.Samples)
		assert.True(t, lossless(r))
		assert.Positive(t, cut.Load())
		assert.EqualValues(t, cut.Load(), r.Failures[ResetOnReload])
		assert.Equal(t, r.Failures[ResetOnReload], r.Kinds["post"].ResetOnReload)
		ids := p.IDs()
		assert.Len(t, ids.Unknown, r.Failures[ResetOnReload], "whether it was done is not known")
		assert.Equal(t, ids.Sent, ids.Acknowledged+ids.UnknownCount)
	})
	t.Run("a get is sent again and counted", func(t *testing.T) {
		t.Parallel()
		url, cut := lastCall(t, 0)
		p := begin(t, Config{URL: url, Rate: 50, Kinds: []Kind{{Name: "get", Weight: 1}}})
		until(t, p, 40)
		r := p.Stop()
		assert.Empty(t, r.Failures)
		assert.Positive(t, r.Retried)
		assert.LessOrEqual(t, r.Retried, int(cut.Load()))
	})
	t.Run("a server that dies over it is a reset", func(t *testing.T) {
		t.Parallel()
		url, _ := lastCall(t, reloadWindow+300*time.Millisecond)
		p := begin(t, Config{URL: url, Rate: 4, Kinds: post(true)})
		require.Eventually(t, func() bool { return p.Report().Failed > 0 }, soon, tick)
		r := p.Stop()
		assert.Equal(t, map[string]int{Reset: r.Failed}, r.Failures)
	})
}

// A real server that shuts down gracefully closes idle connections: whatever
// crosses is retried or counted apart, never a failure on a kept connection.
func TestServerThatClosesIdleConnections(t *testing.T) { // not parallel: it measures time
	s := httptest.NewServer(http.HandlerFunc(ok))
	t.Cleanup(s.Close)
	kinds := append(post(true), Kind{Name: "get", Weight: 1})
	p := begin(t, Config{URL: s.URL, Rate: 80, Timeout: soon, Kinds: kinds})
	for range 30 {
		until(t, p, ended(p, "")+5)
		s.Config.SetKeepAlivesEnabled(false) // closes the idle ones
		s.Config.SetKeepAlivesEnabled(true)
	}
	r := p.Stop()
	assert.Zero(t, r.Failed, "%v %v", r.Failures, r.Samples)
}

// Errors that a real server does not give on demand.
func TestClassify(t *testing.T) {
	t.Parallel()
	get, posting := &lane{Kind: Kind{Method: "GET"}}, &lane{Kind: Kind{Method: "POST"}}
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	idleClosed := errors.New("http: server closed idle connection")
	now := time.Now()
	reused := func() *connTrace {
		var c connTrace
		c.reused.Store(true)
		c.wrote.Store(int64(now.Sub(epoch)))
		return &c
	}
	answered, old, fresh := reused(), reused(), reused()
	answered.answered.Store(true)
	old.wrote.Store(int64(now.Add(-2 * reloadWindow).Sub(epoch)))
	fresh.reused.Store(false)
	for name, c := range map[string]struct {
		lane  *lane
		err   error
		trace *connTrace
		want  string
	}{
		"no such host":        {get, dialDNS(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), fresh, DNS},
		"resolver silent":     {get, dialDNS(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), fresh, Timeout},
		"dial timeout":        {get, dial(syscall.ETIMEDOUT), fresh, Timeout},
		"deadline":            {get, context.DeadlineExceeded, fresh, Timeout},
		"refused":             {posting, dial(syscall.ECONNREFUSED), fresh, Refused},
		"no route":            {get, dial(syscall.EHOSTUNREACH), fresh, Other},
		"get, reused":         {get, io.EOF, reused(), Reset},
		"post, reused, EOF":   {posting, io.EOF, reused(), ResetOnReload},
		"post, reused, RST":   {posting, dial(syscall.ECONNRESET), reused(), ResetOnReload},
		"post, reused, pipe":  {posting, dial(syscall.EPIPE), reused(), ResetOnReload},
		"post, reused, words": {posting, idleClosed, reused(), ResetOnReload},
		"post, answer begun":  {posting, io.ErrUnexpectedEOF, answered, Reset},
		"post, long after":    {posting, io.EOF, old, Reset},
		"post, fresh":         {posting, io.EOF, fresh, Reset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, c.lane.classify(c.err, c.trace, now))
		})
	}
}

func dialDNS(err *net.DNSError) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }

func TestCredentialsOfTheURLAreSentAndNotShown(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ann" || password != "geheim" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	p := begin(t, Config{URL: "http://ann:geheim@" + url[len("http://"):] + "/x", Rate: 50, Kinds: []Kind{{Name: "a", Weight: 1, Path: "y"}}})
	until(t, p, 3)
	assert.True(t, lossless(p.Stop()))
	closed := begin(t, Config{URL: "http://ann:geheim@127.0.0.1:1/", Rate: 50})
	until(t, closed, 3)
	assert.NotContains(t, fmt.Sprint(closed.Stop()), "geheim")
}

// The real thing: nginx, in the image that the demo's gateway runs, reloading under
// load.
func TestReloadOfNginx(t *testing.T) { // not parallel: it measures time
	docker := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("docker", args...).CombinedOutput()
		require.NoError(t, err, "docker %v: %s (make test prepares the image)", args, out)
		return strings.TrimSpace(string(out))
	}
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		ok(w, r)
	})
	dir := t.TempDir()
	port, err := ports.Free()
	require.NoError(t, err)
	config := fmt.Sprintf(`pid /run/nginx.pid; error_log stderr; worker_processes 2; events { worker_connections 8192; }
http { access_log off;
server { listen 127.0.0.1:%d; location / { proxy_pass %s; } } }`, port, backend)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o644))
	gateway := docker("run", "--detach", "--network", "host", "--volume", filepath.Join(dir, "nginx.conf")+":/etc/nginx/nginx.conf:ro", "nginx:1.22")
	t.Cleanup(func() { docker("rm", "--force", "--volumes", gateway) })
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	require.Eventually(t, func() bool {
		response, err := http.Get(url)
		return err == nil && response.Body.Close() == nil
	}, soon, tick)

	kinds := append(post(true), Kind{Name: "get", Weight: 1}, Kind{Name: "fresh", Weight: 1, Fresh: true})
	p := begin(t, Config{URL: url, Rate: 100, Timeout: soon, Kinds: kinds})
	for range 10 {
		until(t, p, ended(p, "")+40)
		docker("kill", "--signal", "HUP", gateway)
	}
	until(t, p, ended(p, "")+40)
	r := p.Stop()
	t.Logf("%d requests, %d failed, %v, %d retried, gap %s, p99 %s", r.Requests, r.Failed, r.Failures, r.Retried, r.LongestGap, r.P99Before)
	if r.Failed > 0 {
		t.Log(docker("logs", gateway))
	}
	assert.Zero(t, r.Failed, "%v %v", r.Failures, r.Samples)
	assert.LessOrEqual(t, r.Failures[ResetOnReload], r.Kinds["post"].Requests/4)
}
