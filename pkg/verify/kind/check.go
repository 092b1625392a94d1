package kind

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/strict"
)

// Levels of a check.
const (
	// LevelFail decides whether the release stays; it is the default.
	LevelFail = "fail"
	// LevelWarn only informs.
	LevelWarn = "warn"
)

// File is a file of checks.
type File struct {
	Checks []Check `yaml:"checks" jsonschema:"required" help:"The checks, in the order they are told."`
}

// Check is one check: a name, how patient it is, and exactly one kind, or several
// parts under all.
type Check struct {
	Name     string    `yaml:"name" jsonschema:"required" help:"What reports call it; unique."`
	Level    string    `yaml:"level" jsonschema:"enum=fail,enum=warn" help:"fail (default): it decides whether the release stays. warn: it only informs."`
	Timeout  Duration  `yaml:"timeout" jsonschema:"exclusiveMinimum=0" help:"Longest time to pass. The stability window does not count, and neither does the wait for its turn: six checks are looked at at a time. Default: 30s, for prometheus 90s. A check that has passed every look has the time of one look more for the last ones. One look ends after 30s all the same, but that of backup, containers and logs, and that of celery with a task: it may take the whole timeout."`
	Interval Duration  `yaml:"interval" jsonschema:"exclusiveMinimum=0" help:"Pause between two looks. Default: by kind."`
	Passes   int       `yaml:"passes" help:"How many looks in a row have to pass. Default: by kind."`
	Window   *Duration `yaml:"window" help:"How long it has to pass without a break. Default: the input stability-window, for kinds that are watched; 0s for the others."`
	Probe    `yaml:",inline"`
	All      []Part `yaml:"all" help:"Several parts that all have to pass, in order; each has one kind. A look that captures something tells it to the parts after it."`

	// Line is where it stands in its file.
	Line int `yaml:"-"`
	// LeftOut says why it is not looked at; "" for a check that is.
	LeftOut string `yaml:"-"`
}

// Part is one part of a check.
type Part struct {
	Name  string `yaml:"name" help:"What reports call the part."`
	Level string `yaml:"level" jsonschema:"enum=fail,enum=warn" help:"fail (default), or warn: what is wrong here is only told."`
	Probe `yaml:",inline"`
}

// Probe has one field for each kind; exactly one of them is set.
type Probe struct {
	Containers   *Containers   `yaml:"containers" help:"Units run as released: number, state, health, digest, no restart, no OOM kill, nothing left over."`
	HTTP         *HTTP         `yaml:"http" help:"An HTTP answer: status, headers, body, JSON, latency."`
	TLS          *TLS          `yaml:"tls" help:"A certificate: valid, for the right name, not expiring soon; old versions of TLS refused."`
	TCP          *TCP          `yaml:"tcp" help:"A TCP connection, and what the server says first."`
	Exec         *Exec         `yaml:"exec" help:"A command in units or on the host: exit code and output."`
	Postgres     *Postgres     `yaml:"postgres" help:"PostgreSQL: accepts, answers, is primary, connections, invalid indexes, queries."`
	Redis        *Redis        `yaml:"redis" help:"Redis: asks for a password, answers, keeps what it is given, persists, memory."`
	Celery       *Celery       `yaml:"celery" help:"Celery workers: those of this release answer, read the right queues, do a task."`
	Prometheus   *Prometheus   `yaml:"prometheus" help:"Prometheus: ready, targets up, rules loaded, no new critical alert, queries with data."`
	Alertmanager *Alertmanager `yaml:"alertmanager" help:"Alertmanager: ready, configuration loaded, receivers there."`
	Grafana      *Grafana      `yaml:"grafana" help:"Grafana: database, data sources, dashboards whose panels have data."`
	GPU          *GPU          `yaml:"gpu" help:"GPUs that a unit sees, by nvidia-smi."`
	Disk         *Disk         `yaml:"disk" help:"Room on the host: bytes and inodes of file systems, memory."`
	Backup       *Backup       `yaml:"backup" help:"The newest database dump: its age, its size, that it can be read to the end."`
	Logs         *Logs         `yaml:"logs" help:"What units wrote to their log since the release."`
	RateLimit    *RateLimit    `yaml:"rate-limit" help:"Too many requests get 429, and a few do not."`
}

// Kind gives the kind that is set and its name; nil when none is.
func (p *Probe) Kind() (Kind, string) {
	v := reflect.ValueOf(p).Elem()
	for i, sf := range strict.Fields(v.Type()) {
		if k, ok := v.Field(i).Interface().(Kind); ok && !v.Field(i).IsNil() {
			return k, strict.Key(sf)
		}
	}
	return nil, ""
}

