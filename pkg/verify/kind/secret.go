package kind

import (
	"fmt"
	"path"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/strict"
)

// Secret says where a secret is: in a variable or a file of a service's unit. It
// is never written into a check, and read only when it is used.
type Secret struct {
	Env     string `yaml:"env" help:"Name of a variable of the service that holds it."`
	File    string `yaml:"file" help:"Absolute path of a file in the service's unit that holds it, such as /run/secrets/db."`
	Service string `yaml:"service" help:"The service whose unit knows it. Default: the service of the check."`
	Prefix  string `yaml:"prefix" help:"Text to put before it, such as 'Bearer '."`
}

const referHint = "name where it is: {env: REDIS_PASSWORD, service: redis} or {file: /run/secrets/redis, service: redis}"

// UnmarshalNode reads the reference. What is written in its place may be the
// secret itself, so it is not repeated.
func (s *Secret) UnmarshalNode(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fault.New(fault.Input, "", referHint, "a secret is not written into a check")
	}
	type plain Secret
	var p strict.Problems
	p.Decode(n, (*plain)(s))
	switch {
	case p.Err() != nil:
		return p.Err()
	case (s.Env == "") == (s.File == ""):
		return fault.New(fault.Input, "", referHint, "needs either env or file")
	case s.File != "" && !path.IsAbs(s.File):
		return fault.New(fault.Input, "", referHint, "file is not an absolute path")
	}
	return nil
}

// JSONSchema describes it.
func (Secret) JSONSchema() *jsonschema.Schema { return structSchema[Secret]() }

// reveal reads a secret; service is the check's own. nil gives "".
func (s *Sight) reveal(ref *Secret, service string) (string, error) {
	if ref == nil {
		return "", nil
	}
	if ref.Service != "" {
		service = ref.Service
	}
	if service == "" {
		return "", fmt.Errorf("the secret %s%s names no service", ref.Env, ref.File)
	}
	units, err := s.running(s.Ctx, service)
	if err != nil {
		return "", fmt.Errorf("the secret %s%s cannot be read: %w", ref.Env, ref.File, err)
	}
	value := ""
	if ref.Env != "" {
		unit, err := s.Units.Inspect(s.Ctx, units[0].ID)
		if err != nil {
			return "", err
		}
		value = unit.Env[ref.Env]
	} else {
		out, _, exit, err := s.Shell.ExecEnv(s.Ctx, units[0].ID, []string{"cat", ref.File}, nil, nil)
		if err != nil || exit != 0 {
			return "", fmt.Errorf("the file %s of %s cannot be read", ref.File, units[0].Name)
		}
		value = strings.TrimRight(out, "\r\n")
	}
	if value == "" {
		return "", fmt.Errorf("the secret %s%s of %s is empty", ref.Env, ref.File, service)
	}
	s.Hide(value)
	return ref.Prefix + value, nil
}
