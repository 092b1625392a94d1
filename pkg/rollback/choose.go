package rollback

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// choice is where a rollback goes: the release to bring back and the number of the
// one it undoes. notes say how that was found where it is not plain.
type choice struct {
	to    release.Record
	from  int
	notes []string
}

// choose finds the release to bring back. live are the live files, by service, that are
// not as the last verified release made them.
func choose(l *release.Ledger, seen stack.Observed, live map[string][]string, o Options) (choice, error) {
	verified, any := l.LatestVerified()
	if !any {
		return choice{}, fault.New(fault.Refused, "", "deploy a version that works; if another user released it, log in as that one, or give its state-dir",
			"no release of %s was ever verified on this host, so there is none to go back to", o.Project)
	}
	c := choice{from: verified.Number}
	whole := serves(l, verified, seen, live)
	if !whole {
		c.from = last(l)
		c.notes = append(c.notes, fmt.Sprintf("release %d did not end well and runs in parts: undoing it", c.from))
	}
	var err error
	switch {
	case o.Release > 0:
		c.to, err = byNumber(l, o.Release)
	case o.Version != "":
		c.to, err = byVersion(l, o.Version)
	case whole:
		c.to, err = before(l, verified)
	default:
		c.to = cutShort(l, verified)
	}
	return c, err
}

// serves tells whether the last verified release is what runs. The ledger says so
// when nothing came after it; after a release that did not end well, or whose
// record cannot be read, the labels of what runs decide.
func serves(l *release.Ledger, verified release.Record, seen stack.Observed, live map[string][]string) bool {
	newest, _ := l.LatestChange()
	if newest.Number == verified.Number && !l.Uncertain() {
		return true
	}
	// The hash of what shares with another is of a container that may be gone, where a release
	// went back.
	var sharing map[string]bool
	if newest.Outcome.Clean() && !l.Uncertain() {
		sharing = verified.Sharing()
	}
	for service, units := range seen.Units {
		if sharing[service] || foreign(l, verified, service) {
			continue
		}
		for _, u := range units {
			if u.Serving() && !u.OneOff && u.Hash != verified.Services[service].Hash {
				return false
			}
		}
	}
	if leftIll(l, verified, seen) || leftOtherwise(l, verified, seen, live) {
		return false
	}
	if newest.Outcome.Clean() && !l.Uncertain() {
		return true // it went back by itself; what is ill since then is the verified one's own
	}
	return !gone(verified, seen) && !told(l, verified)
}

// foreign tells whether a service is of no release since the last verified one: somebody
// started it beside them, and it says nothing of what they left.
func foreign(l *release.Ledger, verified release.Record, service string) bool {
	names := func(r release.Record) bool { return r.Names(service) && r.Number >= verified.Number }
	return !l.Uncertain() && !slices.ContainsFunc(l.All(), names)
}

// told tells whether a run that did not end may have told workers to take no more work: they
// look as well as ever, and the release that they are of is brought back whole.
func told(l *release.Ledger, verified release.Record) bool {
	for _, r := range slices.Backward(l.All()) {
		switch {
		case r.ChangedNothing():
			continue
		case r.Number <= verified.Number || r.Outcome.Clean():
			return false
		}
		for service, s := range r.Services {
			if quiets(r, s, verified.Services[service]) && r.MayHave("drain", service) {
				return true
			}
		}
	}
	return false
}

// quiets tells whether a run was to tell units of a service to take no more work. Its steps say
// so where it wrote them down: whatever replaces or ends a unit does. One that was killed may
// have where that is what it was for.
func quiets(r release.Record, s, was release.ServiceRecord) bool {
	switch action := plan.Action(s.Action); {
	case s.Stays():
		return false
	case action == plan.Drain:
		return true
	case action == plan.Scale:
		return len(r.Steps) > 0 || s.Replicas < was.Replicas
	}
	return len(r.Steps) > 0
}

// leftIll tells whether a unit that a later release made runs still, well or not: one
// that failed and stays as it is (failure_action: pause) is to be undone first.
func leftIll(l *release.Ledger, verified release.Record, seen stack.Observed) bool {
	for _, r := range l.All() {
		if r.Number <= verified.Number {
			continue
		}
		for service, made := range r.Services {
			own := made.Hash != "" && made.Hash != verified.Services[service].Hash
			runs := func(u stack.Unit) bool {
				return !u.OneOff && u.Hash == made.Hash && u.Tries()
			}
			if own && slices.ContainsFunc(seen.Units[service], runs) {
				return true
			}
		}
	}
	return false
}

