package monitoring

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// dashboard is the part of Grafana's model that can be wrong without Grafana
// saying so.
type dashboard struct {
	UID           string  `json:"uid"`
	Title         string  `json:"title"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	// Rows is where the panels of a schema before 16 are: Grafana moves them.
	Rows []struct {
		Panels []panel `json:"panels"`
	} `json:"rows"`
	// A resource of Grafana's newer API has its model in Spec, and the second
	// schema has Elements in the place of panels.
	APIVersion string          `json:"apiVersion"`
	Spec       json.RawMessage `json:"spec"`
	Elements   json.RawMessage `json:"elements"`
	// Inputs and Templating have the variables that stand for data sources.
	Inputs []struct {
		Name     string `json:"name"`
		PluginID string `json:"pluginId"`
	} `json:"__inputs"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Type  string          `json:"type"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	Title      string          `json:"title"`
	Type       string          `json:"type"`
	Datasource json.RawMessage `json:"datasource"`
	Targets    []struct {
		Expr       string          `json:"expr"`
		Datasource json.RawMessage `json:"datasource"`
	} `json:"targets"`
	Panels []panel `json:"panels"`
}

const provisioning = "/etc/grafana/provisioning/"

// dashboards looks at what a Grafana of the stack is given to show.
func (f *findings) dashboards() {
	for _, svc := range f.With(func(c finding.Class) bool { return c.Grafana }) {
		tree := f.Tree(svc)
		before, n := len(f.Results), 0
		sources := provisioned(tree)
		for _, target := range finding.SortedKeys(tree) {
			file := tree[target]
			if path.Ext(target) == ".json" && strings.Contains(target, "dashboard") {
				n++
				f.dashboard(svc, file, sources)
			}
		}
		if n > 0 {
			f.provider(svc, tree)
		}
		if n > 0 && len(f.Results) == before {
			f.Pass("P09.dashboards", "%s: %d dashboards, every expression for Prometheus is PromQL", svc.Name, n)
		}
	}
}

// provider makes sure that Grafana is told where the dashboards are: without it
// they are files that nobody shows.
func (f *findings) provider(svc *stack.Service, tree map[string]finding.Mounted) {
	for _, file := range append(finding.Match(tree, provisioning+"dashboards/*.yml"), finding.Match(tree, provisioning+"dashboards/*.yaml")...) {
		var told struct {
			Providers []struct {
				Options struct {
					Path string `yaml:"path"`
				} `yaml:"options"`
			} `yaml:"providers"`
		}
		if err := yaml.Unmarshal(file.Content, &told); err != nil {
			f.Fail("P09.provider", finding.In(svc.Name, file.Source, finding.LineIn(err)), "correct it", "not YAML: %s", oneLine(err))
			return
		}
		for _, p := range told.Providers {
			if p.Options.Path != "" && (f.Covers(svc.Name, p.Options.Path) || holds(tree, p.Options.Path)) {
				return
			}
		}
	}
	f.Warn("P09.provider", finding.At(svc.Name, "volumes"), "mount a provider file at "+provisioning+"dashboards/ whose options.path is where the dashboards are",
		"it is given dashboards and no provider that names their folder, so it shows none")
}

// holds tells whether a file is in a folder of the container: the Compose file may
// hold dashboards without a mount for the folder.
func holds(tree map[string]finding.Mounted, folder string) bool {
	return slices.ContainsFunc(finding.SortedKeys(tree), func(target string) bool {
		return strings.HasPrefix(target, strings.TrimSuffix(path.Clean(folder), "/")+"/")
	})
}

func (f *findings) dashboard(svc *stack.Service, file finding.Mounted, sources []source) {
	var d dashboard
	where := finding.In(svc.Name, file.Source, 0)
	if err := json.Unmarshal(file.Content, &d); err != nil {
		f.Fail("P09.dashboard", where, "correct it, or export it from Grafana again", "not a dashboard: %v", err)
		return
	}
	for _, row := range d.Rows {
		d.Panels = append(d.Panels, row.Panels...)
	}
	if len(d.Panels) == 0 && (len(d.Elements) > 0 || d.APIVersion != "" && len(d.Spec) > 0) {
		f.Skip("P09.dashboard", where, "", "it is written in Grafana's newer schema, which is not read here")
		return
	}
	if len(d.Panels) == 0 {
		// The API's answer has the model one level down.
		f.Fail("P09.dashboard", where, "export the model itself: Share, Export, Save to file", "it has no panels")
		return
	}
	if d.UID == "" {
		f.Warn("P09.dashboard", where, "give it a uid", "%q has no uid: its address changes with every start", d.Title)
	}
	if d.SchemaVersion == 0 {
		f.Warn("P09.dashboard", where, "export it from Grafana again", "%q has no schemaVersion", d.Title)
	}
	s := sheet{svc: svc, file: file, sources: sources, variables: d.variables()}
	for _, p := range d.Panels {
		f.panel(s, p)
	}
}

func (f *findings) panel(s sheet, p panel) {
	for _, inner := range p.Panels {
		f.panel(s, inner)
	}
	f.source(s, p, p.Datasource)
	for _, t := range p.Targets {
		f.source(s, p, t.Datasource)
		kind := s.kind(t.Datasource, p.Datasource)
		if t.Expr == "" || kind != "" && !strings.Contains(kind, prometheusKind) {
			continue
		}
		where := finding.In(s.svc.Name, s.file.Source, finding.LineOf(s.file.Content, jsonText(t.Expr)))
		sure, err := expression(t.Expr)
		switch {
		case err == nil:
		case kind == "":
			f.Skip("P09.dashboard", where, "", "panel %q: what kind of data source it asks is not known here, and its expression is no PromQL", p.Title)
		case !sure:
			f.Skip("P09.dashboard", where, "", "panel %q: its expression has too many variables to know what it becomes", p.Title)
		default:
			f.Fail("P09.dashboard", where, "correct the expression", "panel %q: %s", p.Title, oneLine(err))
		}
	}
}

// source finds panels that ask a data source that is not provisioned.
func (f *findings) source(s sheet, p panel, raw json.RawMessage) {
	name := referred(raw).UID
	if name == "" || len(s.sources) == 0 || strings.ContainsAny(name, "$-") || slices.Contains(bundled, name) {
		return
	}
	if _, ok := s.find(name); ok {
		return
	}
	var known []string
	for _, d := range s.sources {
		known = append(known, d.UID, d.Name)
	}
	known = slices.DeleteFunc(known, func(s string) bool { return s == "" })
	f.Warn("P09.datasource", finding.In(s.svc.Name, s.file.Source, finding.LineOf(s.file.Content, name)), "use one of: "+strings.Join(known, ", "),
		"panel %q asks the data source %s, which is not provisioned", p.Title, name)
}

// jsonText is a text as it is written in JSON, without the quotes.
func jsonText(s string) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	// Grafana writes < and > as they are.
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return s
	}
	return strings.TrimSuffix(strings.TrimPrefix(out.String(), `"`), "\"\n")
}
