// Package layers asks registries how much of an image a host would have to pull. It
// asks as the host would: through a connection that begins there.
package layers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Asker asks registries.
type Asker struct {
	domain, username, password string
	client                     http.RoundTripper
}

// oneAnswer bounds each answer of a registry.
const oneAnswer = 5 * time.Second

// New makes an asker whose connections begin where dial makes them. The login is for
// the registry domain alone.
func New(dial func(ctx context.Context, address string) (net.Conn, error), domain, username, password string) *Asker {
	return &Asker{domain: domain, username: username, password: password, client: &http.Transport{
		DialContext:           func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) },
		TLSHandshakeTimeout:   oneAnswer,
		ResponseHeaderTimeout: oneAnswer,
	}}
}

// Missing is how many bytes of an image a host has to pull, compressed, when it has
// the layers (sums of their unpacked content) of others.
func (a *Asker) Missing(ctx context.Context, ref string, platform v1.Platform, have map[string]bool) (int64, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return 0, fmt.Errorf("read the image's name: %w", err)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(a.client), remote.WithPlatform(platform), remote.WithAuth(a.login(parsed))}
	img, err := remote.Image(parsed, options...)
	if err != nil {
		return 0, fmt.Errorf("ask the registry for %s: %w", ref, err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		return 0, fmt.Errorf("read the manifest of %s: %w", ref, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return 0, fmt.Errorf("read the configuration of %s: %w", ref, err)
	}
	bytes := manifest.Config.Size
	for i, layer := range manifest.Layers {
		if i < len(config.RootFS.DiffIDs) && have[config.RootFS.DiffIDs[i].String()] {
			continue
		}
		bytes += layer.Size
	}
	return bytes, nil
}

func (a *Asker) login(ref name.Reference) authn.Authenticator {
	domain := strings.Replace(ref.Context().RegistryStr(), "index.docker.io", "docker.io", 1)
	if a.username == "" || domain != a.domain {
		return authn.Anonymous
	}
	return &authn.Basic{Username: a.username, Password: a.password}
}
