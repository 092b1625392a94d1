package converge

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeTold keeps what a text looks like to each stack that is carried.
type fakeTold struct {
	*fakeWorkers
	says string
	told *[]string
}

func (f fakeTold) Carry(_ context.Context, _ *plan.Plan, st *stack.Stack, _ rollout.How) (rollout.Report, error) {
	*f.told = append(*f.told, st.HideSecrets(f.says))
	return rollout.Report{}, nil
}

// A unit that ends prints the secrets of the release that it is of: the verified one, one
// that was cut off, or on the way back this one.
func TestTheSecretsOfWhatEndsAreHidden(t *testing.T) {
	t.Parallel()
	with := func(password string) *stack.Stack {
		st := workers(t)
		st.Services["email"].Environment = map[string]string{"BROKER_PASSWORD": password}
		return st
	}
	d := begun(t, fakeFiles{}, &release.Record{Outcome: release.Failed})
	for n, password := range map[int]string{7: "of-the-verified", 8: "of-the-cut-off"} {
		sealed, err := with(password).Seal()
		require.NoError(t, err)
		require.NoError(t, d.ledger.WriteSealed(t.Context(), n, sealed))
	}
	on := fakeTold{&fakeWorkers{stack: with("of-the-new")}, "of-the-verified of-the-cut-off of-the-new of-nobody", &[]string{}}
	d.on, d.plan = on, &plan.Plan{}
	d.facts = &facts{verified: &release.Record{Number: 7}, since: []release.Record{{Number: 8, Outcome: release.Interrupted}, {Number: 9, Outcome: release.Stuck}}}
	d.opts = Options{Stack: on.stack, RollbackOnFailure: true, Lock: &release.Lock{}}
	require.NoError(t, d.begin(t.Context()))
	require.NoError(t, d.roll(t.Context()))
	d.result.Rollout = &rollout.Report{Touched: on.stack.Order}
	require.Error(t, d.fail(t.Context(), errors.New("verify: 1 of 3 checks failed")))
	assert.Equal(t, []string{"*** *** *** of-nobody", "*** *** *** of-nobody"}, *on.told)
}
