package build

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
)

const (
	spdx   = "https://spdx.dev/Document"
	slsa   = "https://slsa.dev/provenance/v1"
	slsa02 = "https://slsa.dev/provenance/v0.2"
)

// statement is one that BuildKit would attest: of which type, and the whole of it.
type statement struct{ kind, text string }

// Statements as BuildKit writes them, shortened to what tells them apart. Each holds
// the time of its build.
func sbom(at string) statement {
	return statement{spdx, `{"predicate":{"creationInfo":{"created":"` + at + `"}}}`}
}

func least(at string) statement {
	return statement{slsa, `{"predicate":{"buildDefinition":{"internalParameters":{"builderPlatform":"linux/amd64"}},"runDetails":{"metadata":{"startedOn":"` + at + `"}}}}`}
}

func whole(at string) statement {
	return statement{slsa, `{"predicate":{"buildDefinition":{"internalParameters":{"buildConfig":{"llbDefinition":[]}}},"runDetails":{"metadata":{"startedOn":"` + at + `"}}}}`}
}

// attested makes an index as BuildKit pushes it: the images, and beside each a manifest
// with the statements about it.
func attested(t *testing.T, images []v1.Image, statements ...statement) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, img := range images {
		platform := &v1.Platform{OS: "linux", Architecture: []string{"amd64", "arm64"}[i]}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
		if len(statements) == 0 {
			continue
		}
		digest, err := img.Digest()
		require.NoError(t, err)
		var about v1.Image = mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		for _, s := range statements {
			about, err = mutate.Append(about, mutate.Addendum{Layer: static.NewLayer([]byte(s.text), "application/vnd.in-toto+json"),
				Annotations: map[string]string{"in-toto.io/predicate-type": s.kind}})
			require.NoError(t, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: about, Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest.String()},
		}})
	}
	return index
}

// An index that the registry has is what a build made only where it says the same of the
// images: an SBOM or provenance that was asked for since has to be in it.
func TestAnIndexIsKeptOnlyWithWhatIsAttestedNow(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	var images []v1.Image
	for range 2 {
		img, err := random.Image(500, 1)
		require.NoError(t, err)
		images = append(images, img)
	}
	for name, c := range map[string]struct {
		before, now []statement
		kept        bool
	}{
		"the same again":               {[]statement{least("1"), sbom("1")}, []statement{least("2"), sbom("2")}, true},
		"the full provenance again":    {[]statement{whole("1")}, []statement{whole("2")}, true},
		"an SBOM since":                {[]statement{least("1")}, []statement{least("2"), sbom("2")}, false},
		"provenance since":             {nil, []statement{least("2")}, false},
		"the full provenance since":    {[]statement{least("1")}, []statement{whole("2")}, false},
		"the least provenance since":   {[]statement{whole("1")}, []statement{least("2")}, false},
		"no SBOM any more":             {[]statement{least("1"), sbom("1")}, []statement{least("2")}, false},
		"another format of provenance": {[]statement{{slsa02, `{"predicate":{}}`}}, []statement{least("2")}, false},
		"provenance not to be read":    {[]statement{{slsa, "?"}}, []statement{least("2")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keeps(t, strings.TrimPrefix(server.URL, "http://")+"/"+strings.ReplaceAll(strings.ToLower(name), " ", "-"),
				attested(t, images, c.before...), attested(t, images, c.now...), c.kept)
		})
	}
}

// Which versions there are is read also where the repository is written in upper case, as
// GitHub's names may be: a fix for an old line must not take "latest" back.
func TestVersionsOfARepositoryInUpperCase(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	img, err := random.Image(100, 1)
	require.NoError(t, err)
	tag, err := name.NewTag(host + "/team/shop:2.0.0")
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, img))
	dir := workspace(t, "services: {api: {build: ./api, image: \""+host+"/Team/Shop:${VERSION}\"}}\n", nil)
	r, err := prepared(t, Options{Workspace: dir, Push: true, Git: Git{Ref: "refs/tags/v1.2.3"}})
	require.NoError(t, err)
	repo := host + "/team/shop:"
	assert.Equal(t, []string{repo + "v1", repo + "1.2.3", repo + "1.2", repo + "1"}, r.plan.targets[0].tags)
}

// keeps has an index described that was just pushed over another one.
func keeps(t *testing.T, repo string, before, now v1.ImageIndex, kept bool) {
	t.Helper()
	image := &target{name: "api", repo: repo, tags: []string{repo + ":v1"}}
	r := &run{o: Options{Push: true}, sink: event.Discard, result: &Result{}, plan: &plan{targets: []*target{image}}}
	tag, err := name.ParseReference(image.tags[0])
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(tag, before))
	published := r.published(t.Context())
	require.NoError(t, remote.WriteIndex(tag, now))
	old, err := before.Digest()
	require.NoError(t, err)
	pushed, err := now.Digest()
	require.NoError(t, err)
	require.Equal(t, old.String(), published["api"].digest)

	built := &Target{Name: "api", Digest: pushed.String()}
	r.describe(t.Context(), image, built, published["api"])
	assert.Equal(t, kept, built.Kept)
	assert.Len(t, built.Platforms, 2)
	want := pushed
	if kept {
		want = old
	}
	assert.Equal(t, want.String(), built.Digest)
	found, err := remote.Head(tag)
	require.NoError(t, err)
	assert.Equal(t, want, found.Digest, "the tag is what is deployed")
}
