package onhost_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/onhost"
	"github.com/shiksha/actions/pkg/stack"
)

// now is when the tests look at the host's clock.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// load reads a Compose file that stands alone in a workspace.
func load(t *testing.T, text string) *stack.Stack {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o644))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	return st
}

// about gives the results of one check.
func about(results []check.Result, name string) []check.Result {
	return slices.DeleteFunc(slices.Clone(results), func(r check.Result) bool { return r.Name != name && !strings.HasPrefix(r.Name, name+" ") })
}

func TestTheProbeOfAHost(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", onhost.Probe).Output()
	require.NoError(t, err)
	f := onhost.ReadProbe(string(out), time.Now())
	assert.WithinDuration(t, time.Now(), f.Clock, 5*time.Second)
	assert.Greater(t, f.FreeMemory, int64(16<<20))
}

func TestTheHostAgainstThePlan(t *testing.T) {
	t.Parallel()
	st := load(t, "services:\n  web: {image: \"example/web:v1\", ports: [\"8443:443\"]}\n  llm: {image: \"example/llm:v1\", gpus: all}\n")
	first := plan.Make(plan.Input{Desired: st})
	good := onhost.ReadProbe("now 1780315200\nMemAvailable: 1024 kB\nlisten 00000000:0016\ngpu 24576, 24000\n", time.Unix(1780315203, 0))
	good.Version, good.GPURuntime = "20.10.24", true
	assert.Equal(t, int64(1<<20), good.FreeMemory)
	r := onhost.Look(st, first, stack.Observed{}, good)
	require.Len(t, r, 1)
	assert.Equal(t, check.Pass, r[0].Outcome)

	bad := onhost.ReadProbe("now 1780315200\nlisten 00000000000000000000000000000000:20FB\n", time.Unix(1780315300, 0))
	bad.Version, bad.Damaged, bad.Missing = "19.03.1", true, []string{"web"}
	r = onhost.Look(st, first, stack.Observed{}, bad)
	for name, want := range map[string]check.Outcome{"P10.clock": check.Warn, "P10.engine": check.Fail, "P10.ports": check.Fail,
		"P13.ledger": check.Warn, "P14.rollback": check.Warn, "P15.gpu": check.Warn} {
		require.Len(t, about(r, name), 1, name)
		assert.Equal(t, want, about(r, name)[0].Outcome, name)
		assert.NotEmpty(t, about(r, name)[0].Hint, name)
	}
	seen := stack.Observed{Units: map[string][]stack.Unit{"old": {{ID: "1"}}}}
	r = onhost.Look(st, first, seen, bad)
	assert.Equal(t, check.Warn, about(r, "P10.ports")[0].Outcome, "another unit of the stack may hold it")

	// Images are nothing to pull for a release that cannot be brought back at all.
	good.Lost, good.Missing = "v1 cannot be brought back: it is damaged", []string{"web"}
	r = onhost.Look(st, first, stack.Observed{}, good)
	require.Len(t, r, 1, "and the way back is not as it should be")
	assert.Equal(t, check.Warn, r[0].Outcome)
	assert.Equal(t, "v1 cannot be brought back: it is damaged; a release that fails would stay as it is", r[0].Found)
}

// A GPU that is given by its CDI name is looked for as any other, unless it is of a vendor
// of which nvidia-smi knows nothing.
func TestAGPUGivenByCDI(t *testing.T) {
	t.Parallel()
	for device, want := range map[string]int{"nvidia.com/gpu=all": 1, "management.nvidia.com/gpu=0": 1, "amd.com/gpu=all": 0, "/dev/dri:/dev/dri": 0} {
		st := load(t, "services:\n  llm: {image: \"example/llm:v2\", devices: [\""+device+"\"]}\n")
		st.Services["llm"].Update.Order = stack.StartFirst
		seen := stack.Observed{Units: map[string][]stack.Unit{"llm": {{ID: "1", Name: "shop-llm-1", State: stack.Running, Health: stack.HealthOK, Hash: "old"}}}}
		p := plan.Make(plan.Input{Desired: st, Observed: seen})
		if strings.Contains(device, "/gpu=") {
			assert.Equal(t, plan.StopFirst, p.Steps[0].Action, device)
		} else {
			assert.Equal(t, plan.Surge, p.Steps[0].Action, device)
		}
		h := onhost.ReadProbe("now 1780315200\n", time.Unix(1780315200, 0))
		assert.Len(t, about(onhost.Look(st, p, seen, h), "P15.gpu"), want, device)
	}
}

