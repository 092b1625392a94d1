package layers_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/shiksha/actions/pkg/layers"
)

// What a host has already it does not pull again.
func TestMissing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	base, err := random.Image(5000, 2)
	require.NoError(t, err)
	extra, err := random.Layer(7000, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	require.NoError(t, err)
	img, err := mutate.AppendLayers(base, extra)
	require.NoError(t, err)
	ref := strings.TrimPrefix(server.URL, "http://") + "/shop/api:v1"
	parsed, err := name.ParseReference(ref)
	require.NoError(t, err)
	require.NoError(t, remote.Write(parsed, img))

	dialled := ""
	ask := layers.New(func(ctx context.Context, address string) (net.Conn, error) {
		dialled = address
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}, "ghcr.io", "robot", "s3cret")
	all, err := ask.Missing(t.Context(), ref, v1.Platform{OS: "linux", Architecture: "amd64"}, nil)
	require.NoError(t, err)
	assert.Equal(t, strings.TrimPrefix(server.URL, "http://"), dialled, "it asks through the host")
	have := map[string]bool{}
	config, err := base.ConfigFile()
	require.NoError(t, err)
	for _, id := range config.RootFS.DiffIDs {
		have[id.String()] = true
	}
	rest, err := ask.Missing(t.Context(), ref, v1.Platform{OS: "linux", Architecture: "amd64"}, have)
	require.NoError(t, err)
	size, err := extra.Size()
	require.NoError(t, err)
	manifest, err := img.Manifest()
	require.NoError(t, err)
	assert.Equal(t, size+manifest.Config.Size, rest)
	assert.Greater(t, all, rest+9000)

	_, err = ask.Missing(t.Context(), strings.Replace(ref, "v1", "v2", 1), v1.Platform{}, nil)
	assert.ErrorContains(t, err, "v2")
}