// Kinds lists the kinds by name.
func Kinds() (out []string) {
	for _, sf := range strict.Fields(reflect.TypeFor[Probe]()) {
		out = append(out, strict.Key(sf))
	}
	return out
}

// count tells how many kinds are set.
func (p *Probe) count() (n int) {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsNil() {
			n++
		}
	}
	return n
}

// checker is a kind that knows more about its settings than their types say.
type checker interface{ Check() error }

// Read reads the checks of a list node. Every mistake is told with its line.
func Read(file string, list *yaml.Node) ([]Check, error) {
	p := &strict.Problems{File: file}
	var checks []Check
	p.DecodeAs("checks", list, &checks)
	if p.Err() == nil {
		examine(p, list, checks)
	}
	return checks, p.Err()
}

// ReadFile reads a file of checks: a mapping with `checks:`, or the list alone.
func ReadFile(file string, content []byte) ([]Check, error) {
	root, err := strict.Parse(file, content)
	if err != nil {
		return nil, err
	}
	if root.Kind == yaml.SequenceNode {
		return Read(file, root)
	}
	p := &strict.Problems{File: file}
	if p.Decode(root, &File{}); p.Err() != nil {
		return nil, p.Err()
	}
	for _, entry := range strict.Pairs(root) {
		if entry.Key.Value == "checks" {
			return Read(file, entry.Value)
		}
	}
	return nil, nil
}

// examine finds what the types cannot say.
func examine(p *strict.Problems, list *yaml.Node, checks []Check) {
	if len(checks) == 0 {
		p.Add(list, "write at least one, or leave the key out", "there are no checks in the list")
	}
	names := map[string]bool{}
	for i := range checks {
		c, node := &checks[i], list.Content[i]
		c.Line = node.Line
		if names[c.Name] {
			p.Add(node, "give each check a name of its own", "two checks are called %q", c.Name)
		}
		names[c.Name] = true
		if c.Passes < 0 {
			p.Add(node, "", "passes of check %q is negative", c.Name)
		}
		if c.All == nil {
			examineProbe(p, node, fmt.Sprintf("check %q", c.Name), &c.Probe)
			continue
		}
		if len(c.All) == 0 || c.count() > 0 {
			p.Add(node, "put the kind into the list of all", "check %q has to have either one kind or parts under all", c.Name)
		}
		for j := range c.All {
			examineProbe(p, partNode(node, j), fmt.Sprintf("check %q, part %d", c.Name, j+1), &c.All[j].Probe)
		}
	}
}

// partNode finds the node of a part, for its line.
func partNode(check *yaml.Node, n int) *yaml.Node {
	for _, entry := range strict.Pairs(check) {
		if entry.Key.Value == "all" && n < len(entry.Value.Content) {
			return entry.Value.Content[n]
		}
	}
	return check
}

func examineProbe(p *strict.Problems, node *yaml.Node, what string, probe *Probe) {
	if n := probe.count(); n != 1 {
		p.Add(node, "one of "+strings.Join(Kinds(), ", "), "%s names %d kinds, it needs one", what, n)
		return
	}
	k, name := probe.Kind()
	if c, ok := k.(checker); ok {
		if err := c.Check(); err != nil {
			p.Add(node, "", "%s: %s %w", what, name, err)
		}
	}
	dollars(p, node)
}

// dollars refuses ${NAME}: a value of the environment may be a secret, and a check
// is shown.
func dollars(p *strict.Problems, node *yaml.Node) {
	if strings.Contains(node.Value, "${") {
		hint := "a secret is named by where it is: {env: NAME, service: SERVICE}"
		if strings.Contains(node.Value, "${VERSION") {
			hint = "write {{version}}"
		}
		p.Add(node, hint, "checks read no variables of the environment")
	}
	for _, child := range node.Content {
		dollars(p, child)
	}
}

// Manner is how the check is looked at: of several parts the most patient.
func (c *Check) Manner() Manner {
	if k, _ := c.Probe.Kind(); k != nil {
		return k.Manner()
	}
	var m Manner
	for i := range c.All {
		k, _ := c.All[i].Probe.Kind()
		part := k.Manner()
		m.Interval, m.Passes, m.Watched = max(m.Interval, part.Interval), max(m.Passes, part.Passes), m.Watched || part.Watched
		m.Back, m.Long, m.Timeout = m.Back || part.Back, m.Long || part.Long, max(m.Timeout, part.Timeout)
		m.Place = part.Place
	}
	return m
}

