package plan

import (
	"slices"
	"sort"

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
