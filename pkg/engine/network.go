package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
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

// anonymous is a volume without a name of its own: the service or its image only says
// where it is mounted. It is known by the unit that has it.
type anonymous struct {
	volume, target             string
	readOnly                   bool
	project, service, unit, id string
	told                       bool
}

// nameless are the names that the engine gives.
var nameless = regexp.MustCompile(`^[0-9a-f]{64}$`)

func isAnonymous(m container.MountPoint) bool {
	return m.Type == mount.TypeVolume && nameless.MatchString(m.Name)
}

// anonymousOf lists the anonymous volumes of a unit.
func anonymousOf(id, name string, labels map[string]string, mounts []container.MountPoint) (out []anonymous) {
	for _, m := range mounts {
		if isAnonymous(m) {
			out = append(out, anonymous{volume: m.Name, target: path.Clean(m.Destination), readOnly: !m.RW,
				project: labels[api.ProjectLabel], service: labels[api.ServiceLabel], unit: name, id: id})
		}
	}
	return out
}

// leave remembers the volumes of a unit that is removed. One that it took over from
// another is its own now.
func (e *Engine) leave(c container.InspectResponse) {
	if c.Config == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range anonymousOf(c.ID, strings.TrimPrefix(c.Name, "/"), c.Config.Labels, c.Mounts) {
		e.left = append(slices.DeleteFunc(e.left, func(b anonymous) bool { return b.volume == a.volume }), a)
	}
}

// lastOf gives the volumes of the n units of a service that were removed last, by unit.
func (e *Engine) lastOf(project, service string, n int) (out [][]anonymous) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.left {
		if a.project != project || a.service != service {
			continue
		}
		if i := slices.IndexFunc(out, func(of []anonymous) bool { return of[0].id == a.id }); i >= 0 {
			out[i] = append(out[i], a)
		} else {
			out = append(out, []anonymous{a})
		}
	}
	return out[max(0, len(out)-n):]
}

// TellLeft warns of the anonymous volumes of removed units that no container has any
// more, each once, in one warning for a service: their data may be missed, and their room too.
func (e *Engine) TellLeft(ctx context.Context) {
	e.mu.Lock()
	left := slices.DeleteFunc(slices.Clone(e.left), func(a anonymous) bool { return a.told })
	e.mu.Unlock()
	if len(left) == 0 {
		return
	}
	used := make(client.Filters)
	for _, a := range left {
		used.Add("volume", a.volume)
	}
	res, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: used})
	if err != nil {
		e.sink.Emit(event.Event{Time: time.Now(), Level: event.Debug, Text: fmt.Sprintf("list who has anonymous volumes: %v", err)})
		return
	}
	for _, c := range res.Items {
		left = slices.DeleteFunc(left, func(a anonymous) bool {
			return slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return m.Name == a.volume })
		})
	}
	by := map[string][]string{}
	for _, a := range left {
		by[a.service] = append(by[a.service], fmt.Sprintf("%s of %s in %s", a.target, a.unit, a.volume))
	}
	for _, service := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[service])
		e.sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Service: service, Text: fmt.Sprintf(
			"what units had that are gone stays on the host in a volume that no unit has: %s. Copy from it what you miss, then docker volume rm it; "+
				"a volume with a name in the Compose file goes on to the next unit", strings.Join(by[service], ", "))})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, a := range e.left {
		e.left[i].told = a.told || slices.ContainsFunc(left, func(b anonymous) bool { return a.volume == b.volume })
	}
}

