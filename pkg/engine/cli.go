package engine

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/docker/cli/cli/streams"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/client"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/shiksha/actions/pkg/event"
)

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
