package swarm

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// hasIPVS finds out whether the manager's kernel can balance by address. Without
// it a Swarm has neither virtual addresses nor ports on every node.
const hasIPVS = `test -e /proc/net/ip_vs || test -d /sys/module/ip_vs || PATH="$PATH:/sbin:/usr/sbin" modprobe -nq ip_vs 2>/dev/null`

// balances tells whether the manager's kernel has IPVS; it is asked once.
func (s *Swarm) balances(ctx context.Context) (bool, error) {
	s.mu.Lock()
	known := s.ipvs
	s.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	exit, err := s.Probe(ctx, []string{"sh", "-c", hasIPVS})
	if err != nil {
		return false, fmt.Errorf("ask the manager whether its kernel has IPVS: %w", err)
	}
	there := exit == 0
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ipvs = &there
	return there, nil
}

// Adapt makes of a stack what it means on a Swarm. All of it becomes part of the
// model and so of the hashes: what runs differently counts as changed.
func (s *Swarm) Adapt(ctx context.Context, st *stack.Stack) error {
	vip, err := s.balances(ctx)
	if err != nil {
		return err
	}
	nodes, err := s.ready(ctx)
	if err != nil {
		return err
	}
	a := &adapting{st: st, vip: vip, nodes: nodes, self: s.self, modes: map[string][]string{}}
	for _, name := range slices.Sorted(maps.Keys(st.Services)) {
		if err := a.service(name); err != nil {
			return err
		}
	}
	for key, n := range st.Project.Networks {
		if n.Driver == "" && !bool(n.External) {
			// Attachable, so that a migration can run in a container of its own.
			n.Driver, n.Attachable = "overlay", true
			st.Project.Networks[key] = n
		}
	}
	st.Scheduled = true
	a.tell()
	return repin(st)
}

// repin computes the hashes of a stack again that was pinned before.
func repin(st *stack.Stack) error {
	images := map[string]string{}
	for name, svc := range st.Services {
		if svc.Pinned == "" {
			return nil
		}
		images[name] = svc.Pinned
	}
	return fault.As(fault.Refused, st.Pin(images))
}

// adapting is one Adapt under way.
type adapting struct {
	st    *stack.Stack
	vip   bool
	nodes []swarm.Node
	// self is the manager's own node.
	self string
	// modes are the services by endpoint mode, hosted those whose ports are held by
	// the node of their task.
	modes  map[string][]string
	hosted []string
}

func (a *adapting) service(name string) error {
	svc, c := a.st.Services[name], a.st.Project.Services[name]
	if err := a.possible(name, c); err != nil {
		return err
	}
	a.files(svc, &c)
	a.endpoint(svc, &c)
	svc.ContainerName, c.ContainerName = "", ""
	svc.Ext.Reload = nil // files are objects of the Swarm, which a running task keeps
	if svc.Global {
		svc.Replicas = len(eligible(a.nodes, constraints(c)))
	}
	a.st.Project.Services[name] = c
	return nil
}

// possible refuses what Swarm has no word for and the service cannot do without.
func (a *adapting) possible(name string, c types.ServiceConfig) error {
	refuse := func(key, hint, format string, args ...any) error {
		where := "services." + name + "." + key
		if file, line := a.st.Place(where); file != "" {
			where = fmt.Sprintf("%s:%d", file, line)
		}
		return fault.New(fault.Refused, where, hint, "service %s: "+format, append([]any{name}, args...)...)
	}
	shares := stack.SharesOf(c.ContainerSpec)
	switch {
	case len(shares) == 0:
		return nil
	case !shares[0].Namespace():
		return refuse(shares[0].Key, "name the volumes in both services", "%s is not possible on a Swarm", shares[0].Key)
	}
	return refuse(shares[0].Key, "put both programs into one service, or let them speak over a network",
		"%s: %s is not possible on a Swarm, whose tasks may be on different nodes", shares[0].Key, shares[0].Says)
}

// files puts files that a single host hands over live where all others are: named
// by their content.
func (a *adapting) files(svc *stack.Service, c *types.ServiceConfig) {
	svc.Files, c.Volumes = slices.Clone(svc.Files), slices.Clone(c.Volumes)
	for i, f := range svc.Files {
		if f.Secret && !strings.HasPrefix(f.Target, stack.SecretsFolder) {
			asSecret(c.Volumes, f.Target)
		}
		if !f.Live {
			continue
		}
		kept := path.Join(a.st.Dir, "files", f.Sum)
		if !f.Dir {
			kept = path.Join(kept, path.Base(f.HostPath))
		}
		for j := range c.Volumes {
			if c.Volumes[j].Target == f.Target && c.Volumes[j].Source == f.HostPath {
				c.Volumes[j].Source = kept
			}
		}
		svc.Files[i].Live, svc.Files[i].HostPath = false, kept
	}
}

