package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// restartsWith says which dependencies are replaced in this plan, or were by a release
// that was interrupted before it came to the service, and take the service along, and
// why the first does; or nothing. A full up would stop all such services at once; here
// each is a rollout of its own. A way back has to replace also what died since the release
// replaced it: what runs yet is bound to a unit before that.
func restartsWith(in Input, svc *stack.Service, so *Plan) (with []string, why string) {
	for _, d := range svc.DependsOn {
		s := so.Step(d.Service)
		replaced := s.swaps() || s != nil && in.Back && s.Action == Create && !s.Ill
		by, because := boundBy(in, d), ""
		switch {
		case replaced && slices.Contains(svc.Shares, d.Service):
			because = "shares the network or volumes of " + d.Service + ", which is replaced"
		case replaced && by != "":
			because = "restarts with " + d.Service + " (" + by + ")"
		case by != "" && leftBehind(in, svc, d.Service):
			because = "restarts with " + d.Service + " (" + by + "), which an interrupted release replaced"
		default:
			continue
		}
		if with = append(with, d.Service); why == "" {
			why = because
		}
	}
	return with, why
}

// swaps tells whether a step, if there is one, puts new units in the place of others.
func (s *Step) swaps() bool { return s != nil && (s.Action == Surge || s.Action.StopsFirst()) }

// refuseParted refuses a release of some services that would leave others, which run, with
// the network, the processes or the address of a unit that is gone: they look well, and reach
// nobody. What is only to restart goes on, as with Compose, and that is said. A way back takes
// along what was replaced.
func refuseParted(in Input, p *Plan) {
	if len(in.Only) == 0 || in.Back {
		return
	}
	for _, name := range order(in.Desired) {
		serves := func(u stack.Unit) bool { return !u.OneOff && u.Serving() }
		if selected(in, name) || !slices.ContainsFunc(in.Observed.Units[name], serves) {
			continue
		}
		svc := in.Desired.Services[name]
		for _, d := range svc.DependsOn {
			by, goes := boundBy(in, d), p.Step(d.Service).swaps()
			switch {
			case goes && joins(in.Desired.Project.Services[name].ContainerSpec, d.Service) && !in.Observed.Scheduled:
				p.Refusals = append(p.Refusals, fmt.Sprintf("%s shares the network or the processes of %s, which is replaced, and would be left "+
					"with those of a unit that is gone: name %s in services too", name, d.Service, name))
			// A link to a container's own name finds whoever has that name now, but for the
			// engine's default network, where the address was written down.
			case goes && by == "links" && (in.Desired.Services[d.Service].ContainerName == "" || svc.NetworkMode == "bridge"):
				p.Refusals = append(p.Refusals, fmt.Sprintf("%s links to %s, which is replaced, and would be left with the address of a unit that is gone: "+
					"name %s in services too", name, d.Service, name))
			case goes && by != "":
				p.Notes = append(p.Notes, fmt.Sprintf("%s is to restart with %s (%s), and is not among the services of this release: it runs on as it is",
					name, d.Service, by))
			}
		}
	}
}

// joins tells whether a service has its network, memory or processes with another. Volumes
// that it takes from there stay with it.
func joins(c types.ContainerSpec, other string) bool {
	return slices.ContainsFunc(stack.SharesOf(c), func(s stack.Share) bool { return s.Namespace() && s.Service == other })
}

// Bound lists what restarts with given services, or with what restarts with them.
func Bound(in Input, to []string) []string {
	all := slices.Clone(to)
	for _, name := range order(in.Desired) {
		svc := in.Desired.Services[name]
		bound := func(d stack.Dependency) bool {
			return slices.Contains(all, d.Service) && (boundBy(in, d) != "" || slices.Contains(svc.Shares, d.Service))
		}
		if !slices.Contains(all, name) && slices.ContainsFunc(svc.DependsOn, bound) {
			all = append(all, name)
		}
	}
	return all[len(to):]
}

// boundBy says by which key of the file a service restarts with a dependency, or "". A
// link leads to the unit that it was made with, whatever depends_on says; a Swarm has none.
func boundBy(in Input, d stack.Dependency) string {
	switch {
	case d.Linked && !in.Observed.Scheduled:
		return "links"
	case d.Restart:
		return "depends_on.restart"
	}
	return ""
}

// leftBehind tells whether an interrupted release replaced the units of a
// dependency and was ended before it came to the service: some of its units are
// older than they are.
func leftBehind(in Input, svc *stack.Service, dependency string) bool {
	d := in.Desired.Services[dependency]
	if !in.Interrupted || d == nil || in.Past[dependency].Hash == d.Hash {
		return false
	}
	first, _ := born(in.Observed.Units[svc.Name], svc.UnitHash())
	_, last := born(in.Observed.Units[dependency], d.UnitHash())
	return !first.IsZero() && first.Before(last)
}

// born gives when the first and the last unit of a configuration were made.
func born(units []stack.Unit, hash string) (first, last time.Time) {
	for _, u := range units {
		if u.OneOff || u.Hash != hash || !u.Serving() {
			continue
		}
		if first.IsZero() || u.Created.Before(first) {
			first = u.Created
		}
		if u.Created.After(last) {
			last = u.Created
		}
	}
	return first, last
}
