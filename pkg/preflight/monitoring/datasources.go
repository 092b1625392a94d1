package monitoring

import (
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// source is a data source that Grafana is provisioned with.
type source struct {
	UID, Name, Type string
	IsDefault       bool `yaml:"isDefault"`
}

// bundled are the data sources that every Grafana has: its own, and its expressions.
var bundled = []string{"grafana", "__expr__"}

// provisioned lists the data sources that Grafana is provisioned with.
func provisioned(tree map[string]finding.Mounted) []source {
	var out []source
	for _, target := range finding.SortedKeys(tree) {
		var told struct {
			Datasources []source `yaml:"datasources"`
		}
		if strings.HasPrefix(target, provisioning+"datasources/") && yaml.Unmarshal(tree[target].Content, &told) == nil {
			out = append(out, told.Datasources...)
		}
	}
	return slices.DeleteFunc(out, func(d source) bool { return d.UID == "" && d.Name == "" })
}

// sheet is a dashboard that is being looked at: where it is, the data sources that
// there are, and the types of those that its variables stand for.
type sheet struct {
	svc       *stack.Service
	file      finding.Mounted
	sources   []source
	variables map[string]string
}

// variables are those that stand for a data source, with its type.
func (d dashboard) variables() map[string]string {
	out := map[string]string{}
	for _, in := range d.Inputs {
		out[in.Name] = in.PluginID
	}
	for _, v := range d.Templating.List {
		var kind string
		if v.Type == "datasource" && json.Unmarshal(v.Query, &kind) == nil {
			out[v.Name] = kind
		}
	}
	return out
}

// reference is how a panel or a target names its data source.
type reference struct{ Type, UID string }

// referred reads a reference: an object, or a name alone as Grafana wrote it before 8.3.
func referred(raw json.RawMessage) reference {
	var ref reference
	if json.Unmarshal(raw, &ref) != nil {
		ref = reference{}
		_ = json.Unmarshal(raw, &ref.UID)
	}
	return ref
}

// silent tells whether a reference leaves the choice to somebody else.
func (r reference) silent() bool {
	return r.UID == "-- Mixed --" || r.UID == "default" || r == reference{}
}

// find gives the provisioned data source of a uid or a name.
func (s sheet) find(name string) (source, bool) {
	for _, d := range s.sources {
		if name == d.UID || name == d.Name {
			return d, true
		}
	}
	return source{}, false
}

// kind gives the type of the data source that a target asks, "" where it cannot be
// known. A target that names none asks its panel's, and that one Grafana's default.
func (s sheet) kind(target, panel json.RawMessage) string {
	ref := referred(target)
	if ref.silent() {
		ref = referred(panel)
	}
	if ref.silent() {
		return s.usual()
	}
	if ref.Type != "" {
		return strings.ToLower(ref.Type)
	}
	if name := variable(ref.UID); name != "" {
		return strings.ToLower(s.variables[name])
	}
	if d, ok := s.find(ref.UID); ok {
		return strings.ToLower(d.Type)
	}
	if slices.Contains(bundled, ref.UID) {
		return ref.UID
	}
	if strings.Contains(strings.ToLower(ref.UID), prometheusKind) {
		return prometheusKind
	}
	return ""
}

// usual is the type of the data source that is asked where none is named.
func (s sheet) usual() string {
	for _, d := range s.sources {
		if d.IsDefault || len(s.sources) == 1 {
			return strings.ToLower(d.Type)
		}
	}
	return prometheusKind
}
