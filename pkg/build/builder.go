package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/containerd/platforms"
	"github.com/docker/buildx/builder"
	"github.com/docker/buildx/driver"
	_ "github.com/docker/buildx/driver/docker"           // the engine's own BuildKit
	_ "github.com/docker/buildx/driver/docker-container" // BuildKit in a container
	_ "github.com/docker/buildx/driver/remote"           // BuildKit at an address
	"github.com/docker/buildx/store"
	controlapi "github.com/moby/buildkit/api/services/control"
	buildkit "github.com/moby/buildkit/client"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

const (
	// own is the container of the builder that we start, as buildx would name it.
	own = "buildx_buildkit_shiksha0"
	// patience is how long a builder may take to answer.
	patience = 30 * time.Second
	// settling is how long a container that another build removes may take to be gone.
	settling = 10 * time.Second
	// notTaken begins what is said of an image that the engine did not load.
	notTaken = "the engine did not take the image"
)

// rewriting is the first BuildKit that can set the times in an image which it unpacks
// as well. An engine's own unpacks all that it exports, and its older ones refuse both.
var rewriting = semver.MustParse("0.34.0")

// chosen is the builder of a run.
type chosen struct {
	node      builder.Node
	kind      string // "remote", "docker", "docker-container"
	platforms []ocispecs.Platform
	engine    client.APIClient // nil where none is needed
	// started is set for a container that this run started.
	started bool
}

// choose finds the builder, says which and why, and waits until it answers.
func choose(ctx context.Context, r *run) (*chosen, error) {
	c, why, err := r.pick(ctx)
	if err != nil {
		return nil, fault.Early(ctx, err)
	}
	r.result.Builder, r.result.Why = c.node.Name, why
	r.say(event.Info, "builder", "", "%s: %s", c.node.Name, why)
	if err := c.start(ctx, r); err != nil {
		c.leave(context.WithoutCancel(ctx), r)
		return nil, fault.Early(ctx, err)
	}
	return c, nil
}

// pick decides which builder it is.
func (r *run) pick(ctx context.Context) (c *chosen, why string, err error) {
	switch b := r.o.Builder; {
	case strings.HasPrefix(b, "tcp://") || strings.HasPrefix(b, "unix://"):
		c, err = r.newBuilder(ctx, "remote", b, b, nil)
		if err == nil && r.o.Load {
			c.engine, _ = r.engine(ctx)
		}
		return c, "the BuildKit that the input builder names", err
	case strings.Contains(b, "://"):
		return nil, "", fault.New(fault.Input, "builder", "write tcp://host:port, unix:///path, or the name of a container", "%q is no address of a builder", b)
	}
	api, err := r.engine(ctx)
	if err != nil {
		return nil, "", err
	}
	if r.o.Builder != "" {
		if _, err := api.ContainerInspect(ctx, r.o.Builder, client.ContainerInspectOptions{}); err != nil {
			return nil, "", fault.New(fault.Input, "builder", "see `docker ps --all`, or leave builder out to have one started", "there is no container %s: %w", r.o.Builder, err)
		}
		c, err = r.newBuilder(ctx, "docker-container", r.o.Builder, "", api)
		return c, "the container that the input builder names", err
	}
	c, err = r.newBuilder(ctx, "docker", "the engine", "", api)
	if err != nil {
		return nil, "", err
	}
	lacks := "cannot export caches or several platforms (its images are not in containerd)"
	if c.exports(ctx) {
		if lacks = ""; (r.o.Push || r.o.Load) && slices.ContainsFunc(r.plan.targets, r.dated) {
			lacks = c.outdated(ctx)
		}
	}
	if lacks == "" {
		return c, "the engine's own BuildKit, which can build for several platforms and export caches (its images are in containerd)", nil
	}
	c, err = r.newBuilder(ctx, "docker-container", own, "", api)
	return c, "BuildKit in a container, because the engine's own " + lacks, err
}

// engine connects to the Docker Engine.
func (r *run) engine(ctx context.Context) (client.APIClient, error) {
	var options []client.Opt
	if r.o.DockerHost != "" {
		options = append(options, client.WithHost(r.o.DockerHost))
	}
	api, err := client.New(options...)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err = api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	}
	if err != nil {
		return nil, fault.New(fault.Refused, "builder", "start Docker, or name a BuildKit: builder: tcp://host:port",
			"no builder was given and no Docker Engine answers: %w", err)
	}
	return api, nil
}

