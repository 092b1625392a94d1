// Package plan decides: from what runs and what should run it makes the ordered
// steps between them. It is pure: no clock, no network, no randomness, so the
// plan a person reads is the plan that is carried out. A plan prints itself.
package plan

import (
	"slices"
	"time"

	"github.com/shiksha/actions/pkg/stack"
)

// Action is what a release does to one service.
type Action string

// The actions of a step.
const (
	// Create brings up a service of which nothing runs.
	Create Action = "create"
	// Surge starts new units beside the old ones, moves traffic, retires the old.
	Surge Action = "surge"
	// StopFirst stops old units before their successors start.
	StopFirst Action = "stop-first"
	// Drain is StopFirst for a worker: it takes no more work and finishes what it
	// has before it is stopped.
	Drain Action = "drain"
	// Scale only adds or removes units of the release that runs already.
	Scale Action = "scale"
	// Reload hands changed files to running units without replacing them.
	Reload Action = "reload"
	// Gate looks again at units that an interrupted release left unproved.
	Gate Action = "gate"
	// Heal only takes away what an interrupted release left behind.
	Heal Action = "heal"
	// Unchanged leaves the service alone.
	Unchanged Action = "unchanged"
	// Remove takes away a service that is no longer in the stack.
	Remove Action = "remove"
	// Keep leaves a service that is not in the stack where it is.
	Keep Action = "keep"
)

// StopsFirst tells whether old units stop before their successors start.
func (a Action) StopsFirst() bool { return a == StopFirst || a == Drain }

// Step is what happens to one service, in the order of Plan.Steps.
type Step struct {
	Service string `json:"service"`
	Action  Action `json:"action"`
	// Reasons say why, in words, names of variables and files but never values.
	Reasons []string `json:"reasons,omitempty"`
	// Replicas is how many units there are to be; Good are the IDs of units that
	// stay, Old of those that are replaced, Leftovers of those that serve nobody: they
	// are stopped first, and go when the units that follow them are proved.
	Replicas  int      `json:"replicas"`
	Good      []string `json:"good,omitempty"`
	Old       []string `json:"old,omitempty"`
	Leftovers []string `json:"leftovers,omitempty"`
	// Batch is how many units are replaced at a time.
	Batch int `json:"batch,omitempty"`
	// Gateway is the service that balances this one, "" for none. Virtual is set where
	// the nodes' kernels do that, so that no gateway has to be switched.
	Gateway string `json:"gateway,omitempty"`
	Virtual bool   `json:"virtual,omitempty"`
	// unled is set where nothing of the gateway runs that could be switched.
	unled bool
	// Stale is set where a unit of the gateway has addresses pinned, and may have loaded
	// them, that no unit has any more: it is led to those that serve before all else.
	Stale bool `json:"stale,omitempty"`
	// after are the services that it restarts with: it comes after them whichever way
	// the steps go. ahead are all that come before it on the way forward.
	after, ahead []string
	// Starting is set where the units to gate were starting already: what happened to
	// them before somebody waited for them says nothing.
	Starting bool `json:"starting,omitempty"`
	// Ill is set where nothing of the service served before the release though all of it was
	// as last verified. Tolerated is set where it is as it is to be all the same, or goes
	// back: it is tried once, and where it stays ill the release goes on without it. Anew is
	// set where its new units stay then, since those before are of another configuration, or were stopped.
	// late is set where nothing that changes needs it.
	Ill       bool `json:"ill,omitempty"`
	Tolerated bool `json:"tolerated,omitempty"`
	Anew      bool `json:"anew,omitempty"`
	late      bool
	// Stopped is set where its units are stopped before all steps, since they write to a
	// database that goes back.
	Stopped bool `json:"stopped,omitempty"`
	// Before are the services that may start only once this one, which left the stack, is
	// gone: they write where it does.
	Before []string `json:"before,omitempty"`
	// Yields are the services that come up after this one on a port of the host that it holds
	// and gives up: from then until they are up nobody answers there.
	Yields []string `json:"yields,omitempty"`
	// hands are the same of a way back, before it is known which step comes first.
	hands []hand
	// Files are the mount targets whose content changed and is handed over live.
	Files []string `json:"files,omitempty"`
	// Interruption says what users notice, "" for nothing; InterruptionSeconds is how
	// long, from the last time that it was replaced, 0 where that is not known.
	Interruption        string  `json:"interruption,omitempty"`
	InterruptionSeconds float64 `json:"interruption_seconds,omitempty"`
	// Memory is what a surge needs beside what runs, in bytes, by the units' limits;
	// 0 where they have none.
	Memory int64 `json:"memory_bytes,omitempty"`
}

