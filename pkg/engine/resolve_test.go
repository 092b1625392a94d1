package engine

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// wanting is a stack of one service.
func wanting(image, policy, platform string) *stack.Stack {
	return &stack.Stack{Name: "enginetest-none", Services: map[string]*stack.Service{
		"api": {Name: "api", Image: image, PullPolicy: policy, Platform: platform},
	}}
}

var here = "linux/" + runtime.GOARCH

func elsewhere() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

func TestResolvePinsToTheRegistrysDigest(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	r := startRegistry(t, "s3cret-pass")
	single := r.push(t, "team/api:v1", platformImage(t, "linux", runtime.GOARCH, 1))
	many := r.pushIndex(t, "team/many:v1", map[string]v1.Image{
		here: platformImage(t, "linux", runtime.GOARCH, 1), "linux/" + elsewhere(): platformImage(t, "linux", elsewhere(), 1),
		"unknown/unknown": platformImage(t, "unknown", "unknown", 1),
	})
	s := &stack.Stack{Name: "enginetest-none", Services: map[string]*stack.Service{
		"a": {Image: r.host + "/team/api:v1"}, "b": {Image: r.host + "/team/api:v1"}, "c": {Image: r.host + "/team/many:v1"},
		"d": {Image: r.host + "/team/nothing:v1"}, "e": {Image: single, PullPolicy: "always"},
	}}
	given := map[string]string{"d": r.host + "/team/api:other@" + strings.SplitN(single, "@", 2)[1]}
	images, err := e.Resolve(t.Context(), s, given, r.auth, nil)
	require.NoError(t, err)
	for name, want := range map[string]string{"a": single, "b": single, "c": many, "d": single, "e": single} {
		assert.Equal(t, Image{Pinned: want}, images[name], name)
	}

	// What is pinned is found on the host once it was pulled, and pulled once.
	require.NoError(t, e.Pull(t.Context(), single, "", r.auth))
	require.NoError(t, e.Pull(t.Context(), many, here, r.auth))
	images, err = e.Resolve(t.Context(), s, given, r.auth, nil)
	require.NoError(t, err)
	for name := range s.Services {
		assert.True(t, images[name].Present, name)
	}
	there, err := e.ImagePresent(t.Context(), many)
	require.NoError(t, err)
	assert.True(t, there)
	require.NoError(t, e.Pull(t.Context(), many, here, Auth{}), "nothing is asked of the registry for what is there")
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	e.backoff = time.Millisecond
	r := startRegistry(t, "s3cret-pass")
	r.push(t, "team/api:v1", platformImage(t, "linux", runtime.GOARCH, 1))
	r.push(t, "team/foreign:v1", platformImage(t, "linux", elsewhere(), 1))
	wrong := r.auth
	wrong.Password = "wr0ng-pass"
	dead := "127.0.0.1:1/team/api:v1"
	missingDigest := r.host + "/team/api@sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		s                 *stack.Stack
		auth              Auth
		kind              fault.Kind
		where, says, hint string
	}{
		"tag": {wanting(r.host+"/team/api:v9", "", ""), r.auth, fault.Input, "service api",
			"image " + r.host + "/team/api:v9 does not exist", "push it"},
		"repository": {wanting(r.host+"/team/nope:v1", "always", ""), r.auth, fault.Input, "service api", "does not exist", "push it"},
		"digest":     {wanting(missingDigest, "", ""), r.auth, fault.Input, "service api", "does not exist", "push it"},
		"password": {wanting(r.host+"/team/api:v1", "", ""), wrong, fault.Input, "registry-password",
			"registry " + r.host + " refused the credentials of robot for " + r.host + "/team/api", "check registry-username and registry-password"},
		"no password": {wanting(r.host+"/team/api:v1", "", ""), Auth{}, fault.Input, "service api",
			"registry " + r.host + " wants credentials for", "give registry: " + r.host},
		"password of another registry": {wanting(r.host+"/team/api:v1", "", ""), Auth{Registry: "ghcr.io", Username: "robot", Password: "s3cret-pass"},
			fault.Input, "service api", "wants credentials for", "give registry: " + r.host},
		"platform of the host": {wanting(r.host+"/team/foreign:v1", "", ""), r.auth, fault.Input, "service api",
			"has no build for " + here + ", only for linux/" + elsewhere(), "build it for the host's platform"},
		"platform of the service": {wanting(r.host+"/team/api:v1", "", "linux/s390x"), r.auth, fault.Input, "service api",
			"has no build for linux/s390x, only for " + here, "build it"},
		"registry": {wanting(dead, "", ""), Auth{}, fault.Refused, "service api", "the host cannot get " + dead + " from registry 127.0.0.1:1", "docker pull"},
		"never":    {wanting(r.host+"/team/api:v1", "never", ""), r.auth, fault.Input, "service api", "is not on the host and pull_policy forbids", "build or pull"},
		"build":    {wanting("", "", ""), Auth{}, fault.Input, "service api", "image enginetest-none-api is not on the host", "build or pull"},
		"name":     {wanting("Not An Image", "", ""), Auth{}, fault.Input, "service api", `"Not An Image" is not an image reference`, "repository:tag"},
		"platform": {wanting(imageV1, "", "li nux"), Auth{}, fault.Input, "service api", `"li nux" is not a platform`, "linux/amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := e.Resolve(t.Context(), c.s, nil, c.auth, nil)
			require.Error(t, err)
			assert.Equal(t, c.kind, fault.Of(err))
			assert.True(t, strings.HasPrefix(err.Error(), c.where+": "), err.Error())
			assert.Contains(t, err.Error(), c.says)
			assert.Contains(t, fault.Hint(err), c.hint)
			for _, secret := range []string{"s3cret", "wr0ng"} {
				assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s", err, err, err, fault.Hint(err)), secret)
			}
		})
	}
}

