package preflight

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// site is the nginx configuration of one service as its container sees it.
type site struct {
	svc  *stack.Service
	tree map[string]finding.Mounted
	// filled is tree with what the image's entrypoint makes of templates.
	filled map[string]finding.Mounted
	roots  []*gateway.Directive
	// upstreams are the names that the configuration gives groups of servers.
	upstreams map[string]bool
}

// nginx reads the configuration of every nginx as it is mounted. What only nginx
// itself can tell is tested with the image, after the pull.
func nginx(f *findings) {
	f.sites = map[string]*site{}
	for _, svc := range f.With(func(c finding.Class) bool { return c.Nginx }) {
		s := &site{svc: svc, tree: f.Tree(svc), upstreams: map[string]bool{}}
		s.fill(len(f.Stack.Project.Services[svc.Name].Entrypoint) > 0)
		if s.roots = s.assemble(); len(s.roots) == 0 {
			continue
		}
		f.sites[svc.Name] = s
		s.walk(func(d *gateway.Directive, above []*gateway.Directive) {
			if d.Name == "upstream" && len(d.Args) > 0 {
				s.upstreams[d.Args[0]] = true
			}
		})
		before := len(f.Results)
		f.siteHosts(s)
		f.limits(s)
		f.headers(s)
		f.ejecting(s)
		f.aliases(s)
		f.selfCheck(s)
		f.stubStatus(s)
		if len(f.Results) == before {
			f.Pass("P05.nginx", "%s: names resolve, headers and limits are kept", svc.Name)
		}
		f.stale(s)
	}
}

// fill puts templates where the image's entrypoint does, with the names of their
// variables in them. Another entrypoint fills none, and into a folder of the workspace,
// which is mounted to be read, the image's own does not write.
func (s *site) fill(otherwise bool) {
	given := func(name, otherwise string) string {
		return cmp.Or(s.svc.Environment["NGINX_ENVSUBST_"+name], otherwise)
	}
	from, suffix := given("TEMPLATE_DIR", "/etc/nginx/templates"), given("TEMPLATE_SUFFIX", ".template")
	to := given("OUTPUT_DIR", "/etc/nginx/conf.d")
	s.filled = maps.Clone(s.tree)
	if otherwise || slices.ContainsFunc(s.svc.Files, func(f stack.File) bool { return finding.Below(to, f.Target) }) {
		return
	}
	for target, file := range s.tree {
		name, below := strings.CutPrefix(target, path.Clean(from)+"/")
		name, is := strings.CutSuffix(name, suffix)
		filled := path.Join(to, name)
		if _, mounted := s.tree[filled]; below && is && !mounted {
			s.filled[filled] = file
		}
	}
}

// assemble gives the configuration with its includes in place: nginx.conf, or what
// the image's own one would include.
func (s *site) assemble() []*gateway.Directive {
	if main, ok := s.filled["/etc/nginx/nginx.conf"]; ok {
		return s.expand(gateway.Read(main.Source, string(main.Content)), 0)
	}
	http := &gateway.Directive{Name: "http", Block: true}
	for _, file := range finding.Match(s.filled, "/etc/nginx/conf.d/*.conf") {
		http.Inner = append(http.Inner, s.expand(gateway.Read(file.Source, string(file.Content)), 0)...)
	}
	if len(http.Inner) == 0 {
		return nil
	}
	return []*gateway.Directive{http}
}

// expand puts included files in the place of their include, as deep as people nest
// them.
func (s *site) expand(list []*gateway.Directive, depth int) []*gateway.Directive {
	var out []*gateway.Directive
	for _, d := range list {
		if d.Name != "include" || len(d.Args) != 1 || depth > 8 {
			d.Inner = s.expand(d.Inner, depth)
			out = append(out, d)
			continue
		}
		pattern, _ := configured(d.Args[0])
		for _, file := range finding.Match(s.filled, pattern) {
			out = append(out, s.expand(gateway.Read(file.Source, string(file.Content)), depth+1)...)
		}
	}
	return out
}

// walk visits every directive with the blocks around it, the outermost first.
func (s *site) walk(visit func(d *gateway.Directive, above []*gateway.Directive)) {
	var down func([]*gateway.Directive, []*gateway.Directive)
	down = func(list, above []*gateway.Directive) {
		for _, d := range list {
			visit(d, above)
			down(d.Inner, append(slices.Clone(above), d))
		}
	}
	down(s.roots, nil)
}

