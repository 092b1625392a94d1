// Package defaults has Swarm's defaults of a service, for Docker's command line.
package defaults

import (
	"github.com/gogo/protobuf/types"
	"github.com/moby/swarmkit/v2/api"
)

// Service is a service of which nothing was said.
var Service = api.ServiceSpec{
	Task: api.TaskSpec{
		Container: &api.ContainerSpec{StopGracePeriod: &types.Duration{Seconds: 10}},
		Restart:   &api.RestartPolicy{Condition: api.RestartOnAny, Delay: &types.Duration{Seconds: 5}},
	},
	Update: update(), Rollback: update(),
}

func update() *api.UpdateConfig {
	return &api.UpdateConfig{Parallelism: 1, Monitor: &types.Duration{Seconds: 5}}
}
