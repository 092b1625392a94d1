package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/buildx/bake"
	"github.com/docker/buildx/util/buildflags"
	dockeropts "github.com/docker/cli/opts"

	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// ErrNothing is the error of a stack whose images are all somebody else's.
var ErrNothing = errors.New("no service has `build:`, so there is nothing to build")

// plan is what is built.
type plan struct{ targets []*target }

// target is one image to build.
type target struct {
	name string
	// place names where it is written, for errors.
	place string
	spec  *bake.Target
	// image is the reference that a deploy will look for, as it was written; empty
	// where nothing names it.
	image string
	// repo is its repository and tags everything that it is pushed as.
	repo string
	tags []string
	// services run the image: its own, and those that only name it.
	services []string
	// linked is a target of a bake file that nobody asked for: others are built on it,
	// and it becomes no image of its own.
	linked bool
	// dockerfile is its path in the workspace; empty for one that is in the Compose
	// file or not on this machine.
	dockerfile string
	secrets    map[string][]byte
	// warnings counts what the check of the Dockerfile found.
	warnings int
}

func (t *target) repository() string { return t.repo }

// describe says in a line what will be built.
func (t *target) describe() string {
	text := "builds"
	if t.dockerfile != "" {
		text += " " + t.dockerfile
	}
	if t.spec.Target != nil && *t.spec.Target != "" {
		text += " (stage " + *t.spec.Target + ")"
	}
	if len(t.spec.Platforms) > 0 {
		text += " for " + strings.Join(t.spec.Platforms, ", ")
	}
	if len(t.tags) > 0 {
		text += " as " + strings.Join(t.tags, ", ")
	}
	return text
}

