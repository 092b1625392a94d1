package finding

import (
	"cmp"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
)

// Mounted is one file as a unit sees it: its path in the container, and where in
// the workspace it comes from.
type Mounted struct {
	Target, Source string
	Content        []byte
}

// Tree gives the files of a service as they are mounted, by their path in the
// container. A file that cannot be read is left out: loading has read it before.
func (f *Findings) Tree(svc *stack.Service) map[string]Mounted {
	out := map[string]Mounted{}
	for _, file := range svc.Files {
		for _, e := range file.Entries {
			content, err := Content(e)
			if err != nil {
				continue
			}
			target := path.Join(file.Target, e.Path)
			out[target] = Mounted{Target: target, Source: path.Join(file.Source, e.Path), Content: content}
		}
	}
	for _, ref := range f.Stack.Project.Services[svc.Name].Configs {
		c := f.Stack.Project.Configs[ref.Source]
		if c.Content == "" {
			continue
		}
		target := ref.Target
		if target == "" {
			target = "/" + ref.Source
		}
		file, _ := f.Stack.Place("configs." + ref.Source)
		out[target] = Mounted{Target: target, Source: file, Content: []byte(c.Content)}
	}
	return out
}

// Match lists the files of a tree that a pattern of the container's paths names,
// sorted.
func Match(tree map[string]Mounted, pattern string) []Mounted {
	var out []Mounted
	for _, target := range SortedKeys(tree) {
		if ok, err := path.Match(pattern, target); target == pattern || err == nil && ok {
			out = append(out, tree[target])
		}
	}
	return out
}

// Covers tells whether a path of a container is, or is below, something that the
// service mounts: a file, a folder, a volume, a secret or a config.
func (f *Findings) Covers(service, target string) bool {
	c := f.Stack.Project.Services[service]
	var mounts []string
	for _, v := range c.Volumes {
		mounts = append(mounts, v.Target)
	}
	for _, ref := range c.Secrets {
		at := cmp.Or(ref.Target, ref.Source)
		if !path.IsAbs(at) {
			at = "/run/secrets/" + at
		}
		mounts = append(mounts, at)
	}
	for _, ref := range c.Configs {
		mounts = append(mounts, cmp.Or(ref.Target, "/"+ref.Source))
	}
	return slices.ContainsFunc(mounts, func(at string) bool { return Below(target, at) })
}

// Below tells whether a path of a container is another, or is below it.
func Below(target, folder string) bool {
	target, folder = path.Clean(target), path.Clean(folder)
	return target == folder || strings.HasPrefix(target, strings.TrimSuffix(folder, "/")+"/")
}

// Reach looks for a host that a configuration of a service speaks to. Unless it passes,
// it says what is wrong: it fails, or is not known (skip), or is not known and near to
// the name of a service (warn). A name with dots may be anybody's and is left alone.
func (f *Findings) Reach(from *stack.Service, host string) (reached check.Outcome, wrong, hint string) {
	if host == "" || host == "localhost" || strings.ContainsAny(host, ".$:{") || net.ParseIP(host) != nil || from.NetworkMode != "" {
		return check.Pass, "", ""
	}
	c := f.Stack.Project.Services[from.Name]
	if _, extra := c.ExtraHosts[host]; extra || slices.ContainsFunc(c.ExternalLinks, func(l string) bool { return strings.HasSuffix(l, host) }) {
		return check.Pass, "", ""
	}
	host = f.linked(from, host)
	var apart string
	var known []string
	for _, name := range f.Stack.Order {
		svc := f.Stack.Services[name]
		known = append(known, name)
		if !f.called(svc, host) {
			continue
		}
		if name == from.Name || meet(svc, from) {
			return check.Pass, "", ""
		}
		apart = name
	}
	if apart != "" {
		return check.Fail, host + " is on no network that " + from.Name + " is on", "put both on one network"
	}
	near := suggest.Nearest(host, known)
	if slices.ContainsFunc(from.Networks, func(n string) bool { return bool(f.Stack.Project.Networks[n].External) }) {
		wrong = host + " is no service of this stack; whether another stack on an external network has it is not known"
		if near != "" {
			return check.Warn, wrong, "if this stack's is meant, write " + near
		}
		return check.Skip, wrong, "shiksha verify looks at what answers"
	}
	hint = "the stack has: " + strings.Join(known, ", ")
	if near != "" {
		hint = "write " + near + ", or another name of a service; " + hint
	}
	if base, _, ok := strings.Cut(host, "-"); ok && slices.Contains(known, base) {
		hint = "write " + base + ": that name gives all its replicas, and Compose gives none the name " + host
	}
	return check.Fail, "no service is called " + host, hint
}

// Named lists the other services of the stack that a host of a configuration of a service
// is the name of, as Docker's DNS answers it.
func (f *Findings) Named(from *stack.Service, host string) []*stack.Service {
	if _, extra := f.Stack.Project.Services[from.Name].ExtraHosts[host]; extra || host == "" || from.NetworkMode != "" {
		return nil
	}
	host = f.linked(from, host)
	var out []*stack.Service
	for _, name := range f.Stack.Order {
		if svc := f.Stack.Services[name]; name != from.Name && f.called(svc, host) && meet(svc, from) {
			out = append(out, svc)
		}
	}
	return out
}

// linked is what a service calls a host by one of its links.
func (f *Findings) linked(from *stack.Service, host string) string {
	for _, l := range f.Stack.Project.Services[from.Name].Links {
		if linked, alias := Link(l); alias == host && !f.Options.Swarm {
			host = linked
		}
	}
	return host
}

// called tells whether a host is a name of a service or of one of its units.
func (f *Findings) called(svc *stack.Service, host string) bool {
	names := append([]string{svc.Name, f.Stack.Project.Services[svc.Name].Hostname}, f.Stack.Aliases(svc.Name)...)
	return slices.Contains(names, host) || isUnit(f.Stack.Name+"-"+svc.Name, host, svc.Replicas)
}

// meet tells whether two services are on one network.
func meet(a, b *stack.Service) bool {
	return a.NetworkMode == "" && slices.ContainsFunc(a.Networks, func(n string) bool { return slices.Contains(b.Networks, n) })
}

// Link cuts what stands under links into what is linked to and the name that the
// service has for it. Swarm leaves links out.
func Link(text string) (linked, alias string) {
	linked, alias, _ = strings.Cut(text, ":")
	return linked, cmp.Or(alias, linked)
}

// isUnit tells whether a host is the name that Compose gives a container of a
// service: "shop-api-1".
func isUnit(prefix, host string, replicas int) bool {
	number, ok := strings.CutPrefix(host, prefix+"-")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n >= 1 && n <= replicas
}

// Inside tells what port inside a service the given one of the host leads to;
// 0 when it is none of the host's or a port inside as well.
func (f *Findings) Inside(service, port string) uint32 {
	var inside uint32
	for _, p := range f.Stack.Project.Services[service].Ports {
		if p.Published == port {
			inside = p.Target
		}
	}
	for _, p := range f.Stack.Project.Services[service].Ports {
		if port == strconv.Itoa(int(p.Target)) {
			return 0
		}
	}
	return inside
}
