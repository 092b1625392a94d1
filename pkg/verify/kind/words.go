package kind

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
)

// Duration is a length of time as Go writes it, and with d for days: 30s, 26h, 21d.
type Duration time.Duration

var days = regexp.MustCompile(`^(\d+)d`)

// ParseDuration reads a length of time.
func ParseDuration(text string) (Duration, error) {
	var whole time.Duration
	rest := text
	if m := days.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 36500 {
			return 0, fmt.Errorf("%q is too long", text)
		}
		whole, rest = time.Duration(n)*24*time.Hour, text[len(m[0]):]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, fault.New(fault.Input, "", "write it with its unit, like 30s, 26h or 21d", "%q is not a length of time", text)
		}
		whole += d
	}
	return Duration(whole), nil
}

// UnmarshalNode reads it from a file.
func (d *Duration) UnmarshalNode(n *yaml.Node) (err error) {
	if n.Value == "" { // a list and a mapping have none
		return fault.New(fault.Input, "", "write it with its unit, like 30s, 26h or 21d", "has to be a length of time")
	}
	*d, err = ParseDuration(n.Value)
	return err
}

// String is the shortest way a checks file would say it.
func (d Duration) String() string {
	t := time.Duration(d)
	if t >= 48*time.Hour && t%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", t/(24*time.Hour))
	}
	text := t.String()
	text = strings.Replace(text, "m0s", "m", 1)
	return strings.Replace(text, "h0m", "h", 1)
}

// or gives the length or a default.
func (d Duration) or(fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return time.Duration(d)
}

// given gives a setting in which 0 means something, or its default.
func given[T any](value *T, fallback T) T {
	if value == nil {
		return fallback
	}
	return *value
}

// JSONSchema describes it.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^(\d+d)?(\d+(\.\d+)?(h|m|s|ms))*$`, Examples: []any{"30s", "26h", "21d"}}
}

// share refuses one that is written as a percentage: no use would ever be more.
func share(name string, value float64) error {
	if value > 1 {
		return fault.New(fault.Input, "", fmt.Sprintf("for %g percent write %g", value, value/100), "%s is a share, at most 1, and not %g", name, value)
	}
	return nil
}

// Pattern is a regular expression of Go.
type Pattern struct{ *regexp.Regexp }

// UnmarshalNode compiles it.
func (p *Pattern) UnmarshalNode(n *yaml.Node) (err error) {
	if n.Kind != yaml.ScalarNode {
		return errors.New("has to be a regular expression")
	}
	if p.Regexp, err = regexp.Compile(n.Value); err != nil {
		return fmt.Errorf("%q is not a regular expression: %w", n.Value, err)
	}
	return nil
}

// given tells whether there is one.
func (p Pattern) given() bool { return p.Regexp != nil }

// JSONSchema describes it.
func (Pattern) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Format: "regex"}
}

// Statuses are HTTP status codes: 200, or [401, 422], or 2xx.
type Statuses []string

var status = regexp.MustCompile(`^[1-5](\d\d|xx)$`)

// UnmarshalNode reads one or several.
func (s *Statuses) UnmarshalNode(n *yaml.Node) error {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	*s = nil
	for _, one := range nodes {
		if !status.MatchString(one.Value) {
			return fault.New(fault.Input, "", "write 200, 2xx, or a list like [401, 422]", "%q is not a status", one.Value)
		}
		*s = append(*s, one.Value)
	}
	return nil
}

// has tells whether a code is one of them.
func (s Statuses) has(code int) bool {
	text := strconv.Itoa(code)
	for _, want := range s {
		if want == text || strings.HasSuffix(want, "xx") && want[0] == text[0] {
			return true
		}
	}
	return false
}

// String lists them for people.
func (s Statuses) String() string { return strings.Join(s, " or ") }

// JSONSchema describes it.
func (Statuses) JSONSchema() *jsonschema.Schema {
	one := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "integer", Minimum: "100", Maximum: "599"}, {Type: "string", Pattern: status.String()},
	}}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one, {Type: "array", Items: one}}}
}

func mustPattern(text string) Pattern { return Pattern{regexp.MustCompile(text)} }
