package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"

	"github.com/shiksha/actions/pkg/fault"
)

// contentLabel carries the hash of configs and secrets whose content is in the
// model. Compose's own hash does not change when they do.
const contentLabel = "com.shiksha.content"

// rewrite turns the model into what the Compose SDK gets to see: files at their
// place on the host, and nothing that changes the hash of a service without
// changing its containers.
func (l *loading) rewrite(s *Stack, p *types.Project) error {
	for _, name := range p.ServiceNames() {
		c := p.Services[name]
		c.Volumes = slices.Clone(c.Volumes)
		if err := l.addFiles(s, p, &c); err != nil {
			return err
		}
		if sum := contentSum(p, c); sum != "" {
			c.Labels = c.Labels.Add(contentLabel, sum)
		}
		for _, v := range c.Volumes {
			if v.Type == types.VolumeTypeImage {
				l.warn("service %s: the image volume %s is not pinned to a digest", name, v.Source)
			}
		}
		strip(&c)
		p.Services[name] = c
	}
	for _, name := range sortedKeys(p.Volumes) {
		if device := p.Volumes[name].DriverOpts["device"]; device != "" && l.ws.lexically(device) {
			return l.input("volumes."+name+".driver_opts.device", "name an absolute path of the host",
				"volumes.%s: device %s is in the workspace, which the host does not have", name, l.ws.rel(device))
		}
	}
	// What is left of file objects has no path of the runner in it.
	for name, config := range p.Configs {
		if config.File != "" {
			delete(p.Configs, name)
		}
	}
	for name, secret := range p.Secrets {
		if secret.File != "" {
			delete(p.Secrets, name)
		}
	}
	p.Extensions, p.DisabledServices, p.Profiles = nil, nil, nil
	var files []string
	for _, f := range l.files {
		files = append(files, path.Join(s.Dir, l.ws.rel(f)))
	}
	place(p, s.Dir, files)
	return nil
}

// place gives the project and the labels of its containers the folder on the
// host, whatever the runner's checkout is called. Compose compares no container
// by them and `docker compose ls` shows them.
func place(p *types.Project, dir string, files []string) {
	p.WorkingDir, p.ComposeFiles = dir, files
	for name, c := range p.Services {
		c.CustomLabels = types.Labels{
			api.ProjectLabel:     p.Name,
			api.ServiceLabel:     name,
			api.VersionLabel:     api.ComposeVersion,
			api.WorkingDirLabel:  dir,
			api.ConfigFilesLabel: strings.Join(files, ","),
			api.OneoffLabel:      "False",
		}
		p.Services[name] = c
	}
}

// strip takes out what says how a service is built, rolled, scaled or
// developed. None of it is part of a container, so none of it may change the
// hash: a service whose `parallelism` changes must not be recreated.
func strip(c *types.ServiceConfig) {
	n := replicas(*c)
	c.Scale = &n
	c.Build, c.Develop, c.Profiles, c.Extends = nil, nil, nil, nil
	c.PullPolicy = types.PullPolicyMissing // pulled before; never again between two units
	c.Extensions = nil                     // read by now, and by nobody else
	if c.Deploy == nil {
		return
	}
	deploy := *c.Deploy
	deploy.UpdateConfig, deploy.RollbackConfig, deploy.Replicas, deploy.Mode = nil, nil, nil, ""
	c.Deploy = &deploy
	if reflect.DeepEqual(deploy, types.DeployConfig{}) {
		c.Deploy = nil
	}
}

// contentSum hashes what the SDK will put into the containers of a service
// itself; "" when that is nothing. The label with it can be read by whoever may
// use the Docker socket, who can read the secret in the container as well; the
// project's name is a salt, so that the same secret in two projects does not
// show as the same and no table made in advance fits.
func contentSum(p *types.Project, c types.ServiceConfig) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", p.Name)
	some := false
	add := func(kind, name string, o types.FileObjectConfig) {
		if o.File != "" || bool(o.External) {
			return
		}
		content := o.Content
		if content == "" && o.Environment != "" {
			content = p.Environment[o.Environment]
		}
		fmt.Fprintf(h, "%s %q %q\n", kind, name, content)
		some = true
	}
	for _, ref := range c.Configs {
		add("config", ref.Source, types.FileObjectConfig(p.Configs[ref.Source]))
	}
	for _, ref := range c.Secrets {
		add("secret", ref.Source, types.FileObjectConfig(p.Secrets[ref.Source]))
	}
	if !some {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Pin names the exact image of every service (repository@sha256:..., or the ID
// of an image that is only on the host) and computes the hash that Compose
// writes on its containers. A service without an image is an error.
func (s *Stack) Pin(images map[string]string) error {
	for _, name := range s.Order {
		if images[name] == "" {
			return fault.New(fault.Refused, "services."+name, "", "no image is known for service %s", name)
		}
	}
	for _, name := range s.Order {
		c := s.Project.Services[name]
		c.Image = images[name]
		hash, err := compose.ServiceHash(c)
		if err != nil {
			return fmt.Errorf("hashing service %s: %w", name, err)
		}
		s.Project.Services[name] = c
		s.Services[name].Pinned, s.Services[name].Hash = images[name], hash
	}
	return nil
}

// ResolvedHash is the hash that Compose writes on the containers of a service
// that Shares others: it puts the ID of the container it shares with in the
// place of the service's name. containers maps those services to that ID. For
// all other services it is the same as Hash.
func (s *Stack) ResolvedHash(service string, containers map[string]string) (string, error) {
	c, ok := s.Project.Services[service]
	if !ok {
		return "", fmt.Errorf("no service %s in the stack", service)
	}
	for _, mode := range []*string{&c.NetworkMode, &c.Ipc, &c.Pid} {
		for name, id := range containers {
			if *mode == types.ServicePrefix+name {
				*mode = types.ContainerPrefix + id
			}
		}
	}
	c.VolumesFrom = slices.Clone(c.VolumesFrom)
	for i, from := range c.VolumesFrom {
		c.VolumesFrom[i] = resolveVolumesFrom(from, containers)
	}
	hash, err := compose.ServiceHash(c)
	if err != nil {
		return "", fmt.Errorf("hashing service %s: %w", service, err)
	}
	return hash, nil
}

// resolveVolumesFrom is one entry of volumes_from ("service", "service:ro",
// "container:name") as Compose hashes it.
func resolveVolumesFrom(from string, containers map[string]string) string {
	name, rest, _ := strings.Cut(from, ":")
	if name == "container" {
		name, _, _ = strings.Cut(rest, ":")
		return name
	}
	if id, ok := containers[name]; ok {
		return id
	}
	return from
}

// Partial is the stack that runs after a release of some services only: the
// selected ones as they are in s, the others as before had them, and none that
// before did not have (nil: there was no release before).
func (s *Stack) Partial(before *Stack, selected []string) *Stack {
	out := *s
	project := *s.Project
	out.Project, out.Services, out.Order = &project, map[string]*Service{}, nil
	project.Services = types.Services{}
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
	}
	return &out
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
