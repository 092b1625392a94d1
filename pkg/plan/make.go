package plan

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/stack"
)

// Make decides. The same input gives the same plan, to the letter.
func Make(in Input) *Plan {
	p := &Plan{Project: in.Desired.Name, FreeMemory: in.FreeMemory}
	ground(in, p)
	for _, name := range order(in.Desired) {
		if selected(in, name) {
			p.Steps = append(p.Steps, decide(in, in.Desired.Services[name], p))
		}
	}
	left := orphans(in)
	p.Steps = append(passOver(in, p.Steps, left), left...)
	takeOver(in, p)
	refuseOutside(in, p)
	passPorts(in, p)
	emptied(in, p)
	p.Migrations = migrations(in, p)
	p.Backups = backups(in, p)
	refuseDrift(in, p)
	refuseDiverged(in, p)
	refusePorts(in, p)
	refuseParted(in, p)
	nodes(in, p)
	return p
}

func selected(in Input, service string) bool {
	return len(in.Only) == 0 || slices.Contains(in.Only, service)
}

// decide makes the step of one service of the stack; so far holds the steps of
// the services before it.
func decide(in Input, svc *stack.Service, so *Plan) Step {
	s := Step{Service: svc.Name, Gateway: svc.Ext.Gateway, Virtual: svc.Virtual, Stale: in.Stale[svc.Name],
		Ill: illBefore(in, svc), ahead: placed(in, svc, so)}
	g := sortUnits(in, svc)
	s.Replicas = unitsOf(in, svc, g)
	s.Reasons = reasons(in, svc, g)
	var why string
	if s.after, why = restartsWith(in, svc, so); why != "" && len(g.good) > 0 {
		s.Reasons = append(s.Reasons, why)
		g.old, g.good = append(g.old, g.good...), nil
	}
	s.Good, s.Old, s.Leftovers = ids(g.good), ids(g.old), ids(g.leftover)
	live := in.Live[svc.Name]
	switch {
	case svc.Job && in.Back:
		s.Action, s.Reasons, s.Old, s.Leftovers = Unchanged, []string{"a way back runs no job again"}, nil, nil
		if len(g.old) > 0 {
			s.Reasons[0] += "; the newer one is at work yet"
		}
	case svc.Job && len(g.done) > 0 && len(g.old) == 0:
		s.Good = ids(g.done)
		s.Action = afterDone(in, s)
	case len(g.good)+len(g.old) == 0 && s.Replicas > 0:
		s.Action = Create
	case len(g.old) > 0 && len(g.good) < s.Replicas:
		s.Action = class(in, svc)
	case len(g.good)+len(g.old) != s.Replicas || len(g.old) > 0:
		s.Action = Scale
	case len(live) > 0:
		s.Action = Reload
	case g.starting:
		s.Action, s.Starting = Gate, true
		s.Reasons = append(s.Reasons, "starting yet, and as it is to be: waited for, not replaced")
	case g.unproved:
		s.Action = Gate
	case len(g.leftover) > 0 || pinned(in, svc):
		s.Action = Heal
	default:
		s.Action = Unchanged
	}
	if s.Action != Unchanged {
		s.Files = live
	}
	s.Batch = batch(in, svc, s)
	fit(in, &s)
	s.Reasons = append(s.Reasons, nameless(in, svc, s, g)...)
	s.Interruption, s.unled = interruption(in, svc, s), !gateRuns(in, svc)
	if s.Action.StopsFirst() {
		s.InterruptionSeconds = in.Away[svc.Name].Seconds()
	}
	return s
}

// afterDone says what is left to do of a job of which units ended well: beside them may be
// one that failed, or one of another configuration, left by a run that was cut off. A Swarm
// lists every try of a job, and does by itself what failed.
func afterDone(in Input, s Step) Action {
	switch {
	case len(s.Leftovers) == 0 || in.Observed.Scheduled:
		return Unchanged
	case s.Missing() > 0:
		return Scale
	}
	return Heal
}

func pinned(in Input, svc *stack.Service) bool {
	_, ok := in.Serving[svc.Name]
	return ok || in.Stale[svc.Name]
}

// groups sorts the units of a service by what becomes of them.
type groups struct {
	good, old, leftover, done []stack.Unit
	// unproved is set when good units may never have passed a gate, starting when nothing
	// serves and they are on their way.
	unproved, starting bool
}

