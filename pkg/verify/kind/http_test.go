package kind

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
)

// mirror answers with what it was asked.
func mirror(t *testing.T) *Scene {
	return handled(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Host", r.Host)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Mine"))
	})(t)
}

// A request asks for what the check says: the address, the path, the name, the method.
func TestHTTP_Request(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{path: /a?b=c}":                      "GET /a?b=c ",
		"{url: '{{url}}/a?b=c'}":              "GET /a?b=c ",
		"{url: '{{url}}/base/', path: x?y=z}": "GET /base/x?y=z ",
		"{url: '{{url}}'}":                    "GET / ",
		"{path: /, method: POST}":             "POST / ",
		"{path: /, headers: {X-Mine: m}}":     "GET / m",
		"{path: '/{{version}}'}":              "GET /v2 ",
	} {
		f := look{check: "http: " + strings.TrimSuffix(text, "}") + ", expect: {body: '" + strings.TrimSpace(want) + "'}}", scene: mirror}.at(t, "")
		assert.Equal(t, check.Pass, f.Outcome, "%s: %+v", text, f)
	}
	f := look{check: "http: {path: /, host: shop.example.org, expect: {headers: {X-Host: shop.example.org}}}", scene: mirror}.at(t, "")
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	f = look{check: "http: {path: /, expect: {headers: {X-Host: {matches: '^127.0.0.1:'}}}}", scene: mirror}.at(t, "")
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
}

// Each unit of a service is asked at its own address, and the evidence says which.
func TestHTTP_Units(t *testing.T) {
	t.Parallel()
	s := mirror(t)
	address, err := url.Parse(s.URL)
	require.NoError(t, err)
	s.Units = &fakeUnits{units: map[string][]stack.Unit{"api": {
		{ID: "a", Name: "shop-api-1", Service: "api", State: stack.Running, Addresses: map[string]string{"net": "127.0.0.1"}},
		{ID: "b", Name: "shop-api-2", Service: "api", State: stack.Running, Addresses: map[string]string{"net": "127.0.0.2"}},
		{ID: "c", Name: "shop-api-3", Service: "api", State: stack.Exited},
	}}}
	f := look{check: "http: {service: api, port: " + address.Port() + ", path: /x}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
	assert.Equal(t, check.Fail, f.Outcome, "nobody listens at the second: %+v", f)
	assert.Equal(t, "shop-api-2", f.Where)
	require.Len(t, f.Evidence, 2, "and the one that does not run is the containers' check")
	assert.Contains(t, f.Evidence[0].Probe, "GET http://127.0.0.1:"+address.Port()+"/x at 127.0.0.1:")
}

// One answer that is not as expected ends the row of requests.
func TestHTTP_Repeat(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	s := handled(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 2 {
			w.WriteHeader(500)
		}
	})(t)
	f := look{check: "http: {path: /, repeat: 5}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
	assert.Equal(t, check.Fail, f.Outcome)
	assert.EqualValues(t, 2, n.Load())
}

// What cannot be asked is unknown, and a status is what the check says.
func TestHTTP_Addresses(t *testing.T) {
	t.Parallel()
	none := func(*testing.T) *Scene { return local(nil) }
	for text, c := range map[string]struct {
		url, found string
		outcome    check.Outcome
	}{
		"{path: /x}":            {"", "no url is given to ask /x of", check.Unknown},
		"{url: '{{url}}/x'}":    {"", "{{url}} has no value here", check.Unknown},
		"{url: '{{url}}'}":      {"nonsense", "the url is not an address", check.Unknown},
		"{path: '/{{nobody}}'}": {"http://h", "{{nobody}} has no value here", check.Unknown},
	} {
		f := look{check: "http: " + text, scene: func(t *testing.T) *Scene { s := none(t); s.URL = c.url; return s }}.at(t, "")
		assert.Equal(t, c.outcome, f.Outcome, text)
		assert.Contains(t, f.Found, c.found, text)
	}
	f := look{check: "http: {path: /, expect: {status: 404}}", scene: served(404, nil, "")}.at(t, "")
	assert.Equal(t, check.Pass, f.Outcome)
	for address, want := range map[string]string{"http://h": "h:80", "https://h": "h:443", "https://h:8443": "h:8443", "http://[::1]": "[::1]:80"} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		assert.Equal(t, want, hostPort(u))
	}
	assert.True(t, validURL("http://h"))
	for _, bad := range []string{"http://", "h", "ftp://h", "https:///x", ":"} {
		assert.False(t, validURL(bad), bad)
	}
}

// What is expected of an answer holds where the answer is so, and only there.
func TestHTTP_Expectations(t *testing.T) {
	t.Parallel()
	for text, outcome := range map[string]check.Outcome{
		"headers: {X-Unit: {exists: true}}":    check.Pass,
		"headers: {X-Unit: {exists: false}}":   check.Fail,
		"headers: {X-Debug: {exists: true}}":   check.Fail,
		"headers: {X-Debug: {exists: false}}":  check.Pass,
		"latency: 10s":                         check.Pass,
		"p95: 10s":                             check.Pass,
		"distinct: {json: unit, count: 2}":     check.Pass,
		"distinct: {json: unit, count: 3}":     check.Fail,
		"distinct: {header: X-Unit, count: 2}": check.Pass,
		"distinct: {header: X-Unit, count: 3}": check.Fail,
		"distinct: {json: nobody, count: 1}":   check.Fail,
	} {
		var n atomic.Int64
		s := handled(func(w http.ResponseWriter, _ *http.Request) {
			unit := fmt.Sprintf("api-%d", n.Add(1)%2)
			w.Header().Set("X-Unit", unit)
			_, _ = fmt.Fprintf(w, `{"unit": %q, "version": "v%d"}`, unit, n.Load())
		})
		f := look{check: "http: {path: /, repeat: 4, expect: {" + text + "}}", scene: s}.at(t, "")
		assert.Equal(t, outcome, f.Outcome, "%s: %+v", text, f)
	}
}

// A header that is no secret is not hidden: what a server says of it can be read.
func TestHTTP_PlainHeadersAreShown(t *testing.T) {
	t.Parallel()
	f := look{check: "http: {path: /, headers: {X-Mine: plain-as-the-day}}", scene: handled(echo)}.at(t, "")
	assert.Contains(t, f.Found, "plain-as-the-day")
	require.NotEmpty(t, f.Evidence)
	assert.NotContains(t, f.Evidence[0].Probe, " at ", "an address that is asked as it stands is not told twice")
}
