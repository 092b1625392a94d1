package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/stack"
)

// Observe takes a snapshot of a project: its containers in any state, its
// networks and its volumes, in three calls at once however many there are; only where
// the list does not say how a container ended it is looked into. Runners of Compose's
// pre_start hooks are no units and left out. Where two networks or volumes carry the same
// key (one was renamed), the newer one is given.
func (e *Engine) Observe(ctx context.Context, project string) (stack.Observed, error) {
	mine := make(client.Filters).Add("label", api.ProjectLabel+"="+project)
	var containers client.ContainerListResult
	var networks client.NetworkListResult
	var volumes client.VolumeListResult
	eg, asking := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		containers, err = e.api.ContainerList(asking, client.ContainerListOptions{All: true, Filters: mine})
		return err
	})
	eg.Go(func() (err error) {
		networks, err = e.api.NetworkList(asking, client.NetworkListOptions{Filters: mine})
		return err
	})
	eg.Go(func() (err error) {
		volumes, err = e.api.VolumeList(asking, client.VolumeListOptions{Filters: mine})
		return err
	})
	if err := eg.Wait(); err != nil {
		return stack.Observed{}, fmt.Errorf("list what runs of project %s: %w", project, err)
	}
	units := e.units(containers.Items)
	if err := e.ended(ctx, units); err != nil {
		return stack.Observed{}, err
	}
	return stack.Observed{
		Project: project, Units: units, Others: map[string]stack.Other{},
		Networks: networkResources(networks.Items), Volumes: volumeResources(volumes.Items),
	}, nil
}

// units groups containers by service, sorted by number.
func (e *Engine) units(containers []container.Summary) map[string][]stack.Unit {
	units := map[string][]stack.Unit{}
	for _, c := range containers {
		if c.Labels[api.HookLabel] != "" {
			continue
		}
		u := unitOf(c)
		e.remember(u.ID, u.Name)
		units[u.Service] = append(units[u.Service], u)
	}
	for _, us := range units {
		slices.SortFunc(us, func(a, b stack.Unit) int {
			if a.Number != b.Number {
				return a.Number - b.Number
			}
			return strings.Compare(a.Name, b.Name)
		})
	}
	return units
}

// ended finds out how units ended of which the list does not say it. One that is gone by
// then, or runs again, has not ended well as far as anybody knows.
func (e *Engine) ended(ctx context.Context, units map[string][]stack.Unit) error {
	for _, us := range units {
		for i := range us {
			if us[i].State != stack.Exited || us[i].ExitCode != notKnown {
				continue
			}
			u, err := e.Inspect(ctx, us[i].ID)
			if err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			if err == nil && u.State == stack.Exited {
				us[i].ExitCode = u.ExitCode
			}
		}
	}
	return nil
}

func unitOf(c container.Summary) stack.Unit {
	number, _ := strconv.Atoi(c.Labels[api.ContainerNumberLabel])
	u := stack.Unit{
		ID: c.ID, Name: containerName(c.Names), Service: c.Labels[api.ServiceLabel], Number: number,
		State: stack.State(c.State), ExitCode: exitOf(c), Health: healthOf(c), Hash: c.Labels[api.ConfigHashLabel],
		Image: c.Image, ImageID: c.ImageID, Created: time.Unix(c.Created, 0), OneOff: isOneOff(c),
		StateDir: c.Labels[stack.StateLabel], Folder: c.Labels[api.WorkingDirLabel], Addresses: map[string]string{}, Volumes: volumesOf(c.Mounts), Ports: portsOf(c.Ports),
	}
	if c.NetworkSettings != nil {
		u.Addresses, u.Networks = addressesOf(c.NetworkSettings.Networks), networksOf(c.NetworkSettings.Networks)
	}
	u.Mounts, u.Anonymous = mountsOf(c.Mounts)
	u.Writes, u.Targets = writesOf(c.Mounts)
	return u
}

