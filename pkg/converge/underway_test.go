package converge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// A plan that is made while a release runs takes what it has done so far for what is left of
// one that was cut off: it says so, where the release is seen at work.
func TestUnderWay_IsSaidInAPlan(t *testing.T) {
	t.Parallel()
	held := release.Sight{Hand: release.Held, Fence: 7, Holder: release.Holder{Actor: "ann"}}
	started := &release.Record{Number: 3, Version: "v3", Outcome: release.Started, Fence: 7}
	for name, c := range map[string]struct {
		newest *release.Record
		seen   release.Sight
		real   bool
		said   bool
	}{
		"it is at work":        {newest: started, seen: held, said: true},
		"it was cut off":       {newest: started, seen: release.Sight{Hand: release.Free}},
		"another has the lock": {newest: started, seen: release.Sight{Hand: release.Held, Fence: 8}},
		"nobody can see":       {newest: started, seen: release.Sight{Hand: release.Unseen}},
		"the newest has ended": {newest: &release.Record{Outcome: release.Verified, Fence: 7}, seen: held},
		"the first one":        {seen: held},
		"a release has waited": {newest: started, seen: held, real: true},
	} {
		d := &transition{opts: Options{Stack: &stack.Stack{Name: "shop"}, Asked: Asked{DryRun: !c.real}}, facts: &facts{newest: c.newest}, plan: &plan.Plan{}}
		d.underWay(t.Context(), func(_ context.Context, project string) release.Sight {
			assert.Equal(t, "shop", project, name)
			return c.seen
		})
		if !c.said {
			assert.Empty(t, d.plan.Notes, name)
			continue
		}
		assert.Equal(t, []string{"release 3 (v3) is under way, by ann: this plan takes it for interrupted, so plan again when it has ended"}, d.plan.Notes, name)
	}
}
