package gateway

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
)

// waitScript waits inside the container until the processes $2... have gone or $1
// steps of 50 ms have passed: one exec for many looks, and an answer at once. A
// sleep that knows no fractions makes steps of a second.
const waitScript = `
n=$1
shift
while [ "$n" -gt 0 ]; do
  left=
  for p; do [ -d "/proc/$p" ] && left=$p; done
  [ -n "$left" ] || break
  n=$((n - 1))
  sleep 0.05 2>/dev/null || { n=$((n - 19)); sleep 1 || break; }
done
` + lookScript

// heldScript prints what each of the processes $2... that are there has open, and the
// tables that say what its sockets are connected to. Links under /proc/<pid>/fd are readable
// for the owner of the process only, so it becomes that user where $1 names another one.
// One ls reads all links of a process, which may be thousands: what looks takes from nginx's
// own CPU. That it fails for one that was closed meanwhile says nothing.
const heldScript = `
uid=$1
shift
links='for p; do [ -d "/proc/$p" ] && echo "shiksha-of $p" && ls -ln "/proc/$p/fd" 2>/dev/null; done; :'
if [ "$uid" = "$(id -u)" ]; then
  sh -c "$links" sh "$@" || exit 97
else
  name=
  while IFS=: read -r n _ u _; do [ "$u" = "$uid" ] && name=$n; done </etc/passwd
  [ -n "$name" ] || exit 97
  su -s /bin/sh "$name" -c "set -- $*; $links" </dev/null || exit 97
fi
printf 'shiksha-tables\n'
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
printf 'shiksha-end\n'
`

// endScript ends those of the processes $2... that are still workers shutting
// down with the signal $1, and prints how many it could not signal.
const endScript = `
s=$1
shift
bad=0
for p; do
  c=
  { IFS= read -r c <"/proc/$p/cmdline"; } 2>/dev/null
  case $c in
  'nginx: worker process is shutting down'*) kill "-$s" "$p" || bad=$((bad + 1)) ;;
  esac
done
printf 'shiksha-end %s\n' "$bad"
`

// slice bounds one wait inside the container, so that an exec whose caller went
// away does not stay there for long.
const slice = 2 * time.Second

// Drained waits until no worker of a generation before gen is left, which is when
// the last request they had has been answered, at most for budget. At the end of
// the budget it counts the client connections that old workers still hold (each a
// WebSocket, an event stream or a very slow request) and ends these workers, unless
// KeepOldWorkers was given (then only the oldest of very many) or gen came of Latest. Where
// the container does not let the connections be counted, the number of old workers stands
// for theirs, each of which holds one at least. The fingerprint is of the moment the drain
// ended in.
func (g *Nginx) Drained(ctx context.Context, gen Generation, budget time.Duration) (left Left, end Fingerprint, err error) {
	unit, err := g.inspect(ctx)
	if err != nil {
		return left, end, err
	}
	deadline := time.Now().Add(budget)
	old, seen, err := g.older(ctx, gen, 0, nil)
	for err == nil && len(old) > 0 {
		rest := time.Until(deadline)
		if rest <= 0 {
			if left, err = g.cutOff(ctx, gen, old, budget); err == nil {
				end, err = g.Fingerprint(ctx)
			}
			return left, end, err
		}
		old, seen, err = g.older(ctx, gen, min(rest, slice), old)
	}
	switch {
	case err != nil:
		return left, end, err
	case seen.unsettled > 0:
		end, err = g.Fingerprint(ctx)
	default:
		g.known = &seen
		end, err = g.fingerprint(unit, seen)
	}
	return left, end, err
}

// Left is what old workers hold at the end of a drain, in connections of clients: those
// that were Cut, and those that are Kept by workers that live on.
type Left struct{ Cut, Kept int }

// older waits for old to go, at most for the given time, and gives the workers
// from before gen that are there then, with all that was seen.
func (g *Nginx) older(ctx context.Context, gen Generation, wait time.Duration, old []worker) ([]worker, sight, error) {
	steps := int((wait + 49*time.Millisecond) / (50 * time.Millisecond))
	res, err := g.script(ctx, "wait for nginx's old workers", waitScript, nil,
		append([]string{strconv.Itoa(steps)}, pids(old)...)...)
	if err != nil {
		return nil, sight{}, err
	}
	now, err := parseSight(res.stdout)
	if err != nil {
		return nil, now, g.fail("", "cannot see nginx's old workers: %w (exit %d) %s", err, res.exit, lastLines(res.stderr, 2))
	}
	if now.master != gen.master {
		return nil, now, g.fail("run this again", "somebody restarted nginx while its old workers drained, which clears the override")
	}
	left := slices.DeleteFunc(slices.Clone(now.workers), func(w worker) bool { return !gen.before(w) })
	return left, now, nil
}

