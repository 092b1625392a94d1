package gateway

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func stat(pid, parent int, start string) string {
	return strings.NewReplacer("PID", itoa(pid), "PARENT", itoa(parent), "START", start).Replace(
		"PID (nginx) S PARENT 1 1 0 -1 4194560 1 0 0 0 4 4 0 0 20 0 1 0 START 10690560 1777")
}

func itoa(n int) string { return string(rune('0'+n/10)) + string(rune('0'+n%10)) }

func sightOf(processes ...string) string {
	return "shiksha-hosts\n127.0.0.1 localhost\n\nshiksha-writable yes\nshiksha-processes\n" +
		strings.Join(processes, "\n") + "\nshiksha-end\n"
}

func TestSight(t *testing.T) {
	t.Parallel()
	out := sightOf(
		stat(21, 7, "300")+"\tyes\tnginx: worker process is shutting down",
		stat(7, 1, "100")+"\tyes\tnginx: master process nginx -g daemon off;",
		stat(30, 7, "400")+"\tno\tnginx: worker process",
		stat(31, 7, "400")+"\tno\tnginx: cache manager process",
		stat(40, 9, "400")+"\tno\tnginx: worker process")
	seen, err := parseSight(out)
	require.NoError(t, err)
	assert.Equal(t, sight{
		hosts: "127.0.0.1 localhost\n", writable: true, master: process{7, 100}, signalled: true,
		invocation: []string{"nginx", "-g", "daemon off;"},
		workers:    []worker{{process{21, 300}, true}, {process{30, 400}, false}},
	}, seen, "the worker of a master that is gone is nobody's")

	newborn := sightOf(
		stat(7, 1, "100")+"\tyes\tnginx: master process nginx",
		stat(8, 7, "100")+"\tyes\tnginx: master process nginx")
	seen, err = parseSight(newborn)
	require.NoError(t, err)
	assert.Equal(t, process{7, 100}, seen.master)
	assert.Equal(t, 1, seen.unsettled)
}

// TestSightIsWholeOrNothing cuts the answer at every byte: none of the parts may
// pass for the whole.
func TestSightIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	out := sightOf(stat(7, 1, "100")+"\tyes\tnginx: master process nginx", stat(21, 7, "300")+"\tyes\tnginx: worker process")
	for n := range len(out) {
		_, err := parseSight(out[:n])
		assert.ErrorIs(t, err, errIncomplete, "first %d bytes", n)
	}
	_, err := parseSight(sightOf("7 (nginx\tyes\tnginx: worker process"))
	assert.Error(t, err)
}

func TestInvocation(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{
		"":                                 {"nginx"},
		" nginx -g daemon off;":            {"nginx", "-g", "daemon off;"},
		" /usr/sbin/nginx":                 {"/usr/sbin/nginx"},
		" nginx -c /srv/n.conf -p /srv":    {"nginx", "-c", "/srv/n.conf", "-p", "/srv"},
		" nginx -c/srv/n.conf":             {"nginx", "-c", "/srv/n.conf"},
		" nginx -g daemon off; -c /n.conf": {"nginx", "-g", "daemon off;", "-c", "/n.conf"},
		" nginx -q -e stderr":              {"nginx", "-e", "stderr"},
	}
	for title, want := range cases {
		assert.Equal(t, want, invocation(title), title)
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	base := "127.0.0.1\tlocalhost\n172.18.0.4 0123456789ab"
	lines, err := markedLines("api", []string{"10.0.0.5", "10.0.0.6", "10.0.0.5", "fd00::5"})
	require.NoError(t, err)
	one := joinMarks(dropMarks(base, "api"), lines)
	assert.Equal(t, base+"\n10.0.0.5 api # shiksha:api\n10.0.0.6 api # shiksha:api\nfd00::5 api # shiksha:api\n", one)
	web, err := markedLines("api-web", []string{"10.0.0.9"})
	require.NoError(t, err)
	two := joinMarks(one, web) + "192.0.2.1 elsewhere # api\n"
	assert.Equal(t, map[string][]string{"api": {"10.0.0.5", "10.0.0.6", "fd00::5"}, "api-web": {"10.0.0.9"}}, readMarks(two))
	assert.Equal(t, base+"\n10.0.0.9 api-web # shiksha:api-web\n192.0.2.1 elsewhere # api\n", dropMarks(two, "api"))
	assert.Equal(t, base, dropMarks(base, "api"))

	assert.NotEqual(t, overrideSum(base), overrideSum(one))
	assert.Equal(t, overrideSum(one), overrideSum(one+"192.0.2.1 elsewhere\n"))

	assert.Empty(t, foreignLine(two, "api"))
	assert.Equal(t, "192.0.2.7 x API", foreignLine(two+"192.0.2.7 x API\n", "api"))
	assert.Equal(t, "api-web -> 10.0.0.9", describe(readMarks(dropMarks(two, "api"))))
	assert.Equal(t, "empty", describe(nil))
}

// What is pinned is read back as the engine gives it: units are known again by that.
func TestMarksAreReadBackAsTheyWereSet(t *testing.T) {
	t.Parallel()
	var addrs []string
	for _, a := range []string{"172.20.0.5", "fd00:0:0:1:0:0:0:5", "2001:DB8::10:0", "fd12:3456:789a:bcde:f012:3456:789a:bcde"} {
		addrs = append(addrs, netip.MustParseAddr(a).String())
	}
	lines, err := markedLines("api", addrs)
	require.NoError(t, err)
	assert.Equal(t, addrs, readMarks(joinMarks("::1\tlocalhost ip6-localhost\nfd00::4 0123456789ab\n", lines))["api"])
}

func TestMarkedLinesRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		service string
		addrs   []string
	}{
		{"api", nil}, {"api", []string{"api"}}, {"api", []string{""}}, {"api", []string{"10.0.0.1\n1.1.1.1 x"}},
		{"api", []string{"127.0.0.1"}}, {"api", []string{"0.0.0.0"}}, {"api", []string{"fe80::1%eth0"}},
		{"a b", []string{"10.0.0.1"}}, {"", []string{"10.0.0.1"}}, {"api\n", []string{"10.0.0.1"}},
	} {
		_, err := markedLines(c.service, c.addrs)
		assert.Error(t, err, "%q %q", c.service, c.addrs)
	}
}

