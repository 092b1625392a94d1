package rollout

import (
	"context"
	"slices"

	"github.com/shiksha/actions/pkg/plan"
)

// handover is ports of the host that one service has given up to another.
type handover struct{ from, to string }

// replies tells whether users are answered again after a step that interrupted them: not
// before all who take the place of others are up.
func (r *Rollout) replies(step plan.Step) bool {
	r.giveUp(step)
	r.answered(func(h handover) bool { return h.to == step.Service })
	r.writing.Lock()
	defer r.writing.Unlock()
	return len(step.Before)+len(r.awaited) == 0
}

// giveUp notes whose ports a step gives up, once its units are to end.
func (r *Rollout) giveUp(step plan.Step) {
	r.writing.Lock()
	defer r.writing.Unlock()
	for _, name := range step.Yields {
		if h := (handover{step.Service, name}); !slices.Contains(r.awaited, h) {
			r.awaited = append(r.awaited, h)
		}
	}
}

// answered notes whose ports somebody has again.
func (r *Rollout) answered(is func(handover) bool) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.awaited = slices.DeleteFunc(r.awaited, is)
}

// takeBack notes that units which were to end run again, with their ports. Those of units that
// an earlier batch has replaced are gone all the same.
func (b *batch) takeBack() {
	if len(b.good) == len(b.step.Good) {
		b.answered(func(h handover) bool { return h.from == b.step.Service })
	}
}

// restart starts the old units again.
func (b *batch) restart(ctx context.Context) error {
	err := b.Units.Restart(ctx, b.old)
	if err == nil {
		b.takeBack()
	}
	return err
}

// unanswered are the services that nobody may be answered by when a rollout was told to stop:
// the one that could not be left serving, and those whose ports nobody has yet.
func (r *Rollout) unanswered(service string, err error) []string {
	r.writing.Lock()
	defer r.writing.Unlock()
	var names []string
	if Away(err) {
		names = append(names, service)
	}
	for _, h := range r.awaited {
		if !slices.Contains(names, h.to) {
			names = append(names, h.to)
		}
	}
	return names
}
