package converge

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

func TestAway(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	step := func(name string, seconds int) release.Step {
		return release.Step{Name: name, Service: "llm", Started: at, Ended: at.Add(time.Duration(seconds) * time.Second)}
	}
	one := map[string]release.ServiceRecord{"llm": {Action: "stop-first", Replicas: 1}}
	records := []release.Record{
		{Outcome: release.Verified, Services: one, Steps: []release.Step{step("stop", 10), step("start", 1), step("gate", 95), step("create", 9)}},
		{Outcome: release.Failed, Services: one, Steps: []release.Step{step("stop", 500)}},
		{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"llm": {Action: "unchanged", Replicas: 1}}},
	}
	st := &stack.Stack{Services: map[string]*stack.Service{"llm": {Update: stack.Update{Monitor: 5 * time.Second}}, "new": {}}}
	assert.Equal(t, map[string]time.Duration{"llm": 101 * time.Second}, away(records, st))

	// One that was never replaced was started once.
	first := []release.Record{{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"llm": {Action: "create", Replicas: 1}},
		Steps: []release.Step{step("create", 2), step("start", 1), step("gate", 65)}}}
	assert.Equal(t, map[string]time.Duration{"llm": 61 * time.Second}, away(first, st))
	several := []release.Record{{Outcome: release.Verified, Services: map[string]release.ServiceRecord{"llm": {Action: "stop-first", Replicas: 2}},
		Steps: []release.Step{step("stop", 2)}}}
	assert.Empty(t, away(several, st), "some of several units always run")
}

// The disk that is measured is the one that images are pulled to.
func TestImagesIn(t *testing.T) {
	t.Parallel()
	info := engine.Info{RootDir: "/data/docker", ImageDir: "/var/lib/containerd"}
	for name, c := range map[string]struct {
		there bool
		err   error
		want  string
	}{
		"there":            {true, nil, "/var/lib/containerd"},
		"somewhere else":   {false, nil, "/data/docker"},
		"it does not tell": {false, errors.New("permission denied"), "/data/docker"},
	} {
		assert.Equal(t, c.want, imagesIn(t.Context(), info, func(_ context.Context, dir string) (bool, error) {
			return c.there && dir == "/var/lib/containerd", c.err
		}), name)
	}
}
