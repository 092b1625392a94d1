package compose

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/errdefs"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/extension"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
)

var (
	inFile     = regexp.MustCompile(`(?s)^(?:validating|failed to parse) (.+?): (.*)$`)
	unknownKey = regexp.MustCompile(`^(\S*) ?(?:additional|unevaluated) propert(?:y|ies) '([^']+)'.* not allowed`)
	falseKey   = regexp.MustCompile(`^(\S+)\.([^.\s]+) (?:false schema|.*not allowed)$`)
	badNumber  = regexp.MustCompile(`failed to cast to expected type: strconv\.\w+: parsing ".*?": [a-z ]+`)
	decodePath = regexp.MustCompile(`'services\[([^\]']+)\]([^']*)'`)
	atPath     = regexp.MustCompile(`^((?:services|networks|volumes|configs|secrets|include|name)\b[^\s:]*)`)
)

// explain turns an error of compose-go into one that names the file as people
// know it, the line, and for an unknown key the nearest known one. It takes the
// values of the environment out: a type error repeats what it could not read.
func (l *loading) explain(err error) error {
	text := l.scrub(strings.TrimSpace(err.Error()))
	file := l.main()
	if m := inFile.FindStringSubmatch(text); m != nil {
		file, text = m[1], m[2]
	}
	if path, key, ok := unknown(text); ok {
		at := join(path, key)
		hint := "see the Compose specification for the keys it may have"
		if near := suggest.Nearest(key, knownKeys(path)); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		in := "in " + path
		if path == "" {
			in = "at the top level"
		}
		return fault.New(fault.Input, l.scan.place(at, file), hint, "unknown key %q %s", key, in)
	}
	text = badNumber.ReplaceAllString(text, "its value is not a number")
	text = strings.TrimSpace(strings.TrimPrefix(text, "decoding failed due to the following error(s):"))
	text = decodePath.ReplaceAllString(text, "services.$1$2:")
	text = strings.TrimSuffix(text, ": "+errdefs.ErrInvalid.Error())
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimSpace(lines[i]), "error while interpolating ")
	}
	slices.Sort(lines)
	text = strings.Join(slices.Compact(lines), "; ")
	where := file
	if m := atPath.FindStringSubmatch(text); m != nil {
		where = l.scan.place(m[1], file)
	}
	return fault.New(fault.Input, where, "see the Compose specification: https://docs.docker.com/reference/compose-file/", "%s", text)
}

func unknown(text string) (path, key string, ok bool) {
	if m := unknownKey.FindStringSubmatch(text); m != nil {
		return m[1], m[2], true
	}
	if m := falseKey.FindStringSubmatch(text); m != nil {
		return m[1], m[2], true
	}
	return "", "", false
}

// scrub makes paths relative to the workspace and hides values of the
// environment.
func (l *loading) scrub(text string) string {
	for _, root := range []string{l.ws.dir, l.ws.real} {
		if root != "/" {
			text = strings.ReplaceAll(text, root+"/", "")
		}
	}
	for name, value := range l.env {
		if name != "COMPOSE_PROJECT_NAME" && len(value) >= stack.MinSecret {
			text = strings.ReplaceAll(text, value, stack.Mask)
		}
	}
	return text
}

// verify refuses what this program would not carry out, and names what does not
// fit together, one mistake at a time and always the same first.
func (l *loading) verify(p *types.Project) error {
	switch {
	case len(p.Services) == 0:
		return l.input("services", "add a service, or activate the profile of one", "the stack has no services")
	case len(p.Jobs)+len(p.DisabledJobs) > 0:
		return l.unsupported("jobs")
	}
	for key := range p.Extensions {
		if suggest.Near(key, extension.Key) {
			return l.input(key, fmt.Sprintf("did you mean %q?", extension.Key), "unknown key %q at the top level", key)
		}
	}
	for _, name := range p.ServiceNames() {
		if err := l.verifyService(p, p.Services[name]); err != nil {
			return err
		}
	}
	for _, name := range p.ServiceNames() {
		if err := l.verifyDependencies(p, p.Services[name]); err != nil {
			return err
		}
	}
	if cycle := findCycle(p); cycle != nil {
		return l.input("services."+cycle[0]+".depends_on", "take one of these dependencies out",
			"services depend on each other in a circle: %s", strings.Join(cycle, " -> "))
	}
	return nil
}

func (l *loading) unsupported(path string) error {
	return l.input(path, "take it out of the stack that is deployed (a profile keeps it for development)",
		"%s is not supported: a deploy would not carry it out", path)
}

