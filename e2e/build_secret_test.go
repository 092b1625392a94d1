package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// canary is a secret that must be found nowhere, of 17 bytes; beacon is no secret
// and must be found wherever the canary would be.
const canary, beacon = "canary-8f2d1c7e5b", "beacon-55c0ffee55"

// A secret is used by a step and is afterwards in nothing: not in what is printed,
// outputs or summary, and not in what registry and builder keep: layers, history,
// provenance, caches.
func TestBuildKeepsSecretsNowhere(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.builder.Reset(t.Context())) // whatever other tests had printed
	s.write("api/main.txt", beacon+"\n")
	s.more = []string{`INPUT_SECRETS={"other": "` + canary + `"}`}
	s.write("api/Dockerfile", apiDockerfile+`RUN --mount=type=secret,id=other grep -q canary /run/secrets/other && echo `+beacon+` > /said && cat /said
`)
	built := s.build(0, "--push", "--provenance", "max", "--build-args", "GREETING="+beacon)
	s.unprinted(built)
	assert.Contains(t, built.Stdout, beacon, "what a step prints is shown")

	index, manifest := s.index(s.images()["api"])
	for _, m := range manifest.Manifests {
		if m.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			assert.Contains(t, s.statement(index, m.Digest, "https://slsa.dev/provenance/v1"), beacon, "provenance has the build arguments")
			continue
		}
		image, err := index.Image(m.Digest)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		assert.GreaterOrEqual(t, len(config.History), 7, "every step is in the history")
	}
	found := map[string]int{}
	for what, root := range map[string]string{"registry": s.storage, "builder": filepath.Join(s.builder.Root, "state")} {
		s.search(root, func(path string, data []byte) {
			assert.False(t, holds(data, canary), path)
			if holds(data, beacon) {
				found[what]++
			}
		})
	}
	// In the registry: a layer, the image's history, provenance and the cache.
	assert.GreaterOrEqual(t, found["registry"], 4, "the search finds what is there")
	assert.GreaterOrEqual(t, found["builder"], 2)
}

// A step that prints its secret does not show it, nor does one that fails with it
// in its last words.
func TestBuildHidesWhatAStepPrints(t *testing.T) {
	s := newSite(t)
	for exit, command := range map[int]string{0: "cat /run/secrets/token", 1: "cat /run/secrets/token; exit 9"} {
		s.write("api/Dockerfile", "FROM busybox:1\nRUN --mount=type=secret,id=token echo it is; "+command+"\n")
		result := s.build(exit, "--targets", "api")
		s.unprinted(result)
		assert.Contains(t, result.Stdout, "it is")
	}
}

// unprinted looks for the secret in all that a build printed and told.
func (s *site) unprinted(result lab.Result) {
	s.t.Helper()
	var masked strings.Builder // what the runner shows: the commands that hide things are not
	for line := range strings.Lines(result.Stdout) {
		if !strings.HasPrefix(line, "::add-mask::") {
			masked.WriteString(line)
		}
	}
	outputs, err := os.ReadFile(s.output)
	require.NoError(s.t, err)
	require.NotEmpty(s.t, s.summary())
	for _, text := range []string{masked.String(), result.Stderr, string(outputs), s.summary()} {
		assert.False(s.t, holds([]byte(text), canary), text)
	}
}

// search gives every file below root, and its content too where it is compressed.
func (s *site) search(root string, see func(path string, data []byte)) {
	s.t.Helper()
	require.NoError(s.t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // what the daemon removes meanwhile is not there
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		if unpacked, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			more, _ := io.ReadAll(unpacked)
			data = append(data, more...)
		}
		see(path, data)
		return nil
	}))
}

// holds tells whether a text is in data, as it is or in a common disguise.
func holds(data []byte, text string) bool {
	for _, form := range []string{text, hex.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text))[:20]} {
		if bytes.Contains(data, []byte(form)) {
			return true
		}
	}
	return false
}