// load reads the targets from the Compose file or the bake file.
func load(ctx context.Context, r *run) (*plan, error) {
	if r.o.BakeFile != "" {
		return loadBake(ctx, r)
	}
	b, err := r.compose(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range b.Warnings {
		r.say(event.Warning, "load", "", "%s", w)
	}
	names, err := selected(r.o.Targets, b)
	if err != nil {
		return nil, err
	}
	p := &plan{}
	for _, name := range names {
		s, active := b.Project.Services[name]
		if !active {
			s = b.Project.DisabledServices[name]
		}
		t, err := fromService(b, s)
		if err != nil {
			return nil, err
		}
		for _, text := range passedOver(s.Build) {
			r.say(event.Warning, "load", name, "%s: %s", t.place, text)
		}
		for other, s := range b.Project.Services {
			if other == name || s.Build == nil && s.Image != "" && s.Image == t.image {
				t.services = append(t.services, other)
			}
		}
		slices.Sort(t.services)
		p.targets = append(p.targets, t)
	}
	return p, nil
}

func (r *run) compose(ctx context.Context) (*compose.Builds, error) {
	return compose.LoadBuilds(ctx, compose.LoadOptions{
		Workspace: r.o.Workspace, Files: r.o.ComposeFiles, Project: r.o.Project, Folder: r.o.Folder,
		EnvFile: r.o.EnvFile, EnvFileName: r.o.EnvFileName, Environment: r.o.Environment,
	})
}

// selected are the services to build: those that were named, or all with `build:`
// whose profile is active.
func selected(wanted []string, b *compose.Builds) ([]string, error) {
	var all []string
	for name, s := range b.Project.Services {
		if s.Build != nil {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	if len(wanted) == 0 {
		if len(all) == 0 {
			return nil, fault.New(fault.Input, b.Place("services"), "give a service `build: ./folder`, or name a bake-file", "%w", ErrNothing)
		}
		return all, nil
	}
	for _, name := range wanted {
		s, ok := b.Project.Services[name]
		if !ok {
			s, ok = b.Project.DisabledServices[name]
		}
		switch {
		case !ok:
			hint := "the services with `build:` are " + strings.Join(all, ", ")
			if near := nearest(name, b.Project.ServiceNames()); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			return nil, fault.New(fault.Input, "targets", hint, "there is no service %s", name)
		case s.Build == nil:
			return nil, fault.New(fault.Input, b.Place("services."+name), "give it `build: ./folder`, or take it out of targets",
				"the target %s has no `build:`", name)
		}
	}
	return slices.Sorted(slices.Values(wanted)), nil
}

// fromService makes a target of a service.
func fromService(b *compose.Builds, s types.ServiceConfig) (*target, error) {
	at := "services." + s.Name + ".build"
	t := &target{name: s.Name, place: b.Place(at), image: s.Image, spec: &bake.Target{Name: s.Name}}
	if err := t.contexts(b, s.Build); err != nil {
		return nil, err
	}
	if err := t.settings(s.Build); err != nil {
		return nil, fault.New(fault.Input, t.place, "", "service %s: %w", s.Name, err)
	}
	if err := t.arguments(b, s); err != nil {
		return nil, err
	}
	t.spec.Tags = s.Build.Tags
	t.spec.Platforms = s.Build.Platforms
	if len(t.spec.Platforms) == 0 && s.Platform != "" {
		t.spec.Platforms = []string{s.Platform}
	}
	for _, p := range t.spec.Platforms {
		if err := checkPlatform(b.Place(at+".platforms"), p); err != nil {
			return nil, err
		}
	}
	return t, t.secretsOf(b, s.Build)
}

// fetched is a context that BuildKit fetches by itself.
var fetched = regexp.MustCompile(`^(https?://|git@|git://|ssh://|docker-image://|oci-layout://|target:|service:)`)

// contexts settles which folders are sent, all of them inside the workspace.
func (t *target) contexts(b *compose.Builds, c *types.BuildConfig) error {
	inside := func(what, path string) (string, error) {
		if _, err := b.Confine(path); err != nil {
			return "", fault.New(fault.Input, t.place, "keep what is built in the repository", "service %s: %s %s: %w", t.name, what, b.Rel(path), err)
		}
		return path, nil
	}
	folder := c.Context
	if !fetched.MatchString(folder) {
		if _, err := inside("the context", folder); err != nil {
			return err
		}
	}
	t.spec.Context = &folder
	dockerfile := c.Dockerfile
	if dockerfile == "" {
		dockerfile = "Dockerfile"
	}
	switch {
	case c.DockerfileInline != "":
		t.spec.DockerfileInline = &c.DockerfileInline
	case !fetched.MatchString(folder):
		if !filepath.IsAbs(dockerfile) {
			dockerfile = filepath.Join(folder, dockerfile)
		}
		path, err := inside("the Dockerfile", dockerfile)
		if err != nil {
			return err
		}
		t.dockerfile = b.Rel(path)
	}
	t.spec.Dockerfile = &dockerfile
	for name, path := range c.AdditionalContexts {
		if service, ok := strings.CutPrefix(path, types.ServicePrefix); ok {
			path = "target:" + service
		}
		if !fetched.MatchString(path) {
			if _, err := inside("the additional context "+name, path); err != nil {
				return err
			}
		}
		if t.spec.Contexts == nil {
			t.spec.Contexts = map[string]string{}
		}
		t.spec.Contexts[name] = path
	}
	return nil
}

// settings takes over what needs no thought.
func (t *target) settings(c *types.BuildConfig) (err error) {
	if c.Target != "" {
		t.spec.Target = &c.Target
	}
	if c.Network != "" {
		t.spec.NetworkMode = &c.Network
	}
	if c.ShmSize > 0 {
		size := dockeropts.MemBytes(c.ShmSize)
		text := size.String()
		t.spec.ShmSize = &text
	}
	t.spec.NoCache, t.spec.Pull = &c.NoCache, &c.Pull
	t.spec.NoCacheFilter, t.spec.Entitlements = c.NoCacheFilter, c.Entitlements
	for name, u := range c.Ulimits {
		soft, hard := u.Soft, u.Hard
		if u.Single > 0 {
			soft, hard = u.Single, u.Single
		}
		t.spec.Ulimits = append(t.spec.Ulimits, fmt.Sprintf("%s=%d:%d", name, soft, hard))
	}
	slices.Sort(t.spec.Ulimits)
	for host, addresses := range c.ExtraHosts {
		if t.spec.ExtraHosts == nil {
			t.spec.ExtraHosts = map[string]*string{}
		}
		list := strings.Join(addresses, ",")
		t.spec.ExtraHosts[host] = &list
	}
	for _, key := range c.SSH {
		entry := &buildflags.SSH{ID: key.ID}
		if key.Path != "" {
			entry.Paths = []string{key.Path}
		}
		t.spec.SSH = append(t.spec.SSH, entry)
	}
	t.spec.Labels = map[string]*string{}
	for k, v := range c.Labels {
		t.spec.Labels[k] = &v
	}
	if t.spec.CacheFrom, err = buildflags.ParseCacheEntry(c.CacheFrom); err != nil {
		return err
	}
	t.spec.CacheTo, err = buildflags.ParseCacheEntry(c.CacheTo)
	return err
}

// passedOver says what of a `build:` has no effect here.
func passedOver(c *types.BuildConfig) []string {
	var told []string
	if c.Privileged {
		told = append(told, "`privileged` is not used: a step that needs it says `RUN --security=insecure`, and `entitlements: [security.insecure]` beside it")
	}
	if c.Isolation != "" {
		told = append(told, "`isolation` is not used: BuildKit has none to choose")
	}
	return told
}

// arguments are the build arguments and what is attested. An argument without a
// value takes it from the variables the Compose file can see, as Compose does.
func (t *target) arguments(b *compose.Builds, s types.ServiceConfig) error {
	t.spec.Args = map[string]*string{}
	for _, name := range slices.Sorted(maps.Keys(s.Build.Args)) {
		value := s.Build.Args[name]
		if value == nil {
			text, set := b.Project.Environment[name]
			if !set {
				continue // the Dockerfile's default
			}
			value = &text
		}
		t.spec.Args[name] = value
	}
	var attests []string
	for kind, text := range map[string]string{"provenance": s.Build.Provenance, "sbom": s.Build.SBOM} {
		if text != "" {
			attests = append(attests, buildflags.CanonicalizeAttest(kind, text))
		}
	}
	var err error
	if t.spec.Attest, err = buildflags.ParseAttests(attests); err != nil {
		return fault.New(fault.Input, t.place, "", "service %s: %w", s.Name, err)
	}
	return nil
}

// secretsOf reads the secrets that `build.secrets` names.
func (t *target) secretsOf(b *compose.Builds, c *types.BuildConfig) error {
	t.secrets = map[string][]byte{}
	for _, ref := range c.Secrets {
		id := ref.Target
		if id == "" {
			id = ref.Source
		}
		at := b.Place("secrets." + ref.Source)
		definition, defined := b.Project.Secrets[ref.Source]
		switch {
		case !defined:
			return fault.New(fault.Input, t.place, "define it under the top-level secrets", "service %s builds with a secret %s that is not defined", t.name, ref.Source)
		case definition.Environment != "":
			value, set := b.Project.Environment[definition.Environment]
			if !set {
				return fault.New(fault.Input, at, "set it in env-file, or give the secret in the secrets input", "variable is not set: %s (secret %s)", definition.Environment, ref.Source)
			}
			t.secrets[id] = []byte(value)
		case definition.File != "":
			real, err := b.Confine(definition.File)
			if err == nil {
				t.secrets[id], err = os.ReadFile(real)
			}
			if err != nil {
				return fault.New(fault.Input, at, "", "secret %s: the file %s %w", ref.Source, b.Rel(definition.File), cause(err))
			}
		default:
			return fault.New(fault.Input, at, "give it `file:` or `environment:`", "secret %s has nothing that a build could use", ref.Source)
		}
	}
	return nil
}

// cause takes the path out of a file system error: the caller names it better.
func cause(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
