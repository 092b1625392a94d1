package rollback

import (
	"context"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeWriter runs beside the database.
type fakeWriter struct{ *fakeServer }

func (f fakeWriter) Observe(ctx context.Context, project string) (stack.Observed, error) {
	seen, err := f.fakeServer.Observe(ctx, project)
	seen.Units["worker"] = []stack.Unit{{ID: "worker-1", State: stack.Running}}
	return seen, err
}

// fakeStops remembers the seconds that each container was given to end, nil for its own.
type fakeStops struct {
	client.APIClient
	given map[string]*int
}

func (f *fakeStops) ContainerStop(_ context.Context, id string, o client.ContainerStopOptions) (client.ContainerStopResult, error) {
	f.given[id] = o.Timeout
	return client.ContainerStopResult{}, nil
}

// What writes to the database has the time to end that it was made with: a worker may be
// in the middle of a task of half an hour.
func TestWritersHaveTheirOwnTimeToEnd(t *testing.T) {
	t.Parallel()
	server := &fakeServer{}
	r, _ := restoringShop(t, server, "db")
	api, told := &fakeStops{given: map[string]*int{}}, &event.Recorder{}
	var err error
	r.Engine, err = engine.New(api, event.Discard)
	require.NoError(t, err)
	r.on, r.Sink = fakeWriter{server}, told
	r.stack.Order = append(r.stack.Order, "worker")
	r.stack.Services["worker"] = &stack.Service{Name: "worker", DependsOn: []stack.Dependency{{Service: "db"}}}
	stopped, _, err := r.run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"worker"}, stopped)
	assert.Equal(t, map[string]*int{"worker-1": nil}, api.given)
	assert.Contains(t, told.Events()[len(told.Events())-1].Text, "stop_grace_period")
}
