package kind

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
	"github.com/tidwall/gjson"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/suggest"
)

// Match says what a value has to be: a plain value has to be equal, a mapping
// names operators that all have to hold.
type Match struct {
	conditions []condition
}

// condition is one operator with its operand.
type condition struct {
	operator, operand string
	pattern           *regexp.Regexp
	length            Duration
}

// operators by name, with what they say in a report.
var operators = map[string]string{
	"equals": "", "not": "not ", "matches": "a match of ", "not_matches": "no match of ", "contains": "a text with ",
	"lt": "less than ", "le": "at most ", "gt": "more than ", "ge": "at least ",
	"exists": "", "age_below": "a time less than ", "empty": "",
}

// UnmarshalNode reads it.
func (m *Match) UnmarshalNode(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		m.conditions = []condition{{operator: "equals", operand: n.Value}}
		return nil
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			c, err := newCondition(n.Content[i].Value, n.Content[i+1])
			if err != nil {
				return err
			}
			m.conditions = append(m.conditions, c)
		}
		if len(m.conditions) > 0 {
			return nil
		}
	}
	return fault.New(fault.Input, "", "for example: healthy, or {ge: 2}", "has to be a value, or a mapping of %s", strings.Join(sorted(operators), ", "))
}

func newCondition(name string, operand *yaml.Node) (c condition, err error) {
	if _, ok := operators[name]; !ok {
		hint := "it may be " + strings.Join(sorted(operators), ", ")
		if near := suggest.Nearest(name, sorted(operators)); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return c, fault.New(fault.Input, "", hint, "unknown operator %q", name)
	}
	if operand.Kind != yaml.ScalarNode {
		return c, fmt.Errorf("%s needs a single value", name)
	}
	c = condition{operator: name, operand: operand.Value}
	switch name {
	case "matches", "not_matches":
		c.pattern, err = regexp.Compile(c.operand)
	case "age_below":
		c.length, err = ParseDuration(c.operand)
	case "lt", "le", "gt", "ge":
		if _, numeric := strconv.ParseFloat(c.operand, 64); numeric != nil {
			err = fmt.Errorf("%s needs a number, not %q", name, c.operand)
		}
	case "exists", "empty":
		if c.operand != "true" && c.operand != "false" {
			err = fmt.Errorf("%s needs true or false", name)
		}
	}
	return c, err
}

// asks tells whether an operator is among the conditions.
func (m Match) asks(operator string) bool {
	return slices.ContainsFunc(m.conditions, func(c condition) bool { return c.operator == operator })
}

// check compares a value; exists tells whether there is one at all. What is asked
// of a value that is not there does not hold.
func (m Match) check(s *Sight, what, value string, exists bool) {
	for _, c := range m.conditions {
		c, err := c.with(s)
		if err != nil {
			s.blind(err)
			continue
		}
		found, hint := "nothing", absentHint
		if exists {
			found = what + " is " + quoted(value)
		}
		if exists || c.operator == "exists" {
			hint = ""
		}
		s.need("match."+c.operator, c.holds(value, exists), what+" to be "+c.String(), found, hint)
	}
}

const absentHint = "nothing is there: `exists: false` asks for that"

// checkRows compares an answer that may have no members at all: that is empty, though
// there is no value.
func (m Match) checkRows(s *Sight, what, value string, exists, none bool) {
	for _, c := range m.conditions {
		one := Match{conditions: []condition{c}}
		one.check(s, what, value, exists || none && c.operator == "empty")
	}
}

