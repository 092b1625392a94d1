package plan

import (
	"slices"

	"github.com/shiksha/actions/pkg/stack"
)

// illBefore tells whether a service was ill before the release: nothing of it serves,
// though all of it is as the last verified release made it. What an unfinished run left
// ill may be what that run broke, and what is starting may get well yet, so both have to
// get well. A rollback from such a run is to end what it broke: what runs ill as it is to
// be does not keep it from that. What does not run may have been stopped by it.
func illBefore(in Input, svc *stack.Service) bool {
	known := slices.Contains(in.Ill, svc.Name)
	if svc.Job || svc.Replicas == 0 || pinned(in, svc) {
		return false
	}
	found, was := false, in.Past[svc.Name].Hash
	if len(svc.Shares) > 0 && was == svc.Hash {
		was = svc.UnitHash() // the record's is of no unit that shares with another
	}
	for _, u := range in.Observed.Units[svc.Name] {
		switch {
		case u.OneOff:
			continue
		case u.Serving(), !known && (u.Hash != was || u.Health == stack.HealthStart):
			return false
		}
		found = true
	}
	return known || found && !in.Begun && (in.Whole || in.Back && tries(in, svc.Name) && asItWas(in, svc.Name))
}

// tries tells whether a unit of a service runs, or is started again and again.
func tries(in Input, service string) bool {
	return slices.ContainsFunc(in.Observed.Of(service), stack.Unit.Tries)
}

// passOver finds the services that were ill before and are as they are to be, or go back:
// they are tried once, and hold nothing up. It puts them behind all that changes, but for what
// something that changes needs. Where they are all that a release is about, or were named
// for it, they have to get well.
func passOver(in Input, steps, left []Step) []Step {
	about := func(s Step) bool { return s.Changes() && !s.Ill && len(s.after) == 0 }
	others := slices.ContainsFunc(steps, about) || slices.ContainsFunc(left, about)
	for i := range steps {
		s := &steps[i]
		meant, known := !others || !in.Back && len(in.Only) > 0, slices.Contains(in.Ill, s.Service)
		// What has the network of a unit that goes cannot be what it was again.
		goes := func(of string) bool { return joins(in.Desired.Project.Services[s.Service].ContainerSpec, of) }
		anew := !asItWas(in, s.Service) || slices.ContainsFunc(s.after, goes)
		if !s.Ill || !s.Changes() || meant && !known || len(in.Live[s.Service]) > 0 || anew && !mayStay(in, *s) {
			continue
		}
		// What was ill and has ended since was stopped by this release: nobody starts it again.
		s.Tolerated, s.Anew = true, anew || known && !tries(in, s.Service) && mayStay(in, *s)
		s.Reasons = append(s.Reasons, "ill before: tried once, passed over where it stays ill")
	}
	var first, last []Step
	for _, s := range steps {
		needed := func(other Step) bool {
			return other.Changes() && !other.Tolerated && slices.Contains(Ahead(in.Desired, other.Service), s.Service)
		}
		if s.late = s.Tolerated && !slices.ContainsFunc(steps, needed); s.late {
			last = append(last, s)
			continue
		}
		first = append(first, s)
	}
	return append(first, last...)
}

// mayStay tells whether the new units of a service that was ill may stay although they are
// ill too. Who goes back wants all of one release, and the engine goes on with its tries. A
// Swarm takes them back by itself, a gateway does not know when they get well, and what
// goes in parts would be left of two releases.
func mayStay(in Input, s Step) bool {
	return in.Back && !in.Observed.Scheduled && s.Gateway == "" && s.Action != Surge && s.Batch >= s.Missing()
}

// asItWas tells whether all units of a service are as they are to be.
func asItWas(in Input, service string) bool {
	return !slices.ContainsFunc(in.Observed.Units[service], func(u stack.Unit) bool {
		return !u.OneOff && !asWanted(in, in.Desired.Services[service], u)
	})
}
