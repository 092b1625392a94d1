// Package image stands where the module's own does: see the README of third_party.
package image

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrLeftOut is what every verification ends with.
var ErrLeftOut = errors.New("signatures of images are not verified by this program")

// ArtifactTypeCosignSignature is the type of a signature in its older form.
const ArtifactTypeCosignSignature = "application/vnd.dev.cosign.artifact.sig.v1+json"

// ReferrersProvider gives what refers to an image.
type ReferrersProvider interface {
	content.Provider
	FetchReferrers(ctx context.Context, dgst digest.Digest, opts ...remotes.FetchReferrersOpt) ([]ocispecs.Descriptor, error)
}

// Manifest is one of the chain.
type Manifest struct{ ocispecs.Descriptor }

// SignatureChain would lead from an image to its signature.
type SignatureChain struct{ AttestationManifest, SignatureManifest *Manifest }

// ResolveSignatureChain refuses.
func ResolveSignatureChain(context.Context, ReferrersProvider, ocispecs.Descriptor, *ocispecs.Platform) (*SignatureChain, error) {
	return nil, ErrLeftOut
}
