package gateway

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What looks has a share of nginx's own CPU, so it may not start a process for each of
// thousands of connections. The script runs here as it does in a container.
func TestALookAtSocketsIsCheap(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for range 50 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
	}
	bin, started := t.TempDir(), filepath.Join(t.TempDir(), "started")
	for _, tool := range []string{"ls", "readlink"} {
		real, err := exec.LookPath(tool)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(bin, tool),
			[]byte("#!/bin/sh\necho "+tool+" >>"+started+"\nexec "+real+` "$@"`+"\n"), 0o700))
	}
	const gone = 1 << 30
	look := exec.Command("sh", "-c", heldScript, "shiksha", strconv.Itoa(os.Getuid()), strconv.Itoa(gone), strconv.Itoa(os.Getpid()))
	look.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := look.CombinedOutput()
	require.NoError(t, err, "%s", out)
	links, tables, whole := strings.Cut(string(out), "shiksha-tables\n")
	require.True(t, whole)
	require.True(t, readable(links), "a process that has ended hides none of the others")
	assert.GreaterOrEqual(t, countTo(links, tables, []string{"127.0.0.1"}), 50)
	processes, err := os.ReadFile(started)
	require.NoError(t, err)
	assert.Equal(t, "ls\n", string(processes))
}

// Busybox, toybox and coreutils have other columns, and coreutils quotes where its
// environment says so.
func TestSocketsInListings(t *testing.T) {
	t.Parallel()
	const tables = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1\n" +
		"   1: 0200A8C0:0050 0100A8C0:A001 01 00000000:00000000 00:00000000 00000000    33        0 201 1\n"
	for name, c := range map[string]struct {
		listing string
		held    held
		seen    bool
	}{
		"coreutils": {"total 0\nlrwx------ 1 101 101 64 Nov 30 15:00 0 -> /dev/null\nlrwx------ 1 101 101 64 Nov 30 15:00 12 -> socket:[201]\n", held{31: {clients: 1}}, true},
		"busybox": {"total 0\nlrwx------    1 101      101             64 Nov 30 15:00 0 -> /dev/null\n" +
			"lrwx------    1 101      101             64 Nov 30 15:00 12 -> socket:[201]\n", held{31: {clients: 1}}, true},
		"quoted":             {"total 0\nlrwx------ 1 101 101 64 Nov 30 15:00 12 -> 'socket:[201]'\n", held{31: {clients: 1}}, true},
		"other sockets":      {"total 0\nlrwx------ 1 101 101 64 Nov 30 15:00 12 -> socket:[2011]\n", held{}, true},
		"a file of the name": {"total 0\nlrwx------ 1 101 101 64 Nov 30 15:00 12 -> /tmp/a -> socket:[201]\n", held{}, true},
		"one that is closed": {"total 0\nlrwx------ 1 101 101 64 Nov 30 15:00 0 -> /dev/null\nlrwx------ 1 101 101 64 Nov 30 15:00 12\n", held{}, true},
		"not readable":       {"total 0\nlrwx------ 1 101 101 64 Nov 30 15:00 12\n", held{}, false},
		"not to be listed":   {"", held{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := "shiksha-of 31\n" + c.listing
			assert.Equal(t, c.held, holdings(of, tables))
			assert.Equal(t, c.seen, readable(of))
			other := "shiksha-of 30\nlrwx------ 1 101 101 64 Nov 30 15:00 0 -> /dev/null\n"
			assert.Equal(t, c.seen, readable(of+other), "another says nothing of it")
			assert.Equal(t, c.seen, readable(other+of), "another says nothing of it")
		})
	}
	assert.True(t, readable(""), "all have ended")
}
