package preflight_test

import (
	"os/exec"
	"strings"
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
	good := preflight.ReadProbe("now 1780315200\nMemAvailable: 1024 kB\nlisten 00000000:0016\ngpu 24576, 24000\n", time.Unix(1780315203, 0))
	good.Version, good.GPURuntime = "20.10.24", true
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

// A GPU unit that is replaced gives back what it holds; what others hold it does not.
func TestMemoryOfTheGPU(t *testing.T) {
	t.Parallel()
	st, _, err := load(t, files{"compose.yaml": "services:\n  llm: {image: \"example/llm:v2\", gpus: all}\n"}, "")
	require.NoError(t, err)
	own, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	seen := stack.Observed{Units: map[string][]stack.Unit{"llm": {{ID: own, Name: "shop-llm-1", State: stack.Running, Health: stack.HealthOK, Hash: "old"}}}}
	p := plan.Make(plan.Input{Desired: st, Observed: seen})
	require.Equal(t, plan.StopFirst, p.Steps[0].Action)
	about15 := func(text string) []check.Result {
		h := preflight.ReadProbe("now 1780315200\ngpu 24576, 1000\n"+text, time.Unix(1780315200, 0))
		h.Version, h.GPURuntime = "24.0.0", true
		return about(&check.Report{Results: preflight.Host(st, p, seen, h)}, "P15.vram")
	}
	assert.Empty(t, about15("vram 22000 71 0::/system.slice/docker-"+own+".scope\n"), "it is the unit's own")
	found := about15("vram 12000 71 0::/system.slice/docker-" + own + ".scope\nvram 10000 72 12:devices:/docker/" + other + "\nvram 1000 73 0::/user.slice\n")
	require.Len(t, found, 1)
	assert.Equal(t, "11000 of 24576 MiB of the GPUs' memory are held by others than this stack", found[0].Found)
	assert.Equal(t, "see who: ps -fp 72,73", found[0].Hint)

	h := preflight.ReadProbe("now 1780315200\ngpu 24576, 24000\n", time.Unix(1780315200, 0))
	assert.Len(t, about(&check.Report{Results: preflight.Host(st, p, seen, h)}, "P15.runtime"), 1)
	unchanged := &plan.Plan{Steps: []plan.Step{{Service: "llm", Action: plan.Unchanged}}}
	assert.Empty(t, about(&check.Report{Results: preflight.Host(st, unchanged, seen, h)}, "P15.runtime"), "one that stays is left alone")
}

func TestRoomOnTheHost(t *testing.T) {
	t.Parallel()
	st, _, err := load(t, files{"compose.yaml": "services:\n  db: {image: \"postgres:15\"}\n"}, "")
	require.NoError(t, err)
	p := plan.Make(plan.Input{Desired: st})
	good := preflight.HostFacts{Version: "24.0.0", Clock: now, Asked: now,
		Disk:    &preflight.Space{Dir: "/var/lib/docker", Free: 9 << 30, Inodes: 1e6, Needs: 2 << 30},
		Backups: &preflight.Space{Dir: "/var/lib/shiksha/shop/backups", Free: 4 << 30, Needs: 1 << 30}}
	good.Resolved = 1
	p.Pulls = []plan.Pull{{Service: "db", Bytes: 45 << 20}}
	whole := &check.Report{Results: preflight.Host(st, p, stack.Observed{}, good)}
	assert.Equal(t, "every image was found by digest (1), for this host's platform; 1 to pull, 45 MiB", about(whole, "P04.registry")[0].Found)
	good.Resolved = 0
	for name, c := range map[string]struct {
		edit  func(*preflight.HostFacts)
		check string
		says  string
	}{
		"disk":       {func(h *preflight.HostFacts) { h.Disk.Free = 5 << 30 }, "P10.disk", "only 5120 MiB are free in /var/lib/docker on the host, and images have to be pulled: they need 6144 MiB"},
		"least disk": {func(h *preflight.HostFacts) { h.Disk.Free, h.Disk.Needs = 200<<20, 0 }, "P10.disk", "they need 1024 MiB"},
		"inodes":     {func(h *preflight.HostFacts) { h.Disk.Inodes = 12 }, "P10.inodes", "only 12 inodes are free"},
		"backups":    {func(h *preflight.HostFacts) { h.Backups.Free = 2 << 30 }, "P12.space", "the last dump was 1024 MiB"},
		"database":   {func(h *preflight.HostFacts) { h.Unready = map[string]string{"db": "rejecting connections"} }, "P11.database", "rejecting connections"},
		"old engine": {func(h *preflight.HostFacts) { h.Version = "19.03.1" }, "P10.engine", "19.03.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, disk, backups := good, *good.Disk, *good.Backups
			h.Disk, h.Backups = &disk, &backups
			sound := preflight.Host(st, p, stack.Observed{}, h)
			require.Len(t, sound, 1)
			assert.Equal(t, check.Pass, sound[0].Outcome, sound[0].Found)
			c.edit(&h)
			found := about(&check.Report{Results: preflight.Host(st, p, stack.Observed{}, h)}, c.check)
			require.Len(t, found, 1)
			assert.Equal(t, check.Fail, found[0].Outcome)
			assert.Contains(t, found[0].Found, c.says)
			assert.NotEmpty(t, found[0].Hint)
		})
	}
}
