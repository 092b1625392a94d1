package e2e

import (
	"archive/tar"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// builders is the BuildKit and the registry with a password that all tests of
// builds share.
var builders struct {
	once     sync.Once
	builder  *lab.Builder
	registry *lab.Registry
	storage  string
	err      error
}

// site is what one test of a build acts on: a repository with two services.
type site struct {
	*lab.Fixture
	t        *testing.T
	builder  *lab.Builder
	registry *lab.Registry
	storage  string
	repo     string // the repository prefix of the images
	commit   string
	more     []string // environment of the next builds
	output   string   // of the last build: its GITHUB_OUTPUT
}

const twoServices = `
services:
  api:
    build:
      context: ./api
      args: {GREETING: hello}
      secrets: [token]
    image: REPO/api:${VERSION}
    command: ["sleep", "600"]
  web:
    build: ./web
    image: REPO/web:${VERSION}
    command: ["sleep", "600"]
  worker:
    image: REPO/api:${VERSION}
    command: ["sleep", "600"]
secrets:
  token: {environment: TOKEN}
`

const apiDockerfile = `FROM busybox:1
ARG GREETING
WORKDIR /app
RUN --mount=type=secret,id=token test "$(wc -c < /run/secrets/token)" -eq 17 && sha256sum < /run/secrets/token > /app/sum
RUN uname -m > /app/machine && echo "$GREETING" > /app/greeting
COPY main.txt /app/
`

const webDockerfile = `FROM busybox:1
COPY index.html /web/
RUN uname -m > /web/machine
`

func newSite(t *testing.T) *site {
	t.Helper()
	f := lab.New(t)
	builders.once.Do(func() { builders.err = startBuilders(f) })
	require.NoError(t, builders.err)
	s := &site{Fixture: f, t: t, builder: builders.builder, registry: builders.registry, storage: builders.storage}
	s.repo = s.registry.Address + "/" + strings.ToLower(f.Project)
	s.write("compose.yaml", strings.ReplaceAll(twoServices, "REPO", s.repo))
	s.write("api/Dockerfile", apiDockerfile)
	s.write("api/main.txt", "one\n")
	s.write("web/Dockerfile", webDockerfile)
	s.write("web/index.html", "<p>one</p>\n")
	s.write(".gitignore", "lab.env\nrunner\n")
	s.commitAll()
	return s
}

func startBuilders(f *lab.Fixture) error {
	ctx := context.Background()
	mirror := &lab.Registry{Address: f.Registry}
	if err := f.PushBusybox(ctx, mirror); err != nil {
		return err
	}
	var err error
	builders.storage = filepath.Join(f.Lab.Dir, "build-registry")
	if err := os.RemoveAll(builders.storage); err != nil {
		return err
	}
	builders.registry, err = f.StartRegistry(ctx, lab.RegistryOptions{Username: "ci", Password: "right", TLS: true, Storage: builders.storage})
	if err != nil {
		return err
	}
	builders.builder, err = f.StartBuilder(ctx, mirror, builders.registry)
	return err
}

func (s *site) write(path, text string) {
	s.t.Helper()
	path = filepath.Join(s.Dir, path)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o644))
}

// commitAll commits the folder at a time that is always the same.
func (s *site) commitAll() {
	s.t.Helper()
	repo, err := git.PlainInit(s.Dir, false)
	if err != nil {
		repo, err = git.PlainOpen(s.Dir)
	} else {
		_, _ = repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{"https://x:password@github.example/Team/Shop.git"}})
	}
	require.NoError(s.t, err)
	tree, err := repo.Worktree()
	require.NoError(s.t, err)
	require.NoError(s.t, tree.AddWithOptions(&git.AddOptions{All: true}))
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	hash, err := tree.Commit("build", &git.CommitOptions{Author: &object.Signature{Name: "lab", Email: "lab@example.org", When: at}})
	require.NoError(s.t, err)
	s.commit = hash.String()
}

