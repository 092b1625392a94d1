package plan

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// unitsOf says how many units a service is to have. Of what runs on every node a Swarm decides
// that: nodes join and leave after they were counted, and one that is paused keeps its task.
func unitsOf(in Input, svc *stack.Service, g groups) int {
	if n := len(g.good) + len(g.old); svc.Global && !svc.Job && in.Observed.Scheduled && n > 0 {
		return n + len(g.leftover) // it wants these too, or has given them up
	}
	return svc.Replicas
}

// reasons says in words why a step is what it is: images as a -> b, variables
// and files by name only.
func reasons(in Input, svc *stack.Service, g groups) []string {
	var out []string
	past, known := in.Past[svc.Name]
	switch {
	case len(g.good)+len(g.old)+len(g.leftover)+len(g.done) == 0 && svc.Replicas > 0:
		out = append(out, "not running yet")
	case len(g.old) > 0:
		out = append(out, changes(in, svc, past, known, g.old[0])...)
	}
	if run, n := len(g.good)+len(g.old), unitsOf(in, svc, g); run > 0 && run != n {
		out = append(out, fmt.Sprintf("%s wanted, %d run", plural(n, "unit"), run))
	}
	if b := surgeBlocker(in, svc); b != "" && svc.Update.Order == stack.StartFirst && len(g.old) > 0 {
		out = append(out, "start-first is not possible: "+b)
	}
	for _, target := range in.Live[svc.Name] {
		out = append(out, "file "+path.Base(target)+" changed")
	}
	dead := g.leftover
	if len(g.done) == 0 {
		lost := func(u stack.Unit) bool { return slices.Contains(in.Lost, u.ID) }
		if dead = slices.DeleteFunc(slices.Clone(dead), lost); len(dead) < len(g.leftover) {
			out = append(out, "what it did is gone: a database was brought back to a backup from before")
		}
	}
	ended := func(u stack.Unit) bool { return endedBefore(in, svc, u) }
	if i := slices.IndexFunc(dead, ended); i >= 0 && len(g.done)+len(g.old)+len(g.good) == 0 {
		out = append(out, strings.Join(changes(in, svc, past, known, dead[i]), ", ")+"; runs again")
		dead = slices.DeleteFunc(slices.Clone(dead), ended)
	}
	if n := len(dead); n > 0 {
		out = append(out, fmt.Sprintf("%s of an interrupted release or dead", plural(n, "unit")))
	}
	for _, u := range g.leftover {
		if u.GivenUp {
			out = append(out, "the Swarm tries "+u.Name+" on node "+u.Node+" no more")
		}
	}
	if in.Stale[svc.Name] {
		out = append(out, svc.Ext.Gateway+" has addresses pinned that no unit has any more")
	}
	if g.unproved {
		out = append(out, "started by a release that was interrupted before it was proved")
	}
	return out
}

// endedBefore tells whether a unit is of a job as it was before, and did what it was to do.
func endedBefore(in Input, svc *stack.Service, u stack.Unit) bool {
	return svc.Job && u.State == stack.Exited && u.ExitCode == 0 && !asWanted(in, svc, u)
}

// changes compares the running unit and the ledger's knowledge of it with what
// is wanted.
func changes(in Input, svc *stack.Service, past Past, known bool, old stack.Unit) []string {
	var out []string
	elsewhere := in.Desired.Elsewhere(svc.Name, old)
	if old.Hash == svc.UnitHash() && len(elsewhere) > 0 {
		return elsewhere
	}
	if old.Hash == svc.UnitHash() && svc.Ext.Idle != nil && old.Serving() {
		return []string{"an interrupted release may have told it to take no more work"}
	}
	if old.Hash == svc.UnitHash() {
		return []string{string("unit is " + string(old.Health))}
	}
	if old.Image != svc.Pinned {
		from := old.Image
		if known && past.Pinned == old.Image {
			from = past.Image
		}
		out = append(out, "image "+arrow(from, svc.Image, old.Image, svc.Pinned))
	}
	if known && past.Hash == old.Hash {
		out = append(out, named("environment", past.Environment, in.Environment[svc.Name])...)
		out = append(out, named("file", past.Files, fileSums(svc))...)
	}
	out = append(out, elsewhere...)
	if len(out) == 0 {
		out = append(out, "configuration changed")
	}
	return out
}

// nameless says what becomes of the places of new units that have volumes without a name:
// beside old ones that run they begin empty, after old ones they go on. Which it is may
// depend on the memory that is free. A Swarm hands none on.
func nameless(in Input, svc *stack.Service, s Step, g groups) []string {
	var places []string
	add := func(units []stack.Unit) {
		for _, u := range units {
			places = append(places, u.Anonymous...)
		}
	}
	add(g.old)
	if s.Action != Surge && s.Missing() > len(s.Old) {
		add(g.leftover)
	}
	named := func(place string) bool {
		return slices.ContainsFunc(in.Desired.Project.Services[svc.Name].Volumes, func(m types.ServiceVolumeConfig) bool {
			return path.Clean(m.Target) == place && m.Source != ""
		})
	}
	places = slices.DeleteFunc(places, named)
	sort.Strings(places)
	at := strings.Join(slices.Compact(places), ", ")
	switch {
	case at == "" || !s.Replaces() || in.Observed.Scheduled:
		return nil
	case s.Scraps():
		return []string{"new units begin with an empty " + at + " (start-first, and no named volume there); what each old one has there goes with it"}
	case s.Action == Surge:
		return []string{"new units begin with an empty " + at + " (start-first, and no named volume there)"}
	}
	return []string{"new units keep what is in the volumes without a name at " + at}
}

// arrow writes a -> b, falling back to digests where the names are the same.
func arrow(from, to, fromPinned, toPinned string) string {
	if from == to {
		return to + " (" + digest(fromPinned) + " -> " + digest(toPinned) + ")"
	}
	if i := strings.LastIndex(from, ":"); i > 0 && strings.HasPrefix(to, from[:i+1]) {
		return from + " -> " + to[i:]
	}
	return short(from) + " -> " + to
}

// short cuts the digest of a reference to twelve digits, enough to tell by eye.
func short(ref string) string {
	if i := strings.LastIndex(ref, "sha256:"); i >= 0 {
		return ref[:i] + digest(ref)
	}
	return ref
}

func digest(ref string) string {
	if i := strings.LastIndex(ref, "sha256:"); i >= 0 && len(ref) >= i+19 {
		return ref[i : i+19]
	}
	return ref
}

func fileSums(svc *stack.Service) map[string]string {
	sums := map[string]string{}
	for _, f := range svc.Files {
		if !f.Live {
			sums[f.Target] = f.Sum
		}
	}
	return sums
}

// named lists by name what was added, removed or changed between two maps.
func named(what string, before, after map[string]string) []string {
	var out []string
	for k, v := range after {
		if was, ok := before[k]; !ok {
			out = append(out, what+" "+k+" added")
		} else if was != v {
			out = append(out, what+" "+k+" changed")
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			out = append(out, what+" "+k+" removed")
		}
	}
	sort.Strings(out)
	return out
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
