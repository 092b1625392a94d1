package converge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeAway has its units on a node that cannot be reached.
type fakeAway struct {
	Platform
	state stack.State
}

func (f fakeAway) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"db": {{ID: "d", State: f.state}}}}, nil
}

func (fakeAway) At(context.Context, string) (*target.Node, error) {
	return nil, fault.New(fault.Refused, "node two", "let the user in there", "it cannot be reached")
}

// A database on a node that cannot be reached ends a release that needs it, and is not
// taken for one that does not run, in which nothing can be at work.
func TestADatabaseThatCannotBeReached(t *testing.T) {
	t.Parallel()
	db := &stack.Service{Name: "db"}
	db.Ext.Backups = &stack.Backups{}
	st := &stack.Stack{Name: "shop", Order: []string{"db"}, Services: map[string]*stack.Service{"db": db}}
	make := func(state stack.State) *transition {
		on := fakeAway{state: state}
		seen, _ := on.Observe(t.Context(), "shop")
		return &transition{Target: &target.Target{Sink: event.Discard}, on: on, opts: Options{Stack: st},
			plan: &plan.Plan{Backups: []string{"db"}}, facts: &facts{observed: seen, acted: &release.Record{}}, record: &release.Record{}, result: &Result{}}
	}
	for what, act := range map[string]func(*transition) error{
		"before anything changes":         func(d *transition) error { return d.databases(t.Context(), &onhost.Facts{}) },
		"the backup before a migration":   func(d *transition) error { return d.backUp(t.Context()) },
		"what a killed run left at work":  func(d *transition) error { _, err := d.settleDatabases(t.Context()); return err },
		"and that is why a release heals": func(d *transition) error { d.facts.acted.RestoresDatabase = "db-1"; return d.heal(t.Context()) },
	} {
		err := act(make(stack.Running))
		require.ErrorContains(t, err, "node two: it cannot be reached", what)
		assert.Equal(t, fault.Refused, fault.Of(err), what)
	}
	states, err := make(stack.Exited).settleDatabases(t.Context())
	require.NoError(t, err)
	assert.Empty(t, states)
}

// A database that was brought up on what was there before is dumped before a migration.
// One that is new is not asked.
func TestADatabaseThatIsMadeOnOldData(t *testing.T) {
	t.Parallel()
	db := &stack.Service{Name: "db"}
	db.Ext.Backups = &stack.Backups{}
	for _, old := range []bool{true, false} {
		d := begun(t, fakeFiles{}, &release.Record{})
		d.on, d.plan = fakeAway{state: stack.Running}, &plan.Plan{}
		d.opts.Stack = &stack.Stack{Name: "shop", Order: []string{"db"}, Services: map[string]*stack.Service{"db": db}}
		if old {
			d.plan.Backups = []string{"db"}
		}
		err := d.backUp(t.Context())
		assert.Equal(t, old, err != nil, "%v", err)
	}
}

// restartedPlatform has an engine that is away for so many looks, and goes away in the
// middle of so many ways back.
type restartedPlatform struct {
	backPlatform
	away, cuts, carried int
}

func (r *restartedPlatform) Observe(ctx context.Context, project string) (stack.Observed, error) {
	if r.away--; r.away >= 0 {
		return stack.Observed{}, fmt.Errorf("look at what runs: %w", io.EOF)
	}
	return r.backPlatform.Observe(ctx, project)
}

// Carry carries out a way back that is not cut off.
func (r *restartedPlatform) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error) {
	if r.carried++; r.carried <= r.cuts {
		return rollout.Report{}, fmt.Errorf("start api-1 again: %w", io.EOF)
	}
	return r.backPlatform.Carry(ctx, p, st, how)
}

