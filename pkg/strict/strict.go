// Package strict reads YAML into Go structs and takes nothing that they do not
// declare: an unknown key is told with its line and the nearest known one, and so
// is a value of the wrong form. Every problem of a file is told at once.
package strict

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/suggest"
)

const (
	maxSize  = 1 << 20
	maxNodes = 50_000
)

// Node reads itself from a node. Its error is the text of a problem; a
// *fault.Error may bring a hint.
type Node interface {
	UnmarshalNode(*yaml.Node) error
}

// Problems are the mistakes found in one file.
type Problems struct {
	// File is what messages call it.
	File string
	list []*fault.Error
}

// Add keeps a problem at the line of a node.
func (p *Problems) Add(at *yaml.Node, hint, format string, args ...any) {
	where := p.File
	if at != nil && at.Line > 0 {
		where += ":" + strconv.Itoa(at.Line)
	}
	p.list = append(p.list, fault.New(fault.Input, where, hint, format, args...))
}

// Err is nil without problems, the problem itself where it is one, else all of
// them by line.
func (p *Problems) Err() error {
	switch len(p.list) {
	case 0:
		return nil
	case 1:
		return p.list[0]
	}
	lines := []string{fmt.Sprintf("%d mistakes in %s", len(p.list), p.File)}
	for _, e := range p.list {
		line := "  - " + e.Error()
		if e.Hint != "" {
			line += " (" + e.Hint + ")"
		}
		lines = append(lines, line)
	}
	return fault.New(fault.Input, "", "", "%s", strings.Join(lines, "\n"))
}

// yamlLine finds the line in what the YAML library says of a mistake.
var yamlLine = regexp.MustCompile(`\bL(\d+)\b`)

// Parse gives the root of a YAML document.
func Parse(file string, content []byte) (*yaml.Node, error) {
	if len(content) > maxSize {
		return nil, fault.New(fault.Input, file, "", "is larger than %d KiB", maxSize>>10)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			file += ":" + m[1]
		}
		return nil, fault.New(fault.Input, file, "look at the line and the one above it: indentation, quotes, brackets", "not YAML: %w", err)
	}
	if len(doc.Content) == 0 {
		return nil, fault.New(fault.Input, file, "", "is empty")
	}
	if at, err := finite(doc.Content[0]); err != nil {
		return nil, fault.New(fault.Input, fmt.Sprintf("%s:%d", file, at.Line), "", "%w", err)
	}
	return doc.Content[0], nil
}

// finite refuses a tree that has no end because an anchor holds itself, and one
// whose aliases multiply each other; it names the node where that shows.
func finite(root *yaml.Node) (*yaml.Node, error) {
	left, open := maxNodes, map[*yaml.Node]bool{}
	var walk func(n *yaml.Node) (*yaml.Node, error)
	walk = func(n *yaml.Node) (*yaml.Node, error) {
		if left--; left < 0 {
			return n, errors.New("the file is made of too many parts")
		}
		if open[n] {
			return n, errors.New("an anchor is used inside of itself")
		}
		open[n] = true
		defer delete(open, n)
		children := n.Content
		if n.Kind == yaml.AliasNode {
			children = []*yaml.Node{n.Alias}
		}
		for _, child := range children {
			if at, err := walk(child); err != nil {
				return at, err
			}
		}
		return nil, nil
	}
	return walk(root)
}

// Decode fills into, a pointer, from a node.
func (p *Problems) Decode(node *yaml.Node, into any) { p.DecodeAs("", node, into) }

// DecodeAs is Decode for a node that messages call path.
func (p *Problems) DecodeAs(path string, node *yaml.Node, into any) {
	if at, err := finite(node); err != nil {
		p.Add(at, "", "%w", err)
		return
	}
	p.value(node, reflect.ValueOf(into).Elem(), path)
}

