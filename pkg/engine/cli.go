package engine

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/docker/cli/cli/streams"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/shiksha/actions/pkg/event"
)

// The SDK writes a version on all that it makes. The docker command tells it which
// one it is; here nobody else does.
func init() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/docker/compose/v5" {
			api.ComposeVersion = strings.TrimPrefix(dep.Version, "v")
		}
	}
}

// isolatedCli is what the SDK takes for the docker command. The real one reads
// DOCKER_CONTEXT and the config.json of whoever runs this process: a context that
// does not exist ends the process, and its proxies end up in the environment of
// every container. This one knows an API client and an empty configuration.
type isolatedCli struct {
	api    client.APIClient
	config *configfile.ConfigFile
	in     *streams.In
	out    *streams.Out
}

var _ command.Cli = (*isolatedCli)(nil)

func newIsolatedCli(api client.APIClient) *isolatedCli {
	return &isolatedCli{
		api:    api,
		config: configfile.New(""),
		in:     streams.NewIn(io.NopCloser(strings.NewReader(""))),
		out:    streams.NewOut(io.Discard),
	}
}

func (c *isolatedCli) Client() client.APIClient           { return c.api }
func (c *isolatedCli) ConfigFile() *configfile.ConfigFile { return c.config }
func (c *isolatedCli) In() *streams.In                    { return c.in }
func (c *isolatedCli) SetIn(in *streams.In)               { c.in = in }
func (c *isolatedCli) Out() *streams.Out                  { return c.out }
func (c *isolatedCli) Err() *streams.Out                  { return c.out }
func (c *isolatedCli) CurrentVersion() string             { return c.api.ClientVersion() }
func (c *isolatedCli) BuildKitEnabled() (bool, error)     { return false, nil }
func (c *isolatedCli) ContextStore() store.Store          { return nil }
func (c *isolatedCli) CurrentContext() string             { return command.DefaultContextName }

func (c *isolatedCli) ServerInfo() command.ServerInfo {
	return command.ServerInfo{OSType: "linux"}
}

func (c *isolatedCli) DockerEndpoint() docker.Endpoint {
	return docker.Endpoint{EndpointMeta: docker.EndpointMeta{Host: c.api.DaemonHost()}}
}

func (c *isolatedCli) Resource() *resource.Resource { return resource.Empty() }

func (c *isolatedCli) TracerProvider() trace.TracerProvider { return nooptrace.NewTracerProvider() }

func (c *isolatedCli) MeterProvider() metric.MeterProvider { return noopmetric.NewMeterProvider() }

// progress turns the SDK's progress into events.
type progress struct{ sink event.Sink }

func (p progress) Start(context.Context, string) {}

func (p progress) Done(string, bool) {}

// On reports what the SDK does. Its errors are returned as well, so here they are
// details like everything else but warnings.
func (p progress) On(resources ...api.Resource) {
	for _, r := range resources {
		level := event.Debug
		if r.Status == api.Warning {
			level = event.Warning
		}
		unit, _ := strings.CutPrefix(r.ID, "Container ")
		if unit == r.ID {
			unit = ""
		}
		text := strings.TrimSpace(strings.Join([]string{r.ID, r.Text, r.Details}, " "))
		p.sink.Emit(event.Event{Time: time.Now(), Level: level, Unit: unit, Text: text})
	}
}

// The SDK logs through logrus' standard logger and offers no other way. Entries
// do not say which call they belong to, so every Engine whose SDK is at work gets
// them.
var logs struct {
	once  sync.Once
	mu    sync.Mutex
	sinks map[int]event.Sink
	next  int
}

// captureLogs takes the process-wide logger off standard error, once.
func captureLogs() {
	logs.once.Do(func() {
		logs.sinks = map[int]event.Sink{}
		logrus.SetOutput(io.Discard)
		logrus.AddHook(logHook{})
	})
}

// listenToLogs gives sink the SDK's log until stop is called.
func listenToLogs(sink event.Sink) (stop func()) {
	logs.mu.Lock()
	defer logs.mu.Unlock()
	id := logs.next
	logs.next++
	logs.sinks[id] = sink
	return func() {
		logs.mu.Lock()
		defer logs.mu.Unlock()
		delete(logs.sinks, id)
	}
}

// logHook hands entries of the standard logger to the listening sinks.
type logHook struct{}

func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

func (logHook) Fire(entry *logrus.Entry) error {
	level := event.Debug
	if entry.Level <= logrus.WarnLevel {
		level = event.Warning
	}
	logs.mu.Lock()
	defer logs.mu.Unlock()
	for _, sink := range logs.sinks {
		sink.Emit(event.Event{Time: entry.Time, Level: level, Text: "compose: " + entry.Message})
	}
	return nil
}