// newBuilder makes a builder of a kind, not connected yet.
func (r *run) newBuilder(ctx context.Context, kind, name, address string, api client.APIClient) (*chosen, error) {
	factory, err := driver.GetFactory(kind, false)
	if err != nil {
		return nil, err
	}
	config := driver.InitConfig{Name: name, EndpointAddr: address, DockerAPI: api, Auth: r.authConfig}
	if kind == "docker-container" {
		image := r.o.Image
		if image == "" {
			image = DefaultImage
		}
		config.DriverOpts = map[string]string{"image": image}
		// Builds of a runner may use its network, as they may with buildx.
		config.BuildkitdFlags = []string{"--allow-insecure-entitlement=network.host"}
	}
	handle, err := driver.GetDriver(ctx, factory, config)
	if err != nil {
		return nil, fault.New(fault.Input, "builder", "", "%s: %w", name, err)
	}
	node := builder.Node{Node: store.Node{Name: name, Endpoint: address}, Builder: "shiksha", Driver: handle}
	return &chosen{node: node, kind: kind, engine: api}, nil
}

// exports tells whether the engine's BuildKit can export what is asked.
func (c *chosen) exports(ctx context.Context) bool {
	features, err := c.node.Driver.Features(ctx)
	return err == nil && features[driver.MultiPlatform] && features[driver.CacheExport]
}

// outdated says what the engine's BuildKit lacks to set the times in an image, and
// nothing where it can. One that does not tell its version counts as older.
func (c *chosen) outdated(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	told := "unknown"
	if bk, err := c.node.Driver.UncachedClient(ctx); err == nil {
		defer func() { _ = bk.Close() }()
		if info, err := bk.Info(ctx); err == nil && info.BuildkitVersion.Version != "" {
			told = info.BuildkitVersion.Version
		}
	}
	if v, err := version(told); err == nil && !v.LessThan(rewriting) {
		return ""
	}
	return fmt.Sprintf("cannot give an image the time of its commit (its version is %s, and that takes v%s)", told, rewriting)
}

// start boots the builder where it has to be, and asks which platforms it has.
func (c *chosen) start(ctx context.Context, r *run) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if c.kind == "docker-container" {
		info, err := c.node.Driver.Info(ctx)
		c.started = err == nil && info.Status != driver.Running && c.node.Name == own
		if err == nil && info.Status == driver.Running {
			r.say(event.Info, "builder", "", "it is running and is used again")
		}
	}
	booted, err := driver.Boot(ctx, ctx, c.node.Driver, newProgress(r, "builder"))
	if err != nil {
		return c.unreachable(err)
	}
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	workers, err := booted.ListWorkers(asked)
	if err != nil {
		return c.unreachable(err)
	}
	for _, w := range workers {
		c.platforms = append(c.platforms, w.Platforms...)
	}
	c.node.Platforms = c.platforms
	if info, err := booted.Info(asked); err == nil {
		r.say(event.Info, "builder", "", "BuildKit %s, runs %s", info.BuildkitVersion.Version, strings.Join(formatAll(c.platforms), ", "))
	}
	return nil
}

func (c *chosen) unreachable(err error) error {
	hint := "start it, or leave builder out to have one started"
	if c.kind == "docker-container" {
		hint = "a builder in a container needs an engine that allows privileged containers and can pull the image (input buildkit-image); " +
			"where it cannot, run buildkitd yourself and name it: builder: unix:///run/buildkit/buildkitd.sock"
	}
	return fault.New(fault.Refused, "builder", hint, "%s does not answer: %w", c.node.Name, err)
}

// leave ends the connection, and a container that this run started unless another
// build uses it. Its cache stays in its volume for the next one.
func (c *chosen) leave(ctx context.Context, r *run) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	bk, err := c.node.Driver.Client(ctx)
	if c.started {
		if err == nil && staysBusy(ctx, bk) {
			r.say(event.Info, "builder", "", "%s stays: another build uses it", c.node.Name)
		} else if err := c.node.Driver.Rm(ctx, true, false, true); err != nil {
			r.say(event.Warning, "builder", "", "%s could not be removed: %s", c.node.Name, err)
		}
	}
	if err == nil {
		_ = bk.Close()
	}
	if c.engine != nil {
		_ = c.engine.Close()
	}
}

