package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// The most a stack may be made of. A file that includes itself under other
// names, or a YAML bomb, ends here and not in the runner's memory.
const (
	maxFiles    = 200
	maxFileSize = 8 << 20
)

// scanner reads the Compose files before compose-go does, because afterwards it
// is too late: compose-go opens whatever include and extends name, puts an empty
// string where a variable is missing, and forgets which paths were relative. It
// follows the same references and reads nothing outside the workspace.
type scanner struct {
	ctx      context.Context
	ws       workspace
	env      types.Mapping
	seen     map[string]bool
	files    map[string]parsed
	refusals []refusal
	unset    []unsetVariable
	// matters says which unset variables are errors; nil for all.
	matters func(unsetVariable) bool
	// places are where the keys of the files stand, in the order they are read.
	places *stack.Places
}

func newScanner(ctx context.Context, ws workspace, env types.Mapping) *scanner {
	return &scanner{ctx: ctx, ws: ws, env: env, seen: map[string]bool{}, files: map[string]parsed{}, places: &stack.Places{Lines: map[string]map[string]int{}}}
}

// run scans the main files and says which variables are missing in any file.
func (s *scanner) run(files []string, base string) error {
	for _, file := range files {
		if err := s.file(file, base, s.env, nil); err != nil {
			return err
		}
	}
	if len(s.unset) > 0 {
		return unsetError(s.unset)
	}
	return nil
}

