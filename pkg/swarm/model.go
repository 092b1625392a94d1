package swarm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	v3loader "github.com/docker/cli/cli/compose/loader"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// taken are the keys of a service that Swarm has a word for. How it rolls and how
// many there are is not in the model; what it mounts of the release's files are
// objects of the Swarm; all others mean nothing there.
var taken = []string{
	"cap_add", "cap_drop", "command", "credential_spec", "dns", "dns_search", "entrypoint", "environment", "healthcheck", "hostname", "image", "init",
	"isolation", "labels", "logging", "oom_score_adj", "read_only", "restart", "stdin_open", "stop_grace_period", "stop_signal", "sysctls", "tmpfs", "tty", "ulimits",
	"user", "working_dir",
}

// modelOf writes a service of the model as `docker stack` reads it.
func modelOf(st *stack.Stack, name string, objects []object) (map[string]any, error) {
	c := st.Project.Services[name]
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("writing service %s down: %w", name, err)
	}
	// JSON is YAML, and this reader knows whole numbers.
	all, err := v3loader.ParseYAML(data)
	if err != nil {
		return nil, fmt.Errorf("reading service %s: %w", name, err)
	}
	out := map[string]any{}
	for _, key := range taken {
		if v, ok := all[key]; ok && v != nil {
			out[key] = v
		}
	}
	if len(c.ExtraHosts) > 0 {
		out["extra_hosts"] = hosts(c.ExtraHosts)
	}
	if check, ok := out["healthcheck"].(map[string]any); ok {
		only(check, "disable", "interval", "retries", "start_interval", "start_period", "test", "timeout")
	}
	if logging, ok := out["logging"].(map[string]any); ok {
		only(logging, "driver", "options")
	}
	out["networks"] = networksOf(c)
	out["volumes"] = volumesOf(c, objects)
	if out["ports"], err = portsOf(c); err != nil {
		return nil, err
	}
	out["deploy"] = deployOf(c, all)
	return out, nil
}

// only drops all other keys.
func only(m map[string]any, keys ...string) {
	for key := range m {
		if !slices.Contains(keys, key) {
			delete(m, key)
		}
	}
}

func hosts(list types.HostsList) []any {
	var out []any
	for _, line := range list.AsList(":") {
		out = append(out, line)
	}
	slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return out
}

func networksOf(c types.ServiceConfig) map[string]any {
	out := map[string]any{}
	for key, n := range c.Networks {
		settings := map[string]any{}
		if n != nil && len(n.Aliases) > 0 {
			var aliases []any
			for _, a := range n.Aliases {
				aliases = append(aliases, a)
			}
			settings["aliases"] = aliases
		}
		out[key] = settings
	}
	return out
}

// volumesOf lists the mounts that are not objects.
func volumesOf(c types.ServiceConfig, objects []object) []any {
	var out []any
	for _, v := range c.Volumes {
		if slices.ContainsFunc(objects, func(o object) bool { return o.mount == v.Target }) {
			continue
		}
		m := map[string]any{"type": v.Type, "target": v.Target}
		if v.Source != "" {
			m["source"] = v.Source
		}
		if v.ReadOnly {
			m["read_only"] = true
		}
		if v.Bind != nil && v.Bind.Propagation != "" {
			m["bind"] = map[string]any{"propagation": v.Bind.Propagation}
		}
		if v.Volume != nil && v.Volume.NoCopy {
			m["volume"] = map[string]any{"nocopy": true}
		}
		if v.Tmpfs != nil && v.Tmpfs.Size > 0 {
			m["tmpfs"] = map[string]any{"size": int64(v.Tmpfs.Size)}
		}
		out = append(out, m)
	}
	return out
}

func portsOf(c types.ServiceConfig) ([]any, error) {
	var out []any
	for _, p := range c.Ports {
		m := map[string]any{"target": int(p.Target), "protocol": cmp.Or(p.Protocol, "tcp")}
		if p.Mode != "" {
			m["mode"] = p.Mode
		}
		if p.Published != "" {
			n, err := strconv.Atoi(p.Published)
			if err != nil {
				return nil, fault.New(fault.Refused, "services."+c.Name+".ports", "publish one port", "service %s: Swarm publishes no range of ports (%s)", c.Name, p.Published)
			}
			m["published"] = n
		}
		out = append(out, m)
	}
	return out, nil
}

// deployOf is what stands below deploy, and the limits that a file may have written
// beside it.
func deployOf(c types.ServiceConfig, all map[string]any) map[string]any {
	out, _ := all["deploy"].(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	only(out, "endpoint_mode", "labels", "placement", "resources", "restart_policy")
	resources, _ := out["resources"].(map[string]any)
	if resources == nil {
		resources = map[string]any{}
	}
	limits := limit(resources, "limits", "cpus", "memory", "pids")
	reserved := limit(resources, "reservations", "cpus", "memory", "generic_resources")
	fill := func(m map[string]any, key string, value any, there bool) {
		if _, has := m[key]; !has && there {
			m[key] = value
		}
	}
	fill(limits, "cpus", fmt.Sprint(c.CPUS), c.CPUS > 0)
	fill(limits, "memory", strconv.FormatInt(int64(c.MemLimit), 10), c.MemLimit > 0)
	fill(limits, "pids", c.PidsLimit, c.PidsLimit > 0)
	fill(reserved, "memory", strconv.FormatInt(int64(c.MemReservation), 10), c.MemReservation > 0)
	delete(out, "resources")
	if len(limits)+len(reserved) > 0 {
		out["resources"] = map[string]any{"limits": limits, "reservations": reserved}
	}
	return out
}

// limit is one part of the resources, its keys as `docker stack` writes them.
func limit(resources map[string]any, part string, keys ...string) map[string]any {
	m, _ := resources[part].(map[string]any)
	if m == nil {
		return map[string]any{}
	}
	only(m, keys...)
	for _, key := range []string{"cpus", "memory"} {
		if v, ok := m[key]; ok {
			m[key] = fmt.Sprint(v)
		}
	}
	return m
}
