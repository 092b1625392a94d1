package converge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/target"
)

// A release that waited while others ended says whose they were and how they ended, once,
// and in its plan, and goes on.
func TestAReleaseThatWaitedSaysWhatItGoesOver(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	first := release.Record{Version: "v1", Outcome: release.Verified, Ended: at}
	second := release.Record{Version: "v2", Actor: "ann", Outcome: release.Verified, Ended: at}
	refused := release.Record{Version: "v2", Outcome: release.Refused, Ended: at}
	failed := release.Record{Version: "v3", Actor: "ben", Outcome: release.Failed, Steps: []release.Step{{Name: "start"}}, Ended: at}
	killed := release.Record{Version: "v3", Actor: "ben", Started: at}
	none, one := release.Record{}, release.Record{Number: 1, Outcome: release.Verified}
	for name, c := range map[string]struct {
		seen   *release.Record
		others []release.Record
		says   string
	}{
		"nobody compares":   {nil, []release.Record{second}, ""},
		"nothing":           {&one, nil, ""},
		"one was refused":   {&one, []release.Record{refused}, ""},
		"one was verified":  {&one, []release.Record{second}, "release 2 (v2) by ann ended as verified at 2026-03-01 09:00:00 UTC, while this one waited for the lock: v0 may go over it"},
		"another went back": {&one, []release.Record{second, failed}, "release 2 (v2) by ann ended as verified at 2026-03-01 09:00:00 UTC; release 3 (v3) by ben ended as failed at 2026-03-01 09:00:00 UTC, while this one waited for the lock: v0 may go over it"},
		"one was cut off":   {&one, []release.Record{killed}, "release 2 (v3) by ben, begun at 2026-03-01 09:00:00 UTC, was cut off, while this one waited for the lock: v0 may go over it"},
		"the first one":     {&none, nil, "release 1 (v1) by a run that has not said who it is ended as verified at 2026-03-01 09:00:00 UTC, while this one waited for the lock: v0 may go over it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := &event.Recorder{}
			ledger, err := release.Open(t.Context(), disk.Files{}, t.TempDir(), "shop")
			require.NoError(t, err)
			for _, r := range append([]release.Record{first}, c.others...) {
				require.NoError(t, ledger.Append(t.Context(), &r))
			}
			d := &transition{Target: &target.Target{Sink: told}, ledger: ledger, plan: &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Surge}}}, facts: &facts{}, opts: Options{Version: "v0", Seen: c.seen}}
			d.overtook()
			if c.says == "" {
				assert.Empty(t, told.Events())
				assert.Empty(t, d.plan.Notes)
				return
			}
			require.Len(t, told.Events(), 1)
			assert.Equal(t, []any{event.Warning, c.says}, []any{told.Events()[0].Level, told.Events()[0].Text})
			assert.Equal(t, []string{c.says}, d.plan.Notes)
			d.plan = &plan.Plan{}
			d.overtook()
			assert.Len(t, told.Events(), 1, "one that has nothing to do goes over nothing")
		})
	}
}