// cutOff counts what old workers hold, and ends them, or leaves them alone.
func (g *Nginx) cutOff(ctx context.Context, gen Generation, old []worker, budget time.Duration) (Left, error) {
	held, exact := g.held(ctx, old)
	n := held.clients(old)
	if g.keepOld || gen.keep {
		g.say(event.Info, "", "%s through nginx's old workers live on after the drain budget of %s", counted(n, exact), budget)
		return Left{Kept: n}, g.thin(ctx, gen, old)
	}
	left, err := g.end(ctx, gen, old)
	switch {
	case err != nil:
	case len(left) > 0:
		g.say(event.Warning, "", "%s outlived the drain budget of %s, and %d old nginx workers could not be ended: "+
			"the connections end with the units behind them", counted(n, exact), budget, len(left))
	default:
		g.say(event.Warning, "", "%s cut at the end of the drain budget of %s", counted(n, exact), budget)
	}
	return Left{Cut: n}, err
}

func counted(n int, exact bool) string {
	if exact {
		return fmt.Sprintf("%d client connections", n)
	}
	return fmt.Sprintf("at least %d client connections", n)
}

// Old workers that are left alone are no more than leftWorkers, or leftGenerations times
// those that serve where that is more: each reload leaves some for as long as anybody
// holds a WebSocket through them, and each takes memory.
const leftWorkers, leftGenerations = 32, 4

// thin ends the oldest of the workers that were left alone, where they are too many.
func (g *Nginx) thin(ctx context.Context, gen Generation, old []worker) error {
	most := max(leftWorkers, leftGenerations*len(gen.workers))
	if gen.keep || len(old) <= most {
		return nil
	}
	byAge := slices.SortedFunc(slices.Values(old), func(a, b worker) int { return cmp.Compare(a.start, b.start) })
	oldest := byAge[:len(old)-most]
	left, err := g.end(ctx, gen, oldest)
	if err != nil {
		return err
	}
	g.say(event.Warning, "", "nginx has %d old workers with connections that do not end; %d of the oldest were ended with theirs "+
		"(worker_shutdown_timeout in its configuration ends each in time)", len(old), len(oldest)-len(left))
	return nil
}

// end ends old workers, with SIGKILL those that SIGTERM does not move, and gives
// those that are left all the same.
func (g *Nginx) end(ctx context.Context, gen Generation, old []worker) ([]worker, error) {
	for _, signal := range []string{"TERM", "KILL"} {
		res, err := g.script(ctx, "end nginx's old workers", endScript, nil, append([]string{signal}, pids(old)...)...)
		if err != nil {
			return old, err
		}
		if !strings.Contains(res.stdout, "shiksha-end 0\n") {
			return old, nil
		}
		now, _, err := g.older(ctx, gen, time.Second, old)
		old = slices.DeleteFunc(now, func(w worker) bool {
			return !slices.ContainsFunc(old, func(o worker) bool { return o.process == w.process })
		})
		if err != nil || len(old) == 0 {
			return nil, err
		}
	}
	return old, nil
}

// Held counts the connections that workers from before gen have to the given addresses:
// they end with the units there, also where these workers live on. Unasked are the clients
// of these workers that no connection to a unit is for: their request has not come, or not
// whole, and would be sent to where gen no longer sends it. (Or their answer is on its way
// from nginx's own buffers.) Where connections cannot be seen each of these workers stands for
// one such client, beside the error.
func (g *Nginx) Held(ctx context.Context, gen Generation, addrs []string) (to, unasked int, err error) {
	old, _, err := g.older(ctx, gen, 0, nil)
	if err != nil || len(old) == 0 {
		return 0, 0, err
	}
	links, tables, ok := g.sockets(ctx, old)
	for try := 0; !ok && try < 2; try++ {
		// One of them may have ended between two looks.
		if old, _, err = g.older(ctx, gen, 0, nil); err != nil || len(old) == 0 {
			return 0, 0, err
		}
		links, tables, ok = g.sockets(ctx, old)
	}
	if !ok {
		return 0, len(old), g.fail("", "the connections of nginx's old workers cannot be seen")
	}
	for _, h := range holdings(links, tables) {
		unasked += max(0, h.clients-h.units)
	}
	return countTo(links, tables, addrs), unasked, nil
}

// holding is how many connections a worker has from clients and to units.
type holding struct{ clients, units int }

// held says what workers hold, by process.
type held map[int]holding

