package engine

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/stringid"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	// runLabel marks a container that runs one command and goes; its value is the
	// task's name.
	runLabel = "io.shiksha.task"
	// watch is how often a task is looked at, losses how many looks in a row may
	// fail: the connection is made again meanwhile.
	watch, losses = 200 * time.Millisecond, 5
)

// RunService runs a command in a container that the Compose SDK makes of a service:
// its image, environment, networks, volumes, configs and secrets, but not its
// ports, its name or its aliases, so that nobody sends it requests. It waits for the
// end and removes the container. An exit code other than 0 is no error.
func (e *Engine) RunService(ctx context.Context, s *stack.Stack, service string, t stack.Task) (stack.Ended, error) {
	project, err := e.taskProject(ctx, s, service, t)
	if err != nil {
		return stack.Ended{}, err
	}
	o := &oneOff{view: view{APIClient: e.api, uncut: e.uncut}}
	o.start = func(ctx context.Context, id string, so client.ContainerStartOptions) error {
		_, err := e.api.ContainerStart(ctx, id, so)
		return err
	}
	sdk, done, err := e.sdk(o, 1)
	if err != nil {
		return stack.Ended{}, err
	}
	defer done()
	err = sdk.Create(ctx, project, api.CreateOptions{
		Services: []string{service}, Recreate: api.RecreateNever, IgnoreOrphans: true, QuietPull: true, SkipProviders: true,
	})
	ids := o.units()
	if err == nil && len(ids) != 1 {
		err = fmt.Errorf("compose made %d containers, not 1", len(ids))
	}
	defer e.discard(ctx, ids)
	if err == nil {
		err = sdk.Start(ctx, s.Name, api.StartOptions{Project: project, Services: []string{service}})
	}
	if err != nil {
		return stack.Ended{}, fmt.Errorf("run %s of %s: %w", t.Name, service, joins(err))
	}
	return e.await(ctx, ids[0], event.Event{Service: service}, t.Name)
}

// joins says of a network of a Swarm that lets no container in what it lacks.
func joins(err error) error {
	if err == nil || !strings.Contains(err.Error(), "not manually attachable") {
		return err
	}
	return fmt.Errorf("%w: only tasks of the Swarm join a network that was made without attachable, as docker stack deploy does: "+
		"give what the command needs another network, in a release without x-shiksha.migrate, which makes that one attachable", err)
}

// taskProject is a project of the one service, made into a task.
func (e *Engine) taskProject(ctx context.Context, s *stack.Stack, service string, t stack.Task) (*types.Project, error) {
	project, err := narrow(s, service)
	if err != nil {
		return nil, err
	}
	if s.Scheduled {
		if err := e.leaveElsewhere(ctx, s, project, service, t.Name); err != nil {
			return nil, err
		}
	}
	svc := project.Services[service]
	svc.DependsOn, svc.Ports, svc.Expose, svc.HealthCheck = nil, nil, nil, &types.HealthCheckConfig{Disable: true}
	svc.PreStart, svc.PostStart, svc.PreStop = nil, nil, nil
	svc.Restart, svc.Command = "", t.Command
	svc.ContainerName = fmt.Sprintf("%s-%s-%s-%s", s.Name, service, t.Name, stringid.TruncateID(stringid.GenerateRandomID()))
	if svc.Deploy != nil {
		svc.Deploy.RestartPolicy = nil
	}
	svc.SetScale(1)
	svc.CustomLabels[api.OneoffLabel], svc.CustomLabels[runLabel] = "True", t.Name
	svc.Environment = maps.Clone(svc.Environment)
	if svc.Environment == nil {
		svc.Environment = types.MappingWithEquals{}
	}
	for k, v := range t.Env {
		svc.Environment[k] = &v
	}
	if t.Trial != nil {
		alter(&svc, t.Trial, s)
		maps.DeleteFunc(project.Networks, func(key string, _ types.NetworkConfig) bool { _, on := svc.Networks[key]; return !on })
		maps.DeleteFunc(project.Volumes, func(key string, _ types.VolumeConfig) bool { return slices.Contains(t.Trial.Volumes, key) })
		svc.Entrypoint, svc.Command = t.Command[:1], t.Command[1:]
	}
	project.Services[service] = svc
	return project, nil
}

