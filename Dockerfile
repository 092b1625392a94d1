# One image for all actions. Its folder, the root of the repository, is the build
# context of `image: ../../Dockerfile`. No instruction here needs BuildKit, since
# act builds with the classic builder.

# Compiles on the machine's own platform, whatever the image is for. The classic
# builder does not know BUILDPLATFORM; to it "linux" means the machine's own.
FROM --platform=${BUILDPLATFORM:-linux} golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY third_party ./third_party
RUN go mod download
COPY *.go ./
COPY actions ./actions
COPY pkg ./pkg
# The release workflow says which version this is; a build from source does not know.
ARG VERSION=
# Both are empty in the classic builder, which Go takes for the machine's own.
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -ldflags "-s -w -X main.release=${VERSION}" -o /shiksha .

FROM scratch
# HTTPS of a probe and of a registry needs the authorities; nothing else is in here.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /shiksha /shiksha
# No USER: GitHub runs container actions as root and mounts the workspace and its
# own files so that only root can write them.
# The exec form makes shiksha process 1, which the runner's signals reach.
ENTRYPOINT ["/shiksha"]