// build runs the program as a step of a workflow and gives what it left.
func (s *site) build(want int, more ...string) lab.Result {
	s.t.Helper()
	cmd, err := s.Command(s.t.Context(), s.Dir, s.env(), s.args(more...)...)
	require.NoError(s.t, err)
	result, err := lab.Wait(cmd, nil)
	require.NoError(s.t, err)
	require.Equal(s.t, want, result.Exit, "%s%s", result.Stdout, result.Stderr)
	return result
}

func (s *site) args(more ...string) []string {
	return append([]string{"build", "--builder", s.builder.Address, "--registry", s.registry.Address, "--registry-username", "ci", "--version", "v1"}, more...)
}

func (s *site) env() []string {
	dir := s.t.TempDir()
	s.output = filepath.Join(dir, "output")
	return append([]string{
		"GITHUB_ACTIONS=true", "GITHUB_WORKSPACE=" + s.Dir, "GITHUB_OUTPUT=" + s.output, "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary"),
		"INPUT_REGISTRY-PASSWORD=right", "INPUT_ENV-FILE=TOKEN=" + canary, "SSL_CERT_FILE=" + s.registry.Certificate,
	}, s.more...)
}

func (s *site) summary() string {
	data, err := os.ReadFile(filepath.Join(filepath.Dir(s.output), "summary"))
	require.NoError(s.t, err)
	return string(data)
}

// outputs reads an output of the last build.
func (s *site) outputs(name string, into any) {
	s.t.Helper()
	data, err := os.ReadFile(s.output)
	require.NoError(s.t, err)
	_, rest, found := strings.Cut("\n"+string(data), "\n"+name+"<<")
	require.True(s.t, found, "%s in %s", name, data)
	delimiter, rest, _ := strings.Cut(rest, "\n")
	value, _, _ := strings.Cut(rest, "\n"+delimiter+"\n")
	require.NoError(s.t, json.Unmarshal([]byte(value), into), value)
}

// told is what these tests look at in the report.
type told struct {
	Seconds float64
	Targets []struct {
		Name, Digest  string
		Kept          bool
		Steps, Cached int
		Warnings      int
		Platforms     []struct {
			Name, Digest string
			Size         int64
		}
	}
}

func (s *site) report() (r told) { s.outputs("report", &r); return r }

func (s *site) images() (m map[string]string) { s.outputs("images", &m); return m }

// remote are the options to reach the registry.
func (s *site) remote() []remote.Option {
	pool := x509.NewCertPool()
	certificate, err := os.ReadFile(s.registry.Certificate)
	require.NoError(s.t, err)
	pool.AppendCertsFromPEM(certificate)
	return []remote.Option{
		remote.WithAuth(&authn.Basic{Username: "ci", Password: "right"}),
		remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}),
	}
}

func (s *site) index(ref string) (v1.ImageIndex, *v1.IndexManifest) {
	s.t.Helper()
	parsed, err := name.ParseReference(ref)
	require.NoError(s.t, err)
	index, err := remote.Index(parsed, s.remote()...)
	require.NoError(s.t, err)
	manifest, err := index.IndexManifest()
	require.NoError(s.t, err)
	return index, manifest
}

// file reads a file of an image.
func file(t *testing.T, image v1.Image, path string) string {
	t.Helper()
	layers, err := image.Layers()
	require.NoError(t, err)
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		require.NoError(t, err)
		archive := tar.NewReader(content)
		for header, err := archive.Next(); err == nil; header, err = archive.Next() {
			if header.Name == path {
				data, err := io.ReadAll(archive)
				require.NoError(t, err)
				return strings.TrimSpace(string(data))
			}
		}
	}
	return ""
}

const both = "linux/amd64,linux/arm64"

