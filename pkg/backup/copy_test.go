package backup_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeVault is a folder of this machine in the place of another host's. It runs no
// commands, as a host that offers SFTP only, and does what spoil says to what is
// written there.
type fakeVault struct {
	disk.Files
	spoil func([]byte) ([]byte, error)
}

func (fakeVault) Sum(context.Context, string) (string, error) { return "", errors.ErrUnsupported }
func (fakeVault) Close() error                                { return nil }
func (v fakeVault) Create(ctx context.Context, path string, perm fs.FileMode) (io.WriteCloser, error) {
	w, err := v.Files.Create(ctx, path, perm)
	return spoiler{w, v.spoil}, err
}

type spoiler struct {
	io.WriteCloser
	spoil func([]byte) ([]byte, error)
}

func (s spoiler) Write(p []byte) (int, error) {
	if s.spoil == nil {
		return s.WriteCloser.Write(p)
	}
	spoilt, err := s.spoil(append([]byte(nil), p...))
	if err != nil {
		return 0, err
	}
	_, err = s.WriteCloser.Write(spoilt)
	return len(p), err
}

// shelf is a store with dumps in it that no database is needed for.
type shelf struct {
	*backup.Store
	t     *testing.T
	vault fakeVault
	away  string // the folder that copies go to
	down  error
	from  backup.Source
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{t: t, away: t.TempDir()}
	state := t.TempDir()
	s.Store = &backup.Store{Project: "shop", Dir: filepath.Join(state, "backups"), Metrics: filepath.Join(state, "metrics"), Files: disk.Files{}, Sink: &event.Recorder{},
		Dial: func(_ context.Context, address string) (backup.Vault, error) {
			assert.Equal(t, "backup@vault:22", address)
			return s.vault, s.down
		}}
	require.NoError(t, os.MkdirAll(s.Dir, 0o700))
	s.from = backup.Source{Service: "db", Options: stack.Backups{Timeout: time.Minute,
		Copy: &stack.Copy{Address: "backup@vault:22", Dir: s.away, Keep: 24 * time.Hour, Least: 2}}}
	return s
}

// put makes a backup that was taken some days ago.
func (s *shelf) put(days int) backup.Backup {
	dump := []byte(strings.Repeat(fmt.Sprint("rows of day ", days, "\n"), 1000))
	sum := sha256.Sum256(dump)
	taken := time.Now().UTC().Truncate(time.Second).Add(-time.Duration(days) * 24 * time.Hour)
	b := backup.Backup{Schema: 1, ID: fmt.Sprintf("db-%d", days), Project: "shop", Service: "db", Database: "shop", Taken: taken,
		Bytes: int64(len(dump)), SHA256: hex.EncodeToString(sum[:]), Rows: map[string]int64{"orders": 1000}}
	manifest, err := json.Marshal(b)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(s.Dir, b.ID+".dump"), dump, 0o600))
	require.NoError(s.t, os.WriteFile(filepath.Join(s.Dir, b.ID+".json"), manifest, 0o600))
	return b
}