// A plan of what is built later: what only lacks its image is planned with its tag,
// and whatever else is wrong is told as before.
func TestForeseeTakesWhatIsNotPushedYet(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	r := startRegistry(t, "s3cret-pass")
	r.push(t, "team/api:v1", platformImage(t, "linux", runtime.GOARCH, 1))
	for _, policy := range []string{"", "always", "missing"} {
		images, err := e.Foresee(t.Context(), wanting(r.host+"/team/api:v9", policy, ""), nil, r.auth, nil)
		require.NoError(t, err, policy)
		assert.Equal(t, Image{Pinned: r.host + "/team/api:v9", Note: "image " + r.host + "/team/api:v9 is in no registry yet: the release needs it there"}, images["api"])
	}
	images, err := e.Foresee(t.Context(), wanting(r.host+"/team/api:v1", "", ""), nil, r.auth, nil)
	require.NoError(t, err)
	assert.Contains(t, images["api"].Pinned, "/team/api@sha256:")
	_, err = e.Foresee(t.Context(), wanting(r.host+"/team/api@sha256:"+strings.Repeat("0", 64), "", ""), nil, r.auth, nil)
	require.ErrorContains(t, err, "does not exist", "a digest is of what was pushed")
	_, err = e.Foresee(t.Context(), wanting(r.host+"/team/api:v9", "never", ""), nil, r.auth, nil)
	require.ErrorContains(t, err, "pull_policy forbids")
	_, err = e.Foresee(t.Context(), wanting(r.host+"/team/api:v9", "", ""), nil, Auth{}, nil)
	require.ErrorContains(t, err, "wants credentials")
}

func TestResolveTellsAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	r := startRegistry(t, "")
	r.push(t, "foreign:v1", platformImage(t, "linux", elsewhere(), 1))
	s := &stack.Stack{Name: "enginetest-none", Services: map[string]*stack.Service{
		"api": {Image: r.host + "/nope:v1"}, "worker": {Image: r.host + "/nope:v1"}, "web": {Image: r.host + "/foreign:v1"}, "ok": {Image: imageV1},
	}}
	_, err := e.Resolve(t.Context(), s, nil, Auth{}, nil)
	require.Error(t, err)
	assert.Equal(t, fault.Input, fault.Of(err))
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 3)
	assert.Equal(t, "images: 2 problems", lines[0])
	assert.Contains(t, lines[1], "service api, worker: image "+r.host+"/nope:v1 does not exist (push it")
	assert.Contains(t, lines[2], "service web: image "+r.host+"/foreign:v1 has no build for")
}