// A stack of two services is built for two platforms, a RUN step on each, and
// pushed to a registry with a password; the commit describes it, and a second
// build has nothing to do.
func TestBuildForTwoPlatforms(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.builder.Reset(t.Context())) // whatever other tests have built
	first := s.build(0, "--push", "--platforms", both)
	t.Logf("first build: %.1fs", first.Took.Seconds())
	images := s.images()
	require.Len(t, images, 3, "worker runs the image of api")
	assert.Equal(t, images["api"], images["worker"])

	machines := map[string]string{}
	index, manifest := s.index(images["api"])
	attested := 0
	for _, m := range manifest.Manifests {
		if m.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			attested++
			statement := s.statement(index, m.Digest, "https://slsa.dev/provenance/v1")
			assert.Contains(t, statement, s.commit, "provenance names the commit")
			assert.Contains(t, statement, "busybox", "and what the image was made of")
			continue
		}
		image, err := index.Image(m.Digest)
		require.NoError(t, err)
		machines[m.Platform.String()] = file(t, image, "app/machine")
		config, err := image.ConfigFile()
		require.NoError(t, err)
		assert.Equal(t, map[string]string{
			"org.opencontainers.image.source": "https://github.example/Team/Shop", "org.opencontainers.image.revision": s.commit,
			"org.opencontainers.image.created": "2026-03-01T09:00:00Z", "org.opencontainers.image.version": "v1",
		}, config.Config.Labels)
		assert.Equal(t, "2026-03-01T09:00:00Z", config.Created.UTC().Format(time.RFC3339))
	}
	assert.Equal(t, map[string]string{"linux/amd64": "x86_64", "linux/arm64": "aarch64"}, machines)
	assert.Equal(t, 2, attested, "provenance for each platform")
	for _, tag := range []string{"v1", "master", "sha-" + s.commit[:7]} {
		_, tagged := s.index(s.repo + "/api:" + tag)
		assert.Len(t, tagged.Manifests, 4, tag)
	}
	assert.Regexp(t, `\| api \| linux/amd64 \| [0-9.]+ [kM]B \| 0 of 8 \|`, s.summary())

	second := s.build(0, "--push", "--platforms", both)
	t.Logf("second build: %.1fs", second.Took.Seconds())
	assert.Contains(t, second.Stdout, "8 of 8 steps cached")
	for _, target := range s.report().Targets {
		assert.Positive(t, target.Steps)
		assert.Equal(t, target.Steps, target.Cached, target.Name)
		assert.True(t, target.Kept, "%s keeps its digest", target.Name)
	}
	assert.Equal(t, images, s.images())

	s.write("web/index.html", "<p>two</p>\n")
	s.build(0, "--push", "--platforms", both)
	changed := s.report().Targets
	assert.Equal(t, changed[0].Steps, changed[0].Cached, "api did not change")
	assert.Less(t, changed[1].Cached, changed[1].Steps, "web did")
	assert.Equal(t, images["api"], s.images()["api"])
	assert.NotEqual(t, images["web"], s.images()["web"])

	require.NoError(t, s.builder.Reset(t.Context()))
	s.build(0, "--push", "--platforms", both)
	for _, target := range s.report().Targets {
		assert.Equal(t, target.Steps, target.Cached, "%s comes from the cache in the registry", target.Name)
	}
	s.deployed(images)
	assert.Equal(t, "aarch64", s.emulated(images["web"], "uname", "-m"))
}

// statement reads what is attested of an image: one kind of it.
func (s *site) statement(index v1.ImageIndex, digest v1.Hash, kind string) string {
	s.t.Helper()
	attestation, err := index.Image(digest)
	require.NoError(s.t, err)
	manifest, err := attestation.Manifest()
	require.NoError(s.t, err)
	for _, layer := range manifest.Layers {
		if layer.Annotations["in-toto.io/predicate-type"] != kind {
			continue
		}
		blob, err := attestation.LayerByDigest(layer.Digest)
		require.NoError(s.t, err)
		content, err := blob.Compressed()
		require.NoError(s.t, err)
		data, err := io.ReadAll(content)
		require.NoError(s.t, err)
		return string(data)
	}
	s.t.Errorf("nothing of the kind %s is attested", kind)
	return ""
}

