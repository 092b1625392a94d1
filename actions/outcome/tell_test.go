package outcome

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

func TestServingWithoutAVersion(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "release 12", Tell(&converge.Result{Release: 12, Previous: 11, Outcome: converge.Verified}, About{}, nil).Serving)
	assert.Equal(t, "release 11", Tell(&converge.Result{Release: 12, Previous: 11, Outcome: "failed"}, About{}, nil).Serving)
	assert.Empty(t, Tell(&converge.Result{Release: 1, Outcome: "failed"}, About{}, nil).Serving)
}

// Where nobody knows what serves no version is named, nor the release before.
func TestServingWhereNobodyKnows(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", ""} {
		unsure := &converge.Result{Release: 12, Previous: 11, Outcome: "stuck", Serving: version, Unsure: true, Changed: []string{"api"}}
		told := Tell(unsure, About{}, nil)
		assert.Empty(t, told.Serving)
		assert.Equal(t, "release 12 stuck after 0.0s, what serves is not known", told.Sentence())
	}
}

// A rollback of the same code with its database is told as what it is, before and after.
func TestADatabaseThatGoesBackIsTold(t *testing.T) {
	t.Parallel()
	p := (&plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Unchanged, Replicas: 1}}}).Restoring(plan.Restore{Service: "db", Backup: "db-1"},
		[]string{"api"}, &stack.Stack{Services: map[string]*stack.Service{"api": {Name: "api"}}})
	told := Tell(&converge.Result{Plan: p, Outcome: converge.Planned, Changed: p.Changed()}, About{DryRun: true}, nil)
	assert.Equal(t, "the database would go back to backup db-1 and 1 service would change; this was a plan, nothing was changed", told.Sentence())
	assert.Contains(t, told.Services[0].Interruption, "until the release is up")
	done := Tell(&converge.Result{Plan: p, Outcome: converge.Verified, Rollout: &rollout.Report{Touched: []string{"api"}}}, About{}, nil)
	assert.Equal(t, "done", done.Services[0].Result)
}
