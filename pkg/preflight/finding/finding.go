// Package finding is how the parts of a preflight look at a stack and tell what
// they find: what each service is for, the files that its units see, and results
// with the file, the line and the mend.
package finding

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
	// Swarm is set where the stack is to run on one.
	Swarm bool
	// Services are those that are released (nil: all).
	Services []string
	// WaitTimeout is the longest that the release waits for a unit to be well; 0 where
	// nothing is released.
	WaitTimeout time.Duration
}

// Findings collects what a look at a stack finds, by check. A finding that a service
// is exempt from is skipped, with the written reason.
type Findings struct {
	Context context.Context
	Stack   *stack.Stack
	Options Options
	Classes map[string]Class
	Results []check.Result
}

// Of begins a look at a stack.
func Of(ctx context.Context, st *stack.Stack, o Options) *Findings {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	return &Findings{Context: ctx, Stack: st, Options: o, Classes: Classify(st)}
}

// Place is where a finding is: a key of the Compose file, or a file and a line.
type Place struct {
	service, key string
	file         string
	line         int
}

// At is a key of a service in the Compose file ("" for the service itself).
func At(service, key string) Place { return Place{service: service, key: key} }

// In is a line of a file of the workspace that a service uses ("" for none).
func In(service, file string, line int) Place { return Place{service: service, file: file, line: line} }

// Pass tells that a check found nothing wrong with what it looked at.
func (f *Findings) Pass(name, found string, args ...any) {
	f.Results = append(f.Results, check.Result{
		Name: name, Kind: kind(name), Required: true, Outcome: check.Pass, Found: fmt.Sprintf(found, args...),
	})
}

// Fail tells what cannot work or must never be.
func (f *Findings) Fail(name string, p Place, hint, found string, args ...any) {
	f.tell(check.Fail, name, p, hint, found, args...)
}

// Warn tells what should not be.
func (f *Findings) Warn(name string, p Place, hint, found string, args ...any) {
	f.tell(check.Warn, name, p, hint, found, args...)
}

// Skip tells what could not be looked at, and why.
func (f *Findings) Skip(name string, p Place, hint, found string, args ...any) {
	f.tell(check.Skip, name, p, hint, found, args...)
}

func (f *Findings) tell(outcome check.Outcome, name string, p Place, hint, found string, args ...any) {
	r := check.Result{Name: name, Kind: kind(name), Where: p.service, Required: outcome == check.Fail, Outcome: outcome,
		Found: fmt.Sprintf(found, args...), Hint: hint, File: p.file, Line: p.line}
	if r.File == "" && p.service != "" {
		r.File, r.Line = f.Stack.Place(strings.TrimSuffix("services."+p.service+"."+p.key, "."))
	}
	if why := f.exempt(name, p.service); why != "" && outcome != check.Skip {
		r.Outcome, r.Required, r.Hint = check.Skip, false, ""
		r.Found += "; exempt: " + why
	}
	f.Results = append(f.Results, r)
}

// exempt gives the written reason why a service is let off a finding, or "".
func (f *Findings) exempt(name, service string) string {
	svc := f.Stack.Services[service]
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
	"P01": "images", "P02": "policy", "P03": "secrets", "P04": "registry", "P05": "nginx", "P06": "certificates", "P07": "prometheus",
	"P08": "alertmanager", "P09": "dashboards", "P10": "host", "P11": "database", "P12": "backup", "P13": "state", "P14": "rollback",
	"P15": "gpu", "P16": "workflow", "P17": "swarm",
}

func kind(name string) string { return kinds[name[:3]] }

// Report gives every result a name of its own: a check finds the same in several
// places.
func (f *Findings) Report() *check.Report {
	r := &check.Report{Schema: check.Schema, Results: f.Results}
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

// Each calls look for every service in the stack's order and, when that said
// nothing about the check, passes it.
func (f *Findings) Each(name, good string, look func(*stack.Service)) {
	before := len(f.Results)
	for _, service := range f.Stack.Order {
		look(f.Stack.Services[service])
	}
	said := slices.ContainsFunc(f.Results[before:], func(r check.Result) bool { return r.Outcome != check.Skip })
	if !said {
		f.Pass(name, "%s", good)
	}
}

// With lists the services of a class in the stack's order.
func (f *Findings) With(is func(Class) bool) []*stack.Service {
	var out []*stack.Service
	for _, name := range f.Stack.Order {
		if is(f.Classes[name]) {
			out = append(out, f.Stack.Services[name])
		}
	}
	return out
}
