package swarm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// scheduling tells what is otherwise about when and where units start and end.
func (l *look) scheduling(svc *stack.Service, c types.ServiceConfig) {
	l.order(svc)
	l.beside(svc)
	l.restarts(svc, c)
	l.monitored(svc)
	l.health(svc, c)
	l.resources(svc, c)
	l.templates(svc, c)
	l.extension(svc, c)
	if svc.Global {
		l.Warn("P17.global", at(svc, "deploy.mode"), "name the nodes it belongs on: deploy: {placement: {constraints: [...]}}",
			"each node has a task of it, where one host has one unit")
	}
}

func (l *look) order(svc *stack.Service) {
	if len(svc.DependsOn) == 0 {
		return
	}
	var names []string
	for _, d := range svc.DependsOn {
		names = append(names, d.Service)
	}
	l.Warn("P17.depends-on", at(svc, "depends_on"), "let the program wait until they answer, or end and be started again",
		"a release keeps the order, a Swarm does not: when a node comes back, it starts whether %s runs or not", strings.Join(names, ", "))
}

// beside: one host never starts a database beside itself, whatever the order.
func (l *look) beside(svc *stack.Service) {
	places := l.Stack.Writes(svc.Name)
	key := "deploy.update_config.order"
	if svc.Update.Order != stack.StartFirst {
		key = "deploy.rollback_config.order"
	}
	if len(places) == 0 || svc.Job || !l.Stack.IsDatabase(svc.Name) || svc.Update.Order != stack.StartFirst && svc.Rollback.Order != stack.StartFirst {
		return
	}
	l.Fail("P17.start-first", at(svc, key), "write order: stop-first",
		"a Swarm starts the new task beside the old one, and two databases at once damage %s; one host stops the old one first", strings.Join(places, ", "))
}

// monitored: on one host a new unit proves itself before it gets requests.
func (l *look) monitored(svc *stack.Service) {
	if svc.Ext.Gateway == "" || svc.Update.Order != stack.StartFirst {
		return
	}
	l.Warn("P17.monitor", at(svc, "deploy.update_config.monitor"), "let the health check say only then that it is well when it is: interval times retries as long as monitor",
		"a new task gets requests, and an old one ends, as soon as its health check passes: monitor watches it afterwards; one host watches first")
}

// restarts: the engine's own policy of a container is not that of a task. Without
// one, Swarm has a default, and it is the opposite of Compose's.
func (l *look) restarts(svc *stack.Service, c types.ServiceConfig) {
	if svc.Job || deploy(c).RestartPolicy != nil {
		return
	}
	const hint = "say it in a way that both understand: deploy: {restart_policy: {condition: %s}}"
	switch name, _, _ := strings.Cut(c.Restart, ":"); name {
	case "", "no":
		l.Warn("P17.restart", at(svc, "restart"), fmt.Sprintf(hint, "any")+", or none for what may end",
			"a task that ends is started again, whatever it ended with; on one host it stays down")
	case "on-failure":
		l.Warn("P17.restart", at(svc, "restart"), fmt.Sprintf(hint, "on-failure"),
			"restart: %s becomes a new task after 5 s, perhaps on another node, without what the container has written", c.Restart)
	default:
		l.Warn("P17.restart", at(svc, "restart"), fmt.Sprintf(hint, "any"),
			"restart: %s becomes a new task after 5 s, perhaps on another node, without what the container has written", c.Restart)
	}
}

func (l *look) health(svc *stack.Service, c types.ServiceConfig) {
	if svc.Health == nil {
		return
	}
	l.Warn("P17.unhealthy", at(svc, "healthcheck"), "let the check fail only where a new task would be better, and after enough retries for a busy hour",
		"a task that becomes unhealthy is stopped and another one is started; one host lets it be")
	if policy := deploy(c).RestartPolicy; policy != nil && policy.Condition == "on-failure" || policy == nil && strings.HasPrefix(c.Restart, "on-failure") {
		l.Fail("P17.stays-away", at(svc, "healthcheck"), "write deploy: {restart_policy: {condition: any}}",
			"a task that becomes unhealthy is stopped, and where the program then ends with 0 none takes its place: it did not fail")
	}
	if c.HealthCheck.StartInterval != nil {
		l.Warn("P17.start-interval", at(svc, "healthcheck.start_interval"), "choose an interval that is right for the start too",
			"engines before 25.0 leave it out of a task's check")
	}
}

