package gateway

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// leavingWorkers are n workers on their way out, the first the oldest, and the given
// number of those that serve.
func leavingWorkers(n, serving int) string {
	processes := []string{stat(7, 1, "100") + "\tyes\tnginx: master process nginx"}
	line := func(pid int) string {
		return strings.Replace(stat(0, 7, strconv.Itoa(pid)), "00 ", strconv.Itoa(pid)+" ", 1)
	}
	for pid := 200; pid < 200+n; pid++ {
		processes = append(processes, line(pid)+"\tyes\tnginx: worker process is shutting down")
	}
	for pid := 800; pid < 800+serving; pid++ {
		processes = append(processes, line(pid)+"\tyes\tnginx: worker process")
	}
	slices.Reverse(processes) // the order of /proc says nothing
	return sightOf(processes...)
}

// Old workers have connections to other services, so they are left alone, but not without end.
func TestKeepOldWorkers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leaving, serving int
		opts             []Option
		ended            []string
	}{
		"they are ended without it":  {leaving: 2, serving: 1, ended: []string{"TERM 200 201"}},
		"they are left alone":        {leaving: 2, serving: 1, opts: []Option{KeepOldWorkers()}},
		"as many as may be left":     {leaving: 32, serving: 1, opts: []Option{KeepOldWorkers()}},
		"of more the oldest end":     {leaving: 34, serving: 8, opts: []Option{KeepOldWorkers()}, ended: []string{"TERM 200 201"}},
		"four generations are left":  {leaving: 64, serving: 16, opts: []Option{KeepOldWorkers()}},
		"what is older than these":   {leaving: 65, serving: 16, opts: []Option{KeepOldWorkers()}, ended: []string{"TERM 200"}},
		"the one before is all left": {leaving: 90, serving: 90, opts: []Option{KeepOldWorkers()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, told := &fakeWorkers{sights: []string{leavingWorkers(c.leaving, c.serving)}}, &event.Recorder{}
			g := New(f, stack.Unit{ID: "x", Service: "nginx"}, told, c.opts...)
			gen, err := g.Latest(t.Context())
			require.NoError(t, err)
			gen.keep = false // as a reload gives it
			left, _, err := g.Drained(t.Context(), gen, 20*time.Millisecond)
			require.NoError(t, err)
			want := Left{Cut: c.leaving}
			if len(c.opts) > 0 {
				want = Left{Kept: c.leaving} // how many cannot be counted, so each stands for one
			}
			assert.Equal(t, want, left)
			assert.Equal(t, c.ended, f.ended)
			var warned []string
			for _, e := range told.Events() {
				if e.Level == event.Warning {
					warned = append(warned, e.Text)
				}
			}
			if len(c.opts) > 0 {
				assert.Len(t, warned, len(c.ended), "%s", warned)
			}
		})
	}
}

// A worker that SIGTERM does not move gets SIGKILL, and nobody else does.
func TestOnlyTheOldestGetSIGKILL(t *testing.T) {
	t.Parallel()
	f := &stubborn{fakeWorkers{sights: []string{leavingWorkers(34, 1)}}}
	g := New(f, stack.Unit{ID: "x", Service: "nginx"}, event.Discard, KeepOldWorkers())
	gen, err := g.Latest(t.Context())
	require.NoError(t, err)
	gen.keep = false
	_, _, err = g.Drained(t.Context(), gen, 20*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, []string{"TERM 200 201", "KILL 200 201"}, f.ended)
}

