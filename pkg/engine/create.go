package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// Create makes exactly n new units of a service beside what is there, does not
// start them, and gives their ids in the order of their numbers. Each takes over the
// anonymous volumes of one of the units after, as with Compose; where nothing is left
// of the service, those of its units that were removed last. Networks and
// volumes have to exist (EnsureNetworks, EnsureVolumes) and so does the image. On
// any error, and when what came out is not exactly n units with the service's
// hash, the new ones are removed again. Calls for the same service wait for each
// other.
func (e *Engine) Create(ctx context.Context, s *stack.Stack, service string, n int, after ...string) ([]string, error) {
	lock := e.creation(s.Name, service)
	lock.Lock()
	defer lock.Unlock()
	c := &creation{Engine: e, stack: s, service: service, n: n, after: after}
	ids, err := c.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("create %d of %s: %w", n, service, err)
	}
	return ids, nil
}

// creation is one Create under way.
type creation struct {
	*Engine
	stack   *stack.Stack
	service string
	n       int
	after   []string
	before  []container.Summary // of the service and of those it refers to
}

func (c *creation) run(ctx context.Context) ([]string, error) {
	if c.n < 1 {
		return nil, fmt.Errorf("asked for %d units", c.n)
	}
	svc, known := c.stack.Project.Services[c.service]
	if !known {
		return nil, fmt.Errorf("project %s has no such service", c.stack.Name)
	}
	refs := references(svc)
	var err error
	if c.before, err = c.list(ctx, append(refs, c.service)...); err != nil {
		return nil, err
	}
	if err := c.nameFree(svc); err != nil {
		return nil, err
	}
	hash, err := c.expectedHash(svc)
	if err != nil {
		return nil, err
	}
	v := &view{APIClient: c.api, sees: c.sees, uncut: c.uncut, legacies: c.legacies()}
	var ids []string
	err = c.create(ctx, v, refs)
	if err == nil {
		ids, err = c.verify(ctx, v.units(), hash)
	}
	if err != nil {
		return nil, errors.Join(err, c.undo(ctx, v.units()))
	}
	return ids, nil
}

// create has the SDK scale the service, alone in its project, by n.
func (c *creation) create(ctx context.Context, v *view, refs []string) error {
	project, err := narrow(c.stack, c.service)
	if err != nil {
		return err
	}
	svc := project.Services[c.service]
	svc.SetScale(c.count(c.service) + c.n)
	project.Services[c.service] = svc
	for dep := range svc.DependsOn {
		count := 0
		if slices.Contains(refs, dep) {
			count = c.count(dep)
		}
		if _, ok := c.stack.Project.Services[dep]; ok {
			project.Services[dep] = standIn(dep, svc.Image, count)
		}
	}
	sdk, done, err := c.sdk(v, pace(svc))
	if err != nil {
		return err
	}
	defer done()
	err = sdk.Create(ctx, project, api.CreateOptions{
		Services: []string{c.service}, Recreate: api.RecreateNever, RecreateDependencies: api.RecreateNever,
		IgnoreOrphans: true, QuietPull: true, SkipProviders: true,
	})
	if svc.ContainerName != "" && errdefs.IsConflict(err) {
		return fault.New(fault.Refused, "service "+c.service, "remove the container that has the name, or take container_name out of the file",
			"container_name %s is taken on the host by a container outside this service: %w", svc.ContainerName, err)
	}
	return err
}

// pace is how many units of a service the SDK may make at once. It writes into the
// settings of the service's first network while it makes a unit, and all its units
// share them.
func pace(svc types.ServiceConfig) int {
	for _, settings := range svc.Networks {
		if settings != nil {
			return 1
		}
	}
	return concurrency
}

// list gives the containers of services as the SDK would see them.
func (c *creation) list(ctx context.Context, services ...string) ([]container.Summary, error) {
	res, err := c.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).
		Add("label", api.ProjectLabel+"="+c.stack.Name, api.ConfigHashLabel)})
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	return slices.DeleteFunc(res.Items, func(s container.Summary) bool {
		return isOneOff(s) || s.Labels[api.HookLabel] != "" || !slices.Contains(services, s.Labels[api.ServiceLabel])
	}), nil
}

func (c *creation) count(service string) int {
	n := 0
	for _, s := range c.before {
		if s.Labels[api.ServiceLabel] == service {
			n++
		}
	}
	return n
}

// sees shows the SDK what c.before holds, and the new units. It would start a
// paused or dead unit under the heading of creating; so these look otherwise.
func (c *creation) sees(s container.Summary) (container.Summary, bool) {
	known := slices.ContainsFunc(c.before, func(b container.Summary) bool { return b.ID == s.ID })
	switch s.State {
	case container.StateRunning, container.StateCreated, container.StateRestarting, container.StateExited:
	case container.StatePaused:
		s.State = container.StateRunning
	default:
		s.State = container.StateExited
	}
	return s, known
}

// nameFree says why a service with container_name cannot have another unit.
func (c *creation) nameFree(svc types.ServiceConfig) error {
	if svc.ContainerName == "" {
		return nil
	}
	const hint = "take container_name out of the file, or let the old unit go first (order: stop-first)"
	if c.n > 1 {
		return fault.New(fault.Refused, "service "+c.service, hint, "container_name %s allows one unit, %d are wanted", svc.ContainerName, c.n)
	}
	for _, s := range c.before {
		if s.Labels[api.ServiceLabel] == c.service {
			return fault.New(fault.Refused, "service "+c.service, hint, "container_name %s is taken by its unit %s (%s)",
				svc.ContainerName, short(s.ID), s.State)
		}
	}
	return nil
}