func (p *Problems) value(node *yaml.Node, v reflect.Value, path string) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if custom, ok := v.Addr().Interface().(Node); ok {
		if err := custom.UnmarshalNode(node); err != nil {
			p.Add(node, fault.Hint(err), "%s: %w", path, err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		p.mapping(node, v, path)
	case reflect.Slice:
		p.sequence(node, v, path)
	case reflect.Map:
		p.dictionary(node, v, path)
	default:
		p.scalar(node, v, path)
	}
}

// Pair is one entry of a mapping.
type Pair struct{ Key, Value *yaml.Node }

// Pairs lists the entries of a mapping, merge keys (<<) resolved: what stands in
// the mapping itself wins.
func Pairs(node *yaml.Node) []Pair {
	var own, merged []Pair
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if key.Value != "<<" {
			own = append(own, Pair{key, value})
			continue
		}
		sources := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			sources = value.Content
		}
		for _, s := range sources {
			for s.Kind == yaml.AliasNode {
				s = s.Alias
			}
			if s.Kind == yaml.MappingNode {
				merged = append(merged, Pairs(s)...)
			}
		}
	}
	for _, m := range merged {
		if !slices.ContainsFunc(own, func(o Pair) bool { return o.Key.Value == m.Key.Value }) {
			own = append(own, m)
		}
	}
	return own
}

func (p *Problems) mapping(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		p.Add(node, "it may have "+strings.Join(Keys(v.Type()), ", "), "%s has to be a mapping", orFile(path))
		return
	}
	fields := fieldsOf(v)
	seen := map[string]bool{}
	for _, entry := range Pairs(node) {
		key := entry.Key.Value
		field, ok := fields[key]
		switch {
		case !ok:
			known := Keys(v.Type())
			hint := "it may have " + strings.Join(known, ", ")
			if near := suggest.Nearest(key, known); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			p.Add(entry.Key, hint, "unknown key %q in %s", key, orFile(path))
		case seen[key]:
			p.Add(entry.Key, "take one of them out", "%s stands there twice", join(path, key))
		default:
			before := len(p.list)
			p.value(entry.Value, field.value, join(path, key))
			if len(p.list) > before {
				break
			}
			p.choice(entry.Value, field, join(path, key))
			p.size(entry.Value, field, join(path, key))
		}
		seen[key] = true
	}
	for _, name := range Keys(v.Type()) {
		if fields[name].required && !seen[name] {
			p.Add(node, "", "%s is missing in %s", name, orFile(path))
		}
	}
}

// choice refuses a text that is none of those its field names.
func (p *Problems) choice(node *yaml.Node, f field, path string) {
	if len(f.choices) == 0 || f.value.Kind() != reflect.String || slices.Contains(f.choices, f.value.String()) {
		return
	}
	p.Add(node, "", "%s is none of %s", path, strings.Join(f.choices, ", "))
}

// size refuses a number that is not more than 0 where it has to be.
func (p *Problems) size(node *yaml.Node, f field, path string) {
	if f.positive && !(f.value.CanInt() && f.value.Int() > 0 || f.value.CanFloat() && f.value.Float() > 0) {
		p.Add(node, "leave it out for the default", "%s has to be more than 0", path)
	}
}

func (p *Problems) sequence(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.SequenceNode {
		p.Add(node, "", "%s has to be a list", orFile(path))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		p.value(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(out)
}

func (p *Problems) dictionary(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		p.Add(node, "", "%s has to be a mapping", orFile(path))
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, entry := range Pairs(node) {
		item := reflect.New(v.Type().Elem()).Elem()
		p.value(entry.Value, item, join(path, entry.Key.Value))
		out.SetMapIndex(reflect.ValueOf(entry.Key.Value), item)
	}
	v.Set(out)
}

func (p *Problems) scalar(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		p.Add(node, "", "%s has to be a single value", path)
		return
	}
	text := node.Value
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			p.Add(node, "", "%s has to be a whole number", path)
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			p.Add(node, "", "%s has to be a number", path)
		}
		v.SetFloat(f)
	case reflect.Bool:
		if node.Tag != "!!bool" {
			p.Add(node, "", "%s has to be true or false", path)
		}
		v.SetBool(text == "true" || text == "True" || text == "TRUE")
	default:
		panic("strict: no rule for " + v.Type().String())
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}
