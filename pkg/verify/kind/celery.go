package kind

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/shiksha/actions/pkg/stack"
)

// Celery asks the workers through the celery program of one of their units.
type Celery struct {
	Service   string             `yaml:"service" jsonschema:"required" help:"Service of the workers."`
	App       string             `yaml:"app" jsonschema:"required" help:"The application, as celery -A takes it."`
	Env       map[string]*Secret `yaml:"env" help:"Variables that the command alone gets, from where they are."`
	Workers   int                `yaml:"workers" jsonschema:"exclusiveMinimum=0" help:"How many workers of the service have to answer; where they have host names of their own (hostname, network_mode), how many of the broker. Default: as many as units run."`
	Queues    []string           `yaml:"queues" help:"Queues that have to be read by some worker."`
	NotQueues []string           `yaml:"not_queues" help:"Queues that no worker may read, such as a dead letter queue."`
	Task      *CeleryTask        `yaml:"task" help:"A task to send and wait for. Where every slot has another task it is a warning that it does not come back."`
}

// CeleryTask is a canary: a task that does nothing worth noticing.
type CeleryTask struct {
	Name   string   `yaml:"name" jsonschema:"required" help:"Name of the task."`
	Args   []string `yaml:"args" help:"Its arguments, as JSON values."`
	Expect Match    `yaml:"expect" help:"What its result has to be."`
	Within Duration `yaml:"within" jsonschema:"exclusiveMinimum=0" help:"Longest time to the result. Default: 10s."`
}

// Manner is how it is looked at: each look takes the workers seconds, and one that waits for a
// task, and then asks what the slots do instead, starts the application five times.
func (c *Celery) Manner() Manner {
	m := calm(InUnit)
	m.Long = c.Task != nil
	return m
}

// Look asks through the first unit.
func (c *Celery) Look(s *Sight) {
	units, err := s.running(s.Ctx, c.Service)
	if err != nil {
		s.blind(err)
		return
	}
	var env []string
	for _, name := range sorted(c.Env) {
		value, err := s.reveal(c.Env[name], c.Service)
		if err != nil {
			s.blind(err)
			return
		}
		env = append(env, name+"="+value)
	}
	s.at(c.Service)
	d := &celerySession{Sight: s, c: c, units: units, env: env}
	if d.released, err = s.released(); err != nil {
		s.blind(err)
		return
	}
	if !d.workers() {
		return
	}
	if len(c.Queues)+len(c.NotQueues) > 0 {
		d.queues()
	}
	if c.Task != nil {
		d.task()
	}
	s.settle("pass", fmt.Sprintf("%d workers", d.wanted()), fmt.Sprintf("%d answer", d.wanted()), "")
}

type celerySession struct {
	*Sight
	c     *Celery
	units []stack.Unit
	env   []string
	// released are the units of all services of the release, answered is how many workers of
	// the broker did, and named is set where the units are known by their workers' names.
	released []stack.Unit
	answered int
	named    bool
}

// released gives the units of the release's services. One of a service that left the stack is
// left over, and one of `compose run` is nobody's.
func (s *Sight) released() (out []stack.Unit, err error) {
	seen, err := s.observed(s.Ctx)
	for name, units := range seen.Units {
		if _, released := s.Services[name]; !released && len(s.Services) > 0 {
			continue
		}
		for _, u := range units {
			if !u.OneOff {
				out = append(out, u)
			}
		}
	}
	return out, err
}

func (d *celerySession) celery(words ...string) (string, int, bool) {
	return d.run(d.units[0], append([]string{"celery", "-A", d.c.App}, words...), d.env, nil)
}

func (d *celerySession) wanted() int { return cmp.Or(d.c.Workers, len(d.units)) }

// inspect gives what each worker answers, by its name. No worker answers is an
// answer too: celery ends with 69 then.
func (d *celerySession) inspect(what string) (map[string]json.RawMessage, bool) {
	out, exit, ok := d.celery("inspect", what, "--json", "--timeout", "3")
	if !ok {
		return nil, false
	}
	answers := map[string]json.RawMessage{}
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &answers) == nil {
			return answers, true
		}
	}
	d.need("celery.answer", false, fmt.Sprintf("%d workers to answer", d.wanted()), fmt.Sprintf("celery ended with %d: %s", exit, quoted(out)))
	return nil, false
}

// workers compares who answers with the units. Every worker of the broker answers: those of
// the project's other services as well, and one that an older release left behind, under
// a host's name that no unit has.
func (d *celerySession) workers() bool {
	answers, ok := d.inspect("ping")
	if !ok {
		return false
	}
	names := sorted(answers)
	d.answered, d.named = len(names), slices.ContainsFunc(names, func(name string) bool { return runsIn(d.units, name) })
	if d.named {
		strangers := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			return !engineNamed.MatchString(name) || runsIn(d.units, name) || runsIn(d.released, name)
		})
		d.need("celery.foreign", len(strangers) == 0, "workers of this release's units only", strings.Join(strangers, ", "), "stop the workers that are left over")
	}
	ours := d.ours(names)
	return d.need("celery.workers", len(ours) == d.wanted(), fmt.Sprintf("%d workers to answer", d.wanted()), fmt.Sprintf("%d: %s", len(ours), quoted(strings.Join(ours, ", "))))
}

