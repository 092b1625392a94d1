// Package compose reads the Compose files of a workspace, and only that, into a
// stack: no Docker, no host, no process environment.
package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"github.com/shiksha/actions/pkg/extension"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
)

// LoadOptions say what to load. Nothing else is read: not the environment of
// the process, not the network, not a .env file beside the Compose file. (One
// beside an included file is, for that file, as Compose has it.)
type LoadOptions struct {
	// Workspace is the folder that every file of the stack has to be in.
	Workspace string
	// Files are the Compose files, relative to Workspace; the first one's folder
	// is what relative paths start from. Default: compose.yaml, compose.yml,
	// docker-compose.yaml or docker-compose.yml in the workspace.
	Files []string
	// Project is the project's name; empty for COMPOSE_PROJECT_NAME of the
	// environment, then `name:` of the file, then the workspace folder's name.
	Project string
	// Folder is that folder's name where its path does not tell: in a container
	// the workspace is mounted under another one.
	Folder string
	// EnvFile is the content of the env-file input (dotenv), nil for none, and
	// EnvFileName what errors call it.
	EnvFile     []byte
	EnvFileName string
	// Environment are more variables for interpolation; they win over EnvFile.
	Environment map[string]string
	// Images are given by service beside the files: what is only built there needs no
	// image of its own then. One that a file names stays what the file names.
	Images map[string]string
	// Profiles to activate; empty for COMPOSE_PROFILES of the environment.
	Profiles []string
	// StateDir is the absolute folder on the host under which a project keeps
	// its files: StateDir/<project>/files/<sum> and StateDir/<project>/live/...
	StateDir string
}

// loading is one Load under way.
type loading struct {
	ctx     context.Context
	opts    LoadOptions
	ws      workspace
	files   []string // absolute
	dir     string   // what relative paths start from
	env     types.Mapping
	scan    *scanner
	monitor map[string]explicitMonitor
	warns   []string
	// shut are binds of the workspace that the file does not call read-only, with who has them.
	shut map[string][]string
	// lenient is set for a build, see LoadBuilds.
	lenient bool
}

// Load reads the Compose files of a workspace and gives the stack they
// describe, its images not pinned yet. Every error is a fault.Input that names
// the file and, where it can be had, the line, the service and the mend.
func Load(ctx context.Context, opts LoadOptions) (*stack.Stack, error) {
	if !filepath.IsAbs(opts.StateDir) {
		return nil, fault.New(fault.Input, "state-dir", "name an absolute folder on the host, such as /var/lib/shiksha",
			"%q is not an absolute path", opts.StateDir)
	}
	l, name, err := begin(ctx, opts, nil)
	if err != nil {
		return nil, err
	}
	project, err := l.project(name)
	if err != nil {
		return nil, err
	}
	return l.stack(project)
}

// quiet takes the process-wide logger off standard error: compose-go tells it, with paths
// of this machine, of a `version` that means nothing any more, and of nothing that matters.
var quiet = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })

// begin settles what is read and scans it. Matters says which unset variables are
// errors; nil for all.
func begin(ctx context.Context, opts LoadOptions, matters func(unsetVariable) bool) (l *loading, name string, err error) {
	quiet()
	l = &loading{ctx: ctx, opts: opts}
	if l.ws, err = openWorkspace(opts.Workspace); err != nil {
		return nil, "", err
	}
	if err := l.findFiles(); err != nil {
		return nil, "", err
	}
	if l.env, err = explicitEnvironment(opts); err != nil {
		return nil, "", err
	}
	if err := l.otherFiles(); err != nil {
		return nil, "", err
	}
	if name, err = l.projectName(); err != nil {
		return nil, "", err
	}
	// A Compose file may ask for its project's name, as it may with Compose.
	l.env[consts.ComposeProjectName] = name

	l.scan = newScanner(ctx, l.ws, l.env)
	l.scan.matters = matters
	return l, name, l.scan.run(l.files, l.dir)
}

// stand stands for a variable that does not matter and is not set: it can be read
// as a text, a number, a port and a switch.
const stand = "1"