// A GPU unit that is replaced gives back what it holds; what others hold it does not.
func TestMemoryOfTheGPU(t *testing.T) {
	t.Parallel()
	st := load(t, "services:\n  llm: {image: \"example/llm:v2\", gpus: all}\n")
	own, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	seen := stack.Observed{Units: map[string][]stack.Unit{"llm": {{ID: own, Name: "shop-llm-1", State: stack.Running, Health: stack.HealthOK, Hash: "old"}}}}
	p := plan.Make(plan.Input{Desired: st, Observed: seen})
	require.Equal(t, plan.StopFirst, p.Steps[0].Action)
	about15 := func(text string) []check.Result {
		h := onhost.ReadProbe("now 1780315200\ngpu 24576, 1000\n"+text, time.Unix(1780315200, 0))
		h.Version, h.GPURuntime = "24.0.0", true
		return about(onhost.Look(st, p, seen, h), "P15.vram")
	}
	assert.Empty(t, about15("vram 22000 71 0::/system.slice/docker-"+own+".scope\n"), "it is the unit's own")
	found := about15("vram 12000 71 0::/system.slice/docker-" + own + ".scope\nvram 10000 72 12:devices:/docker/" + other + "\nvram 1000 73 0::/user.slice\n")
	require.Len(t, found, 1)
	assert.Equal(t, "11000 of 24576 MiB of the GPUs' memory are held by others than this stack", found[0].Found)
	assert.Equal(t, "see who: ps -fp 72,73", found[0].Hint)

	h := onhost.ReadProbe("now 1780315200\ngpu 24576, 24000\n", time.Unix(1780315200, 0))
	assert.Len(t, about(onhost.Look(st, p, seen, h), "P15.runtime"), 1)
	unchanged := &plan.Plan{Steps: []plan.Step{{Service: "llm", Action: plan.Unchanged}}}
	assert.Empty(t, about(onhost.Look(st, unchanged, seen, h), "P15.runtime"), "one that stays is left alone")
}

// nvidia-smi says on its standard output, too, that it cannot tell.
func TestWordsOfNvidiaSMIAreNoGPU(t *testing.T) {
	t.Parallel()
	for _, said := range []string{
		"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "No devices were found",
		"Failed to initialize NVML: Driver/library version mismatch", "NVML library version: 570.86",
	} {
		h := onhost.ReadProbe("gpu "+said+"\nvram has NVIDIA-SMI \n", now)
		assert.Zero(t, h.GPUs, said)
		assert.Empty(t, h.Holders, said)
	}
	h := onhost.ReadProbe("gpu 24576, 24000\ngpu [N/A], [N/A]\ngpu [Not Supported], [Not Supported]\nvram [N/A] 71 0::/\n", now)
	assert.Equal(t, 3, h.GPUs, "one that shares the host's memory tells none of its own")
	assert.Equal(t, int64(24576<<20), h.VRAM)
	assert.Len(t, h.Holders, 1)
}

func TestRoomOnTheHost(t *testing.T) {
	t.Parallel()
	st := load(t, "services:\n  db: {image: \"postgres:15\"}\n")
	p := plan.Make(plan.Input{Desired: st})
	good := onhost.Facts{Version: "24.0.0", Clock: now, Asked: now,
		Disk:    &onhost.Space{Dir: "/var/lib/docker", Free: 9 << 30, Inodes: 1e6, Needs: 2 << 30},
		Backups: []onhost.Space{{On: "the host", Dir: "/var/lib/shiksha/shop/backups", Free: 4 << 30}, {On: "node two", Dir: "/srv/shop/backups", Free: 4 << 30, Needs: 1 << 30}}}
	good.Resolved = 1
	p.Pulls = []plan.Pull{{Service: "db", Bytes: 45 << 20}}
	whole := onhost.Look(st, p, stack.Observed{}, good)
	assert.Equal(t, "every image was found by digest (1), for this host's platform; 1 to pull, 45 MiB", about(whole, "P04.registry")[0].Found)
	good.Resolved = 0
	for name, c := range map[string]struct {
		edit  func(*onhost.Facts)
		check string
		says  string
	}{
		"disk":       {func(h *onhost.Facts) { h.Disk.Free = 5 << 30 }, "P10.disk", "only 5120 MiB are free in /var/lib/docker on the host, and images have to be pulled: they need 6144 MiB"},
		"least disk": {func(h *onhost.Facts) { h.Disk.Free, h.Disk.Needs = 200<<20, 0 }, "P10.disk", "they need 1024 MiB"},
		"inodes":     {func(h *onhost.Facts) { h.Disk.Inodes = 12 }, "P10.inodes", "only 12 inodes are free"},
		"backups":    {func(h *onhost.Facts) { h.Backups[1].Free = 2 << 30 }, "P12.space", "only 2048 MiB are free in /srv/shop/backups on node two; the last dump was 1024 MiB"},
		"database":   {func(h *onhost.Facts) { h.Unready = map[string]string{"db": "rejecting connections"} }, "P11.database", "rejecting connections"},
		"userns":     {func(h *onhost.Facts) { h.Remapped = []string{"the host", "node two"} }, "P12.userns", "(userns-remap) on the host, node two"},
		"no way":     {func(h *onhost.Facts) { h.Unforwarded = []string{"port 80 of web", "what x asks"} }, "P10.forwarding", "reached: port 80 of web, what x asks"},
		"old engine": {func(h *onhost.Facts) { h.Version = "19.03.1" }, "P10.engine", "19.03.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, disk, backups := good, *good.Disk, slices.Clone(good.Backups)
			h.Disk, h.Backups = &disk, backups
			sound := onhost.Look(st, p, stack.Observed{}, h)
			require.Len(t, sound, 1)
			assert.Equal(t, check.Pass, sound[0].Outcome, sound[0].Found)
			c.edit(&h)
			found := about(onhost.Look(st, p, stack.Observed{}, h), c.check)
			require.Len(t, found, 1)
			assert.Equal(t, check.Fail, found[0].Outcome)
			assert.Contains(t, found[0].Found, c.says)
			assert.NotEmpty(t, found[0].Hint)
		})
	}
}

