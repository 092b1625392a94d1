package gateway

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// passes are the directives that send requests on, with the scheme's default port.
var passes = map[string]string{
	"proxy_pass": "80", "grpc_pass": "80", "fastcgi_pass": "", "uwsgi_pass": "", "scgi_pass": "", "memcached_pass": "",
}

// target is one place that requests are sent to. Host is "" where it is only known
// at the time of the request; port is "" where the configuration does not say.
type target struct {
	host, port string
	// late: nginx asks DNS for it while it runs; resolve: because of the parameter
	// of that name, not because of a variable.
	late, resolve bool
	from          *directive
}

// network is what a configuration says about where requests go.
type network struct {
	targets []target
	notes   []string
}

// reader collects from the directives, variables first since a pass may use one
// that is set further down.
type reader struct {
	groups map[string]bool
	values map[string][]string
	fixed  map[string]bool     // host:port of passes without variables
	known  map[string][]string // what valuesOf found already
	net    network
}

// readNetwork finds every target in a configuration.
func readNetwork(config []*directive) network {
	r := &reader{groups: map[string]bool{}, values: map[string][]string{}, fixed: map[string]bool{}, known: map[string][]string{}}
	walk(config, r.define)
	walk(config, r.pass)
	// nginx knows the address of a host that a variable names when a fixed pass
	// names the same host and port, or a group has that name.
	r.net.targets = slices.DeleteFunc(r.net.targets, func(t target) bool {
		return t.late && !t.resolve && r.fixed[strings.ToLower(t.host)+":"+t.port]
	})
	return r.net
}

func walk(all []*directive, visit func(*directive)) {
	for _, d := range all {
		visit(d)
		walk(d.inner, visit)
	}
}

// define notes groups (upstream) and the values that variables can have.
func (r *reader) define(d *directive) {
	switch {
	case d.name == "upstream" && d.block && len(d.args) > 0:
		r.groups[strings.ToLower(d.args[0])] = true
	case d.name == "set" && len(d.args) == 2:
		r.value(d.args[0], d.args[1])
	case (d.name == "map" || d.name == "geo" || d.name == "split_clients") && d.block && len(d.args) > 0:
		for _, entry := range d.inner {
			if len(entry.args) == 1 && entry.name != "include" {
				r.value(d.args[len(d.args)-1], entry.args[0])
			}
		}
	case d.name == "worker_shutdown_timeout" && len(d.args) == 1:
		r.note("worker_shutdown_timeout " + d.args[0] + " ends old workers' connections after that time, whatever the drain budget")
	case strings.HasPrefix(d.name, "balancer_by_lua"):
		r.note(d.name + " chooses the server in Lua, which is not looked into")
	}
}

func (r *reader) value(variable, value string) {
	name := strings.Trim(variable, "${}")
	r.values[name] = append(r.values[name], value)
}

func (r *reader) note(text string) {
	if !slices.Contains(r.net.notes, text) {
		r.net.notes = append(r.net.notes, text)
	}
}

// pass collects the targets of one directive.
func (r *reader) pass(d *directive) {
	if d.block || len(d.args) == 0 {
		return
	}
	if d.name == "server" {
		r.server(d)
		return
	}
	port, ok := passes[d.name]
	if !ok {
		return
	}
	if !strings.Contains(d.args[0], "$") {
		if t, ok := locate(d.args[0], port); ok && !r.groups[strings.ToLower(t.host)] {
			t.from = d
			r.fixed[strings.ToLower(t.host)+":"+t.port] = true
			r.net.targets = append(r.net.targets, t)
		}
		return
	}
	for _, url := range r.expand(d.args[0]) {
		t, ok := locate(url, port)
		if !ok || r.groups[strings.ToLower(t.host)] && !hasPort(url) {
			continue
		}
		t.from, t.late = d, true
		r.net.targets = append(r.net.targets, t)
	}
}

// server is a server of a group.
func (r *reader) server(d *directive) {
	t, ok := locate(d.args[0], "80")
	if !ok || slices.Contains(d.args, "down") {
		return
	}
	t.from = d
	t.resolve = slices.ContainsFunc(d.args[1:], func(a string) bool {
		return a == "resolve" || strings.HasPrefix(a, "service=")
	})
	t.late = t.resolve
	r.net.targets = append(r.net.targets, t)
}

// unknown stands for a value that only a request has.
const unknown = "\x00"

var variable = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)

// most and longest bound what one text is expanded to: maps of maps multiply.
const most, longest = 64, 4096

// expand gives every text that s can become, with unknown in the place of what
// cannot be told.
func (r *reader) expand(s string) []string {
	out := []string{""}
	for s != "" {
		at := variable.FindStringSubmatchIndex(s)
		if at == nil {
			return join(out, []string{s})
		}
		name := variable.FindStringSubmatch(s)
		out = join(out, []string{s[:at[0]]})
		out = join(out, r.valuesOf(name[1]+name[2]))
		s = s[at[1]:]
	}
	return out
}

// join puts every end behind every beginning.
func join(beginnings, ends []string) []string {
	var out []string
	for _, b := range beginnings {
		for _, e := range ends {
			if len(out) == most {
				return append(out, unknown)
			}
			if len(b)+len(e) > longest {
				b, e = "", unknown
			}
			out = append(out, b+e)
		}
	}
	return out
}

// valuesOf gives what a variable can hold. Those that hold paths count as "/":
// they cannot name a host. One that is made of itself is unknown.
func (r *reader) valuesOf(name string) []string {
	switch name {
	case "request_uri", "uri", "document_uri":
		return []string{"/"}
	}
	if known, ok := r.known[name]; ok {
		return known
	}
	r.known[name] = []string{unknown}
	var out []string
	for _, v := range r.values[name] {
		if len(out) > most {
			break
		}
		out = append(out, r.expand(v)...)
	}
	if out != nil {
		r.known[name] = out
	}
	return r.known[name]
}

// authority cuts scheme and path off an address.
func authority(address string) (scheme, hostport string) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "", address
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	return scheme, rest
}

func hasPort(address string) bool {
	_, hostport := authority(address)
	return strings.Contains(hostport, ":")
}

// locate takes host and port from an address of a pass or a server; false for
// sockets and IP addresses, which name no service.
func locate(address, port string) (target, bool) {
	scheme, hostport := authority(address)
	if strings.HasPrefix(hostport, "unix:") || strings.HasPrefix(hostport, "[") {
		return target{}, false
	}
	if scheme == "https" || scheme == "grpcs" {
		port = "443"
	}
	host := hostport
	if h, p, ok := strings.Cut(hostport, ":"); ok {
		host, port = h, p
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return target{}, false
	}
	if strings.Contains(host, unknown) {
		host = ""
	}
	// What follows the port (api:8000$path) is a path; api:$port has none to tell.
	port, _, _ = strings.Cut(port, unknown)
	return target{host: host, port: port}, true
}
