package monitoring

import (
	"encoding/json"
	"path"
	"regexp"
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
		sources := provisioned(tree, "datasources")
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
			f.Pass("P09.dashboards", "%s: %d dashboards, every expression is PromQL", svc.Name, n)
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
			if p.Options.Path != "" && f.Covers(svc.Name, p.Options.Path) {
				return
			}
		}
	}
	f.Warn("P09.provider", finding.At(svc.Name, "volumes"), "mount a provider file at "+provisioning+"dashboards/ whose options.path is where the dashboards are",
		"it is given dashboards and no provider that names their folder, so it shows none")
}

// provisioned lists the uids and names of what Grafana is provisioned with.
func provisioned(tree map[string]finding.Mounted, what string) []string {
	var out []string
	for _, target := range finding.SortedKeys(tree) {
		var told struct {
			Datasources []struct{ UID, Name string } `yaml:"datasources"`
		}
		if strings.HasPrefix(target, provisioning+what+"/") && yaml.Unmarshal(tree[target].Content, &told) == nil {
			for _, d := range told.Datasources {
				out = append(out, d.UID, d.Name)
			}
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

func (f *findings) dashboard(svc *stack.Service, file finding.Mounted, sources []string) {
	var d dashboard
	where := finding.In(svc.Name, file.Source, 0)
	if err := json.Unmarshal(file.Content, &d); err != nil {
		f.Fail("P09.dashboard", where, "correct it, or export it from Grafana again", "not a dashboard: %v", err)
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
	for _, p := range d.Panels {
		f.panel(svc, file, p, sources)
	}
}

var rangeVariable = regexp.MustCompile(`\[\s*\$\{?\w+\}?`)

// expression reads one whose variables stand for a duration after [ and elsewhere
// for a number or a name.
func expression(expr string) error {
	expr = rangeVariable.ReplaceAllString(expr, "[5m")
	_, err := promql.ParseExpr(grafanaVariable.ReplaceAllString(expr, "1"))
	if err != nil {
		if _, named := promql.ParseExpr(grafanaVariable.ReplaceAllString(expr, "v")); named == nil {
			return nil
		}
	}
	return err
}

var grafanaVariable = regexp.MustCompile(`\$\{?(\w+)(:\w+)?\}?|\[\[(\w+)\]\]`)

func (f *findings) panel(svc *stack.Service, file finding.Mounted, p panel, sources []string) {
	for _, inner := range p.Panels {
		f.panel(svc, file, inner, sources)
	}
	f.source(svc, file, p, p.Datasource, sources)
	for _, t := range p.Targets {
		f.source(svc, file, p, t.Datasource, sources)
		if t.Expr == "" {
			continue
		}
		if err := expression(t.Expr); err != nil {
			f.Fail("P09.dashboard", finding.In(svc.Name, file.Source, finding.LineOf(file.Content, jsonText(t.Expr))), "correct the expression",
				"panel %q: %s", p.Title, oneLine(err))
		}
	}
}

// source finds panels that ask a data source that is not provisioned.
func (f *findings) source(svc *stack.Service, file finding.Mounted, p panel, raw json.RawMessage, sources []string) {
	var ref struct{ UID string }
	name := ""
	if json.Unmarshal(raw, &ref) == nil {
		name = ref.UID
	} else {
		_ = json.Unmarshal(raw, &name)
	}
	if name == "" || len(sources) == 0 || strings.ContainsAny(name, "$-") || name == "grafana" || slices.Contains(sources, name) {
		return
	}
	f.Warn("P09.datasource", finding.In(svc.Name, file.Source, finding.LineOf(file.Content, name)), "use one of: "+strings.Join(sources, ", "),
		"panel %q asks the data source %s, which is not provisioned", p.Title, name)
}

// jsonText is a text as it is written in JSON, without the quotes.
func jsonText(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return strings.Trim(string(data), `"`)
}
