package swarm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/cli/cli/compose/convert"
	v3loader "github.com/docker/cli/cli/compose/loader"
	v3 "github.com/docker/cli/cli/compose/types"
	"github.com/moby/moby/api/types/swarm"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// specOf makes Swarm's spec of a service: Docker's own conversion of the model, with
// what the model does not hold any more (how it rolls, how many) and our labels. ids
// are those of the objects that it mounts, by kind and name.
func specOf(st *stack.Stack, name string, objects []object, ids map[string]string, release int) (swarm.ServiceSpec, error) {
	svc := st.Services[name]
	config, err := load(st, name, objects)
	if err != nil {
		return swarm.ServiceSpec{}, err
	}
	secrets, configs := references(objects, ids)
	spec, err := convert.Service(convert.NewNamespace(st.Name), config.Services[0], config.Networks, config.Volumes, secrets, configs)
	if err != nil {
		return spec, fault.New(fault.Refused, "service "+name, "", "Swarm's own reading of it fails: %w", err)
	}
	spec.Labels[keyLabel], spec.Labels[hashLabel] = name, svc.Hash
	spec.Labels[convert.LabelImage] = svc.Image
	spec.Labels[releaseLabel] = strconv.Itoa(release)
	spec.TaskTemplate.ContainerSpec.Labels[hashLabel] = svc.Hash
	spec.TaskTemplate.ContainerSpec.Labels[keyLabel] = name
	spec.TaskTemplate.ContainerSpec.Labels[specLabel] = fingerprint(spec.TaskTemplate)
	spec.Mode = modeOf(svc)
	if svc.Job {
		// A job that failed is told at once, as on a single host.
		spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}
		spec.EndpointSpec = nil
		return spec, nil
	}
	spec.UpdateConfig, spec.RollbackConfig = updateOf(svc.Update, svc.Update.FailureAction), updateOf(svc.Rollback, stack.Pause)
	return spec, nil
}

// fingerprint is a sum of what people change by hand (docker service update): image,
// command and environment. It goes with the tasks, so that one that was changed tells.
func fingerprint(t swarm.TaskSpec) string {
	h := sha256.New()
	c := t.ContainerSpec
	env := slices.Sorted(slices.Values(c.Env))
	for _, list := range [][]string{{c.Image}, c.Command, c.Args, env} {
		fmt.Fprintf(h, "%q\n", strings.Join(list, "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func modeOf(svc *stack.Service) swarm.ServiceMode {
	n := uint64(max(svc.Replicas, 0))
	switch {
	case svc.Job:
		return swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &n, TotalCompletions: &n}}
	case svc.Global:
		return swarm.ServiceMode{Global: &swarm.GlobalService{}}
	}
	return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}
}

func updateOf(u stack.Update, action stack.FailureAction) *swarm.UpdateConfig {
	return &swarm.UpdateConfig{
		Parallelism: uint64(max(u.Parallelism, 0)), Delay: u.Delay, Monitor: u.Monitor, MaxFailureRatio: float32(u.MaxFailureRatio),
		FailureAction: swarm.FailureAction(action), Order: swarm.UpdateOrder(u.Order),
	}
}

// references are how a service names its objects.
func references(objects []object, ids map[string]string) (secrets []*swarm.SecretReference, configs []*swarm.ConfigReference) {
	for _, o := range objects {
		if o.secret {
			secrets = append(secrets, &swarm.SecretReference{SecretID: ids[kindOf(true)+o.name], SecretName: o.name,
				File: &swarm.SecretReferenceFileTarget{Name: o.target, UID: o.uid, GID: o.gid, Mode: o.mode}})
			continue
		}
		configs = append(configs, &swarm.ConfigReference{ConfigID: ids[kindOf(false)+o.name], ConfigName: o.name,
			File: &swarm.ConfigReferenceFileTarget{Name: o.target, UID: o.uid, GID: o.gid, Mode: o.mode}})
	}
	return secrets, configs
}

// version is the newest file format of `docker stack`.
const version = "3.13"

// load has Docker's loader for stacks read one service of the model.
func load(st *stack.Stack, name string, objects []object) (*v3.Config, error) {
	service, err := modelOf(st, name, objects)
	if err != nil {
		return nil, err
	}
	networks, volumes := map[string]any{}, map[string]any{}
	for key := range st.Project.Services[name].Networks {
		networks[key] = map[string]any{"name": st.Project.Networks[key].Name}
	}
	for _, key := range st.Services[name].Volumes {
		v := st.Project.Volumes[key]
		model := map[string]any{"name": v.Name}
		if v.External {
			model["external"] = true
		} else {
			model["labels"] = withKey(v.Labels, key)
			if v.Driver != "" {
				model["driver"] = v.Driver
			}
			if len(v.DriverOpts) > 0 {
				model["driver_opts"] = anyMap(v.DriverOpts)
			}
		}
		volumes[key] = model
	}
	config, err := v3loader.Load(v3.ConfigDetails{
		Version: version, WorkingDir: st.Dir,
		ConfigFiles: []v3.ConfigFile{{Filename: "model", Config: map[string]any{
			"version": version, "services": map[string]any{name: service}, "networks": networks, "volumes": volumes,
		}}},
	}, func(o *v3loader.Options) { o.SkipInterpolation = true })
	if err != nil {
		return nil, fault.New(fault.Refused, "service "+name, "take what it names out of the file, or release with engine: compose",
			"Docker's loader for stacks does not take it: %w", err)
	}
	if len(config.Services) != 1 {
		return nil, fmt.Errorf("docker's loader for stacks made %d services of %s", len(config.Services), name)
	}
	return config, nil
}

func withKey(labels map[string]string, key string) map[string]any {
	out := anyMap(labels)
	out[keyLabel] = key
	return out
}

func anyMap(in map[string]string) map[string]any {
	out := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(in)) {
		out[k] = in[k]
	}
	return out
}
