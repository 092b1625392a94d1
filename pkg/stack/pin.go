package stack

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	sdk "github.com/docker/compose/v5/pkg/compose"
)

// Pin names the exact image of every service (repository@sha256:..., or the ID
// of an image that is only on the host) and computes the hash that Compose
// writes on its containers. A service without an image is an error, and then none
// is pinned.
func (s *Stack) Pin(images map[string]string) error {
	for _, name := range s.Order {
		if images[name] == "" {
			return fmt.Errorf("services.%s: no image is known for service %s", name, name)
		}
	}
	for _, name := range s.Order {
		c := s.Project.Services[name]
		c.Image = images[name]
		hash, err := sdk.ServiceHash(c)
		if err != nil {
			return fmt.Errorf("hashing service %s: %w", name, err)
		}
		s.Project.Services[name] = c
		s.Services[name].Pinned, s.Services[name].Hash, s.Services[name].Made = images[name], hash, ""
	}
	return nil
}

// UnitHash is the hash on a unit of the service that is made now, as far as what runs was
// looked at; Hash is of the release, whatever runs.
func (s *Service) UnitHash() string { return cmp.Or(s.Made, s.Hash) }

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
	hash, err := sdk.ServiceHash(c)
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