// expectedHash is the hash Compose will write on the new units: the service's own,
// or where it shares something of another service, one that covers which
// container that is.
func (c *creation) expectedHash(svc types.ServiceConfig) (string, error) {
	if len(stack.SharesOf(svc.ContainerSpec)) == 0 {
		return c.stack.Services[c.service].Hash, nil
	}
	byService := map[string][]stack.Unit{}
	for _, s := range c.before {
		u := unitOf(s)
		byService[u.Service] = append(byService[u.Service], u)
	}
	return c.stack.ResolvedHash(c.service, stack.Observed{Units: byService})
}

// verify makes sure that the engine has exactly the new units that were asked for,
// and gives the ids of those in the order of their numbers.
func (c *creation) verify(ctx context.Context, made []string, hash string) ([]string, error) {
	after, err := c.list(ctx, c.service)
	if err != nil {
		return nil, err
	}
	var found []stack.Unit
	var names, wrong []string
	for _, s := range after {
		if slices.ContainsFunc(c.before, func(b container.Summary) bool { return b.ID == s.ID }) {
			continue
		}
		u := unitOf(s)
		c.remember(u.ID, u.Name)
		found, names = append(found, u), append(names, u.Name)
		if !slices.Contains(made, u.ID) {
			wrong = append(wrong, u.Name+" was made by somebody else")
		} else if u.Hash != hash {
			wrong = append(wrong, fmt.Sprintf("%s has hash %.12s, wanted %.12s", u.Name, u.Hash, hash))
		}
	}
	if len(found) != c.n || len(made) != c.n {
		wrong = append(wrong, fmt.Sprintf("found %d new units (%s), wanted exactly %d", len(found), strings.Join(names, ", "), c.n))
	}
	if len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	slices.SortFunc(found, func(a, b stack.Unit) int { return a.Number - b.Number })
	ids := make([]string, len(found))
	for i, u := range found {
		ids[i] = u.ID
	}
	return ids, nil
}

// undo removes what a failed creation left.
func (c *creation) undo(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := c.cleanup(ctx)
	defer cancel()
	return c.Scrap(ctx, ids)
}

// narrow gives a project that holds nothing but one service and what it uses.
// Networks and volumes are external there: in a project of one service Compose
// would stop every user of a changed network, and make it anew without the aliases
// of the units it does not know.
func narrow(s *stack.Stack, service string) (*types.Project, error) {
	full := s.Project.WithoutUnresolvedOptionalDependencies() // a deep copy
	svc, known := full.Services[service]
	if !known {
		return nil, fmt.Errorf("project %s has no service %s", s.Name, service)
	}
	// Pinned and pulled before; and building is no part of a release.
	svc.Build, svc.PullPolicy = nil, types.PullPolicyNever
	labels := types.Labels{
		api.ProjectLabel: s.Name, api.ServiceLabel: service, api.VersionLabel: api.ComposeVersion, api.OneoffLabel: "False",
	}
	if full.WorkingDir != "" {
		labels[stack.StateLabel] = path.Dir(full.WorkingDir)
	}
	for k, v := range svc.CustomLabels {
		labels[k] = v
	}
	svc.CustomLabels = labels
	p := &types.Project{
		Name: s.Name, WorkingDir: full.WorkingDir, ComposeFiles: full.ComposeFiles, Environment: full.Environment,
		Configs: full.Configs, Secrets: full.Secrets,
		Services: types.Services{service: svc}, Networks: types.Networks{}, Volumes: types.Volumes{},
	}
	for key := range svc.Networks {
		n, ok := full.Networks[key]
		if !ok {
			return nil, fmt.Errorf("service %s uses network %s, which project %s does not define", service, key, s.Name)
		}
		p.Networks[key] = types.NetworkConfig{Name: n.Name, External: true}
	}
	for _, mount := range svc.Volumes {
		if mount.Type != types.VolumeTypeVolume || mount.Source == "" {
			continue
		}
		v, ok := full.Volumes[mount.Source]
		if !ok {
			// Compose would make an empty one under the bare key.
			return nil, fmt.Errorf("service %s uses volume %s, which project %s does not define", service, mount.Source, s.Name)
		}
		p.Volumes[mount.Source] = types.VolumeConfig{Name: v.Name, External: true}
	}
	return p, nil
}

// standIn keeps the place of a dependency in a narrowed project, so that the label
// com.docker.compose.depends_on is what Compose writes and its graph is whole. It
// has as many units as the SDK sees, so nothing is planned for it, and an image
// that is there.
func standIn(name, image string, scale int) types.ServiceConfig {
	return types.ServiceConfig{
		Name: name, Scale: &scale,
		ContainerSpec: types.ContainerSpec{Image: image, PullPolicy: types.PullPolicyNever},
	}
}

// references names the services whose containers a service shares something with
// (network_mode, ipc, pid, volumes_from) or links to: their containers have to be
// seen to make its own.
func references(svc types.ServiceConfig) []string {
	var out []string
	for _, of := range stack.SharesOf(svc.ContainerSpec) {
		if of.Service != "" {
			out = append(out, of.Service)
		}
	}
	for _, link := range svc.Links {
		name, _, _ := strings.Cut(link, ":")
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
