module github.com/moby/policy-helpers

go 1.26.8

require (
	github.com/containerd/containerd/v2 v2.4.2
	github.com/opencontainers/go-digest v1.0.0
	github.com/opencontainers/image-spec v1.1.1
)