// sortUnits tells the units that stay from those that are replaced and those
// that serve nobody. Who serves is what the gateway has pinned; without a pin
// every healthy unit does. After an interrupted release a unit of the wanted
// configuration that no pin vouches for may never have passed its gate: it goes
// if others serve, and is gated again if it is all there is.
func sortUnits(in Input, svc *stack.Service) groups {
	var g groups
	serving, hasPin := in.Serving[svc.Name]
	// A scheduler decides which of its units run; a pin is then only out of date.
	hasPin = hasPin && !in.Observed.Scheduled
	for _, u := range in.Observed.Units[svc.Name] {
		switch {
		case u.OneOff, slices.Contains(in.Gone, u.ID):
		case svc.Job && u.State == stack.Exited && u.ExitCode == 0 && asWanted(in, svc, u) && !slices.Contains(in.Lost, u.ID):
			g.done = append(g.done, u)
		case !u.Serving() || hasPin && !slices.Contains(serving, u.ID):
			g.leftover = append(g.leftover, u)
		case asWanted(in, svc, u):
			g.good = append(g.good, u)
		default:
			g.old = append(g.old, u)
		}
	}
	if in.Interrupted && !hasPin && len(g.good) > 0 && in.Past[svc.Name].Hash != svc.Hash {
		if len(g.old) > 0 && !in.Observed.Scheduled {
			g.leftover, g.good = append(g.leftover, g.good...), nil
		} else {
			g.unproved = true
		}
	}
	if svc.Ext.Idle != nil {
		// It may have been told to take no more work, and look as well as ever.
		told := func(u stack.Unit) bool { return in.Interrupted || slices.Contains(in.Told, u.ID) }
		for _, u := range g.good {
			if told(u) {
				g.old = append(g.old, u)
			}
		}
		g.good = slices.DeleteFunc(g.good, told)
	}
	if len(g.good)+len(g.old) == 0 {
		g.await(in, svc)
	}
	if len(g.good)+len(g.old) == 0 {
		g.rescue()
	}
	return g
}

func asWanted(in Input, svc *stack.Service, u stack.Unit) bool {
	return u.Hash == svc.UnitHash() && len(in.Desired.Elsewhere(svc.Name, u)) == 0
}

// await keeps the units of a service where all that run are starting yet and as they are
// to be, after a reboot for one: a model that loads for minutes would begin anew. A way
// back replaces them: it may come after a gate that waited for them in vain.
func (g *groups) await(in Input, svc *stack.Service) {
	var coming, rest []stack.Unit
	for _, u := range g.leftover {
		switch {
		case u.State == stack.Running && u.Health == stack.HealthStart && asWanted(in, svc, u):
			coming = append(coming, u)
		case u.State == stack.Running, u.State == stack.Paused:
			return
		default:
			rest = append(rest, u)
		}
	}
	drained := in.Interrupted && svc.Ext.Idle != nil // see sortUnits
	if len(coming) == 0 || len(coming) != svc.Replicas || len(in.Live[svc.Name]) > 0 || in.Back || drained {
		return
	}
	g.good, g.leftover, g.starting = coming, rest, true
}

// rescue keeps what still runs when nothing is known to serve (units that are
// ill or just starting may be answering somebody): they are replaced in order
// instead of being taken away first.
func (g *groups) rescue() {
	var rest []stack.Unit
	for _, u := range g.leftover {
		if u.State == stack.Running || u.State == stack.Paused {
			g.old = append(g.old, u)
			continue
		}
		rest = append(rest, u)
	}
	g.leftover = rest
}

func ids(units []stack.Unit) []string {
	sort.Slice(units, func(i, j int) bool { return units[i].Number < units[j].Number })
	var out []string
	for _, u := range units {
		out = append(out, u.ID)
	}
	return out
}

// class says how a service whose units are replaced is rolled.
func class(in Input, svc *stack.Service) Action {
	if in.Replace || svc.Update.Order != stack.StartFirst || surgeBlocker(in, svc) != "" {
		if svc.Ext.Idle != nil && !in.Replace {
			return Drain
		}
		return StopFirst
	}
	return Surge
}

// surgeBlocker says what keeps two generations of a service from running side
// by side, or "".
func surgeBlocker(in Input, svc *stack.Service) string {
	switch {
	case in.Desired.UsesGPU(svc.Name):
		return "reserves a GPU, which has no room for two"
	case svc.ContainerName != "":
		return "container_name " + svc.ContainerName
	case len(svc.HostPorts) > 0:
		return "holds port " + strings.Join(svc.HostPorts, ", ")
	case len(addresses(in, svc)) > 0:
		return "address " + strings.Join(addresses(in, svc), ", ")
	case sharesNetwork(in, svc):
		return "network_mode " + svc.NetworkMode + ", where two would want the same ports"
	}
	return dataBlocker(in, svc)
}

// sharesNetwork tells whether all units of a service are in one network that is not theirs:
// of the host or of another unit. A Swarm leaves that out.
func sharesNetwork(in Input, svc *stack.Service) bool {
	_, of := stack.OfAnother(svc.NetworkMode)
	return !in.Observed.Scheduled && (svc.NetworkMode == "host" || of)
}

// dataBlocker says of a database that is to start first what it writes to: two generations
// of it would damage that. A Swarm rolls by its own order: that is P17.start-first's to say.
func dataBlocker(in Input, svc *stack.Service) string {
	if svc.Update.Order != stack.StartFirst || in.Observed.Scheduled || !in.Desired.IsDatabase(svc.Name) {
		return ""
	}
	places := in.Desired.Writes(svc.Name)
	if len(places) == 0 {
		return ""
	}
	for i := range places {
		places[i] = noun(places[i])
	}
	return "keeps its data in " + strings.Join(places, ", ") + ", which two at once would damage"
}

