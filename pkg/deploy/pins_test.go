package deploy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// What an image was is known of those that the file named when they were verified, but for what
// the release is there to change: there an older one is no stand-in.
func TestPinsOfWhatWasVerified(t *testing.T) {
	t.Parallel()
	st := &stack.Stack{Services: map[string]*stack.Service{"redis": {}, "api": {}, "web": {Built: true}, "cache": {}}}
	verified := &release.Record{Services: map[string]release.ServiceRecord{
		"redis": {Image: "redis:7", Pinned: "redis@sha256:7", Resolved: true},
		"cache": {Image: "redis:6", Pinned: "redis@sha256:6", Resolved: true},
		"api":   {Image: "api:v1", Pinned: "api@sha256:1"}, // given beside the file, or of before this was written down
		"web":   {Image: "web:main", Pinned: "web@sha256:1", Resolved: true},
		"gone":  {Image: "gone:1", Pinned: "gone@sha256:1", Resolved: true},
	}}
	redis, cache := engine.Known{Image: "redis:7", Pinned: "redis@sha256:7"}, engine.Known{Image: "redis:6", Pinned: "redis@sha256:6"}
	assert.Empty(t, Options{}.pins(st, nil))
	assert.Equal(t, map[string]engine.Known{"redis": redis, "cache": cache}, Options{}.pins(st, verified))
	assert.Equal(t, map[string]engine.Known{"redis": redis}, Options{Services: []string{"cache"}}.pins(st, verified))
}

// fakeAlone is an engine that has one image, and whose registries have no address.
type fakeAlone struct{ image string }

func (f fakeAlone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch path := strings.TrimPrefix(r.URL.Path, "/v1.41"); path {
	case "/info", "/version":
		_, _ = fmt.Fprint(w, `{}`)
	case "/images/" + f.image + "/json":
		_, _ = fmt.Fprint(w, `{"Id":"sha256:1"}`)
	default:
		status, says := http.StatusNotFound, "No such image"
		if strings.HasPrefix(path, "/distribution/") {
			status, says = http.StatusInternalServerError, "dial tcp: lookup registry-1.docker.io: no such host"
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"message":%q}`, says)
	}
}

// A release, and its plan, go on with what was verified where a registry is away: not with an
// image that is given, nor for one that was.
func TestReleasesWithoutARegistry(t *testing.T) {
	t.Parallel()
	pinned := "redis@sha256:" + strings.Repeat("7", 64)
	server := httptest.NewServer(fakeAlone{pinned})
	t.Cleanup(server.Close)
	api, err := client.New(client.WithHost("tcp://"+strings.TrimPrefix(server.URL, "http://")), client.WithAPIVersion("1.41"))
	require.NoError(t, err)
	e, err := engine.New(api, event.Discard)
	require.NoError(t, err)
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"redis": {Name: "redis", Image: "redis:7"}}}
	for name, c := range map[string]struct {
		o        Options
		resolved bool
		had      bool
	}{
		"a release":      {Options{}, true, true},
		"a plan":         {Options{Asked: converge.Asked{DryRun: true}}, true, true},
		"it is named":    {Options{Services: []string{"redis"}}, true, false},
		"another is":     {Options{Services: []string{"api"}}, true, true},
		"given before":   {Options{}, false, false},
		"given":          {Options{Images: map[string]string{"redis": "redis:7"}}, true, false},
		"given, planned": {Options{Images: map[string]string{"redis": "redis:7"}, Asked: converge.Asked{DryRun: true}}, true, false},
	} {
		verified := &release.Record{Services: map[string]release.ServiceRecord{"redis": {Image: "redis:7", Pinned: pinned, Resolved: c.resolved}}}
		request := c.o.request(&target.Target{Engine: e}, st)
		assert.Equal(t, c.o.Images, request.Given, name)
		images, err := request.Images(t.Context(), verified)
		if !c.had {
			require.ErrorContains(t, err, "the host cannot get redis:7 from registry docker.io", name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, engine.Image{Pinned: pinned, Present: true, Warn: true,
			Note: "registry docker.io cannot be reached from the host, so the image that was verified last is used: " + pinned + "; if redis:7 is another by now, that is not released"}, images["redis"], name)
	}
}