func (h held) clients(of []worker) int {
	n := 0
	for _, w := range of {
		n += h[w.pid].clients
	}
	return n
}

// held counts the connections of old workers. Where it cannot, it takes each for one client.
func (g *Nginx) held(ctx context.Context, old []worker) (h held, exact bool) {
	if links, tables, ok := g.sockets(ctx, old); ok {
		return holdings(links, tables), true
	}
	h = held{}
	for _, w := range old {
		h[w.pid] = holding{clients: 1}
	}
	return h, false
}

// sockets gives the links to the sockets of old workers, and the kernel's tables.
func (g *Nginx) sockets(ctx context.Context, old []worker) (links, tables string, ok bool) {
	uids, err := g.script(ctx, "see who nginx's workers run as", uidScript, nil, pids(old)[0])
	if err != nil || strings.TrimSpace(uids.stdout) == "" {
		return "", "", false
	}
	res, err := g.script(ctx, "count the connections of nginx's old workers", heldScript, nil,
		append([]string{strings.TrimSpace(uids.stdout)}, pids(old)...)...)
	links, tables, whole := strings.Cut(res.stdout, "shiksha-tables\n")
	return links, tables, err == nil && res.exit == 0 && whole && readable(links) && strings.HasSuffix(tables, "shiksha-end\n")
}

// readable tells whether of each process some link could be read: each has some.
func readable(links string) bool {
	for of := range strings.SplitSeq(links, "shiksha-of ") {
		if of != "" && !strings.Contains(of, arrow) {
			return false
		}
	}
	return true
}

// arrow is what every ls puts between a link and what it leads to.
const arrow = " -> "

// uidScript prints the user of process $1.
const uidScript = `while read -r k v _; do [ "$k" = Uid: ] && printf '%s\n' "$v"; done <"/proc/$1/status"`

// socket is an established connection of a process: its local port and its remote address,
// as the kernel's tables have them.
type socket struct {
	pid          int
	port, remote string
}

// holdings counts the connections to a port that is listened on, which are clients', and
// the others, by process.
func holdings(links, tables string) held {
	h := held{}
	sockets, listening := matchSockets(links, tables)
	for _, s := range sockets {
		of := h[s.pid]
		if listening[s.port] {
			of.clients++
		} else {
			of.units++
		}
		h[s.pid] = of
	}
	return h
}

// countTo counts the connections to the given addresses.
func countTo(links, tables string, addrs []string) int {
	wanted := map[string]bool{}
	for _, a := range addrs {
		if addr, err := netip.ParseAddr(a); err == nil {
			wanted[kernelAddress(addr.Unmap())] = true
		}
	}
	count := 0
	sockets, _ := matchSockets(links, tables)
	for _, s := range sockets {
		if wanted[s.remote] {
			count++
		}
	}
	return count
}

// kernelAddress writes an address as the kernel's tables do: hexadecimal, the bytes of
// each four turned round.
func kernelAddress(addr netip.Addr) string {
	bytes := addr.AsSlice()
	for word := range slices.Chunk(bytes, 4) {
		slices.Reverse(word)
	}
	return strings.ToUpper(hex.EncodeToString(bytes))
}

// matchSockets matches the socket links (socket:[inode]) that ls listed of processes with the
// kernel's tables.
func matchSockets(links, tables string) (sockets []socket, listens map[string]bool) {
	const established, listening = "01", "0A"
	owners, pid := map[string]int{}, 0
	for line := range strings.Lines(links) {
		line = strings.TrimSpace(line)
		if of, isPID := strings.CutPrefix(line, "shiksha-of "); isPID {
			pid, _ = strconv.Atoi(of)
			continue
		}
		if _, link, ok := strings.Cut(line, arrow); ok {
			owners[strings.Trim(link, `'"`)] = pid
		}
	}
	listens = map[string]bool{}
	for line := range strings.Lines(tables) {
		// sl local remote st queues timer retransmits uid timeout inode ...
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		port := f[1][strings.LastIndexByte(f[1], ':')+1:]
		owner, ours := owners["socket:["+f[9]+"]"]
		switch {
		case f[3] == listening:
			listens[port] = true
		case f[3] == established && ours:
			remote, _, _ := strings.Cut(f[2], ":")
			sockets = append(sockets, socket{owner, port, remote})
		}
	}
	return sockets, listens
}

func pids(workers []worker) []string {
	sorted := slices.SortedFunc(slices.Values(workers), func(a, b worker) int { return cmp.Compare(a.pid, b.pid) })
	out := make([]string, len(sorted))
	for i, w := range sorted {
		out[i] = strconv.Itoa(w.pid)
	}
	return out
}