// serviceName is what Docker takes in a container's name and we in a path.
var serviceName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

func (l *loading) verifyService(p *types.Project, s types.ServiceConfig) error {
	at := "services." + s.Name
	switch {
	case !serviceName.MatchString(s.Name):
		return l.input(at, "use letters, digits, _, - and ., starting with a letter or digit", "%q cannot be the name of a service", s.Name)
	case s.Provider != nil:
		return l.unsupported(at + ".provider")
	case len(s.Models) > 0:
		return l.unsupported(at + ".models")
	case len(s.PreStart) > 0:
		return l.unsupported(at + ".pre_start")
	case s.UseAPISocket:
		return l.unsupported(at + ".use_api_socket")
	case seccompFile(s) != "":
		return l.input(at+".security_opt", "name it as \"seccomp-profile\" in /etc/docker/daemon.json of the host and take it out here, or use seccomp:unconfined",
			"service %s: the seccomp profile %s is a file, and an engine takes one from its own client only: a deploy would not carry it out", s.Name, seccompFile(s))
	case s.Image == "" && s.Build != nil && l.opts.Images[s.Name] != "":
	case s.Image == "" && s.Build != nil:
		return l.input(at+".build", fmt.Sprintf("add `image:` to %s beside `build:`, build and push it before (the build action does), or name it in the images input", s.Name),
			"service %s has build but no image: a deploy never builds", s.Name)
	case s.Image == "":
		return l.input(at, "add `image:` to it", "service %s names no image", s.Name)
	}
	if mode := deployMode(s); mode != "" && mode != "replicated" && mode != "global" {
		return l.input(at+".deploy.mode", "use replicated or global", "service %s: deploy.mode %q is not supported", s.Name, mode)
	}
	if n := replicas(s); n > 1 && s.ContainerName != "" {
		return l.input(at+".container_name", "take container_name out, or run one replica",
			"service %s: container_name %s can be given to one container only, and there are %d replicas", s.Name, s.ContainerName, n)
	}
	if err := l.verifyReferences(p, s); err != nil {
		return err
	}
	return l.verifyFileObjects(p, s)
}