// emulated runs a program of an image for arm64.
func (s *site) emulated(ref string, command ...string) string {
	s.t.Helper()
	config := s.t.TempDir()
	login := base64.StdEncoding.EncodeToString([]byte("ci:right"))
	auths := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, s.registry.Address, login)
	require.NoError(s.t, os.WriteFile(filepath.Join(config, "config.json"), []byte(auths), 0o600))
	// An engine keeps one platform of a digest, and the deploy took the other one: so
	// this is the digest of the platform's own image.
	parsed, err := name.ParseReference(ref)
	require.NoError(s.t, err)
	image, err := remote.Image(parsed, append(s.remote(), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))...)
	require.NoError(s.t, err)
	own, err := image.Digest()
	require.NoError(s.t, err)
	args := []string{"--config", config, "run", "--rm", "--platform", "linux/arm64", parsed.Context().Digest(own.String()).String()}
	out, err := s.Docker(s.t.Context(), append(args, command...)...)
	require.NoError(s.t, err)
	return out
}

// deployed hands the images output to a deploy as it is, and runs the image of the
// other platform under emulation.
func (s *site) deployed(images map[string]string) {
	s.t.Helper()
	data, err := json.Marshal(images)
	require.NoError(s.t, err)
	args := append([]string{"deploy"}, s.Host.Flags()...)
	args = append(args, "--project", s.Project, "--version", "v1", "--images", string(data), "--registry", s.registry.Address, "--registry-username", "ci")
	cmd, err := s.Command(s.t.Context(), s.Dir, []string{"INPUT_REGISTRY-PASSWORD=right", "INPUT_ENV-FILE=TOKEN=" + canary}, args...)
	require.NoError(s.t, err)
	result, err := lab.Wait(cmd, nil)
	require.NoError(s.t, err)
	require.Zero(s.t, result.Exit, "%s%s", result.Stdout, result.Stderr)
	units := s.MustUnits()
	for service, ids := range units {
		for _, id := range ids {
			running, err := s.Docker(s.t.Context(), "inspect", "--format", "{{.Config.Image}} {{.Image}}", id)
			require.NoError(s.t, err)
			named, image, _ := strings.Cut(running, " ")
			assert.Equal(s.t, images[service], named)
			digests, err := s.Docker(s.t.Context(), "image", "inspect", "--format", "{{join .RepoDigests \" \"}}", image)
			require.NoError(s.t, err)
			assert.Contains(s.t, digests, images[service], "what runs is what the digest says")
		}
	}
	assert.Len(s.t, units, 3)
}

// The same commit gives the same images, from empty caches. Provenance holds the time
// of its build: with it the platforms' images are the same, and so is the digest
// where the registry has them already.
func TestBuildIsReproducible(t *testing.T) {
	s := newSite(t)
	digests := func(more ...string) map[string]string {
		require.NoError(t, s.builder.Reset(t.Context()))
		s.build(0, append([]string{"--push", "--platforms", both, "--cache", "none"}, more...)...)
		for _, target := range s.report().Targets {
			require.Zero(t, target.Cached, "from empty caches")
		}
		found := map[string]string{}
		s.outputs("digests", &found)
		return found
	}
	first, attested := digests("--provenance", "false", "--no-cache"), digests()
	assert.Len(t, first, 2)
	for _, name := range []string{"api/main.txt", "web/index.html"} {
		later := time.Now().Add(-time.Minute)
		require.NoError(t, os.Chtimes(filepath.Join(s.Dir, name), later, later), "another checkout has other times")
	}
	assert.Equal(t, first, digests("--provenance", "false", "--no-cache"))
	s.repo += "-again"
	s.write("compose.yaml", strings.ReplaceAll(twoServices, "REPO", s.repo))
	again := digests()
	for name, digest := range attested {
		assert.NotEqual(t, digest, again[name], "it was made at another time")
		before, _ := s.index(strings.TrimSuffix(s.repo, "-again") + "/" + name + "@" + digest)
		after, _ := s.index(s.repo + "/" + name + "@" + again[name])
		assert.Equal(t, platformDigests(t, before), platformDigests(t, after))
	}
	assert.Equal(t, again, digests(), "the registry has them")
}

