package compose

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// service reads one service of the model.
func (l *loading) service(p *types.Project, s types.ServiceConfig) (*stack.Service, error) {
	ext, err := l.extension(s)
	if err != nil {
		return nil, err
	}
	update, rollback, err := l.updates(s)
	if err != nil {
		return nil, err
	}
	health, err := l.health(s)
	if err != nil {
		return nil, err
	}
	service := &stack.Service{
		Name: s.Name, Image: s.Image, Platform: s.Platform, PullPolicy: s.PullPolicy,
		Replicas: replicas(s), Global: deployMode(s) == "global", ContainerName: s.ContainerName, NetworkMode: s.NetworkMode,
		Update: update, Rollback: rollback, StopGrace: stack.DefaultGrace, Health: health,
		Networks: sortedKeys(s.Networks), Ext: ext, Shares: shares(s),
		Environment: map[string]string{},
	}
	if s.StopGracePeriod != nil {
		if service.StopGrace = time.Duration(*s.StopGracePeriod); service.StopGrace < 0 {
			return nil, l.input("services."+s.Name+".stop_grace_period", "", "service %s: stop_grace_period cannot be negative", s.Name)
		}
	}
	for name, value := range s.Environment {
		if value != nil {
			service.Environment[name] = *value
		}
	}
	for _, name := range sortedKeys(s.DependsOn) {
		d := s.DependsOn[name]
		if _, active := p.Services[name]; active {
			service.DependsOn = append(service.DependsOn, stack.Dependency{
				Service: name, Condition: stack.Condition(d.Condition), Restart: d.Restart, Required: d.Required, Linked: linked(s, name),
			})
		}
	}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeVolume && v.Source != "" {
			service.Volumes = append(service.Volumes, v.Source)
		}
	}
	slices.Sort(service.Volumes)
	service.Volumes = slices.Compact(service.Volumes)
	service.HostPorts, service.Built = hostPorts(s), s.Build != nil
	return service, nil
}

// linked tells whether a service links to another, under whatever name.
func linked(s types.ServiceConfig, to string) bool {
	return slices.ContainsFunc(s.Links, func(link string) bool { name, _, _ := strings.Cut(link, ":"); return name == to })
}

// seccompFile is the file with a service's seccomp profile; "" with one of the engine's.
func seccompFile(s types.ServiceConfig) string {
	for _, option := range s.SecurityOpt {
		key, profile, found := strings.Cut(option, "=")
		if !found {
			key, profile, _ = strings.Cut(option, ":")
		}
		if key == "seccomp" && profile != "unconfined" && profile != "builtin" {
			return profile
		}
	}
	return ""
}

