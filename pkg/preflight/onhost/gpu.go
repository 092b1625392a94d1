package onhost

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// askGPU tells each GPU's memory, and who holds some of it: the container of a
// process stands in its cgroup.
const askGPU = `if command -v nvidia-smi >/dev/null 2>&1; then ` +
	`nvidia-smi --query-gpu=memory.total,memory.free --format=csv,noheader,nounits 2>/dev/null | sed 's/^/gpu /'; ` +
	`nvidia-smi --query-compute-apps=pid,used_gpu_memory --format=csv,noheader,nounits 2>/dev/null | ` +
	`while IFS=', ' read -r pid used rest; do echo "vram $used $pid $(tr '\n' ' ' 2>/dev/null </proc/$pid/cgroup)"; done; fi`

// Holder is a process that holds memory of a GPU. Container is its container's ID, ""
// for none.
type Holder struct {
	PID       string
	Bytes     int64
	Container string
}

// mebibytes reads a figure of nvidia-smi.
func mebibytes(text string) int64 {
	n, _ := strconv.ParseInt(strings.Trim(text, ","), 10, 64)
	return n << 20
}

// figure is what nvidia-smi says for each GPU: one that shares the host's memory has
// none of its own. Whatever else it says is why it cannot tell.
var figure = regexp.MustCompile(`^(\d+|\[N/A\]|\[Not),?$`)

func (h *Facts) addGPU(words []string) {
	if !figure.MatchString(words[0]) {
		return
	}
	h.GPUs++
	h.VRAM += mebibytes(words[0])
	if len(words) > 1 {
		h.FreeVRAM += mebibytes(words[1])
	}
}

var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

func (h *Facts) addHolder(words []string) {
	if len(words) < 2 {
		return
	}
	if _, err := strconv.Atoi(words[1]); err != nil {
		return
	}
	h.Holders = append(h.Holders, Holder{PID: words[1], Bytes: mebibytes(words[0]), Container: containerID.FindString(strings.Join(words[2:], " "))})
}

// foreignShare is how many hundredths of the GPUs' memory others may hold.
const foreignShare = 10

// gpus: a unit that reserves one starts only where there is one, and where others
// leave it room. What the stack's own units hold comes back when they are stopped.
func (f findings) gpus(p *plan.Plan, seen stack.Observed, h Facts) {
	for _, step := range p.Steps {
		if f.Stack.Services[step.Service] == nil || !step.Replaces() || !f.Stack.UsesGPU(step.Service) || f.ofOthers(step.Service) {
			continue
		}
		where := finding.At(step.Service, "deploy.resources.reservations")
		switch {
		case h.GPUs == 0:
			f.Warn("P15.gpu", where, "install the driver and the container toolkit; nvidia-smi has to answer", "it reserves a GPU, and nvidia-smi on the host shows none")
		case !h.GPURuntime:
			f.Warn("P15.runtime", where, "nvidia-ctk runtime configure --runtime=docker, then restart the engine", "it reserves a GPU, and the engine knows neither the runtime nvidia nor a CDI device")
		}
		f.vram(where, seen, h)
	}
}

// ofOthers tells whether a service names a GPU of a vendor of which nvidia-smi knows nothing,
// as "amd.com/gpu=all".
func (f findings) ofOthers(service string) bool {
	return slices.ContainsFunc(f.Stack.Project.Services[service].Devices, func(d types.DeviceMapping) bool {
		vendor, _, ok := strings.Cut(d.Source, "/gpu=")
		return ok && !strings.HasSuffix(vendor, "nvidia.com")
	})
}

func (f findings) vram(where finding.Place, seen stack.Observed, h Facts) {
	var foreign int64
	var who []string
	for _, holder := range h.Holders {
		if holder.Container != "" && owns(seen, holder.Container) {
			continue
		}
		foreign += holder.Bytes
		who = append(who, holder.PID)
	}
	// Without any unit of ours that could hold some, what is not free is others'.
	if len(h.Holders) == 0 && len(seen.Units) == 0 {
		foreign = h.VRAM - h.FreeVRAM
	}
	if h.VRAM > 0 && foreign*100 > h.VRAM*foreignShare {
		mend := "see who: nvidia-smi"
		if len(who) > 0 {
			mend = "see who: ps -fp " + strings.Join(who, ",")
		}
		f.Warn("P15.vram", where, mend, "%d of %d MiB of the GPUs' memory are held by others than this stack", foreign>>20, h.VRAM>>20)
	}
}

func owns(seen stack.Observed, container string) bool {
	for _, units := range seen.Units {
		if slices.ContainsFunc(units, func(u stack.Unit) bool { return u.ID == container }) {
			return true
		}
	}
	return false
}