// platformDigests are the images of an index by platform.
func platformDigests(t *testing.T, index v1.ImageIndex) map[string]string {
	t.Helper()
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	digests := map[string]string{}
	for _, m := range manifest.Manifests {
		if m.Platform.OS != "unknown" {
			digests[m.Platform.String()] = m.Digest.String()
		}
	}
	assert.Len(t, digests, 2)
	return digests
}

// What goes wrong is told with its place, its last words and what to do.
func TestBuildFailures(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		dockerfile string
		exit       int
		says       []string
	}{
		"a step fails": {"FROM busybox:1\nRUN echo one\nRUN echo looking; echo not there >&2; exit 3\n", 1, []string{
			"::error file=web/Dockerfile,line=3::", "exit code: 3", "| not there", "web: web/Dockerfile:3"}},
		"not a Dockerfile": {"FROM busybox:1\nRUM echo one\n", 3, []string{"web/Dockerfile:2", "unknown instruction: RUM", "::error file=web/Dockerfile,line=2::"}},
		"no such base": {"FROM busybox:nowhere\n", 1, []string{"web/Dockerfile:1", "busybox:nowhere", "not found", "hint: the image in FROM cannot be had",
			"::error file=web/Dockerfile,line=1::"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.write("web/Dockerfile", c.dockerfile)
			result := s.build(c.exit, "--targets", "web")
			for _, text := range c.says {
				assert.Contains(t, result.Stdout, text)
			}
		})
	}
	s.write("web/Dockerfile", "from busybox:1\nRUN echo one\n")
	result := s.build(0, "--targets", "web")
	assert.Contains(t, result.Stdout, "::warning file=web/Dockerfile,line=1::", "a finding is no failure")
}

// fakeScanner is a generator of SBOMs that keeps to BuildKit's protocol and knows one
// package only. It does not prove what a real scanner finds.
const fakeScanner = `FROM busybox:1
COPY sbom.json /sbom.json
CMD ["sh", "-c", "test -n \"$(ls $BUILDKIT_SCAN_SOURCE)\" && cp /sbom.json $BUILDKIT_SCAN_DESTINATION/$(echo $BUILDKIT_SCAN_SOURCE | tr / -).spdx.json"]
`

const fakeSBOM = `{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document", "predicate": {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "web",
"documentNamespace": "https://example.org/web", "creationInfo": {"created": "2026-03-01T09:00:00Z", "creators": ["Tool: fake"]},
"packages": [{"SPDXID": "SPDXRef-busybox", "name": "the-package-of-the-scanner", "downloadLocation": "NOASSERTION"}]}}`

// A generator's list of packages is attested of the image, beside its provenance.
func TestBuildWithAnSBOM(t *testing.T) {
	whole(t)
	s := newSite(t)
	s.write("scanner/Dockerfile", fakeScanner)
	s.write("scanner/sbom.json", fakeSBOM)
	s.write("scanner.yaml", "services: {scanner: {build: ./scanner, image: \""+s.repo+"/scanner:v1\"}}\n")
	s.build(0, "--compose-file", "scanner.yaml", "--push", "--cache", "none")
	s.build(0, "--targets", "web", "--push", "--cache", "none", "--sbom", "generator="+s.repo+"/scanner:v1")
	index, manifest := s.index(s.images()["web"])
	for _, m := range manifest.Manifests {
		if m.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			assert.Contains(t, s.statement(index, m.Digest, "https://spdx.dev/Document"), "the-package-of-the-scanner")
			assert.Contains(t, s.statement(index, m.Digest, "https://slsa.dev/provenance/v1"), s.commit)
			return
		}
	}
	t.Error("nothing is attested")
}
