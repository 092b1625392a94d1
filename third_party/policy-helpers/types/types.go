// Package types stands where the module's own does: see the README of third_party.
package types

import "time"

// SignatureType and Kind say what a signature is.
type (
	SignatureType int
	Kind          int
)

// The types of signatures that are told apart.
const (
	SignatureBundleV03 SignatureType = iota + 1
	SignatureSimpleSigningV1
)

// The kinds of signers that are told apart.
const (
	KindDockerGithubBuilder Kind = iota + 1
	KindDockerHardenedImage
	KindSelfSignedGithubRepo
	KindSelfSigned
	KindUntrusted
)

// TimestampVerificationResult would be when something was signed.
type TimestampVerificationResult struct {
	Type, URI string
	Timestamp time.Time
}

// SignatureInfo would be what a signature says.
type SignatureInfo struct {
	Kind            Kind
	SignatureType   SignatureType
	Signer          *Signer
	Timestamps      []TimestampVerificationResult
	DockerReference string
	IsDHI           bool
}

// Signer would be what the certificate of a signature says.
type Signer struct {
	CertificateIssuer, SubjectAlternativeName, Issuer                                     string
	BuildSignerURI, BuildSignerDigest, RunnerEnvironment                                  string
	SourceRepositoryURI, SourceRepositoryDigest, SourceRepositoryRef                      string
	SourceRepositoryIdentifier, SourceRepositoryOwnerURI, SourceRepositoryOwnerIdentifier string
	BuildConfigURI, BuildConfigDigest, BuildTrigger, RunInvocationURI                     string
	SourceRepositoryVisibilityAtSigning                                                   string
}
