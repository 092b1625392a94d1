package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/event"
)

// mark begins the comment on each line that is ours: `10.0.0.5 api # shiksha:api`.
const mark = "# shiksha:"

var (
	errNoMaster   = errors.New("no nginx master process runs in it")
	errIncomplete = errors.New("the answer is not complete")
	serviceName   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)
)

// writeScript replaces the content of /etc/hosts, tests nginx's configuration with
// it and puts the old content back when the test fails or the new one is not there as a
// whole (a full disk), which the look after the write tells. Stdin is the old content,
// $1, the new content, $1: a stdin that was cut off, or a file that somebody else
// wrote since it was read, changes nothing. The file is a bind mount, so it is
// written in place. $2... is the nginx to test with; none, no test.
const writeScript = `
in=$(cat; printf x)
case $in in *"$1"*"$1"x) ;; *) exit 91 ;; esac
old=${in%%"$1"*}
new=${in#*"$1"}
new=${new%"$1"x}
shift
now=$(cat /etc/hosts; printf x)
[ "$now" = "${old}x" ] || exit 92
printf '%s' "$new" >/etc/hosts
now=$(cat /etc/hosts; printf x)
if [ "$now" != "${new}x" ]; then printf '%s' "$old" >/etc/hosts; exit 93; fi
if [ $# -gt 0 ] && ! "$@" -t >&2; then printf '%s' "$old" >/etc/hosts; exit 94; fi
printf 'shiksha-done\n'
`

// Exit codes of writeScript and reloadScript.
const (
	exitCut      = 91
	exitChanged  = 92
	exitWrite    = 93
	exitTest     = 94
	exitSignal   = 95
	exitStranger = 96
)

// Set makes addrs (IP addresses, at least one) the only ones that nginx finds for
// the name of the service at its next reload. Other services' addresses and other
// lines stay. The configuration is tested with it; when the test fails the old
// content is back in place and the error carries nginx's words. musl, the libc of
// Alpine, reads 48 addresses of one name at most.
func (g *Nginx) Set(ctx context.Context, service string, addrs []string) error {
	lines, err := markedLines(service, addrs)
	if err != nil {
		return g.fail("", "%w", err)
	}
	return g.edit(ctx, service, true, func(hosts string) (string, error) {
		if line := foreignLine(hosts, service); line != "" {
			return "", g.refuse("take "+service+" out of extra_hosts of the gateway",
				"its /etc/hosts names %s already (%q), nginx would send requests there as well", service, line)
		}
		return joinMarks(dropMarks(hosts, service), lines), nil
	})
}

// Clear takes the addresses of the service out again. nginx keeps those that it
// loaded until its next reload.
func (g *Nginx) Clear(ctx context.Context, service string) error {
	return g.edit(ctx, service, false, func(hosts string) (string, error) { return dropMarks(hosts, service), nil })
}

// Pinned gives the addresses that are set now, by service; empty when none are.
func (g *Nginx) Pinned(ctx context.Context) (map[string][]string, error) {
	seen, err := g.look(ctx)
	if err != nil && !errors.Is(err, errNoMaster) {
		return nil, err
	}
	return readMarks(seen.hosts), nil
}

// edit reads the hosts file, changes it and writes it back; when somebody else
// (the engine, at a network connect) wrote it in between it starts again. What is
// known of the file is enough to begin with, because the write compares, but not
// to leave it as it is.
func (g *Nginx) edit(ctx context.Context, service string, test bool, change func(string) (string, error)) error {
	for attempt := 0; ; attempt++ {
		guessed := g.known != nil
		seen, err := g.recall(ctx)
		// Marks have to come out of a container whatever runs in it.
		if err != nil && (test || !errors.Is(err, errNoMaster)) {
			return err
		}
		content, err := change(seen.hosts)
		if err != nil {
			return err
		}
		if content == seen.hosts && guessed {
			g.known = nil
			continue
		}
		if content == seen.hosts {
			return nil
		}
		if !seen.writable {
			return g.refuse(notWritableHint, "%s", notWritable)
		}
		again, err := g.write(ctx, seen, content, test)
		if err != nil {
			return err
		}
		if !again {
			g.say(event.Debug, service, "gateway override is now %s", describe(readMarks(content)))
			return nil
		}
		if attempt == 5 {
			return g.fail("see what else writes it", "/etc/hosts keeps changing while it is being written")
		}
	}
}

