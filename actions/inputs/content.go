package inputs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/shiksha/actions/pkg/stack"
)

// Secret is an input that must never be shown. On the command line it is given
// as @path, because arguments are visible to everybody on the machine. It prints
// itself as stars.
type Secret string

// String hides the secret.
func (Secret) String() string { return "***" }

// GoString hides the secret.
func (Secret) GoString() string { return "***" }

// MarshalText hides the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Bytes gives the secret; nil when it was not given.
func (s Secret) Bytes() []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// Content is an input that carries the content of a file. On the command line it
// also takes @path.
type Content string

// Bytes gives the content; nil when none was given.
func (c Content) Bytes() []byte {
	if c == "" {
		return nil
	}
	return []byte(c)
}

// EnvFile is variables as a file of NAME=value lines: either its content, or its
// path in the workspace.
type EnvFile struct {
	// Content is set when the content was given, Path when a path was.
	Content, Path string
}

// Bytes gives the content. A path is looked for in workspace and may not leave it; what
// a person named with @ was read already.
func (e EnvFile) Bytes(workspace string) ([]byte, error) {
	if e.Path == "" {
		if e.Content == "" {
			return nil, nil
		}
		return []byte(e.Content + "\n"), nil
	}
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	data, err := root.ReadFile(e.Name(workspace))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s in the workspace: %w", e.Path, cause(err))
	}
	return data, nil
}

// Name is what messages call the file: its path in the workspace, where it has one.
func (e EnvFile) Name(workspace string) string {
	if e.Path == "" {
		return "env-file"
	}
	name, _ := InWorkspace(workspace, e.Path) // of a path outside it reading tells
	return name
}

// Secrets lists the values of the content that look like secrets.
func (e EnvFile) Secrets() []string { return SecretValues(e.Content) }

func setSecret(g given, target reflect.Value) error {
	text := g.text
	if !g.runner {
		path, ok := strings.CutPrefix(text, "@")
		if !ok {
			return g.problem(fmt.Sprintf("write --%s=@path to read it from a file, or set it in the environment as INPUT_%s",
				g.flag.Name, strings.ToUpper(g.flag.Name)),
				"a secret on the command line is visible to everybody on this machine")
		}
		var err error
		if text, err = g.read(path); err != nil {
			return err
		}
	}
	// Files and copied secrets end in a line end that is not part of them.
	target.SetString(strings.TrimRight(text, "\r\n"))
	return nil
}

// marker begins a line of a known_hosts file that is no file's name.
var marker = regexp.MustCompile(`^@(cert-authority|revoked)\s`)

func setContent(g given, target reflect.Value) error {
	text := g.text
	if path, ok := strings.CutPrefix(text, "@"); ok && !g.runner && !marker.MatchString(text) {
		var err error
		if text, err = g.read(path); err != nil {
			return err
		}
	}
	target.SetString(strings.TrimSpace(text))
	return nil
}

func setEnvFile(g given, target reflect.Value) error {
	text := strings.TrimSpace(g.text)
	switch path, at := strings.CutPrefix(text, "@"); {
	case at && !g.runner:
		content, err := g.read(path)
		if err != nil {
			return err
		}
		target.Set(reflect.ValueOf(EnvFile{Content: strings.TrimSpace(content)}))
	case !strings.ContainsAny(text, "=\n"):
		target.Set(reflect.ValueOf(EnvFile{Path: text}))
	case !g.runner:
		return g.problem("write --env-file=@path, or the path of a file in the workspace",
			"content on the command line is visible to everybody on this machine")
	default:
		target.Set(reflect.ValueOf(EnvFile{Content: text}))
	}
	return nil
}

func (g given) read(path string) (string, error) {
	data, err := g.source.ReadFile(path)
	if err != nil {
		hint := ""
		if strings.HasPrefix(path, "~") {
			hint = "the shell leaves ~ as it is behind @: write $HOME"
		}
		return "", g.problem(hint, "cannot read %s: %w", path, cause(err))
	}
	return string(data), nil
}

// cause takes the path out of a file error, since the message has it already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// SecretValues picks out of a dotenv file the values that must not be shown: by
// their name, passwords in addresses, and long random text. Hiding every value
// would hide words like "info" or "production" everywhere. Each is given as it
// stands in the file and as Compose reads it (quotes, comments, variables), line
// by line, since that is how they could appear.
func SecretValues(content string) []string {
	var secrets []string
	for _, line := range strings.Split(content, "\n") {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			secrets = append(secrets, stack.SecretsIn(name, strings.Trim(strings.TrimSpace(value), `"'`))...)
		}
	}
	// What cannot be read as a whole is refused where it is used, with its line.
	read, _ := dotenv.Parse(strings.NewReader(content))
	for _, name := range slices.Sorted(maps.Keys(read)) {
		secrets = append(secrets, stack.SecretsIn(name, read[name])...)
	}
	secrets = strings.Split(strings.Join(secrets, "\n"), "\n")
	slices.Sort(secrets)
	return slices.DeleteFunc(slices.Compact(secrets), func(s string) bool { return strings.TrimSpace(s) == "" })
}
