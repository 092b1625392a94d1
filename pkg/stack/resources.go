package stack

import (
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
)

// UsesGPU tells whether a service reserves a device for computing.
func (s *Stack) UsesGPU(service string) bool {
	c := s.Project.Services[service]
	if len(c.Gpus) > 0 || c.Runtime == "nvidia" {
		return true
	}
	if c.Deploy == nil || c.Deploy.Resources.Reservations == nil {
		return false
	}
	return slices.ContainsFunc(c.Deploy.Resources.Reservations.Devices, func(d types.DeviceRequest) bool {
		return slices.Contains(d.Capabilities, "gpu") || d.Driver == "nvidia"
	})
}

// MemoryLimit is what one unit of a service may use, in bytes; 0 for no limit.
func (s *Stack) MemoryLimit(service string) int64 {
	c := s.Project.Services[service]
	if c.Deploy != nil && c.Deploy.Resources.Limits != nil && c.Deploy.Resources.Limits.MemoryBytes > 0 {
		return int64(c.Deploy.Resources.Limits.MemoryBytes)
	}
	return int64(c.MemLimit)
}
