package plan

import (
	"slices"

	"github.com/shiksha/actions/pkg/stack"
)

// order is the stack's dependency order with one addition: a gateway comes after
// the services it balances, so that its own files and image change only once the
// new backends are there.
func order(s *stack.Stack) []string {
	var out []string
	state := map[string]int{} // 1: on the way, 2: placed
	var place func(name string)
	place = func(name string) {
		if state[name] != 0 {
			return
		}
		state[name] = 1
		for _, before := range predecessors(s, name) {
			place(before)
		}
		state[name] = 2
		out = append(out, name)
	}
	for _, name := range s.Order {
		place(name)
	}
	return out
}

// Ahead lists all services that come before a service: those it depends on, those
// it balances, and what these need in turn. In a loop a service may be ahead of
// itself.
func Ahead(s *stack.Stack, name string) []string {
	var out []string
	for rest := predecessors(s, name); len(rest) > 0; rest = rest[1:] {
		if !slices.Contains(out, rest[0]) {
			out = append(out, rest[0])
			rest = append(rest, predecessors(s, rest[0])...)
		}
	}
	return out
}

// placed lists what is ahead of a service and has its step already: in a loop that is not all.
func placed(in Input, svc *stack.Service, so *Plan) []string {
	return slices.DeleteFunc(Ahead(in.Desired, svc.Name), func(name string) bool { return so.Step(name) == nil })
}

// predecessors lists, in the stack's order, what comes before a service. A
// backend that depends on its own gateway keeps its depends_on: the loop is
// broken by whichever is met first in the stack's order.
func predecessors(s *stack.Stack, name string) []string {
	var out []string
	for _, other := range s.Order {
		svc := s.Services[other]
		depends := slices.ContainsFunc(s.Services[name].DependsOn, func(d stack.Dependency) bool { return d.Service == other })
		balanced := svc.Ext.Gateway == name
		if depends || balanced {
			out = append(out, other)
		}
	}
	return out
}

// gateRuns tells whether a unit of a service's gateway runs.
func gateRuns(in Input, svc *stack.Service) bool {
	return slices.ContainsFunc(in.Observed.Units[svc.Ext.Gateway], func(u stack.Unit) bool { return u.State == stack.Running && !u.OneOff })
}
