package content_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/content"
	"github.com/shiksha/actions/pkg/stack"
)

// host is the host's file system as this machine's own.
type host struct{ disk.Files }

func (host) Overwrite(_ context.Context, p string, data []byte, perm fs.FileMode) error {
	return errors.Join(os.WriteFile(p, data, 0), os.Chmod(p, perm))
}
func (host) RemoveAll(_ context.Context, p string) error { return os.RemoveAll(p) }
func (host) Exists(_ context.Context, p string) (bool, error) {
	_, err := os.Lstat(p)
	return err == nil, nil
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// liveFile is a single file that a running unit mounts at a stable path.
func liveFile(root, text string) *stack.Service {
	return &stack.Service{Name: "gw", Files: []stack.File{{
		Service: "gw", Target: "/etc/gw.conf", Sum: sum(text), Live: true, HostPath: filepath.Join(root, "live", "gw", "etc%2Fgw.conf"),
		Entries: []stack.Entry{{Content: []byte(text), Mode: 0o644, Sum: sum(text)}},
	}}}
}

func release(t *testing.T, s *content.Store, svc *stack.Service) {
	t.Helper()
	missing, err := s.Missing(t.Context(), svc.Files)
	require.NoError(t, err)
	require.NoError(t, s.Upload(t.Context(), missing))
}

func TestLive_IsSwappedInItsInodeAndConfirmed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := content.New(host{}, root)
	one := liveFile(root, "one")
	release(t, s, one)
	changed, err := s.Changed(t.Context(), one)
	require.NoError(t, err)
	assert.Equal(t, []string{"/etc/gw.conf"}, changed, "what is not there yet has to be handed over")
	_, err = s.Swap(t.Context(), one)
	require.NoError(t, err)
	changed, err = s.Changed(t.Context(), one)
	require.NoError(t, err)
	assert.NotEmpty(t, changed, "in place, but nobody confirmed that it is in use")
	require.NoError(t, s.Confirm(t.Context(), one))
	changed, err = s.Changed(t.Context(), one)
	require.NoError(t, err)
	assert.Empty(t, changed)

	path := one.Files[0].HostPath
	before, err := os.Stat(path)
	require.NoError(t, err)
	two := liveFile(root, "two")
	release(t, s, two)
	undo, err := s.Swap(t.Context(), two)
	require.NoError(t, err)
	after, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after), "a mounted file keeps its inode")
	text, _ := os.ReadFile(path)
	assert.Equal(t, "two", string(text))
	require.NoError(t, undo(t.Context()))
	text, _ = os.ReadFile(path)
	assert.Equal(t, "one", string(text))
	changed, err = content.New(host{}, root).Changed(t.Context(), one)
	require.NoError(t, err)
	assert.Empty(t, changed, "after the way back everything is as it was confirmed, for the next run too")
}

func TestLive_EditedByHandIsHandedOverAgain(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := content.New(host{}, root)
	one := liveFile(root, "one")
	release(t, s, one)
	_, err := s.Swap(t.Context(), one)
	require.NoError(t, err)
	require.NoError(t, s.Confirm(t.Context(), one))
	require.NoError(t, os.WriteFile(one.Files[0].HostPath, []byte("by hand"), 0o644))
	changed, err := s.Changed(t.Context(), one)
	require.NoError(t, err)
	assert.NotEmpty(t, changed)
}

// withMode is a live file with permissions of its own.
func withMode(svc *stack.Service, mode uint32) *stack.Service {
	svc.Files[0].Entries[0].Mode = mode
	svc.Files[0].Sum += fmt.Sprint(mode) // they are part of the sum
	return svc
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode()
}

// An entrypoint that finds a script without its executable bit leaves it out.
func TestLive_KeepsItsMode(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := content.New(host{}, root)
	put := func(svc *stack.Service) func(context.Context) error {
		release(t, s, svc)
		undo, err := s.Swap(t.Context(), svc)
		require.NoError(t, err)
		require.NoError(t, s.Confirm(t.Context(), svc))
		return undo
	}
	script := withMode(liveFile(root, "one"), 0o755)
	path := script.Files[0].HostPath
	put(script)
	assert.Equal(t, fs.FileMode(0o755), modeOf(t, path))

	undo := put(withMode(liveFile(root, "one"), 0o444))
	assert.Equal(t, fs.FileMode(0o444), modeOf(t, path), "a change of the mode only is a change")
	require.NoError(t, undo(t.Context()))
	assert.Equal(t, fs.FileMode(0o755), modeOf(t, path), "and is taken back")

	sealed := withMode(liveFile(root, "one"), 0o444)
	put(sealed)
	undo = put(withMode(liveFile(root, "two"), 0o444))
	text, _ := os.ReadFile(path)
	assert.Equal(t, []any{"two", fs.FileMode(0o444)}, []any{string(text), modeOf(t, path)}, "one that its owner may not write is written")
	require.NoError(t, undo(t.Context()))
	text, _ = os.ReadFile(path)
	assert.Equal(t, []any{"one", fs.FileMode(0o444)}, []any{string(text), modeOf(t, path)})

	require.NoError(t, s.Confirm(t.Context(), sealed))
	for mode, want := range map[fs.FileMode]int{0o600: 0, 0o755: 1} {
		require.NoError(t, os.Chmod(path, mode))
		changed, err := s.Changed(t.Context(), sealed)
		require.NoError(t, err)
		assert.Len(t, changed, want, "a unit may make its file its own, but not a script of it: %s", mode)
	}
}