// checkJSON compares a value of a JSON body. null is not there, nor are values of a path
// through a list (`data.#.id`) of which none was found; they, `[]` and `{}` are empty. Who
// writes JSON (`"null"`, `"[]"`) means just that, and what a value is not to be null is not:
// `last_error: {not_matches: timeout}` has no other way to say so.
func (m Match) checkJSON(s *Sight, path string, value gjson.Result) {
	hollow := value.IsArray() && len(value.Array()) == 0 || value.IsObject() && len(value.Map()) == 0
	none := value.Exists() && (value.Type == gjson.Null || hollow && strings.Contains(path, "#"))
	for _, c := range m.conditions {
		one, text, exists := Match{conditions: []condition{c}}, value.String(), value.Exists() && !none
		switch {
		case (none || hollow) && c.operator == "empty":
			text, exists = "", true
		case none && (c.operator == "not" || c.operator == "not_matches"):
			exists = true
		case none && c.operator == "equals":
			text, exists = value.Raw, c.operand == value.Raw
		}
		one.check(s, path, text, exists)
	}
}

// checkOutput compares what a program printed. Nothing is an empty text too, but for
// the operators that would hold for whatever is missing: for them it is not there.
func (m Match) checkOutput(s *Sight, what, text string, minds ...string) {
	for _, c := range m.conditions {
		one := Match{conditions: []condition{c}}
		one.check(s, what, text, text != "" || !slices.Contains(minds, c.operator))
	}
}

// with puts the variables in. In a pattern a value stands for itself, whatever signs
// are in it.
func (c condition) with(s *Sight) (condition, error) {
	var err error
	if c.pattern == nil {
		c.operand, err = s.expand(c.operand)
		return c, err
	}
	if c.operand, err = s.expandAs(c.operand, regexp.QuoteMeta); err == nil {
		c.pattern, err = regexp.Compile(c.operand)
	}
	return c, err
}

func (c condition) holds(value string, exists bool) bool {
	if c.operator == "exists" {
		return exists == (c.operand == "true")
	}
	if !exists {
		return false
	}
	switch c.operator {
	case "equals":
		return same(value, c.operand)
	case "not":
		return !same(value, c.operand)
	case "matches":
		return c.pattern.MatchString(value)
	case "not_matches":
		return !c.pattern.MatchString(value)
	case "contains":
		return strings.Contains(value, c.operand)
	case "empty":
		return (strings.TrimSpace(value) == "") == (c.operand == "true")
	case "age_below":
		at, ok := moment(value)
		// A clock that runs ahead is as wrong as an old answer.
		return ok && time.Since(at).Abs() < time.Duration(c.length)
	}
	return c.compares(value)
}

func (c condition) compares(value string) bool {
	have, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	limit, wrong := strconv.ParseFloat(c.operand, 64)
	if err != nil || wrong != nil {
		return false
	}
	switch c.operator { // none of them holds for NaN
	case "lt":
		return have < limit
	case "le":
		return have <= limit
	case "gt":
		return have > limit
	}
	return have >= limit
}

// same compares texts, and numbers by value.
func same(a, b string) bool {
	if a = strings.TrimSpace(a); a == strings.TrimSpace(b) {
		return true
	}
	x, err := strconv.ParseFloat(a, 64)
	y, wrong := strconv.ParseFloat(b, 64)
	return err == nil && wrong == nil && x == y
}

// moment reads a time: seconds since 1970, or RFC 3339.
func moment(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Unix(0, int64(f*float64(time.Second))), f > 0
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	return at, err == nil
}

func (c condition) String() string {
	switch c.operator {
	case "exists":
		if c.operand == "true" {
			return "there"
		}
		return "absent"
	case "empty":
		if c.operand == "true" {
			return "empty"
		}
		return "something"
	case "age_below":
		return "a time less than " + c.length.String() + " away"
	}
	return operators[c.operator] + strconv.Quote(c.operand)
}

// JSONSchema describes it.
func (Match) JSONSchema() *jsonschema.Schema {
	properties := jsonschema.NewProperties()
	for _, name := range sorted(operators) {
		properties.Set(name, &jsonschema.Schema{Type: "", AnyOf: scalars})
	}
	one := uint64(1)
	return &jsonschema.Schema{AnyOf: append([]*jsonschema.Schema{
		{Type: "object", Properties: properties, AdditionalProperties: jsonschema.FalseSchema, MinProperties: &one},
	}, scalars...)}
}

var scalars = []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}
