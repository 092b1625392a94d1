package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/grace"
)

// lookScript prints the hosts file, whether it can be written, and every nginx
// process with its /proc/<pid>/stat, whether we may signal it, and its title. It
// needs no ps: images of nginx have none. The last line proves that nothing is
// missing.
const lookScript = `
printf 'shiksha-hosts\n'
cat /etc/hosts || exit 90
printf '\nshiksha-writable '
[ -w /etc/hosts ] && printf yes
printf '\nshiksha-processes\n'
for d in /proc/[0-9]*; do
  c= s=
  { IFS= read -r c <"$d/cmdline"; IFS= read -r s <"$d/stat"; } 2>/dev/null
  case $c in
  'nginx: '*)
    k=no
    kill -0 "${d#/proc/}" 2>/dev/null && k=yes
    [ -n "$s" ] && printf '%s\t%s\t%s\n' "$s" "$k" "$c" ;;
  esac
done
printf 'shiksha-end\n'
`

// process names one process for good: a pid alone is reused. start is in clock
// ticks since boot.
type process struct {
	pid   int
	start uint64
}

func (p process) String() string { return fmt.Sprintf("%d@%d", p.pid, p.start) }

// worker is one worker process; leaving is set while it is shutting down.
type worker struct {
	process
	leaving bool
}

// sight is what one look at the container gave. More than one master means a
// worker that was just born (it carries its parent's title for a moment) or an
// upgrade of the binary under way: unsettled then counts them.
type sight struct {
	hosts      string
	writable   bool
	master     process
	signalled  bool // whether we may signal the master
	invocation []string
	workers    []worker
	unsettled  int
}

// look reads the hosts file and the processes of the container in one exec.
func (g *Nginx) look(ctx context.Context) (sight, error) {
	g.known = nil
	seen, err := g.settledLook(ctx)
	if err == nil {
		g.known = &seen
	}
	return seen, err
}

// recall gives what is known, and looks where that is nothing.
func (g *Nginx) recall(ctx context.Context) (sight, error) {
	if g.known != nil {
		return *g.known, nil
	}
	return g.look(ctx)
}

// settledLook looks until there is one master.
func (g *Nginx) settledLook(ctx context.Context) (sight, error) {
	for attempt := 0; ; attempt++ {
		res, err := g.script(ctx, "read /etc/hosts and the processes", lookScript, nil)
		if err != nil {
			return sight{}, err
		}
		seen, err := parseSight(res.stdout)
		if err != nil {
			return sight{}, g.fail("", "cannot read /etc/hosts and the processes: %w (exit %d) %s",
				err, res.exit, lastLines(res.stderr, 2))
		}
		switch {
		case seen.master.pid == 0:
			return seen, g.refuse("let the gateway service run nginx itself, with its master process", "%w", errNoMaster)
		case seen.unsettled == 0:
			return seen, nil
		case attempt == 5:
			return seen, g.fail("finish the upgrade of the nginx binary there, then run this again",
				"more than one nginx master process runs")
		}
		if err := grace.Pause(ctx, 100*time.Millisecond); err != nil {
			return sight{}, g.fail("", "stopped while waiting for one nginx master process: %w", err)
		}
	}
}

// parseSight reads what lookScript printed.
func parseSight(out string) (sight, error) {
	rest, ok := strings.CutPrefix(out, "shiksha-hosts\n")
	if !ok {
		return sight{}, errIncomplete
	}
	hosts, rest, ok := strings.Cut(rest, "\nshiksha-writable ")
	if !ok {
		return sight{}, errIncomplete
	}
	writable, rest, ok := strings.Cut(rest, "\nshiksha-processes\n")
	if !ok {
		return sight{}, errIncomplete
	}
	lines, ok := strings.CutSuffix(rest, "shiksha-end\n")
	if !ok {
		return sight{}, errIncomplete
	}
	seen := sight{hosts: hosts, writable: writable == "yes"}
	return seen, seen.readProcesses(lines)
}

// readProcesses sorts the nginx processes into one master and its workers.
func (s *sight) readProcesses(lines string) error {
	parents := map[int]int{}
	masters := map[int]bool{}
	for line := range strings.Lines(lines) {
		stat, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		signalled, title, ok := strings.Cut(rest, "\t")
		p, parent, err := parseStat(stat)
		if err != nil || !ok {
			return errIncomplete
		}
		parents[p.pid] = parent
		switch role := strings.TrimPrefix(title, "nginx: "); {
		case strings.HasPrefix(role, "master process"):
			masters[p.pid] = true
			if s.master.pid == 0 || p.start < s.master.start || p.start == s.master.start && p.pid < s.master.pid {
				s.master, s.signalled = p, signalled == "yes"
				s.invocation = invocation(strings.TrimPrefix(role, "master process"))
			}
		case strings.HasPrefix(role, "worker process"):
			s.workers = append(s.workers, worker{process: p, leaving: strings.Contains(role, "is shutting down")})
		}
	}
	s.unsettled = max(0, len(masters)-1)
	s.workers = slices.DeleteFunc(s.workers, func(w worker) bool { return !masters[parents[w.pid]] })
	slices.SortFunc(s.workers, func(a, b worker) int { return a.pid - b.pid })
	return nil
}

// parseStat takes pid, parent and start time from a line of /proc/<pid>/stat. The
// name in brackets may hold anything, so fields count from its last bracket.
func parseStat(stat string) (p process, parent int, err error) {
	pid, _, _ := strings.Cut(stat, " ")
	if p.pid, err = strconv.Atoi(pid); err != nil {
		return p, 0, err
	}
	if p.pid < 1 {
		// To signal "process 0" is to signal everybody in one's own group.
		return p, 0, errIncomplete
	}
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if end < 0 || len(fields) < 20 {
		return p, 0, errIncomplete
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, 0, err
	}
	p.start, err = strconv.ParseUint(fields[19], 10, 64)
	return p, parent, err
}

// invocation gives the command that tests the configuration the running master
// uses: its program with its own -c, -p, -e and -g. The title has lost the bounds
// between arguments, so -g takes words up to the next flag.
func invocation(title string) []string {
	words := strings.Fields(title)
	if len(words) == 0 {
		return []string{"nginx"}
	}
	argv := words[:1:1]
	for i := 1; i < len(words); i++ {
		flag := words[i]
		if len(flag) < 2 || flag[0] != '-' || !strings.ContainsRune("cpeg", rune(flag[1])) {
			continue
		}
		var value []string
		if len(flag) > 2 {
			value = append(value, flag[2:])
		}
		for i+1 < len(words) && (len(value) == 0 || flag[1] == 'g' && words[i+1][0] != '-') {
			i++
			value = append(value, words[i])
		}
		argv = append(argv, flag[:2], strings.Join(value, " "))
	}
	return argv
}
