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
	differs := func(kind, key string) error {
		return fmt.Errorf("%s %s is another one now, and services that are not released use it as it was", kind, key)
	}
	yields := func(string, string) error { return nil }
	files := func(a, b types.FileObjectConfig) bool {
		return a.Name == b.Name && a.Content == b.Content && a.File == b.File && a.External == b.External
	}
	if project.Networks, err = kept("network", project.Networks, before.Networks, old.networks, u.networks, differs, sameBy(func(n types.NetworkConfig) (string, error) { return sdk.NetworkHash(&n) })); err != nil {
		return err
	}
	if project.Volumes, err = kept("volume", project.Volumes, before.Volumes, old.volumes, u.volumes, differs, sameBy(sdk.VolumeHash)); err != nil {
		return err
	}
	project.Configs, err = kept("config", project.Configs, before.Configs, old.configs, u.configs, yields, func(a, b types.ConfigObjConfig) (types.ConfigObjConfig, bool) {
		now := resolved(types.FileObjectConfig(a), project.Environment)
		was := resolved(types.FileObjectConfig(b), before.Environment)
		return types.ConfigObjConfig(was), files(now, was)
	})
	if err != nil {
		return err
	}
	project.Secrets, err = kept("secret", project.Secrets, before.Secrets, old.secrets, u.secrets, yields, func(a, b types.SecretConfig) (types.SecretConfig, bool) {
		now := resolved(types.FileObjectConfig(a), project.Environment)
		was := resolved(types.FileObjectConfig(b), before.Environment)
		return types.SecretConfig(was), files(now, was)
	})
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

// kept gives definitions with those of before under the keys that are old. One that is
// the same stays as it is; of one that differs and is used as it is now too, both says
// whether that may stay.
func kept[V any](kind string, now, before map[string]V, old, chosen []string, both func(kind, key string) error, same func(now, before V) (V, bool)) (map[string]V, error) {
	out := maps.Clone(now)
	if out == nil {
		out = map[string]V{}
	}
	for _, key := range old {
		was, known := before[key]
		if !known {
			continue
		}
		was, unchanged := same(now[key], was)
		if _, stays := now[key]; stays && unchanged {
			continue
		}
		if slices.Contains(chosen, key) {
			if err := both(kind, key); err != nil {
				return nil, err
			}
			continue
		}
		out[key] = was
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
