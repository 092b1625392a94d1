package swarm

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
)

// fakeScheduler is a Swarm of two nodes: a task that it does not want ends some time after
// it was told so, unless its node is deaf.
type fakeScheduler struct {
	client.APIClient
	mu       sync.Mutex
	services []swarm.Service
	tasks    []swarm.Task
	deaf     bool
	// rivals change a service before ours is told, lost is how often a look is cut off.
	rivals, lost int
	told         []string
}

const endsAfter = 9 * time.Second

func (f *fakeScheduler) ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost > 0 {
		f.lost--
		return client.ServiceListResult{}, errors.New("EOF")
	}
	return client.ServiceListResult{Items: append([]swarm.Service(nil), f.services...)}, nil
}

func (f *fakeScheduler) TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return client.TaskListResult{Items: append([]swarm.Task(nil), f.tasks...)}, nil
}

func (f *fakeScheduler) NodeList(context.Context, client.NodeListOptions) (client.NodeListResult, error) {
	node := func(id string) swarm.Node {
		return swarm.Node{ID: id, Description: swarm.NodeDescription{Hostname: "host-" + id}}
	}
	return client.NodeListResult{Items: []swarm.Node{node("n1"), node("n2")}}, nil
}

func (f *fakeScheduler) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{}, nil
}

func (f *fakeScheduler) ServiceUpdate(_ context.Context, id string, o client.ServiceUpdateOptions) (client.ServiceUpdateResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.services {
		svc := &f.services[i]
		if svc.ID != id {
			continue
		}
		if f.rivals > 0 {
			f.rivals--
			svc.Version.Index++
		}
		if svc.Version != o.Version {
			return client.ServiceUpdateResult{}, errors.New("rpc error: code = Unknown desc = update out of sequence")
		}
		svc.Version.Index++
		svc.Spec = o.Spec
		f.told = append(f.told, "update "+id)
		f.end(id)
		return client.ServiceUpdateResult{}, nil
	}
	return client.ServiceUpdateResult{}, errdefs.ErrNotFound
}

func (f *fakeScheduler) ServiceRemove(_ context.Context, id string, _ client.ServiceRemoveOptions) (client.ServiceRemoveResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, svc := range f.services {
		if svc.ID == id {
			f.services = append(f.services[:i:i], f.services[i+1:]...)
			f.told = append(f.told, "remove "+id)
			f.end(id)
			return client.ServiceRemoveResult{}, nil
		}
	}
	return client.ServiceRemoveResult{}, errdefs.ErrNotFound
}

// end has the nodes end the tasks of a service.
func (f *fakeScheduler) end(service string) {
	for i := range f.tasks {
		if f.tasks[i].ServiceID != service {
			continue
		}
		f.tasks[i].DesiredState = swarm.TaskStateShutdown
		if !f.deaf && f.tasks[i].Status.State == swarm.TaskStateRunning {
			time.AfterFunc(endsAfter, func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.tasks[i].Status.State = swarm.TaskStateShutdown
			})
		}
	}
}

// running are the tasks of a service that run.
func (f *fakeScheduler) running(service string) (n int) {
	for _, t := range f.tasks {
		if t.ServiceID == service && t.Status.State == swarm.TaskStateRunning {
			n++
		}
	}
	return n
}

// schedules is a Swarm with a service in each mode; api has a task on each node.
func schedules() *fakeScheduler {
	two, one := uint64(2), uint64(1)
	service := func(key string, mode swarm.ServiceMode) swarm.Service {
		return swarm.Service{ID: key, Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "shop_" + key}, Mode: mode,
			TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{}, Placement: &swarm.Placement{Constraints: []string{"node.role==worker"}}}}}
	}
	task := func(service, node string, state swarm.TaskState) swarm.Task {
		return swarm.Task{ID: service + "-" + node, ServiceID: service, NodeID: node, DesiredState: swarm.TaskStateRunning, Status: swarm.TaskStatus{State: state}}
	}
	job := swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{TotalCompletions: &one}}
	return &fakeScheduler{
		services: []swarm.Service{
			service("db", swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &one}}),
			service("api", swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &two}}),
			service("agent", swarm.ServiceMode{Global: &swarm.GlobalService{}}),
			service("import", job), service("seed", job),
		},
		tasks: []swarm.Task{
			task("db", "n2", swarm.TaskStateRunning), task("api", "n1", swarm.TaskStateRunning), task("api", "n2", swarm.TaskStateRunning),
			task("api", "", swarm.TaskStatePending), task("agent", "n1", swarm.TaskStateRunning), task("agent", "n2", swarm.TaskStateRunning),
			task("import", "n2", swarm.TaskStateRunning), task("seed", "n2", swarm.TaskStateComplete),
		},
	}
}

// What is stopped has no task on any node when Stop ends, and Swarm wants none: whoever
// only stopped a container would meet its successor.
func TestStopOnEveryNode(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fakeScheduler){
		"at once":                 func(*fakeScheduler) {},
		"the manager was away":    func(f *fakeScheduler) { f.lost = 40 },
		"somebody else was first": func(f *fakeScheduler) { f.rivals = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := schedules()
				change(f)
				s := &Swarm{Host: Host{API: f, Sink: event.Discard}, where: map[string]string{}}
				began := time.Now()
				require.NoError(t, s.Stop(t.Context(), "shop", []string{"api", "agent", "import", "seed", "unknown"}))
				assert.GreaterOrEqual(t, time.Since(began), endsAfter)
				for service, want := range map[string]int{"db": 1, "api": 0, "agent": 0, "import": 0} {
					assert.Equal(t, want, f.running(service), service)
				}
				assert.Equal(t, []string{"update api", "update agent", "remove import"}, f.told, "a job that has ended is left")
				for _, svc := range f.services {
					assert.Contains(t, svc.Spec.TaskTemplate.Placement.Constraints, "node.role==worker", "what it was it still is")
				}
				require.NoError(t, s.Stop(t.Context(), "shop", []string{"api", "agent"}))
				assert.Len(t, f.told, 3, "it knows what it was told")
				seen, err := s.Observe(t.Context(), "shop")
				require.NoError(t, err)
				assert.Empty(t, seen.Units["api"], "a plan makes them anew")
				assert.Empty(t, seen.Units["agent"])
			})
		})
	}
}

// A node that does not answer may still run what writes: nobody may go on.
func TestStopWhereANodeDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := schedules()
		f.deaf = true
		s := &Swarm{Host: Host{API: f, Sink: event.Discard}}
		err := s.Stop(t.Context(), "shop", []string{"api"})
		require.ErrorContains(t, err, "2 tasks have not ended after 1m10s; on node host-n1 api-n1 is running")
		assert.ErrorContains(t, err, "docker node rm --force host-n2")
	})
}

// A run that is told to end waits for no node.
func TestStopIsCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := schedules()
		f.deaf = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := &Swarm{Host: Host{API: f, Sink: event.Discard}}
		require.ErrorIs(t, s.Stop(ctx, "shop", []string{"api"}), context.DeadlineExceeded)
		assert.Equal(t, []string{"update api"}, f.told)
	})
}