// ours is a lock that is held on this machine.
func ours(t *testing.T) *release.Lock {
	t.Helper()
	start := func(_ context.Context, argv []string) (release.Process, error) {
		cmd := exec.Command(argv[0], argv[1:]...)
		in, err := cmd.StdinPipe()
		if err != nil {
			return release.Process{}, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return release.Process{}, err
		}
		return release.Process{Stdin: in, Stdout: out, Wait: cmd.Wait, Close: in.Close}, cmd.Start()
	}
	lock, err := release.Acquire(t.Context(), start, disk.Files{}, t.TempDir(), release.Holder{}, release.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Release(context.Background()) })
	return lock
}

// An engine that restarts right when a release goes back leaves nobody stuck.
func TestTheWayBackOutlastsARestartOfTheEngine(t *testing.T) {
	t.Parallel()
	told, on := &event.Recorder{}, &restartedPlatform{away: 1}
	swaps := 0
	d := &transition{Target: &target.Target{Sink: told}, on: on, facts: &facts{}, record: &release.Record{},
		opts: Options{Stack: &stack.Stack{Name: "shop"}, RollbackOnFailure: true, Lock: ours(t)}, result: &Result{Rollout: &rollout.Report{Touched: []string{"api"}}},
		undoDatabase: func(context.Context) error {
			if swaps++; swaps == 1 {
				return fmt.Errorf("swap the database back: %w", io.EOF)
			}
			return nil
		}}
	err := d.fail(t.Context(), io.EOF)
	assert.Equal(t, fault.Failed, fault.Of(err), "%v", err)
	assert.Equal(t, []string{"api"}, on.back)
	var waits []string
	for _, e := range told.Events() {
		if strings.HasPrefix(e.Text, "the engine") {
			waits = append(waits, e.Text)
		}
	}
	assert.Equal(t, []string{"the engine does not answer (swap the database back: EOF); going back once it does",
		"the engine does not answer (look at what runs: EOF); going back once it does"}, waits)
}

// One that goes away whenever units are started is not tried for ever.
func TestTheWayBackOnAnEngineThatGoesAwayEachTime(t *testing.T) {
	t.Parallel()
	for cuts, stuck := range map[int]bool{1: false, 2: false, 99: true} {
		on := &restartedPlatform{cuts: cuts}
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, facts: &facts{}, record: &release.Record{},
			opts: Options{Stack: &stack.Stack{Name: "shop"}, Lock: ours(t)}, result: &Result{Rollout: &rollout.Report{}}}
		err := d.takeBack(t.Context(), []string{"api"})
		assert.Equal(t, stuck, err != nil, "%d: %v", cuts, err)
		assert.Equal(t, min(cuts+1, 3), on.carried)
	}
}

// pinnedPlatform has a gateway whose engine is away when it is asked who is pinned.
type pinnedPlatform struct {
	backPlatform
	asked int
}

func (p *pinnedPlatform) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"gateway": {{ID: "gateway", State: stack.Running}}}}, nil
}

func (p *pinnedPlatform) At(context.Context, string) (*target.Node, error) {
	if p.asked++; p.asked == 1 {
		return nil, fmt.Errorf("look at gateway: %w", io.EOF)
	}
	return nil, errors.New("it does not run")
}

// Who serves is what the gateway has pinned: an engine that is away for a moment does
// not make it unknown.
func TestTheWayBackAsksAgainWhoIsPinned(t *testing.T) {
	t.Parallel()
	on, told := &pinnedPlatform{}, &event.Recorder{}
	api := &stack.Service{Name: "api"}
	api.Ext.Gateway = "gateway"
	st := &stack.Stack{Name: "shop", Order: []string{"api"}, Services: map[string]*stack.Service{"api": api}}
	d := &transition{Target: &target.Target{Sink: told}, on: on, facts: &facts{}, record: &release.Record{},
		opts: Options{Stack: st, Lock: ours(t)}, result: &Result{Rollout: &rollout.Report{}}}
	require.NoError(t, d.takeBack(t.Context(), []string{"api"}))
	assert.Equal(t, 2, on.asked)
	assert.Contains(t, told.Events()[0].Text, "the engine does not answer")
}
