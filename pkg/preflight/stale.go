package preflight

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// held is a service whose addresses an nginx keeps from when it loaded, by the first
// directive that names it.
type held struct {
	svc        *stack.Service
	host, port string
	at         finding.Place
	// lost is set where every address is another one after a release, udp where the port is
	// none to connect to.
	lost, udp bool
	// rewrite does what the path of a pass did, once the host is in a variable.
	rewrite string
}

// stale finds services that nginx loses when a release replaces them: it looks names up
// when it loads, and only where a service says that this is its gateway does a release load
// it anew.
func (f *findings) stale(s *site) {
	if s.svc.Job || s.svc.Replicas == 0 {
		return
	}
	var may []held
	for _, h := range f.held(s) {
		if !h.lost {
			may = append(may, h)
			continue
		}
		f.Fail("P05.gateway", h.at, f.led(s, []held{h})+f.elsewhere(), "new units of %s start beside the old ones (order: start-first), and %s keeps the addresses that it found when it loaded: after a release every request to %s gets 502",
			h.svc.Name, s.svc.Name, h.svc.Name)
	}
	if len(may) == 0 {
		return
	}
	var names []string
	for _, h := range may {
		names = append(names, h.svc.Name)
	}
	f.Warn("P05.gateway", may[0].at, f.led(s, may), "%s looks up %s once, when it loads: what a release replaces may get another address, and its requests get 502 until %s is reloaded",
		s.svc.Name, strings.Join(names, ", "), s.svc.Name)
}

// held lists the services that a site keeps the addresses of, each once.
func (f *findings) held(s *site) []held {
	var out []held
	s.walk(func(d *gateway.Directive, above []*gateway.Directive) {
		server := inUpstream(d, above)
		if !server && !slices.Contains(passes, d.Name) || len(d.Args) == 0 || asksLater(d) {
			return
		}
		host, port := finding.Address(d.Args[0])
		if s.upstreams[host] && !server {
			return
		}
		named := f.Named(s.svc, host)
		for _, svc := range named {
			if i := slices.IndexFunc(out, func(h held) bool { return h.svc == svc }); i >= 0 {
				out[i].rewrite = cmp.Or(out[i].rewrite, rewrite(d, above))
				continue
			}
			if svc.Job || svc.Replicas == 0 || svc.Ext.Gateway == s.svc.Name || f.keeps(s.svc, svc) {
				continue
			}
			if port == "" && (strings.HasPrefix(d.Args[0], "https:") || strings.HasPrefix(d.Args[0], "grpcs:")) {
				port = "443"
			}
			if inside := f.Inside(svc.Name, port); inside != 0 {
				port = strconv.Itoa(int(inside))
			}
			// Where several have the name, the others answer meanwhile.
			lost := len(named) == 1 && svc.Ext.Gateway == "" && f.released(svc) && f.moves(svc) && !f.reloads(s.svc)
			out = append(out, held{svc, host, cmp.Or(port, "80"), finding.In(s.svc.Name, d.File, d.Line), lost, datagrams(d, above), rewrite(d, above)})
		}
	})
	return out
}

// inUpstream tells whether a directive is a server of an upstream.
func inUpstream(d *gateway.Directive, above []*gateway.Directive) bool {
	return d.Name == "server" && !d.Block && len(above) > 0 && above[len(above)-1].Name == "upstream"
}

// datagrams tells whether what a directive of stream{} names is sent UDP.
func datagrams(d *gateway.Directive, above []*gateway.Directive) bool {
	if len(above) < 2 || above[0].Name != "stream" {
		return false
	}
	return slices.ContainsFunc(above[0].Inner, func(server *gateway.Directive) bool {
		udp := slices.ContainsFunc(server.Inner, func(l *gateway.Directive) bool { return l.Name == "listen" && slices.Contains(l.Args, "udp") })
		pass := has(server.Inner, "proxy_pass")
		return udp && pass != nil && (pass == d || slices.Equal(pass.Args, above[1].Args))
	})
}

// rewrite gives what does the same as the path of a pass, "" where it has none: nginx puts it
// in the place of what the location matched, but not where a variable is beside it.
func rewrite(d *gateway.Directive, above []*gateway.Directive) string {
	_, rest, _ := strings.Cut(d.Args[0], "://")
	_, path, given := strings.Cut(rest, "/")
	if !given || d.Name != "proxy_pass" || len(above) == 0 {
		return ""
	}
	location := above[len(above)-1]
	if location.Name != "location" || len(location.Args) == 0 {
		return ""
	}
	return fmt.Sprintf("`rewrite ^%s(.*) /%s$1 break;`", regexp.QuoteMeta(location.Args[len(location.Args)-1]), path)
}

