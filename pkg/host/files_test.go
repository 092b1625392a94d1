package host

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

func openFiles(t *testing.T, lines ...string) (*Files, string) {
	t.Helper()
	files, err := dial(t, startSSHD(t, lines...).config()).Files(t.Context())
	require.NoError(t, err)
	return files, openFolder(t)
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestFilesWrite(t *testing.T) {
	t.Parallel()
	f, dir := openFiles(t)
	name := filepath.Join(dir, "a file ü")
	big := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	for _, data := range [][]byte{[]byte("one"), {}, big} {
		require.NoError(t, f.Write(t.Context(), name, data, 0o640))
		got, err := f.Read(t.Context(), name)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got))
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o640), info.Mode(), "whatever the umask")
	}
	list, err := f.List(t.Context(), dir)
	require.NoError(t, err)
	assert.Len(t, list, 1, "no temporary file stays")

	before := inode(t, name)
	for _, perm := range []fs.FileMode{0o444, 0o755} {
		require.NoError(t, f.Overwrite(t.Context(), name, []byte("short"), perm))
		assert.Equal(t, "short", string(readFile(t, name)))
		assert.Equal(t, before, inode(t, name), "the same inode")
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, perm, info.Mode())
	}
	require.NoError(t, f.Write(t.Context(), name, []byte("new"), 0o600))
	assert.NotEqual(t, before, inode(t, name), "another inode")
	assert.ErrorIs(t, f.Overwrite(t.Context(), filepath.Join(dir, "none"), nil, 0o600), fs.ErrNotExist)
}

// A reader must find the old or the new content at every instant.
func TestFilesWriteIsAtomic(t *testing.T) {
	t.Parallel()
	f, dir := openFiles(t)
	name := filepath.Join(dir, "file")
	a, b := bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 50_000)
	require.NoError(t, f.Write(t.Context(), name, a, 0o644))
	over := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			got, err := os.ReadFile(name)
			if !assert.NoError(t, err) || !assert.True(t, bytes.Equal(got, a) || bytes.Equal(got, b), "%d bytes", len(got)) {
				return
			}
		}
	})
	for range 20 {
		require.NoError(t, f.Write(t.Context(), name, b, 0o644))
		require.NoError(t, f.Write(t.Context(), name, a, 0o644))
	}
	close(over)
	reader.Wait()
}

func TestFilesWriteFails(t *testing.T) {
	t.Parallel()
	f, dir := openFiles(t)
	locked := filepath.Join(dir, "locked")
	require.NoError(t, os.Mkdir(locked, 0o755))
	err := f.Write(t.Context(), filepath.Join(locked, "file"), nil, 0o600)
	assert.ErrorIs(t, err, fs.ErrPermission)
	assert.ErrorContains(t, err, "writing "+locked+"/file on "+f.host.String())
	err = f.Write(t.Context(), filepath.Join(dir, "none", "file"), nil, 0o600)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o777))
	assert.Error(t, f.Write(t.Context(), filepath.Join(dir, "folder"), nil, 0o600), "a directory is not replaced")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, f.Write(ctx, filepath.Join(dir, "late"), nil, 0o600), context.Canceled)
	list, err := f.List(t.Context(), dir)
	require.NoError(t, err)
	assert.Len(t, list, 2, "and no temporary file stays")
}

