// Package policyhelpers stands where the module's own does: see the README of
// third_party.
package policyhelpers

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/moby/policy-helpers/image"
	"github.com/moby/policy-helpers/types"
)

// Config would say where a verifier keeps its roots of trust.
type Config struct{ StateDir string }

// Verifier would verify signatures.
type Verifier struct{}

// ArtifactVerifyOpt would be an option of VerifyArtifact.
type ArtifactVerifyOpt func()

// WithSLSANotRequired would let an artifact be signed without provenance.
func WithSLSANotRequired() ArtifactVerifyOpt { return func() {} }

// NewVerifier refuses.
func NewVerifier(Config) (*Verifier, error) { return nil, image.ErrLeftOut }

// VerifyImage refuses.
func (*Verifier) VerifyImage(context.Context, image.ReferrersProvider, ocispecs.Descriptor, *ocispecs.Platform) (*types.SignatureInfo, error) {
	return nil, image.ErrLeftOut
}

// VerifyArtifact refuses.
func (*Verifier) VerifyArtifact(context.Context, digest.Digest, []byte, ...ArtifactVerifyOpt) (*types.SignatureInfo, error) {
	return nil, image.ErrLeftOut
}