func TestHeld(t *testing.T) {
	t.Parallel()
	table := func(lines ...string) string {
		return "shiksha-of 200\n3 -> socket:[201]\n4 -> socket:[202]\n5 -> socket:[203]\n6 -> socket:[204]\nshiksha-tables\n" + strings.Join(lines, "\n") + "\nshiksha-end\n"
	}
	const rest = " 00000000:00000000 00:00000000 00000000 33 0 "
	whole := table(
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
		"9: 00000000:0050 00000000:0000 0A"+rest+"9 1",
		"0: 0200A8C0:0050 0300A8C0:A001 01"+rest+"201 1", // a client at the address of a unit is one too
		"1: 0200A8C0:B001 0300A8C0:1F40 01"+rest+"202 1",
		"2: 0200A8C0:B002 0400A8C0:1F40 01"+rest+"203 1", // to another unit
		"3: 0200A8C0:B003 0300A8C0:1F40 06"+rest+"204 1", // it has ended
		"4: 0200A8C0:B004 0300A8C0:1F40 01"+rest+"299 1") // a serving worker's
	for name, c := range map[string]struct {
		sight, held string
		addrs       []string
		want        int
		unasked     int
		fails       bool
	}{
		"to a unit":                    {sight: leavingWorkers(1, 1), held: whole, addrs: []string{"192.168.0.3"}, want: 2},
		"to several":                   {sight: leavingWorkers(1, 1), held: whole, addrs: []string{"192.168.0.3", "192.168.0.4"}, want: 3},
		"to none":                      {sight: leavingWorkers(1, 1), held: whole, addrs: []string{"192.168.0.9", ""}},
		"a client that has not asked":  {sight: leavingWorkers(1, 1), held: strings.Replace(whole, "4 -> socket:[202]\n5 -> socket:[203]\n", "", 1), addrs: []string{"192.168.0.4"}, unasked: 1},
		"no old worker is left":        {sight: leavingWorkers(0, 1), held: whole, addrs: []string{"192.168.0.3"}},
		"they cannot be counted":       {sight: leavingWorkers(2, 1), addrs: []string{"192.168.0.3"}, unasked: 2, fails: true},
		"nor those of one of them":     {sight: leavingWorkers(2, 1), held: "shiksha-of 201\ntotal 0\n" + whole, addrs: []string{"192.168.0.3"}, unasked: 2, fails: true},
		"an answer that was cut short": {sight: leavingWorkers(1, 1), held: whole[:len(whole)-3], addrs: []string{"192.168.0.3"}, unasked: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeWorkers{sights: []string{c.sight}, held: c.held}
			g := New(f, stack.Unit{ID: "x", Service: "nginx"}, event.Discard)
			gen, err := g.Latest(t.Context())
			require.NoError(t, err)
			n, unasked, err := g.Held(t.Context(), gen, c.addrs)
			assert.Equal(t, c.unasked, unasked)
			assert.Equal(t, c.fails, err != nil, "%v", err)
			assert.Equal(t, c.want, n)
		})
	}
}

// The kernel of this machine says how it writes addresses.
func TestConnectionsAreFoundInTheKernelsTables(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		if err != nil {
			t.Logf("%s: %v", addr, err)
			continue
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		port := strings.ToUpper(strconv.FormatInt(int64(l.Addr().(*net.TCPAddr).Port), 16))
		var links strings.Builder
		fds, err := filepath.Glob("/proc/self/fd/*")
		require.NoError(t, err)
		for _, fd := range fds {
			if link, err := os.Readlink(fd); err == nil {
				links.WriteString(filepath.Base(fd) + " -> " + link + "\n")
			}
		}
		var table strings.Builder
		for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			for line := range strings.Lines(string(data)) {
				if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], ":"+port) {
					table.WriteString(line)
				}
			}
		}
		assert.Equal(t, 1, countTo(links.String(), table.String(), []string{addr}), "%s in %s", addr, table.String())
		assert.Zero(t, countTo(links.String(), table.String(), []string{"192.0.2.1", "2001:db8::1"}))
	}
}

// stubborn workers go at SIGKILL only.
type stubborn struct{ fakeWorkers }

func (s *stubborn) Exec(ctx context.Context, id string, argv []string, in []byte) (string, string, int, error) {
	if argv[2] == endScript && argv[4] == "TERM" {
		s.ended = append(s.ended, strings.Join(argv[4:], " "))
		return "shiksha-end 0\n", "", 0, nil
	}
	return s.fakeWorkers.Exec(ctx, id, argv, in)
}