func TestLive_AFolderKeepsItsModes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := content.New(host{}, root)
	folder := func(mode uint32) *stack.Service {
		return &stack.Service{Name: "gw", Files: []stack.File{{
			Service: "gw", Target: "/docker-entrypoint.d", Sum: fmt.Sprint(mode), Live: true, Dir: true, HostPath: filepath.Join(root, "live", "gw", "entry"),
			Entries: []stack.Entry{{Path: "setup.sh", Content: []byte("one"), Mode: mode, Sum: sum("one")}},
		}}}
	}
	var undo func(context.Context) error
	for _, mode := range []uint32{0o644, 0o755} {
		svc := folder(mode)
		release(t, s, svc)
		var err error
		undo, err = s.Swap(t.Context(), svc)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(mode), modeOf(t, filepath.Join(svc.Files[0].HostPath, "setup.sh")))
	}
	require.NoError(t, undo(t.Context()))
	assert.Equal(t, fs.FileMode(0o644), modeOf(t, filepath.Join(root, "live", "gw", "entry", "setup.sh")))
}

// A folder without files is mounted all the same: the engine makes no folder for a
// bind mount.
func TestLive_AnEmptyFolderIsMade(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := content.New(host{}, root)
	svc := &stack.Service{Name: "gw", Files: []stack.File{{
		Service: "gw", Target: "/var/www/acme", Sum: sum(""), Live: true, Dir: true, HostPath: filepath.Join(root, "live", "gw", "acme"),
	}}}
	require.NoError(t, s.Upload(t.Context(), svc.Files))
	_, err := s.Swap(t.Context(), svc)
	require.NoError(t, err)
	assert.DirExists(t, svc.Files[0].HostPath)
}

func TestUpload_OnceAndWhole(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := content.New(host{}, root)
	dir := stack.File{Service: "web", Target: "/srv", Source: "site", Sum: "d1", Dir: true, HostPath: filepath.Join(root, "files", "d1"),
		Entries: []stack.Entry{
			{Path: "a.html", Content: []byte("a"), Mode: 0o644, Sum: sum("a")},
			{Path: "sub/b.html", Content: []byte("b"), Mode: 0o755, Sum: sum("b")},
		}}
	missing, err := s.Missing(t.Context(), []stack.File{dir, dir})
	require.NoError(t, err)
	require.Len(t, missing, 1, "the same content is sent once")
	require.NoError(t, s.Upload(t.Context(), missing))
	text, err := os.ReadFile(filepath.Join(root, "files", "d1", "sub", "b.html"))
	require.NoError(t, err)
	assert.Equal(t, "b", string(text))
	missing, err = s.Missing(t.Context(), []stack.File{dir})
	require.NoError(t, err)
	assert.Empty(t, missing)
}

func TestUpload_RefusesAFileThatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	source := filepath.Join(t.TempDir(), "conf")
	require.NoError(t, os.WriteFile(source, []byte("changed"), 0o644))
	f := stack.File{Service: "api", Source: source, Sum: sum("planned"), HostPath: filepath.Join(root, "files", sum("planned"), "conf"),
		Entries: []stack.Entry{{Source: source, Mode: 0o644, Sum: sum("planned")}}}
	err := content.New(host{}, root).Upload(t.Context(), []stack.File{f})
	require.ErrorContains(t, err, "changed while it was being released")
	assert.NoFileExists(t, f.HostPath)
}

func TestPrune_OfAStackWithoutFiles(t *testing.T) {
	t.Parallel()
	assert.NoError(t, content.New(host{}, t.TempDir()).Prune(t.Context(), nil, nil))
}

func TestPrune_KeepsWhatReleasesAndContainersUse(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{"kept", "mounted", "old"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, "files", name), 0o755))
	}
	err := content.New(host{}, root).Prune(t.Context(), map[string]bool{"kept": true}, []string{filepath.Join(root, "files", "mounted", "conf")})
	require.NoError(t, err)
	assert.DirExists(t, filepath.Join(root, "files", "kept"))
	assert.DirExists(t, filepath.Join(root, "files", "mounted"))
	assert.NoDirExists(t, filepath.Join(root, "files", "old"))
}