// engineNamed is a worker on a host that the engine named: by the beginning of the
// container's id. Whose one with a name of its own is, nobody can tell.
var engineNamed = regexp.MustCompile(`@[0-9a-f]{12,64}$`)

// runsIn tells whether a worker is in one of some units.
func runsIn(units []stack.Unit, worker string) bool {
	_, host, _ := strings.Cut(worker, "@")
	return len(host) >= 12 && slices.ContainsFunc(units, func(u stack.Unit) bool { return strings.HasPrefix(u.ID, host) })
}

// ours are the workers of the service. Where they have host names of their own, all count,
// unless each is known to be in some other unit.
func (d *celerySession) ours(names []string) []string {
	unknown := slices.ContainsFunc(names, func(name string) bool { return !runsIn(d.released, name) })
	none := !d.named && !unknown && !d.borrows()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return none || d.named && !runsIn(d.units, name) })
}

// borrows tells whether the units may have the host name of another one, with its network.
func (d *celerySession) borrows() bool {
	if d.Stack == nil || d.Stack.Services[d.c.Service] == nil {
		return true
	}
	_, of := stack.OfAnother(d.Stack.Services[d.c.Service].NetworkMode)
	return of
}

func (d *celerySession) queues() {
	answers, ok := d.inspect("active_queues")
	if !ok {
		return
	}
	// A worker that does not say what it reads may read anything.
	all := max(d.wanted(), d.answered, len(answers))
	read, silent := []string{}, all-len(answers)
	for _, list := range answers {
		if !gjson.ParseBytes(list).IsArray() {
			silent++
		}
		for _, name := range gjson.GetBytes(list, "#.name").Array() {
			read = append(read, name.String())
		}
	}
	slices.Sort(read)
	read = slices.Compact(read)
	for _, name := range d.c.Queues {
		d.need("celery.queue", slices.Contains(read, name), "a worker that reads "+name, "they read "+quoted(strings.Join(read, ", ")))
	}
	for _, name := range d.c.NotQueues {
		if d.need("celery.not-queue", !slices.Contains(read, name), "no worker that reads "+name, "they read "+quoted(strings.Join(read, ", "))) {
			d.know("celery.told", silent == 0, "every worker to say what it reads", fmt.Sprintf("%d of %d did not", silent, all))
		}
	}
}

// task gives a task and waits for its result.
func (d *celerySession) task() {
	task := d.c.Task
	within := task.Within.or(10 * time.Second)
	// One that nobody waits for any more is not worked on; one that has expired counts as failed.
	expires := wholeSeconds(max(time.Minute, within+10*time.Second))
	out, exit, ok := d.celery("call", task.Name, "--args", "["+strings.Join(task.Args, ",")+"]", "--expires", expires)
	if !ok {
		return
	}
	lines := strings.Fields(out)
	if !d.need("celery.call", exit == 0 && len(lines) > 0, "the task to be taken", quoted(out)) {
		return
	}
	// celery waits for a result without end; timeout is of coreutils and of busybox.
	out, exit, ok = d.run(d.units[0], []string{"timeout", wholeSeconds(within), "celery", "-A", d.c.App, "result", lines[len(lines)-1]}, d.env, nil)
	// Only a wait in vain can be the fault of full slots: a task that failed says so at once.
	inVain := slices.Contains([]int{124, 143}, exit) // as coreutils and as busybox end it
	if !ok || inVain && d.full() || !d.need("celery.result", exit == 0, "a result within "+Duration(within).String(), quoted(out)) {
		return
	}
	task.Expect.checkOutput(d.Sight, "the result", out, "exists", "not", "not_matches")
}

// full tells that the workers answer and have no slot free for the task: what they do
// already may take longer than anybody waits here, and is no fault. A task of the same name
// proves nothing: it may be this one, which hangs.
func (d *celerySession) full() bool {
	stats, ok := d.inspect("stats")
	if !ok {
		return true // that is told
	}
	active, ok := d.inspect("active")
	if !ok {
		return true
	}
	slots, ours := 0, d.ours(sorted(stats))
	for _, name := range ours {
		most := int(gjson.GetBytes(stats[name], "pool.max-concurrency").Int())
		taken := 0
		for _, task := range gjson.ParseBytes(active[name]).Array() {
			if task.Get("name").String() != d.c.Task.Name {
				taken++
			}
		}
		if most == 0 || taken < most {
			return false
		}
		slots += most
	}
	return len(ours) >= d.wanted() && !d.want("celery.slots", false, "a free slot for the task", fmt.Sprintf("all %d slots have another task", slots), "whether they end is for a check of their own")
}

// wholeSeconds is a time as timeout takes it, which knows no part of a second and takes
// 0 for no end.
func wholeSeconds(d time.Duration) string { return fmt.Sprint(int(math.Ceil(d.Seconds()))) }
