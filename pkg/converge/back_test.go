package converge

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeTakenOver is a host on which units run, written as "service-number", and "!" where
// one has ended.
type fakeTakenOver struct {
	Platform
	runs    string
	removed []string
}

func (*fakeTakenOver) Adapt(context.Context, *stack.Stack) error { return nil }

func (f *fakeTakenOver) Observe(context.Context, string) (stack.Observed, error) {
	return observed(f.runs), nil
}

func (f *fakeTakenOver) Carry(_ context.Context, p *plan.Plan, _ *stack.Stack, _ rollout.How) (rollout.Report, error) {
	for _, s := range p.Steps {
		f.removed = append(f.removed, string(s.Action)+" "+s.Service)
	}
	return rollout.Report{}, nil
}

func observed(runs string) stack.Observed {
	units := map[string][]stack.Unit{}
	for _, id := range strings.Fields(runs) {
		u := stack.Unit{ID: strings.TrimSuffix(id, "!"), State: stack.Running}
		if id != u.ID {
			u.State = stack.Exited
		}
		u.Service, _, _ = strings.Cut(id, "-")
		units[u.Service] = append(units[u.Service], u)
	}
	return stack.Observed{Units: units}
}

// What another tool started is in no ledger and cannot be made again: a first release
// that fails over it takes none of it away, nor what it was replaced with.
func TestAFirstReleaseOverWhatRunsFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, now, touched string
		removed              string
		kind                 fault.Kind
		says                 string
	}{
		"the one that failed runs again": {"db-1 api-1", "db-1 api-1", "api", "", fault.Failed, "what ran before serves again"},
		"another was replaced":           {"db-1 api-1", "db-2 api-1", "db api", "", fault.Failed, "what was changed stays"},
		"all were replaced":              {"db-1 api-1", "db-2 api-2", "db api", "", fault.Failed, "what was changed stays"},
		"a part of one was replaced":     {"api-1 api-2", "api-1 api-3", "api", "", fault.Failed, "what was changed stays"},
		"a new one is of no use":         {"db-1 api-1", "cache-2 db-1 api-1", "cache api", "remove cache", fault.Failed, "what ran before serves again"},
		"a new one may be needed":        {"db-1 api-1", "cache-2 db-2 api-1", "cache db api", "", fault.Failed, "what was changed stays"},
		"nothing is left of one":         {"db-1 api-1", "db-2", "db api", "", fault.Stuck, "nothing runs of [api]"},
		"one does not run again":         {"db-1 api-1", "db-1 api-1!", "api", "", fault.Stuck, "nothing runs of [api]"},
		"one that left went":             {"db-1 old-1", "db-2", "db old", "", fault.Failed, "what was changed stays"},
		"nothing ran":                    {"db-1!", "db-2 api-2", "db api", "remove api remove db", fault.Failed, "nothing serves"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := &fakeTakenOver{runs: c.now}
			services := map[string]*stack.Service{"db": {Name: "db", Replicas: 1}, "api": {Name: "api", Replicas: 1}, "cache": {Name: "cache", Replicas: 1}}
			d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, facts: &facts{observed: observed(c.before)}, record: &release.Record{},
				opts:   Options{Stack: &stack.Stack{Name: "shop", Services: services}, RollbackOnFailure: true, Lock: &release.Lock{}},
				result: &Result{Changed: []string{"db"}, Rollout: &rollout.Report{Touched: strings.Fields(c.touched), Failed: "api"}}}
			err := d.fail(t.Context(), errors.New("api-2 is unhealthy"))
			assert.Equal(t, c.kind, fault.Of(err), "%v", err)
			assert.Equal(t, c.removed, strings.Join(on.removed, " "))
			assert.Contains(t, err.Error()+"; "+fault.Hint(err), c.says)
			assert.Equal(t, strings.Contains(c.says, "serve"), len(d.result.Changed) == 0)
			assert.Equal(t, strings.HasPrefix(c.says, "what ran"), d.result.Serving != "")
		})
	}
}
