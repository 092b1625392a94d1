// Package engine acts on one Docker Engine: through its API, and through the
// Compose SDK where a service has to become a container. It never decides what
// to do; it does what it is told, says what it found, and leaves nothing half
// done behind without saying so.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	// concurrency bounds the SDK's and our own parallel calls to the engine: the
	// calls share one connection to the host.
	concurrency = 8
	// patience is how long what was begun may take to be ended or undone once its
	// own context is gone: a cancelled run has under 7 s in all.
	patience = 3 * time.Second
	// stackLabel and taskLabel say of a Swarm's task which stack and which service has it.
	stackLabel = "com.docker.stack.namespace"
	taskLabel  = "com.docker.swarm.service.name"
)

// Engine is one Docker Engine. Its methods are safe for concurrent use.
type Engine struct {
	api      client.APIClient
	sink     event.Sink
	backoff  time.Duration // before the second try of a pull; doubles
	patience time.Duration

	mu       sync.Mutex
	creating map[string]*sync.Mutex // by project and service
	names    map[string]string      // container id -> name, for messages
	left     []anonymous            // volumes of units that were removed, the oldest first
	// held are the restart policies that stopped units had; see hold.
	held map[string]container.RestartPolicy
}

// New makes an Engine of an API client. The client decides which host that is;
// nothing of this machine's Docker configuration (DOCKER_HOST, DOCKER_CONTEXT,
// config.json, its proxies and credential helpers) is read. The Compose SDK logs
// through the process-wide logrus logger, which New silences; while the SDK works
// its warnings become events of sink.
func New(api client.APIClient, sink event.Sink) (*Engine, error) {
	if api == nil {
		return nil, fmt.Errorf("no docker client")
	}
	if sink == nil {
		sink = event.Discard
	}
	captureLogs()
	return &Engine{
		api: api, sink: sink, backoff: pullAgain, patience: patience,
		creating: map[string]*sync.Mutex{}, names: map[string]string{},
		held: map[string]container.RestartPolicy{},
	}, nil
}

// sdk makes a Compose SDK that sees and touches the engine through v, with at most
// so many calls at once. done has to be called after its work.
func (e *Engine) sdk(v client.APIClient, atOnce int) (sdk api.Compose, done func(), err error) {
	sdk, err = compose.NewComposeService(newIsolatedCli(v),
		compose.WithPrompt(e.answerNo),
		compose.WithEventProcessor(progress{e.sink}),
		compose.WithMaxConcurrency(atOnce),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("set up the compose sdk: %w", err)
	}
	return sdk, listenToLogs(e.sink), nil
}

// answerNo is the answer to every question of the SDK: it asks only before it
// destroys something, and nobody is there who could say yes.
func (e *Engine) answerNo(message string, _ bool) (bool, error) {
	e.sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Text: "compose asked and was told no: " + message})
	return false, nil
}

// creation gives the lock under which units of a service are made: their numbers
// come from what is there.
func (e *Engine) creation(project, service string) *sync.Mutex {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := project + "/" + service
	if e.creating[key] == nil {
		e.creating[key] = &sync.Mutex{}
	}
	return e.creating[key]
}

// remember keeps the name of a container for messages.
func (e *Engine) remember(id, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.names[id] = name
}

// unit is what messages call a container: its name where it is known.
func (e *Engine) unit(id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if name := e.names[id]; name != "" {
		return name
	}
	return short(id)
}

func short(id string) string { return id[:min(len(id), 12)] }

// cleanup is a context for undoing something after ctx may have been cancelled.
func (e *Engine) cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return grace.Last(ctx, e.patience)
}

// uncut is a context for a call whose outcome has to be known: it outlives ctx by
// the time that is left to a cancelled run.
func (e *Engine) uncut(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(e.patience, cancel) })
	return out, func() { stop(); cancel() }
}

// allowed is how long ctx gives what begins now, 0 where it has no end.
func allowed(ctx context.Context) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return time.Until(end).Round(time.Second)
}

// isGone tells that what was asked for does not exist any more.
func isGone(err error) bool { return errdefs.IsNotFound(err) }

// answered tells that the engine itself reported err: the connection works. An
// error that it did not answer with may be a lost connection and is passed on.
func answered(err error) bool {
	for _, is := range []func(error) bool{
		errdefs.IsNotFound, errdefs.IsUnauthorized, errdefs.IsPermissionDenied, errdefs.IsConflict,
		errdefs.IsInvalidArgument, errdefs.IsInternal, errdefs.IsUnavailable, errdefs.IsResourceExhausted,
		errdefs.IsNotImplemented, errdefs.IsUnknown, errdefs.IsFailedPrecondition,
	} {
		if is(err) {
			return true
		}
	}
	return false
}

