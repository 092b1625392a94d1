package finding

import (
	"cmp"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

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
// service mounts: a file, a folder or a volume.
func (f *Findings) Covers(service, target string) bool {
	target = path.Clean(target)
	for _, v := range f.Stack.Project.Services[service].Volumes {
		if target == v.Target || strings.HasPrefix(target, strings.TrimSuffix(v.Target, "/")+"/") {
			return true
		}
	}
	return false
}

// Unreachable looks for a host that a configuration of a service speaks to, and says what
// is wrong with it, or "". A name with dots may be anybody's and is left alone.
func (f *Findings) Unreachable(from *stack.Service, host string) (wrong, hint string) {
	if host == "" || host == "localhost" || strings.ContainsAny(host, ".$:{") || net.ParseIP(host) != nil || from.NetworkMode != "" {
		return "", ""
	}
	c := f.Stack.Project.Services[from.Name]
	if _, extra := c.ExtraHosts[host]; extra || slices.ContainsFunc(c.ExternalLinks, func(l string) bool { return strings.HasSuffix(l, host) }) {
		return "", ""
	}
	for _, l := range c.Links {
		if linked, alias := Link(l); alias == host && !f.Options.Swarm {
			host = linked
		}
	}
	var apart string
	var known []string
	for _, name := range f.Stack.Order {
		svc := f.Stack.Services[name]
		names := append([]string{name, f.Stack.Project.Services[name].Hostname}, f.Stack.Aliases(name)...)
		known = append(known, name)
		if !slices.Contains(names, host) && !isUnit(f.Stack.Name+"-"+name, host, svc.Replicas) {
			continue
		}
		if name == from.Name || svc.NetworkMode == "" && slices.ContainsFunc(svc.Networks, func(n string) bool { return slices.Contains(from.Networks, n) }) {
			return "", ""
		}
		apart = name
	}
	if apart != "" {
		return host + " is on no network that " + from.Name + " is on", "put both on one network"
	}
	if slices.ContainsFunc(from.Networks, func(n string) bool { return bool(f.Stack.Project.Networks[n].External) }) {
		return "", "" // another stack's, as far as the workspace tells
	}
	hint = "the stack has: " + strings.Join(known, ", ")
	if near := suggest.Nearest(host, known); near != "" {
		hint = "write " + near + ", or another name of a service; " + hint
	}
	if base, _, ok := strings.Cut(host, "-"); ok && slices.Contains(known, base) {
		hint = "write " + base + ": that name gives all its replicas, and Compose gives none the name " + host
	}
	return "no service is called " + host, hint
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
