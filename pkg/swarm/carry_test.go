package swarm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeLossyManager has one service and loses the answer to an update, which it has taken or
// not. For some looks after that it does not answer at all.
type fakeLossyManager struct {
	client.APIClient
	service swarm.Service
	takes   bool
	answer  error
	away    int
}

func (f *fakeLossyManager) ServiceUpdate(_ context.Context, _ string, o client.ServiceUpdateOptions) (client.ServiceUpdateResult, error) {
	if f.takes {
		f.service.Spec = o.Spec
		f.service.Version.Index++
	}
	return client.ServiceUpdateResult{}, f.answer
}

func (f *fakeLossyManager) ServiceInspect(context.Context, string, client.ServiceInspectOptions) (client.ServiceInspectResult, error) {
	if f.away--; f.away >= 0 {
		return client.ServiceInspectResult{}, errors.New("EOF")
	}
	return client.ServiceInspectResult{Service: f.service}, nil
}

func (f *fakeLossyManager) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	return client.TaskListResult{}, nil
}

// Swarm rolls an update whose answer was lost: it has to be followed as any other.
func TestAnUpdateWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	spec := func(hash string) swarm.ServiceSpec {
		return swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Labels: map[string]string{hashLabel: hash}}}}
	}
	lost := errors.New("connection reset by peer")
	for name, c := range map[string]struct {
		manager fakeLossyManager
		fails   string
	}{
		"answered":              {fakeLossyManager{takes: true}, ""},
		"taken":                 {fakeLossyManager{takes: true, answer: lost}, ""},
		"taken, and away":       {fakeLossyManager{takes: true, answer: lost, away: 2}, ""},
		"not taken":             {fakeLossyManager{answer: lost}, "connection reset by peer"},
		"not taken, and away":   {fakeLossyManager{answer: lost, away: 2}, "connection reset by peer"},
		"refused, and not seen": {fakeLossyManager{answer: errdefs.ErrInvalidArgument.WithMessage("no such network"), away: 1000}, "Swarm does not take it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := c.manager
			m.service = swarm.Service{ID: "s", Spec: spec("old"), Meta: swarm.Meta{Version: swarm.Version{Index: 7}}}
			before := m.service
			change := &change{Swarm: &Swarm{Host: Host{API: &m, Sink: event.Discard}}, svc: &stack.Service{Name: "api"}, step: plan.Step{Service: "api"},
				id: "s", before: &before, goal: goal{hash: "new"}}
			err := change.update(t.Context(), spec("new"), "")
			if c.fails == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, c.fails)
		})
	}
}

// fakeLeaving is a manager whose task is gone some time after its service was removed.
type fakeLeaving struct {
	client.APIClient
	gone time.Duration
	at   time.Time
}

func (f *fakeLeaving) ServiceRemove(context.Context, string, client.ServiceRemoveOptions) (client.ServiceRemoveResult, error) {
	f.at = time.Now().Add(f.gone)
	return client.ServiceRemoveResult{}, nil
}

func (f *fakeLeaving) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	return client.TaskListResult{Items: []swarm.Task{taskOf(0, "1 old running")}}, nil
}

func (f *fakeLeaving) TaskInspect(context.Context, string, client.TaskInspectOptions) (client.TaskInspectResult, error) {
	if time.Now().Before(f.at) {
		return client.TaskInspectResult{}, nil
	}
	return client.TaskInspectResult{}, errdefs.ErrNotFound
}

// A service that is taken away has the time to end that the file gives it.
func TestAServiceThatEndsSlowly(t *testing.T) {
	t.Parallel()
	grace := 5 * time.Minute
	for name, c := range map[string]struct {
		left, made *time.Duration // the grace of what was, and of what is taken back
		gone       time.Duration
		fails      string
	}{
		"at once":                   {nil, nil, time.Second, ""},
		"within its grace":          {&grace, nil, 90 * time.Second, ""},
		"beyond what it asks for":   {nil, nil, 90 * time.Second, "1 of its tasks are not gone after 1m0s"},
		"never":                     {&grace, nil, time.Hour, "1 of its tasks are not gone after 6m0s"},
		"a new one that goes again": {nil, &grace, 4 * time.Minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				change := &change{Swarm: &Swarm{Host: Host{API: &fakeLeaving{gone: c.gone}, Sink: event.Discard}}, step: plan.Step{Service: "api"}, id: "s",
					span: func(string, string) func() { return func() {} }}
				act := change.remove
				if c.made != nil {
					change.svc = &stack.Service{Name: "api", StopGrace: *c.made, Update: stack.Update{FailureAction: stack.Rollback}}
					act = func(ctx context.Context) error { return change.undo(ctx, nil) }
				} else {
					change.before = &swarm.Service{Spec: swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{StopGracePeriod: c.left}}}}
				}
				err := act(t.Context())
				if c.fails == "" {
					require.NoError(t, err)
					return
				}
				assert.ErrorContains(t, err, c.fails)
			})
		})
	}
}

// Who is told to end while a service goes back leaves the rest of it to Swarm: the time is
// for the record.
func TestToldToEndWhileAServiceGoesBack(t *testing.T) {
	t.Parallel()
	for _, drains := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := uint64(1)
			spec := swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}},
				TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "api:1", Labels: map[string]string{hashLabel: "old"}}}}
			m := &fakeLossyManager{takes: true, service: swarm.Service{ID: "s", Spec: spec}}
			before := m.service
			change := &change{Swarm: &Swarm{Host: Host{API: m, Sink: event.Discard}}, step: plan.Step{Service: "api"}, id: "s", before: &before,
				svc:  &stack.Service{Name: "api", Replicas: 1, Update: stack.Update{FailureAction: stack.Rollback}},
				span: func(string, string) func() { return func() {} }, goal: goal{hash: "new", replicas: 1}}
			if drains {
				change.svc.Ext.Idle = &stack.Idle{}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(10*time.Second, cancel)
			began := time.Now()
			err := change.undo(grace.Watch(ctx), nil)
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, uint64(1), m.service.Version.Index, "it was given back")
			assert.LessOrEqual(t, time.Since(began), 10*time.Second+grace.Acts)
		})
	}
}
