package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeActionsCache answers as the second version of GitHub's cache service does,
// which nobody runs but GitHub: entries are made, filled as blobs of Azure, closed
// and found again by key or by the beginning of one. It proves that the builder is
// told address, version, token and scope right, not what GitHub's limits are.
type fakeActionsCache struct {
	address, token string

	mu      sync.Mutex
	entries []*cacheEntry // the newest last
	blocks  map[string][]byte
	status  int // answered to everything when not 0
	refused int // requests without the token
}

type cacheEntry struct {
	key, version string
	data         []byte
	closed       bool
}

func startFakeActionsCache(t *testing.T) *fakeActionsCache {
	t.Helper()
	f := &fakeActionsCache{blocks: map[string][]byte{}, token: actionsToken(t)}
	calls := http.NewServeMux()
	const service = "POST /twirp/github.actions.results.api.v1.CacheService/"
	calls.HandleFunc(service+"CreateCacheEntry", f.authorized(f.create))
	calls.HandleFunc(service+"FinalizeCacheEntryUpload", f.authorized(f.finalize))
	calls.HandleFunc(service+"GetCacheEntryDownloadURL", f.authorized(f.find))
	calls.HandleFunc("PUT /blob/{entry}", f.upload)
	calls.HandleFunc("GET /blob/{entry}", f.download)
	server := httptest.NewServer(calls)
	t.Cleanup(server.Close)
	f.address = server.URL
	return f
}

// actionsToken is a token as a runner's: its claim ac says what it may do.
func actionsToken(t *testing.T) string {
	t.Helper()
	part := func(v any) string {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	claims := map[string]any{"ac": `[{"Scope":"refs/heads/main","Permission":3}]`, "nbf": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(claims) + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

type cacheRequest struct {
	Key         string   `json:"key"`
	Version     string   `json:"version"`
	RestoreKeys []string `json:"restore_keys"`
	SizeBytes   int64    `json:"size_bytes"`
}

// authorized answers a call whose token is right.
func (f *fakeActionsCache) authorized(answer func(cacheRequest) (int, map[string]any)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var asked cacheRequest
		status, body := http.StatusUnauthorized, map[string]any{"code": "unauthenticated"}
		switch {
		case f.status != 0:
			status, body = f.status, map[string]any{"code": "unavailable"}
		case req.Header.Get("Authorization") != "Bearer "+f.token:
			f.refused++
		case json.NewDecoder(req.Body).Decode(&asked) != nil:
			status, body = http.StatusBadRequest, map[string]any{"code": "malformed"}
		default:
			status, body = answer(asked)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

func (f *fakeActionsCache) url(i int) string { return fmt.Sprintf("%s/blob/%d", f.address, i) }

func (f *fakeActionsCache) create(asked cacheRequest) (int, map[string]any) {
	for _, e := range f.entries {
		if e.key == asked.Key && e.version == asked.Version {
			return http.StatusConflict, map[string]any{"code": "already_exists", "msg": "cache entry with the same key, version, and scope already exists"}
		}
	}
	f.entries = append(f.entries, &cacheEntry{key: asked.Key, version: asked.Version})
	return http.StatusOK, map[string]any{"ok": true, "signed_upload_url": f.url(len(f.entries) - 1)}
}

func (f *fakeActionsCache) finalize(asked cacheRequest) (int, map[string]any) {
	for i, e := range f.entries {
		if e.key == asked.Key && e.version == asked.Version && int64(len(e.data)) == asked.SizeBytes {
			e.closed = true
			return http.StatusOK, map[string]any{"ok": true, "entry_id": fmt.Sprint(i)}
		}
	}
	return http.StatusBadRequest, map[string]any{"code": "invalid_argument"}
}

func (f *fakeActionsCache) find(asked cacheRequest) (int, map[string]any) {
	for _, prefix := range append([]string{asked.Key}, asked.RestoreKeys...) {
		for i := len(f.entries) - 1; i >= 0; i-- {
			if e := f.entries[i]; e.closed && e.version == asked.Version && strings.HasPrefix(e.key, prefix) {
				return http.StatusOK, map[string]any{"ok": true, "signed_download_url": f.url(i), "matched_key": e.key}
			}
		}
	}
	return http.StatusOK, map[string]any{"ok": false}
}

// upload takes a blob as Azure does: whole, or in blocks and their list.
func (f *fakeActionsCache) upload(w http.ResponseWriter, req *http.Request) {
	data, err := io.ReadAll(req.Body)
	entry := f.entry(req)
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("x-ms-request-id", "fake")
	switch query := req.URL.Query(); {
	case err != nil || entry == nil:
		w.WriteHeader(http.StatusBadRequest)
		return
	case query.Get("comp") == "block":
		f.blocks[req.URL.Path+query.Get("blockid")] = data
	case query.Get("comp") == "blocklist":
		var list struct{ Latest []string }
		if xml.Unmarshal(data, &list) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, id := range list.Latest {
			entry.data = append(entry.data, f.blocks[req.URL.Path+id]...)
		}
	default:
		entry.data = data
	}
	w.WriteHeader(http.StatusCreated)
}

func (f *fakeActionsCache) download(w http.ResponseWriter, req *http.Request) {
	entry := f.entry(req)
	if entry == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if part := req.Header.Get("x-ms-range"); part != "" {
		req.Header.Set("Range", part)
	}
	w.Header().Set("x-ms-request-id", "fake")
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(entry.data))
}

func (f *fakeActionsCache) entry(req *http.Request) *cacheEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, e := range f.entries {
		if fmt.Sprint(i) == req.PathValue("entry") {
			return e
		}
	}
	return nil
}

// answer makes the service answer with a status only; 0 mends it.
func (f *fakeActionsCache) answer(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

// The cache of a workflow makes every step cached in a builder that has nothing, as
// the runner of the next job has; one that fails costs the cache and not the build.
func TestBuildWithTheWorkflowsCache(t *testing.T) {
	whole(t)
	s := newSite(t)
	f := startFakeActionsCache(t)
	build := func() (stdout string) {
		s.more = []string{"ACTIONS_RESULTS_URL=" + f.address + "/", "ACTIONS_RUNTIME_TOKEN=" + f.token}
		result := s.build(0, "--cache", "gha")
		assert.Equal(t, 1, strings.Count(result.Stdout+result.Stderr, f.token), "in the command that hides it")
		return result.Stdout
	}
	build()
	f.mu.Lock()
	keys := map[string]bool{}
	for _, e := range f.entries {
		kind, _, _ := strings.Cut(e.key, "-")
		keys[kind] = keys[kind] || e.closed
		assert.NotContains(t, string(e.data), canary)
	}
	f.mu.Unlock()
	assert.Equal(t, map[string]bool{"index": true, "buildkit": true}, keys, "an index and blobs")

	require.NoError(t, s.builder.Reset(t.Context()))
	build()
	for _, target := range s.report().Targets {
		assert.Positive(t, target.Steps)
		assert.Equal(t, target.Steps, target.Cached, "%s comes from the workflow's cache", target.Name)
	}
	assert.Zero(t, f.refused)

	f.answer(http.StatusServiceUnavailable)
	require.NoError(t, s.builder.Reset(t.Context()))
	began := time.Now()
	assert.Regexp(t, "::warning::.*exporting to GitHub Actions Cache: the cache could not be written: unavailable", build())
	assert.Less(t, time.Since(began), time.Minute)
}
