package kind

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Containers looks whether the units run as they were released.
type Containers struct {
	Services []string       `yaml:"services" help:"Only these services. Default: all of the release."`
	Replicas map[string]int `yaml:"replicas" help:"How many units a service has to have. Default: as released."`
	Orphans  string         `yaml:"orphans" jsonschema:"enum=warn,enum=fail,enum=ignore" help:"Result for a unit of a service that is not in the release. Default: warn."`
}

// Manner is how it is looked at: a restart is seen also when it was before the
// look, so a unit that has run for the whole window needs no waiting.
func (c *Containers) Manner() Manner {
	return Manner{Place: OnHost, Interval: 500 * time.Millisecond, Passes: 1, Back: true, Long: true}
}

// unitsAtOnce bounds how many units are looked into at the same time: one after the other
// those of a large stack take longer than a look may, where the host is far away.
const unitsAtOnce = 8

// Look compares every unit with the release.
func (c *Containers) Look(s *Sight) {
	if !s.know("containers.release", len(s.Services) > 0 || len(c.Replicas) > 0, "a release of the project in the host's ledger", "none",
		"release it with shiksha deploy, or name replicas") {
		s.Finding.Final = true // the ledger was read before the first look
		return
	}
	seen, err := s.Units.Observe(s.Ctx, s.Project)
	if err != nil {
		s.blind(err)
		return
	}
	insides := c.inspect(s, seen)
	total, nodes := 0, map[string]bool{}
	for _, service := range c.services(s) {
		total += c.service(s, service, seen, insides)
		for _, u := range seen.Units[service] {
			nodes[u.Node] = true
		}
	}
	c.orphans(s, seen)
	s.at("")
	found := fmt.Sprintf("%d units of %d services", total, len(c.services(s)))
	if seen.Scheduled {
		found = fmt.Sprintf("%d tasks of %d services, nodes: %d", total, len(c.services(s)), len(nodes))
	}
	s.settle("pass", "every unit as released", found, "")
	s.saw("the project's containers", fmt.Sprintf("%d units of %s", total, s.Project))
}

func (c *Containers) services(s *Sight) []string {
	names := map[string]bool{}
	for name := range s.Services {
		names[name] = true
	}
	for name := range c.Replicas {
		names[name] = true
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(names)), func(n string) bool {
		return len(c.Services) > 0 && !slices.Contains(c.Services, n)
	})
}

// inside is what a look into a unit gave, and when.
type inside struct {
	unit stack.Unit
	err  error
	at   time.Time
	// mistake is what a panic said.
	mistake any
}

// inspect looks into the units that are compared, by ID. What is wrong with one is told
// later, in the order of the services.
func (c *Containers) inspect(s *Sight, seen stack.Observed) map[string]*inside {
	insides := map[string]*inside{}
	var eg errgroup.Group
	eg.SetLimit(unitsAtOnce)
	for _, service := range c.services(s) {
		for _, u := range seen.Units[service] {
			if u.OneOff || u.Joining || u.GivenUp || s.waits(u) {
				continue
			}
			in := &inside{}
			insides[u.ID] = in
			eg.Go(func() error {
				// The one who looks outlives a panic only in its own goroutine.
				defer func() { in.mistake = recover() }()
				in.unit, in.err = s.Units.Inspect(s.Ctx, u.ID)
				in.at = time.Now()
				return nil
			})
		}
	}
	_ = eg.Wait()
	for _, in := range insides {
		if in.mistake != nil {
			panic(in.mistake)
		}
	}
	return insides
}

// waits tells of a Swarm's task that waits for a node: it has no container to be looked at.
func (s *Scene) waits(u stack.Unit) bool { return u.State == stack.Created && !s.job(u.Service) }

// service looks at the units of one service and tells how many there are.
func (c *Containers) service(s *Sight, name string, seen stack.Observed, insides map[string]*inside) int {
	// A node that joins gets a task of what runs on every node: it was not released.
	units := slices.DeleteFunc(slices.Clone(seen.Units[name]), func(u stack.Unit) bool { return u.OneOff || u.Joining })
	before := func(u stack.Unit) bool { return u.GivenUp && slices.Contains(s.Gone, u.ID) }
	known := slices.IndexFunc(units, before)
	s.at(name)
	if known >= 0 {
		s.want("containers.given-up", false, "a task on every node", "the Swarm tries "+placed(units[known])+" no more, since before this release",
			"where that is mended, all tasks begin anew with: docker service update --force "+s.Project+"_"+name)
	}
	units = slices.DeleteFunc(units, before)
	record := s.Services[name]
	wanted, set := c.Replicas[name]
	switch {
	case set:
	case seen.Scheduled && s.global(name) && len(units) > 0:
		wanted = len(units) // nodes join and leave a Swarm
	default:
		wanted = record.Replicas
	}
	gone := slices.IndexFunc(units, func(u stack.Unit) bool { return u.GivenUp })
	after := ""
	if gone >= 0 {
		after = "; the Swarm tries " + placed(units[gone]) + " no more"
	}
	units = slices.DeleteFunc(units, func(u stack.Unit) bool { return u.GivenUp })
	expected, found := fmt.Sprintf("%d of %s", wanted, name), fmt.Sprintf("%d of %s", len(units), name)+after
	point := s.need
	if len(units) >= s.least(name, wanted) || s.job(name) {
		// What is left of a job that ended may be taken away, and a way back runs none.
		point = s.want
	}
	point("containers.missing", len(units) >= wanted, expected, found)
	s.need("containers.extra", len(units) <= wanted, expected, found, "a unit that the release does not have is left over or made by hand")
	for _, u := range units {
		c.unit(s, u, record, insides[u.ID])
	}
	return len(units)
}