// verifyReferences finds what a service uses and the file does not define.
func (l *loading) verifyReferences(p *types.Project, s types.ServiceConfig) error {
	find := func(kind, name string, defined []string) error {
		if slices.Contains(defined, name) {
			return nil
		}
		hint := fmt.Sprintf("define it: `%s: {%s: ...}` at the top level", kind, name)
		if near := suggest.Nearest(name, defined); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return l.input("services."+s.Name+"."+kind, hint, "service %s uses %s.%s, which is not defined", s.Name, kind, name)
	}
	var errs []error
	for _, name := range sortedKeys(s.Networks) {
		errs = append(errs, find("networks", name, p.NetworkNames()))
	}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeVolume && v.Source != "" {
			errs = append(errs, find("volumes", v.Source, p.VolumeNames()))
		}
	}
	for _, c := range s.Configs {
		errs = append(errs, find("configs", c.Source, p.ConfigNames()))
	}
	for _, c := range s.Secrets {
		errs = append(errs, find("secrets", c.Source, p.SecretNames()))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// verifyFileObjects refuses configs and secrets that only Swarm has, and
// contents that cannot be put into a read-only container, but where the file asks
// for a Swarm. The platform refuses them again where it is none all the same.
func (l *loading) verifyFileObjects(p *types.Project, s types.ServiceConfig) error {
	engine, _ := extension.ParseEngine(p.Extensions[extension.Key]) // a bad one is told later
	swarm := engine == "swarm"
	check := func(kind, name string, c types.FileObjectConfig, known bool) error {
		at := kind + "." + name
		switch {
		case !known:
			return nil // compose-go says so
		case c.Driver != "", c.TemplateDriver != "":
			return l.input(at, "give it `file:`, or `content:` or `environment:`", "%s is made by a driver, which is not supported", at)
		case swarm:
			return nil
		case bool(c.External):
			return l.input(at, "give it `file:`, or `content:` or `environment:`; or ask for a Swarm: `x-shiksha: {engine: swarm}` at the top level",
				"%s is external, which needs a Swarm", at)
		case s.ReadOnly && c.File == "":
			return l.input("services."+s.Name+".read_only", "give "+at+" a `file:`, which is mounted, or make the service writable",
				"service %s is read_only, so the content of %s cannot be put into it", s.Name, at)
		}
		return nil
	}
	for _, c := range s.Configs {
		object, known := p.Configs[c.Source]
		if err := check("configs", c.Source, types.FileObjectConfig(object), known); err != nil {
			return err
		}
	}
	for _, c := range s.Secrets {
		object, known := p.Secrets[c.Source]
		if err := check("secrets", c.Source, types.FileObjectConfig(object), known); err != nil {
			return err
		}
	}
	return nil
}

func (l *loading) verifyDependencies(p *types.Project, s types.ServiceConfig) error {
	for _, name := range sortedKeys(s.DependsOn) {
		if _, ok := p.Services[name]; ok {
			continue
		}
		at := "services." + s.Name + ".depends_on"
		if disabled, ok := p.DisabledServices[name]; ok {
			if !s.DependsOn[name].Required {
				continue
			}
			return l.input(at, "activate the profile, or set `required: false`", "service %s depends on %s, which is only in the inactive profile %s",
				s.Name, name, strings.Join(disabled.Profiles, ", "))
		}
		hint := "add the service, or take the dependency out"
		if near := suggest.Nearest(name, p.ServiceNames()); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return l.input(at, hint, "service %s depends on %s, which is not in the stack", s.Name, name)
	}
	return nil
}

// findCycle gives the first circle of dependencies by name, its start repeated
// at the end, or nil.
func findCycle(p *types.Project) []string {
	const white, grey, black = 0, 1, 2
	color := map[string]int{}
	var path, cycle []string
	var visit func(string) bool
	visit = func(name string) bool {
		switch color[name] {
		case black:
			return false
		case grey:
			cycle = append(slices.Clone(path[slices.Index(path, name):]), name)
			return true
		}
		color[name] = grey
		path = append(path, name)
		for _, next := range sortedKeys(p.Services[name].DependsOn) {
			if visit(next) {
				return true
			}
		}
		path = path[:len(path)-1]
		color[name] = black
		return false
	}
	for _, name := range p.ServiceNames() {
		if visit(name) {
			return cycle
		}
	}
	return nil
}

// composeSchema is the Compose schema as a tree.
var composeSchema = sync.OnceValue(func() map[string]any {
	var tree map[string]any
	if json.Unmarshal([]byte(schema.Schema), &tree) != nil {
		return map[string]any{}
	}
	return tree
})

// knownKeys lists the keys that the Compose schema knows at a path.
func knownKeys(path string) []string {
	nodes := expand(composeSchema(), 0)
	if path != "" {
		for _, part := range strings.Split(path, ".") {
			var next []map[string]any
			for _, n := range nodes {
				if child := mapping(mapping(n["properties"])[part]); child != nil {
					next = append(next, expand(child, 0)...)
					continue
				}
				for pattern, child := range mapping(n["patternProperties"]) {
					if re, err := regexp.Compile(pattern); err == nil && re.MatchString(part) {
						next = append(next, expand(mapping(child), 0)...)
					}
				}
				if items := mapping(n["items"]); items != nil {
					next = append(next, expand(items, 0)...)
				}
			}
			nodes = next
		}
	}
	var keys []string
	for _, n := range nodes {
		keys = append(keys, sortedKeys(mapping(n["properties"]))...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// expand follows $ref and the alternatives of a schema.
func expand(node map[string]any, depth int) []map[string]any {
	if node == nil || depth > 16 {
		return nil
	}
	all := []map[string]any{node}
	if ref, ok := node["$ref"].(string); ok {
		target := any(composeSchema())
		for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			target = mapping(target)[part]
		}
		all = append(all, expand(mapping(target), depth+1)...)
	}
	for _, key := range []string{"allOf", "oneOf", "anyOf"} {
		for _, child := range list(node[key]) {
			all = append(all, expand(mapping(child), depth+1)...)
		}
	}
	return all
}

var (
	yamlPlace  = regexp.MustCompile(`^(?:yaml: )?(?:go-yaml )?load error.*? at L(?:\d+\.C\d+-L)?(\d+)(?:\.C\d+)?: (.*)$`)
	yamlPrefix = regexp.MustCompile(`^(?:yaml: )*(?:construct errors:\s*)?(?:line \d+: )?`)
)

// yamlError says what the parser does not understand, with its line.
func yamlError(file string, err error) error {
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if m := yamlPlace.FindStringSubmatch(text); m != nil {
		file, text = file+":"+m[1], m[2]
	} else if m := lineNumber.FindStringSubmatch(text); m != nil {
		file += ":" + m[1]
	}
	return fault.New(fault.Input, file, "mind the indentation, and quote values that hold : or #",
		"not YAML: %s", yamlPrefix.ReplaceAllString(text, ""))
}
