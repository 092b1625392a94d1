package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

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