// least is how many units of a service are enough by its max_failure_ratio.
func (s *Scene) least(service string, wanted int) int {
	if s.Stack == nil || s.Stack.Services[service] == nil {
		return wanted
	}
	return wanted - int(s.Stack.Services[service].Update.MaxFailureRatio*float64(wanted))
}

// unit judges what a look into one gave.
func (c *Containers) unit(s *Sight, listed stack.Unit, record release.ServiceRecord, in *inside) {
	s.at(placed(listed))
	if s.waits(listed) {
		s.need("containers.state", false, "running", describe(listed))
		return
	}
	u, err := in.unit, in.err
	if errdefs.IsNotFound(err) {
		s.need("containers.gone", false, "a running unit", "it went away during the look")
		return
	}
	if err != nil {
		s.blind(err)
		return
	}
	if s.job(u.Service) {
		s.need("containers.job", u.State == stack.Exited && u.ExitCode == 0, "a job that ended with 0", fmt.Sprintf("%s, exit code %d", u.State, u.ExitCode), readLog(u))
		return
	}
	if !s.need("containers.state", u.State == stack.Running, "running", describe(u), readLog(u)) {
		return
	}
	s.need("containers.health", u.Health == stack.NoHealth || u.Health == stack.HealthOK, "healthy", string(u.Health),
		"see what its healthcheck said: docker inspect --format '{{json .State.Health}}' "+u.Name)
	if record.Pinned != "" {
		s.need("containers.digest", u.Image == record.Pinned, record.Pinned, u.Image, "it is of another release or was made by hand")
	}
	if record.Hash != "" && !s.shares(u.Service) {
		s.need("containers.config", u.Hash == record.Hash, "the configuration of the release", "another configuration", "it is of another release or was made by hand")
	}
	there, err := s.clock(s.Ctx, listed)
	if err != nil {
		s.blind(err)
		return
	}
	c.stable(s, u, there, there.of(in.at))
}

// stable looks back from when the unit was looked into: what happened within the window, by
// the clock of its host.
func (c *Containers) stable(s *Sight, u stack.Unit, there clock, now time.Time) {
	up := now.Sub(u.StartedAt)
	found := fmt.Sprintf("started %s ago", up.Round(100*time.Millisecond))
	if u.Restarts > 0 {
		found = fmt.Sprintf("%d restarts, the last %s ago", u.Restarts, up.Round(100*time.Millisecond))
	}
	s.need("containers.restart", up >= s.Back, fmt.Sprintf("no restart in %s", Duration(s.Back)), found, readLog(u))
	for _, p := range u.Probes {
		// Until a unit was well for the first time its check may fail.
		if now.Sub(p.At) < s.Back && wellBefore(u.Probes, p.At) {
			s.need("containers.flip", p.OK, fmt.Sprintf("no failed healthcheck in %s", Duration(s.Back)), fmt.Sprintf("one failed %s ago", now.Sub(p.At).Round(100*time.Millisecond)))
		}
	}
	if u.StartedAt.Before(there.of(s.Began)) {
		s.want("containers.oom-old", !u.OOMKilled, "no process killed for memory", "one since "+u.StartedAt.UTC().Format(time.RFC3339), "raise its memory limit")
		return
	}
	s.need("containers.oom", !u.OOMKilled, "no process killed for memory", "one was", "raise its memory limit")
}

func readLog(u stack.Unit) string { return "read its log: docker logs " + u.Name }

// placed names a unit, with its node where there are several.
func placed(u stack.Unit) string {
	if u.Node == "" {
		return u.Name
	}
	return u.Name + " on node " + u.Node
}

func wellBefore(probes []stack.HealthProbe, at time.Time) bool {
	return slices.ContainsFunc(probes, func(p stack.HealthProbe) bool { return p.OK && p.At.Before(at) })
}

func describe(u stack.Unit) string {
	text := string(u.State)
	if u.State == stack.Exited || u.State == stack.Restarting {
		text += fmt.Sprintf(", exit code %d", u.ExitCode)
		if u.OOMKilled {
			text += ", killed for memory"
		}
	}
	return text
}

func (s *Scene) job(service string) bool {
	return s.Stack != nil && s.Stack.Services[service] != nil && s.Stack.Services[service].Job
}

func (s *Scene) global(service string) bool {
	return s.Stack != nil && s.Stack.Services[service] != nil && s.Stack.Services[service].Global
}

// shares tells whether Compose hashes the IDs of other units into the hash.
func (s *Scene) shares(service string) bool {
	return s.Stack != nil && s.Stack.Services[service] != nil && len(s.Stack.Services[service].Shares) > 0
}

// orphans finds units of services that the release does not have.
func (c *Containers) orphans(s *Sight, seen stack.Observed) {
	if c.Orphans == "ignore" || len(s.Services) == 0 {
		return
	}
	var names []string
	for service, units := range seen.Units {
		if _, ok := s.Services[service]; ok {
			continue
		}
		for _, u := range units {
			if !u.OneOff {
				names = append(names, u.Name)
			}
		}
	}
	slices.Sort(names)
	s.at(strings.Join(names, ", "))
	point := s.want
	if c.Orphans == "fail" {
		point = s.need
	}
	point("containers.orphan", len(names) == 0, "no unit of a service that the release does not have", strings.Join(names, ", "), "release with remove-orphans, or remove them by hand")
}