// anew chooses once more where the builder is gone that another build had started: that
// one ended and took it for idle, and what was built is in its volume.
func (r *run) anew(ctx context.Context) bool {
	before := r.builder
	if r.anewed || before.started || before.kind != "docker-container" || before.node.Name != own || !r.gone(ctx) || !r.settled(ctx, settling) {
		return false
	}
	r.anewed = true
	r.say(event.Warning, "builder", "", "%s went away, as it does with the build that had started it; building once more", before.node.Name)
	c, err := choose(ctx, r)
	if err != nil {
		r.say(event.Warning, "builder", "", "%s", err)
		return false
	}
	before.leave(context.WithoutCancel(ctx), r)
	r.builder = c
	return true
}

// settled waits until the container of a builder that is gone is not there any more, or
// answers again. One that is there and does not has broken, and has a log.
func (r *run) settled(ctx context.Context, within time.Duration) bool {
	for until := time.Now().Add(within); r.gone(ctx); {
		if info, err := r.builder.node.Driver.Info(ctx); err != nil || info.Status == driver.Inactive {
			break
		}
		if time.Now().After(until) {
			return false
		}
		time.Sleep(100 * time.Millisecond)
	}
	return true
}

// staysBusy tells whether a builder is building, and still does after a while: what
// this run cancelled takes a moment to end.
func staysBusy(ctx context.Context, bk *buildkit.Client) bool {
	for until := time.Now().Add(3 * time.Second); busy(ctx, bk); {
		if time.Now().After(until) {
			return true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}

// busy tells whether a builder is building.
func busy(ctx context.Context, bk *buildkit.Client) bool {
	records, err := bk.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{ActiveOnly: true, EarlyExit: true})
	if err != nil {
		return false
	}
	_, err = records.Recv()
	return err == nil
}

// fits looks whether the builder can do what is asked, and says what it cannot.
func (r *run) fits(context.Context) error {
	for _, t := range r.plan.targets {
		for _, text := range t.spec.Platforms {
			p, err := platforms.Parse(text)
			if err != nil {
				return fault.New(fault.Input, "platforms", "", "%q: %w", text, err)
			}
			if !r.builder.runs(p) {
				r.note("builder", t.name, "the builder cannot run programs of %s, so a RUN for it will fail. %s", text, emulator(p))
			}
		}
	}
	if r.o.Load && r.builder.engine == nil {
		return fault.New(fault.Refused, "load", "start Docker, or leave load out", "no Docker Engine answers that could take the image")
	}
	return nil
}

func (c *chosen) runs(p ocispecs.Platform) bool {
	return slices.ContainsFunc(c.platforms, func(has ocispecs.Platform) bool { return platforms.Only(has).Match(p) })
}

// emulator says how a builder learns to run a platform.
func emulator(p ocispecs.Platform) string {
	return "Add the emulator to the machine of the builder: docker/setup-qemu-action in the workflow, " +
		"`docker run --privileged --rm tonistiigi/binfmt --install " + p.Architecture + "`, or Debian's packages qemu-user-static and binfmt-support"
}

// formatAll names platforms once each, without the variants of one.
func formatAll(list []ocispecs.Platform) []string {
	var names []string
	for _, p := range list {
		if name := p.OS + "/" + p.Architecture; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// loads tells whether what is exported is for the engine and has to be handed to it: it
// names no place of its own, and the builder is not the engine's.
func (c *chosen) loads(e buildkit.ExportEntry) bool {
	return e.Type == buildkit.ExporterDocker && c.kind != "docker" && e.Output == nil && e.OutputDir == ""
}

// loader gives where BuildKit writes an image that the engine takes.
func (c *chosen) loader(ctx context.Context, done chan<- error) func(map[string]string) (io.WriteCloser, error) {
	return func(map[string]string) (io.WriteCloser, error) {
		reader, writer := io.Pipe()
		go func() {
			// Closed by the transport, as it is when the engine answers early, the pipe would not
			// tell BuildKit why.
			answer, err := c.engine.ImageLoad(ctx, io.NopCloser(reader))
			if err == nil {
				err = taken(answer)
			}
			if err != nil {
				err = fmt.Errorf(notTaken+": %w", err)
			}
			_ = reader.CloseWithError(err)
			done <- err
		}()
		return writer, nil
	}
}

// taken reads what the engine answers to an image. Its status is always 200: what went
// wrong is a line of the answer.
func taken(answer io.ReadCloser) error {
	defer func() { _ = answer.Close() }()
	for lines := json.NewDecoder(answer); ; {
		var line jsonstream.Message
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if line.Error != nil {
			return line.Error
		}
	}
}