// asksLater tells whether nginx asks DNS for a directive's host while it runs, or never.
func asksLater(d *gateway.Directive) bool {
	return strings.Contains(d.Args[0], "$") || slices.ContainsFunc(d.Args[1:], func(a string) bool {
		return a == "resolve" || a == "down" || strings.HasPrefix(a, "service=")
	})
}

// keeps tells whether an nginx finds a service where it was: at an address of its own, at
// the one that a Swarm gives it, or since the nginx restarts with it.
func (f *findings) keeps(nginx, svc *stack.Service) bool {
	c := f.Stack.Project.Services[svc.Name]
	if f.Options.Swarm {
		return c.Deploy == nil || c.Deploy.EndpointMode != "dnsrr"
	}
	fixed := !slices.ContainsFunc(svc.Networks, func(n string) bool {
		own := c.Networks[n]
		return slices.Contains(nginx.Networks, n) && (own == nil || own.Ipv4Address == "")
	})
	return fixed || slices.ContainsFunc(nginx.DependsOn, func(d stack.Dependency) bool {
		return d.Service == svc.Name && (d.Restart || d.Linked)
	})
}

// released tells whether the release may replace a service.
func (f *findings) released(svc *stack.Service) bool {
	return len(f.Options.Services) == 0 || slices.Contains(f.Options.Services, svc.Name)
}

// moves tells whether new units of a service are started beside the old ones, which hold
// their addresses, as far as no host is needed to know. What stops first mostly gets them again.
func (f *findings) moves(svc *stack.Service) bool {
	return svc.Update.Order == stack.StartFirst && (f.Options.Swarm || !f.stopsFirst(svc))
}

// reloads tells whether somebody reloads an nginx when containers come and go: docker-gen,
// beside it or in its image.
func (f *findings) reloads(nginx *stack.Service) bool {
	beside := slices.ContainsFunc(f.Stack.Order, func(name string) bool {
		return strings.Contains(stack.ImageName(f.Stack.Services[name].Image), "docker-gen")
	})
	return beside || strings.HasPrefix(stack.ImageName(nginx.Image), "nginx-proxy")
}

// led says what to write so that a release leads an nginx to new units. One that cannot
// be led, or that leads to what another one is the gateway of, has to ask DNS itself.
func (f *findings) led(s *site, list []held) string {
	const ask = "let %s ask DNS for %s while it runs: `resolver 127.0.0.11 valid=5s;`, and the host in a variable"
	var lines, renamed, others, rewrites []string
	for _, h := range list {
		if h.svc.Ext.Gateway != "" || h.udp || f.rigid(s.svc) {
			others = append(others, h.svc.Name)
			if h.rewrite != "" {
				rewrites = append(rewrites, h.rewrite)
			}
			continue
		}
		lines = append(lines, fmt.Sprintf("`x-shiksha: {gateway: %s, port: %s}` at %s", s.svc.Name, h.port, h.svc.Name))
		if h.host != h.svc.Name {
			renamed = append(renamed, fmt.Sprintf("write %s there in the place of %s, since only its own name can be led", h.svc.Name, h.host))
		}
	}
	var out []string
	if len(lines) > 0 {
		whose := "their"
		if len(lines) == 1 {
			whose = "its"
		}
		out = append(out, fmt.Sprintf("write %s: releases then lead %s to %s new units", strings.Join(lines, ", "), s.svc.Name, whose))
	}
	out = append(out, renamed...)
	if len(others) > 0 {
		out = append(out, fmt.Sprintf(ask, s.svc.Name, strings.Join(others, ", ")))
	}
	if len(rewrites) > 0 {
		out[len(out)-1] += ", which passes the path as it is: take it off proxy_pass and write " + strings.Join(rewrites, ", ")
	}
	out = append(out, fmt.Sprintf("if something else reloads %s: `x-shiksha: {exempt: {P05.gateway: \"...\"}}` at %s", s.svc.Name, s.svc.Name))
	return strings.Join(out, "; ")
}

// elsewhere says what to write where this is no fault: on a Swarm that nobody spoke of.
func (f *findings) elsewhere() string {
	if f.Options.Swarm || f.Stack.Engine != "" && f.Stack.Engine != "auto" {
		return ""
	}
	return "; on a Swarm say so: `x-shiksha: {engine: swarm}` at the top level"
}

// rigid tells whether an nginx can lead nobody: its /etc/hosts cannot be written.
func (f *findings) rigid(nginx *stack.Service) bool {
	c := f.Stack.Project.Services[nginx.Name]
	user, _, _ := strings.Cut(c.User, ":")
	return c.ReadOnly || user != "" && user != "0" && user != "root" || user == "" && strings.Contains(stack.ImageName(nginx.Image), "unprivileged")
}
