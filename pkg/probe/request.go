package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The classes of failure that are not a status. A status fails as "http_<code>".
const (
	Refused = "refused"
	Reset   = "reset"
	// ResetOnReload is a request that may not be repeated, sent on a connection
	// kept from an earlier one at the moment the server closed it, as nginx does
	// on reload.
	ResetOnReload = "reset_on_reload"
	Timeout       = "timeout"
	DNS           = "dns"
	TLS           = "tls"
	Other         = "other"
)

// reloadWindow is how soon after it was written a request must be cut to count
// as ResetOnReload: the close and the request crossed on their way. A server that
// dies over a request it had taken cuts it later.
const reloadWindow = time.Second

// answer is the end of one request.
type answer struct {
	due, finished time.Time
	class         string // "" for success
	detail        string
	status        int
	release       string
	elsewhere     string // where a redirect to another scheme or host leads
	retried       bool
	lag           time.Duration
	abandoned     bool
}

// request sends one and has it counted.
func (p *Probe) request(l *lane, due time.Time) {
	id := fmt.Sprintf("%s-%s-%d", p.run, l.Name, l.sent.Add(1)-1)
	ctx, cancel := context.WithTimeout(p.base, p.config.Timeout)
	defer cancel()
	a := answer{due: due, lag: time.Since(due)}
	var trace connTrace
	response, err := l.transport.RoundTrip(l.newRequest(trace.watch(ctx), id))
	if err == nil {
		a.status, a.release = response.StatusCode, response.Header.Get(p.config.ReleaseHeader)
		a.elsewhere = elsewhere(l.url, response)
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	a.finished = time.Now()
	a.retried = trace.conns.Load() > 1
	switch {
	case err != nil && p.base.Err() != nil:
		a.abandoned = true
	case err != nil:
		a.class, a.detail = l.classify(err, &trace, a.finished), err.Error()
	case a.status >= 400 || a.status < 200:
		a.class, a.detail = fmt.Sprintf("http_%d", a.status), http.StatusText(a.status)
	}
	p.tally.count(l, id, a)
}

// elsewhere gives the scheme and host that a redirect leads to, unless they are those
// that were asked. The rest of such an address may be secret.
func elsewhere(asked *url.URL, r *http.Response) string {
	to, err := r.Location()
	if err != nil || r.StatusCode < 300 || r.StatusCode > 399 || to.Host == "" ||
		to.Scheme == asked.Scheme && strings.EqualFold(to.Hostname(), asked.Hostname()) {
		return ""
	}
	return to.Scheme + "://" + to.Host
}

func (l *lane) newRequest(ctx context.Context, id string) *http.Request {
	r := (&http.Request{
		Method: l.Method, URL: l.url, Host: l.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {"shiksha-probe"}, "X-Probe-Id": {id}},
	}).WithContext(ctx)
	if l.Body != nil {
		body := l.Body(id)
		r.ContentLength = int64(len(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		if l.ContentType != "" {
			r.Header.Set("Content-Type", l.ContentType)
		}
	}
	if user := l.url.User; user != nil {
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	return r
}

// connTrace sees what the transport hides: which connection a request went out
// on, and that it was sent again on another. The hooks may run late and in other
// goroutines.
type connTrace struct {
	conns    atomic.Int32
	reused   atomic.Bool
	answered atomic.Bool
	wrote    atomic.Int64 // when the request, or what could be written of it, was out
}

func (t *connTrace) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			t.conns.Add(1)
			// Not WasIdle: a connection that goes straight from one request to the
			// next was idle for the server all the same.
			t.reused.Store(info.Reused)
			t.answered.Store(false)
			t.wrote.Store(int64(time.Since(epoch)))
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { t.wrote.Store(int64(time.Since(epoch))) },
		GotFirstResponseByte: func() { t.answered.Store(true) },
	})
}

// epoch makes monotonic times of connTrace.wrote.
var epoch = time.Now()

func (l *lane) classify(err error, trace *connTrace, at time.Time) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && !dns.IsTimeout:
		return DNS
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case isTLS(err):
		return TLS
	case !isReset(err):
		return Other
	}
	soon := at.Sub(epoch)-time.Duration(trace.wrote.Load()) < reloadWindow
	if trace.reused.Load() && !trace.answered.Load() && soon && !idempotent(l.Method) {
		return ResetOnReload
	}
	return Reset
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true // those that the transport repeats by itself
	}
	return false
}

// isReset tells that the other side closed the connection. The transport has
// only words for an idle connection that was closed as the request was sent.
func isReset(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "server closed idle connection")
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &unknown)
}
