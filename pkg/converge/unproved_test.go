package converge

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// What a release left as it is wanted now, without having been verified, is something to
// prove although there is nothing to do.
func TestWhatNoReleaseWasVerifiedWith(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outcome     release.Outcome
		left, was   func(map[string]release.ServiceRecord)
		step        plan.Action
		unproved    []string
		refusedNext bool
	}{
		"a live file, interrupted": {release.Interrupted, nil, file("email", "2"), plan.Unchanged, []string{"email"}, false},
		"a live file, killed":      {release.Started, nil, file("email", "2"), plan.Unchanged, []string{"email"}, false},
		"a live file, stuck":       {release.Stuck, nil, file("email", "2"), plan.Unchanged, []string{"email"}, false},
		"a live file, paused":      {release.Failed, nil, file("email", "2"), plan.Unchanged, []string{"email"}, false},
		"then one was refused":     {release.Interrupted, nil, file("email", "2"), plan.Unchanged, []string{"email"}, true},
		"a scale":                  {release.Interrupted, nil, func(s map[string]release.ServiceRecord) { s["video"] = release.ServiceRecord{Replicas: 9} }, plan.Unchanged, []string{"video"}, false},
		"one that went":            {release.Interrupted, nil, func(s map[string]release.ServiceRecord) { s["old"] = release.ServiceRecord{Replicas: 1} }, plan.Unchanged, []string{"old"}, false},
		"it is done now":           {release.Interrupted, nil, file("email", "2"), plan.Reload, nil, false},
		"somebody else did it":     {release.Failed, file("email", "2"), file("email", "2"), plan.Unchanged, nil, false},
		"nothing is other":         {release.Interrupted, nil, nil, plan.Unchanged, nil, false},
		"it was verified":          {release.Verified, nil, file("email", "2"), plan.Unchanged, nil, false},
	} {
		d := &transition{plan: &plan.Plan{}, opts: Options{Stack: workers(t)}}
		d.opts.Stack.Services["email"].Files = []stack.File{{Target: "/etc/email", Sum: "3", Live: true}}
		d.plan.Steps = []plan.Step{{Service: "email", Action: c.step}, {Service: "video", Action: plan.Unchanged}}
		left := d.services(d.opts.Stack, nil)
		was := maps.Clone(left)
		for edit, of := range map[*func(map[string]release.ServiceRecord)]map[string]release.ServiceRecord{&c.left: left, &c.was: was} {
			if *edit != nil {
				(*edit)(of)
			}
		}
		ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
		require.NoError(t, err)
		for _, r := range []release.Record{{Outcome: release.Verified, Services: was}, {Outcome: c.outcome, Services: left, Steps: []release.Step{{Name: "reload"}}}} {
			require.NoError(t, ledger.Append(t.Context(), &r))
			if c.refusedNext && r.Number == 2 {
				require.NoError(t, ledger.Append(t.Context(), &release.Record{Outcome: release.Refused}))
			}
		}
		d.facts = &facts{}
		d.facts.know(ledger)
		d.unproved = d.neverVerified(t.Context())
		assert.Equal(t, c.unproved, d.unproved, name)
		assert.Equal(t, c.step == plan.Unchanged && c.unproved == nil, d.idle(), name)
		assert.Len(t, d.plan.Notes, len(c.unproved), name)
		d.opts.Verify = fakeDials{addrs: map[string]Way{"web": {Service: "web", Addr: "127.0.0.1:80"}}}
		asked := false
		_, err = d.forwards(t.Context(), func(context.Context, string) error { asked = true; return nil })
		require.NoError(t, err)
		assert.Equal(t, !d.idle(), asked, "the checks will connect")
		d.facts.standing = &standing{}
		assert.Empty(t, d.neverVerified(t.Context()), "what stands is known")
	}
}

func file(service, sum string) func(map[string]release.ServiceRecord) {
	return func(s map[string]release.ServiceRecord) {
		r := s[service]
		r.Files = map[string]string{"/etc/email": sum}
		s[service] = r
	}
}

// fakeOther runs a unit that is not as the release before has it.
type fakeOther struct{ backPlatform }

func (*backPlatform) HoldsImages() bool { return false }

func (fakeOther) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"email": {{ID: "e", Number: 1, State: stack.Running, Hash: "another"}}}}, nil
}

// Where that fails its checks, it goes back too: nothing else of it was touched.
func TestWhatWasUnprovedIsTakenBack(t *testing.T) {
	t.Parallel()
	sealed, err := workers(t).Seal()
	require.NoError(t, err)
	for _, rolls := range []bool{true, false} {
		on := &fakeOther{}
		d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, record: &release.Record{}, facts: &facts{standing: &standing{1, sealed}}, unproved: []string{"email"},
			opts: Options{Stack: workers(t), RollbackOnFailure: rolls, Lock: &release.Lock{}}, result: &Result{Rollout: &rollout.Report{}}}
		err := d.fail(t.Context(), errors.New("verify: 1 of 3 checks failed"))
		assert.Equal(t, fault.Failed, fault.Of(err), "%v", err)
		if rolls {
			assert.Equal(t, []string{"email"}, on.back)
			continue
		}
		assert.Empty(t, on.back)
		require.ErrorContains(t, err, "what was changed stays: [email]")
	}
}