func has(list []*gateway.Directive, name string) *gateway.Directive {
	for _, d := range list {
		if d.Name == name {
			return d
		}
	}
	return nil
}

var passes = []string{"proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass"}

// siteHosts finds names that nginx would not find when it starts, which it takes
// for an error.
func (f *findings) siteHosts(s *site) {
	told := map[string]bool{}
	s.walk(func(d *gateway.Directive, above []*gateway.Directive) {
		isServer := inUpstream(d, above)
		if len(d.Args) == 0 || !isServer && !slices.Contains(passes, d.Name) {
			return
		}
		host, port := finding.Address(d.Args[0])
		_, at, _ := strings.Cut(d.Args[0], "://")
		socket := strings.HasPrefix(d.Args[0], "unix:") || strings.HasPrefix(at, "unix:")
		if s.upstreams[host] && !isServer || socket || told[host+":"+port] {
			return
		}
		told[host+":"+port] = true
		where := finding.In(s.svc.Name, d.File, d.Line)
		switch reached, wrong, hint := f.Reach(s.svc, host); reached {
		case check.Fail:
			f.Fail("P05.hosts", where, hint, "%s; nginx does not start with a name that it cannot find", wrong)
			return
		case check.Warn:
			f.Warn("P05.hosts", where, hint, "%s; nginx does not start with a name that it cannot find", wrong)
			return
		case check.Skip:
			f.Skip("P05.hosts", where, hint, "%s", wrong)
			return
		}
		if inside := f.Inside(host, port); inside != 0 && host != "" {
			f.Warn("P05.hosts", where, "write "+host+":"+strconv.Itoa(int(inside)), "port %s of %s is the host's; on the network it listens on %d", port, host, inside)
		}
	})
}

// limits: rate limiting that answers 503 looks like an outage to everybody.
func (f *findings) limits(s *site) {
	var first *gateway.Directive
	status := false
	s.walk(func(d *gateway.Directive, _ []*gateway.Directive) {
		status = status || d.Name == "limit_req_status"
		if d.Name == "limit_req" && first == nil {
			first = d
		}
	})
	if first != nil && !status {
		f.Warn("P05.limits", finding.In(s.svc.Name, first.File, first.Line), "add `limit_req_status 429;` (and `limit_conn_status 429;`) beside the zones",
			"requests over the limit get 503, which clients and monitors take for an outage")
	}
}

// headers: one add_header in a block drops all that are inherited.
func (f *findings) headers(s *site) {
	s.walk(func(d *gateway.Directive, above []*gateway.Directive) {
		own := has(d.Inner, "add_header")
		if !d.Block || own == nil {
			return
		}
		var lost []string
		for _, outer := range slices.Backward(above) {
			for _, h := range outer.Inner {
				if h.Name == "add_header" && len(h.Args) > 0 && !repeats(d.Inner, h.Args[0]) && !slices.Contains(lost, h.Args[0]) {
					lost = append(lost, h.Args[0])
				}
			}
			if len(lost) > 0 {
				break
			}
		}
		if len(lost) > 0 {
			f.Warn("P05.headers", finding.In(s.svc.Name, own.File, own.Line), "repeat them in this block, or include one file with all headers in each block",
				"add_header in %s drops the inherited %s", text(d), strings.Join(lost, ", "))
		}
	})
}

func repeats(list []*gateway.Directive, header string) bool {
	return slices.ContainsFunc(list, func(d *gateway.Directive) bool {
		return d.Name == "add_header" && len(d.Args) > 0 && strings.EqualFold(d.Args[0], header)
	})
}

func text(d *gateway.Directive) string {
	return strings.TrimSpace(d.Name + " " + strings.Join(d.Args, " "))
}

// ejecting: with several units that restart one after the other, max_fails takes
// all of them out of the group for its whole fail_timeout.
func (f *findings) ejecting(s *site) {
	s.walk(func(d *gateway.Directive, above []*gateway.Directive) {
		if d.Name != "upstream" || !d.Block {
			return
		}
		for _, server := range d.Inner {
			fails, timeout := "1", "10s"
			for _, a := range server.Args {
				if v, ok := strings.CutPrefix(a, "max_fails="); ok {
					fails = v
				}
				if v, ok := strings.CutPrefix(a, "fail_timeout="); ok {
					timeout = v
				}
			}
			written := slices.ContainsFunc(server.Args, func(a string) bool {
				return strings.HasPrefix(a, "max_fails=") || strings.HasPrefix(a, "fail_timeout=")
			})
			if server.Name == "server" && written && fails != "0" {
				f.Warn("P05.max-fails", finding.In(s.svc.Name, server.File, server.Line), "set max_fails=0: what is not well gets no traffic from a release anyway",
					"after %s failures a unit gets nothing for %s; when all restart at once, nobody is left (no live upstreams)", fails, timeout)
				return
			}
		}
	})
}