// mountsOf tells what a container mounts: the host's paths, and where it has volumes
// without a name.
func mountsOf(mounts []container.MountPoint) (paths, targets []string) {
	for _, m := range mounts {
		switch {
		case m.Type == mount.TypeBind:
			paths = append(paths, m.Source)
		case isAnonymous(m):
			targets = append(targets, m.Destination)
		}
	}
	slices.Sort(paths)
	slices.Sort(targets)
	return paths, targets
}

func isOneOff(c container.Summary) bool { return c.Labels[api.OneoffLabel] == "True" }

// notKnown is the exit code of a unit that ended nobody knows how: never 0, by which a
// job is done.
const notKnown = -1

// exitOf reads how a unit ended: a list gives it only inside the text of the status,
// "Exited (143) 2 minutes ago".
func exitOf(c container.Summary) int {
	if c.State != container.StateExited {
		return 0
	}
	code, _, closed := strings.Cut(strings.TrimPrefix(c.Status, "Exited ("), ")")
	if exit, err := strconv.Atoi(code); closed && err == nil {
		return exit
	}
	return notKnown
}

// healthOf reads a unit's health; engines before 28 give it only inside the text
// of the status: "Up 2 minutes (healthy)".
func healthOf(c container.Summary) stack.UnitHealth {
	if c.Health != nil && c.Health.Status != "" {
		return health(c.Health.Status)
	}
	switch {
	case strings.HasSuffix(c.Status, "(healthy)"):
		return stack.HealthOK
	case strings.HasSuffix(c.Status, "(unhealthy)"):
		return stack.HealthFailed
	case strings.HasSuffix(c.Status, "(health: starting)"):
		return stack.HealthStart
	}
	return stack.NoHealth
}

func health(s container.HealthStatus) stack.UnitHealth {
	switch s {
	case container.Healthy:
		return stack.HealthOK
	case container.Unhealthy:
		return stack.HealthFailed
	case container.Starting:
		return stack.HealthStart
	}
	return stack.NoHealth
}

// addressesOf are IPv6 only on networks without IPv4: not all that listen do so on both.
func addressesOf(networks map[string]*network.EndpointSettings) map[string]string {
	out := map[string]string{}
	for name, ep := range networks {
		switch {
		case ep == nil:
		case ep.IPAddress.IsValid():
			out[name] = ep.IPAddress.String()
		case ep.GlobalIPv6Address.IsValid():
			out[name] = ep.GlobalIPv6Address.String()
		}
	}
	return out
}

// networksOf are the names and ids of the networks that a container is on: an external
// one may be named by either.
func networksOf(networks map[string]*network.EndpointSettings) []string {
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		out = append(out, name)
		if ep := networks[name]; ep != nil && ep.NetworkID != "" {
			out = append(out, ep.NetworkID)
		}
	}
	return out
}

// writesOf are the volumes and the host paths among the mounts of a container that it may
// write to, sorted, and by where in it they are.
func writesOf(mounts []container.MountPoint) (places []string, at map[string]string) {
	at = map[string]string{}
	for _, m := range mounts {
		switch {
		case !m.RW:
		case m.Type == mount.TypeVolume:
			at[m.Destination] = m.Name
		case m.Type == mount.TypeBind:
			at[m.Destination] = m.Source
		}
	}
	return slices.Sorted(maps.Values(at)), at
}