// The engine of a snap sees the homes and mounted disks only.
func TestASnapsEngineAndTheStateFolder(t *testing.T) {
	t.Parallel()
	for dir, sees := range map[string]bool{
		"/var/lib/shiksha/shop": false, "/home/deploy/.local/state/shiksha/shop": false, "/root/state/shop": false,
		"/home/deploy/state/shop": true, "/mnt/data/shop": true,
	} {
		st := load(t, "services:\n  web: {image: \"nginx:1\"}\n")
		st.Dir, st.Services["web"].Files = dir, []stack.File{{Service: "web"}}
		p := plan.Make(plan.Input{Desired: st})
		h := onhost.Facts{Version: "28.4.0", RootDir: "/var/snap/docker/common/var-lib-docker", Clock: now, Asked: now}
		refused := func() bool { return len(about(onhost.Look(st, p, stack.Observed{}, h), "P10.engine")) == 1 }
		assert.Equal(t, !sees, refused(), dir)
		assert.Empty(t, about(onhost.Look(st, p, stack.Observed{Scheduled: true}, h), "P10.engine"), "a Swarm hands files out as configs and secrets")
		st.Services["web"].Ext.Migrate = &stack.Migrate{}
		moved := about(onhost.Look(st, p, stack.Observed{Scheduled: true}, h), "P10.engine")
		assert.Equal(t, !sees, len(moved) == 1, "its migration is a container of the manager's: %s", dir)
		h.RootDir = "/var/lib/docker"
		assert.False(t, refused(), dir)
		h.RootDir, st.Services["web"].Files = "/var/snap/docker/common/var-lib-docker", nil
		assert.False(t, refused(), "a stack without files mounts none")
	}
}

// A folder that images may not be pulled to at all is no reason to stop.
func TestRoomInAGuessedFolder(t *testing.T) {
	t.Parallel()
	st := load(t, "services:\n  db: {image: \"postgres:15\"}\n")
	h := onhost.Facts{Version: "24.0.0", Clock: now, Asked: now, Disk: &onhost.Space{Dir: "/var/lib/containerd", Free: 1 << 20, Inodes: 12, Guessed: true}}
	results := onhost.Look(st, plan.Make(plan.Input{Desired: st}), stack.Observed{}, h)
	for _, name := range []string{"P10.disk", "P10.inodes"} {
		found := about(results, name)
		require.Len(t, found, 1, name)
		assert.Equal(t, check.Warn, found[0].Outcome, name)
	}
}

// Of a first dump nobody knows how large it gets. What surely fills the disk is
// refused, what may fill it is told, and nobody is locked out for nothing.
func TestRoomForAFirstDump(t *testing.T) {
	t.Parallel()
	st := load(t, "services:\n  db: {image: \"postgres:15\"}\n")
	p := plan.Make(plan.Input{Desired: st})
	for free, want := range map[uint64]check.Outcome{20: check.Fail, 60: check.Warn, 120: check.Pass} {
		h := onhost.Facts{Version: "24.0.0", Clock: now, Asked: now,
			Backups: []onhost.Space{{On: "the host", Dir: "/backups", Free: free << 30, Undumped: 100 << 30}}}
		found := about(onhost.Look(st, p, stack.Observed{}, h), "P12.space")
		if want == check.Pass {
			assert.Empty(t, found)
			continue
		}
		require.Len(t, found, 1, free)
		assert.Equal(t, want, found[0].Outcome, free)
		assert.Contains(t, found[0].Found, "no dump yet of databases that take 102400 MiB, and a dump may need up to that")
		assert.Contains(t, found[0].Hint, "or mount a larger disk at /backups")
		assert.NotContains(t, found[0].Hint, "shiksha backup", "a dump begins with a quarter free")
		h.Backups[0].Needs = 50 << 30
		found = about(onhost.Look(st, p, stack.Observed{}, h), "P12.space")
		require.Len(t, found, 1)
		assert.Equal(t, check.Fail, found[0].Outcome, "another database's last dump counts beside it")
		h.Backups[0].Needs, h.Backups[0].Free = 1<<30, 26<<30
		found = about(onhost.Look(st, p, stack.Observed{}, h), "P12.space")
		require.Len(t, found, 1)
		assert.Contains(t, found[0].Hint, "backs those up already, take one first with: shiksha backup")
	}
}
