package extension

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
)

var topKeys = []string{"checks", "engine"}

// FindChecks gives the checks of a Compose file, nil when it has none. An error is
// a fault.Input with the line.
func FindChecks(file string, content []byte) (*stack.Checks, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil || len(doc.Content) == 0 {
		return nil, nil // who loads the file tells what is wrong with it
	}
	_, top := entry(doc.Content[0], Key)
	if top == nil {
		return nil, nil
	}
	at := func(n *yaml.Node) string { return file + ":" + strconv.Itoa(n.Line) }
	if top.Kind != yaml.MappingNode {
		return nil, fault.New(fault.Input, at(top), "write x-shiksha: {checks: [...]}", "x-shiksha at the top level has to be a mapping")
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key := top.Content[i]
		if slices.Contains(topKeys, key.Value) {
			continue
		}
		hint := "at the top level it may have " + strings.Join(topKeys, ", ")
		for _, known := range serviceKeys {
			if key.Value == known {
				hint = "write x-shiksha." + known + " on the service it is about"
			}
		}
		if near := suggest.Nearest(key.Value, topKeys); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return nil, fault.New(fault.Input, at(key), hint, "unknown key %q in x-shiksha at the top level", key.Value)
	}
	key, list := entry(top, "checks")
	if list == nil {
		return nil, nil
	}
	if list.Kind != yaml.SequenceNode {
		return nil, fault.New(fault.Input, at(key), "", "x-shiksha.checks has to be a list")
	}
	undouble(list)
	return &stack.Checks{File: file, Node: list}, nil
}

// entry finds a key of a mapping and its value.
func entry(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content) && mapping.Kind == yaml.MappingNode; i += 2 {
		if key, value = mapping.Content[i], mapping.Content[i+1]; key.Value == name {
			for value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			return key, value
		}
	}
	return nil, nil
}

// undouble turns $$ into $, as Compose does.
func undouble(n *yaml.Node) {
	n.Value = strings.ReplaceAll(n.Value, "$$", "$")
	for _, child := range n.Content {
		undouble(child)
	}
}