func TestResolveTakesTheHostsImage(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	e.backoff = time.Millisecond
	r := startRegistry(t, "")
	bad := false
	w := startWeather(t, r, func(*http.Request) int {
		if bad {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	front := reg{host: w.host}
	old := front.push(t, "api:v1", platformImage(t, "linux", runtime.GOARCH, 1))
	require.NoError(t, e.Pull(t.Context(), old, "", Auth{}))
	require.NoError(t, e.Tag(t.Context(), old, w.host+"/api:v1"))
	t.Cleanup(func() { assert.NoError(t, e.Untag(context.Background(), w.host+"/api:v1")) })
	fresh := front.push(t, "api:v1", platformImage(t, "linux", runtime.GOARCH, 1))
	own, err := daemon.ImageInspect(t.Context(), imageV1)
	require.NoError(t, err)

	resolve := func(image, policy string, auth Auth) (Image, error) {
		images, err := e.Resolve(t.Context(), wanting(image, policy, ""), nil, auth, nil)
		return images["api"], err
	}
	check := func(want Image, note, image, policy string) {
		t.Helper()
		got, err := resolve(image, policy, Auth{})
		require.NoError(t, err)
		assert.Contains(t, got.Note, note)
		got.Note = ""
		assert.Equal(t, want, got)
	}
	there := Image{Pinned: old, Present: true}
	check(Image{Pinned: fresh}, "", w.host+"/api:v1", "")
	check(Image{Pinned: fresh}, "", w.host+"/api:v1", "always")
	check(there, "", w.host+"/api:v1", "never")
	check(there, "", w.host+"/api:v1", "missing")
	check(there, "", w.host+"/api:v1", "if_not_present")
	check(Image{Pinned: own.ID, Present: true}, "", own.ID, "")
	w.mu.Lock()
	bad = true
	w.mu.Unlock()
	check(there, "cannot be reached from the host", w.host+"/api:v1", "")
	_, err = resolve(w.host+"/api:v1", "always", Auth{})
	require.ErrorContains(t, err, "the host cannot get")

	// Built on the host, in no registry: used, unless that registry is the one whose
	// credentials were given.
	local := r.host + "/built-here:v1"
	require.NoError(t, e.Tag(t.Context(), imageV1, local))
	t.Cleanup(func() {
		_, _ = daemon.ImageRemove(context.Background(), local, client.ImageRemoveOptions{})
	})
	check(Image{Pinned: own.ID, Present: true}, "built on this host", local, "")
	_, err = resolve(local, "", Auth{Registry: r.host, Username: "robot", Password: "x"})
	require.ErrorContains(t, err, "image "+local+" does not exist")
}

func TestResolveTriesAgain(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "")
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		e, rec := newEngine(t)
		e.backoff = 10 * time.Millisecond
		noted := func() bool {
			return slices.ContainsFunc(rec.Events(), func(ev event.Event) bool { return strings.HasSuffix(ev.Text, "trying again in 10ms") })
		}
		w := startWeather(t, r, func(req *http.Request) int {
			if strings.Contains(req.URL.Path, "/manifests/") && req.Method != http.MethodPut && !noted() {
				return status
			}
			return 0
		})
		pinned := strings.Replace(r.push(t, "api:v1", platformImage(t, "linux", runtime.GOARCH, 1)), r.host, w.host, 1)
		for _, image := range []string{w.host + "/api:v1", pinned} {
			images, err := e.Resolve(t.Context(), wanting(image, "", ""), nil, Auth{}, nil)
			if assert.NoError(t, err, status) {
				assert.Equal(t, Image{Pinned: pinned}, images["api"])
			}
		}
		assert.True(t, noted())
	}
}

// fakeAsked is an engine whose registry refuses and which counts how often it was asked.
type fakeAsked struct {
	fakeStore
	asked atomic.Int64
}

func (f *fakeAsked) DistributionInspect(context.Context, string, client.DistributionInspectOptions) (client.DistributionInspectResult, error) {
	f.asked.Add(1)
	return client.DistributionInspectResult{}, f.refuse
}

func TestWhatIsAskedAgain(t *testing.T) {
	t.Parallel()
	const wanted = "ghcr.io/team/api:v1"
	timeout := errdefs.ErrInternal.WithMessage("net/http: request canceled while waiting for connection (Client.Timeout exceeded)")
	for name, c := range map[string]struct {
		refuse error
		asked  int64
		says   string
	}{
		"timeout": {timeout, tries, ""}, // and the host's image is taken
		"limit":   {errdefs.ErrInternal.WithMessage("toomanyrequests: slow down"), tries, ""},
		"cut":     {io.ErrUnexpectedEOF, tries, "unexpected EOF"},
		"name":    {errdefs.ErrInternal.WithMessage("dial tcp: lookup ghcr.io: no such host"), 1, ""},
		"denied":  {errdefs.ErrUnauthenticated, 1, "wants credentials"},
		"missing": {errdefs.ErrNotFound, 1, "does not exist"},
	} {
		fake := &fakeAsked{fakeStore: fakeStore{refuse: c.refuse, img: image.InspectResponse{ID: "sha256:1", RepoDigests: []string{"ghcr.io/team/api@sha256:" + digest0}}}}
		e, err := New(fake, nil)
		require.NoError(t, err)
		e.backoff = time.Millisecond
		images, err := e.Resolve(t.Context(), wanting(wanted, "", ""), nil, Auth{}, nil)
		if c.says != "" {
			assert.ErrorContains(t, err, c.says, name)
		} else if assert.NoError(t, err, name) {
			assert.Contains(t, images["api"].Note, "cannot be reached from the host", name)
		}
		assert.Equal(t, c.asked, fake.asked.Load(), name)
	}

	// Not after its time, and not longer than the run.
	fake := &fakeAsked{fakeStore: fakeStore{refuse: timeout}}
	e, err := New(fake, nil)
	require.NoError(t, err)
	named, err := reference.ParseNormalizedNamed(wanted)
	require.NoError(t, err)
	r := &resolving{Engine: e, until: time.Now()}
	_, err = r.ask(t.Context(), named, wanted)
	require.ErrorIs(t, err, timeout)
	assert.EqualValues(t, 1, fake.asked.Load())
	e.backoff, r.until = time.Hour, time.Now().Add(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = r.ask(ctx, named, wanted)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.EqualValues(t, 2, fake.asked.Load())
}

func TestPullTriesAgainAndTellsProgress(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	e.backoff = 10 * time.Millisecond
	r := startRegistry(t, "")
	left := 2
	w := startWeather(t, r, func(req *http.Request) int {
		if strings.Contains(req.URL.Path, "/manifests/") && req.Method == http.MethodGet && left > 0 {
			left--
			return []int{http.StatusTooManyRequests, http.StatusBadGateway}[left]
		}
		return 0
	})
	pinned := strings.Replace(r.push(t, "api:v1", platformImage(t, "linux", runtime.GOARCH, 3)), r.host, w.host, 1)
	r.forget(t, pinned)
	require.NoError(t, e.Pull(t.Context(), pinned, "", Auth{}))
	there, err := e.ImagePresent(t.Context(), pinned)
	require.NoError(t, err)
	assert.True(t, there)
	assert.Positive(t, w.count.Load())
	var texts []string
	for _, ev := range rec.Events() {
		texts = append(texts, ev.Text)
	}
	assert.Contains(t, strings.Join(texts, "\n"), "trying again in 10ms")

	w.mu.Lock()
	left = 1 << 20
	w.fault = func(req *http.Request) int { return http.StatusServiceUnavailable }
	w.mu.Unlock()
	gone := w.host + "/api@sha256:" + strings.Repeat("0", 64)
	before := len(rec.Events())
	err = e.Pull(t.Context(), gone, "", Auth{})
	require.ErrorContains(t, err, "the host cannot get "+gone)
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.Len(t, rec.Events()[before:], tries-1, "a note before each other try")
}

func TestPullRefuses(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	r := startRegistry(t, "s3cret-pass")
	pinned := r.push(t, "api:v1", platformImage(t, "linux", runtime.GOARCH, 1))
	wrong := r.auth
	wrong.Password = "wr0ng-pass"
	err := e.Pull(t.Context(), pinned, "", wrong)
	require.ErrorContains(t, err, "registry-password: registry "+r.host+" refused the credentials")
	assert.Equal(t, fault.Input, fault.Of(err))
	assert.NotContains(t, err.Error(), "wr0ng")
	err = e.Pull(t.Context(), r.host+"/api@sha256:"+strings.Repeat("0", 64), "", r.auth)
	require.ErrorContains(t, err, "does not exist")
	require.ErrorContains(t, e.Pull(t.Context(), pinned, "li nux", r.auth), "platform")
	require.ErrorContains(t, e.Pull(t.Context(), "sha256:"+strings.Repeat("0", 64), "", r.auth), "it is not on the host any more and, having no registry, cannot be pulled")
	assert.Empty(t, rec.Events(), "none of these is tried again")
	require.NoError(t, e.Pull(t.Context(), pinned, "", r.auth))
}

func TestTagAndUntag(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	const tag = "enginetest.local/project/api:release-7"
	require.NoError(t, e.Tag(t.Context(), imageV2, tag))
	there, err := e.ImagePresent(t.Context(), tag)
	require.NoError(t, err)
	assert.True(t, there)
	require.NoError(t, e.Untag(t.Context(), tag))
	require.NoError(t, e.Untag(t.Context(), tag), "gone already")
	there, err = e.ImagePresent(t.Context(), tag)
	require.NoError(t, err)
	assert.False(t, there)
	there, err = e.ImagePresent(t.Context(), imageV2)
	require.NoError(t, err)
	assert.True(t, there)
	require.ErrorContains(t, e.Tag(t.Context(), "enginetest-nothing", tag), "tag enginetest-nothing as "+tag)
}
