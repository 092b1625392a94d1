package converge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeTasks is an engine that runs nothing but tasks: runs hears that one begins, and gives its
// exit code once it has ended.
type fakeTasks struct {
	runs func(command string) int
	task string
	list string
	exit int
}

func (f *fakeTasks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	switch {
	case path == "/containers/create":
		var asked struct {
			Cmd    []string
			Labels map[string]string
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		labels, _ := json.Marshal(asked.Labels)
		f.task, f.list = strings.Join(asked.Cmd, " "), fmt.Sprintf(`[{"Id":"task","Names":["/task"],"State":"created","Labels":%s}]`, labels)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, `{"Id":"task"}`)
	case path == "/containers/task/start":
		f.exit = f.runs(f.task)
		w.WriteHeader(http.StatusNoContent)
	case path == "/containers/task/json":
		_, _ = fmt.Fprintf(w, `{"Id":"task","Name":"/task","State":{"Status":"exited","ExitCode":%d},"Config":{"Labels":{}},"HostConfig":{},"NetworkSettings":{}}`, f.exit)
	case path == "/containers/task/logs":
		w.Header().Set("Content-Type", "application/vnd.docker.multiplexed-stream")
	case path == "/containers/json" && f.list != "":
		_, _ = fmt.Fprint(w, f.list)
	case r.Method == http.MethodDelete:
		f.list = ""
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(path, "/json") && strings.HasPrefix(path, "/images/"), path == "/info", path == "/version", path == "/volumes":
		_, _ = fmt.Fprint(w, `{"Id":"sha256:1","ApiVersion":"1.41"}`)
	default:
		_, _ = fmt.Fprint(w, `[]`)
	}
}

// fakeMoved runs the release that was carried out last.
type fakeMoved struct {
	Platform
	carried func(version string)
	moves   []string
	hash    string
	ill     string // the version of which no unit gets well
	away    bool   // it tells that a step interrupts
}

func (*fakeMoved) Adapt(context.Context, *stack.Stack) error { return nil }
func (*fakeMoved) HoldsImages() bool                         { return false }
func (*fakeMoved) Compare(context.Context, *stack.Stack, stack.Observed) (networks, volumes []string, err error) {
	return nil, nil, nil
}

func (f *fakeMoved) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"api": {{ID: "api", Service: "api", Number: 1, Hash: f.hash, State: stack.Running}}}}, nil
}

func (f *fakeMoved) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error) {
	if err := how.Guard(ctx); err != nil || len(p.Steps) == 0 {
		return rollout.Report{}, err
	}
	version := st.Services["api"].Image
	f.hash, f.moves = st.Services["api"].Hash, append(f.moves, version)
	if f.away && how.Away != nil {
		how.Away(ctx, false)
	}
	f.carried(version)
	if f.away && how.Away != nil {
		if err := how.Guard(ctx); err != nil {
			return rollout.Report{Touched: []string{"api"}, Failed: "api"}, err
		}
		how.Away(ctx, true)
	}
	if version == f.ill {
		return rollout.Report{Touched: []string{"api"}}, errors.New("api is ill")
	}
	return rollout.Report{Touched: []string{"api"}}, nil
}

// migrates is a release of v2 over v1, whose migration and units do to the address that its probe
// asks what a test says.
func migrates(t *testing.T, runs func(command string, ill *atomic.Bool) int, carried func(version string, ill *atomic.Bool)) (*transition, *fakeMoved, *event.Recorder) {
	t.Helper()
	var ill atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	of := func(version string) *stack.Stack {
		c := types.ServiceConfig{Name: "api"}
		c.Image, c.NetworkMode = version, "none"
		st := &stack.Stack{Name: "shop", Order: []string{"api"}, Services: map[string]*stack.Service{"api": {Name: "api", Image: version, Replicas: 1}},
			Project: &types.Project{Name: "shop", Services: types.Services{"api": c}}}
		st.Services["api"].Ext.Migrate = &stack.Migrate{Command: []string{"migrate"}, Compatible: []string{"compatible", version}, Elsewhere: true, Timeout: time.Minute}
		require.NoError(t, st.Pin(map[string]string{"api": version + "@sha256:" + strings.Repeat("1", 64)}))
		return st
	}
	on := &fakeMoved{carried: func(version string) { carried(version, &ill) }, hash: of("v1").Services["api"].Hash}
	d := begun(t, fakeFiles{}, &release.Record{Version: "v1", Outcome: release.Verified})
	sealed, err := of("v1").Seal()
	require.NoError(t, err)
	require.NoError(t, d.ledger.WriteSealed(t.Context(), 1, sealed))
	told := &event.Recorder{}
	d.Sink, d.on, d.record = told, on, nil
	d.Engine = served(t, &fakeTasks{runs: func(command string) int { return runs(command, &ill) }})
	d.facts.know(d.ledger)
	d.facts.images = map[string]engine.Image{"api": {Present: true}}
	d.opts = Options{Stack: of("v2"), Version: "v2", RollbackOnFailure: true, Lock: ours(t), Asked: Asked{Probe: probe.Config{URL: server.URL, Rate: 50}}}
	d.result = Begin("v2")
	d.result.Serving = "v1"
	d.judges = true
	d.plan = &plan.Plan{Project: "shop", Migrations: []plan.Migration{{Service: "api", Command: []string{"migrate"}}},
		Steps: []plan.Step{{Service: "api", Action: plan.StopFirst, Replicas: 1, Old: []string{"api"}}}}
	return d, on, told
}