// hostPorts are the ports of the host that a unit holds for itself. One that
// the engine chooses is not among them: two units never want the same.
func hostPorts(s types.ServiceConfig) []string {
	var ports []string
	for _, p := range s.Ports {
		if port := stack.HostPort(p); port != "" {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func deployMode(s types.ServiceConfig) string {
	if s.Deploy == nil {
		return ""
	}
	return s.Deploy.Mode
}

// replicas is how many units a service has. Global is one: there is one host.
func replicas(s types.ServiceConfig) int {
	if deployMode(s) == "global" {
		return 1
	}
	return s.GetScale()
}

// shares lists the services whose namespaces or volumes a service uses.
func shares(s types.ServiceConfig) []string {
	var names []string
	for _, of := range stack.SharesOf(s.ContainerSpec) {
		if of.Service != "" {
			names = append(names, of.Service)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// markJobs finds the services that have to end, because others wait for it.
func markJobs(s *stack.Stack) {
	for _, service := range s.Services {
		for _, d := range service.DependsOn {
			if d.Condition == stack.Completed {
				s.Services[d.Service].Job = true
			}
		}
	}
}

// order lists the services with their dependencies before them, ties by name.
// There are no circles: verify refuses them.
func order(s *stack.Stack) []string {
	done := map[string]bool{}
	var names []string
	for len(names) < len(s.Services) {
		before := len(names)
		for _, name := range sortedKeys(s.Services) {
			ready := !done[name] && !slices.ContainsFunc(s.Services[name].DependsOn, func(d stack.Dependency) bool { return !done[d.Service] })
			if ready {
				names = append(names, name)
				done[name] = true
				break
			}
		}
		if len(names) == before {
			break
		}
	}
	return names
}

// health reads the healthcheck; nil where there is none or it is switched off.
func (l *loading) health(s types.ServiceConfig) (*stack.Health, error) {
	c := s.HealthCheck
	if c == nil || c.Disable || len(c.Test) > 0 && c.Test[0] == "NONE" {
		return nil, nil
	}
	h := &stack.Health{Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3, Inherited: len(c.Test) == 0}
	at := "services." + s.Name + ".healthcheck"
	for _, d := range []struct {
		to   *time.Duration
		from *types.Duration
		name string
	}{{&h.Interval, c.Interval, "interval"}, {&h.Timeout, c.Timeout, "timeout"}, {&h.StartPeriod, c.StartPeriod, "start_period"}} {
		if d.from == nil || *d.from == 0 {
			continue // the engine takes its default for 0
		}
		if *d.to = time.Duration(*d.from); *d.to < 0 {
			return nil, l.input(at+"."+d.name, "", "service %s: healthcheck.%s cannot be negative", s.Name, d.name)
		}
	}
	if c.Retries != nil && *c.Retries != 0 {
		if *c.Retries > 100_000 {
			return nil, l.input(at+".retries", "", "service %s: healthcheck.retries is more than 100000", s.Name)
		}
		h.Retries = int(*c.Retries)
	}
	return h, nil
}

// explicitMonitor tells which update policies of a service set monitor:
// compose-go gives 0 both for `monitor: 0s` and for none, and the default is 5s.
type explicitMonitor struct{ update, rollback bool }

func explicitMonitors(dict map[string]any) map[string]explicitMonitor {
	found := map[string]explicitMonitor{}
	for name, service := range mapping(dict["services"]) {
		deploy := mapping(mapping(service)["deploy"])
		_, update := mapping(deploy["update_config"])["monitor"]
		_, rollback := mapping(deploy["rollback_config"])["monitor"]
		found[name] = explicitMonitor{update, rollback}
	}
	return found
}

// updates reads update_config and rollback_config with their defaults. What
// rollback_config leaves out is taken from update_config: a service that is
// updated without losing a request must not lose one on the way back.
func (l *loading) updates(s types.ServiceConfig) (update, rollback stack.Update, err error) {
	update = stack.Update{Parallelism: 1, Order: stack.StopFirst, Monitor: stack.DefaultMonitor, FailureAction: stack.Rollback}
	explicit := l.monitor[s.Name]
	var deploy types.DeployConfig
	if s.Deploy != nil {
		deploy = *s.Deploy
	}
	at := "services." + s.Name + ".deploy."
	actions := []stack.FailureAction{stack.Rollback, stack.Pause, stack.Continue}
	if update, err = l.policy(at+"update_config", deploy.UpdateConfig, update, explicit.update, actions); err != nil {
		return update, rollback, err
	}
	rollback = update
	rollback.FailureAction = stack.Pause
	rollback, err = l.policy(at+"rollback_config", deploy.RollbackConfig, rollback, explicit.rollback, actions[1:])
	return update, rollback, err
}

// policy lays what the file says over the defaults.
func (l *loading) policy(at string, c *types.UpdateConfig, u stack.Update, monitor bool, actions []stack.FailureAction) (stack.Update, error) {
	if c == nil {
		return u, nil
	}
	if c.Parallelism != nil {
		if *c.Parallelism > math.MaxInt32 {
			return u, l.input(at+".parallelism", "", "%s.parallelism cannot be %d", at, *c.Parallelism)
		}
		u.Parallelism = int(*c.Parallelism)
	}
	if c.Delay < 0 || c.Monitor < 0 {
		return u, l.input(at, "", "%s: delay and monitor cannot be negative", at)
	}
	if c.Delay > 0 {
		u.Delay = time.Duration(c.Delay)
	}
	if monitor {
		u.Monitor = time.Duration(c.Monitor)
	}
	if c.Order != "" {
		u.Order = stack.Order(c.Order)
	}
	if u.Order != stack.StartFirst && u.Order != stack.StopFirst {
		return u, l.input(at+".order", "use start-first or stop-first", "%s.order cannot be %q", at, c.Order)
	}
	if c.FailureAction != "" {
		if u.FailureAction = stack.FailureAction(c.FailureAction); !slices.Contains(actions, u.FailureAction) {
			return u, l.input(at+".failure_action", fmt.Sprintf("use one of %v", actions), "%s.failure_action cannot be %q", at, c.FailureAction)
		}
	}
	if c.MaxFailureRatio < 0 || c.MaxFailureRatio > 1 {
		return u, l.input(at+".max_failure_ratio", "use a number from 0 to 1", "%s.max_failure_ratio cannot be %g", at, c.MaxFailureRatio)
	}
	if c.MaxFailureRatio > 0 {
		// By way of decimal: 0.1 must not become 0.10000000149.
		u.MaxFailureRatio = math.Round(float64(c.MaxFailureRatio)*1e6) / 1e6
	}
	return u, nil
}
