package gateway

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
)

// reloadScript looks, tests the configuration ($2...), tells the master ($1) to load
// it, and looks again when most reloads are over: each exec costs more than that.
const reloadScript = `
m=$1
shift
look() {` + lookScript + `}
look
c=
{ IFS= read -r c <"/proc/$m/cmdline"; } 2>/dev/null
case $c in 'nginx: master process'*) ;; *) exit 96 ;; esac
"$@" -t >&2 || exit 94
kill -HUP "$m" || exit 95
printf 'shiksha-done\n'
sleep 0.05 2>/dev/null
look
`

// Generation is one set of workers that loaded the configuration together, and
// what it takes to tell older ones from it.
type Generation struct {
	master  process
	workers []process
	old     []process
	since   uint64
	// keep leaves the old ones alone at the end of a drain budget.
	keep bool
}

// before tells whether w belongs to an older generation. A worker that is not
// known by name (the master replaces one that died) is older when it was born
// before the first of this generation.
func (n Generation) before(w worker) bool {
	return slices.Contains(n.old, w.process) || w.start < n.since
}

// Reload makes nginx read its configuration and the override. It tests first, and
// it is done when new workers take connections and every old one is shutting down
// or gone. When nginx refuses, the old workers serve on and the error carries the
// [emerg] lines that could be had.
func (g *Nginx) Reload(ctx context.Context) (Generation, error) {
	was, res, err := g.signal(ctx)
	if err == nil && res.exit == exitStranger {
		// What was known of the processes is true no more.
		g.known = nil
		was, res, err = g.signal(ctx)
	}
	if err != nil {
		return Generation{}, err
	}
	switch {
	case res.exit == exitTest:
		return Generation{}, g.testFailed(res.stderr)
	case res.exit == exitSignal:
		return Generation{}, g.refuse(notSignalledHint, "%s: %s", notSignalled, lastLines(res.stderr, 1))
	}
	before, after, whole := strings.Cut(res.stdout, "shiksha-done\n")
	if res.exit != 0 || !whole {
		return Generation{}, g.fail("", "cannot reload nginx (exit %d): %s", res.exit, lastLines(res.stderr, 3))
	}
	seen, err := parseSight(before)
	if err != nil {
		return Generation{}, g.fail("", "cannot read /etc/hosts and the processes: %w", err)
	}
	if overrideSum(seen.hosts) != overrideSum(was.hosts) {
		return Generation{}, g.fail("run this again", "somebody restarted nginx before it was reloaded, which clears the override")
	}
	if seen.unsettled > 0 {
		seen = was
	}
	return g.confirm(ctx, seen, after)
}

// Latest gives the generation that takes connections now, without a reload: older than
// it are only workers that are on their way out already. Whose requests these have is
// not known, so those that outlive a drain budget are left alone.
func (g *Nginx) Latest(ctx context.Context) (Generation, error) {
	seen, err := g.look(ctx)
	if err != nil {
		return Generation{}, err
	}
	gen := Generation{master: seen.master, keep: true}
	for _, w := range seen.workers {
		if w.leaving {
			gen.old = append(gen.old, w.process)
		} else {
			gen.workers = append(gen.workers, w.process)
		}
	}
	return gen, nil
}

// signal tells nginx to load its configuration. It gives what was known before and
// what the script gave.
func (g *Nginx) signal(ctx context.Context) (was sight, res result, err error) {
	if was, err = g.recall(ctx); err != nil {
		return was, res, err
	}
	g.known = nil
	if len(was.workers) == 0 {
		return was, res, g.fail("look at the gateway's log", "nginx has no worker process")
	}
	res, err = g.script(ctx, "reload nginx", reloadScript, nil,
		append([]string{strconv.Itoa(was.master.pid)}, was.invocation...)...)
	return was, res, err
}

// confirm waits until the reload shows in the processes; first is the look that the
// script took right after its signal.
func (g *Nginx) confirm(ctx context.Context, was sight, first string) (Generation, error) {
	deadline := time.Now().Add(g.reloadTimeout)
	now, err := parseSight(first)
	if err != nil || now.unsettled > 0 {
		now, err = g.look(ctx)
	}
	for delay := 50 * time.Millisecond; ; delay = min(delay*3/2, 250*time.Millisecond) {
		if err != nil {
			return Generation{}, err
		}
		if now.master != was.master {
			return Generation{}, g.fail("run this again",
				"somebody restarted nginx while it was reloading, which clears the override")
		}
		if gen, ok := switched(was, now); ok {
			g.say(event.Debug, "", "nginx reloaded, %d new workers", len(gen.workers))
			return gen, nil
		}
		if time.Now().After(deadline) {
			return Generation{}, g.notTaken(ctx)
		}
		if err := grace.Pause(ctx, delay); err != nil {
			return Generation{}, g.fail("", "stopped while waiting for nginx's new workers: %w", err)
		}
		now, err = g.look(ctx)
	}
}

// switched tells whether the workers of now took over from those of was.
func switched(was, now sight) (Generation, bool) {
	gen := Generation{master: now.master}
	for _, w := range was.workers {
		gen.old = append(gen.old, w.process)
	}
	for _, w := range now.workers {
		switch known := slices.Contains(gen.old, w.process); {
		case known && !w.leaving:
			return Generation{}, false
		case !known && !w.leaving:
			gen.workers = append(gen.workers, w.process)
			if gen.since == 0 || w.start < gen.since {
				gen.since = w.start
			}
		}
	}
	return gen, len(gen.workers) > 0
}

// notTaken explains a reload that gave no new workers. nginx -t may pass and the
// master refuse all the same (an address taken, memory), and then only its log
// says why.
func (g *Nginx) notTaken(ctx context.Context) error {
	log, err := g.runner.Tail(ctx, g.unit.ID, 200)
	if err != nil {
		log = ""
	}
	reason := emergencies(log)
	if reason == "" {
		reason = "its log has no [emerg] line, its error_log may be a file"
	}
	return g.fail("the old configuration serves on; mend the gateway's configuration and run this again",
		"nginx did not take its configuration within %s: %s", g.reloadTimeout, reason)
}

// emergencies picks the last [emerg] lines of nginx's words; "" when it has none.
func emergencies(words string) string {
	var found []string
	for line := range strings.Lines(words) {
		if strings.Contains(line, "[emerg]") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found[max(0, len(found)-3):], " | ")
}

// lastLines gives the last n lines of text on one line.
func lastLines(text string, n int) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