// What users lose while a database is migrated is the release's doing. It ends before a unit is
// changed where what serves answers again, and goes on where only the new code can, which stays:
// back is no way, since the database stays migrated.
func TestAMigrationThatUsersNotice(t *testing.T) {
	t.Parallel()
	const breaks, heals = true, false
	for name, c := range map[string]struct {
		during, after, v2 bool // what fails while it migrates, then, and once v2 runs
		moves             []string
		says, hint        string
		warns             string
		budget            int
	}{
		"nobody": {heals, heals, heals, []string{"v2"}, "", "", "", 0},
		"a lock that is let go": {breaks, heals, heals, nil, "while the database was migrated, before any unit was changed",
			"what served before serves on; the database stays migrated", "", 0},
		"what v1 reads is gone":          {breaks, breaks, heals, []string{"v2"}, "", "", "the release goes on", 0},
		"v1 says that it cannot read it": {breaks, heals, heals, []string{"v2"}, "", "", "does not work with the migrated database", 0},
		"and few requests so far":        {breaks, breaks, heals, []string{"v2"}, "", "", "the release goes on", 130},
		"and v2 is no better":            {breaks, breaks, breaks, []string{"v2", "v1"}, "after the last change", "v1 serves again; the database stays migrated, at revision unknown, and with it", "the release goes on", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, on, told := migrates(t, func(command string, ill *atomic.Bool) int {
				if strings.HasPrefix(command, "migrate") {
					ill.Store(c.during)
					time.Sleep(200 * time.Millisecond) // what is lost meanwhile
					ill.Store(c.after)
				}
				if strings.HasPrefix(command, "compatible") && strings.HasPrefix(name, "v1 says") {
					return 1
				}
				return 0
			}, func(version string, ill *atomic.Bool) {
				if c.budget > 0 {
					time.Sleep(time.Second)
				}
				ill.Store(version == "v2" && c.v2 || version == "v1" && c.after)
			})
			d.opts.ProbeBudget = c.budget
			err := d.release(t.Context())
			assert.Equal(t, c.moves, on.moves)
			require.NotNil(t, d.result.Probe)
			last, _ := d.ledger.Latest()
			assert.NotEmpty(t, last.Probe)
			warned := ""
			for _, e := range told.Events() {
				if e.Level == event.Warning && e.Phase == "probe" {
					warned += e.Text
				}
			}
			assert.Contains(t, warned, c.warns)
			assert.Equal(t, c.warns == "", warned == "", warned)
			if c.says == "" {
				require.NoError(t, err)
				assert.Equal(t, release.Verified, last.Outcome)
				assert.Equal(t, c.during, d.result.Probe.Failed > 0)
				assert.Equal(t, c.during, strings.Contains(warned, "and v2 does, so it stays"), warned)
				return
			}
			require.ErrorContains(t, err, "more than probe-budget 0")
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, fault.Failed, fault.Of(err), "%v", err)
			assert.Contains(t, fault.Hint(err), c.hint)
			assert.NotContains(t, fault.Hint(err), "accept-schema", "it did not serve with this schema")
			assert.Equal(t, release.Failed, last.Outcome)
			assert.Positive(t, d.result.Probe.Failed)
		})
	}
}

