package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// ground finds the networks and volumes that have to be made, and says of those that
// somebody else made that they are used.
func ground(in Input, p *Plan) {
	name := func(key string) string { return in.Desired.Project.Networks[key].Name }
	networks := used(in, true)
	p.Notes = append(p.Notes, foreign("network", networks, in.Observed.Networks)...)
	p.Networks = missing(in, networks, in.Observed.Networks, name)
	name = func(key string) string { return in.Desired.Project.Volumes[key].Name }
	volumes := used(in, false)
	p.Notes = append(p.Notes, foreign("volume", volumes, in.Observed.Volumes)...)
	p.Volumes = missing(in, volumes, in.Observed.Volumes, name)
}

// used lists the keys of networks or volumes that the selected services use and
// that the stack makes itself.
func used(in Input, networks bool) []string {
	var keys []string
	for name, svc := range in.Desired.Services {
		if !selected(in, name) {
			continue
		}
		if networks {
			keys = append(keys, svc.Networks...)
		} else {
			keys = append(keys, svc.Volumes...)
		}
	}
	sort.Strings(keys)
	keys = slices.Compact(keys)
	return slices.DeleteFunc(keys, func(k string) bool {
		if networks {
			return bool(in.Desired.Project.Networks[k].External)
		}
		return bool(in.Desired.Project.Volumes[k].External)
	})
}

// missing leaves the keys of which nothing is there. What is there under another name
// is not what is meant, but for a Swarm, whose nodes make the volumes themselves.
func missing(in Input, keys []string, have map[string]stack.Resource, name func(key string) string) []string {
	return slices.DeleteFunc(keys, func(k string) bool {
		r, ok := have[k]
		return ok && (in.Observed.Scheduled || r.Name == "" || r.Name == name(k))
	})
}

// foreign says whose the networks or volumes are that somebody else made.
func foreign(kind string, keys []string, have map[string]stack.Resource) []string {
	var notes []string
	for _, k := range keys {
		r := have[k]
		whose := "was not made by Compose"
		if r.Project != "" {
			whose = "belongs to project " + r.Project
		}
		if r.Foreign {
			notes = append(notes, kind+" "+r.Name+" "+whose+" and is used as it is: declare it external to say that this is meant")
		}
	}
	return notes
}

// emptied says which databases begin with an empty volume that this release makes, while
// what they wrote to is in no place of theirs any more: nothing else would tell, since an
// empty database is well. Of one that is dumped that is a refusal: what is dumped before a
// migration, and migrated, would be the one that is left behind, and its dumps would go by
// age for those of the empty one.
func emptied(in Input, p *Plan) {
	for _, s := range p.Steps {
		svc := in.Desired.Services[s.Service]
		if svc == nil || !s.Replaces() || !in.Desired.IsDatabase(svc.Name) {
			continue
		}
		for _, m := range in.Desired.Project.Services[svc.Name].Volumes {
			v := in.Desired.Project.Volumes[m.Source]
			if m.Type != types.VolumeTypeVolume || m.ReadOnly || !slices.Contains(p.Volumes, m.Source) || !beginsEmpty(v) {
				continue
			}
			former, at, named := formerPlace(in, svc.Name, path.Clean(m.Target), v.Name)
			if former == "" {
				continue
			}
			text := fmt.Sprintf("%s begins with an empty volume: %s is not there, and what it had at %s is in %s; ", svc.Name, v.Name, at, noun(former))
			switch {
			case in.Back: // what file there is now is not the one that is gone back to
			case path.IsAbs(former):
				text += "to keep that mount it as before, else "
			case named:
				text += fmt.Sprintf("to keep that say name: %s for volume %s in the Compose file, else ", former, m.Source)
			}
			text += "make it first, with a copy of that or to begin empty: docker volume create " + v.Name
			if svc.Ext.Backups != nil {
				p.Refusals = append(p.Refusals, text)
			} else {
				p.Notes = append(p.Notes, text)
			}
		}
	}
}

// formerPlace gives the place that units of a service wrote to, at a target or else above or
// below it, and that it is not to have any more, "" for none, where that was in them, and
// whether it is a volume that somebody named. Where another service of the stack has both that
// and the new volume it is there to copy.
func formerPlace(in Input, service, target, volume string) (place, where string, named bool) {
	for _, u := range in.Observed.Units[service] {
		for _, at := range slices.Sorted(maps.Keys(u.Targets)) {
			was := u.Targets[at]
			kept := func(name string) bool {
				has := mounted(in, name)
				return slices.Contains(has, was) && (name == service || slices.Contains(has, volume))
			}
			if u.OneOff || !nested(at, target) || slices.ContainsFunc(in.Desired.Order, kept) || keepsBelow(in, service, u, at) {
				continue
			}
			if place == "" || at == target {
				place, where, named = was, at, !slices.Contains(u.Anonymous, at)
			}
		}
	}
	return place, where, named
}

// keepsBelow tells whether a place of a unit is a volume that only its image asks for, above the
// one with the data, which the service keeps. Only where the file says where the data is: without
// PGDATA it may be in the one above, and what is kept be its log.
func keepsBelow(in Input, service string, u stack.Unit, at string) bool {
	data := in.Desired.Project.Services[service].Environment["PGDATA"]
	if data == nil || !slices.Contains(u.Anonymous, at) {
		return false
	}
	for below, place := range u.Targets {
		if below != at && within(below, at) && within(path.Clean(*data), below) && slices.Contains(mounted(in, service), place) {
			return true
		}
	}
	return false
}

// nested tells whether one of two paths is, or is in, the other.
func nested(a, b string) bool { return within(a, b) || within(b, a) }

// within tells whether a path is, or is in, another.
func within(a, b string) bool { return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/") }

// mounted lists the volumes, by name, and the folders of the host that a service has.
func mounted(in Input, service string) []string {
	var out []string
	for _, m := range in.Desired.Project.Services[service].Volumes {
		if m.Type == types.VolumeTypeVolume {
			out = append(out, in.Desired.Project.Volumes[m.Source].Name)
		} else {
			out = append(out, path.Clean(m.Source))
		}
	}
	return out
}
