package swarm

import (
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// largest is what a config or secret holds on every engine, in bytes: managers keep
// them all in the log they agree on. An empty one is refused.
const largest = 500 * 1024

// files tells what is otherwise about what a service mounts, but for its volumes.
func (l *look) files(svc *stack.Service, c types.ServiceConfig) {
	for _, f := range svc.Files {
		l.file(svc, f)
	}
	for _, ref := range c.Configs {
		if def := l.Stack.Project.Configs[ref.Source]; !bool(def.External) {
			l.size(svc, "configs", "config "+ref.Source, len(content(l.Stack, types.FileObjectConfig(def))))
		}
	}
	for _, ref := range c.Secrets {
		if def := l.Stack.Project.Secrets[ref.Source]; !bool(def.External) {
			l.size(svc, "secrets", "secret "+ref.Source, len(content(l.Stack, types.FileObjectConfig(def))))
		}
	}
	for _, v := range c.Volumes {
		l.mount(svc, c, v)
	}
}

// content is what a config or secret of the model holds.
func content(st *stack.Stack, o types.FileObjectConfig) string {
	if o.Content == "" && o.Environment != "" {
		return st.Project.Environment[o.Environment]
	}
	return o.Content
}

// file is about one that comes from the workspace: on a Swarm it is a config.
func (l *look) file(svc *stack.Service, f stack.File) {
	key := "volumes"
	if !strings.Contains(strings.Join(mounted(l.Stack, svc.Name), "\n"), f.HostPath) {
		key = "configs"
	}
	if f.Dir {
		l.Warn("P17.folder", at(svc, key), "have nothing else at "+f.Target+" in the image",
			"%s is not mounted as a folder: each of its files stands at its place, beside those that the image has in %s", f.Source, f.Target)
	}
	for _, e := range f.Entries {
		data, err := finding.Content(e)
		if err != nil {
			continue // loading has read it before
		}
		l.size(svc, key, path.Join(f.Source, e.Path), len(data))
	}
}

// mounted are the sources of a service's mounts.
func mounted(st *stack.Stack, service string) []string {
	var out []string
	for _, v := range st.Project.Services[service].Volumes {
		out = append(out, v.Source)
	}
	return out
}

func (l *look) size(svc *stack.Service, key, what string, size int) {
	switch {
	case size == 0:
		l.Fail("P17.empty", at(svc, key), "write a line into it, a comment for example", "%s is empty, and a Swarm keeps no empty file", what)
	case size >= largest:
		l.Fail("P17.size", at(svc, key), "put it into the image, or into a volume", "%s is %d KiB, and a Swarm keeps less than %d KiB of a file", what, size>>10, largest>>10)
	}
}

// mount is about one entry of volumes.
func (l *look) mount(svc *stack.Service, c types.ServiceConfig, v types.ServiceVolumeConfig) {
	switch {
	case v.Type == types.VolumeTypeBind && !slices.ContainsFunc(svc.Files, func(f stack.File) bool { return f.HostPath == v.Source }):
		l.bind(svc, c, v)
	case v.Type == types.VolumeTypeVolume && v.Source == "":
		l.Warn("P17.anonymous", at(svc, "volumes"), "give the volume a name, and the service a node (deploy.placement)",
			"the volume at %s has no name: a task that is started again has a new, empty one", v.Target)
	case v.Type == types.VolumeTypeImage:
		l.Fail("P17.image-volume", at(svc, "volumes"), "copy what is needed into the service's own image", "engines before 28.0 mount no image (%s) into a task", v.Source)
	}
	if v.Volume != nil && v.Volume.Subpath != "" {
		l.Fail("P17.subpath", at(svc, "volumes"), "make it a volume of its own", "the whole volume %s is mounted at %s, not its folder %s", v.Source, v.Target, v.Volume.Subpath)
	}
}

// bind is about a path of the host.
func (l *look) bind(svc *stack.Service, c types.ServiceConfig, v types.ServiceVolumeConfig) {
	if v.Bind != nil && v.Bind.SELinux != "" {
		l.Warn("P17.selinux", at(svc, "volumes"), "label the path on each node (chcon), or use a volume", "%s is not labelled for SELinux", v.Source)
	}
	if len(pins(c)) > 0 {
		return
	}
	found := "each node that may run a task needs %s: it is not made where it is missing, and the task is refused there"
	hint := "put it on every node; or " + pinHint(svc.Name)
	if v.ReadOnly || svc.Global || strings.HasSuffix(v.Source, ".sock") {
		l.Warn("P17.bind", at(svc, "volumes"), hint, found, v.Source)
		return
	}
	l.Fail("P17.bind", at(svc, "volumes"), hint, found+"; what it writes there stays on that node", v.Source)
}

// remote are the types of file systems that the local driver mounts from elsewhere.
var remote = []string{"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p"}

// local tells whether a volume is a folder of one node.
func local(v types.VolumeConfig) bool {
	return (v.Driver == "" || v.Driver == "local") && !slices.Contains(remote, v.DriverOpts["type"])
}

// volumes makes sure that data stays where it is: a task that goes to another node
// begins with an empty volume of the same name.
func (l *look) volumes() {
	for _, key := range finding.SortedKeys(l.Stack.Project.Volumes) {
		if !local(l.Stack.Project.Volumes[key]) {
			continue
		}
		var users, held []string
		for _, name := range l.Stack.Order {
			svc := l.Stack.Services[name]
			if !slices.Contains(svc.Volumes, key) {
				continue
			}
			if svc.Global {
				l.Warn("P17.volume", at(svc, "volumes"), "keep what is shared elsewhere", "each node has a volume %s of its own", key)
				continue
			}
			where := strings.Join(pins(l.Stack.Project.Services[name]), " and ")
			if where == "" {
				l.Fail("P17.volume", at(svc, "volumes"), pinHint(l.Stack.Name+"."+key),
					"the volume %s is on one node, and nothing keeps the service there: on another it begins empty", key)
				continue
			}
			users, held = append(users, name), append(held, where)
		}
		if slices.Sort(held); len(slices.Compact(held)) > 1 {
			file, line := l.Stack.Place("volumes." + key)
			l.Fail("P17.volume", finding.In("", file, line), "give them the same constraint", "%s share the volume %s, and their constraints may lead to different nodes", strings.Join(users, ", "), key)
		}
	}
}
