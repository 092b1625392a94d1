// Package api stands where Swarmkit's own does: see the README of third_party. It has
// the few types that the docker command's flags of a service are described by.
package api

import (
	"time"

	"github.com/gogo/protobuf/types"
)

// The numbers of what happens when an update fails, in which order it goes, and when
// a task is restarted.
type (
	UpdateConfig_FailureAction     int32
	UpdateConfig_UpdateOrder       int32
	RestartPolicy_RestartCondition int32
)

// As Swarmkit numbers them.
const (
	UpdateConfig_PAUSE UpdateConfig_FailureAction = 0

	UpdateConfig_STOP_FIRST  UpdateConfig_UpdateOrder = 0
	UpdateConfig_START_FIRST UpdateConfig_UpdateOrder = 1

	RestartOnNone    RestartPolicy_RestartCondition = 0
	RestartOnFailure RestartPolicy_RestartCondition = 1
	RestartOnAny     RestartPolicy_RestartCondition = 2
)

// UpdateConfig_FailureAction_name names the actions.
var UpdateConfig_FailureAction_name = map[int32]string{0: "PAUSE", 1: "CONTINUE", 2: "ROLLBACK"}

// UpdateConfig is how a service is rolled.
type UpdateConfig struct {
	Parallelism     uint64
	Delay           time.Duration
	FailureAction   UpdateConfig_FailureAction
	Monitor         *types.Duration
	MaxFailureRatio float32
	Order           UpdateConfig_UpdateOrder
}

// RestartPolicy is when a task is restarted.
type RestartPolicy struct {
	Condition     RestartPolicy_RestartCondition
	Delay, Window *types.Duration
	MaxAttempts   uint64
}

// ContainerSpec is what a task runs.
type ContainerSpec struct{ StopGracePeriod *types.Duration }

// TaskSpec is a task.
type TaskSpec struct {
	Container *ContainerSpec
	Restart   *RestartPolicy
}

// GetContainer gives what it runs.
func (t TaskSpec) GetContainer() *ContainerSpec { return t.Container }

// ServiceSpec is a service.
type ServiceSpec struct {
	Task             TaskSpec
	Update, Rollback *UpdateConfig
}
