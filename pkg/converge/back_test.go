package converge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeTakenOver is a host on which units run, written as "service-number", with ":port" where
// one publishes that, "!" where it has ended and "~" where the engine starts it again and again.
type fakeTakenOver struct {
	Platform
	runs    string
	removed []string
}

func (*fakeTakenOver) Adapt(context.Context, *stack.Stack) error { return nil }

func (*fakeTakenOver) HoldsImages() bool { return false }

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
		name, port, published := strings.Cut(strings.TrimRight(id, "!~"), ":")
		u := stack.Unit{ID: name, State: stack.Running}
		if published {
			u.Ports = map[string][]netip.Addr{port + "/tcp": {netip.IPv4Unspecified()}}
		}
		switch {
		case strings.HasSuffix(id, "!"):
			u.State = stack.Exited
		case strings.HasSuffix(id, "~"):
			u.State = stack.Restarting
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
		"one that crashed was stopped":   {"api-1 api-2 api-3~", "cache-2 api-1 api-2 api-3!", "cache api", "remove cache", fault.Failed, "what ran before serves again"},
		"one that crashed is gone":       {"api-1 api-2 api-3~", "cache-2 api-1 api-2", "cache api", "", fault.Failed, "what was changed stays"},
		"all there was had crashed":      {"db-1 api-1~", "db-1 api-1!", "api", "", fault.Failed, "what ran before serves again"},
		"its port is nobody's now":       {"db-1 api-1:80", "db-1 api-2", "api edge", "", fault.Stuck, "no unit holds port [80/tcp] of the host"},
		"one that left had the port":     {"api-1 old-1:80", "api-1", "old edge", "", fault.Stuck, "no unit holds port [80/tcp] of the host"},
		"nor is anything left of it":     {"api-1:80", "", "api edge", "", fault.Stuck, "nothing runs of [api] and no unit holds port [80/tcp] of the host"},
		"who has the port fell over":     {"api-1:80", "api-2 edge-2~", "api edge", "", fault.Stuck, "no unit holds port [80/tcp] of the host"},
		"its port is another's":          {"api-1:80", "api-2 edge-2:80", "api edge", "", fault.Failed, "what was changed stays"},
		"its port is not wanted":         {"db-1:5432 api-1", "db-2 api-1", "db api", "", fault.Failed, "what was changed stays"},
		"the port of one that is off":    {"db-1 api-1:81", "db-1 api-2", "api", "", fault.Failed, "what was changed stays"},
		"who has the port begins again":  {"db-1 api-1:80", "db-1 api-1~", "api edge", "", fault.Failed, "what ran before serves again"},
		"another keeps the port":         {"old-1:80 api-1", "old-1:80 api-2", "api edge", "", fault.Failed, "what was changed stays"},
		"nothing ran":                    {"db-1!", "db-2 api-2", "db api", "remove api remove db", fault.Failed, "nothing serves"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := &fakeTakenOver{runs: c.now}
			services := map[string]*stack.Service{"db": {Name: "db", Replicas: 1}, "api": {Name: "api", Replicas: 1}, "cache": {Name: "cache", Replicas: 1},
				"edge": {Name: "edge", Replicas: 1, HostPorts: []string{"80/tcp"}}, "off": {Name: "off", HostPorts: []string{"81/tcp"}}}
			d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, facts: &facts{observed: observed(c.before)}, record: &release.Record{},
				opts:   Options{Stack: &stack.Stack{Name: "shop", Services: services}, RollbackOnFailure: true, Lock: &release.Lock{}},
				result: &Result{Changed: []string{"db"}, Rollout: &rollout.Report{Touched: strings.Fields(c.touched), Failed: "api"}}}
			err := d.keepTrue(d.fail(t.Context(), errors.New("api-2 is unhealthy")))
			assert.Equal(t, c.kind, fault.Of(err), "%v", err)
			assert.Equal(t, c.removed, strings.Join(on.removed, " "))
			assert.Contains(t, err.Error()+"; "+fault.Hint(err), c.says)
			assert.Equal(t, strings.Contains(c.says, "serve"), len(d.result.Changed) == 0)
			assert.Equal(t, strings.HasPrefix(c.says, "what ran"), d.result.Serving != "")
		})
	}
}

// What another tool started it can start again, where it is known from where.
func TestAFailedFirstReleaseSaysWhereWhatRanWasStarted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		now  string
		edit func(*stack.Unit)
		says bool
	}{
		"replaced":         {"db-2 api-1", func(*stack.Unit) {}, true},
		"nothing is left":  {"db-2", func(*stack.Unit) {}, true},
		"its port is lost": {"db-2 api-2", func(u *stack.Unit) { u.Ports = map[string][]netip.Addr{"80/tcp": nil} }, true},
		"of two folders":   {"db-2 api-1", func(u *stack.Unit) { u.Folder = "/srv/other" }, false},
		"of no folder":     {"db-2 api-1", func(u *stack.Unit) { u.Folder = "" }, false},
		"of a release":     {"db-2 api-1", func(u *stack.Unit) { u.StateDir = "/srv/state" }, false},
		"that did not run": {"db-2 api-1", func(u *stack.Unit) { u.Folder, u.State = "/srv/other", stack.Exited }, true},
	} {
		before := observed("db-1 api-1")
		for _, units := range before.Units {
			units[0].Folder = "/srv/shop"
		}
		c.edit(&before.Units["api"][0])
		services := map[string]*stack.Service{"db": {Name: "db", Replicas: 1}, "api": {Name: "api", Replicas: 1, HostPorts: []string{"80/tcp"}}}
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: &fakeTakenOver{runs: c.now}, facts: &facts{observed: before}, record: &release.Record{},
			opts:   Options{Stack: &stack.Stack{Name: "shop", Services: services}, RollbackOnFailure: true, Lock: &release.Lock{}},
			result: &Result{Rollout: &rollout.Report{Touched: []string{"db", "api"}, Failed: "api"}}}
		hint := fault.Hint(d.fail(t.Context(), errors.New("api-2 is unhealthy")))
		assert.Equal(t, c.says, strings.Contains(hint, ", or bring back what ran before: docker compose up -d in /srv/shop on the host"), "%s: %s", name, hint)
	}
}

