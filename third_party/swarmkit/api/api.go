// Package api stands where SwarmKit's own does: see the README of third_party. It
// has what Docker's command line asks for the defaults of a service.
package api

import (
	"time"

	"github.com/gogo/protobuf/types"
)

// UpdateConfig_FailureAction is what happens when an update fails.
type UpdateConfig_FailureAction int32

// UpdateConfig_UpdateOrder says which of two tasks starts or stops first.
type UpdateConfig_UpdateOrder int32

// RestartPolicy_RestartCondition says when a task that ended is started again.
type RestartPolicy_RestartCondition int32

// The numbers are those of Swarm's own messages.
const (
	UpdateConfig_PAUSE    UpdateConfig_FailureAction = 0
	UpdateConfig_CONTINUE UpdateConfig_FailureAction = 1
	UpdateConfig_ROLLBACK UpdateConfig_FailureAction = 2

	UpdateConfig_STOP_FIRST  UpdateConfig_UpdateOrder = 0
	UpdateConfig_START_FIRST UpdateConfig_UpdateOrder = 1

	RestartOnNone    RestartPolicy_RestartCondition = 0
	RestartOnFailure RestartPolicy_RestartCondition = 1
	RestartOnAny     RestartPolicy_RestartCondition = 2
)

// UpdateConfig_FailureAction_name names the actions.
var UpdateConfig_FailureAction_name = map[int32]string{0: "PAUSE", 1: "CONTINUE", 2: "ROLLBACK"}

// ServiceSpec is what is read of a service.
type ServiceSpec struct {
	Task             TaskSpec
	Update, Rollback *UpdateConfig
}

// TaskSpec is what is read of a service's tasks.
type TaskSpec struct {
	Container *ContainerSpec
	Restart   *RestartPolicy
}

// GetContainer gives the container of a task.
func (t TaskSpec) GetContainer() *ContainerSpec { return t.Container }

// ContainerSpec is what is read of a container.
type ContainerSpec struct{ StopGracePeriod *types.Duration }

// RestartPolicy says whether and when a task is started again.
type RestartPolicy struct {
	Condition     RestartPolicy_RestartCondition
	Delay, Window *types.Duration
	MaxAttempts   uint64
}

// UpdateConfig says how a service is updated.
type UpdateConfig struct {
	Parallelism     uint64
	Delay           time.Duration
	FailureAction   UpdateConfig_FailureAction
	Monitor         *types.Duration
	MaxFailureRatio float32
	Order           UpdateConfig_UpdateOrder
}
