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
		hash, err := hashOf(c, noUnits)
		if err != nil {
			return err
		}
		s.Project.Services[name] = c
		s.Services[name].Pinned, s.Services[name].Hash, s.Services[name].Made = images[name], hash, ""
	}
	return nil
}

// UnitHash is the hash on a unit of the service that is made now, as far as what runs was
// looked at; Hash is of the release, whatever runs.
func (s *Service) UnitHash() string { return cmp.Or(s.Made, s.Hash) }

// Share is one thing that the units of a service have of another container in the place of
// their own.
type Share struct {
	// Key is the one of the Compose file, Says what it says there: "service:db", "db:ro",
	// "container:legacy".
	Key, Says string
	// Service is whose it is, "" for a container that the file names itself.
	Service string
}

// Namespace tells whether it goes with the container that it is of. Volumes stay with who took
// them.
func (s Share) Namespace() bool { return s.Key != "volumes_from" }

// SharesOf lists what the units of a service have of other containers: the network, the memory,
// the processes, then volumes.
func SharesOf(c types.ContainerSpec) (shares []Share) {
	for _, mode := range [][2]string{{"network_mode", c.NetworkMode}, {"ipc", c.Ipc}, {"pid", c.Pid}} {
		if service, of := OfAnother(mode[1]); of {
			shares = append(shares, Share{mode[0], mode[1], service})
		}
	}
	for _, from := range c.VolumesFrom {
		service, _, _ := strings.Cut(from, ":")
		if strings.HasPrefix(from, types.ContainerPrefix) {
			service = ""
		}
		shares = append(shares, Share{"volumes_from", from, service})
	}
	return shares
}

// OfAnother tells whether a network_mode, ipc or pid is of another container, and of which
// service that is: "" where the file names the container itself.
func OfAnother(mode string) (service string, of bool) {
	if service, of = strings.CutPrefix(mode, types.ServicePrefix); of {
		return service, true
	}
	return "", strings.HasPrefix(mode, types.ContainerPrefix)
}

// ResolvedHash is the hash that Compose writes on a unit of a service that is made beside what
// was seen. It is the service's own Hash unless the service Shares others: then it covers the
// ID of the container that it shares with, and changes when that is replaced.
func (s *Stack) ResolvedHash(service string, seen Observed) (string, error) {
	c, known := s.Project.Services[service]
	if !known {
		return "", fmt.Errorf("project %s has no service %s", s.Name, service)
	}
	// Compose takes the first by name.
	return hashOf(c, func(of string) string {
		units := seen.Of(of)
		if len(units) == 0 {
			return ""
		}
		return slices.MinFunc(units, func(a, b Unit) int { return strings.Compare(a.Name, b.Name) }).ID
	})
}

// noUnits is where nothing of any service runs.
func noUnits(string) string { return "" }

// hashOf is the hash that Compose writes on a unit of a service, where first gives the ID of the
// container that one which it shares with has, "" for none yet. It names a container without
// the word before it in volumes_from, and with it elsewhere.
func hashOf(c types.ServiceConfig, first func(service string) string) (string, error) {
	for _, mode := range []*string{&c.NetworkMode, &c.Ipc, &c.Pid} {
		if service, _ := OfAnother(*mode); service != "" && first(service) != "" {
			*mode = types.ContainerPrefix + first(service)
		}
	}
	c.VolumesFrom = slices.Clone(c.VolumesFrom)
	for i, from := range c.VolumesFrom {
		service, _, _ := strings.Cut(from, ":")
		if name, foreign := strings.CutPrefix(from, types.ContainerPrefix); foreign {
			c.VolumesFrom[i], _, _ = strings.Cut(name, ":")
		} else if id := first(service); id != "" {
			c.VolumesFrom[i] = id
		}
	}
	hash, err := sdk.ServiceHash(c)
	if err != nil {
		return "", fmt.Errorf("hashing service %s: %w", c.Name, err)
	}
	return hash, nil
}