// leaveElsewhere takes the stack's volumes that this engine does not have out of a project of
// one service, and tells that: they are, or will be, on the nodes of its tasks. An empty one
// made here would stay for the day that a task comes to this node.
func (e *Engine) leaveElsewhere(ctx context.Context, s *stack.Stack, project *types.Project, service, task string) error {
	svc := project.Services[service]
	for key, v := range project.Volumes {
		if bool(s.Project.Volumes[key].External) {
			continue
		}
		_, err := e.api.VolumeInspect(ctx, v.Name, client.VolumeInspectOptions{})
		switch {
		case err == nil:
		case !errdefs.IsNotFound(err):
			return fmt.Errorf("look for volume %s: %w", v.Name, err)
		default:
			e.sink.Emit(event.Event{Time: time.Now(), Level: event.Info, Service: service, Text: fmt.Sprintf("%s runs without volume %s, which the host does not have", task, v.Name)})
			delete(project.Volumes, key)
			svc.Volumes = slices.DeleteFunc(slices.Clone(svc.Volumes), func(m types.ServiceVolumeConfig) bool {
				return m.Type == types.VolumeTypeVolume && m.Source == key
			})
		}
	}
	project.Services[service] = svc
	return nil
}

// alter makes a service one that is only tried.
func alter(svc *types.ServiceConfig, t *stack.Trial, s *stack.Stack) {
	outside := map[string]*types.ServiceNetworkConfig{}
	for key := range svc.Networks {
		if s.Project.Networks[key].External {
			outside[key] = nil // an address of its own may be taken by the unit that runs
		}
	}
	if svc.Networks = outside; len(outside) == 0 && svc.NetworkMode != "host" && svc.NetworkMode != "none" {
		svc.NetworkMode = "bridge"
	}
	if svc.NetworkMode == "bridge" {
		svc.Networks = nil
	}
	svc.Links, svc.ExternalLinks, svc.Ipc, svc.Pid, svc.VolumesFrom, svc.Devices, svc.Gpus = nil, nil, "", "", nil, nil, nil
	if svc.Deploy != nil {
		svc.Deploy.Resources.Reservations = nil
	}
	hosts := types.HostsList{}
	for name, addresses := range svc.ExtraHosts {
		hosts[name] = addresses
	}
	for name, address := range t.Hosts {
		if hosts[name] == nil {
			hosts[name] = []string{address}
		}
	}
	svc.ExtraHosts = hosts
	var volumes []types.ServiceVolumeConfig
	for _, v := range svc.Volumes {
		if v.Type == types.VolumeTypeVolume && slices.Contains(t.Volumes, v.Source) {
			continue
		}
		if from := t.Sources[v.Target]; from != "" {
			v.Source = from
		}
		volumes = append(volumes, v)
	}
	svc.Volumes = volumes
}

// oneOff is the engine as the SDK sees it while it makes a task: alone, and without
// the service's aliases.
type oneOff struct{ view }

func (o *oneOff) ContainerCreate(ctx context.Context, c client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	if c.NetworkingConfig != nil {
		for _, settings := range c.NetworkingConfig.EndpointsConfig {
			settings.Aliases = nil
		}
	}
	return o.view.ContainerCreate(ctx, c)
}

func (o *oneOff) NetworkConnect(ctx context.Context, id string, n client.NetworkConnectOptions) (client.NetworkConnectResult, error) {
	if n.EndpointConfig != nil {
		n.EndpointConfig.Aliases = nil
	}
	return o.view.NetworkConnect(ctx, id, n)
}

// ContainerList shows the task alone, and as a unit: the SDK starts no one-offs.
func (o *oneOff) ContainerList(ctx context.Context, _ client.ContainerListOptions) (client.ContainerListResult, error) {
	ids := o.units()
	if len(ids) == 0 {
		return client.ContainerListResult{}, nil
	}
	res, err := o.APIClient.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("id", ids...)})
	for i := range res.Items {
		res.Items[i].Labels[api.OneoffLabel] = "False"
	}
	return res, err
}

