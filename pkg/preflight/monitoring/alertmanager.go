package monitoring

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

var shellVariable = regexp.MustCompile(`\$\{[A-Za-z_]\w*\}`)

// amConfig is the part of an Alertmanager configuration that decides who is told.
// What else may be wrong with it amtool says, from the image, after the pull.
type amConfig struct {
	Route     *amRoute         `yaml:"route"`
	Receivers []map[string]any `yaml:"receivers"`
}

type amRoute struct {
	Receiver string            `yaml:"receiver"`
	Match    map[string]string `yaml:"match"`
	MatchRE  map[string]string `yaml:"match_re"`
	Matchers []string          `yaml:"matchers"`
	Continue bool              `yaml:"continue"`
	Routes   []*amRoute        `yaml:"routes"`

	parsed labels.Matchers
}

// alertmanager reads its configuration, and sends every alert of the stack down its
// routes.
func (f *findings) alertmanager() {
	for _, svc := range f.With(func(c finding.Class) bool { return c.Alertmanager }) {
		target := finding.ConfigPath(f.Stack.Project.Services[svc.Name].Command, "--config.file", "/etc/alertmanager/alertmanager.yml")
		main, ok := f.Tree(svc)[target]
		if !ok {
			f.Warn("P08.config", finding.At(svc.Name, "volumes"), "mount alertmanager.yml at "+target, "no file of the repository is mounted at %s: nobody is told of an alert", target)
			continue
		}
		before := len(f.Results)
		f.unexpanded(svc, main)
		var cfg amConfig
		err := yaml.Unmarshal(main.Content, &cfg)
		switch {
		case err != nil:
			f.Fail("P08.config", finding.In(svc.Name, main.Source, finding.LineIn(err)), "correct it: Alertmanager does not start with it", "%s", oneLine(err))
		case cfg.Route == nil || cfg.Route.Receiver == "":
			f.Fail("P08.config", finding.In(svc.Name, main.Source, 0), "add `route: {receiver: ...}`", "it has no route, or one without a receiver: Alertmanager does not start with it")
		default:
			f.receivers(svc, main, cfg)
			f.routes(svc, main, cfg)
		}
		if len(f.Results) == before {
			f.Pass("P08.alertmanager", "%s: %d receivers, every route is reached", svc.Name, len(cfg.Receivers))
		}
	}
}

// receivers finds routes to receivers that are not there, and addresses that
// Alertmanager would not take.
func (f *findings) receivers(svc *stack.Service, main finding.Mounted, cfg amConfig) {
	var names []string
	for _, r := range cfg.Receivers {
		name, _ := r["name"].(string)
		names = append(names, name)
		f.addresses(svc, main, r)
	}
	var down func(r *amRoute)
	down = func(r *amRoute) {
		if r.Receiver != "" && !slices.Contains(names, r.Receiver) {
			f.Fail("P08.config", finding.In(svc.Name, main.Source, finding.LineOf(main.Content, r.Receiver)), "the receivers are: "+strings.Join(names, ", "),
				"a route names the receiver %s, which is not there: Alertmanager does not start with it", r.Receiver)
		}
		if wrong := r.parse(); wrong != nil {
			f.Fail("P08.config", finding.In(svc.Name, main.Source, finding.LineOf(main.Content, r.Receiver)), "write matchers like severity=\"critical\"", "%s", oneLine(wrong))
		}
		for _, child := range r.Routes {
			down(child)
		}
	}
	down(cfg.Route)
}

// parse reads the matchers of a route, in the new form and in the two old ones.
func (r *amRoute) parse() error {
	for _, old := range []struct {
		kind labels.MatchType
		from map[string]string
	}{{labels.MatchEqual, r.Match}, {labels.MatchRegexp, r.MatchRE}} {
		for _, name := range finding.SortedKeys(old.from) {
			m, err := labels.NewMatcher(old.kind, name, old.from[name])
			if err != nil {
				return err
			}
			r.parsed = append(r.parsed, m)
		}
	}
	for _, text := range r.Matchers {
		more, err := labels.ParseMatchers(text)
		if err != nil {
			return err
		}
		r.parsed = append(r.parsed, more...)
	}
	return nil
}

