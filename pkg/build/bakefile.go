package build

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/buildx/bake"
	"github.com/docker/buildx/util/buildflags"

	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// loadBake reads the targets of a bake file. A target of the name of a service is
// that service's image, where there is a Compose file.
func loadBake(ctx context.Context, r *run) (*plan, error) {
	services, err := r.besideBake(ctx)
	if err != nil {
		return nil, err
	}
	found, wanted, err := r.readBake(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{}
	for name, spec := range found {
		t := &target{name: name, place: r.o.BakeFile, spec: spec, secrets: map[string][]byte{}}
		if wanted[name] {
			t.deployed(services, found)
			if r.o.Push && services != nil && len(t.services) == 0 {
				r.note("load", name, "it is pushed, but no deploy runs it: no service is called so or has its tag as `image:`")
			}
		} else {
			t.linked, spec.Tags, spec.Outputs = true, nil, nil
		}
		if err := t.confineBake(r); err != nil {
			return nil, err
		}
		p.targets = append(p.targets, t)
	}
	slices.SortFunc(p.targets, func(a, b *target) int { return strings.Compare(a.name, b.name) })
	if len(p.targets) == 0 {
		return nil, fault.New(fault.Input, r.o.BakeFile, "add a group \"default\", or name targets", "there is nothing to build")
	}
	return p, nil
}

// deployed finds the image that a deploy will look for, and the services that run it.
// A target that is none of the Compose file's is no image of a deploy; where there is
// no such file, services is nil, nothing is known and each counts.
func (t *target) deployed(services map[string]string, found map[string]*bake.Target) {
	if t.image = services[t.name]; t.image == "" && len(t.spec.Tags) > 0 {
		t.image = t.spec.Tags[0]
	}
	if _, is := services[t.name]; is || services == nil && t.image != "" {
		t.services = []string{t.name}
	}
	for other, image := range services {
		if other != t.name && image != "" && image == t.image && found[other] == nil {
			t.services = append(t.services, other)
		}
	}
	slices.Sort(t.services)
}

// readBake parses the bake file. It sees the variables a Compose file would see,
// and nothing of the process. Targets that were not wanted are there because wanted
// ones are built on them.
func (r *run) readBake(ctx context.Context) (found map[string]*bake.Target, wanted map[string]bool, err error) {
	path := r.o.BakeFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.o.Workspace, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fault.New(fault.Input, "bake-file", "name a file of the workspace, relative to it", "%s cannot be read: %w", r.o.BakeFile, cause(err))
	}
	vars, err := compose.Variables(compose.LoadOptions{EnvFile: r.o.EnvFile, EnvFileName: r.o.EnvFileName, Environment: r.o.Environment})
	if err != nil {
		return nil, nil, err
	}
	names := slices.Clone(r.o.Targets)
	if len(names) == 0 {
		names = []string{"default"}
	}
	// Contexts of a bake file are relative to the folder it is run in.
	files := []bake.File{{Name: r.o.BakeFile, Data: data}}
	found, groups, err := bake.ReadTargets(ctx, files, names, nil, nil, vars, &bake.EntitlementConf{})
	if err != nil {
		return nil, nil, fault.New(fault.Input, r.o.BakeFile, "see https://docs.docker.com/build/bake/reference/", "%w", err)
	}
	return found, inGroup("default", groups, map[string]bool{}), nil
}

// inGroup adds what a group holds, groups in it included. The library makes a group
// "default" of what it was asked for.
func inGroup(name string, groups map[string]*bake.Group, held map[string]bool) map[string]bool {
	if g := groups[name]; !held[name] && g != nil {
		held[name] = true
		for _, inner := range g.Targets {
			inGroup(inner, groups, held)
		}
	}
	held[name] = true
	return held
}

