package rollout

import (
	"context"
	"slices"
	"sync"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
)

const (
	// stepsAtOnce bounds the services that come up side by side, startsAtOnce those
	// of them whose units are made or started at the same moment: that is work for
	// the engine, while waiting for their health is none.
	stepsAtOnce  = 16
	startsAtOnce = 4
)

// wave is a run of steps that may be carried out side by side.
type wave struct {
	*Rollout
	steps []plan.Step
	ahead [][]string // by step: what comes before its service

	mu        sync.Mutex
	failed    error // ends the release: no further step begins
	tolerated []error
}

// waves cuts the changes of a plan into runs. Services of which nothing runs yet
// share one; every other step, which users of running units may notice, is a run
// of its own.
func waves(p *plan.Plan) [][]plan.Step {
	var out [][]plan.Step
	for _, step := range p.Steps {
		if !step.Changes() {
			continue
		}
		if n := len(out); n > 0 && step.Action == plan.Create && out[n-1][0].Action == plan.Create {
			out[n-1] = append(out[n-1], step)
			continue
		}
		out = append(out, []plan.Step{step})
	}
	return out
}

// run carries the steps out. After the first that fails no other begins; those
// under way end.
func (w *wave) run(ctx context.Context) error {
	slots := make(chan struct{}, stepsAtOnce)
	ended := make([]chan struct{}, len(w.steps))
	for i, step := range w.steps {
		ended[i] = make(chan struct{})
		w.ahead = append(w.ahead, nil)
		if len(w.steps) > 1 {
			w.ahead[i] = plan.Ahead(w.Stack, step.Service)
		}
	}
	var all sync.WaitGroup
	for i := range w.steps {
		all.Go(func() {
			defer close(ended[i])
			for j := range i {
				if w.inOrder(j, i) {
					<-ended[j]
				}
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			w.carryOne(ctx, w.steps[i])
		})
	}
	all.Wait()
	return w.failed
}

func (w *wave) carryOne(ctx context.Context, step plan.Step) {
	w.mu.Lock()
	over := w.failed != nil
	w.mu.Unlock()
	if over {
		return
	}
	tolerated, err := w.carry(ctx, step)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil && w.failed == nil:
		w.failed = err
	case err != nil:
		w.say(event.Warning, step.Service, "%v", err)
	case tolerated != nil:
		w.tolerated = append(w.tolerated, tolerated)
	}
}

// inOrder tells whether one step has to wait for an earlier one: one of them needs
// the other, or gets its port of the host, both hand over live files, or both move the same
// gateway. The gateway that comes up itself after both has nothing to be moved.
func (w *wave) inOrder(earlier, later int) bool {
	a, b := w.steps[earlier], w.steps[later]
	if slices.Contains(w.ahead[later], a.Service) || slices.Contains(w.ahead[earlier], b.Service) {
		return true
	}
	if len(a.Files) > 0 && len(b.Files) > 0 || slices.Contains(a.Yields, b.Service) {
		return true
	}
	gateway := slices.IndexFunc(w.steps, func(s plan.Step) bool { return s.Service == a.Gateway })
	return a.Gateway != "" && a.Gateway == b.Gateway && gateway < later
}

// hand takes one of the places of the engine's work and gives the way to leave it.
func (r *Rollout) hand() (done func()) {
	r.hands <- struct{}{}
	return func() { <-r.hands }
}
