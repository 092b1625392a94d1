package swarm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeRefusing is a manager of one worker. It does not take the first update, or takes
// it and rolls it back by itself, and then knows no spec before it.
type fakeRefusing struct {
	client.APIClient
	service swarm.Service
	refuses error
	updates int
	auth    []string
}

func (f *fakeRefusing) ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error) {
	return client.ServiceListResult{Items: []swarm.Service{f.service}}, nil
}

func (f *fakeRefusing) ServiceInspect(context.Context, string, client.ServiceInspectOptions) (client.ServiceInspectResult, error) {
	return client.ServiceInspectResult{Service: f.service}, nil
}

func (f *fakeRefusing) ServiceUpdate(_ context.Context, _ string, o client.ServiceUpdateOptions) (client.ServiceUpdateResult, error) {
	if f.updates++; f.updates == 1 {
		if f.refuses == nil {
			f.service.Version.Index += 2
			f.service.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted}
		}
		return client.ServiceUpdateResult{}, f.refuses
	}
	if o.EncodedRegistryAuth == "" && o.RegistryAuthFrom == swarm.RegistryAuthFromPreviousSpec && f.service.PreviousSpec == nil {
		return client.ServiceUpdateResult{}, errors.New("service does not have a previous spec")
	}
	f.auth = append(f.auth, o.EncodedRegistryAuth)
	f.service.Spec, f.service.UpdateStatus = o.Spec, nil
	return client.ServiceUpdateResult{}, nil
}

// TaskList has one task, made of what the service is.
func (f *fakeRefusing) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	t := taskOf(0, "1 old running")
	t.Spec = f.service.Spec.TaskTemplate
	return client.TaskListResult{Items: []swarm.Task{t}}, nil
}

func (f *fakeRefusing) ConfigList(context.Context, client.ConfigListOptions) (client.ConfigListResult, error) {
	return client.ConfigListResult{}, errors.New("the store of the Swarm is away")
}

// Workers that were told to take no more work begin anew whatever came of their update:
// also where Swarm has rolled it back, or has not taken it.
func TestDrainedWorkersBeginAnew(t *testing.T) {
	t.Parallel()
	const plain, mounting = "services:\n  worker: {image: registry.example.org/worker}\n",
		"services:\n  worker: {image: registry.example.org/worker, volumes: [\"./site.conf:/etc/site.conf:ro\"]}\n"
	for name, c := range map[string]struct {
		refuses    error
		file, says string
		action     stack.FailureAction
	}{
		"rolled back by Swarm":  {nil, plain, "Swarm rolled the update back", stack.Rollback},
		"not taken":             {errdefs.ErrInvalidArgument.WithMessage("no such network"), plain, "Swarm does not take it", stack.Rollback},
		"not taken, and paused": {errdefs.ErrInvalidArgument.WithMessage("no such network"), plain, "Swarm does not take it", stack.Pause},
		"not submitted":         {nil, mounting, "the store of the Swarm is away", stack.Rollback},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, o := refusing(t, c.file)
			m.refuses = c.refuses
			if c.file == mounting {
				m.updates = 1 // the one that is not come to
			}
			o.Stack.Services["worker"].Update.FailureAction = c.action
			synctest.Test(t, func(t *testing.T) {
				s := &Swarm{Host: Host{API: m, Sink: event.Discard}, where: map[string]string{}}
				err := s.Change(t.Context(), plan.Step{Service: "worker", Action: plan.Drain}, o)
				require.ErrorContains(t, err, c.says)
				assert.NotContains(t, err.Error(), "going back")
				assert.Equal(t, uint64(5), m.service.Spec.TaskTemplate.ForceUpdate, "its task is a new one")
				assert.Equal(t, "old", hashOf(m.service.Spec.TaskTemplate))
			})
		})
	}
}

// refusing is such a manager, and the order to change its worker.
func refusing(t *testing.T, file string) (*fakeRefusing, Order) {
	t.Helper()
	st := adapted(t, newSwarm(true), "", file)
	svc := st.Services["worker"]
	svc.Ext.Idle, svc.Update.FailureAction = &stack.Idle{}, stack.Rollback
	one := uint64(1)
	m := &fakeRefusing{service: swarm.Service{ID: "s", Meta: swarm.Meta{Version: swarm.Version{Index: 7}}, Spec: swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "shop_worker"}, Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &one}},
		TaskTemplate: swarm.TaskSpec{ForceUpdate: 4, ContainerSpec: &swarm.ContainerSpec{Image: "registry.example.org/worker", Labels: map[string]string{hashLabel: "old"}}}}}}
	return m, Order{Stack: st, Release: 2, Guard: func(context.Context) error { return nil }, Span: func(string, string) func() { return func() {} }}
}

// What ended the release does not end the way back of its workers too.
func TestDrainedWorkersBeginAnewWhateverTheGuardSays(t *testing.T) {
	t.Parallel()
	m, o := refusing(t, "services:\n  worker: {image: registry.example.org/worker}\n")
	m.refuses = errdefs.ErrInvalidArgument.WithMessage("no such network")
	o.Guard = func(context.Context) error { return fault.New(fault.Failed, "", "", "users lose requests") }
	synctest.Test(t, func(t *testing.T) {
		s := &Swarm{Host: Host{API: m, Sink: event.Discard}, where: map[string]string{}}
		err := s.Change(t.Context(), plan.Step{Service: "worker", Action: plan.Drain}, o)
		require.ErrorContains(t, err, "Swarm does not take it")
		assert.NotContains(t, err.Error(), "users lose requests")
		assert.Equal(t, uint64(5), m.service.Spec.TaskTemplate.ForceUpdate)
	})
}

// Nodes pull what begins anew by the login of this release: that of the one before may
// have ended with its job.
func TestWhatBeginsAnewIsPulledByTheLoginOfThisRelease(t *testing.T) {
	t.Parallel()
	m, o := refusing(t, "services:\n  worker: {image: registry.example.org/worker}\n")
	o.Login = engine.Auth{Registry: "registry.example.org", Username: "ci", Password: "fresh"}
	synctest.Test(t, func(t *testing.T) {
		s := &Swarm{Host: Host{API: m, Sink: event.Discard}, where: map[string]string{}}
		require.Error(t, s.Change(t.Context(), plan.Step{Service: "worker", Action: plan.Drain}, o))
		want, err := o.Login.Header("registry.example.org/worker")
		require.NoError(t, err)
		assert.Equal(t, []string{want}, m.auth)
	})
}
