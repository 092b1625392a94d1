package kind

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Two services of workers on one broker: each unit's host is the beginning of its id.
const (
	workerOne, workerTwo, workerGPU = "w@0123456789ab", "w@1123456789ab", "gpu@2123456789ab"
	stranger                        = "w@ffffffffffff"
)

// broker is a stack with two workers and one with a GPU, of which those named answer.
// What they say else is in answers, by the word that asks for it.
func broker(names []string, answers map[string]string, change func(units map[string][]stack.Unit, s *Scene)) func(*testing.T) *Scene {
	return func(*testing.T) *Scene {
		unit := func(service, worker string) stack.Unit {
			_, host, _ := strings.Cut(worker, "@")
			return stack.Unit{ID: host + "cdef", Name: "shop-" + host, Service: service, State: stack.Running}
		}
		units := map[string][]stack.Unit{
			"worker": {unit("worker", workerOne), unit("worker", workerTwo)}, "worker-gpu": {unit("worker-gpu", workerGPU)},
		}
		pong := `{"` + strings.Join(names, `": {"ok": "pong"}, "`) + `": {"ok": "pong"}}`
		s := local(&fakeUnits{units: units})
		s.Services = map[string]release.ServiceRecord{"worker": {}, "worker-gpu": {}}
		s.Stack = &stack.Stack{Services: map[string]*stack.Service{"worker": {}, "worker-gpu": {}}}
		s.Shell = fakeShell{exec: func(_ string, argv, _ []string) (string, string, int) {
			switch {
			case slices.Contains(argv, "ping"):
				return pong, "", 0
			case slices.Contains(argv, "call"):
				return "some-id", "", 0
			case slices.Contains(argv, "result"):
				return "", "", 124
			}
			return answers[argv[len(argv)-4]], "", 0
		}}
		if change != nil {
			change(units, s)
		}
		return s
	}
}

// Every worker of a broker answers: those of another service of the project are neither
// left over nor counted, and a stranger is told by its name alone.
func TestCelery_Services(t *testing.T) {
	t.Parallel()
	everybody := []string{workerOne, workerTwo, workerGPU}
	again := func(units map[string][]stack.Unit, _ *Scene) { units["worker"][1].State = stack.Restarting }
	for name, c := range map[string]struct {
		check   string
		names   []string
		change  func(units map[string][]stack.Unit, s *Scene)
		outcome check.Outcome
		found   string
	}{
		"two services":              {"service: worker", everybody, nil, check.Pass, "2 answer"},
		"the other of them":         {"service: worker-gpu", everybody, nil, check.Pass, "1 answer"},
		"two of this one asked for": {"service: worker, workers: 2", everybody, nil, check.Pass, "2 answer"},
		"one of this one is silent": {"service: worker", []string{workerOne, workerGPU}, nil, check.Fail, "1: " + workerOne},
		"none of this one":          {"service: worker-gpu", []string{workerOne}, nil, check.Fail, "0: nothing"},
		"in the network of another one": {"service: worker-gpu", []string{workerOne}, func(_ map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["worker-gpu"].NetworkMode = "service:worker"
		}, check.Pass, "1 answer"},
		"in the network of a stranger": {"service: worker-gpu", []string{stranger}, func(_ map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["worker-gpu"].NetworkMode = "container:vpn"
		}, check.Pass, "1 answer"},
		"a stranger":             {"service: worker", append([]string{stranger}, everybody...), nil, check.Fail, stranger},
		"another one's own name": {"service: worker", []string{workerOne, workerTwo, "gpu@box"}, nil, check.Pass, "2 answer"},
		"names of their own":     {"service: worker, workers: 3", []string{"a@x", "b@y", workerGPU}, nil, check.Pass, "3 answer"},
		"a service that left": {"service: worker", everybody, func(_ map[string][]stack.Unit, s *Scene) {
			delete(s.Services, "worker-gpu")
		}, check.Fail, workerGPU},
		"only the other was released": {"service: worker", everybody, func(_ map[string][]stack.Unit, s *Scene) {
			delete(s.Services, "worker")
		}, check.Pass, "2 answer"},
		"one that starts again":      {"service: worker", everybody, again, check.Pass, "1 answer"},
		"only one that starts again": {"service: worker", []string{workerTwo, workerGPU}, again, check.Fail, "0: nothing"},
		"nothing was released":       {"service: worker", everybody, func(_ map[string][]stack.Unit, s *Scene) { s.Services = nil }, check.Pass, "2 answer"},
		"somebody's own run of a service": {"service: worker", everybody, func(units map[string][]stack.Unit, _ *Scene) {
			units["worker-gpu"][0].OneOff = true
		}, check.Fail, workerGPU},
	} {
		f := look{check: "celery: {app: app, " + c.check + "}", scene: broker(c.names, nil, c.change)}.at(t, "")
		assert.Equal(t, c.outcome, f.Outcome, "%s: %+v", name, f)
		assert.Contains(t, f.Found, c.found, name)
		if c.outcome == check.Fail {
			assert.Equal(t, c.found, f.Found, "%s: nobody else is told of", name)
		}
	}
}

// Whether a slot is free for a task, and who says what it reads, is asked of the workers
// that are meant.
func TestCelery_WorkersThatAreMeant(t *testing.T) {
	t.Parallel()
	everybody := []string{workerOne, workerTwo, workerGPU}
	slots := `{"` + workerOne + `": {"pool": {"max-concurrency": 1}}, "` + workerTwo + `": {"pool": {"max-concurrency": 1}}, "` + workerGPU + `": {"pool": {"max-concurrency": 1}}}`
	busy := `{"` + workerOne + `": [{"name": "ocr"}], "` + workerTwo + `": [{"name": "ocr"}], "` + workerGPU + `": []}`
	idle := `{"` + workerOne + `": [], "` + workerTwo + `": [{"name": "ocr"}], "` + workerGPU + `": [{"name": "ml"}]}`
	const task, queues = "celery: {app: app, service: worker, task: {name: add}}", "celery: {app: app, service: worker, not_queues: [dead]}"
	for name, c := range map[string]struct {
		check, stats, active, reads string
		outcome                     check.Outcome
		found                       string
	}{
		"a free slot of another service":   {task, slots, busy, "", check.Warn, "all 2 slots have another task"},
		"a free slot of this one":          {task, slots, idle, "", check.Fail, "nothing"},
		"another one alone tells of slots": {task, `{"` + workerGPU + `": {"pool": {"max-concurrency": 1}}}`, idle, "", check.Fail, "nothing"},
		"all say what they read":           {queues, "", "", `{"` + workerOne + `": [], "` + workerTwo + `": [], "` + workerGPU + `": []}`, check.Pass, "2 answer"},
		"one does not say it":              {queues, "", "", `{"` + workerTwo + `": [], "` + workerGPU + `": []}`, check.Unknown, "1 of 3 did not"},
	} {
		answers := map[string]string{"stats": c.stats, "active": c.active, "active_queues": c.reads}
		f := look{check: c.check, scene: broker(everybody, answers, nil)}.at(t, "")
		assert.Equal(t, c.outcome, f.Outcome, "%s: %+v", name, f)
		assert.Contains(t, f.Found, c.found, name)
	}
}
