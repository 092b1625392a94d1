package stack

import (
	"fmt"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	sdk "github.com/docker/compose/v5/pkg/compose"
)

// Partial is the stack that runs after a release of some services only: the
// selected ones as they are in s, the others as before had them, with the networks,
// volumes, configs and secrets that they use, and none that before did not have
// (nil: there was no release before). A network or volume that both use has to be the
// same in both; of a config or secret that both use there is the new one, which the
// others get when they are released.
func (s *Stack) Partial(before *Stack, selected []string) (*Stack, error) {
	out := *s
	project := *s.Project
	out.Project, out.Services, out.Order = &project, map[string]*Service{}, nil
	project.Services = types.Services{}
	var others []types.ServiceConfig
	for _, name := range s.Order {
		from := s
		if !slices.Contains(selected, name) {
			from = before
		}
		if from == nil || from.Services[name] == nil {
			continue
		}
		out.Order = append(out.Order, name)
		out.Services[name] = from.Services[name]
		project.Services[name] = from.Project.Services[name]
		if from != s {
			others = append(others, from.Project.Services[name])
		}
	}
	if len(others) == 0 {
		return &out, nil
	}
	var chosen uses
	for _, name := range selected {
		chosen.add(project.Services[name])
	}
	return &out, chosen.keep(&project, before.Project, others)
}

// uses are the keys of the definitions that services refer to.
type uses struct{ networks, volumes, configs, secrets []string }

func (u *uses) add(c types.ServiceConfig) {
	u.networks = slices.AppendSeq(u.networks, maps.Keys(c.Networks))
	for _, mount := range c.Volumes {
		if mount.Type == types.VolumeTypeVolume && mount.Source != "" {
			u.volumes = append(u.volumes, mount.Source)
		}
	}
	for _, ref := range c.Configs {
		u.configs = append(u.configs, ref.Source)
	}
	for _, ref := range c.Secrets {
		u.secrets = append(u.secrets, ref.Source)
	}
}

// keep gives a project the definitions of before that the services from there use;
// u are the keys that services of the project itself use.
func (u uses) keep(project, before *types.Project, services []types.ServiceConfig) (err error) {
	var old uses
	for _, c := range services {
		old.add(c)
	}
	networks := definitions[types.NetworkConfig]{kind: "network", now: project.Networks, before: before.Networks,
		same: sameBy(func(n types.NetworkConfig) (string, error) { return sdk.NetworkHash(&n) })}
	if project.Networks, err = networks.kept(old.networks, u.networks); err != nil {
		return err
	}
	volumes := definitions[types.VolumeConfig]{kind: "volume", now: project.Volumes, before: before.Volumes, same: sameBy(sdk.VolumeHash)}
	if project.Volumes, err = volumes.kept(old.volumes, u.volumes); err != nil {
		return err
	}
	content := func(a, b types.FileObjectConfig) (was types.FileObjectConfig, same bool) {
		now, was := resolved(a, project.Environment), resolved(b, before.Environment)
		return was, now.Name == was.Name && now.Content == was.Content && now.File == was.File && now.External == was.External
	}
	configs := definitions[types.ConfigObjConfig]{kind: "config", now: project.Configs, before: before.Configs, yields: true,
		same: func(a, b types.ConfigObjConfig) (types.ConfigObjConfig, bool) {
			was, same := content(types.FileObjectConfig(a), types.FileObjectConfig(b))
			return types.ConfigObjConfig(was), same
		}}
	if project.Configs, err = configs.kept(old.configs, u.configs); err != nil {
		return err
	}
	secrets := definitions[types.SecretConfig]{kind: "secret", now: project.Secrets, before: before.Secrets, yields: true,
		same: func(a, b types.SecretConfig) (types.SecretConfig, bool) {
			was, same := content(types.FileObjectConfig(a), types.FileObjectConfig(b))
			return types.SecretConfig(was), same
		}}
	project.Secrets, err = secrets.kept(old.secrets, u.secrets)
	return err
}

// resolved is a config or secret with its content in it: the variable that it came from
// may have another value by now.
func resolved(f types.FileObjectConfig, environment types.Mapping) types.FileObjectConfig {
	if f.Environment != "" {
		f.Content, f.Environment = environment[f.Environment], ""
	}
	return f
}

// sameBy compares definitions by the hash that Compose has of them.
func sameBy[V any](hash func(V) (string, error)) func(a, b V) (V, bool) {
	return func(a, b V) (V, bool) {
		now, _ := hash(a)
		was, err := hash(b)
		return b, err == nil && now == was
	}
}

// definitions are those of one kind, as they are now and as they were before.
type definitions[V any] struct {
	kind        string
	now, before map[string]V
	// same compares two, and gives the older one as it is kept.
	same func(now, before V) (V, bool)
	// yields is set where the new one may take the place of one that others use.
	yields bool
}

// kept gives those of now with those of before under the keys that are old. One that is
// the same stays as it is; one that differs cannot be two things where chosen ones use
// it too, unless it yields.
func (d definitions[V]) kept(old, chosen []string) (map[string]V, error) {
	out := maps.Clone(d.now)
	if out == nil {
		out = map[string]V{}
	}
	for _, key := range old {
		was, known := d.before[key]
		if !known {
			continue
		}
		was, unchanged := d.same(d.now[key], was)
		if _, stays := d.now[key]; stays && unchanged {
			continue
		}
		switch {
		case !slices.Contains(chosen, key):
			out[key] = was
		case !d.yields:
			return nil, fmt.Errorf("%s %s is another one now, and services that are not released use it as it was", d.kind, key)
		}
	}
	return out, nil
}

// GoBack makes every service of a stack that comes back roll as its rollback_config
// says. What a failure then does stays with update_config: Compose knows no way
// back of a way back.
func (s *Stack) GoBack() {
	for _, svc := range s.Services {
		action := svc.Update.FailureAction
		svc.Update = svc.Rollback
		svc.Update.FailureAction = action
	}
}