// volumesOf are the names of the volumes among the mounts of a container.
func volumesOf(mounts []container.MountPoint) []string {
	out := []string{}
	for _, m := range mounts {
		if m.Type == mount.TypeVolume {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return out
}

func networkResources(items []network.Summary) map[string]stack.Resource {
	slices.SortFunc(items, func(a, b network.Summary) int { return a.Created.Compare(b.Created) })
	out := map[string]stack.Resource{}
	for _, n := range items {
		if key := n.Labels[api.NetworkLabel]; key != "" {
			out[key] = stack.Resource{
				Key: key, Name: n.Name, ID: n.ID, Driver: n.Driver,
				Hash: n.Labels[api.ConfigHashLabel], Project: n.Labels[api.ProjectLabel],
			}
		}
	}
	return out
}

func volumeResources(items []volume.Volume) map[string]stack.Resource {
	slices.SortFunc(items, func(a, b volume.Volume) int { return strings.Compare(a.CreatedAt, b.CreatedAt) })
	out := map[string]stack.Resource{}
	for _, v := range items {
		if key := v.Labels[api.VolumeLabel]; key != "" {
			out[key] = stack.Resource{
				Key: key, Name: v.Name, ID: v.Name, Driver: v.Driver,
				Hash: v.Labels[api.ConfigHashLabel], Project: v.Labels[api.ProjectLabel],
			}
		}
	}
	return out
}

// Inspect looks at one unit closely; every field of the Unit is set. A unit that
// is gone gives an error for which errdefs.IsNotFound is true.
func (e *Engine) Inspect(ctx context.Context, id string) (stack.Unit, error) {
	res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return stack.Unit{}, fmt.Errorf("look at %s: %w", e.unit(id), err)
	}
	c := res.Container
	u := stack.Unit{
		ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), ImageID: c.Image, Restarts: c.RestartCount,
		Created: instant(c.Created), Addresses: map[string]string{}, Env: map[string]string{}, Volumes: volumesOf(c.Mounts),
	}
	u.Mounts, u.Anonymous = mountsOf(c.Mounts)
	u.Writes, u.Targets = writesOf(c.Mounts)
	if cfg := c.Config; cfg != nil {
		u.Service, u.Image, u.Hash = cfg.Labels[api.ServiceLabel], cfg.Image, cfg.Labels[api.ConfigHashLabel]
		u.Command = cfg.Cmd
		if u.Service == "" {
			u.Service, u.Hash = cfg.Labels[stack.KeyLabel], cfg.Labels[stack.HashLabel]
		}
		u.Number, _ = strconv.Atoi(cfg.Labels[api.ContainerNumberLabel])
		u.OneOff = cfg.Labels[api.OneoffLabel] == "True"
		for _, kv := range cfg.Env {
			k, v, _ := strings.Cut(kv, "=")
			u.Env[k] = v
		}
	}
	if c.HostConfig != nil {
		u.ReadOnly, u.ShmSize = c.HostConfig.ReadonlyRootfs, c.HostConfig.ShmSize
	}
	if c.NetworkSettings != nil {
		u.Addresses, u.Networks = addressesOf(c.NetworkSettings.Networks), networksOf(c.NetworkSettings.Networks)
	}
	u.Health = stack.NoHealth
	if st := c.State; st != nil {
		u.State, u.OOMKilled, u.ExitCode, u.PID = stack.State(st.Status), st.OOMKilled, st.ExitCode, st.Pid
		u.StartedAt, u.FinishedAt = instant(st.StartedAt), instant(st.FinishedAt)
		if st.Health != nil {
			u.Health = health(st.Health.Status)
			for _, p := range st.Health.Log {
				u.Probes = append(u.Probes, stack.HealthProbe{At: p.Start, OK: p.ExitCode == 0, Output: p.Output})
			}
		}
	}
	e.remember(u.ID, u.Name)
	return u, nil
}

// instant reads the engine's times; year 1 means never.
func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// FindForeign adds to what was seen the networks and volumes that services of a stack
// name and that were not seen under that name: somebody else made them, or a newer one
// has their key. They are used as they are: the hash of another project's says nothing.
// And, where these are asked for, the others that run there.
func (e *Engine) FindForeign(ctx context.Context, s *stack.Stack, seen stack.Observed) error {
	if seen.Others != nil {
		if err := e.findOthers(ctx, s.Name, seen.Others); err != nil {
			return err
		}
	}
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