// asSecret has the hash of a service say that a mount becomes a secret, which was a config
// once: the mount is not made here, and anywhere else this word asks for what is usual.
func asSecret(mounts []types.ServiceVolumeConfig, target string) {
	for i := range mounts {
		if mounts[i].Target == target {
			mounts[i].Consistency = string(mount.ConsistencyDefault)
		}
	}
}

// endpoint settles how a service is reached: by a virtual address that the kernel
// balances, or by the addresses of its tasks.
func (a *adapting) endpoint(svc *stack.Service, c *types.ServiceConfig) {
	mode := "vip"
	if c.Deploy != nil && c.Deploy.EndpointMode != "" {
		mode = c.Deploy.EndpointMode
	} else if !a.vip {
		mode = "dnsrr"
		deploy := types.DeployConfig{}
		if c.Deploy != nil {
			deploy = *c.Deploy
		}
		deploy.EndpointMode = mode
		c.Deploy = &deploy
	}
	a.modes[mode] = append(a.modes[mode], svc.Name)
	svc.Virtual = mode == "vip"
	c.Ports = slices.Clone(c.Ports)
	svc.HostPorts = nil
	for i, p := range c.Ports {
		if mode == "dnsrr" || !a.vip {
			p.Mode = "host"
			c.Ports[i] = p
		}
		if port := stack.HostPort(p); p.Mode == "host" && port != "" {
			svc.HostPorts = append(svc.HostPorts, port)
		}
	}
	slices.Sort(svc.HostPorts)
	if len(svc.HostPorts) > 0 {
		a.hosted = append(a.hosted, svc.Name)
	}
}

// noted is how the notes of this package begin: they are made anew each time.
const noted = "Swarm: "

// tell says in the plan which endpoint mode is run and what it means, and what a migration is
// without.
func (a *adapting) tell() {
	var notes []string
	if on := a.modes["dnsrr"]; len(on) > 0 {
		why := ""
		if !a.vip {
			why = ", since the manager's kernel has no IPVS"
		}
		notes = append(notes, fmt.Sprintf("endpoint mode dnsrr%s: %s are reached by the addresses of their tasks, and a gateway in front of them is switched by the release",
			why, strings.Join(on, ", ")))
	}
	if on := a.modes["vip"]; len(on) > 0 {
		notes = append(notes, fmt.Sprintf("endpoint mode vip: %s are balanced by the kernels of the nodes, so no gateway has to be switched", strings.Join(on, ", ")))
	}
	if len(a.hosted) > 0 {
		notes = append(notes, fmt.Sprintf("the ports of %s are published in mode host: only by the nodes that run their tasks", strings.Join(a.hosted, ", ")))
	}
	if miss := a.migrateWithout(); len(miss) > 0 {
		notes = append(notes, "commands of x-shiksha.migrate run on the manager, without the volumes that it does not have: "+strings.Join(miss, ", "))
	}
	if a.joinsNothing() {
		notes = append(notes, "the manager takes no tasks (it is drained or paused), and commands of x-shiksha.migrate fail where its engine joins no network then: "+
			"name another manager as host, or docker node update --availability active "+a.self)
	}
	a.st.Warnings = slices.DeleteFunc(slices.Clone(a.st.Warnings), func(w string) bool { return strings.HasPrefix(w, noted) })
	for _, n := range notes {
		a.st.Warnings = append(a.st.Warnings, noted+n)
	}
}

// joinsNothing tells whether something migrates on a manager that takes no tasks: to the Swarm
// a container that joins one of its networks is one.
func (a *adapting) joinsNothing() bool {
	if a.self == "" || slices.ContainsFunc(a.nodes, func(n swarm.Node) bool { return n.ID == a.self }) {
		return false
	}
	return slices.ContainsFunc(slices.Collect(maps.Values(a.st.Services)), func(svc *stack.Service) bool { return svc.Ext.Migrate != nil })
}

// migrateWithout says which services that migrate have volumes that a node makes with the
// first of their tasks: the manager may have none of them.
func (a *adapting) migrateWithout() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(a.st.Services)) {
		svc := a.st.Services[name]
		var volumes []string
		for _, key := range svc.Volumes {
			if v := a.st.Project.Volumes[key]; svc.Ext.Migrate != nil && !bool(v.External) {
				volumes = append(volumes, v.Name)
			}
		}
		if len(volumes) > 0 {
			out = append(out, name+" may miss "+strings.Join(volumes, " and "))
		}
	}
	return out
}