// KindName is the kind in reports.
func (c *Check) KindName() string {
	if _, name := c.Probe.Kind(); name != "" {
		return name
	}
	var names []string
	for i := range c.All {
		if _, name := c.All[i].Probe.Kind(); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

// Look looks once at all of it.
func (c *Check) Look(s *Sight) {
	if k, _ := c.Probe.Kind(); k != nil {
		k.Look(s)
		return
	}
	s.secret = c.secretVariables()
	for i := range c.All {
		part := s.Fork()
		k, name := c.All[i].Probe.Kind()
		k.Look(part)
		if c.All[i].Name != "" {
			name = c.All[i].Name
		}
		s.Absorb(part, name, c.All[i].Level)
	}
	if s.Finding.Outcome == "pass" {
		s.Finding.Where, s.Finding.Expected = "", "all parts to pass"
		s.Finding.Found = fmt.Sprintf("%d of %d pass", len(c.All), len(c.All))
	}
}

// probes lists the kind or the parts of a check.
func (c *Check) probes() []*Probe {
	if c.All == nil {
		return []*Probe{&c.Probe}
	}
	var out []*Probe
	for i := range c.All {
		out = append(out, &c.All[i].Probe)
	}
	return out
}

// Dials gives an address that the check connects to on the host, "" for one that needs no
// such way or whose address is not known yet, and the service whose units are there.
func (c *Check) Dials() (service, addr string) {
	for i, p := range c.probes() {
		k, _ := p.Kind()
		d, ok := k.(interface{ dials() (service, addr string) })
		if !ok || c.All != nil && c.All[i].Level == LevelWarn {
			continue
		}
		if service, addr = d.dials(); addr != "" {
			return service, addr
		}
	}
	return "", ""
}

// Prometheuses lists what has to be looked at before a release.
func (c *Check) Prometheuses() (out []*Prometheus) {
	for _, p := range c.probes() {
		if p.Prometheus != nil {
			out = append(out, p.Prometheus)
		}
	}
	return out
}

// Variables lists the names that have to have a value for what decides of the check, but for
// those that an earlier part captures.
func (c *Check) Variables() (names []string) {
	captured := map[string]Pattern{}
	for i, p := range c.probes() {
		k, _ := p.Kind()
		if c.Level != LevelWarn && (c.All == nil || c.All[i].Level != LevelWarn) {
			for _, name := range variablesIn(reflect.ValueOf(k), false) {
				if _, known := captured[name]; !known {
					names = append(names, name)
				}
			}
		}
		maps.Copy(captured, p.captures())
	}
	return names
}

// expanded are the fields of settings in which {{name}} stands for a value.
var expanded = []string{"URL", "Path", "Body", "Query", "SQL", "Command", "Address", "text", "operand"}

// variablesIn collects the names in settings, at any depth, and url for what has only a path.
func variablesIn(v reflect.Value, text bool) (names []string) {
	switch v.Kind() {
	case reflect.String:
		for _, m := range variable.FindAllStringSubmatch(v.String(), -1) {
			if text {
				names = append(names, m[1])
			}
		}
	case reflect.Pointer, reflect.Interface:
		names = variablesIn(v.Elem(), text)
	case reflect.Slice:
		for i := range v.Len() {
			names = append(names, variablesIn(v.Index(i), text)...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			names = append(names, variablesIn(v.MapIndex(key), text)...)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Request]() && v.FieldByName("URL").String() == "" && v.FieldByName("Service").String() == "" {
			names = append(names, "url")
		}
		ours := v.Type().PkgPath() == reflect.TypeFor[Check]().PkgPath() // what we read of a file may stand in a field of our own
		for i := range v.NumField() {
			if sf := v.Type().Field(i); ours || sf.IsExported() {
				names = append(names, variablesIn(v.Field(i), slices.Contains(expanded, sf.Name))...)
			}
		}
	}
	return names
}

// Services lists the services that a check names.
func (c *Check) Services() (names []string) {
	for _, p := range c.probes() {
		k, _ := p.Kind()
		names = append(names, servicesIn(reflect.ValueOf(k))...)
	}
	return names
}

// servicesIn collects the keys service and services of settings, at any depth.
func servicesIn(v reflect.Value) (names []string) {
	switch v.Kind() {
	case reflect.Pointer:
		names = servicesIn(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			names = append(names, servicesIn(v.Index(i))...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			names = append(names, servicesIn(v.MapIndex(key))...)
		}
	case reflect.Struct:
		if h, ok := v.Interface().(Header); ok {
			return servicesIn(reflect.ValueOf(h.secret))
		}
		for i := range v.NumField() {
			sf := v.Type().Field(i)
			switch {
			case !sf.IsExported():
			case sf.Name == "Service" && v.Field(i).String() != "":
				names = append(names, v.Field(i).String())
			case sf.Name == "Services":
				names = append(names, v.Field(i).Interface().([]string)...)
			default:
				names = append(names, servicesIn(v.Field(i))...)
			}
		}
	}
	return names
}