func (s *shelf) copies() (names []string) {
	paths, err := filepath.Glob(filepath.Join(s.away, "shop", "*"))
	require.NoError(s.t, err)
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

func TestCopyOut(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for _, days := range []int{0, 3, 5} {
		s.put(days)
	}
	require.NoError(t, s.CopyAll(t.Context(), s.from))
	assert.Equal(t, []string{"db-0.dump", "db-0.json", "db-3.dump", "db-3.json"}, s.copies(), "those of a day, and two at least")
	all, err := s.List(t.Context())
	require.NoError(t, err)
	for _, b := range all {
		assert.False(t, b.Copied.IsZero(), b.ID)
		assert.Equal(t, "sftp://backup@vault:22"+s.away, b.CopiedTo)
	}
	metric, err := os.ReadFile(filepath.Join(s.Metrics, "shiksha_backup_shop_db.prom"))
	require.NoError(t, err)
	assert.Contains(t, string(metric), fmt.Sprintf(`shiksha_backup_last_copy_timestamp_seconds{project="shop",service="db",database="shop"} %d`, all[0].Taken.Unix()))

	// What has a copy is not copied again; parts that nobody writes any more go.
	part := filepath.Join(s.away, "shop", "db-9.dump.part")
	require.NoError(t, os.WriteFile(part, nil, 0o600))
	require.NoError(t, os.Chtimes(part, time.Time{}, time.Now().Add(-48*time.Hour)))
	s.vault.spoil = func([]byte) ([]byte, error) { return nil, errors.New("nothing is to be written") }
	require.NoError(t, s.CopyAll(t.Context(), s.from))
	assert.NoFileExists(t, part)
}

// Where nobody knows for sure how long backups are kept, none is let go for a newer one, neither
// on the host nor where its copies are.
func TestWhatIsSparedStays(t *testing.T) {
	t.Parallel()
	for spare, left := range map[bool]struct{ here, copies int }{true: {4, 3}, false: {1, 2}} {
		s := newShelf(t)
		s.Engine = &fakeServer{rows: "1\tpublic.orders\n"}
		s.from.Options.Keep, s.from.Options.Least, s.from.Spare = time.Hour, 1, spare
		for _, days := range []int{3, 4, 5} {
			s.put(days)
		}
		require.NoError(t, s.CopyAll(t.Context(), s.from))
		assert.Len(t, s.copies(), 2*left.copies, "spare: %t", spare)
		_, err := s.Take(t.Context(), s.from)
		require.NoError(t, err)
		here, err := s.List(t.Context())
		require.NoError(t, err)
		assert.Len(t, here, left.here, "spare: %t", spare)
	}
}

// A release copies what it has dumped and does not wait for what others left.
func TestAReleaseCopiesItsOwnDump(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for _, days := range []int{0, 3, 5} {
		s.put(days)
	}
	require.NoError(t, s.CopyOut(t.Context(), s.from, "db-0"))
	assert.Equal(t, []string{"db-0.dump", "db-0.json"}, s.copies())
}

// What was taken on a runner whose clock was ahead looks newer than what a release has
// just dumped.
func TestAReleaseCopiesItsOwnDumpByAnyClock(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.put(-2)
	require.NoError(t, s.CopyAll(t.Context(), s.from))
	b := s.put(0)
	require.NoError(t, s.CopyOut(t.Context(), s.from, b.ID))
	assert.Subset(t, s.copies(), []string{b.ID + ".dump", b.ID + ".json"})
	metric, err := os.ReadFile(filepath.Join(s.Metrics, "shiksha_backup_shop_db.prom"))
	require.NoError(t, err)
	assert.Contains(t, string(metric), fmt.Sprintf(`shiksha_backup_last_success_timestamp_seconds{project="shop",service="db",database="shop"} %d`, b.Taken.Unix()))
}

// One that cannot be copied keeps no other from it, nor old copies from being let go.
func TestOldBackupsThatCannotBeCopied(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.put(8)
	s.put(9)
	require.NoError(t, s.CopyAll(t.Context(), s.from))
	newest := s.put(0)
	s.put(5)
	for _, days := range []int{3, 4} {
		b := s.put(days)
		require.NoError(t, os.WriteFile(filepath.Join(s.Dir, b.ID+".dump"), make([]byte, b.Bytes), 0o600))
	}
	err := s.CopyAll(t.Context(), s.from)
	require.EqualError(t, err, "some of the backups of db have no copy off the host: "+
		"db-3: the dump of backup db-3 is not what was taken: its checksum does not fit\n"+
		"db-4: the dump of backup db-4 is not what was taken: its checksum does not fit")
	assert.Equal(t, fault.Failed, fault.Of(err))
	assert.Equal(t, []string{"db-0.dump", "db-0.json", "db-5.dump", "db-5.json"}, s.copies(), "those of a day, and two at least")
	metric, err := os.ReadFile(filepath.Join(s.Metrics, "shiksha_backup_shop_db.prom"))
	require.NoError(t, err)
	assert.Contains(t, string(metric), fmt.Sprintf(`shiksha_backup_last_copy_timestamp_seconds{project="shop",service="db",database="shop"} %d`, newest.Taken.Unix()))
}

// A vault that is full or too slow is asked once: releases wait for each more attempt.
func TestAVaultThatFailsIsAskedOnce(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.put(0)
	s.put(3)
	asked := 0
	s.vault.spoil = func([]byte) ([]byte, error) { asked++; return nil, errors.New("no space left on device") }
	err := s.CopyAll(t.Context(), s.from)
	require.ErrorContains(t, err, "db-0: no space left")
	assert.NotContains(t, err.Error(), "db-3")
	assert.Equal(t, 1, asked)
}

// Who cancels does not wait for the copies that are left.
func TestCancelledCopies(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.put(0)
	s.put(3)
	ctx, cancel := context.WithCancel(t.Context())
	s.vault.spoil = func([]byte) ([]byte, error) { cancel(); return nil, errors.New("connection closed") }
	err := s.CopyAll(ctx, s.from)
	require.ErrorContains(t, err, "db-0: connection closed")
	assert.NotContains(t, err.Error(), "db-3")
}

// A copy that does not become what was sent is none, and takes nothing away: neither
// here nor there.
func TestCopyOutFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(s *shelf, b backup.Backup)
		says  string
	}{
		"nobody answers": {func(s *shelf, _ backup.Backup) { s.down = errors.New("connection refused") }, "cannot be reached: connection refused"},
		"its disk is full": {func(s *shelf, _ backup.Backup) {
			s.vault.spoil = func([]byte) ([]byte, error) { return nil, errors.New("no space left on device") }
		}, "no space left"},
		"a byte is flipped on the way": {func(s *shelf, _ backup.Backup) {
			s.vault.spoil = func(p []byte) ([]byte, error) { p[len(p)/2] ^= 1; return p, nil }
		}, "is not what was sent"},
		"it is cut short": {func(s *shelf, _ backup.Backup) {
			s.vault.spoil = func(p []byte) ([]byte, error) { return p[:len(p)/2], nil }
		}, "is not what was sent"},
		"the dump here was changed": {func(s *shelf, b backup.Backup) {
			dump, err := os.ReadFile(filepath.Join(s.Dir, b.ID+".dump"))
			require.NoError(s.t, err)
			dump[100] ^= 1
			require.NoError(s.t, os.WriteFile(filepath.Join(s.Dir, b.ID+".dump"), dump, 0o600))
		}, "is not what was taken"},
		"it is another host's": {func(s *shelf, b backup.Backup) {
			require.NoError(s.t, os.WriteFile(filepath.Join(s.away, "shop", b.ID+".json"), fmt.Appendf(nil, `{"schema":1,"id":%q,"service":"other","sha256":"x"}`, b.ID), 0o600))
		}, "give each host a folder of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			s.put(3)
			s.put(4)
			require.NoError(t, s.CopyAll(t.Context(), s.from))
			b := s.put(0)
			before := s.copies()
			c.spoil(s, b)
			s.from.Options.Copy.Least, s.from.Options.Copy.Keep = 1, 0
			err := s.CopyAll(t.Context(), s.from)
			require.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "the backups of db have no copy off the host")
			assert.ErrorContains(t, err, b.ID)
			assert.Equal(t, fault.Failed, fault.Of(err))
			assert.Subset(t, s.copies(), before, "older copies stay")
			assert.NotContains(t, s.copies(), b.ID+".dump")
			all, err := s.List(t.Context())
			require.NoError(t, err)
			assert.True(t, all[0].Copied.IsZero())
			assert.FileExists(t, filepath.Join(s.Dir, b.ID+".dump"))
		})
	}
}

// A backup that the host has lost is found where its copy is.
func TestFindACopy(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	b := s.put(0)
	require.NoError(t, s.CopyAll(t.Context(), s.from))
	for _, lose := range []string{".dump", ".json"} {
		require.NoError(t, os.Remove(filepath.Join(s.Dir, b.ID+lose)))
		_, err := s.Find(t.Context(), b.ID)
		require.Error(t, err, "not on the host")
		found, err := s.Find(t.Context(), b.ID, s.from.Options.Copy)
		require.NoError(t, err)
		assert.True(t, found.Away)
	}
	s.down = errors.New("connection refused")
	_, err := s.Find(t.Context(), b.ID, s.from.Options.Copy)
	assert.Equal(t, fault.Input, fault.Of(err))
}
