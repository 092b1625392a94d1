package converge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// severalPlatform runs units, and what it carries out, and remembers which were asked
// for. The database of api is on a node that cannot be reached: it ends what asks for it.
type severalPlatform struct {
	backPlatform
	runs  map[string]stack.State
	asked []string
}

func (s *severalPlatform) Observe(context.Context, string) (stack.Observed, error) {
	units := map[string][]stack.Unit{}
	for name, state := range s.runs {
		units[name] = []stack.Unit{{ID: name, Service: name, State: state, ImageID: "postgres"}}
	}
	return stack.Observed{Units: units}, nil
}

func (s *severalPlatform) At(_ context.Context, id string) (*target.Node, error) {
	if s.asked = append(s.asked, id); id == "db" {
		return nil, fault.New(fault.Refused, "node two", "let the user in there", "it cannot be reached")
	}
	return &target.Node{}, nil
}

func (s *severalPlatform) Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error) {
	for _, step := range p.Steps {
		s.runs[step.Service] = stack.Running
	}
	return s.backPlatform.Carry(ctx, p, st, how)
}

// several is a stack whose api has its database in db. That of another service is in other,
// which needs a job.
func several() *stack.Stack {
	service := func(name string, needs ...string) *stack.Service {
		svc := &stack.Service{Name: name}
		for _, other := range needs {
			svc.DependsOn = append(svc.DependsOn, stack.Dependency{Service: other})
		}
		return svc
	}
	st := &stack.Stack{Name: "shop", Order: []string{"keys", "other", "db", "api", "web"}, Services: map[string]*stack.Service{"keys": service("keys"),
		"other": service("other", "keys"), "db": service("db"), "api": service("api", "db"), "web": service("web", "other")}}
	st.Services["other"].Ext.Backups, st.Services["db"].Ext.Backups = &stack.Backups{}, &stack.Backups{}
	return st
}

// A release that migrates dumps the databases that its plan names: one that holds nothing yet
// is not asked for, and one that this release starts anyhow is brought up first.
func TestAnotherDatabaseThatDoesNotRunBeforeAMigration(t *testing.T) {
	t.Parallel()
	const away, stopped = "it cannot be reached", "service other: its database does not run"
	job := plan.Step{Service: "keys", Action: plan.Create}
	for name, c := range map[string]struct {
		other        stack.State
		steps        []plan.Step
		backups      []string
		first, asked []string
		says         string
	}{
		"it runs":                            {stack.Running, nil, []string{"other", "db"}, nil, []string{"other", "db"}, away},
		"it is new":                          {"", []plan.Step{job, {Service: "other", Action: plan.Create}}, []string{"db"}, nil, []string{"db"}, away},
		"it was never released, nor is now":  {"", nil, []string{"db"}, nil, []string{"db"}, away},
		"it ended":                           {stack.Exited, []plan.Step{job, {Service: "other", Action: plan.Create}}, []string{"other", "db"}, []string{"keys", "other"}, []string{"other", "db"}, away},
		"its container is gone":              {"", []plan.Step{{Service: "other", Action: plan.Create}}, []string{"other", "db"}, []string{"other"}, []string{"other", "db"}, away},
		"it is starting":                     {stack.Restarting, []plan.Step{job, {Service: "other", Action: plan.Gate, Starting: true}}, []string{"other", "db"}, []string{"keys", "other"}, []string{"other", "db"}, away},
		"it ended, and is not released now":  {stack.Exited, nil, []string{"other", "db"}, nil, nil, stopped},
		"it is gone, and not released now":   {"", nil, []string{"other", "db"}, nil, nil, stopped},
		"it does not run, and is replaced":   {stack.Restarting, []plan.Step{{Service: "other", Action: plan.StopFirst}}, []string{"other", "db"}, nil, nil, stopped},
		"it runs, and what it needs is made": {stack.Running, []plan.Step{job}, []string{"other", "db"}, nil, []string{"other", "db"}, away},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := &severalPlatform{runs: map[string]stack.State{"db": stack.Running, "api": stack.Running}}
			if c.other != "" {
				on.runs["other"] = c.other
			}
			d := begun(t, fakeFiles{}, &release.Record{})
			d.on, d.opts.Stack = on, several()
			d.plan = &plan.Plan{Backups: c.backups, Migrations: []plan.Migration{{Service: "api"}},
				Steps: append(c.steps, plan.Step{Service: "api", Action: plan.StopFirst}, plan.Step{Service: "web", Action: plan.Create})}
			err := d.secure(t.Context())
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, fault.Refused, fault.Of(err))
			assert.Equal(t, c.first, on.back)
			assert.Equal(t, c.asked, on.asked)
		})
	}
}

// A database that does not run does not keep what a killed run left at work in another from
// being ended.
func TestAStoppedDatabaseDoesNotKeepOthersFromHealing(t *testing.T) {
	t.Parallel()
	for _, state := range []stack.State{stack.Exited, stack.Running} {
		on := &severalPlatform{runs: map[string]stack.State{"other": stack.Exited, "db": state}}
		d := begun(t, fakeFiles{}, &release.Record{})
		d.on, d.opts.Stack = on, several()
		states, err := d.settleDatabases(t.Context())
		assert.Empty(t, states)
		if state == stack.Exited {
			require.NoError(t, err)
			assert.Empty(t, on.asked)
			continue
		}
		require.ErrorContains(t, err, "it cannot be reached")
		assert.Equal(t, []string{"db"}, on.asked)
	}
}