func TestFilesDiskFull(t *testing.T) {
	t.Parallel()
	f, dir := openFiles(t)
	full := filepath.Join(dir, "full")
	require.NoError(t, os.Mkdir(full, 0o777))
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=64k,mode=777"); err != nil {
		require.ErrorIs(t, err, syscall.EPERM)
		full = "/dev/full" // no mounts here: the device that is always full
		err := f.Overwrite(t.Context(), full, []byte("x"), 0o666)
		assert.Error(t, err)
		return
	}
	t.Cleanup(func() { _ = syscall.Unmount(full, syscall.MNT_DETACH) })
	err := f.Write(t.Context(), filepath.Join(full, "file"), make([]byte, 100_000), 0o600)
	assert.Equal(t, fault.Refused, fault.Of(err), "%v", err)
	assert.ErrorContains(t, err, "the disk of "+full+" is full")
	entries, err := os.ReadDir(full)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestFilesTree(t *testing.T) {
	t.Parallel()
	f, dir := openFiles(t)
	ctx := t.Context()
	deep := filepath.Join(dir, "a", "b", "c")
	require.NoError(t, f.MkdirAll(ctx, deep, 0o700))
	require.NoError(t, f.MkdirAll(ctx, deep, 0o755), "again, and nothing changes")
	for _, made := range []string{deep, filepath.Dir(deep)} {
		info, err := os.Stat(made)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	}
	require.NoError(t, f.Write(ctx, filepath.Join(deep, "file"), []byte("x"), 0o600))
	assert.Error(t, f.MkdirAll(ctx, filepath.Join(deep, "file", "d"), 0o700))

	require.NoError(t, f.Write(ctx, filepath.Join(deep, "other"), []byte("y"), 0o600))
	require.NoError(t, f.Rename(ctx, filepath.Join(deep, "file"), filepath.Join(deep, "other")), "over an existing file")
	data, err := f.Read(ctx, filepath.Join(deep, "other"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(data))
	for name, want := range map[string]bool{"other": true, "file": false, "file/none": false} {
		exists, err := f.Exists(ctx, filepath.Join(deep, name))
		require.NoError(t, err)
		assert.Equal(t, want, exists, name)
	}
	info, err := f.Stat(ctx, deep)
	require.NoError(t, err)
	assert.True(t, info.IsDir())
	_, err = f.Stat(ctx, filepath.Join(deep, "file"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = f.Read(ctx, filepath.Join(deep, "file"))
	assert.ErrorIs(t, err, fs.ErrNotExist)

	outside := openFolder(t)
	require.NoError(t, os.WriteFile(filepath.Join(outside, "kept"), nil, 0o666))
	require.NoError(t, os.Symlink(outside, filepath.Join(deep, "link")))
	require.NoError(t, f.Remove(ctx, filepath.Join(deep, "other")))
	assert.Error(t, f.Remove(ctx, filepath.Join(dir, "a")), "not empty")
	require.NoError(t, f.RemoveAll(ctx, filepath.Join(dir, "a")))
	require.NoError(t, f.RemoveAll(ctx, filepath.Join(dir, "a")), "gone is gone")
	assert.FileExists(t, filepath.Join(outside, "kept"), "links are not followed")
}

func TestFilesPaths(t *testing.T) {
	t.Parallel()
	f, _ := openFiles(t)
	ctx := t.Context()
	for _, name := range []string{"", "relative", "./x", "~/x", "/a/../b", "/a/./b", "/a//b", "/a\x00b"} {
		for what, err := range map[string]error{
			"write":  f.Write(ctx, name, nil, 0o600),
			"mkdir":  f.MkdirAll(ctx, name, 0o700),
			"remove": f.RemoveAll(ctx, name),
			"rename": f.Rename(ctx, "/tmp/none", name),
		} {
			assert.ErrorContains(t, err, " path on the host", "%s %q", what, name)
		}
	}
	for _, name := range []string{"/", "/etc", "/var/"} {
		assert.ErrorContains(t, f.RemoveAll(ctx, name), "too near the root")
	}
}

func TestFilesStreams(t *testing.T) {
	t.Parallel()
	f, dir := openFiles(t)
	name := filepath.Join(dir, "stream")
	w, err := f.Create(t.Context(), name, 0o600)
	require.NoError(t, err)
	for range 100 {
		_, err = io.WriteString(w, strings.Repeat("x", 1000))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	r, err := f.Open(t.Context(), name)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Len(t, data, 100_000)
	_, err = f.Open(t.Context(), filepath.Join(dir, "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// shortly answers with less than what was asked for, as a server may, and fails at an end.
type shortly struct {
	io.ReaderAt
	end error
}

func (s shortly) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(p[:min(len(p), 1000)], off)
	if n == 0 && s.end != nil {
		err = s.end
	}
	return n, err
}

func TestReadAllOfShortAnswers(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 1000, 256 << 10, 1<<20 + 1} {
		content := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		got, err := readAll(shortly{bytes.NewReader(content), nil})
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got), "%d bytes", size)
		assert.NotNil(t, got)
		_, err = readAll(shortly{bytes.NewReader(content), fs.ErrPermission})
		assert.ErrorIs(t, err, fs.ErrPermission)
	}
}

func TestFilesFree(t *testing.T) {
	t.Parallel()
	f, dir := openFiles(t)
	want := func() (uint64, uint64) {
		var vfs syscall.Statfs_t
		require.NoError(t, syscall.Statfs(dir, &vfs))
		return vfs.Bavail * uint64(vfs.Bsize), vfs.Ffree
	}
	wantBytes, wantInodes := want()
	for name, measure := range map[string]func(context.Context, string) (uint64, uint64, error){"statvfs": f.Free, "df": f.freeByDF} {
		bytes, inodes, err := measure(t.Context(), dir)
		require.NoError(t, err, name)
		assert.InEpsilon(t, wantBytes, bytes, 0.1, name)
		assert.InEpsilon(t, wantInodes, inodes, 0.1, name)
	}
	bytes, _, err := f.Free(t.Context(), filepath.Join(dir, "not", "made", "yet"))
	require.NoError(t, err)
	assert.InEpsilon(t, wantBytes, bytes, 0.1)
}

func TestParseDF(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]uint64{
		"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 60 40 60% /\n":       {100, 40},
		"Filesystem Inodes IUsed IFree IUse% Mounted on\noverlay 6553600 200 6553400 1% /with space\n": {6553600, 6553400},
		"Filesystem Inodes IUsed IFree IUse% Mounted on\n/dev/sdb - - - - /btrfs\n":                    {0, 0},
	} {
		total, available, err := parseDF(text)
		require.NoError(t, err)
		assert.Equal(t, want, [2]uint64{total, available})
	}
	for _, text := range []string{"", "Filesystem Inodes", "Filesystem 1024-blocks Used Available\n/dev/sda1 100 60 lots 1% /"} {
		_, _, err := parseDF(text)
		assert.Error(t, err, text)
	}
	assert.EqualValues(t, uint64(math.MaxUint64), countable(0, 0))
}

func TestNoSFTP(t *testing.T) {
	t.Parallel()
	h := dial(t, startSSHD(t, "Subsystem other /bin/true").config())
	_, err := h.Files(t.Context())
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.ErrorContains(t, err, `sshd refuses the request "subsystem"`)
	assert.Contains(t, fault.Hint(err), "Subsystem")
}

// An SFTP server that the shell starts comes behind what the shell prints: another server
// alone would only lead to the next thing that cannot be read.
func TestSFTPBehindAShellThatPrints(t *testing.T) {
	t.Parallel()
	h := dial(t, startSSHD(t, "Subsystem sftp echo Welcome to gpu1; exec /usr/lib/openssh/sftp-server").config())
	_, err := h.Files(t.Context())
	require.ErrorContains(t, err, "sftp does not start")
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.True(t, strings.HasPrefix(fault.Hint(err), fault.Shell), fault.Hint(err))
	assert.Contains(t, fault.Hint(err), "Subsystem")
}

func TestFilesAfterTheServerSideEnded(t *testing.T) {
	t.Parallel()
	server := startSSHD(t, "Subsystem sftp /usr/lib/openssh/sftp-server")
	h := dial(t, server.config())
	f, err := h.Files(t.Context())
	require.NoError(t, err)
	_, err = h.Run(t.Context(), []string{"sh", "-c", `kill -9 $(pgrep -P "$PPID" -f sftp-server)`}, nil)
	require.NoError(t, err)
	assert.Eventually(t, func() bool { _, err := f.Stat(t.Context(), "/"); return err == nil }, patience, 10*time.Millisecond)
	assert.Zero(t, h.Reconnected())
}
