package platform

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	swarmapi "github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/swarm"
	"github.com/shiksha/actions/pkg/target"
)

// fakeManager pauses an update, or has it go on, and takes its time to go back.
type fakeManager struct {
	client.APIClient
	fails bool
	svc   swarmapi.Service
}

func (f *fakeManager) ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error) {
	return client.ServiceListResult{Items: []swarmapi.Service{f.svc}}, nil
}

func (f *fakeManager) ServiceInspect(context.Context, string, client.ServiceInspectOptions) (client.ServiceInspectResult, error) {
	return client.ServiceInspectResult{Service: f.svc}, nil
}

func (f *fakeManager) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	return client.TaskListResult{}, nil
}

func (f *fakeManager) ServiceUpdate(_ context.Context, _ string, o client.ServiceUpdateOptions) (client.ServiceUpdateResult, error) {
	f.svc.Spec, f.svc.UpdateStatus = o.Spec, &swarmapi.UpdateStatus{State: swarmapi.UpdateStateUpdating}
	switch {
	case o.Rollback != "":
		f.svc.UpdateStatus.State = swarmapi.UpdateStateRollbackStarted
	case f.fails:
		f.svc.UpdateStatus.State = swarmapi.UpdateStatePaused
	}
	return client.ServiceUpdateResult{}, nil
}

// A release that is told to end while a service of it goes back is not to be run again; one
// whose service was only on its way is.
func TestASwarmThatGoesBackWhenToldToEnd(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := uint64(1)
			m := &fakeManager{fails: fails, svc: swarmapi.Service{ID: "s", Spec: swarmapi.ServiceSpec{
				Annotations: swarmapi.Annotations{Name: "shop_api"}, Mode: swarmapi.ServiceMode{Replicated: &swarmapi.ReplicatedService{Replicas: &n}},
				TaskTemplate: swarmapi.TaskSpec{ContainerSpec: &swarmapi.ContainerSpec{Image: "api:1"}}}}}
			c := types.ServiceConfig{Name: "api"}
			c.Image = "api:2"
			st := &stack.Stack{Name: "shop", Order: []string{"api"}, Project: &types.Project{Name: "shop", Services: types.Services{"api": c}},
				Services: map[string]*stack.Service{"api": {Name: "api", Pinned: "api:2", Hash: "new", Replicas: 1, Update: stack.Update{FailureAction: stack.Rollback}}}}
			on := onSwarm{&swarm.Swarm{Host: swarm.Host{API: m, Sink: event.Discard}}, &target.Target{Sink: event.Discard}}
			time.AfterFunc(10*time.Second, cancel)
			_, err := on.Carry(grace.Watch(ctx), &plan.Plan{Project: "shop", Steps: []plan.Step{{Service: "api", Action: plan.Surge}}}, st,
				rollout.How{Guard: func(context.Context) error { return nil }})
			require.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
			assert.Equal(t, fails, rollout.HalfBack(err))
			if fails {
				assert.Contains(t, fault.Hint(err), "shiksha rollback")
			}
		})
	}
}
