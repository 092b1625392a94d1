// Package onhost is the part of a preflight that is about the host: its clock, its
// engine, ports, room and GPUs against what the plan is about to ask of them. Probe
// is the command that tells them, Look reads nothing more; neither changes anything.
package onhost

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// Probe is the one command that tells what Look wants to know of a host. It only
// reads, and what a host does not have it leaves out.
const Probe = `echo "now $(date +%s)"; grep '^MemAvailable:' /proc/meminfo; ` +
	`cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {print "listen " $2}'; ` +
	askGPU

// Facts is what a host says of itself. Memory is in bytes and 0 where it is not
// known; so is the clock's zero time.
type Facts struct {
	Clock, Asked time.Time
	FreeMemory   int64
	// Listening are the TCP ports that somebody listens on, with the addresses.
	Listening map[string][]netip.Addr
	// GPUs is how many there are, VRAM and FreeVRAM what they have and have free;
	// Holders are the processes that hold some.
	GPUs           int
	VRAM, FreeVRAM int64
	Holders        []Holder
	// Version is the engine's, RootDir its own folder; GPURuntime is set when it can give
	// GPUs to containers.
	Version    string
	RootDir    string
	GPURuntime bool
	// Disk is the folder that images are pulled to, nil where it is not known or
	// nothing is pulled.
	Disk *Space
	// Backups are the folders of the dumps, one for each node that keeps some.
	Backups []Space
	// Remapped are the hosts of backups whose engine gives containers other users.
	Remapped []string
	// Resolved is how many images were found by digest.
	Resolved int
	// Unready are the databases that a migration needs and that do not answer, with
	// what was said.
	Unready map[string]string
	// Unforwarded is what the release has to connect to on the host and sshd does not
	// forward to.
	Unforwarded []string
	// Damaged is set when the ledger is; Missing are images of the last verified
	// release that the host has no more, by service; Lost says that it cannot be brought
	// back, and why.
	Damaged bool
	Missing []string
	Lost    string
	// Lacks is what services have of others on a Swarm and that is not there ("secret key").
	Lacks map[string][]string
}

// ReadProbe reads what Probe printed, asked at a moment of this machine's clock.
func ReadProbe(text string, asked time.Time) Facts {
	f := Facts{Asked: asked, Listening: map[string][]netip.Addr{}}
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
			f.addListener(words[1])
		case "gpu":
			f.addGPU(words[1:])
		case "vram":
			f.addHolder(words[1:])
		}
	}
	return f
}

// Space is what a file system has free. Needs is what will be written to it, in
// bytes; 0 where that is not known. Undumped is how large databases are of which no
// dump is known. On names the host or node that it is on.
// Guessed is set where it may be another folder that is written to.
type Space struct {
	On, Dir         string
	Free, Inodes    uint64
	Needs, Undumped int64
	Guessed         bool
}

// The most that the clocks of the host and of this machine may differ, and the
// oldest engine that this program was run against.
const (
	maxSkew   = 30 * time.Second
	minEngine = "20.10"
)

// pulled says how much of the images the host lacks.
func pulled(p *plan.Plan) string {
	var bytes int64
	for _, pull := range p.Pulls {
		if pull.Bytes == 0 {
			return fmt.Sprintf("%d to pull", len(p.Pulls))
		}
		bytes += pull.Bytes
	}
	if len(p.Pulls) == 0 {
		return "nothing to pull"
	}
	return fmt.Sprintf("%d to pull, %d MiB", len(p.Pulls), (bytes+1<<20-1)>>20)
}

// findings are those of a look.
type findings struct{ *finding.Findings }

// Look looks at what a host says of itself against the plan. It reads nothing more.
func Look(st *stack.Stack, p *plan.Plan, seen stack.Observed, h Facts) []check.Result {
	f := findings{finding.Of(context.Background(), st, finding.Options{})}
	f.clock(h)
	f.engine(seen, h)
	f.forwarding(h)
	f.hostPortsFree(p, seen, h)
	f.gpus(p, seen, h)
	f.migrations(p, seen)
	f.lacks(p, h)
	f.spaces(h)
	if len(h.Remapped) > 0 {
		f.Fail("P12.userns", finding.Place{}, "take userns-remap out of the engine's daemon.json, or release without x-shiksha.backups there and dump by other means",
			"the engine remaps users (userns-remap) on %s: a dump is written by a container, which may not write into the folder for backups then", strings.Join(h.Remapped, ", "))
	}
	for _, name := range finding.SortedKeys(h.Unready) {
		f.Fail("P11.database", finding.At(name, ""), "see what it says: docker logs of its unit; a migration needs it", "the database does not answer: %s", h.Unready[name])
	}
	if h.Damaged {
		f.Warn("P13.ledger", finding.Place{}, "look at it with: shiksha history", "a record of the ledger is damaged; what it said is not known")
	}
	switch {
	case h.Lost != "":
		// No refusal: a release that ends well is what mends it.
		f.Warn("P14.rollback", finding.Place{}, "first release what is sure to work: once that has ended well, it can be gone back to",
			"%s; a release that fails would stay as it is", h.Lost)
	case len(h.Missing) > 0:
		f.Warn("P14.rollback", finding.Place{}, "pull them by digest while their registry has them", "images of the release before are gone from the host: %s; going back would have to pull them",
			strings.Join(h.Missing, ", "))
	}
	if len(f.Results) == 0 {
		if h.Resolved > 0 {
			f.Pass("P04.registry", "every image was found by digest (%d), for this host's platform; %s", h.Resolved, pulled(p))
		}
		f.Pass("P10.host", "engine %s, clock, ports and the way back are as they should be", h.Version)
	}
	return f.Report().Results
}

