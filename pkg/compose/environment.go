package compose

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/fault"
)

// lookup finds the value of a variable; false when it is not set.
type lookup = template.Mapping

// unsetVariable is a variable that a file uses, that nothing sets and that has
// no default there. Reason is the message of ${X:?message}; NoDefault says that
// the place cannot give one (`environment: X` of a secret).
type unsetVariable struct {
	Name, Reason, File, Path string
	Line                     int
	NoDefault                bool
}

func (u unsetVariable) String() string {
	text := u.Name
	if u.Line > 0 {
		text += fmt.Sprintf(" (line %d, %s)", u.Line, u.Path)
	} else if u.Path != "" {
		text += " (" + u.Path + ")"
	}
	if u.Reason != "" {
		text += ": " + u.Reason
	}
	return text
}

// explicitEnvironment is all that a Compose file can see: the env-file input
// and the variables the caller names.
func explicitEnvironment(opts LoadOptions) (types.Mapping, error) {
	name := opts.EnvFileName
	if name == "" {
		name = "env-file"
	}
	given := func(k string) (string, bool) { v, ok := opts.Environment[k]; return v, ok }
	env, err := parseEnv(name, opts.EnvFile, given)
	if err != nil {
		return nil, err
	}
	maps.Copy(env, opts.Environment)
	return env, nil
}

var lineNumber = regexp.MustCompile(`line (\d+)`)

// parseEnv reads dotenv content. A variable in it that is set neither by look
// nor earlier in the content is an error. No error repeats the content: it
// holds secrets.
func parseEnv(name string, content []byte, look lookup) (types.Mapping, error) {
	vars := map[string]string{}
	asked := map[string]bool{}
	recording := func(k string) (string, bool) {
		if v, ok := look(k); ok {
			return v, true
		}
		if v, ok := vars[k]; ok {
			return v, true
		}
		asked[k] = true
		return "", true // found, or the parser would warn on the terminal
	}
	err := dotenv.ParseWithFormat(bytes.NewReader(content), name, vars, recording, "")
	if err != nil {
		return nil, badEnvFile(name, err)
	}
	known := func(k string) (string, bool) {
		if v, ok := look(k); ok {
			return v, true
		}
		v, ok := vars[k]
		return v, ok && !asked[k]
	}
	var unset []unsetVariable
	for _, u := range unsetIn(string(content), known) {
		// The parser does not ask for what stands in comments and single quotes.
		if asked[u.Name] && !slices.ContainsFunc(unset, func(o unsetVariable) bool { return o.Name == u.Name }) {
			unset = append(unset, unsetVariable{Name: u.Name, Reason: u.Reason, File: name})
		}
	}
	if len(unset) > 0 {
		return nil, unsetError(unset)
	}
	vars = map[string]string{}
	if err := dotenv.ParseWithFormat(bytes.NewReader(content), name, vars, dotenv.LookupFn(look), ""); err != nil {
		return nil, badEnvFile(name, err)
	}
	return vars, nil
}

func badEnvFile(name string, err error) error {
	line := ""
	if m := lineNumber.FindString(err.Error()); m != "" {
		line = m + ": "
	}
	var required *template.MissingRequiredError
	if errors.As(err, &required) {
		return unsetError([]unsetVariable{{Name: required.Variable, Reason: required.Reason, File: name}})
	}
	return fault.New(fault.Input, name, "write one NAME=value a line; quote values that hold spaces or #",
		"%snot in the form NAME=value", line)
}

// parseRaw reads env_file content of Compose's format "raw": values are taken
// as they stand.
func parseRaw(name string, content []byte, look lookup) (types.Mapping, error) {
	vars := types.Mapping{}
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if key == "" {
			return nil, fault.New(fault.Input, name, "", "line %d has no name before the =", i+1)
		}
		if !found {
			if v, ok := look(key); ok {
				vars[key] = v
			}
			continue
		}
		vars[key] = value
	}
	return vars, nil
}

// unsetError says in one error which variables are missing, by file.
func unsetError(unset []unsetVariable) error {
	first := unset[0].File
	var texts []string
	for _, u := range unset {
		text := u.String()
		if u.File != first {
			text += " in " + u.File
		}
		texts = append(texts, text)
	}
	noun := "variable is not set"
	if len(texts) > 1 {
		noun = "variables are not set"
	}
	hint := "set it in env-file"
	if !unset[0].NoDefault {
		hint += ", or give it a default in the file: ${" + unset[0].Name + ":-default}"
	}
	return fault.New(fault.Input, first, hint, "%s: %s", noun, strings.Join(texts, ", "))
}

// substitute is Compose's interpolation, with an unset variable an error
// instead of a warning and an empty string.
func substitute(text string, look template.Mapping) (string, error) {
	if unset := unsetIn(text, look); len(unset) > 0 {
		return "", fmt.Errorf("variable %s is not set", unset[0].Name)
	}
	return template.Substitute(text, look)
}

