package deploy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeLooks are what a closer look at units tells; one that it has not is gone.
type fakeLooks map[string]stack.Unit

func (f fakeLooks) Inspect(_ context.Context, id string) (stack.Unit, error) {
	if u, ok := f[id]; ok {
		return u, nil
	}
	return stack.Unit{}, errors.New("no such container")
}

// A job that ended well is done and not down, one that failed is down. Since when a
// service runs is when it was started last, and how often it was is told: a list of
// containers says neither.
func TestStatuses(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	unit := func(id string, state stack.State) stack.Unit {
		return stack.Unit{ID: id, State: state, Hash: "h", Created: made}
	}
	seen := stack.Observed{Units: map[string][]stack.Unit{
		"api":     {unit("api-1", stack.Running), unit("api-2", stack.Running)},
		"gone":    {unit("gone-1", stack.Running)},
		"prepare": {unit("prepare-1", stack.Exited)},
		"seed":    {unit("seed-1", stack.Exited)},
		"worker":  {unit("worker-1", stack.Exited)},
	}}
	ended := func(id string, code int) stack.Unit {
		u := unit(id, stack.Exited)
		u.ExitCode, u.StartedAt = code, made.Add(time.Hour)
		return u
	}
	started := func(id string, after time.Duration, restarts int) stack.Unit {
		u := unit(id, stack.Running)
		u.StartedAt, u.Restarts = made.Add(after), restarts
		return u
	}
	verified := release.Record{Services: map[string]release.ServiceRecord{}, Model: []byte(`{"services": {"api": {"depends_on": {
		"prepare": {"condition": "service_completed_successfully"}, "seed": {"condition": "service_completed_successfully"}}}}}`)}
	for name, units := range seen.Units {
		verified.Services[name] = release.ServiceRecord{Image: name, Hash: "h", Replicas: len(units)}
	}
	seen = closer(t.Context(), fakeLooks{"api-1": started("api-1", time.Hour, 0), "api-2": started("api-2", 2*time.Hour, 9),
		"prepare-1": ended("prepare-1", 0), "seed-1": ended("seed-1", 1), "worker-1": ended("worker-1", 0)}, seen)
	assert.Equal(t, []ServiceStatus{
		{Service: "api", Image: "api", Wanted: 2, Serving: 2, Restarts: 9, Since: made.Add(2 * time.Hour)},
		{Service: "gone", Image: "gone", Wanted: 1, Serving: 1, Since: made},
		{Service: "prepare", Image: "prepare", Wanted: 1, Done: 1},
		{Service: "seed", Image: "seed", Wanted: 1},
		{Service: "worker", Image: "worker", Wanted: 1},
	}, statuses(seen, verified))
}

// A rollback runs no job again: what the newer release left of one is done, and no unit
// that somebody made. One that is at work is.
func TestStatuses_JobsAfterARollback(t *testing.T) {
	t.Parallel()
	verified := release.Record{Services: map[string]release.ServiceRecord{"api": {Image: "api", Hash: "v1", Replicas: 1}, "prepare": {Image: "prepare", Hash: "v1", Replicas: 1}},
		Model: []byte(`{"services": {"api": {"depends_on": {"prepare": {"condition": "service_completed_successfully"}}}}}`)}
	for want, u := range map[ServiceStatus]stack.Unit{
		{Service: "prepare", Image: "prepare", Wanted: 1, Done: 1}:    {State: stack.Exited, Hash: "v2"},
		{Service: "prepare", Image: "prepare", Wanted: 1}:             {State: stack.Exited, ExitCode: 1, Hash: "v2"},
		{Service: "prepare", Image: "prepare", Wanted: 1, Foreign: 1}: {State: stack.Running, Hash: "v2"},
	} {
		seen := stack.Observed{Units: map[string][]stack.Unit{"api": {{State: stack.Exited, Hash: "v2"}}, "prepare": {u}}}
		assert.Equal(t, []ServiceStatus{{Service: "api", Image: "api", Wanted: 1, Foreign: 1}, want}, statuses(seen, verified))
	}
}

// A Swarm's manager knows no container, and makes a new task of one that ended.
func TestASwarmIsNotLookedInto(t *testing.T) {
	t.Parallel()
	seen := stack.Observed{Scheduled: true, Units: map[string][]stack.Unit{"prepare": {{ID: "1", State: stack.Exited}}}}
	got := closer(t.Context(), fakeLooks{"1": {ID: "1", ExitCode: 1}}, seen)
	assert.Equal(t, seen, got)
}
