package plan

import (
	"fmt"
	"slices"

	"github.com/shiksha/actions/pkg/stack"
)

// refuseDrift finds what somebody changed on the host since the last release. A
// release makes it what the Compose file says, so what was done by hand is lost: that
// has to be meant.
func refuseDrift(in Input, p *Plan) {
	if p.Drift = drift(in); len(p.Drift) == 0 || in.Adopt {
		return
	}
	p.Refusals = append(p.Refusals, fmt.Sprintf("%s changed on the host by hand since the last release, and this one would undo that: "+
		"write what is to stay into the Compose file, then release with --adopt (input adopt: true)", was(len(p.Drift))))
}

// nodes refuses to replace on every node what a Swarm leaves on one that is paused: the release
// would wait for that until it goes back. Where it has given a unit up, and this release leaves
// the service as it is, that is said: nothing else tells.
func nodes(in Input, p *Plan) {
	for _, s := range p.Steps {
		if in.Desired.Services[s.Service] == nil {
			continue
		}
		for _, u := range in.Observed.Units[s.Service] {
			switch {
			case u.Held && slices.Contains(s.Old, u.ID):
				mend := fmt.Sprintf("docker node update --availability active %s (or drain)", u.Node)
				if !in.Back { // a rollback is of all services
					mend += ", or leave " + s.Service + " out of services"
				}
				p.Refusals = append(p.Refusals, fmt.Sprintf("%s is to be replaced on every node, and %s is paused, where a Swarm replaces nothing: %s", s.Service, u.Node, mend))
			case slices.Contains(in.Gone, u.ID) && !s.Replaces() && !in.Back:
				p.Notes = append(p.Notes, fmt.Sprintf("the Swarm tries %s on node %s no more, since it failed as often as its restart policy allows; where that is mended, "+
					"all tasks begin anew with: docker service update --force %s_%s", u.Name, u.Node, in.Desired.Name, s.Service))
			}
		}
	}
}

func was(n int) string {
	if n == 1 {
		return "1 thing was"
	}
	return fmt.Sprintf("%d things were", n)
}

func drift(in Input) []string {
	var out []string
	if !in.Settled {
		return nil
	}
	for _, name := range in.Desired.Order {
		job := in.Past[name].Job || in.Desired.Services[name].Job
		past, known := in.Past[name]
		// Who shares with another has units of a hash that no record knows.
		sharing := past.Sharing || len(in.Desired.Services[name].Shares) > 0
		if !known || past.Hash == "" || !selected(in, name) || sharing {
			continue
		}
		var same []stack.Unit
		for _, u := range in.Observed.Units[name] {
			switch {
			case u.OneOff:
			case job && !u.Up():
				// No way back runs a job again: a newer release's is left where it ended.
			case u.Hash != past.Hash:
				out = append(out, u.Name+" was made with another configuration")
			case u.Serving():
				same = append(same, u)
			}
		}
		// A node that joins a Swarm gets a unit of what runs on every node.
		joined := in.Observed.Scheduled && in.Desired.Services[name].Global
		if past.Replicas > 0 && len(same) > past.Replicas && !joined {
			out = append(out, fmt.Sprintf("%s runs %s, the release had %d", name, plural(len(same), "unit"), past.Replicas))
		}
	}
	return out
}
