package rollback

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeGone is an engine that has no image, and whose registry answers with says.
type fakeGone struct{ says string }

func (f fakeGone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch path := strings.TrimPrefix(r.URL.Path, "/v1.41"); {
	case path == "/info":
		_, _ = fmt.Fprint(w, `{"OSType":"linux","Architecture":"x86_64"}`)
	case path == "/version":
		_, _ = fmt.Fprint(w, `{"Os":"linux","Arch":"amd64"}`)
	case strings.HasPrefix(path, "/images/") && strings.HasSuffix(path, "/json"):
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"message":"No such image"}`)
	default: // the distribution of an image, or a pull of it
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, `{"message":%q}`, f.says)
	}
}

// goneFrom is a host without any image, whose registry answers so.
func goneFrom(t *testing.T, says string) *target.Target {
	t.Helper()
	server := httptest.NewServer(fakeGone{says})
	t.Cleanup(server.Close)
	api, err := client.New(client.WithHost("tcp://"+strings.TrimPrefix(server.URL, "http://")), client.WithAPIVersion("1.41"))
	require.NoError(t, err)
	e, err := engine.New(api, event.Discard)
	require.NoError(t, err)
	return &target.Target{Sink: event.Discard, Engine: e}
}

func (f fakeHost) HoldsImages() bool { return !f.nodes }

const (
	wantsLogin = "error from registry: denied"
	notThere   = "manifest unknown"
	away       = "dial tcp: lookup ghcr.io: no such host"
)

// An image that the host has no more is had with a login, or once its registry answers: that
// is said before one goes further back. On a Swarm it is for the nodes to have it or to pull
// it, with the login that their services have; what they cannot pull either is refused there, too.
func TestWhoseImageIsGone(t *testing.T) {
	t.Parallel()
	pinned := "ghcr.io/team/api@sha256:" + strings.Repeat("1", 64)
	login := engine.Auth{Registry: "ghcr.io", Username: "ci", Password: "secret"}
	for name, c := range map[string]struct {
		says  string
		auth  engine.Auth
		nodes bool
		hint  string
	}{
		"no login":                         {wantsLogin, engine.Auth{}, false, "give registry: ghcr.io with registry-username and registry-password"},
		"a wrong login":                    {wantsLogin, login, false, "check registry-username and registry-password"},
		"the registry is away":             {away, engine.Auth{}, false, "see from the host whether the registry answers: docker pull ghcr.io/team/api@"},
		"no login, on a Swarm":             {wantsLogin, engine.Auth{}, true, ""},
		"another's login, on a Swarm":      {wantsLogin, engine.Auth{Registry: "quay.io", Username: "ci", Password: "secret"}, true, ""},
		"a wrong login, on a Swarm":        {wantsLogin, login, true, "check registry-username and registry-password"},
		"the registry is away, on a Swarm": {away, engine.Auth{}, true, "see from the host"},
		"it is in no registry, on a Swarm": {notThere, engine.Auth{}, true, "push it"},
	} {
		st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": {Name: "api", Image: "ghcr.io/team/api:v1", Pinned: pinned}}}
		found, err := images(goneFrom(t, c.says), fakeHost{nodes: c.nodes}, st, release.Record{Number: 11, Version: "v41"}, c.auth)(t.Context(), nil)
		if c.hint == "" {
			require.NoError(t, err, name)
			assert.Equal(t, pinned, found["api"].Pinned, name)
			assert.Contains(t, found["api"].Note, "registry ghcr.io wants a login", name)
			continue
		}
		require.ErrorContains(t, err, "release 11 (v41) cannot be restored: an image is neither on the host nor to be had", name)
		assert.Equal(t, fault.Refused, fault.Of(err), name)
		assert.True(t, strings.HasPrefix(fault.Hint(err), c.hint), "%s: %s", name, fault.Hint(err))
		assert.True(t, strings.HasSuffix(fault.Hint(err), "; or "+elsewhere), "%s: %s", name, fault.Hint(err))
	}
}

// Older code that cannot be asked, because its image is gone, can be once there is a login.
func TestOlderCodeThatCannotBeAskedForItsImage(t *testing.T) {
	t.Parallel()
	all, n := twoDatabases(false)
	api := n.stacks[0].Services["api"]
	api.Pinned, api.Ext.Migrate.Compatible = "ghcr.io/team/api@sha256:"+strings.Repeat("1", 64), []string{"check"}
	l, _ := ledger(t, all...)
	err := Options{}.readable(t.Context(), goneFrom(t, wantsLogin), l, all[0], n)
	require.ErrorContains(t, err, "the older code cannot be asked whether it can read it")
	assert.ErrorContains(t, err, "give registry: ghcr.io with registry-username and registry-password")
}
