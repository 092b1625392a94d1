package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"reflect"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// contentLabel carries the hash of configs and secrets whose content is in the
// model. Compose's own hash does not change when they do.
const contentLabel = "com.shiksha.content"

// rewrite turns the model into what the Compose SDK gets to see: files at their
// place on the host, and nothing that changes the hash of a service without
// changing its containers.
func (l *loading) rewrite(s *stack.Stack, p *types.Project) error {
	l.shut = map[string][]string{}
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
	l.warnOfShut()
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
	// Models that are left are those of services of profiles that are not active.
	p.Extensions, p.DisabledServices, p.Profiles, p.Models = nil, nil, nil, nil
	var files []string
	for _, f := range l.files {
		files = append(files, path.Join(s.Dir, l.ws.rel(f)))
	}
	stack.Label(p, s.Dir, files)
	return nil
}

// inactive lists the services that are in no active profile, with their profiles.
func inactive(p *types.Project) map[string][]string {
	var out map[string][]string
	for name, c := range p.DisabledServices {
		if out == nil {
			out = map[string][]string{}
		}
		out[name] = append([]string{}, c.Profiles...)
	}
	return out
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
