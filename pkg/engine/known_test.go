package engine

import (
	"context"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

// fakeKept is an engine that has some images, by the names that it finds them by, and whose
// registry refuses, or has a digest where it does not.
type fakeKept struct {
	fakeStore
	images map[string]image.InspectResponse
}

func (f *fakeKept) ImageInspect(_ context.Context, ref string, _ ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	img, there := f.images[ref]
	if !there {
		return client.ImageInspectResult{}, errdefs.ErrNotFound
	}
	return client.ImageInspectResult{InspectResponse: img}, nil
}

func (f *fakeKept) DistributionInspect(context.Context, string, client.DistributionInspectOptions) (client.DistributionInspectResult, error) {
	var found client.DistributionInspectResult
	found.Descriptor.Digest = "sha256:" + digestF
	return found, f.refuse
}

// digestA, digestB and digestF are of what was verified, of what its tag was before and of what it is now.
const digestA, digestB, digestF = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

// What was verified last is used where its registry does not give it any more, and the host
// still has it: that was pulled by digest, so its tag does not find it there.
func TestWhatWasVerifiedLastIsUsed(t *testing.T) {
	t.Parallel()
	const ref = "ghcr.io/vendor/redis:7.0.15"
	pinned, older := "ghcr.io/vendor/redis@sha256:"+digestA, "ghcr.io/vendor/redis@sha256:"+digestB
	fresh := "ghcr.io/vendor/redis@sha256:" + digestF
	away := errdefs.ErrInternal.WithMessage("dial tcp: lookup ghcr.io: no such host")
	limit := errdefs.ErrInternal.WithMessage("toomanyrequests: slow down")
	kept := map[string]image.InspectResponse{pinned: {ID: "sha256:1"}}
	tagged := map[string]image.InspectResponse{pinned: {ID: "sha256:1"}, ref: {ID: "sha256:2", RepoDigests: []string{older}}}
	byHand := map[string]image.InspectResponse{pinned: {ID: "sha256:1", Created: "2026-03-01T09:00:00Z"},
		ref: {ID: "sha256:2", RepoDigests: []string{older}, Created: "2026-03-01T08:00:00.5-02:00"}}
	built := map[string]image.InspectResponse{pinned: {ID: "sha256:1"}, ref: {ID: "sha256:2"}}
	foreign := map[string]image.InspectResponse{pinned: {ID: "sha256:1", Os: "linux", Architecture: "arm64"}}
	login := Auth{Registry: "ghcr.io", Username: "ci", Password: "x"}
	same := Known{Image: ref, Pinned: pinned}
	for name, c := range map[string]struct {
		policy string
		refuse error
		auth   Auth
		images map[string]image.InspectResponse
		known  Known
		given  string
		pinned string // "" is refused
		note   string
	}{
		"out of reach":                {"", away, Auth{}, kept, same, "", pinned, "registry ghcr.io cannot be reached from the host"},
		"limited":                     {"", limit, Auth{}, kept, same, "", pinned, "registry ghcr.io cannot be reached from the host"},
		"taken away":                  {"", errdefs.ErrNotFound, Auth{}, kept, same, "", pinned, "registry ghcr.io has no " + ref + " any more"},
		"denied":                      {"", errdefs.ErrUnauthenticated, Auth{}, kept, same, "", pinned, "registry ghcr.io does not give " + ref},
		"taken away, with a login":    {"", errdefs.ErrNotFound, login, kept, same, "", pinned, "registry ghcr.io has no " + ref + " any more"},
		"not a tag from before":       {"", away, Auth{}, tagged, same, "", pinned, "cannot be reached"},
		"pulled by hand since":        {"", away, Auth{}, byHand, same, "", older, "the image that is there is used"},
		"taken away, a newer tag":     {"", errdefs.ErrNotFound, Auth{}, byHand, same, "", pinned, "has no " + ref + " any more"},
		"a tag, and nothing verified": {"", away, Auth{}, tagged, Known{}, "", older, "the image that is there is used"},
		"what was built there":        {"", away, Auth{}, built, same, "", "sha256:2", "the image that is there is used"},
		"what was built, in none":     {"", errdefs.ErrNotFound, Auth{}, built, same, "", "sha256:2", "built on this host"},
		"missing":                     {"missing", nil, Auth{}, kept, same, "", pinned, ""},
		"if_not_present":              {"if_not_present", away, Auth{}, kept, same, "", pinned, ""},
		"missing, pulled by hand":     {"missing", nil, Auth{}, tagged, same, "", older, ""},
		"missing, gone from the host": {"missing", nil, Auth{}, nil, same, "", fresh, ""},

		"the registry answers":    {"", nil, Auth{}, kept, same, "", fresh, ""},
		"a login that ran out":    {"", errdefs.ErrUnauthenticated, login, kept, same, "", "", "registry ghcr.io refused the credentials of ci"},
		"it, with a newer tag":    {"", errdefs.ErrUnauthenticated, login, byHand, same, "", "", "registry ghcr.io refused the credentials of ci"},
		"always":                  {"always", away, Auth{}, kept, same, "", "", "cannot get " + ref},
		"always, taken away":      {"always", errdefs.ErrNotFound, Auth{}, kept, same, "", "", "does not exist"},
		"never":                   {"never", nil, Auth{}, kept, same, "", "", "pull_policy forbids"},
		"build":                   {"build", errdefs.ErrNotFound, Auth{}, kept, same, "", "", "does not exist"},
		"another tag":             {"", away, Auth{}, kept, Known{"ghcr.io/vendor/redis:7.0.14", pinned}, "", "", "cannot get " + ref},
		"another repository":      {"", away, Auth{}, map[string]image.InspectResponse{"redis@sha256:" + digestA: {ID: "sha256:1"}}, Known{ref, "redis@sha256:" + digestA}, "", "", "cannot get " + ref},
		"an image of its own":     {"", away, Auth{}, map[string]image.InspectResponse{"sha256:1": {ID: "sha256:1"}}, Known{ref, "sha256:1"}, "", "", "cannot get " + ref},
		"given":                   {"", away, Auth{}, kept, same, ref, "", "cannot get " + ref},
		"given, missing":          {"missing", away, Auth{}, kept, same, ref, "", "cannot get " + ref},
		"gone from the host":      {"", away, Auth{}, nil, same, "", "", "cannot get " + ref},
		"of another platform":     {"", away, Auth{}, foreign, same, "", "", "cannot get " + ref},
		"missing, other platform": {"missing", away, Auth{}, foreign, same, "", "", "cannot get " + ref},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := New(&fakeKept{fakeStore: fakeStore{refuse: c.refuse}, images: c.images}, nil)
			require.NoError(t, err)
			e.backoff = time.Millisecond
			st, given, known := wanting(ref, c.policy, "linux/amd64"), map[string]string{"api": c.given}, map[string]Known{"api": c.known, "other": same}
			for _, resolve := range []func(context.Context, *stack.Stack, map[string]string, Auth, map[string]Known) (map[string]Image, error){e.Resolve, e.Foresee} {
				images, err := resolve(t.Context(), st, given, c.auth, known)
				switch {
				case c.pinned != "":
					require.NoError(t, err)
					assert.Equal(t, c.pinned, images["api"].Pinned)
					assert.Equal(t, c.pinned != fresh, images["api"].Present)
					assert.Contains(t, images["api"].Note, c.note)
					assert.Equal(t, c.note == "", images["api"].Note == "")
					assert.Equal(t, c.note != "" && c.pinned == pinned, images["api"].Warn)
				case err != nil: // a plan may be of what is pushed later
					require.ErrorContains(t, err, c.note)
				default:
					assert.Contains(t, images["api"].Note, "is in no registry yet")
				}
			}
		})
	}
}