// A migration that fails has its figures as well.
func TestWhatAFailedMigrationCost(t *testing.T) {
	t.Parallel()
	d, on, _ := migrates(t, func(_ string, ill *atomic.Bool) int {
		ill.Store(true)
		time.Sleep(200 * time.Millisecond)
		ill.Store(false)
		return 1
	}, func(string, *atomic.Bool) {})
	err := d.release(t.Context())
	require.ErrorContains(t, err, "failed before any unit was changed")
	assert.Empty(t, on.moves)
	require.NotNil(t, d.result.Probe)
	assert.Positive(t, d.result.Probe.Failed)
}

// The older code is asked what it makes of the migrated database, before any unit is changed: that
// it cannot read it is told, and again where the release goes back to it.
func TestTheOlderCodeIsAskedAboutAMigration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		judges bool
		exit   int
		asked  []string
	}{
		"it can read it":  {true, 0, []string{"migrate", "compatible v1", "v2", "v1"}},
		"it cannot":       {true, 1, []string{"migrate", "compatible v1", "v2", "v1"}},
		"it says nothing": {false, 1, []string{"migrate", "v2", "v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var did []string
			d, on, told := migrates(t, func(command string, _ *atomic.Bool) int {
				if did = append(did, command); command == "migrate" {
					return 0
				}
				return c.exit
			}, func(version string, _ *atomic.Bool) { did = append(did, version) })
			d.judges, d.opts.Probe, on.ill = c.judges, probe.Config{}, "v2"
			err := d.release(t.Context())
			require.ErrorContains(t, err, "api is ill")
			assert.Equal(t, c.asked, did)
			const says = "v1 says of itself that it cannot read it (exit code 1)"
			warned := slices.ContainsFunc(told.Events(), func(e event.Event) bool { return e.Level == event.Warning && strings.Contains(e.Text, says) })
			assert.Equal(t, c.judges && c.exit > 0, warned)
			hint := "v1 serves again; the database stays migrated, at revision unknown"
			if warned {
				hint += ", and " + says + ": release a version that works"
			}
			assert.Equal(t, hint, fault.Hint(err))
		})
	}
}

// Who goes back to code that does not work with the migrated database is told which backup would
// bring that back, where it is one.
func TestWhatBringsTheDatabaseBack(t *testing.T) {
	t.Parallel()
	record := &release.Record{Number: 8, Migrations: []release.Migration{{Service: "api", Before: "41", After: "42"}}, Backups: []string{"b1"}}
	d := &transition{facts: &facts{verified: &release.Record{Number: 7}}, record: record}
	assert.Equal(t, "; the database stays migrated, at revision 42", d.migrated())
	assert.Contains(t, d.former(""), "shiksha rollback --release 7 --accept-schema")
	d.blind = "v1 cannot read it"
	const says = "; the database stays migrated, at revision 42, and v1 cannot read it: release a version that works"
	assert.Equal(t, says+", or bring the database back, which loses what was written since: shiksha rollback --release 7 --restore-database b1", d.migrated())
	assert.Empty(t, d.former(""), "it did not serve with this schema")
	record.Backups = append(record.Backups, "b2")
	assert.Equal(t, says, d.migrated(), "each is of a database of its own")
}

// What users lose in an interruption that the plan announces is told and not counted; what they lose
// after it is.
func TestAnInterruptionThatThePlanAnnounces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		away, lasts bool
		says        string
	}{
		"as the plan says":      {true, false, ""},
		"the plan says nothing": {false, false, "more than probe-budget 0"},
		"it goes on after that": {true, true, "more than probe-budget 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, on, told := migrates(t, func(string, *atomic.Bool) int { return 0 }, func(version string, ill *atomic.Bool) {
				ill.Store(true)
				time.Sleep(300 * time.Millisecond)
				ill.Store(version == "v2" && c.lasts)
			})
			d.plan.Migrations, on.away = nil, c.away
			err := d.release(t.Context())
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				assert.Equal(t, []string{"v2", "v1"}, on.moves)
				assert.Equal(t, "requests failed as http_500; see `more than probe-budget` in docs/troubleshooting.md; v1 serves again", fault.Hint(err), "no unit failed")
				return
			}
			require.NoError(t, err)
			assert.Positive(t, d.result.Probe.Phases[probe.Interrupted].Failed)
			assert.True(t, slices.ContainsFunc(told.Events(), func(e event.Event) bool {
				return e.Level == event.Notice && strings.Contains(e.Text, "interruptions that the plan announces")
			}))
		})
	}
}