// RunImage runs a command in a container of an image, waits for its end and removes
// it. An exit code other than 0 is no error.
func (e *Engine) RunImage(ctx context.Context, project string, t stack.Task) (stack.Ended, error) {
	id, err := e.StartImage(ctx, project, t)
	if err != nil {
		return stack.Ended{}, err
	}
	defer e.discard(ctx, []string{id})
	return e.await(ctx, id, event.Event{}, t.Name)
}

// StartImage is RunImage that does not wait; the caller ends it with Discard.
func (e *Engine) StartImage(ctx context.Context, project string, t stack.Task) (string, error) {
	var env []string
	for k, v := range t.Env {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	config := &container.Config{Image: t.Image, Env: env, User: t.User, Cmd: t.Command,
		Labels: map[string]string{api.ProjectLabel: project, api.OneoffLabel: "True", runLabel: t.Name}}
	if !t.Keep {
		config.Entrypoint, config.Cmd = t.Command[:1], t.Command[1:]
	}
	host := &container.HostConfig{NetworkMode: container.NetworkMode(t.Network), ShmSize: t.ShmSize}
	for _, bind := range t.Binds {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: bind, Target: bind})
	}
	name := fmt.Sprintf("%s-%s-%s", project, t.Name, stringid.TruncateID(stringid.GenerateRandomID()))
	making, cancel := e.uncut(ctx)
	defer cancel()
	made, err := e.api.ContainerCreate(making, client.ContainerCreateOptions{Config: config, HostConfig: host, Name: name})
	if err != nil {
		return "", fmt.Errorf("make a container for %s: %w", t.Name, err)
	}
	e.remember(made.ID, name)
	if _, err := e.api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		e.discard(ctx, []string{made.ID})
		return "", fmt.Errorf("start %s: %w", t.Name, err)
	}
	return made.ID, nil
}

// await waits for the end of a task, and tells, as event as, that it goes on.
func (e *Engine) await(ctx context.Context, id string, as event.Event, name string) (stack.Ended, error) {
	var state atomic.Value
	state.Store(container.StateCreated)
	limit := allowed(ctx)
	defer event.Tell(e.sink, as, func() (string, time.Duration) { return fmt.Sprintf("%s is %s", name, state.Load()), limit })()
	tick := time.NewTicker(watch)
	defer tick.Stop()
	for lost := 0; ; {
		res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		switch {
		case err == nil && res.Container.State != nil && res.Container.State.Status == container.StateExited:
			both, printed := ending{most: tailBytes}, ending{most: tailBytes}
			err := e.log(ctx, id, client.ContainerLogsOptions{Tail: "10000"}, io.MultiWriter(&both, &printed), &both)
			return stack.Ended{Exit: res.Container.State.ExitCode, Output: string(both.last()), Printed: string(printed.last())}, err
		case err == nil:
			lost = 0
			if s := res.Container.State; s != nil {
				state.Store(s.Status)
			}
		case isGone(err) || lost == losses:
			return stack.Ended{}, fmt.Errorf("watch %s: %w", e.unit(id), err)
		default:
			lost++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return stack.Ended{}, context.Cause(ctx)
		}
	}
}

// Discard ends a container and removes it with its anonymous volumes, also after
// ctx has ended.
func (e *Engine) Discard(ctx context.Context, id string) { e.discard(ctx, []string{id}) }

// discard is for containers that nobody misses: what it cannot remove, ClearTasks
// does the next time.
func (e *Engine) discard(ctx context.Context, ids []string) {
	ctx, cancel := e.cleanup(ctx)
	defer cancel()
	for _, id := range ids {
		_, _ = e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}
}

// ClearTasks ends and removes the tasks that an interrupted run left. Call it under
// the project's lock.
func (e *Engine) ClearTasks(ctx context.Context, project string) error {
	res, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: make(client.Filters).Add("label", api.ProjectLabel+"="+project, runLabel)})
	if err != nil {
		return fmt.Errorf("look for what an interrupted run left: %w", err)
	}
	for _, c := range res.Items {
		e.discard(ctx, []string{c.ID})
	}
	return nil
}