func batch(in Input, svc *stack.Service, s Step) int {
	if !s.Replaces() {
		return 0
	}
	n := s.Missing()
	if s.Action != Create && s.Action != Scale && !in.Replace && svc.Update.Parallelism > 0 {
		n = min(n, svc.Update.Parallelism)
	}
	if s.Action == StopFirst && svc.Update.Order == stack.StartFirst && !in.Replace && !in.Observed.Scheduled {
		// Who asks for no interruption, and cannot have that, gets the smallest one.
		n = min(n, 1)
	}
	return n
}

// fit makes a surge small enough for the memory that the host has free: fewer units
// at a time, or, where not even one fits, old ones stop first, one by one.
func fit(in Input, s *Step) {
	limit := in.Desired.MemoryLimit(s.Service)
	if s.Action != Surge || limit == 0 {
		return
	}
	if n := int(in.FreeMemory / limit); in.FreeMemory > 0 && n < s.Batch {
		free := fmt.Sprintf("%s free on the host, a unit may use %s", size(in.FreeMemory), size(limit))
		if n == 0 {
			s.Action, s.Batch = StopFirst, 1 // what stops makes room for it, and the others serve
			s.Reasons = append(s.Reasons, "start-first is not possible: "+free)
			return
		}
		s.Reasons = append(s.Reasons, fmt.Sprintf("%d at a time instead of %d: %s", n, s.Batch, free))
		s.Batch = n
	}
	s.Memory = int64(s.Batch) * limit
}

// size prints bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1<<10-1)>>10)
	}
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// takenAway is what users notice of a service of which nothing is left.
const takenAway = "it is taken away"

func interruption(in Input, svc *stack.Service, s Step) string {
	if s.Action == Scale && s.Replicas == 0 {
		return takenAway
	}
	if !s.Action.StopsFirst() {
		return ""
	}
	why := "stops before it starts"
	if s.Action == Drain {
		why = fmt.Sprintf("takes no new work, finishes what it has within %s, then stops before it starts", svc.Ext.Idle.Budget)
	}
	if b := surgeBlocker(in, svc); b != "" {
		why = b
	}
	if n, of := s.meanwhile(); n < of {
		return fmt.Sprintf("%d of %d units at a time: %s", n, of, why)
	}
	if away := in.Away[svc.Name]; away > 0 {
		return fmt.Sprintf("about %s: %s", max(time.Second, away.Round(max(time.Second, away/20).Round(time.Second))), why)
	}
	return "until the new units are well: " + why
}

// meanwhile says how many units at most are away at a time where old ones stop first, and of
// how many; of as many where nobody serves meanwhile. The last batch stops all old ones that
// are left, so what is there beyond the wanted number does not count.
func (s Step) meanwhile() (n, of int) {
	of = min(len(s.Good)+len(s.Old), s.Replicas)
	if len(s.Good) == 0 && (s.Batch >= s.Missing() || s.Batch >= len(s.Old)) {
		return of, of
	}
	return min(s.Batch, len(s.Old)), of
}

// orphans makes the steps for services that run and are not in the stack, by name.
func orphans(in Input) []Step {
	var names []string
	for name, units := range in.Observed.Units {
		real := slices.ContainsFunc(units, func(u stack.Unit) bool { return !u.OneOff })
		if _, wanted := in.Desired.Services[name]; !wanted && real && selected(in, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var steps []Step
	for _, name := range names {
		s := Step{Service: name, Action: Remove, Reasons: []string{where(in, name)}}
		if why := stays(in, name); why != "" {
			s.Action, s.Reasons = Keep, []string{why}
		}
		var serves, goOn bool
		for _, u := range in.Observed.Units[name] {
			goes := !u.OneOff && (s.Action == Keep || !in.Back || undone(in, u))
			if goes {
				s.Old = append(s.Old, u.ID)
			}
			serves, goOn = serves || goes && u.Serving(), goOn || !goes && !u.OneOff && u.Serving()
		}
		if s.Action == Remove && serves && !goOn {
			s.Interruption = takenAway
		}
		steps = append(steps, s)
	}
	return steps
}

// refuseDiverged refuses what could only be done by stopping every user of a
// network or by throwing a volume's data away.
func refuseDiverged(in Input, p *Plan) {
	for _, k := range in.DivergedNetworks {
		p.Refusals = append(p.Refusals, fmt.Sprintf("network %s is defined differently on the host; changing it would stop every "+
			"unit on it at once: give the new definition another key and the services move over one by one", k))
	}
	for _, k := range in.DivergedVolumes {
		p.Refusals = append(p.Refusals, fmt.Sprintf("volume %s is defined differently on the host; a volume cannot be changed without "+
			"losing its data: give the new definition another key, or copy the data by hand and remove the old volume", k))
	}
}
