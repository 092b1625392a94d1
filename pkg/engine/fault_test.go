package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeFullDisk is the real engine but for a disk that fills up while it pulls.
type fakeFullDisk struct {
	client.APIClient
	pulls int
}

func (f *fakeFullDisk) ImagePull(context.Context, string, client.ImagePullOptions) (client.ImagePullResponse, error) {
	f.pulls++
	return fakeFullStream{}, nil
}

type fakeFullStream struct{ client.ImagePullResponse }

func (fakeFullStream) Close() error { return nil }

func (fakeFullStream) JSONMessages(context.Context) iter.Seq2[jsonstream.Message, error] {
	return func(yield func(jsonstream.Message, error) bool) {
		for i := range 100 {
			if !yield(jsonstream.Message{ID: "a", Status: "Downloading", Progress: &jsonstream.Progress{Current: int64(i) * 1e6, Total: 1e8}}, nil) {
				return
			}
		}
		yield(jsonstream.Message{Error: &jsonstream.Error{Message: "write /var/lib/docker/tmp/GetImageBlob1: no space left on device"}}, nil)
	}
}

func TestPullOnAFullDisk(t *testing.T) {
	t.Parallel()
	rec := &event.Recorder{}
	full := &fakeFullDisk{APIClient: daemon}
	e, err := New(full, rec)
	require.NoError(t, err)
	err = e.Pull(t.Context(), "enginetest.local/big@sha256:"+digest0, "", Auth{})
	require.ErrorContains(t, err, "disk: pull enginetest.local/big@sha256:"+digest0)
	require.ErrorContains(t, err, "no space left on device")
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.Contains(t, fault.Hint(err), "df -h /")
	assert.Equal(t, 1, full.pulls, "not tried again")
	assert.Len(t, rec.Events(), 1, "progress at most once a second")
	assert.Equal(t, event.Debug, rec.Events()[0].Level)
}

// fakeStumbling is an engine whose registry has too much to do.
type fakeStumbling struct {
	fakeAsked
	pulls int
}

func (f *fakeStumbling) ImageInspect(context.Context, string, ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	return client.ImageInspectResult{}, errdefs.ErrNotFound
}

func (f *fakeStumbling) ImagePull(context.Context, string, client.ImagePullOptions) (client.ImagePullResponse, error) {
	f.pulls++
	return nil, f.refuse
}

// A registry that answers 5xx does so for longer than some seconds, and a pull is past what
// somebody waits for: it has 35 s. What is only asked may be on the host.
func TestAPullHasTimeForARegistryToComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeStumbling{fakeAsked: fakeAsked{fakeStore: fakeStore{refuse: errdefs.ErrInternal.WithMessage("received unexpected HTTP status: 502 Bad Gateway")}}}
		e, err := New(fake, nil)
		require.NoError(t, err)
		began := time.Now()
		require.Error(t, e.Pull(t.Context(), "ghcr.io/team/api@sha256:"+digest0, "", Auth{}))
		assert.Equal(t, []any{tries, 35 * time.Second}, []any{fake.pulls, time.Since(began)})
		began = time.Now()
		_, err = e.Resolve(t.Context(), wanting("ghcr.io/team/api:v1", "", ""), nil, Auth{}, nil)
		require.Error(t, err)
		assert.Equal(t, []any{int64(tries), 7 * time.Second}, []any{fake.asked.Load(), time.Since(began)})
	})
}

const digest0 = "0000000000000000000000000000000000000000000000000000000000000000"

// fakeCancelled is the real engine with a run that is cancelled right after the
// first unit was made.
type fakeCancelled struct {
	client.APIClient
	cancel context.CancelFunc
}

func (f *fakeCancelled) ContainerCreate(ctx context.Context, o client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	res, err := f.APIClient.ContainerCreate(ctx, o)
	f.cancel()
	return res, err
}

func TestACancelledCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1, networks: [a, b]}}, networks: {a: {}, b: {}}}`)
	ground(t, e, s)
	run(t, e, s, "api", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cut, err := New(&fakeCancelled{daemon, cancel}, nil)
	require.NoError(t, err)
	cut.patience = time.Minute // the machine may be busy
	_, err = cut.Create(ctx, s, "api", 3)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []stack.State{stack.Running}, states(t, e, s.Name, "api"))
}

var errCut = errors.New("the connection to the host was cut")

// fakeCut is an engine behind a connection that is cut.
func fakeCut(t *testing.T) *Engine {
	t.Helper()
	api, err := client.New(client.WithHost("http://engine"), client.WithAPIVersion("1.41"),
		client.WithHTTPClient(&http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errCut }}}))
	require.NoError(t, err)
	e, err := New(api, nil)
	require.NoError(t, err)
	e.backoff = time.Millisecond
	return e
}

func TestALostConnectionIsPassedOn(t *testing.T) {
	t.Parallel()
	e := fakeCut(t)
	ctx := t.Context()
	s := load(t, `{services: {api: {image: V1, networks: [net]}}, networks: {net: {}}, volumes: {data: {}}}`)
	ids := []string{"0123456789abcdef"}
	for name, err := range map[string]error{
		"info":     second(e.Info(ctx)),
		"clock":    second(e.Ahead(ctx)),
		"observe":  second(e.Observe(ctx, s.Name)),
		"inspect":  second(e.Inspect(ctx, ids[0])),
		"resolve":  second(e.Resolve(ctx, s, nil, Auth{}, nil)),
		"pull":     e.Pull(ctx, "x@sha256:"+digest0, "", Auth{}),
		"networks": e.EnsureNetworks(ctx, s, nil),
		"volumes":  e.EnsureVolumes(ctx, s, nil),
		"create":   second(e.Create(ctx, s, "api", 1)),
		"start":    e.Start(ctx, s, "api", ids),
		"restart":  e.Restart(ctx, ids),
		"stop":     e.Stop(ctx, ids, 0),
		"remove":   e.Remove(ctx, ids),
		"signal":   e.Signal(ctx, ids[0], "HUP"),
		"tail":     second(e.Tail(ctx, ids[0], 1)),
		"tag":      e.Tag(ctx, "x", "y"),
		"untag":    e.Untag(ctx, "y"),
		"present":  second(e.ImagePresent(ctx, "x")),
	} {
		assert.ErrorIs(t, err, errCut, name)
	}
	_, _, _, err := e.Exec(ctx, ids[0], []string{"true"}, nil)
	require.ErrorIs(t, err, errCut)
	// The registry is not blamed for it.
	r := &resolving{Engine: e}
	named, err := reference.ParseNormalizedNamed("ghcr.io/a/b:c")
	require.NoError(t, err)
	_, err = r.remote(ctx, wish{ref: "ghcr.io/a/b:c"}, named, r.host)
	require.ErrorIs(t, err, errCut)
	assert.False(t, isProblem(err))
}

func second[T any](_ T, err error) error { return err }

func TestClassify(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		err  error
		want trouble
	}{
		"cut":          {io.ErrUnexpectedEOF, unknown},
		"cancelled":    {context.Canceled, unknown},
		"not found":    {errdefs.ErrNotFound, missing},
		"manifest":     {errdefs.ErrUnknown.WithMessage("manifest unknown: manifest unknown"), missing},
		"arch":         {errdefs.ErrUnknown.WithMessage("no matching manifest for linux/arm64/v8 in the manifest list entries"), missing},
		"unauthorized": {errdefs.ErrUnauthenticated, denied},
		"hub":          {errdefs.ErrNotFound.WithMessage("pull access denied for x, repository does not exist or may require 'docker login': denied"), denied},
		"basic":        {errdefs.ErrInternal.WithMessage("Get https://r/v2/x: no basic auth credentials"), denied},
		"ghcr":         {errdefs.ErrInternal.WithMessage(`Head "https://ghcr.io/v2/team/shop-api/manifests/main": denied: denied`), denied},
		"ghcr's last":  {errdefs.ErrInternal.WithMessage(`Get "https://ghcr.io/v2/team/shop-api/manifests/main": denied`), denied},
		"in a pull":    {errdefs.ErrUnknown.WithMessage("denied"), denied},
		"hub's limit":  {errdefs.ErrInternal.WithMessage("denied: too many requests"), unreachable},
		"os":           {errdefs.ErrInternal.WithMessage("open /var/lib/docker/tmp/x: permission denied"), unreachable},
		"limit":        {errdefs.ErrInternal.WithMessage("toomanyrequests: You have reached your pull rate limit"), unreachable},
		"bad gateway":  {errdefs.ErrInternal.WithMessage("received unexpected HTTP status: 502 Bad Gateway"), unreachable},
		"dns":          {errdefs.ErrInternal.WithMessage("dial tcp: lookup r: no such host"), unreachable},
		"disk":         {errdefs.ErrUnknown.WithMessage("mkdir /x: no space left on device"), diskFull},
	} {
		assert.Equal(t, c.want, classify(c.err), text)
		assert.Equal(t, c.want, classify(fmt.Errorf("pull: %w", c.err)), text)
	}
}

func TestAuthIsForOneRegistryAndKeepsItsSecret(t *testing.T) {
	t.Parallel()
	for registry, covered := range map[string]string{
		"": "nginx", "docker.io": "library/nginx", "https://index.docker.io/v1/": "docker.io/team/app",
		"ghcr.io": "ghcr.io/team/app", "https://GHCR.io/": "ghcr.io/team/app", "localhost:5000": "localhost:5000/app",
	} {
		auth := Auth{Registry: registry, Username: "robot", Password: "s3cret"}
		for _, image := range []string{"nginx", "ghcr.io/team/app", "localhost:5000/app", covered} {
			named, err := reference.ParseNormalizedNamed(image)
			require.NoError(t, err)
			want, err := reference.ParseNormalizedNamed(covered)
			require.NoError(t, err)
			header, err := auth.header(named)
			require.NoError(t, err)
			assert.Equal(t, reference.Domain(named) == reference.Domain(want), header != "", "%s for %s", registry, image)
		}
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s", auth, auth, auth, auth), "s3cret")
	}
	named, err := reference.ParseNormalizedNamed("nginx")
	require.NoError(t, err)
	header, err := Auth{}.header(named)
	require.NoError(t, err)
	assert.Empty(t, header)
}

func TestWhatOtherEnginesSay(t *testing.T) {
	t.Parallel()
	// Engines from 28 on give the health apart from the text.
	assert.Equal(t, stack.HealthOK, healthOf(container.Summary{Health: &container.HealthSummary{Status: container.Healthy}}))
	assert.Equal(t, stack.HealthFailed, healthOf(container.Summary{Health: &container.HealthSummary{Status: container.Unhealthy}, Status: "Up (healthy)"}))
	assert.Equal(t, stack.NoHealth, healthOf(container.Summary{Health: &container.HealthSummary{Status: container.NoHealthcheck}}))
	for machine, want := range map[string]string{"armv7l": "v7", "armv6l": "v6", "armv8l": "v8", "x86_64": ""} {
		assert.Equal(t, want, variant("arm", system.Info{Architecture: machine}), machine)
	}
	assert.Empty(t, variant("arm64", system.Info{Architecture: "aarch64"}))
	// With the containerd store images are in the folder of the machine's containerd, or
	// below the engine's where that started one of its own.
	store := system.Info{DockerRootDir: "/data/docker", DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}}
	assert.Equal(t, "/var/lib/containerd", imageDir(store))
	for address, want := range map[string]string{
		"/run/containerd/containerd.sock": "/var/lib/containerd", "/var/run/containerd/containerd.sock": "/var/lib/containerd",
		"/var/run/docker/containerd/containerd.sock": "/data/docker",
	} {
		store.Containerd = &system.ContainerdInfo{Address: address}
		assert.Equal(t, want, imageDir(store), address)
	}
	assert.Equal(t, "/data/docker", imageDir(system.Info{DockerRootDir: "/data/docker", DriverStatus: [][2]string{{"Backing Filesystem", "extfs"}}}))
	assert.Empty(t, addressesOf(map[string]*network.EndpointSettings{"stopped": {}, "none": nil}))
}

// fakeStore is an engine with the containerd image store, which gives every name of an
// image a digest, also that of one that was never pushed, and whose registry refuses.
type fakeStore struct {
	client.APIClient
	img    image.InspectResponse
	refuse error
}

func (f *fakeStore) ServerVersion(context.Context, client.ServerVersionOptions) (client.ServerVersionResult, error) {
	return client.ServerVersionResult{Os: "linux", Arch: "amd64"}, nil
}

func (f *fakeStore) Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error) {
	return client.SystemInfoResult{}, nil
}

func (f *fakeStore) ImageInspect(context.Context, string, ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	return client.ImageInspectResult{InspectResponse: f.img}, nil
}

func (f *fakeStore) DistributionInspect(context.Context, string, client.DistributionInspectOptions) (client.DistributionInspectResult, error) {
	return client.DistributionInspectResult{}, f.refuse
}

func TestResolveOfWhatAContainerdStoreHas(t *testing.T) {
	t.Parallel()
	const id, digest = "sha256:" + digest0, "shop-api@sha256:" + digest0
	hidden := errdefs.ErrNotFound.WithMessage("pull access denied for shop-api, repository does not exist or may require 'docker login': denied")
	away := errdefs.ErrInternal.WithMessage("dial tcp: lookup r: no such host")
	pulled := func(repositories ...string) *image.Identity {
		var out image.Identity
		for _, r := range repositories {
			out.Pull = append(out.Pull, image.PullIdentity{Repository: r})
		}
		return &out
	}
	for name, c := range map[string]struct {
		policy   string
		refuse   error
		tags     []string
		identity *image.Identity
		want     string
	}{
		"in no registry":                       {"", hidden, nil, nil, id},
		"build":                                {"build", hidden, nil, nil, id},
		"build, registry away":                 {"build", away, nil, nil, id},
		"never":                                {"never", nil, nil, nil, id},
		"registry away":                        {"", away, nil, nil, digest},
		"missing":                              {"missing", nil, nil, nil, digest},
		"never, pulled by digest":              {"never", nil, []string{digest}, nil, digest},
		"never, the engine knows of a pull":    {"never", nil, nil, pulled("docker.io/library/shop-api"), digest},
		"missing, the engine knows of none":    {"missing", nil, nil, pulled(), id},
		"missing, pulled from somewhere else":  {"missing", nil, nil, pulled("ghcr.io/team/shop-api"), id},
		"registry away, the engine knows none": {"", away, nil, pulled(), id},
	} {
		e, err := New(&fakeStore{refuse: c.refuse, img: image.InspectResponse{
			ID: id, Os: "linux", Architecture: "amd64", RepoDigests: []string{digest}, RepoTags: append(c.tags, "shop-api:latest"), Identity: c.identity,
		}}, nil)
		require.NoError(t, err)
		images, err := e.Resolve(t.Context(), wanting("shop-api", c.policy, ""), nil, Auth{}, nil)
		if assert.NoError(t, err, name) {
			assert.Equal(t, c.want, images["api"].Pinned, name)
		}
	}
	// What was pulled from a registry that refuses now is not released as if it was built here.
	e, err := New(&fakeStore{refuse: hidden, img: image.InspectResponse{ID: id, RepoDigests: []string{digest}, Identity: pulled("docker.io/library/shop-api")}}, nil)
	require.NoError(t, err)
	_, err = e.Resolve(t.Context(), wanting("shop-api", "", ""), nil, Auth{}, nil)
	require.ErrorContains(t, err, "registry docker.io wants credentials for shop-api")
}