// NotReached tells that the engine did not answer at all: nobody listens, or it went
// away in the middle of a call. One that restarts is back within seconds. The
// Docker client says so of most calls; a stream of a command just ends.
func NotReached(err error) bool {
	return client.IsErrConnectionFailed(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// containerName is the name of a container without the slash the API puts before
// it, links left aside.
func containerName(names []string) string {
	for _, n := range names {
		if strings.LastIndex(n, "/") == 0 {
			return n[1:]
		}
	}
	return ""
}

// Task names a container that a Swarm's stack has on this host, in any state; "" where it
// has none. The engine tells it without its Swarm.
func (e *Engine) Task(ctx context.Context, project string) (string, error) {
	list, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", stackLabel+"="+project)})
	if err != nil {
		return "", fmt.Errorf("list the tasks of stack %s: %w", project, err)
	}
	if len(list.Items) == 0 {
		return "", nil
	}
	return containerName(list.Items[0].Names), nil
}

// findOthers adds what runs on the host beside a project to what was seen. Tasks of any
// project are gone in a moment.
func (e *Engine) findOthers(ctx context.Context, project string, others map[string]stack.Other) error {
	list, err := e.api.ContainerList(ctx, client.ContainerListOptions{})
	if err != nil {
		return fmt.Errorf("list what runs beside project %s: %w", project, err)
	}
	for _, c := range list.Items {
		if c.Labels[api.ProjectLabel] == project || c.Labels[runLabel] != "" {
			continue
		}
		o := stack.Other{Name: containerName(c.Names), Image: c.Image, Project: cmp.Or(c.Labels[api.ProjectLabel], c.Labels[stackLabel]),
			Service: c.Labels[api.ServiceLabel], Task: c.Labels[taskLabel], Ports: portsOf(c.Ports)}
		places, _ := writesOf(c.Mounts)
		for _, place := range places {
			if path.IsAbs(place) {
				place = path.Clean(place)
			}
			o.Writes = append(o.Writes, place)
		}
		others[c.ID] = o
	}
	return nil
}

// Info is what a host's engine says of itself. Arch is Go's name of the
// architecture ("amd64"), Variant its variant ("v7") or "", Memory is in bytes,
// RootDir the folder that volumes live in, and ImageDir, where it exists, that of images.
type Info struct {
	Version, APIVersion, OS, Arch, Variant, RootDir, ImageDir string
	Memory                                                    int64
	CPUs                                                      int
	// GPU is set when containers can be given GPUs: by the runtime nvidia, or by CDI.
	GPU bool
	// Remapped is set when the users of containers are others outside (userns-remap).
	Remapped bool
}

// Info asks the engine about itself and its host.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	var version client.ServerVersionResult
	var info client.SystemInfoResult
	eg, asking := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		version, err = e.api.ServerVersion(asking, client.ServerVersionOptions{})
		return err
	})
	eg.Go(func() (err error) {
		info, err = e.api.Info(asking, client.InfoOptions{})
		return err
	})
	if err := eg.Wait(); err != nil {
		return Info{}, fmt.Errorf("ask the engine about itself: %w", err)
	}
	return Info{
		Version: version.Version, APIVersion: version.APIVersion, OS: version.Os, Arch: version.Arch,
		Variant: variant(version.Arch, info.Info), RootDir: info.Info.DockerRootDir, ImageDir: imageDir(info.Info),
		Memory: info.Info.MemTotal, CPUs: info.Info.NCPU, GPU: gpu(info.Info),
		Remapped: slices.ContainsFunc(info.Info.SecurityOptions, func(o string) bool { return o == "name=userns" || strings.HasPrefix(o, "name=userns,") }),
	}, nil
}

// imageDir is the folder that images live in. With the containerd store that is the
// machine's containerd's, which does not tell it: it is where Docker's packages have
// it. A containerd that the engine started has its folder below the engine's.
func imageDir(info system.Info) string {
	theirs := info.Containerd == nil || strings.HasPrefix(strings.TrimPrefix(info.Containerd.Address, "/var"), "/run/containerd/")
	if theirs && slices.Contains(info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"}) {
		return "/var/lib/containerd"
	}
	return info.DockerRootDir
}

// Ahead is how far the clock of the engine's host goes before this machine's. What the
// way of the question may have made of it is no difference.
func (e *Engine) Ahead(ctx context.Context) (time.Duration, error) {
	asked := time.Now()
	info, err := e.api.Info(ctx, client.InfoOptions{})
	half := time.Since(asked) / 2
	if err != nil {
		return 0, fmt.Errorf("ask the engine for its host's time: %w", err)
	}
	told, err := time.Parse(time.RFC3339Nano, info.Info.SystemTime)
	if err != nil {
		return 0, fmt.Errorf("the engine does not tell its host's time: %w", err)
	}
	ahead := told.Sub(asked.Add(half))
	if ahead.Abs() <= half {
		return 0, nil
	}
	return ahead, nil
}

// gpu tells whether the engine knows a way to give a container a GPU.
func gpu(info system.Info) bool {
	_, runtime := info.Runtimes["nvidia"]
	return runtime || slices.ContainsFunc(info.DiscoveredDevices, func(d system.DeviceInfo) bool { return strings.HasPrefix(d.ID, "nvidia.com/gpu") })
}

// variant reads the variant of a 32-bit ARM machine from the kernel's name of it
// ("armv7l"); no other architecture needs one to choose an image.
func variant(arch string, info system.Info) string {
	if arch != "arm" {
		return ""
	}
	v, ok := strings.CutPrefix(info.Architecture, "armv")
	if !ok {
		return ""
	}
	return "v" + strings.TrimRight(v, "lb")
}
