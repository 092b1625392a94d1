package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeBusyRegistry stands before a real registry and answers the first writes
// with a status of its own. It does not prove what a busy registry of a vendor
// says in its body.
type fakeBusyRegistry struct {
	address string
	left    atomic.Int64 // how many writes are refused still; very many for all
	refused atomic.Int64
}

func startFakeBusyRegistry(t *testing.T, real string, status int, retryAfter string, times int64) *fakeBusyRegistry {
	t.Helper()
	f := &fakeBusyRegistry{}
	f.left.Store(times)
	f.address = startBefore(t, real, func(w http.ResponseWriter, req *http.Request) bool {
		write := req.Method == http.MethodPost || req.Method == http.MethodPut
		if !write || f.left.Add(-1) < 0 {
			return false
		}
		f.refused.Add(1)
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(status)
		return true
	})
	return f
}

// startBefore starts a server before a registry, for what the registry itself will
// not do on demand. What answers says false to is the registry's.
func startBefore(t *testing.T, real string, answers func(http.ResponseWriter, *http.Request) bool) (address string) {
	t.Helper()
	target, err := url.Parse("http://" + real)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !answers(w, req) {
			proxy.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
}

// fakeTokenRegistry stands before a real registry and lets nobody in but with a
// token, as registries of vendors do. A token is good for a few requests only: it
// expires in the middle of every push. It does not prove how a vendor's token
// looks.
type fakeTokenRegistry struct {
	address string
	uses    int // requests that a token is good for
	tokens  int // how many are given, then the login is refused

	mu      sync.Mutex
	left    map[string]int
	expired int // requests with a token that was good once
}

func startFakeTokenRegistry(t *testing.T, real string, uses, tokens int) *fakeTokenRegistry {
	t.Helper()
	f := &fakeTokenRegistry{uses: uses, tokens: tokens, left: map[string]int{}}
	f.address = startBefore(t, real, func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/token" {
			f.issue(w, req)
			return true
		}
		return !f.admit(w, req)
	})
	return f
}

// issue gives a token for the right login.
func (f *fakeTokenRegistry) issue(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	if req.Method == http.MethodPost { // the OAuth form of the same question
		user, password = req.PostFormValue("username"), req.PostFormValue("password")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if user != "ci" || password != "right" || len(f.left) >= f.tokens {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"the login has expired"}]}`))
		return
	}
	token := fmt.Sprintf("token-%d", len(f.left))
	f.left[token] = f.uses
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
}

// admit lets a request with a good token pass.
func (f *fakeTokenRegistry) admit(w http.ResponseWriter, req *http.Request) bool {
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	f.mu.Lock()
	defer f.mu.Unlock()
	left, known := f.left[token]
	if left > 0 {
		f.left[token]--
		req.Header.Del("Authorization")
		return true
	}
	challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="fake"`, req.Host)
	if parts := strings.Split(req.URL.Path, "/"); len(parts) > 4 {
		challenge += fmt.Sprintf(`,scope="repository:%s:pull,push"`, strings.Join(parts[2:len(parts)-2], "/"))
	}
	if known {
		f.expired++
		challenge += `,error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	w.WriteHeader(http.StatusUnauthorized)
	return false
}