// file scans one Compose file whose relative paths start from base. Above are
// the files that include it, one by the other.
func (s *scanner) file(file, base string, env types.Mapping, above []string) error {
	if i := slices.Index(above, file); i >= 0 {
		return fault.New(fault.Input, s.placeIn(above[len(above)-1], "include"), "take one of the includes out",
			"files include each other in a circle: %s", s.chain(append(above[i:], file)))
	}
	above = append(slices.Clone(above), file)
	docs, err := s.read(file, env)
	if err != nil {
		return err
	}
	key := "file\x00" + file + "\x00" + base + "\x00" + fmt.Sprint(env)
	if s.seen[key] {
		return nil
	}
	s.seen[key] = true
	for _, doc := range docs {
		for _, entry := range list(doc["include"]) {
			if err := s.include(file, base, entry, env, above); err != nil {
				return err
			}
		}
		s.topPaths(file, base, doc, lookupIn(env))
		services := mapping(doc["services"])
		for _, name := range slices.Sorted(maps.Keys(services)) {
			if err := s.service(file, base, name, name, services, env, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// service scans one service and, through extends, what it is made of. Above are
// the services that extend it, one by the other.
func (s *scanner) service(file, base, name, user string, services map[string]any, env types.Mapping, above []string) error {
	service := mapping(services[name])
	if service == nil {
		return nil
	}
	self := name + " in " + s.ws.rel(file)
	if i := slices.Index(above, self); i >= 0 {
		return fault.New(fault.Input, s.placeIn(file, "services."+name+".extends"), "take one of the extends out",
			"services extend each other in a circle: %s", strings.Join(append(above[i:], self), " -> "))
	}
	above = append(slices.Clone(above), self)
	look := lookupIn(env)
	s.servicePaths(file, base, name, user, service, look)
	target, from := "", ""
	switch e := service["extends"].(type) {
	case string:
		target, _ = fill(e, look)
	case map[string]any:
		text, _ := e["service"].(string)
		target, _ = fill(text, look)
		text, _ = e["file"].(string)
		from, _ = fill(text, look)
	}
	if target == "" {
		return nil
	}
	if from == "" {
		return s.service(file, base, target, user, services, env, above)
	}
	path, err := s.reference(file, base, "services."+name+".extends", from)
	if err != nil {
		return err
	}
	docs, err := s.read(path, env)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		if err := s.service(path, filepath.Dir(path), target, user, mapping(doc["services"]), env, above); err != nil {
			return err
		}
	}
	return nil
}

// include scans the files of one entry of include.
func (s *scanner) include(file, base string, entry any, env types.Mapping, above []string) error {
	look := lookupIn(env)
	var paths, envFiles []any
	folder := ""
	if m := mapping(entry); m != nil {
		paths, envFiles = list(m["path"]), list(m["env_file"])
		text, _ := m["project_directory"].(string)
		folder, _ = fill(text, look)
	} else {
		paths = list(entry)
	}
	if len(above) > 1 && (folder != "" || len(envFiles) > 0) {
		// compose-go resolves these from the folder the process runs in.
		return fault.New(fault.Input, s.placeIn(file, "include"), "move this include to the main Compose file",
			"an included file cannot set env_file or project_directory for what it includes itself")
	}
	var files []string
	for _, p := range paths {
		text, _ := p.(string)
		text, ok := fill(text, look)
		if !ok || text == "" {
			continue // reported as an unset variable or by the schema
		}
		path, err := s.reference(file, base, "include", text)
		if err != nil {
			return err
		}
		files = append(files, path)
	}
	if len(files) == 0 {
		return nil
	}
	inner := filepath.Dir(files[0])
	if folder != "" {
		var err error
		if inner, err = s.reference(file, base, "include", folder); err != nil {
			return err
		}
		if info, err := os.Stat(inner); err != nil || !info.IsDir() {
			return fault.New(fault.Input, s.placeIn(file, "include"), "", "project_directory %s is not a folder", folder)
		}
	}
	env, err := s.includeEnvironment(file, base, inner, envFiles, env)
	if err != nil {
		return err
	}
	for _, path := range files {
		if err := s.file(path, inner, env, above); err != nil {
			return err
		}
	}
	return nil
}

// includeEnvironment is what an included file sees: the explicit environment,
// then its env_file, or the .env beside it, as in Compose.
func (s *scanner) includeEnvironment(file, base, inner string, envFiles []any, env types.Mapping) (types.Mapping, error) {
	var paths []string
	for _, f := range envFiles {
		text, _ := f.(string)
		if text, _ = fill(text, lookupIn(env)); text == "" || text == "/dev/null" {
			continue
		}
		path, err := s.reference(file, base, includedEnvFile, text)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	if dotenv := filepath.Join(inner, ".env"); len(envFiles) == 0 {
		if _, err := os.Stat(dotenv); err == nil {
			if _, err := s.reference(file, inner, "include", ".env"); err != nil {
				return nil, err
			}
			paths = append(paths, dotenv)
		}
	}
	merged := maps.Clone(env)
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fault.New(fault.Input, s.placeIn(file, "include"), "", "%s cannot be read: %w", s.ws.rel(path), cause(err))
		}
		vars, err := parseEnv(s.ws.rel(path), content, lookupIn(merged))
		if err != nil {
			return nil, err
		}
		for k, v := range vars {
			if _, given := merged[k]; !given {
				merged[k] = v
			}
		}
	}
	return merged, nil
}

// read gives the documents of a file, after noting the lines of its keys and
// the variables it lacks.
func (s *scanner) read(file string, env types.Mapping) ([]map[string]any, error) {
	name := s.ws.rel(file)
	if err := s.ctx.Err(); err != nil {
		return nil, fmt.Errorf("loading %s: %w", name, err)
	}
	f, ok := s.files[file]
	if !ok {
		var err error
		if f, err = s.parse(file, name); err != nil {
			return nil, err
		}
		s.files[file] = f
	}
	if key := file + "\x00" + fmt.Sprint(env); !s.seen[key] {
		s.seen[key] = true
		for _, node := range f.nodes {
			s.walk(name, node, "", env)
		}
	}
	return f.docs, nil
}

// parsed is one file: its documents as trees, and as nodes with lines.
type parsed struct {
	docs  []map[string]any
	nodes []*yaml.Node
}

func (s *scanner) parse(file, name string) (parsed, error) {
	if len(s.files) >= maxFiles {
		return parsed{}, fault.New(fault.Input, name, "", "the stack is made of more than %d files", maxFiles)
	}
	info, err := os.Stat(file)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxFileSize) {
		return parsed{}, fault.New(fault.Input, name, "", "not a Compose file: it has to be a regular file of at most %d MiB", maxFileSize>>20)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return parsed{}, fault.New(fault.Input, name, "", "cannot be read: %w", cause(err))
	}
	f, err := decode(content)
	if err != nil {
		return parsed{}, yamlError(name, err)
	}
	s.places.Lines[name] = map[string]int{}
	s.places.Files = append(s.places.Files, name)
	return f, nil
}

// decode reads all YAML documents.
func decode(content []byte) (parsed, error) {
	var f parsed
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); errors.Is(err, io.EOF) {
			return f, nil
		} else if err != nil {
			return parsed{}, err
		}
		var tree any
		if err := node.Decode(&tree); err != nil {
			return parsed{}, err
		}
		f.docs = append(f.docs, mapping(tree))
		f.nodes = append(f.nodes, &node)
	}
}

// chain names files as people know them.
func (s *scanner) chain(files []string) string {
	var names []string
	for _, f := range files {
		names = append(names, s.ws.rel(f))
	}
	return strings.Join(names, " -> ")
}

func (s *scanner) missing(u unsetVariable) {
	if (s.matters == nil || s.matters(u)) && !slices.Contains(s.unset, u) {
		s.unset = append(s.unset, u)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func lookupIn(env types.Mapping) lookup {
	return func(k string) (string, bool) { v, ok := env[k]; return v, ok }
}