// Changes tells whether the step does anything to running containers.
func (s Step) Changes() bool { return s.Stopped || s.Action != Unchanged && s.Action != Keep }

// Replaces tells whether the step makes new units.
func (s Step) Replaces() bool {
	return s.Action == Create || s.Action == Surge || s.Action.StopsFirst() ||
		s.Action == Scale && s.Replicas > len(s.Good)
}

// Interrupts tells whether nobody serves for a time, as the plan says.
func (s Step) Interrupts() bool {
	if s.Action.StopsFirst() && len(s.Yields) == 0 {
		n, of := s.meanwhile()
		return len(s.Old) > 0 && n == of
	}
	return s.Interruption != "" || len(s.Before) > 0
}

// Missing is how many new units the step makes.
func (s Step) Missing() int { return max(0, s.Replicas-len(s.Good)) }

// Scraps tells whether old units take what they have in volumes without a name with them:
// several beside each other, whose successors begin empty. What a single one has there may
// be all there is.
func (s Step) Scraps() bool {
	return s.Action == Surge && s.Replicas > 1 && len(s.Good)+len(s.Old) > 1
}

// Plan is the ordered way from what runs to what should run.
type Plan struct {
	Project string `json:"project"`
	// Networks and Volumes are the keys of definitions that have to be made.
	Networks []string `json:"networks,omitempty"`
	Volumes  []string `json:"volumes,omitempty"`
	Steps    []Step   `json:"steps"`
	// Pulls are the images that the host lacks.
	Pulls []Pull `json:"pulls,omitempty"`
	// Backups are the databases that are dumped before the Migrations change them.
	Backups    []string    `json:"backups,omitempty"`
	Migrations []Migration `json:"migrations,omitempty"`
	// Restores is the database that goes back to a backup before the steps, nil for none.
	Restores *Restore `json:"restores,omitempty"`
	// Drift is what somebody changed on the host by hand since the last release.
	Drift []string `json:"drift,omitempty"`
	// FreeMemory is what the host has available, in bytes; 0 where that is not known.
	FreeMemory int64 `json:"free_memory_bytes,omitempty"`
	// Notes are worth reading; Refusals forbid the release until they are mended.
	Notes    []string `json:"notes,omitempty"`
	Refusals []string `json:"refusals,omitempty"`
}

// Pull is an image that the host lacks. Bytes is how much of it, compressed; 0 where
// its registry does not say.
type Pull struct {
	Service string `json:"service"`
	Image   string `json:"image"`
	Bytes   int64  `json:"bytes,omitempty"`
}

// Migration is a command that changes a database before a service is replaced.
type Migration struct {
	Service string   `json:"service"`
	Command []string `json:"command"`
}

// Empty tells whether carrying the plan out would change nothing.
func (p *Plan) Empty() bool {
	if len(p.Networks)+len(p.Volumes)+len(p.Migrations) > 0 || p.Restores != nil {
		return false
	}
	for _, s := range p.Steps {
		if s.Changes() {
			return false
		}
	}
	return true
}

// Changed names the services that the plan changes, in the order of the plan.
func (p *Plan) Changed() []string {
	var names []string
	for _, s := range p.Steps {
		if s.Changes() {
			names = append(names, s.Service)
		}
	}
	return names
}

// Step gives the step of a service, or nil.
func (p *Plan) Step(service string) *Step {
	for i := range p.Steps {
		if p.Steps[i].Service == service {
			return &p.Steps[i]
		}
	}
	return nil
}

// Reverse makes it the plan of a way back: what a release did last is undone
// first, but for what restarts with another service. Services that come back are made
// before anything that may need them, and what is bound to one that changes behind that
// one; those that go are taken away when nothing needs them any more, before all else
// where another writes to what they have, or right before who gets their port of the host
// back. Who gets one back from a service that changes comes right behind that. What was ill
// before and nobody needs is tried when the rest is back.
func (p *Plan) Reverse() {
	var first, made, changed, late, gone []Step
	stay := slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Action == Remove })
	for _, s := range p.Steps {
		switch {
		case len(s.Before) > 0:
			first = append(first, s)
		case s.late:
			late = append(late, s)
		case s.Action == Create && !s.waits(changed) && !s.gets(stay):
			made = append(made, s)
		case s.Action == Remove, s.Action == Keep:
			gone = append(gone, s)
		default:
			changed = append(changed, s)
		}
	}
	// Old code does not know the newer schema: a way back migrates nothing.
	p.Backups, p.Migrations = nil, nil
	slices.Reverse(changed)
	p.Steps = slices.Concat(first, made, behind(changed), late, gone)
	for _, s := range gone {
		if to := slices.IndexFunc(p.Steps, s.gives); to >= 0 {
			p.Steps = slices.DeleteFunc(p.Steps, func(o Step) bool { return o.Service == s.Service })
			p.Steps = slices.Insert(p.Steps, to, s)
		}
	}
	p.handBack()
}

