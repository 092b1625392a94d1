package build

import (
	"errors"
	"testing"

	"github.com/docker/buildx/util/confutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
)

// What `build:` asks for happens, or is said not to: a stage that is always to be built
// anew must not come from a cache of weeks ago.
func TestNoKeyOfBuildIsPassedOverInSilence(t *testing.T) {
	t.Parallel()
	dir := workspace(t, `
services:
  api: {build: {context: ./api, no_cache_filter: [data, rules], entitlements: [network.host]}, image: a}
  web: {build: {context: ./web, privileged: true, isolation: hyperv}, image: b}
`, nil)
	var heard event.Recorder
	r := &run{o: Options{Workspace: dir}, sink: &heard, result: &Result{}}
	require.NoError(t, r.prepare(t.Context()))
	r.builder = &chosen{kind: "docker-container"}
	options, err := r.options(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"data", "rules"}, options["api"].NoCacheFilter)
	assert.Equal(t, []string{"network.host"}, options["api"].Allow)
	assert.Empty(t, options["web"].Allow)
	var warned []string
	for _, e := range heard.Events() {
		if e.Level == event.Warning {
			warned = append(warned, e.Service+" "+e.Text)
		}
	}
	assert.Equal(t, []string{
		"web compose.yaml:4: `privileged` is not used: a step that needs it says `RUN --security=insecure`, and `entitlements: [security.insecure]` beside it",
		"web compose.yaml:4: `isolation` is not used: BuildKit has none to choose",
	}, warned)
}

// The builder's record has every build argument, encoded so that nothing masks it: it is no
// part of the output metadata.
func TestMetadataHasNoProvenance(t *testing.T) {
	t.Parallel()
	dir := workspace(t, "services: {api: {build: ./api, image: a}}\n", nil)
	for _, provenance := range []string{"", "false", "max"} {
		r, err := prepared(t, Options{Workspace: dir, Push: true, Provenance: provenance})
		require.NoError(t, err)
		r.builder = &chosen{kind: "docker-container"}
		options, err := r.options(t.Context())
		require.NoError(t, err)
		assert.Equal(t, confutil.MetadataProvenanceModeDisabled, options["api"].ProvenanceResponseMode, provenance)
	}
}

// A file that is not there stays away, whatever it is called; a registry may come back.
func TestAFileCalledAfterAStatusIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	r := &run{plan: &plan{}}
	for text, want := range map[string]bool{
		`failed to compute cache key: failed to calculate checksum of ref a::b: "/503.html": not found`:                                  false,
		"failed to compute cache key: failed to calculate checksum of ref a::b: failed open: unexpected status: 503 Service Unavailable": true,
	} {
		_, again := r.again(t.Context(), errors.New(text), 0)
		assert.Equal(t, want, again, text)
	}
}
