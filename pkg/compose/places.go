package compose

import (
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// place names where a path of the merged model stands, as errors do.
func (s *scanner) place(path, fallback string) string {
	if file, line := s.places.Find(path); line > 0 {
		return file + ":" + strconv.Itoa(line)
	}
	return fallback
}

// placeIn is place within one file.
func (s *scanner) placeIn(file, path string) string {
	name := s.ws.rel(file)
	for path != "" {
		if line := s.places.Lines[name][path]; line > 0 {
			return name + ":" + strconv.Itoa(line)
		}
		path = path[:max(strings.LastIndex(path, "."), 0)]
	}
	return name
}

// walk notes where keys stand and which variables of the values are not set.
// Aliases are followed for lines only: their text is looked at where it is written.
func (s *scanner) walk(file string, node *yaml.Node, path string, env types.Mapping) {
	if node.Tag == "!reset" {
		return
	}
	switch node.Kind {
	case yaml.DocumentNode:
		for _, n := range node.Content {
			s.walk(file, n, path, env)
		}
	case yaml.SequenceNode:
		for i, n := range node.Content {
			next := join(path, strconv.Itoa(i))
			if _, known := s.places.Lines[file][next]; !known {
				s.places.Lines[file][next] = n.Line
			}
			s.walk(file, n, next, env)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			next := join(path, node.Content[i].Value)
			if _, known := s.places.Lines[file][next]; !known {
				s.places.Lines[file][next] = node.Content[i].Line
			}
			s.walk(file, node.Content[i+1], next, env)
		}
		s.inherited(file, node, path)
	case yaml.AliasNode:
		s.locate(file, node, path, nil, nil)
	case yaml.ScalarNode:
		for _, u := range unsetIn(node.Value, lookupIn(env)) {
			s.missing(unsetVariable{Name: u.Name, Reason: u.Reason, File: file, Path: path, Line: node.Line})
		}
		if name, ok := strings.CutSuffix(path, ".environment"); ok && strings.Count(name, ".") == 1 &&
			(strings.HasPrefix(name, "secrets.") || strings.HasPrefix(name, "configs.")) {
			if _, set := env[node.Value]; !set {
				s.missing(unsetVariable{Name: node.Value, File: file, Path: path, Line: node.Line, NoDefault: true})
			}
		}
	}
}

// inherited notes the lines of keys that a mapping takes over from others (<<).
func (s *scanner) inherited(file string, node *yaml.Node, path string) {
	own := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		own[node.Content[i].Value] = true
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value != "<<" {
			continue
		}
		from := []*yaml.Node{node.Content[i+1]}
		if from[0].Kind == yaml.SequenceNode {
			from = from[0].Content
		}
		for _, n := range from {
			s.locate(file, n, path, own, nil)
		}
	}
}

// locate notes the lines of keys below a node that stands for another path, but for
// the given ones. Above are the nodes it stands in: a circle ends there.
func (s *scanner) locate(file string, node *yaml.Node, path string, except map[string]bool, above []*yaml.Node) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode || slices.Contains(above, node) || len(above) > 8 {
		return
	}
	above = append(above, node)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i].Value
		if key == "<<" {
			s.locate(file, node.Content[i+1], path, except, above)
			continue
		}
		next := join(path, key)
		if _, known := s.places.Lines[file][next]; known || except[key] {
			continue
		}
		s.places.Lines[file][next] = node.Content[i].Line
		s.locate(file, node.Content[i+1], next, nil, above)
	}
}
