package compose

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/fault"
)

// workspace is the only folder a stack may be made of. dir is what was given,
// made absolute; real is the same without symbolic links.
type workspace struct{ dir, real string }

func openWorkspace(dir string) (workspace, error) {
	abs, err := filepath.Abs(dir)
	if dir == "" || err != nil {
		return workspace{}, fault.New(fault.Input, "workspace", "name the folder of the checkout", "no workspace was given")
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return workspace{}, fault.New(fault.Input, "workspace", "check the repository out first", "%s cannot be read: %w", abs, err)
	}
	if info, err := os.Stat(real); err != nil || !info.IsDir() {
		return workspace{}, fault.New(fault.Input, "workspace", "name the folder of the checkout", "%s is not a folder", abs)
	}
	return workspace{dir: abs, real: real}, nil
}

// rel names a path as people know it: relative to the workspace.
func (w workspace) rel(path string) string {
	for _, root := range []string{w.dir, w.real} {
		if rel, err := filepath.Rel(root, path); err == nil && inside(rel) {
			return rel
		}
	}
	return path
}

// confine follows all symbolic links of path and gives the file it really is,
// or errOutside when that is not in the workspace.
func (w workspace) confine(path string) (string, error) {
	if !w.lexically(path) {
		return "", errOutside
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", cause(err))
	}
	if rel, err := filepath.Rel(w.real, real); err != nil || !inside(rel) {
		return "", errOutside
	}
	return real, nil
}

// lexically tells whether path, as written, is in the workspace.
func (w workspace) lexically(path string) bool {
	for _, root := range []string{w.dir, w.real} {
		if rel, err := filepath.Rel(root, path); err == nil && inside(rel) {
			return true
		}
	}
	return false
}

func inside(rel string) bool {
	return rel != ".." && !strings.HasPrefix(rel, "../") && !filepath.IsAbs(rel)
}

// cause takes the path out of a file system error: the caller names it better.
func cause(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}

// remote looks like one of the ways Compose has to name something that is not
// a file: a URL, an OCI artifact, a git repository.
var remote = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9+.-]*://|oci:|git@|github\.com/)|\.git(#.*)?$`)

// refusal is a path that must not be used. It stops the load only if Service
// is part of the stack: a service of an inactive profile may mount what it
// likes on a developer's machine.
type refusal struct {
	Service string
	Err     error
}

// refused gives the first refusal that concerns a service of the project.
func (s *scanner) refused(p *types.Project) error {
	for _, r := range s.refusals {
		if _, active := p.Services[r.Service]; active || r.Service == "" {
			return r.Err
		}
	}
	return nil
}

// refuse notes that service uses a path it must not use.
func (s *scanner) refuse(service, file, path, hint, format string, args ...any) {
	s.refusals = append(s.refusals, refusal{service, fault.New(fault.Input, s.placeIn(file, path), hint, format, args...)})
}

const (
	homeHint   = "the runner's home folder is not the host's: use a path in the repository, an absolute path of the host, or a named volume"
	insideHint = "keep the files of a stack in its repository"
)

// includedEnvFile is the path of the model for what an included file's variables are read from.
const includedEnvFile = "include.env_file"

// fileHint says what to do about the file that a path of the model names and the
// workspace does not have. What may hold secrets is never led into the repository: a
// history keeps them.
func fileHint(at string, missing bool) string {
	const write = "write it into the workspace before this runs (in a workflow in a step, from a secret)"
	switch {
	case strings.HasPrefix(at, "secrets."):
		return write + ", or give the secret `environment: NAME` in the place of its file, and NAME in env-file"
	case at == includedEnvFile:
		return write + ", or give its variables in env-file"
	case strings.HasSuffix(at, ".env_file"):
		hint := write + ", or list its variables under `environment:` and give them in env-file"
		if missing {
			hint += "; commit it only if it holds no secret"
		}
		return hint
	case !missing:
		return insideHint
	case strings.HasSuffix(at, ".volumes"):
		return "commit the file, or, if it holds secrets, " + write + "; or name a path of the host with / in front, or a named volume"
	case strings.HasPrefix(at, "configs."):
		return "commit the file, or, if it holds secrets, " + write
	}
	return "commit the file, or take it out"
}

// servicePaths looks at every path one service names, before compose-go makes
// them absolute: afterwards ../secret and /secret, or ~/x and /root/x, look the
// same. user is the service of the stack that this definition ends up in.
func (s *scanner) servicePaths(file, base, name, user string, service map[string]any, look lookup) {
	at := "services." + name
	for _, v := range list(service["volumes"]) {
		source := ""
		switch v := v.(type) {
		case string:
			text, ok := fill(v, look)
			if volume, err := format.ParseVolume(text); ok && err == nil && volume.Type == types.VolumeTypeBind {
				source = volume.Source
			}
		case map[string]any:
			text, _ := v["source"].(string)
			source, _ = fill(text, look)
		}
		s.path(file, base, at+".volumes", user, source)
	}
	for _, key := range []string{"env_file", "label_file"} {
		for _, v := range list(service[key]) {
			if m, ok := v.(map[string]any); ok {
				v = m["path"]
			}
			text, _ := v.(string)
			text, _ = fill(text, look)
			s.path(file, base, at+"."+key, user, text)
		}
	}
}

// path refuses a source in a home folder and a relative one that leaves the
// workspace.
func (s *scanner) path(file, base, at, user, source string) {
	if strings.HasPrefix(source, "~") {
		s.refuse(user, file, at, homeHint, "%s: %s is in the home folder of whoever runs this", at, source)
		return
	}
	if source == "" || filepath.IsAbs(source) {
		return
	}
	if path := filepath.Join(base, source); !s.ws.lexically(path) {
		hint := fileHint(at, false)
		if strings.HasSuffix(at, ".volumes") {
			hint += "; a path that starts with / is taken from the host"
		}
		s.refuse(user, file, at, hint, "%s: %s %w", at, source, errOutside)
	}
}

// topPaths looks at the paths of top-level configs, secrets and volumes.
func (s *scanner) topPaths(file, base string, tree map[string]any, look lookup) {
	for _, section := range []string{"configs", "secrets", "volumes"} {
		definitions := mapping(tree[section])
		for _, name := range sortedKeys(definitions) {
			definition, key := mapping(definitions[name]), "file"
			text, _ := definition["file"].(string)
			if section == "volumes" {
				key = "driver_opts"
				text, _ = mapping(definition["driver_opts"])["device"].(string)
			}
			text, _ = fill(text, look)
			s.path(file, base, section+"."+name+"."+key, "", text)
		}
	}
}

// fill interpolates text; false when it cannot be, which is reported elsewhere.
func fill(text string, look lookup) (string, bool) {
	filled, err := substitute(text, look)
	return filled, err == nil
}

// list gives a list as it is, a single value as a list of one, nil as none.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func mapping(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// reference resolves a path that a file names and makes sure it is in the
// workspace.
func (s *scanner) reference(file, base, at, text string) (string, error) {
	where := s.placeIn(file, at)
	if remote.MatchString(text) {
		return "", fault.New(fault.Input, where, "copy the file into the repository, so that a release is made of one commit",
			"%s: %s is not a file of the workspace", at, text)
	}
	if strings.HasPrefix(text, "~") {
		return "", fault.New(fault.Input, where, homeHint, "%s: %s is in the home folder of whoever runs this", at, text)
	}
	path := text
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, text)
	}
	if _, err := s.ws.confine(path); err != nil {
		return "", fault.New(fault.Input, where, fileHint(at, errors.Is(err, os.ErrNotExist)), "%s: %s: %w", at, text, err)
	}
	return path, nil
}
