package preflight_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight"
	"github.com/shiksha/actions/pkg/stack"
)

func TestTheProbeOfAHost(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", preflight.Probe).Output()
	require.NoError(t, err)
	f := preflight.ReadProbe(string(out), time.Now())
	assert.WithinDuration(t, time.Now(), f.Clock, 5*time.Second)
	assert.Greater(t, f.FreeMemory, int64(16<<20))
}

func TestHost(t *testing.T) {
	t.Parallel()
	st, _, err := load(t, files{"compose.yaml": "services:\n  web: {image: \"example/web:v1\", ports: [\"8443:443\"]}\n  llm: {image: \"example/llm:v1\", gpus: all}\n"}, "")
	require.NoError(t, err)
	first := plan.Make(plan.Input{Desired: st})
	good := preflight.ReadProbe("now 1780315200\nMemAvailable: 1024 kB\nlisten 00000000:0016\ngpu 24576, 20000\n", time.Unix(1780315203, 0))
	good.Version = "20.10.24"
	assert.Equal(t, int64(1<<20), good.FreeMemory)
	r := &check.Report{Results: preflight.Host(st, first, stack.Observed{}, good)}
	require.Len(t, r.Results, 1)
	assert.Equal(t, check.Pass, r.Results[0].Outcome)

	bad := preflight.ReadProbe("now 1780315200\nlisten 00000000000000000000000000000000:20FB\n", time.Unix(1780315300, 0))
	bad.Version, bad.Damaged, bad.Missing = "19.03.1", true, []string{"web"}
	r = &check.Report{Results: preflight.Host(st, first, stack.Observed{}, bad)}
	for name, want := range map[string]check.Outcome{"P10.clock": check.Warn, "P10.engine": check.Fail, "P10.ports": check.Fail,
		"P13.ledger": check.Warn, "P14.rollback": check.Warn, "P15.gpu": check.Warn} {
		require.Len(t, about(r, name), 1, name)
		assert.Equal(t, want, about(r, name)[0].Outcome, name)
		assert.NotEmpty(t, about(r, name)[0].Hint, name)
	}
	seen := stack.Observed{Units: map[string][]stack.Unit{"old": {{ID: "1"}}}}
	r = &check.Report{Results: preflight.Host(st, first, seen, bad)}
	assert.Equal(t, check.Warn, about(r, "P10.ports")[0].Outcome, "another unit of the stack may hold it")
}
