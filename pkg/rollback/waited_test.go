package rollback

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
)

// A rollback that waited while another run changed the stack undoes what was seen when it
// was asked for, or nothing.
func TestWhatHappenedWhileARollbackWaited(t *testing.T) {
	t.Parallel()
	v1, v2 := release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: good}
	third := func(outcome release.Outcome) release.Record { return release.Record{Version: "v3", Outcome: outcome} }
	to2 := release.Record{Version: "v2", Outcome: good, RollsBack: 3, Restores: 2}
	rolling := to2
	rolling.Outcome = release.Started
	for name, c := range map[string]struct {
		seen, now []release.Record
		runs      string
		ask       Options
		says      string
	}{
		"nothing":                   {[]release.Record{v1, v2}, []release.Record{v1, v2}, "v2", Options{}, ""},
		"a release went back":       {[]release.Record{v1, v2, third(release.Started)}, []release.Record{v1, v2, third(failed)}, "v2", Options{}, "release 3 (v3) ended as failed"},
		"it was refused":            {[]release.Record{v1, v2, third(release.Started)}, []release.Record{v1, v2, third(release.Refused)}, "v2", Options{}, "release 3 (v3) ended as refused"},
		"it was verified":           {[]release.Record{v1, v2, third(release.Started)}, []release.Record{v1, v2, third(good)}, "v3", Options{}, "release 3 (v3) ended as verified"},
		"it left what it made":      {[]release.Record{v1, v2, third(release.Started)}, []release.Record{v1, v2, third(failed)}, "v3", Options{}, ""},
		"it was cut off":            {[]release.Record{v1, v2, third(release.Started)}, []release.Record{v1, v2, third(release.Interrupted)}, "v3", Options{}, ""},
		"it was cut off at once":    {[]release.Record{v1, v2, third(release.Started)}, []release.Record{v1, v2, third(release.Interrupted)}, "v2", Options{}, "release 3 (v3) ended as interrupted"},
		"another rollback":          {[]release.Record{v1, v2, third(good)}, []release.Record{v1, v2, third(good), to2}, "v2", Options{}, "release 4 (v2) ended as verified"},
		"one that was under way":    {[]release.Record{v1, v2, third(good), rolling}, []release.Record{v1, v2, third(good), to2}, "v2", Options{}, "release 4 (v2) ended as verified"},
		"a fix":                     {[]release.Record{v1, v2, third(good)}, []release.Record{v1, v2, third(good), {Version: "v4", Outcome: good}}, "v4", Options{}, "and release 4 (v4) is the last verified one"},
		"a fix that was refused":    {[]release.Record{v1, v2, third(good)}, []release.Record{v1, v2, third(good), {Version: "v4", Outcome: release.Refused}}, "v3", Options{}, ""},
		"a fix that was cut off":    {[]release.Record{v1, v2, third(good)}, []release.Record{v1, v2, third(good), {Version: "v4", Outcome: release.Started}}, "v4", Options{}, "release 4 (v4) ended as interrupted"},
		"the first release":         {nil, []release.Record{v1, v2}, "v2", Options{}, "release 2 (v2) ended as verified"},
		"a fix, but one is named":   {[]release.Record{v1, v2, third(good)}, []release.Record{v1, v2, third(good), {Version: "v4", Outcome: good}}, "v4", Options{Version: "v2"}, ""},
		"a fix, by number as well":  {[]release.Record{v1, v2, third(good)}, []release.Record{v1, v2, third(good), {Version: "v4", Outcome: good}}, "v4", Options{Release: 2}, ""},
		"a look waits for nobody":   {[]release.Record{v1, v2}, []release.Record{v1, v2, third(good)}, "v3", Options{Asked: converge.Asked{DryRun: true}}, ""},
		"a fix failed, and is gone": {[]release.Record{v1, v2, third(good)}, []release.Record{v1, v2, third(good), {Version: "v4", Outcome: failed}}, "v3", Options{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, dir := ledger(t, c.seen...)
			c.ask.Project = "shop"
			seen, err := c.ask.seen(t.Context(), disk.Files{}, dir)
			require.NoError(t, err)
			l, _ := ledger(t, c.now...)
			got, err := choose(l, runs(c.runs), nil, c.ask)
			require.NoError(t, err)
			err = c.ask.overtaken(seen, l, got)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, fault.Refused, fault.Of(err))
			assert.Contains(t, fault.Hint(err), "rollback --release")
		})
	}
}