// write puts content in place of seen.hosts; again tells that the file was no
// longer what was seen and nothing was written.
func (g *Nginx) write(ctx context.Context, seen sight, content string, test bool) (again bool, err error) {
	g.known = nil
	bound := "#" + rand.Text() + "#"
	args := []string{bound}
	if test {
		args = append(args, seen.invocation...)
	}
	res, err := g.script(ctx, "write /etc/hosts and test nginx's configuration", writeScript,
		[]byte(seen.hosts+bound+content+bound), args...)
	if err != nil {
		return false, err
	}
	switch {
	case res.exit == 0 && strings.Contains(res.stdout, "shiksha-done"):
		seen.hosts = content
		if seen.master.pid != 0 {
			g.known = &seen
		}
		return false, nil
	case res.exit == exitChanged:
		return true, nil
	case res.exit == exitTest:
		return false, g.testFailed(res.stderr)
	case res.exit == exitCut:
		return false, g.fail("run this again", "the new content of /etc/hosts arrived incomplete, nothing was written")
	}
	return false, g.fail("look at /etc/hosts in the container", "cannot write /etc/hosts (exit %d): %s",
		res.exit, lastLines(res.stderr, 3))
}

func (g *Nginx) testFailed(words string) error {
	reason := cmp.Or(emergencies(words), lastLines(words, 2))
	return g.fail("mend the gateway's configuration; it runs on with what it loaded before",
		"nginx -t fails: %s", reason)
}

// markedLines gives the lines of a service, one for each address.
func markedLines(service string, addrs []string) ([]string, error) {
	if !serviceName.MatchString(service) {
		return nil, errors.New("not a service name: " + service)
	}
	if len(addrs) == 0 {
		return nil, errors.New("no address for " + service)
	}
	var lines []string
	for _, a := range addrs {
		addr, err := netip.ParseAddr(a)
		if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsLoopback() {
			return nil, errors.New("not an address of a unit of " + service + ": " + a)
		}
		line := addr.String() + " " + service + " " + mark + service
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// markedBy gives the service whose mark a line carries, or "".
func markedBy(line string) string {
	at := strings.LastIndex(line, mark)
	if at < 0 {
		return ""
	}
	return strings.TrimSpace(line[at+len(mark):])
}

// dropMarks gives hosts without the marked lines of the service.
func dropMarks(hosts, service string) string {
	var kept strings.Builder
	for line := range strings.Lines(hosts) {
		if markedBy(line) != service {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func joinMarks(hosts string, lines []string) string {
	if hosts != "" && !strings.HasSuffix(hosts, "\n") {
		hosts += "\n"
	}
	return hosts + strings.Join(lines, "\n") + "\n"
}

// readMarks gives the marked addresses by service.
func readMarks(hosts string) map[string][]string {
	marks := map[string][]string{}
	for line := range strings.Lines(hosts) {
		service, fields := markedBy(line), strings.Fields(line)
		if service != "" && len(fields) > 0 {
			marks[service] = append(marks[service], fields[0])
		}
	}
	return marks
}

// overrideSum is the sha256 of the marked lines.
func overrideSum(hosts string) string {
	sum := sha256.New()
	for line := range strings.Lines(hosts) {
		if markedBy(line) != "" {
			sum.Write([]byte(line))
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// foreignLine gives a line that names the service and is not ours.
func foreignLine(hosts, service string) string {
	for line := range strings.Lines(hosts) {
		entry, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(entry)
		named := len(fields) > 1 && slices.ContainsFunc(fields[1:], func(f string) bool { return strings.EqualFold(f, service) })
		if named && markedBy(line) == "" {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// describe prints marks in order, for events.
func describe(marks map[string][]string) string {
	var parts []string
	for service, addrs := range marks {
		parts = append(parts, service+" -> "+strings.Join(addrs, " "))
	}
	if parts == nil {
		return "empty"
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