// substitute is how the model is interpolated.
func (l *loading) substitute(text string, look template.Mapping) (string, error) {
	missing := map[string]bool{}
	if l.lenient {
		for _, u := range unsetIn(text, look) {
			missing[u.Name] = true
		}
	}
	return substitute(text, func(name string) (string, bool) {
		if missing[name] {
			return stand, true
		}
		return look(name)
	})
}

// findFiles settles which Compose files are read and that they are inside the
// workspace.
func (l *loading) findFiles() error {
	names := l.opts.Files
	if len(names) == 0 {
		for _, name := range cli.DefaultFileNames {
			if _, err := os.Stat(filepath.Join(l.ws.dir, name)); err == nil {
				names = []string{name}
				break
			}
		}
		if len(names) == 0 {
			return fault.New(fault.Input, "compose-file", "name the file with compose-file, relative to the workspace",
				"no %s in the workspace", strings.Join(cli.DefaultFileNames, ", "))
		}
		for _, name := range cli.DefaultOverrideFileNames {
			if _, err := os.Stat(filepath.Join(l.ws.dir, name)); err == nil {
				l.warn("%s is not read: name it in compose-file, after %s, if the release should have it", name, names[0])
			}
		}
	}
	for _, name := range names {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(l.ws.dir, path)
		}
		if _, err := l.ws.confine(path); err != nil {
			return fault.New(fault.Input, "compose-file", "name a file inside the workspace, relative to it", "%s: %w", name, err)
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return fault.New(fault.Input, "compose-file", "name a Compose file, relative to the workspace", "%s is not a file", name)
		}
		l.files = append(l.files, path)
	}
	l.dir = filepath.Dir(l.files[0])
	return nil
}

// projectName settles the project's name, which becomes a folder on the host
// and a prefix of every container.
func (l *loading) projectName() (string, error) {
	where, name := "project", l.opts.Project
	if name == "" {
		where, name = "env-file", l.env[consts.ComposeProjectName]
	}
	if name == "" {
		var err error
		where = l.ws.rel(l.files[0])
		if name, err = nameInFiles(l.files, l.env); err != nil {
			return "", l.explain(err)
		}
		name = loader.NormalizeProjectName(name)
	}
	if name == "" {
		folder := l.opts.Folder
		if folder == "" {
			folder = filepath.Base(l.ws.dir)
		}
		where, name = "project", loader.NormalizeProjectName(folder)
	}
	if !stack.ValidProject(name) {
		return "", fault.New(fault.Input, where,
			"use lower-case letters, digits, - and _, starting with a letter or digit",
			"%q cannot be the name of a project", name)
	}
	return name, nil
}

// nameInFiles is the top-level name of the last file that has one.
func nameInFiles(files []string, env types.Mapping) (string, error) {
	name := ""
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // the scan reports it
		}
		f, err := decode(content)
		if err != nil {
			continue
		}
		for _, doc := range f.docs {
			if text, ok := doc["name"].(string); ok && text != "" {
				if name, err = substitute(text, lookupIn(env)); err != nil {
					return "", err
				}
			}
		}
	}
	return name, nil
}

