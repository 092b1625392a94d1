package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// takeOver keeps a service from writing where one that left the stack writes yet: a
// database that was renamed would be two on the same files, and their locks do not reach
// from one container into another. What left goes first where it is to go at all.
func takeOver(in Input, p *Plan) {
	for _, s := range slices.Clone(p.Steps) {
		svc := in.Desired.Services[s.Service]
		if svc == nil || !s.Replaces() || !alone(in, svc) {
			continue
		}
		for _, place := range in.Desired.Writes(svc.Name) {
			left, unit := soleWriter(in, place)
			if in.Desired.Services[left] != nil || left == "" || sharedInFile(in, svc.Name, place) || wroteBeside(in, svc.Name, place, left, unit) {
				continue
			}
			if why := keeps(in, svc.Name, left, unit); why != "" {
				p.Refusals = append(p.Refusals, fmt.Sprintf("%s would write to %s beside %s, which is %s and runs; that damages a database: %s",
					svc.Name, noun(place), left, where(in, left), why))
				continue
			}
			p.goFirst(left, svc.Name, place)
		}
	}
	p.Notes = append(p.Notes, twice(in, p)...)
}

// alone tells whether a service is meant to write where it does by itself: neither by
// several units, nor by two generations side by side, which a database never has, nor for
// a moment only.
func alone(in Input, svc *stack.Service) bool {
	beside := svc.Update.Order == stack.StartFirst && dataBlocker(in, svc) == ""
	return svc.Replicas == 1 && !svc.Job && !beside
}

// stays says why a service that runs and is not in the stack stays where it is, or "". A
// way back takes away what was made since, in whichever profile, and nothing that no release
// made: no ledger could bring that back.
func stays(in Input, name string) string {
	profiles, inactive := in.Desired.Inactive[name]
	switch {
	case in.Back && in.RemoveOrphans && slices.Contains(in.TakenOver, name):
		return "no release created it, so nothing could make again what ran before: it stays as it is now"
	case in.Back && in.RemoveOrphans && slices.ContainsFunc(in.Observed.Units[name], func(u stack.Unit) bool { return undone(in, u) }):
		return ""
	case inactive:
		return "in the file, in the inactive profile " + strings.Join(profiles, ", ")
	case in.Back:
		return "not made by a release that is undone, so it is left alone"
	case in.RemoveOrphans:
		return ""
	}
	return "not in the Compose file any more; --remove-orphans takes it away"
}

// undone tells whether a way back undoes the release that made a unit.
func undone(in Input, u stack.Unit) bool { return !u.OneOff && slices.Contains(in.Made, u.ID) }

// where says of a service that runs and is not in the stack where it is, or is not.
func where(in Input, name string) string {
	profiles, inactive := in.Desired.Inactive[name]
	switch {
	case in.Back:
		return "not in the release to go back to"
	case inactive:
		return "in the inactive profile " + strings.Join(profiles, ", ") + " of the Compose file"
	}
	return "not in the Compose file any more"
}

// keeps says what has to be done before one that left may be taken away first, "" where
// this release may do it: it is to, and the release before can bring it back.
func keeps(in Input, service, left string, unit stack.Unit) string {
	_, known := in.Past[left]
	_, inactive := in.Desired.Inactive[left]
	why, all, stop := stays(in, left), "", in.Desired.StopIt(in.Observed, left, unit.Name)
	switch {
	case why != "" && in.Back:
		return fmt.Sprintf("no release that is undone made %s; stop it first (%s)", left, stop)
	case inactive && !in.Back:
		return fmt.Sprintf("--remove-orphans takes away only what left the file; stop it first (%s)", stop)
	case !known && !in.Back:
		return fmt.Sprintf("no verified release has %s, so that one that fails could not bring it back; stop it first (%s)", left, stop)
	case why == "" && selected(in, left):
		return ""
	case !selected(in, left):
		all = " all services"
	}
	return fmt.Sprintf("release%s with --remove-orphans (input remove-orphans: true), which takes %s away before %s starts", all, left, service)
}

// goFirst puts the step of one that left right before the first that writes where it did.
func (p *Plan) goFirst(left, service, place string) {
	to := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Service == service })
	from := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Service == left })
	if s := &p.Steps[to]; s.Interruption == "" {
		s.Interruption = fmt.Sprintf("until the new units are well: %s, which has %s, stops first", left, noun(place))
	}
	gone := p.Steps[from]
	if slices.Contains(gone.Before, service) {
		return
	}
	gone.Interruption = "" // who takes its place says it
	gone.Before = append(gone.Before, service)
	gone.Reasons[0] += fmt.Sprintf("; goes first, since %s writes to its %s", service, noun(place))
	p.Steps = slices.Insert(slices.Delete(p.Steps, from, from+1), min(from, to), gone)
}

// noun says of a place that is written to what it is.
func noun(place string) string {
	if path.IsAbs(place) {
		return "folder " + place
	}
	return "volume " + place
}

// soleWriter gives the only unit that writes somewhere, and its service, or "". Where
// several do they are known to get on.
func soleWriter(in Input, place string) (service string, unit stack.Unit) {
	found := 0
	for name, units := range in.Observed.Units {
		for _, u := range units {
			if u.Up() && !u.OneOff && slices.Contains(u.Writes, place) {
				service, unit = name, u
				found++
			}
		}
	}
	if found != 1 {
		return "", stack.Unit{}
	}
	return service, unit
}