func (l *look) resources(svc *stack.Service, c types.ServiceConfig) {
	reserved := deploy(c).Resources.Reservations
	if reserved == nil {
		reserved = &types.Resource{}
	}
	if len(reserved.Devices) > 0 {
		if len(reserved.GenericResources) == 0 {
			l.Fail("P17.gpu", at(svc, "deploy.resources.reservations.devices"), gpuMend, "a task gets no device by reservations.devices")
		} else {
			l.Warn("P17.gpu", at(svc, "deploy.resources.reservations.devices"), "keep both: each engine reads its own",
				"reservations.devices is left out, and generic_resources chooses the node")
		}
	}
	key := "deploy.resources.reservations"
	if reserved.MemoryBytes == 0 && c.MemReservation > 0 {
		key = "mem_reservation"
	}
	if reserved.MemoryBytes > 0 || reserved.NanoCPUs > 0 || c.MemReservation > 0 {
		l.Warn("P17.reservations", at(svc, key), "add up what all services of a node reserve, replicas too, and leave room for an update that starts first",
			"a task waits until a node has this much that no other task has reserved; one host starts it anyway")
	}
}

// known are the templates that are meant for a Swarm.
var known = []string{".Service.", ".Node.", ".Task."}

// templates: Swarm fills {{...}} in where nobody else sees more than text.
func (l *look) templates(svc *stack.Service, c types.ServiceConfig) {
	const hint = "put the text into a file (configs), which nobody fills in"
	tell := func(key, what, text string) {
		_, inside, open := strings.Cut(text, "{{")
		if open && !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(strings.TrimSpace(inside), k) }) {
			l.Fail("P17.template", at(svc, key), hint, "%s has {{, which a Swarm takes for a template of its own and fills in", what)
		}
	}
	tell("hostname", "the host name", c.Hostname)
	for _, name := range finding.SortedKeys(svc.Environment) {
		tell("environment."+name, "the variable "+name, svc.Environment[name])
	}
}

// extension is about x-shiksha.
func (l *look) extension(svc *stack.Service, c types.ServiceConfig) {
	if svc.Ext.Reload != nil {
		l.Warn("P17.reload", at(svc, "x-shiksha.reload"), "have two tasks or more, and order: start-first where no port of a node is held",
			"a task keeps the files that it was started with: changed ones replace it, and nothing is reloaded")
	}
	if svc.Ext.Idle != nil {
		l.Warn("P17.drain", at(svc, "x-shiksha.drain"), "let it end its work on stop_signal, within a stop_grace_period that is longer than any task of it",
			"only a release lets a worker finish: where its node is drained, a Swarm stops it without asking whether it is idle")
	}
	if svc.Ext.Backups != nil {
		l.Warn("P17.backups", at(svc, "x-shiksha.backups"), "choose the node of its volume, let the user of the host in there with the same key, and copy the dumps off it (x-shiksha.backups.copy)",
			"dumps are made and kept on the node that the database runs on, which is reached through the manager: on another node it begins without them")
	}
	if d := svc.Ext.Drain; svc.Ext.Gateway != "" && d > svc.StopGrace && d != stack.DefaultDrain {
		l.Warn("P17.drain", at(svc, "x-shiksha.drain"), fmt.Sprintf("write stop_grace_period: %s, and let the program answer what it has when it is told to stop", d),
			"a Swarm waits for no gateway: two seconds after an old task has got its last request it is told to stop, and what takes longer than %s is cut off", svc.StopGrace)
	}
	if svc.Ext.Gateway != "" && deploy(c).EndpointMode != "dnsrr" {
		l.Warn("P17.gateway", at(svc, "x-shiksha.gateway"), "to keep it so, write deploy: {endpoint_mode: dnsrr}: releases then switch "+svc.Ext.Gateway+" as on one host",
			"where the nodes' kernels have IPVS, %s is one address that they balance: %s sees one server, so its own choice, its retries and its counts of failures have nothing to choose from", svc.Name, svc.Ext.Gateway)
	}
}