// project loads the model with compose-go and the explicit environment.
func (l *loading) project(name string) (p *types.Project, err error) {
	// compose-go takes some types for granted (a mount without a target, say).
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, l.explain(fmt.Errorf("a value has a form that Compose does not expect: %v", r))
		}
	}()
	details := types.ConfigDetails{
		WorkingDir:  l.dir,
		ConfigFiles: types.ToConfigFiles(slices.Clone(l.files)),
		Environment: l.env,
	}
	profiles := l.profiles()
	configure := func(o *loader.Options) {
		o.SetProjectName(name, true)
		o.Interpolate.Substitute = l.substitute
		o.Profiles = profiles
		// Both read files and look variables up: we do it ourselves, inside
		// the workspace and with unset variables as errors.
		o.SkipResolveEnvironment = true
		o.SkipResolveLabels = true
	}
	dict, err := loader.LoadModelWithContext(l.ctx, details, configure)
	if err != nil {
		return nil, l.explain(err)
	}
	l.monitor = explicitMonitors(dict)
	spare := cloneTree(dict).(map[string]any)
	project, strict := loader.ModelToProject(dict, loader.ToOptions(&details, []func(*loader.Options){configure}), details)
	if strict != nil {
		// compose-go names one mistake, and not always the same one. Ours come
		// first and in order; its own text is the last resort.
		loose := func(o *loader.Options) { configure(o); o.SkipConsistencyCheck = true }
		project, err = loader.ModelToProject(spare, loader.ToOptions(&details, []func(*loader.Options){loose}), details)
		if err != nil {
			return nil, l.explain(err)
		}
	}
	if err := l.verify(project); err != nil && !l.lenient {
		return nil, err
	}
	if strict != nil {
		return nil, l.explain(strict)
	}
	l.warnOfProfiles(project, profiles)
	return project.WithoutUnresolvedOptionalDependencies(), nil
}

// profiles are the active ones, without the blanks that people write between them.
func (l *loading) profiles() []string {
	given := l.opts.Profiles
	if len(given) == 0 {
		given = strings.Split(l.env["COMPOSE_PROFILES"], ",")
	}
	var out []string
	for _, name := range given {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// warnOfProfiles tells of active profiles that no service has: one is misspelt, and the
// services that were meant are not there.
func (l *loading) warnOfProfiles(p *types.Project, active []string) {
	var known []string
	for _, services := range []types.Services{p.Services, p.DisabledServices} {
		for _, s := range services {
			known = append(known, s.Profiles...)
		}
	}
	slices.Sort(known)
	for _, name := range active {
		if name == "*" || slices.Contains(known, name) {
			continue
		}
		hint := ""
		if near := suggest.Nearest(name, known); near != "" {
			hint = fmt.Sprintf(": did you mean %q?", near)
		}
		l.warn("profile %s is active and no service has it%s", name, hint)
	}
}

// stack turns the loaded model into the nouns and into what the Compose SDK
// gets to see.
func (l *loading) stack(p *types.Project) (*stack.Stack, error) {
	if err := l.scan.refused(p); err != nil {
		return nil, err
	}
	for name, s := range p.Services {
		if s.Image == "" {
			s.Image = l.opts.Images[name]
			p.Services[name] = s
		}
	}
	if err := l.resolveEnvironment(p); err != nil {
		return nil, err
	}
	s := &stack.Stack{Name: p.Name, Services: map[string]*stack.Service{}, Dir: filepath.Join(l.opts.StateDir, p.Name)}
	for _, name := range p.ServiceNames() {
		service, err := l.service(p, p.Services[name])
		if err != nil {
			return nil, err
		}
		s.Services[name] = service
	}
	if err := l.verifyGateways(s); err != nil {
		return nil, err
	}
	var err error
	if s.Checks, err = l.checks(); err != nil {
		return nil, err
	}
	var bad *extension.Error
	if s.Engine, bad = extension.ParseEngine(p.Extensions[extension.Key]); bad != nil {
		return nil, l.input(extension.Key+"."+bad.Path, bad.Hint, "%w", bad)
	}
	markJobs(s)
	s.Order, s.Inactive = order(s), inactive(p)
	if err := l.rewrite(s, p); err != nil {
		return nil, err
	}
	s.Project = p
	s.Warnings = l.warns
	s.Places = l.scan.places
	return s, nil
}

// main names the first Compose file as errors do.
func (l *loading) main() string { return l.ws.rel(l.files[0]) }

// input makes an error about a line of the Compose file that has the given
// path ("services.api.image"), or about the file where no line is known.
func (l *loading) input(path, hint, format string, args ...any) error {
	return fault.New(fault.Input, l.scan.place(path, l.main()), hint, format, args...)
}

// cloneTree copies a decoded YAML tree.
func cloneTree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = cloneTree(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = cloneTree(e)
		}
		return c
	}
	return v
}

var errOutside = errors.New("leaves the workspace")