// legacies are the anonymous volumes that new units take over, by the unit that had
// them. Units that ran come first, and what a unit that stays has is nobody else's:
// two databases would write to the same files.
func (c *creation) legacies() (out [][]anonymous) {
	taken := map[string]bool{}
	has := func(s container.Summary) []anonymous {
		return anonymousOf(s.ID, containerName(s.Names), s.Labels, s.Mounts)
	}
	for _, s := range c.before {
		if s.Labels[api.ServiceLabel] == c.service && !slices.Contains(c.after, s.ID) {
			for _, a := range has(s) {
				taken[a.volume] = true
			}
		}
	}
	var ran, never [][]anonymous
	for _, id := range c.after {
		i := slices.IndexFunc(c.before, func(s container.Summary) bool { return s.ID == id })
		switch {
		case i < 0: // removed already
		case c.before[i].State == container.StateCreated:
			never = append(never, has(c.before[i]))
		default:
			ran = append(ran, has(c.before[i]))
		}
	}
	if c.count(c.service) == 0 {
		ran = c.lastOf(c.stack.Name, c.service, c.n)
	}
	for _, has := range append(ran, never...) {
		has = slices.DeleteFunc(has, func(a anonymous) bool { return taken[a.volume] })
		for _, a := range has {
			taken[a.volume] = true
		}
		if len(has) > 0 {
			out = append(out, has)
		}
	}
	return out
}

// next gives the volumes that the next unit takes over.
func (v *view) next() []anonymous {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.legacies) == 0 {
		return nil
	}
	legacy := v.legacies[0]
	v.legacies = v.legacies[1:]
	return legacy
}

// hand has a unit that is about to be made mount what it takes over: where its service
// says a volume without a name, and where only its image does. The SDK does so for a
// unit that it makes anew; ours are all further ones to it.
func (v *view) hand(ctx context.Context, o client.ContainerCreateOptions) error {
	if o.Config == nil || o.HostConfig == nil || o.Config.Labels[api.HookLabel] != "" {
		return nil
	}
	var rest []anonymous
	mounts := o.HostConfig.Mounts
	for _, a := range v.next() {
		i := slices.IndexFunc(mounts, func(m mount.Mount) bool { return path.Clean(m.Target) == a.target })
		if i < 0 {
			rest = append(rest, a)
		} else if mounts[i].Type == mount.TypeVolume && mounts[i].Source == "" {
			mounts[i].Source = a.volume
		}
	}
	if len(rest) == 0 {
		return nil
	}
	free, err := v.imageVolumes(ctx, o)
	if err != nil {
		return fmt.Errorf("look for the volumes of image %s: %w", o.Config.Image, err)
	}
	for _, a := range rest {
		if free[a.target] {
			mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: a.volume, Target: a.target, ReadOnly: a.readOnly})
		}
	}
	o.HostConfig.Mounts = mounts
	return nil
}

// imageVolumes are the places where the image of a unit has a volume and nothing else
// is mounted there.
func (v *view) imageVolumes(ctx context.Context, o client.ContainerCreateOptions) (map[string]bool, error) {
	image, err := v.ImageInspect(ctx, o.Config.Image)
	if err != nil || image.Config == nil {
		return nil, err
	}
	free := map[string]bool{}
	for target := range image.Config.Volumes {
		free[path.Clean(target)] = true
	}
	for _, bind := range o.HostConfig.Binds {
		if parts := strings.Split(bind, ":"); len(parts) > 1 {
			delete(free, path.Clean(parts[1]))
		}
	}
	for target := range o.HostConfig.Tmpfs {
		delete(free, path.Clean(target))
	}
	for _, from := range o.HostConfig.VolumesFrom {
		id, _, _ := strings.Cut(from, ":")
		other, err := v.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return nil, err
		}
		for _, m := range other.Container.Mounts {
			delete(free, path.Clean(m.Destination))
		}
	}
	return free, nil
}

// portsOf are the ports of the host that a container has, and on which addresses. What does
// not run has none.
func portsOf(list []container.PortSummary) map[string][]netip.Addr {
	var ports map[string][]netip.Addr
	for _, p := range list {
		if p.PublicPort == 0 {
			continue
		}
		if ports == nil {
			ports = map[string][]netip.Addr{}
		}
		port := fmt.Sprintf("%d/%s", p.PublicPort, p.Type)
		ports[port] = append(ports[port], p.IP)
	}
	return ports
}
