// Package defaults stands where Swarmkit's own does: see the README of third_party.
package defaults

import (
	"time"

	"github.com/gogo/protobuf/types"
	"github.com/moby/swarmkit/v2/api"
)

// Service has the defaults of a service, as Swarmkit has them.
var Service = api.ServiceSpec{
	Task: api.TaskSpec{
		Container: &api.ContainerSpec{StopGracePeriod: types.DurationProto(10 * time.Second)},
		Restart:   &api.RestartPolicy{Condition: api.RestartOnAny, Delay: types.DurationProto(5 * time.Second)},
	},
	Update:   update(),
	Rollback: update(),
}

func update() *api.UpdateConfig {
	return &api.UpdateConfig{FailureAction: api.UpdateConfig_PAUSE, Monitor: types.DurationProto(5 * time.Second), Parallelism: 1, Order: api.UpdateConfig_STOP_FIRST}
}