// leftOtherwise tells whether something that no hash shows (a live file, how many units
// there are, that there are none) is not as the last verified release made it, and a later
// one was to change it.
func leftOtherwise(l *release.Ledger, verified release.Record, seen stack.Observed, live map[string][]string) bool {
	once := verified.Jobs()
	newest, _ := l.LatestChange()
	ended := newest.Outcome.Clean() && !l.Uncertain() // of an unfinished run it may be what that run stopped
	for _, r := range l.All() {
		if r.Number <= verified.Number || r.ChangedNothing() {
			continue
		}
		for service, was := range verified.Services {
			made := r.Services[service] // of one that was to go there are none
			scaled := made.Replicas != was.Replicas && !asMany(was, seen.Units[service], ended) && !once[service]
			if scaled || slices.ContainsFunc(live[service], func(target string) bool { return made.Files[target] != was.Files[target] }) {
				return true
			}
		}
	}
	return false
}

// asMany tells whether a service has as many units as a release gave it. One that crashed
// is there still: a scale or a removal takes units away. Those that have ended count where
// ended says so, for what is missing only.
func asMany(was release.ServiceRecord, units []stack.Unit, ended bool) bool {
	up, all := 0, 0
	for _, u := range units {
		switch {
		case u.OneOff:
		case u.Up():
			up, all = up+1, all+1
		case ended && u.Hash == was.Hash:
			all++
		}
	}
	return up <= was.Replicas && was.Replicas <= all
}

// running counts the units that run, but for commands in them.
func running(units []stack.Unit) (n int) {
	for _, u := range units {
		if u.State == stack.Running && !u.OneOff {
			n++
		}
	}
	return n
}

// gone tells whether a service of a release has no unit that runs, but for those that
// run once.
func gone(r release.Record, seen stack.Observed) bool {
	once := r.Jobs()
	for name, svc := range r.Services {
		if svc.Replicas > 0 && !once[name] && running(seen.Units[name]) == 0 {
			return true
		}
	}
	return false
}

// last is the number of the last release that may have changed something.
func last(l *release.Ledger) int {
	newest, _ := l.LatestChange()
	n := newest.Number
	for _, d := range l.Damage() {
		n = max(n, d.Number, d.Through)
	}
	return n
}

// cutShort is where a release that did not end well is left for: the last verified
// one, or where it was going if it was a rollback itself.
func cutShort(l *release.Ledger, verified release.Record) release.Record {
	newest, _ := l.LatestChange()
	if newest.Restores == 0 || l.Uncertain() {
		return verified
	}
	for _, r := range slices.Backward(l.All()) {
		if r.Outcome == release.Verified && origin(r) == newest.Restores {
			return r
		}
	}
	return verified
}

// before is the newest verified release that came before what serves, is another
// stack than that, and was not gone back from.
func before(l *release.Ledger, serving release.Record) (release.Record, error) {
	all := l.All()
	undone := map[int]bool{}
	for _, r := range all {
		if r.Outcome == release.Verified {
			undone[r.RollsBack] = true
		}
	}
	for _, r := range slices.Backward(all) {
		if r.Number < serving.Number && r.Outcome == release.Verified && !undone[r.Number] && origin(r) != origin(serving) {
			return r, nil
		}
	}
	return release.Record{}, fault.New(fault.Refused, "", "name one with release or version; the host has "+list(all),
		"there is no verified release before %s that was not gone back from already", serving.Title())
}

// origin is the release whose stack a release has: its own, or the one it restored.
func origin(r release.Record) int {
	if r.Restores > 0 {
		return r.Restores
	}
	return r.Number
}

func byNumber(l *release.Ledger, n int) (release.Record, error) {
	r, err := l.Get(n)
	if err == nil {
		if r.Outcome != release.Verified {
			return r, fault.New(fault.Input, "release", "the host has "+list(l.All()), "release %d ended as %s: only a verified one can be gone back to", n, r.Outcome)
		}
		return r, nil
	}
	for _, d := range l.Damage() {
		if d.Number <= n && n <= max(d.Number, d.Through) {
			return r, err // it was there, and what is wrong with it is no mistake of the caller
		}
	}
	return r, fault.New(fault.Input, "release", "the host has "+list(l.All()), "%w", err)
}

func byVersion(l *release.Ledger, version string) (release.Record, error) {
	for _, r := range slices.Backward(l.All()) {
		if r.Version == version && r.Outcome == release.Verified {
			return r, nil
		}
	}
	return release.Record{}, fault.New(fault.Input, "version", "the host has "+list(l.All()), "no verified release of the host is called %q", version)
}

// listed is how many releases a hint names.
const listed = 10

// list names the releases that can be gone back to, the newest first.
func list(all []release.Record) string {
	var names []string
	for _, r := range slices.Backward(all) {
		if r.Outcome == release.Verified && len(names) < listed {
			names = append(names, r.Title())
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
