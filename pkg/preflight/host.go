package preflight

import (
	"bufio"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// Probe is the one command that tells what Host wants to know of a host. It only
// reads, and what a host does not have it leaves out.
const Probe = `echo "now $(date +%s)"; grep '^MemAvailable:' /proc/meminfo; ` +
	`cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {print "listen " $2}'; ` +
	`nvidia-smi --query-gpu=memory.total,memory.free --format=csv,noheader,nounits 2>/dev/null | sed 's/^/gpu /'`

// HostFacts is what a host says of itself. Memory is in bytes and 0 where it is not
// known; so is the clock's zero time.
type HostFacts struct {
	Clock, Asked time.Time
	FreeMemory   int64
	// Listening are the TCP ports that somebody listens on at any address.
	Listening map[string]bool
	// GPUs is how many there are.
	GPUs int
	// Version is the engine's.
	Version string
	// Damaged is set when the ledger is; Missing are images of the last verified
	// release that the host has no more, by service.
	Damaged bool
	Missing []string
}

// ReadProbe reads what Probe printed, asked at a moment of this machine's clock.
func ReadProbe(text string, asked time.Time) HostFacts {
	f := HostFacts{Asked: asked, Listening: map[string]bool{}}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "now":
			if n, err := strconv.ParseInt(words[1], 10, 64); err == nil {
				f.Clock = time.Unix(n, 0)
			}
		case "MemAvailable:":
			n, _ := strconv.ParseInt(words[1], 10, 64)
			f.FreeMemory = n << 10
		case "listen":
			_, hex, _ := strings.Cut(words[1], ":")
			if n, err := strconv.ParseUint(hex, 16, 16); err == nil {
				f.Listening[strconv.FormatUint(n, 10)] = true
			}
		case "gpu":
			f.GPUs++
		}
	}
	return f
}

// The most that the clocks of the host and of this machine may differ, and the
// oldest engine that this program was run against.
const (
	maxSkew   = 30 * time.Second
	minEngine = "20.10"
)

// Host looks at what a host says of itself against the plan. It reads nothing more.
func Host(st *stack.Stack, p *plan.Plan, seen stack.Observed, h HostFacts) []check.Result {
	f := &findings{Findings: finding.Of(context.Background(), st, Options{})}
	f.clock(h)
	f.engine(h)
	f.hostPortsFree(p, seen, h)
	f.gpus(p, h)
	if h.Damaged {
		f.Warn("P13.ledger", finding.Place{}, "look at it with: shiksha history", "a record of the ledger is damaged; what it said is not known")
	}
	if len(h.Missing) > 0 {
		f.Warn("P14.rollback", finding.Place{}, "pull them by digest while their registry has them", "images of the release before are gone from the host: %s; going back would have to pull them",
			strings.Join(h.Missing, ", "))
	}
	if len(f.Results) == 0 {
		f.Pass("P10.host", "engine %s, clock, ports and the way back are as they should be", h.Version)
	}
	return f.Report().Results
}

func (f *findings) clock(h HostFacts) {
	if h.Clock.IsZero() {
		f.Skip("P10.clock", finding.Place{}, "", "the host does not tell its time")
		return
	}
	if skew := h.Clock.Sub(h.Asked).Abs(); skew > maxSkew {
		f.Warn("P10.clock", finding.Place{}, "let the host keep its time: timedatectl set-ntp true", "its clock is off by %s: certificates and tokens depend on it", skew.Round(time.Second))
	}
}

func (f *findings) engine(h HostFacts) {
	if h.Version != "" && olderEngine(h.Version) {
		f.Fail("P10.engine", finding.Place{}, "install Docker Engine "+minEngine+" or newer", "the engine is %s", h.Version)
	}
}

func olderEngine(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return err == nil && (a < 20 || a == 20 && b < 10)
}

// hostPortsFree finds ports that a new service wants and that somebody has. Where
// units of the stack run one of them may be it.
func (f *findings) hostPortsFree(p *plan.Plan, seen stack.Observed, h HostFacts) {
	for _, step := range p.Steps {
		svc := f.Stack.Services[step.Service]
		if step.Action != plan.Create || svc == nil {
			continue
		}
		for _, port := range svc.HostPorts {
			number, isTCP := strings.CutSuffix(port, "/tcp")
			if !isTCP || !h.Listening[number] {
				continue
			}
			tell := f.Warn
			if len(seen.Units) == 0 {
				tell = f.Fail
			}
			tell("P10.ports", finding.At(svc.Name, "ports"), "see who: ss -ltnp 'sport = :"+number+"'", "port %s of the host is taken by somebody", number)
		}
	}
}

// gpus: a unit that reserves one starts only where there is one.
func (f *findings) gpus(p *plan.Plan, h HostFacts) {
	for _, step := range p.Steps {
		if f.Stack.Services[step.Service] != nil && step.Replaces() && f.Stack.UsesGPU(step.Service) && h.GPUs == 0 {
			f.Warn("P15.gpu", finding.At(step.Service, "deploy.resources.reservations"), "install the driver and the container toolkit; nvidia-smi has to answer",
				"it reserves a GPU, and nvidia-smi on the host shows none")
		}
	}
}