// aliases: files are served from folders that the container does not have.
func (f *findings) aliases(s *site) {
	s.walk(func(d *gateway.Directive, _ []*gateway.Directive) {
		if d.Name != "alias" && d.Name != "root" || len(d.Args) != 1 || !path.IsAbs(d.Args[0]) || strings.Contains(d.Args[0], "$") {
			return
		}
		if strings.HasPrefix(d.Args[0], "/usr/share/nginx/") || f.Covers(s.svc.Name, d.Args[0]) {
			return
		}
		if _, file := s.tree[d.Args[0]]; !file && len(finding.Match(s.tree, path.Join(d.Args[0], "*"))) == 0 {
			f.Warn("P05.alias", finding.In(s.svc.Name, d.File, d.Line), "mount a volume there, or correct the path", "nothing is mounted at %s, so requests for its files get 404", d.Args[0])
		}
	})
}

var localURL = regexp.MustCompile(`(https?)://(?:localhost|127\.0\.0\.1|\[::1\])(?::(\d+))?(/[^\s'"|;]*)?`)

// selfCheck: a health check that is answered with a redirect to the public name
// depends on the public DNS.
func (f *findings) selfCheck(s *site) {
	m := localURL.FindStringSubmatch(f.HealthTest(s.svc.Name))
	if m == nil || m[1] != "http" {
		return
	}
	port, target := m[2], m[3]
	if port == "" {
		port = "80"
	}
	if target == "" {
		target = "/"
	}
	s.walk(func(d *gateway.Directive, _ []*gateway.Directive) {
		if d.Name != "server" || !d.Block || !listens(d, port) {
			return
		}
		if r := redirect(d.Inner, target); r != nil {
			f.Warn("P05.health", finding.At(s.svc.Name, "healthcheck.test"), "give this address a location of its own that answers 200: `location = "+target+" { return 200; }`",
				"the check asks for %s, which %s:%d redirects: its health depends on the public name", m[0], r.File, r.Line)
		}
	})
}

func listens(server *gateway.Directive, port string) bool {
	for _, d := range server.Inner {
		if d.Name == "listen" && len(d.Args) > 0 && (d.Args[0] == port || strings.HasSuffix(d.Args[0], ":"+port)) {
			return true
		}
	}
	return false
}

// redirect gives the return of 30x to another place that answers a path, or nil. A
// return of the server itself is run before any location is chosen.
func redirect(server []*gateway.Directive, target string) *gateway.Directive {
	if r := has(server, "return"); r != nil && moves(r) {
		return r
	}
	var best *gateway.Directive
	for _, d := range server {
		if d.Name != "location" || len(d.Args) == 0 {
			continue
		}
		prefix := d.Args[len(d.Args)-1]
		if d.Args[0] == "=" && prefix == target {
			best = d
			break
		}
		if (len(d.Args) == 1 || d.Args[0] == "^~") && strings.HasPrefix(target, prefix) && (best == nil || len(prefix) > len(best.Args[len(best.Args)-1])) {
			best = d
		}
	}
	if best == nil {
		return nil
	}
	if r := has(best.Inner, "return"); r != nil && moves(r) {
		return r
	}
	return nil
}

func moves(d *gateway.Directive) bool {
	return len(d.Args) > 1 && strings.HasPrefix(d.Args[0], "30") && strings.Contains(d.Args[1], "://")
}

// stubStatus: an exporter asks for figures that the configuration does not give.
func (f *findings) stubStatus(s *site) {
	given := false
	s.walk(func(d *gateway.Directive, _ []*gateway.Directive) { given = given || d.Name == "stub_status" })
	for _, name := range f.Stack.Order {
		c := f.Stack.Project.Services[name]
		asks := strings.Join(c.Command, " ") + " " + f.Stack.Services[name].Environment["SCRAPE_URI"]
		if !given && strings.Contains(stack.ImageName(f.Stack.Services[name].Image), "nginx") && strings.Contains(asks, "stub_status") {
			f.Warn("P05.stub-status", finding.At(name, "command"), "add a server with `location = /stub_status { stub_status; }` to the configuration of "+s.svc.Name,
				"it reads stub_status, which %s does not serve", s.svc.Name)
		}
	}
}