func (f findings) clock(h Facts) {
	if h.Clock.IsZero() {
		f.Skip("P10.clock", finding.Place{}, "", "the host does not tell its time")
		return
	}
	if skew := h.Clock.Sub(h.Asked).Abs(); skew > maxSkew {
		f.Warn("P10.clock", finding.Place{}, "let the host keep its time: timedatectl set-ntp true", "its clock is off by %s: certificates and tokens depend on it", skew.Round(time.Second))
	}
}

func (f findings) engine(seen stack.Observed, h Facts) {
	if h.Version != "" && olderEngine(h.Version) {
		f.Fail("P10.engine", finding.Place{}, "install Docker Engine "+minEngine+" or newer", "the engine is %s", h.Version)
	}
	if strings.HasPrefix(h.RootDir, "/var/snap/") && mountsFiles(f.Stack, seen.Scheduled) && !snapSees(f.Stack.Dir) {
		f.Fail("P10.engine", finding.Place{}, "install Docker's own packages (docs.docker.com/engine/install) in its place, or name a folder below /home without a dot in its name as state-dir",
			"the engine is a snap, which does not see %s: no container that mounts a file of the workspace could be made", f.Stack.Dir)
	}
}

// mountsFiles tells whether a container mounts what lies in the state folder. A Swarm gives
// files to tasks as configs and secrets; a migration is a container there too.
func mountsFiles(st *stack.Stack, swarm bool) bool {
	for _, svc := range st.Services {
		if len(svc.Files) > 0 && (!swarm || svc.Ext.Migrate != nil) {
			return true
		}
	}
	return false
}

// snapSees tells whether an engine that is a snap can mount a folder of the host: what is
// in the homes of users and not hidden, and disks that are mounted where disks are.
// Source: the interfaces home and removable-media of snapd.
func snapSees(dir string) bool {
	if strings.HasPrefix(dir, "/home/") {
		return !strings.Contains(dir, "/.")
	}
	return slices.ContainsFunc([]string{"/mnt/", "/media/", "/run/media/", "/var/snap/"}, func(at string) bool { return strings.HasPrefix(dir, at) })
}

// forwarding: a gate or a check that cannot connect decides nothing, and every release
// would go back.
func (f findings) forwarding(h Facts) {
	if len(h.Unforwarded) > 0 {
		f.Fail("P10.forwarding", finding.Place{}, "allow it in its sshd_config (AllowTcpForwarding yes, without DisableForwarding; PermitOpen) "+
			"and in authorized_keys (port-forwarding behind restrict)", "sshd does not forward TCP, which is how these are reached: %s", strings.Join(h.Unforwarded, ", "))
	}
}

func olderEngine(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return err == nil && (a < 20 || a == 20 && b < 10)
}

// The least that has to be free, in bytes and inodes, wherever something is written.
const (
	leastDisk   = 1 << 30
	leastInodes = 10_000
	// unpacked is how many times larger layers are on the disk than on their way.
	unpacked = 3
	// dense is how many times smaller the dump of a database is than the database, at
	// the best that is to be hoped for: it is compressed and has no indexes. It may be
	// as large, of what cannot be compressed.
	dense = 4
)

// spaces: a full disk is learned half way otherwise.
func (f findings) spaces(h Facts) {
	if d := h.Disk; d != nil {
		need := max(leastDisk, uint64(d.Needs)*unpacked)
		const mend = "free some on the host, for example with: docker image prune (images of kept releases are tagged and stay)"
		tell := f.Fail
		if d.Guessed {
			tell = f.Warn
		}
		if d.Free < need {
			tell("P10.disk", finding.Place{}, mend, "only %d MiB are free in %s on the host, and images have to be pulled: they need %d MiB", d.Free>>20, d.Dir, need>>20)
		}
		if d.Inodes < leastInodes {
			tell("P10.inodes", finding.Place{}, mend, "only %d inodes are free in %s on the host, and images have to be pulled", d.Inodes, d.Dir)
		}
	}
	for _, b := range h.Backups {
		f.dumps(b)
	}
}

// dumps asks for room for the next dumps. How large a first one gets nobody knows:
// what surely fills the disk is refused, what may fill it is told.
func (f findings) dumps(b Space) {
	// The dump and the server that it is proven in.
	need, most := max(uint64(b.Needs)*unpacked, leastDisk/4), uint64(b.Undumped)
	free := "free some there, keep fewer backups (x-shiksha.backups.keep-days), or mount a larger disk at " + b.Dir
	first := fmt.Sprintf("only %d MiB are free in %s on %s; there is no dump yet of databases that take %d MiB, and a dump may need up to that", b.Free>>20, b.Dir, b.On, most>>20)
	switch {
	case b.Free < need:
		f.Fail("P12.space", finding.Place{}, free, "only %d MiB are free in %s on %s; the last dump was %d MiB, and it is proven beside it", b.Free>>20, b.Dir, b.On, b.Needs>>20)
	case b.Free < need+most/dense:
		hint := free
		if b.Free >= most/dense { // or else the dump refuses to begin
			hint += "; if you know that a dump is smaller, and the release that serves backs those up already, take one first with: shiksha backup, and its size is what counts"
		}
		f.Fail("P12.space", finding.Place{}, hint, "%s", first)
	case b.Free < need+most:
		f.Warn("P12.space", finding.Place{}, free, "%s", first)
	}
}
