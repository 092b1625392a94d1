package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// Diverged names the networks and volumes of a stack that exist with another
// definition than the model's, sorted. Compose would stop every user of such a
// network to make it anew, and destroy the data of such a volume. One that carries
// no hash (an old Compose made it, or a person) counts as it should be.
func Diverged(s *stack.Stack, seen stack.Observed) (networks, volumes []string) {
	for key, n := range s.Project.Networks {
		hash, err := compose.NetworkHash(&n)
		if was := seen.Networks[key].Hash; !bool(n.External) && err == nil && was != "" && was != hash {
			networks = append(networks, key)
		}
	}
	for key, v := range s.Project.Volumes {
		hash, err := compose.VolumeHash(v)
		if was := seen.Volumes[key].Hash; !bool(v.External) && err == nil && was != "" && was != hash {
			volumes = append(volumes, key)
		}
	}
	slices.Sort(networks)
	slices.Sort(volumes)
	return networks, volumes
}

// FindForeign adds to what was seen the networks and volumes that services of a stack
// name and that were not seen under that name: somebody else made them, or a newer one
// has their key. They are used as they are: the hash of another project's says nothing.
func (e *Engine) FindForeign(ctx context.Context, s *stack.Stack, seen stack.Observed) error {
	networks, volumes := unseen(s, seen)
	if len(networks) > 0 {
		found, err := e.api.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("name", slices.Sorted(maps.Keys(networks))...)})
		if err != nil {
			return fmt.Errorf("list networks: %w", err)
		}
		for _, n := range found.Items {
			if key, ok := networks[n.Name]; ok {
				r := stack.Resource{Key: key, Name: n.Name, ID: n.ID, Driver: n.Driver}
				seen.Networks[key] = owned(r, n.Labels, s.Name)
			}
		}
	}
	if len(volumes) > 0 {
		found, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("name", slices.Sorted(maps.Keys(volumes))...)})
		if err != nil {
			return fmt.Errorf("list volumes: %w", err)
		}
		for _, v := range found.Items {
			if key, ok := volumes[v.Name]; ok {
				r := stack.Resource{Key: key, Name: v.Name, ID: v.Name, Driver: v.Driver}
				seen.Volumes[key] = owned(r, v.Labels, s.Name)
			}
		}
	}
	return nil
}

// unseen are the names, with their keys, of networks and volumes that services use,
// that are not external and were not seen.
func unseen(s *stack.Stack, seen stack.Observed) (networks, volumes map[string]string) {
	networks, volumes = map[string]string{}, map[string]string{}
	for _, svc := range s.Services {
		for _, key := range svc.Networks {
			if n := s.Project.Networks[key]; !bool(n.External) && seen.Networks[key].Name != n.Name {
				networks[n.Name] = key
			}
		}
		for _, key := range svc.Volumes {
			if v := s.Project.Volumes[key]; !bool(v.External) && seen.Volumes[key].Name != v.Name {
				volumes[v.Name] = key
			}
		}
	}
	return networks, volumes
}

// owned says whose a network or volume is. Only of our own the hash is kept.
func owned(r stack.Resource, labels map[string]string, project string) stack.Resource {
	if r.Project = labels[api.ProjectLabel]; r.Project != project {
		r.Foreign = true
		return r
	}
	r.Hash = labels[api.ConfigHashLabel]
	return r
}

// EnsureNetworks makes the networks of the model named by keys that do not exist,
// with Compose's labels; nil means all. An existing network is never touched,
// however it is defined. An external one that is missing is a fault.Refused.
func (e *Engine) EnsureNetworks(ctx context.Context, s *stack.Stack, keys []string) error {
	found, err := e.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return fmt.Errorf("list networks: %w", err)
	}
	owners := map[string]string{}
	for _, n := range found.Items {
		owners[n.Name] = n.Labels[api.ProjectLabel]
	}
	missing := types.Networks{}
	for _, key := range choose(keys, s.Project.Networks) {
		n, known := s.Project.Networks[key]
		if !known {
			return fmt.Errorf("network %s is not defined in project %s", key, s.Name)
		}
		owner, exists := owners[n.Name]
		switch {
		case exists && !bool(n.External) && owner != s.Name:
			e.foreign("network", n.Name, owner, s.Name)
		case !exists && bool(n.External):
			return fault.New(fault.Refused, "network "+key, "make it on the host: docker network create "+n.Name,
				"%s is declared external and does not exist", n.Name)
		case !exists:
			missing[key] = n
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return e.make(ctx, &types.Project{Name: s.Name, Networks: missing, Services: types.Services{}}, "networks")
}

// EnsureVolumes makes the volumes of the model named by keys that do not exist,
// with Compose's labels; nil means all. An existing volume is never touched,
// however it is defined. An external one that is missing is a fault.Refused.
func (e *Engine) EnsureVolumes(ctx context.Context, s *stack.Stack, keys []string) error {
	found, err := e.api.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	owners := map[string]string{}
	for _, v := range found.Items {
		owners[v.Name] = v.Labels[api.ProjectLabel]
	}
	missing := types.Volumes{}
	for _, key := range choose(keys, s.Project.Volumes) {
		v, known := s.Project.Volumes[key]
		if !known {
			return fmt.Errorf("volume %s is not defined in project %s", key, s.Name)
		}
		owner, exists := owners[v.Name]
		switch {
		case exists && !bool(v.External) && owner != s.Name:
			e.foreign("volume", v.Name, owner, s.Name)
		case !exists && bool(v.External):
			return fault.New(fault.Refused, "volume "+key, "make it on the host: docker volume create "+v.Name,
				"%s is declared external and does not exist", v.Name)
		case !exists:
			missing[key] = v
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return e.make(ctx, &types.Project{Name: s.Name, Volumes: missing, Services: types.Services{}}, "volumes")
}

// choose gives the keys that are meant, sorted: all when none are named.
func choose[V any](keys []string, all map[string]V) []string {
	if keys == nil {
		return slices.Sorted(maps.Keys(all))
	}
	return slices.Sorted(slices.Values(keys))
}

// make has the SDK create the missing networks or volumes of a project without
// services, so that their labels and hashes are Compose's own.
func (e *Engine) make(ctx context.Context, p *types.Project, what string) error {
	sdk, done, err := e.sdk(&bare{view{APIClient: e.api}}, concurrency)
	if err != nil {
		return err
	}
	defer done()
	if err := sdk.Create(ctx, p, api.CreateOptions{IgnoreOrphans: true}); err != nil {
		return fmt.Errorf("make the %s of project %s: %w", what, p.Name, err)
	}
	return nil
}

func (e *Engine) foreign(kind, name, owner, project string) {
	whose := "was not made by compose"
	if owner != "" {
		whose = "belongs to project " + owner
	}
	e.sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Text: fmt.Sprintf(
		"%s %s %s and is used as it is; declare it external in %s to say that this is meant", kind, name, whose, project)})
}

// RemoveNetwork removes a network by name or id. One that is gone already is no
// error; one that is in use is.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	if _, err := e.api.NetworkRemove(ctx, name, client.NetworkRemoveOptions{}); err != nil && !isGone(err) {
		return fmt.Errorf("remove network %s: %w", name, err)
	}
	return nil
}