func TestSwitched(t *testing.T) {
	t.Parallel()
	w := func(pid int, leaving bool) worker { return worker{process{pid, uint64(pid)}, leaving} }
	was := sight{master: process{1, 1}, workers: []worker{w(5, true), w(10, false), w(11, false)}}
	cases := []struct {
		name string
		now  []worker
		done bool
	}{
		{"nothing yet", was.workers, false},
		{"born, the old still serve", []worker{w(10, false), w(11, false), w(20, false)}, false},
		{"one old still serves", []worker{w(10, true), w(11, false), w(20, false)}, false},
		{"no new one", []worker{w(10, true), w(11, true)}, false},
		{"nobody", nil, false},
		{"switched", []worker{w(5, true), w(10, true), w(11, true), w(20, false), w(21, false)}, true},
		{"switched, the old gone", []worker{w(20, false), w(21, false)}, true},
	}
	for _, c := range cases {
		_, ok := switched(was, sight{master: was.master, workers: c.now})
		assert.Equal(t, c.done, ok, c.name)
	}
	gen, _ := switched(was, sight{workers: cases[5].now})
	for _, old := range []worker{w(5, true), w(10, true), w(11, true), w(15, false)} {
		assert.True(t, gen.before(old), "%v", old)
	}
	for _, later := range []worker{w(20, false), w(21, true), w(30, false)} {
		assert.False(t, gen.before(later), "%v", later)
	}
}

func TestWhatWorkersHold(t *testing.T) {
	t.Parallel()
	tables := strings.Join([]string{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
		"   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1",
		"   1: 0200A8C0:0050 0100A8C0:A001 01 00000000:00000000 00:00000000 00000000    33        0 201 1", // ours
		"   2: 0200A8C0:0050 0100A8C0:A002 01 00000000:00000000 00:00000000 00000000    33        0 202 1", // another worker's
		"   3: 0200A8C0:B001 0300A8C0:1F40 01 00000000:00000000 00:00000000 00000000    33        0 203 1", // to a unit
		"   4: 0200A8C0:0050 0100A8C0:A003 08 00000000:00000000 00:00000000 00000000    33        0 204 1", // closing
	}, "\n")
	links := "shiksha-of 31\n3 -> socket:[201]\n4 -> socket:[204]\n0 -> /dev/null\n5 -> anon_inode:[eventpoll]\nshiksha-of 32\n3 -> socket:[203]\n"
	assert.Equal(t, held{31: {clients: 1}, 32: {units: 1}}, holdings(links, tables))
}

func TestMissingShell(t *testing.T) {
	t.Parallel()
	engineWords := `OCI runtime exec failed: exec failed: unable to start container process: exec: "sh": executable file not found in $PATH: unknown`
	assert.True(t, missingShell(engineWords, 127, nil))
	assert.True(t, missingShell("", 0, errors.New(engineWords)))
	assert.False(t, missingShell("sh: 1: nginx: not found", 127, nil), "the program is missing, not the shell")
	assert.False(t, missingShell(engineWords, 0, nil))
	assert.False(t, missingShell("", 0, errors.New("connection lost")))
}

func TestEmergencies(t *testing.T) {
	t.Parallel()
	log := "GET /\n[emerg] a\n[notice] b\n[emerg] c\n[emerg] d\n[emerg] e\n"
	assert.Equal(t, "[emerg] c | [emerg] d | [emerg] e", emergencies(log))
	assert.Empty(t, emergencies("GET / [error]\n"))
	assert.Equal(t, "b | c", lastLines("a\nb\r\nc\n", 2))
	assert.Empty(t, lastLines("", 2))
}

// A disk that has room for the old content only has it back.
func TestWriteScriptOnAFullDisk(t *testing.T) {
	t.Parallel()
	hosts := filepath.Join(t.TempDir(), "hosts")
	old := "127.0.0.1 localhost\n"
	long := old + strings.Repeat("10.0.0.1 api # shiksha:api\n", 100)
	for content, want := range map[string]struct {
		exit int
		left string
	}{
		long:                       {exitWrite, old},
		old + "10.0.0.2 api # x\n": {0, old + "10.0.0.2 api # x\n"},
	} {
		require.NoError(t, os.WriteFile(hosts, []byte(old), 0o600))
		// No file of it may be longer than 512 bytes; a write beyond is an error, not a signal.
		full := exec.Command("sh", "-c", `trap "" XFSZ; ulimit -f 1; exec sh -c "$@"`, "sh",
			strings.ReplaceAll(writeScript, "/etc/hosts", hosts), "sh", "#bound#")
		full.Stdin = strings.NewReader(old + "#bound#" + content + "#bound#")
		out, _ := full.CombinedOutput()
		assert.Equal(t, want.exit, full.ProcessState.ExitCode(), "%s", out)
		is, err := os.ReadFile(hosts)
		require.NoError(t, err)
		assert.Equal(t, want.left, string(is), "%s", out)
	}
}