// view is the engine as the SDK gets to see and touch it during one act. The SDK
// converges whole projects; we hand it one service, so it must not take the rest
// for orphans, bring up what somebody paused, or stop anything at all: whatever
// its planning comes to, destructive calls are refused here.
type view struct {
	client.APIClient
	// sees tells which containers the SDK may know of, and in which state; nil
	// shows none. Runners of pre_start hooks are always shown.
	sees func(container.Summary) (container.Summary, bool)
	// start is what ContainerStart does with a unit; nil refuses it.
	start func(ctx context.Context, id string, o client.ContainerStartOptions) error
	// uncut, where set, lets the making of a unit end although the run is cancelled:
	// a unit of which we never learn the id could not be removed again.
	uncut func(context.Context) (context.Context, context.CancelFunc)
	// legacies are the anonymous volumes that units made through the view take over,
	// one unit each of them.
	legacies [][]anonymous

	mu      sync.Mutex
	created []string
	hooks   map[string]bool
}

// units gives the ids of the units made through the view, in order.
func (v *view) units() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.created)
}

func (v *view) ContainerList(ctx context.Context, o client.ContainerListOptions) (client.ContainerListResult, error) {
	if v.sees == nil {
		return client.ContainerListResult{}, nil
	}
	res, err := v.APIClient.ContainerList(ctx, o)
	if err != nil {
		return res, err
	}
	var shown []container.Summary
	for _, c := range res.Items {
		if c.Labels[api.HookLabel] != "" {
			v.ownHook(c.ID)
			shown = append(shown, c)
		} else if c, ok := v.sees(c); ok {
			shown = append(shown, c)
		}
	}
	res.Items = shown
	return res, nil
}

func (v *view) ContainerCreate(ctx context.Context, o client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	if v.uncut != nil {
		var cancel context.CancelFunc
		ctx, cancel = v.uncut(ctx)
		defer cancel()
	}
	if err := v.hand(ctx, o); err != nil {
		return client.ContainerCreateResult{}, err
	}
	res, err := v.APIClient.ContainerCreate(ctx, o)
	if err != nil {
		return res, err
	}
	if o.Config != nil && o.Config.Labels[api.HookLabel] != "" {
		v.ownHook(res.ID)
		return res, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.created = append(v.created, res.ID)
	return res, nil
}

func (v *view) ContainerStart(ctx context.Context, id string, o client.ContainerStartOptions) (client.ContainerStartResult, error) {
	if v.isHook(id) {
		return v.APIClient.ContainerStart(ctx, id, o)
	}
	if v.start == nil {
		return client.ContainerStartResult{}, refused("start container", id)
	}
	return client.ContainerStartResult{}, v.start(ctx, id, o)
}

func (v *view) ContainerRemove(ctx context.Context, id string, o client.ContainerRemoveOptions) (client.ContainerRemoveResult, error) {
	if !v.isHook(id) && !slices.Contains(v.units(), id) {
		return client.ContainerRemoveResult{}, refused("remove container", id)
	}
	return v.APIClient.ContainerRemove(ctx, id, o)
}

func (v *view) NetworkConnect(ctx context.Context, id string, o client.NetworkConnectOptions) (client.NetworkConnectResult, error) {
	if !v.isHook(o.Container) && !slices.Contains(v.units(), o.Container) {
		return client.NetworkConnectResult{}, refused("connect container", o.Container)
	}
	return v.APIClient.NetworkConnect(ctx, id, o)
}

func (v *view) ContainerStop(_ context.Context, id string, _ client.ContainerStopOptions) (client.ContainerStopResult, error) {
	return client.ContainerStopResult{}, refused("stop container", id)
}

func (v *view) ContainerKill(_ context.Context, id string, _ client.ContainerKillOptions) (client.ContainerKillResult, error) {
	return client.ContainerKillResult{}, refused("kill container", id)
}

func (v *view) ContainerRestart(_ context.Context, id string, _ client.ContainerRestartOptions) (client.ContainerRestartResult, error) {
	return client.ContainerRestartResult{}, refused("restart container", id)
}

func (v *view) ContainerRename(_ context.Context, id string, _ client.ContainerRenameOptions) (client.ContainerRenameResult, error) {
	return client.ContainerRenameResult{}, refused("rename container", id)
}

func (v *view) NetworkDisconnect(_ context.Context, id string, _ client.NetworkDisconnectOptions) (client.NetworkDisconnectResult, error) {
	return client.NetworkDisconnectResult{}, refused("disconnect network", id)
}

func (v *view) NetworkRemove(_ context.Context, id string, _ client.NetworkRemoveOptions) (client.NetworkRemoveResult, error) {
	return client.NetworkRemoveResult{}, refused("remove network", id)
}

func (v *view) VolumeRemove(_ context.Context, id string, _ client.VolumeRemoveOptions) (client.VolumeRemoveResult, error) {
	return client.VolumeRemoveResult{}, refused("remove volume", id)
}

func (v *view) ownHook(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hooks == nil {
		v.hooks = map[string]bool{}
	}
	v.hooks[id] = true
}

func (v *view) isHook(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.hooks[id]
}

func refused(act, id string) error {
	return fmt.Errorf("compose wanted to %s %s, which was not asked for", act, short(id))
}

// bare is a view for making networks and volumes that are known to be missing:
// whatever carries their key from before (a renamed one) stays out of sight, so
// the SDK creates and does not migrate.
type bare struct{ view }

func (*bare) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{}, nil
}

func (*bare) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	return client.VolumeListResult{}, nil
}