// Services with one image run the same one: what one of them alone was verified with is not
// taken where the registry does not say what it is now.
func TestOneImageOfSeveralServicesIsResolvedAlike(t *testing.T) {
	t.Parallel()
	const ref = "ghcr.io/team/shop:main"
	pinned, older := "ghcr.io/team/shop@sha256:"+digestA, "ghcr.io/team/shop@sha256:"+digestB
	away := errdefs.ErrInternal.WithMessage("dial tcp: lookup ghcr.io: no such host")
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{
		"api": {Name: "api", Image: ref, Platform: "linux/amd64"}, "worker": {Name: "worker", Image: ref, Platform: "linux/amd64"}}}
	for name, c := range map[string]struct {
		known map[string]Known
		given map[string]string
		had   bool
	}{
		"both":                    {map[string]Known{"api": {ref, pinned}, "worker": {ref, pinned}}, nil, true},
		"one has a newer one":     {map[string]Known{"api": {ref, pinned}, "worker": {ref, older}}, nil, false},
		"of one nothing is known": {map[string]Known{"api": {ref, pinned}}, nil, false},
		"one is given":            {map[string]Known{"api": {ref, pinned}, "worker": {ref, pinned}}, map[string]string{"worker": ref}, false},
		"one is given another":    {map[string]Known{"api": {ref, pinned}, "worker": {ref, pinned}}, map[string]string{"worker": older}, true},
	} {
		e, err := New(&fakeKept{fakeStore: fakeStore{refuse: away}, images: map[string]image.InspectResponse{pinned: {ID: "sha256:1"}, older: {ID: "sha256:2"}}}, nil)
		require.NoError(t, err, name)
		images, err := e.Resolve(t.Context(), st, c.given, Auth{}, c.known)
		if !c.had {
			assert.ErrorContains(t, err, "service api, worker: the host cannot get "+ref, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, pinned, images["api"].Pinned, name)
	}
}
