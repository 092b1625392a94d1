package converge

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
)

// A sidecar that a run which was cut off created goes with what that run left, although its hash
// is in no record; one that was there before that run does not.
func TestAWayBackTakesAwayTheSidecarOfACutOffRun(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		model   string
		action  plan.Action
		created time.Time
		back    string
	}{
		"it made it":             {`{"network_mode": "service:api"}`, plan.Create, began.Add(time.Second), "remove extra"},
		"it was there before":    {`{"network_mode": "service:api"}`, plan.Create, began.Add(-time.Second), ""},
		"one of somebody was":    {`{"network_mode": "service:api"}`, plan.StopFirst, began.Add(time.Second), ""},
		"it shares with nothing": {`{}`, plan.Create, began.Add(time.Second), ""},
	} {
		cut := cutOffRun(release.Interrupted, "surge api")
		cut.Started, cut.Model = began, []byte(`{"services": {"api": {}, "extra": `+c.model+`}}`)
		cut.Services["extra"] = release.ServiceRecord{Hash: "v2", Replicas: 1, Action: string(c.action)}
		d, on := afterCutOff(t, map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": "v1", "extra": "v2"}, cut)
		on.units["extra"][0].Hash, on.units["extra"][0].Created = "of the container", c.created
		err := d.fail(t.Context(), errors.New("api-2 is unhealthy"))
		assert.Equal(t, fault.Failed, fault.Of(err), "%s: %v", name, err)
		assert.Equal(t, c.back, strings.Join(on.back, ", "), name)
	}
}

// A sidecar that a run which was cut off changed is left otherwise than before; one whose hash is
// of the unit that it shares with is not.
func TestWhatACutOffRunLeftOfASidecar(t *testing.T) {
	t.Parallel()
	before := cutOffShop(t)
	for _, name := range []string{"beat", "worker"} {
		c := before.Project.Services[name]
		c.NetworkMode = "service:api"
		before.Project.Services[name], before.Services[name].Shares = c, []string{"api"}
	}
	require.NoError(t, before.Pin(map[string]string{"api": "sha256:api", "beat": "sha256:beat", "worker": "sha256:worker", "search": "sha256:search"}))
	sealed, err := before.Seal()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		changed bool
		record  release.Record
		left    []string
	}{
		"it came to it":     {true, cutOffRun(release.Interrupted, "surge api"), []string{"beat"}},
		"it did not":        {false, cutOffRun(release.Interrupted, "surge api"), nil},
		"workers were told": {false, cutOffRun(release.Interrupted, "surge api", "drain worker"), []string{"worker"}},
	} {
		d, on := afterCutOff(t, map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": "v1"}, c.record)
		for _, name := range []string{"beat", "worker"} {
			on.units[name][0].Hash, err = before.ResolvedHash(name, d.facts.observed)
			require.NoError(t, err)
		}
		if c.changed {
			on.units["beat"][0].Hash = "of the container"
		}
		require.NoError(t, d.ledger.WriteSealed(t.Context(), 1, sealed))
		was, err := d.before(t.Context())
		require.NoError(t, err)
		left, _, err := d.leftOver(t.Context(), was, d.facts.observed)
		require.NoError(t, err)
		assert.Equal(t, c.left, left, name)
		d.opts.Services = []string{"api"}
		require.NoError(t, d.hides(t.Context()))
		assert.Len(t, d.plan.Refusals, len(c.left), name)
	}
}
