package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeEnding is a unit that takes its time to end, as its engine sees it: what takes longer
// than it is given is killed.
type fakeEnding struct {
	client.APIClient
	takes   time.Duration
	exit    int  // of one that ends by itself
	oom     bool // of one that is killed
	own     *int
	stopped bool
	given   *int
}

func (f *fakeEnding) ContainerInspect(context.Context, string, client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	c := container.InspectResponse{State: &container.State{Running: !f.stopped}, HostConfig: &container.HostConfig{}, Config: &container.Config{StopTimeout: f.own}}
	if f.stopped {
		c.State.ExitCode, c.State.OOMKilled = f.exit, f.oom
	}
	return client.ContainerInspectResult{Container: c}, nil
}

func (f *fakeEnding) ContainerStop(_ context.Context, _ string, o client.ContainerStopOptions) (client.ContainerStopResult, error) {
	limit := stack.DefaultGrace
	for _, s := range []*int{f.own, o.Timeout} {
		if s != nil {
			limit = time.Duration(*s) * time.Second
		}
	}
	if limit < 0 {
		limit = time.Hour
	}
	f.given = o.Timeout
	if !f.stopped {
		time.Sleep(min(f.takes, limit))
		if f.takes > limit {
			f.exit = 137
		}
	}
	f.stopped = true
	return client.ContainerStopResult{}, nil
}

// A unit that does not end in its time is killed with what it was doing, at each release
// and without a word: SIGTERM may never have reached its program.
func TestWhoIsKilledAtTheEndOfItsGraceIsTold(t *testing.T) {
	t.Parallel()
	seconds := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		unit    fakeEnding
		grace   time.Duration
		service bool
		given   *int // nil is what the unit was made with
		says    string
	}{
		"killed":               {fakeEnding{takes: time.Hour, own: seconds(300)}, 5 * time.Minute, true, seconds(300), "did not end within 5m0s and was killed"},
		"ends in time":         {fakeEnding{takes: time.Minute, own: seconds(300)}, 5 * time.Minute, true, seconds(300), ""},
		"the file gives more":  {fakeEnding{takes: time.Minute}, 5 * time.Minute, true, seconds(300), ""},
		"the file gives less":  {fakeEnding{takes: time.Minute, own: seconds(300)}, 10 * time.Second, true, nil, ""},
		"less, and killed":     {fakeEnding{takes: time.Hour, own: seconds(300)}, 10 * time.Second, true, nil, "did not end within 5m0s and was killed"},
		"its own":              {fakeEnding{takes: time.Hour}, stack.OwnGrace, false, nil, "did not end within 10s and was killed"},
		"without an end":       {fakeEnding{takes: time.Minute, own: seconds(-1)}, time.Second, true, nil, ""},
		"out of memory":        {fakeEnding{takes: time.Hour, oom: true}, 10 * time.Second, true, seconds(10), ""},
		"ended with 137 soon":  {fakeEnding{takes: time.Second, exit: 137}, 10 * time.Second, true, seconds(10), ""},
		"in a hurry":           {fakeEnding{takes: time.Minute, own: seconds(300)}, 2 * time.Second, false, seconds(2), ""},
		"killed as it asks to": {fakeEnding{takes: time.Minute, own: seconds(0)}, 0, true, seconds(0), ""},
		"down before":          {fakeEnding{stopped: true, exit: 137}, 10 * time.Second, true, seconds(10), ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &event.Recorder{}
				e, err := New(&c.unit, rec)
				require.NoError(t, err)
				e.remember("1", "shop-worker-1")
				if c.service {
					s := &stack.Stack{Name: "shop", Project: &types.Project{}}
					require.NoError(t, e.StopService(t.Context(), s, "worker", []string{"1"}, c.grace))
				} else {
					require.NoError(t, e.Stop(t.Context(), []string{"1"}, c.grace))
				}
				assert.Equal(t, c.given, c.unit.given)
				if c.says == "" {
					assert.Empty(t, rec.Events())
					return
				}
				require.Len(t, rec.Events(), 1)
				told := rec.Events()[0]
				assert.Equal(t, event.Warning, told.Level)
				assert.Equal(t, "shop-worker-1", told.Unit)
				assert.Contains(t, told.Text, c.says)
				assert.Contains(t, told.Text, "init: true")
			})
		})
	}
}