// wroteBeside tells whether a unit of the last verified release, of the service itself,
// wrote there, and the other is of that release too: one that has ended was verified beside
// the other, and its successor is no other. What a failed release left proves nothing, nor do
// units that no release knows.
func wroteBeside(in Input, service, place, left string, unit stack.Unit) bool {
	past := in.Past[left].Hash
	return past != "" && unit.Hash == past && slices.ContainsFunc(in.Observed.Units[service], func(u stack.Unit) bool {
		return !u.OneOff && u.Hash == in.Past[service].Hash && slices.Contains(u.Writes, place)
	})
}

// sharedInFile tells whether the file has another service that stays up and writes there.
func sharedInFile(in Input, service, place string) bool {
	for name, other := range in.Desired.Services {
		if name != service && !other.Job && other.Replicas > 0 && slices.Contains(in.Desired.Writes(name), place) {
			return true
		}
	}
	return false
}

// refuseOutside refuses to start a database where a container outside the project writes: a
// second server would come up on the files of the first, and be well. A tool that has a
// folder above, or the whole host, is none.
func refuseOutside(in Input, p *Plan) {
	for _, s := range p.Steps {
		svc := in.Desired.Services[s.Service]
		if svc == nil || svc.Job || !s.Replaces() || in.Observed.Scheduled || !in.Desired.IsDatabase(svc.Name) {
			continue
		}
		places, certain := dataPlaces(in, svc.Name)
		for _, place := range places {
			other, found := writerOutside(in, svc, place, certain)
			if !found {
				continue
			}
			mend := "stop it first (" + other.StopIt() + ")"
			if other.Task == "" && other.Service == svc.Name {
				mend += ", or, where that is this stack, release it by its name there (input project: " + other.Project + ")"
			}
			p.Refusals = append(p.Refusals, fmt.Sprintf("%s would write to %s beside %s, which is not of this project and runs; that damages a database: %s",
				svc.Name, noun(place), other, mend))
		}
	}
}

// dataPlaces lists where a database writes its data. What it has beside that, for dumps or a
// socket, others may well have too; where nothing looks like its data all of it does.
func dataPlaces(in Input, service string) (places []string, certain bool) {
	c, writes := in.Desired.Project.Services[service], in.Desired.Writes(service)
	var data []string
	for _, m := range c.Volumes {
		place := path.Clean(m.Source)
		if m.Type == types.VolumeTypeVolume {
			place = in.Desired.Project.Volumes[m.Source].Name
		}
		target, given := path.Clean(m.Target), c.Environment["PGDATA"]
		isData := within(target, "/var/lib") || within(target, "/data") || given != nil && nested(path.Clean(*given), target)
		if isData && slices.Contains(writes, place) {
			data = append(data, place)
		}
	}
	if len(data) == 0 {
		return writes, false
	}
	return data, true
}

// deviceOf is the folder of the host that a volume of the stack stands for, "" for none.
func deviceOf(in Input, place string) string {
	for _, v := range in.Desired.Project.Volumes {
		if device := v.DriverOpts["device"]; v.Name == place && path.IsAbs(device) {
			return path.Clean(device)
		}
	}
	return ""
}

// writerOutside gives the first container outside, by name, that may be a server on the data of
// a service. Beside one that runs it has been all along; beside one that fell over a tool has,
// and so it may where it is not certain that the data is there.
func writerOutside(in Input, svc *stack.Service, place string, certain bool) (first stack.Other, found bool) {
	was := func(u stack.Unit) bool { return !u.OneOff && slices.Contains(u.Writes, place) }
	own, device := in.Observed.Units[svc.Name], deviceOf(in, place)
	if slices.ContainsFunc(own, func(u stack.Unit) bool { return was(u) && u.Up() }) {
		return first, false
	}
	for _, o := range in.Observed.Others {
		writes := slices.ContainsFunc(o.Writes, func(at string) bool { return within(at, place) || device != "" && within(at, device) })
		if !writes || (!certain || slices.ContainsFunc(own, was)) && !serves(svc, o.Image) || found && first.Name < o.Name {
			continue
		}
		first, found = o, true
	}
	return first, found
}

// serves tells whether an image may be the server of a database: it is one by its name or the
// service's own, or has lost its name.
func serves(svc *stack.Service, image string) bool {
	return image == "" || strings.HasPrefix(image, "sha256:") || stack.DatabaseImage(image) || repository(image) == repository(svc.Pinned)
}

// twice says which new services may be ones that left and run on, by another name: two
// schedulers do everything twice, and share nothing that could be seen.
func twice(in Input, p *Plan) []string {
	var notes []string
	for _, s := range p.Steps {
		for _, left := range p.Steps {
			if s.Action != Create || left.Action != Keep {
				continue
			}
			same := func(u stack.Unit) bool {
				return u.State == stack.Running && !u.OneOff && repository(u.Image) == repository(in.Desired.Services[s.Service].Pinned)
			}
			if slices.ContainsFunc(in.Observed.Units[left.Service], same) {
				end := "--remove-orphans takes " + left.Service + " away"
				if in.Back || in.Desired.Inactive[left.Service] != nil {
					end = "stop it where it is not to be"
				}
				notes = append(notes, fmt.Sprintf("%s is new, and %s, which is %s, runs on with the same image: if that is "+
					"the same service by its former name, both are at work now; %s", s.Service, left.Service, where(in, left.Service), end))
			}
		}
	}
	return notes
}

// repository is an image's reference without its tag and digest; an ID stays as it is.
func repository(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") && !strings.HasPrefix(name, "sha256:") {
		return name[:i]
	}
	return name
}