// addresses looks at what is called url or ends in _url, however deep it stands.
func (f *findings) addresses(svc *stack.Service, main finding.Mounted, v any) {
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			f.addresses(svc, main, inner)
		}
	case map[string]any:
		for _, key := range finding.SortedKeys(v) {
			text, isText := v[key].(string)
			if !isText || key != "url" && !strings.HasSuffix(key, "_url") {
				f.addresses(svc, main, v[key])
				continue
			}
			u, err := url.Parse(text)
			if bad := err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == ""; bad && !shellVariable.MatchString(text) && !strings.Contains(text, "{{") {
				f.Fail("P08.config", finding.In(svc.Name, main.Source, finding.LineOf(main.Content, text)), "write the whole address, with https://", "%s is no address: Alertmanager does not start with it", key)
			}
		}
	}
}

// unexpanded finds variables that nobody fills: Alertmanager reads its file as it is.
func (f *findings) unexpanded(svc *stack.Service, main finding.Mounted) {
	for i, line := range strings.Split(string(main.Content), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if v := shellVariable.FindString(line); v != "" {
			f.Fail("P08.variables", finding.In(svc.Name, main.Source, i+1), "keep the secret in a file: api_url_file, routing_key_file, password_file",
				"%s stays as it is: Alertmanager fills no variables in", v)
		}
	}
}

// match gives the routes that an alert takes: of the children the first that fits,
// and those after it only if it continues; the route itself when none fits.
func (r *amRoute) match(set model.LabelSet) []*amRoute {
	if !r.parsed.Matches(set) {
		return nil
	}
	var taken []*amRoute
	for _, child := range r.Routes {
		below := child.match(set)
		taken = append(taken, below...)
		if below != nil && !child.Continue {
			break
		}
	}
	if len(taken) == 0 {
		return []*amRoute{r}
	}
	return taken
}

// routes finds those that no alert reaches, because a route before them takes all
// of theirs and does not continue.
func (f *findings) routes(svc *stack.Service, main finding.Mounted, cfg amConfig) {
	reached := map[*amRoute]bool{}
	for _, rule := range f.rules {
		for _, r := range cfg.Route.match(labelSet(rule)) {
			reached[r] = true
		}
	}
	var down func(r *amRoute) bool
	down = func(r *amRoute) bool {
		some := reached[r]
		for _, child := range r.Routes {
			some = down(child) || some
		}
		if alone := f.matching(r); !some && alone != "" {
			f.Warn("P08.routes", finding.In(svc.Name, main.Source, routeLine(main, r)), "put it before the route that takes its alerts, or give that one `continue: true`",
				"no alert reaches the route to %s: a route before it takes %s", r.Receiver, alone)
		}
		return some
	}
	for _, child := range cfg.Route.Routes {
		down(child)
	}
}

// matching gives an alert that a route by itself is for, "" for none.
func (f *findings) matching(r *amRoute) string {
	for _, rule := range f.rules {
		if r.parsed.Matches(labelSet(rule)) {
			return rule.name
		}
	}
	return ""
}

func labelSet(rule alert) model.LabelSet {
	set := model.LabelSet{model.AlertNameLabel: model.LabelValue(rule.name)}
	for k, v := range rule.labels {
		set[model.LabelName(k)] = model.LabelValue(v)
	}
	return set
}

// routeLine is where a route's matcher stands, or its receiver.
func routeLine(main finding.Mounted, r *amRoute) int {
	for _, m := range r.parsed {
		if line := finding.LineOf(main.Content, m.Value); line > 0 {
			return line
		}
	}
	return finding.LineOf(main.Content, "receiver: "+r.Receiver)
}
