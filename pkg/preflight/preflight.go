// Package preflight finds before a release what would be learned in production
// after it. Its checks are named P01 to P16: Static needs nothing but the
// workspace, Host reads on the host, and neither changes anything. A finding says
// the file, the line and the mend.
package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
)

// Options say what is known beside the stack.
type Options struct {
	// Workspace is the folder of the checkout.
	Workspace string
	// Images are images given by service that win over the Compose file's.
	Images map[string]string
	// Now is the time that certificates are compared with; zero for this moment.
	Now time.Time
}

// Static looks at everything that can be known without a host. A required result
// that failed is something that cannot work or must never be; the rest is policy.
// A finding that a service is exempt from is skipped, with the written reason.
func Static(ctx context.Context, st *stack.Stack, o Options) *check.Report {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	f := &findings{ctx: ctx, st: st, opts: o, classes: classify(st)}
	for _, look := range []func(*findings){
		interpolation, policy, secrets, nginx, certificates, prometheus, alertmanager, dashboards, workflows,
	} {
		look(f)
	}
	return f.report()
}

// findings collects what a run finds, by check.
type findings struct {
	ctx     context.Context
	st      *stack.Stack
	opts    Options
	classes map[string]class
	results []check.Result
	// rules are the alerts that the Prometheus configuration has, for the routes.
	rules []alert
	// sites are the nginx configurations of the stack, by service.
	sites map[string]*site
}

// place is where a finding is: a key of the Compose file, or a file and a line.
type place struct {
	service, key string
	file         string
	line         int
}

// at is a key of a service in the Compose file ("" for the service itself).
func at(service, key string) place { return place{service: service, key: key} }

// in is a line of a file of the workspace that a service uses ("" for none).
func in(service, file string, line int) place { return place{service: service, file: file, line: line} }

// pass tells that a check found nothing wrong with what it looked at.
func (f *findings) pass(name, found string, args ...any) {
	f.results = append(f.results, check.Result{
		Name: name, Kind: kind(name), Required: true, Outcome: check.Pass, Found: fmt.Sprintf(found, args...),
	})
}

// fail tells what cannot work; warn what should not be; skip what could not be
// looked at and why.
func (f *findings) fail(name string, p place, hint, found string, args ...any) {
	f.tell(check.Fail, name, p, hint, found, args...)
}

func (f *findings) warn(name string, p place, hint, found string, args ...any) {
	f.tell(check.Warn, name, p, hint, found, args...)
}

func (f *findings) skip(name string, p place, hint, found string, args ...any) {
	f.tell(check.Skip, name, p, hint, found, args...)
}

func (f *findings) tell(outcome check.Outcome, name string, p place, hint, found string, args ...any) {
	r := check.Result{Name: name, Kind: kind(name), Where: p.service, Required: outcome == check.Fail, Outcome: outcome,
		Found: fmt.Sprintf(found, args...), Hint: hint, File: p.file, Line: p.line}
	if r.File == "" && p.service != "" {
		r.File, r.Line = f.st.Place(strings.TrimSuffix("services."+p.service+"."+p.key, "."))
	}
	if why := f.exempt(name, p.service); why != "" && outcome != check.Skip {
		r.Outcome, r.Required, r.Hint = check.Skip, false, ""
		r.Found += "; exempt: " + why
	}
	f.results = append(f.results, r)
}

// exempt gives the written reason why a service is let off a finding, or "".
func (f *findings) exempt(name, service string) string {
	svc := f.st.Services[service]
	if svc == nil {
		return ""
	}
	if why := svc.Ext.Exempt[name]; why != "" {
		return why
	}
	number, _, _ := strings.Cut(name, ".")
	return svc.Ext.Exempt[number]
}

// kinds are what the checks look at, by their number.
var kinds = map[string]string{
	"P01": "images", "P02": "policy", "P03": "secrets", "P05": "nginx", "P06": "certificates", "P07": "prometheus",
	"P08": "alertmanager", "P09": "dashboards", "P10": "host", "P11": "database", "P12": "backup", "P13": "state", "P14": "rollback",
	"P15": "gpu", "P16": "workflow",
}

func kind(name string) string { return kinds[name[:3]] }

// report gives every result a name of its own: a check finds the same in several
// places.
func (f *findings) report() *check.Report {
	r := &check.Report{Schema: check.Schema, Results: f.results}
	slices.SortStableFunc(r.Results, func(a, b check.Result) int { return strings.Compare(a.Name[:3], b.Name[:3]) })
	seen := map[string]int{}
	for i := range r.Results {
		name := r.Results[i].Name
		if r.Results[i].Where != "" {
			name += " " + r.Results[i].Where
		}
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s #%d", name, seen[name])
		}
		r.Results[i].Name = name
	}
	return r
}

// each calls look for every service in the stack's order and, when that said
// nothing about the check, passes it.
func (f *findings) each(name, good string, look func(*stack.Service)) {
	before := len(f.results)
	for _, service := range f.st.Order {
		look(f.st.Services[service])
	}
	said := slices.ContainsFunc(f.results[before:], func(r check.Result) bool { return r.Outcome != check.Skip })
	if !said {
		f.pass(name, "%s", good)
	}
}