// besideBake gives the images of the Compose file's services, for a bake file
// that builds them; nil where there is no Compose file.
func (r *run) besideBake(ctx context.Context) (map[string]string, error) {
	if len(r.o.ComposeFiles) == 0 {
		matches, _ := filepath.Glob(filepath.Join(r.o.Workspace, "*compose.y*ml"))
		if len(matches) == 0 {
			return nil, nil
		}
	}
	b, err := r.compose(ctx)
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for name, s := range b.Project.Services {
		images[name] = s.Image
	}
	return images, nil
}

// confineBake makes paths absolute, refuses those outside the workspace, and
// reads the secrets.
func (t *target) confineBake(r *run) error {
	inside := func(what string, path *string) error {
		text := strings.TrimPrefix(*path, "cwd://")
		if fetched.MatchString(text) {
			return nil
		}
		if !filepath.IsAbs(text) {
			text = filepath.Join(r.o.Workspace, text)
		}
		*path = text
		return confine(r.o.Workspace, text, t.place, t.name+": "+what)
	}
	if err := inside("the context", t.spec.Context); err != nil {
		return err
	}
	local := !fetched.MatchString(*t.spec.Context)
	if t.spec.DockerfileInline == nil && local {
		path := *t.spec.Dockerfile
		if !filepath.IsAbs(path) {
			path = filepath.Join(*t.spec.Context, path)
		}
		if err := inside("the Dockerfile", &path); err != nil {
			return err
		}
		t.spec.Dockerfile = &path
		t.dockerfile, _ = filepath.Rel(r.o.Workspace, path)
	}
	for name, path := range t.spec.Contexts {
		if err := inside("the context "+name, &path); err != nil {
			return err
		}
		t.spec.Contexts[name] = path
	}
	for _, p := range t.spec.Platforms {
		if err := checkPlatform(t.place, p); err != nil {
			return err
		}
	}
	if len(t.spec.Outputs) > 0 {
		r.say(event.Warning, "load", t.name, "its output is not used: say push, load or outputs")
		t.spec.Outputs = nil
	}
	return t.bakeSecrets(r)
}

// bakeSecrets reads the secrets that a bake target names: files of the workspace
// and variables of env-file.
func (t *target) bakeSecrets(r *run) error {
	vars, err := compose.Variables(compose.LoadOptions{EnvFile: r.o.EnvFile, EnvFileName: r.o.EnvFileName, Environment: r.o.Environment})
	if err != nil {
		return err
	}
	for _, s := range t.spec.Secrets {
		if _, given := r.o.Secrets[s.ID]; given {
			continue
		}
		name := s.Env
		if name == "" && s.FilePath == "" {
			name = s.ID
		}
		if value, set := vars[name]; name != "" && set {
			t.secrets[s.ID] = []byte(value)
			continue
		} else if name != "" {
			return fault.New(fault.Input, t.place, "set it in env-file, or give the secret in the secrets input", "%s: variable is not set: %s (secret %s)", t.name, name, s.ID)
		}
		path := s.FilePath
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.o.Workspace, path)
		}
		if err := confine(r.o.Workspace, path, t.place, t.name+": the secret "+s.ID); err != nil {
			return err
		}
		if t.secrets[s.ID], err = os.ReadFile(path); err != nil {
			return fault.New(fault.Input, t.place, "", "%s: secret %s: %w", t.name, s.ID, cause(err))
		}
	}
	t.spec.Secrets = buildflags.Secrets{}
	return nil
}

// confine refuses a path whose real place is outside the workspace.
func confine(workspace, path, place, what string) error {
	root, err := filepath.EvalSymlinks(workspace)
	if err != nil {
		return fault.New(fault.Input, "workspace", "check the repository out first", "cannot be read: %w", cause(err))
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fault.New(fault.Input, place, "", "%s %s cannot be read: %w", what, path, cause(err))
	}
	if rel, err := filepath.Rel(root, real); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return fault.New(fault.Input, place, "keep what is built in the repository", "%s %s leaves the workspace", what, path)
	}
	return nil
}

// standing is the nearest folder on the way to a path that is there: what is yet to be
// made is made in it.
func standing(path string) string {
	for {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