// behind puts each step behind those that it waits for, or gets a port of the host from, and else
// leaves them in order. Who gets a port comes as soon as it is free: nobody answers there until then.
func behind(steps []Step) []Step {
	var out []Step
	for rest := slices.Clone(steps); len(rest) > 0; {
		free := func(s Step) bool { return !s.waits(rest) && !s.gets(rest) }
		next := slices.IndexFunc(rest, func(s Step) bool { return s.gets(out) && free(s) })
		if next < 0 {
			next = slices.IndexFunc(rest, free)
		}
		if next < 0 { // each waits for another: the plan says who is to be stopped
			next = max(0, slices.IndexFunc(rest, func(s Step) bool { return !s.waits(rest) }))
		}
		out, rest = append(out, rest[next]), slices.Delete(rest, next, next+1)
	}
	return out
}

// waits tells whether a step of a way back has to come behind one of others: made before
// what it comes after it would be bound to a unit that goes, and of a service that is yet
// to be made, and that it may need, nothing runs.
func (s Step) waits(others []Step) bool {
	return slices.ContainsFunc(others, func(o Step) bool {
		return slices.Contains(s.after, o.Service) || o.Action == Create && slices.Contains(s.ahead, o.Service)
	})
}

// Past is what the ledger knows of a service of the release that ran before; it
// only serves to say why something changes.
type Past struct {
	Image       string
	Pinned      string
	Hash        string
	Replicas    int
	Environment map[string]string // variable -> keyed hash
	Files       map[string]string // mount target -> sum
	Job         bool              // others waited for it to end
	Sharing     bool              // its units had the network, the processes or the volumes of another
}

// Input is everything that planning looks at.
type Input struct {
	Desired  *stack.Stack
	Observed stack.Observed
	// Serving lists, for a service behind a gateway that has a pinned serving
	// set, the IDs of the units in it. A service that is not in the map has no
	// pinned set: every healthy unit serves.
	Serving map[string][]string
	// Stale is set for a service whose gateway has addresses pinned that no
	// running unit has any more: they go before something else gets them. With several
	// units of a gateway a service may be in both.
	Stale map[string]bool
	// Back is set for a way back: it runs no job again. What the older code prepared
	// it prepared when it was released, and its migrations do not know the schema that
	// is there now.
	Back bool
	// Ill are services that were known to be ill in this configuration before the release
	// changed anything.
	Ill []string
	// Whole is set when the last run that may have changed something left the stack as the
	// last verified release made it: what is ill then was not made so by it. Begun is set
	// once this release itself may have made ill what is.
	Whole, Begun bool
	// Interrupted is set when the newest release in the ledger never ended.
	Interrupted bool
	// Told are the IDs of units that a run before may have told to take no more work: of a
	// service with x-shiksha.drain they are replaced although they look as well as ever.
	Told []string
	// Lost are the IDs of units of jobs whose work went when a database was brought back to a
	// backup from before them: it is to be done again.
	Lost []string
	// Gone are the IDs of units that a Swarm had given up on a node before (stack.Unit.GivenUp).
	// It tries there again only where all of the service begins anew: no release waits for that.
	Gone []string
	// SchemaBack is set when a run that was cut short may have brought the database
	// back to an older schema: code that runs already has to migrate it again then.
	SchemaBack bool
	// Past is by service; Environment holds the keyed hashes of the desired
	// variables, by service and variable.
	Past        map[string]Past
	Environment map[string]map[string]string
	// Live lists, by service, the mount targets whose live content differs.
	Live map[string][]string
	// Diverged networks and volumes exist with another definition.
	DivergedNetworks, DivergedVolumes []string
	// Only restricts the release to these services (nil: all).
	Only []string
	// Replace stops everything that changes at once instead of rolling.
	Replace bool
	// FreeMemory is what the host has available, in bytes; 0 where that is not known.
	FreeMemory int64
	// Away is how long a service was away when its units were last replaced; those
	// that never were are not in it.
	Away map[string]time.Duration
	// Settled is set when no release changed anything after the last verified one: what
	// runs then differs from it only if somebody changed it by hand. Adopt allows
	// that this is lost.
	Settled, Adopt bool
	// RemoveOrphans takes away services that left the stack, but on a way back only the units
	// in Made: what the releases that it undoes made. TakenOver are services that no release
	// created: one replaced what another tool had made, so they stay.
	RemoveOrphans   bool
	Made, TakenOver []string
}