var variableName = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*`)

// unsetIn lists the variables of a template that would become an empty string
// because nothing sets them, or that the template itself requires (${X:?}).
// Defaults are looked into only where they would be used.
func unsetIn(text string, look lookup) []unsetVariable {
	var unset []unsetVariable
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 >= len(text) {
			continue
		}
		rest := text[i+1:]
		switch {
		case rest[0] == '$':
			i++
		case rest[0] == '{':
			end := closingBrace(rest)
			if end < 0 {
				return unset // the library says what is wrong with it
			}
			unset = append(unset, unsetInBraces(rest[1:end], look)...)
			i += end + 1
		default:
			name := variableName.FindString(rest)
			if _, ok := look(name); name != "" && !ok {
				unset = append(unset, unsetVariable{Name: name})
			}
			i += len(name)
		}
	}
	return unset
}

// unsetInBraces is unsetIn for what stands between ${ and }.
func unsetInBraces(inside string, look lookup) []unsetVariable {
	name := variableName.FindString(inside)
	operator, word := "", inside[len(name):]
	for _, o := range []string{":-", ":?", ":+", "-", "?", "+"} {
		if strings.HasPrefix(word, o) {
			operator, word = o, word[len(o):]
			break
		}
	}
	value, ok := look(name)
	if strings.HasPrefix(operator, ":") {
		ok = ok && value != ""
	}
	switch {
	case name == "" || operator == "" && word != "":
		return nil // not a template; the library says so
	case operator == "" && !ok:
		return []unsetVariable{{Name: name}}
	case strings.HasSuffix(operator, "?") && !ok:
		return []unsetVariable{{Name: name, Reason: word}}
	case strings.HasSuffix(operator, "-") && !ok, strings.HasSuffix(operator, "+") && ok:
		return unsetIn(word, look)
	}
	return nil
}

// closingBrace finds the } that belongs to the { that s starts with, or -1.
func closingBrace(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// resolveEnvironment gives every service its variables and labels: env_file and
// label_file from inside the workspace, values from the explicit environment.
func (l *loading) resolveEnvironment(p *types.Project) error {
	for _, name := range p.ServiceNames() {
		s := p.Services[name]
		if err := l.serviceEnvironment(name, &s); err != nil {
			return err
		}
		if err := l.serviceLabels(name, &s); err != nil {
			return err
		}
		p.Services[name] = s
	}
	return nil
}

func (l *loading) serviceEnvironment(name string, s *types.ServiceConfig) error {
	own := s.Environment.Resolve(func(k string) (string, bool) { v, ok := l.env[k]; return v, ok })
	env := types.Mapping{}
	look := func(k string) (string, bool) {
		if v, ok := l.env[k]; ok {
			return v, true
		}
		if v, ok := own[k]; ok && v != nil {
			return *v, true
		}
		v, ok := env[k]
		return v, ok
	}
	for _, file := range s.EnvFiles {
		content, err := l.readFile("services."+name+".env_file", file.Path)
		if errors.Is(err, os.ErrNotExist) && !bool(file.Required) {
			l.warn("service %s: its env_file %s is not there (required: false), so the container gets none of the variables that it would hold", name, l.ws.rel(file.Path))
			continue
		}
		if err != nil {
			return err
		}
		parse := parseEnv
		switch file.Format {
		case "", dotenv.DotEnv:
		case "raw":
			parse = parseRaw
		default:
			return l.input("services."+name+".env_file", `use "raw", or no format`, "service %s: env_file %s has an unknown format %q", name, l.ws.rel(file.Path), file.Format)
		}
		vars, err := parse(l.ws.rel(file.Path), content, look)
		if err != nil {
			return err
		}
		maps.Copy(env, vars)
	}
	resolved := types.MappingWithEquals{}
	for k, v := range env {
		resolved[k] = &v
	}
	resolved = resolved.OverrideBy(own)
	for _, k := range slices.Sorted(maps.Keys(resolved)) {
		if resolved[k] == nil {
			l.warn("service %s: environment names %s without a value and env-file has none, so the container gets none", name, k)
		}
	}
	s.Environment, s.EnvFiles = resolved, nil
	if len(resolved) == 0 {
		s.Environment = nil
	}
	return nil
}

func (l *loading) serviceLabels(name string, s *types.ServiceConfig) error {
	labels := types.Labels{}
	for _, file := range s.LabelFiles {
		content, err := l.readFile("services."+name+".label_file", file)
		if err != nil {
			return err
		}
		vars, err := parseEnv(l.ws.rel(file), content, func(k string) (string, bool) { v, ok := labels[k]; return v, ok })
		if err != nil {
			return err
		}
		maps.Copy(labels, vars)
	}
	maps.Copy(labels, s.Labels)
	s.Labels, s.LabelFiles = labels, nil
	if len(labels) == 0 {
		s.Labels = nil
	}
	return nil
}

// readFile reads a file that the model refers to, inside the workspace only.
func (l *loading) readFile(path, file string) ([]byte, error) {
	real, err := l.ws.confine(file)
	if err == nil {
		var content []byte
		if content, err = os.ReadFile(real); err == nil {
			return content, nil
		}
		err = cause(err)
	}
	hint := ""
	if missing := errors.Is(err, os.ErrNotExist); missing || errors.Is(err, errOutside) {
		hint = fileHint(path, missing)
	}
	return nil, l.input(path, hint, "%s: %s: %w", path, l.ws.rel(file), err)
}

func (l *loading) warn(format string, args ...any) {
	l.warns = append(l.warns, fmt.Sprintf(format, args...))
}

// otherFiles refuses a COMPOSE_FILE where no files are named: Compose would read those it
// names, and half of a stack would be released.
func (l *loading) otherFiles() error {
	named := l.env[consts.ComposeFilePath]
	files := strings.Split(named, cmp.Or(l.env[consts.ComposePathSeparator], ":"))
	alone := len(files) == 1 && filepath.Join(l.ws.dir, files[0]) == l.files[0] // what is read anyway
	if named == "" || alone || len(l.opts.Files) > 0 {
		return nil
	}
	return fault.New(fault.Input, "env-file", "say compose-file: "+strings.Join(files, ",")+", or take COMPOSE_FILE out",
		"COMPOSE_FILE=%s is not read there", named)
}