// What failed may know better than the log of its unit what is to be done.
func TestAFailureKeepsItsOwnHint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cause error
		want  string
	}{
		"none":            {fault.New(fault.Failed, "", "", "api-2 ended with exit code 0"), "the last lines of the failed unit say why; "},
		"its own":         {fault.New(fault.Failed, "", "let a service wait for it", "api-2 ended with exit code 0"), "let a service wait for it; "},
		"no unit's fault": {&probe.Exceeded{Text: "the probe counted 2 failed requests", Hint: "requests failed as timeout"}, "requests failed as timeout; "},
	} {
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: &fakeTakenOver{runs: "api-1"}, facts: &facts{observed: observed("api-1")}, record: &release.Record{},
			opts:   Options{Stack: &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": {Name: "api", Replicas: 1}}}, RollbackOnFailure: true, Lock: &release.Lock{}},
			result: &Result{Rollout: &rollout.Report{Touched: []string{"api"}, Failed: "api"}}}
		err := d.fail(t.Context(), fmt.Errorf("api: %w", c.cause))
		assert.EqualError(t, err, "api: "+c.cause.Error(), name)
		assert.Equal(t, c.want+"what ran before serves again", fault.Hint(err), name)
	}
}

// fakeWorkers have units that take as long as they may to end, one after another.
type fakeWorkers struct {
	Platform
	stack *stack.Stack
	hangs bool
	back  []string
}

func (*fakeWorkers) Adapt(context.Context, *stack.Stack) error { return nil }

func (*fakeWorkers) HoldsImages() bool { return false }

func (f *fakeWorkers) Observe(context.Context, string) (stack.Observed, error) {
	units := map[string][]stack.Unit{}
	for name, svc := range f.stack.Services {
		for i := range svc.Replicas {
			units[name] = append(units[name], stack.Unit{ID: fmt.Sprint(name, i), Number: i, Hash: "v2", State: stack.Running})
		}
	}
	return stack.Observed{Units: units}, nil
}

func (f *fakeWorkers) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, _ rollout.How) (rollout.Report, error) {
	for _, step := range p.Steps {
		svc := st.Services[step.Service]
		takes := svc.Ext.Idle.Budget + svc.StopGrace
		if f.hangs {
			takes = 1000 * time.Hour
		}
		for range step.Old {
			if err := grace.Pause(ctx, takes); err != nil {
				return rollout.Report{}, err
			}
		}
		f.back = append(f.back, step.Service)
	}
	return rollout.Report{}, nil
}

// workers are a stack whose units end one by one, each within 41 minutes.
func workers(t *testing.T) *stack.Stack {
	t.Helper()
	st := &stack.Stack{Name: "shop", Order: []string{"email", "video"}, Services: map[string]*stack.Service{}, Project: &types.Project{Name: "shop", Services: types.Services{}}}
	for _, name := range st.Order {
		svc := &stack.Service{Name: name, Image: name, Replicas: 2, StopGrace: 31 * time.Minute, Update: stack.Update{Parallelism: 1}}
		svc.Ext.Idle = &stack.Idle{Budget: 10 * time.Minute}
		c := types.ServiceConfig{Name: name}
		c.Image = name
		st.Services[name], st.Project.Services[name] = svc, c
	}
	require.NoError(t, st.Pin(map[string]string{"email": "sha256:1", "video": "sha256:2"}))
	return st
}

// A way back has the time that the file gives the units it replaces, and one that hangs
// has an end.
func TestTheWayBackHasTheTimeOfItsUnits(t *testing.T) {
	t.Parallel()
	sealed, err := workers(t).Seal()
	require.NoError(t, err)
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			on := &fakeWorkers{stack: workers(t), hangs: hangs}
			d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, record: &release.Record{}, facts: &facts{standing: &standing{1, sealed}},
				opts:   Options{Stack: on.stack, RollbackOnFailure: true, Lock: &release.Lock{}},
				result: &Result{Rollout: &rollout.Report{Touched: on.stack.Order}}}
			began := time.Now()
			err := d.fail(t.Context(), errors.New("verify: 1 of 3 checks failed"))
			if hangs {
				assert.Equal(t, fault.Stuck, fault.Of(err))
				require.ErrorContains(t, err, "the time of the way back is over")
				assert.Less(t, time.Since(began), 8*time.Hour)
				return
			}
			assert.Equal(t, fault.Failed, fault.Of(err), "%v", err)
			assert.Contains(t, fault.Hint(err), "serves again")
			assert.Equal(t, []string{"video", "email"}, on.back)
		})
	}
}
