package swarm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
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
				act := func(ctx context.Context) error { return change.remove(ctx, ctx) }
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

// A new service that is taken back is removed at once; who is told to end meanwhile does not
// wait for its tasks, which have long to end.
func TestToldToEndWhileANewServiceGoesAgain(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			m := &fakeLeaving{gone: 4 * time.Minute}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			change := &change{Swarm: &Swarm{Host: Host{API: m, Sink: event.Discard}}, step: plan.Step{Service: "api"}, id: "s",
				svc:  &stack.Service{Name: "api", StopGrace: 5 * time.Minute, Update: stack.Update{FailureAction: stack.Rollback}},
				span: func(string, string) func() { return func() {} }}
			if time.AfterFunc(after, cancel); after == 0 {
				cancel()
			}
			began := time.Now()
			err := change.undo(grace.Watch(ctx), nil)
			require.ErrorIs(t, err, context.Canceled)
			assert.False(t, m.at.IsZero(), "Swarm was told to remove it")
			assert.LessOrEqual(t, time.Since(began), after+time.Second)
		})
	}
}

// A job that failed, or is at work, does not go on behind a release that went back, and what it was
// is not run in its place.
func TestAJobGoesWithItsRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &fakeLeaving{gone: time.Second}
		change := &change{Swarm: &Swarm{Host: Host{API: m, Sink: event.Discard}}, step: plan.Step{Service: "job"}, id: "s", before: &swarm.Service{},
			svc:  &stack.Service{Name: "job", Job: true, Update: stack.Update{FailureAction: stack.Rollback}},
			span: func(string, string) func() { return func() {} }, goal: goal{hash: "new", job: true}}
		require.NoError(t, change.undo(t.Context(), nil))
		assert.False(t, m.at.IsZero(), "Swarm was told to remove it")
	})
}

// fakeWayBack is a manager whose service's tasks fail, and that takes its time to go back.
type fakeWayBack struct {
	client.APIClient
	service swarm.Service
	back    func()
}

func (f *fakeWayBack) ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error) {
	return client.ServiceListResult{Items: []swarm.Service{f.service}}, nil
}

func (f *fakeWayBack) ServiceInspect(context.Context, string, client.ServiceInspectOptions) (client.ServiceInspectResult, error) {
	return client.ServiceInspectResult{Service: f.service}, nil
}

func (f *fakeWayBack) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	return client.TaskListResult{}, nil
}

func (f *fakeWayBack) ServiceUpdate(_ context.Context, _ string, o client.ServiceUpdateOptions) (client.ServiceUpdateResult, error) {
	if o.Rollback == "" {
		f.service.Spec, f.service.UpdateStatus = o.Spec, &swarm.UpdateStatus{State: swarm.UpdateStatePaused}
		return client.ServiceUpdateResult{}, nil
	}
	f.service.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted}
	f.back()
	return client.ServiceUpdateResult{}, nil
}

// Whoever carries a step out is told that it goes back: to run it again after that is to try
// what was refused.
func TestAChangeThatFailsSaysThatItGoesBack(t *testing.T) {
	t.Parallel()
	for action, want := range map[stack.FailureAction]int{stack.Rollback: 1, stack.Pause: 0} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := uint64(1)
			m := &fakeWayBack{back: func() { time.AfterFunc(time.Second, cancel) }, service: swarm.Service{ID: "s",
				Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "shop_api"}, Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}},
					TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "api:1", Labels: map[string]string{hashLabel: "old"}}}}}}
			went, st := 0, refusedStack()
			st.Services["api"].Update.FailureAction = action
			s := &Swarm{Host: Host{API: m, Sink: event.Discard}, where: map[string]string{}}
			err := s.Change(grace.Watch(ctx), plan.Step{Service: "api", Action: plan.Surge}, Order{Stack: st, GoesBack: func() { went++ },
				Guard: func(context.Context) error { return nil }, Span: func(string, string) func() { return func() {} }})
			require.ErrorContains(t, err, "Swarm paused the update")
			assert.Equal(t, want, went)
			assert.Equal(t, want == 1, errors.Is(err, context.Canceled))
		})
	}
}

// refusedStack is one of an API of which one task runs.
func refusedStack() *stack.Stack {
	c := types.ServiceConfig{Name: "api"}
	c.Image = "api:2"
	return &stack.Stack{Name: "shop", Order: []string{"api"}, Project: &types.Project{Name: "shop", Services: types.Services{"api": c}},
		Services: map[string]*stack.Service{"api": {Name: "api", Image: "api:2", Pinned: "api:2", Hash: "new", Replicas: 1}}}
}
