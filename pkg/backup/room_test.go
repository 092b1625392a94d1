package backup_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeDisk is a database whose unit says what it says of its size and its disk; a real
// one of 100 GB no test has.
type fakeDisk struct {
	backup.Engine
	says  string
	exit  int
	argv  []string
	stdin string
	ran   []string
}

func (f *fakeDisk) Inspect(context.Context, string) (stack.Unit, error) {
	return stack.Unit{Env: map[string]string{"POSTGRES_DB": "shop", "POSTGRES_PASSWORD": "s3cret-enough"}}, nil
}
func (*fakeDisk) ClearTasks(context.Context, string) error { return nil }
func (f *fakeDisk) Exec(_ context.Context, _ string, argv []string, stdin []byte) (string, string, int, error) {
	f.argv, f.stdin = argv, string(stdin)
	return f.says, "psql: not found", f.exit, nil
}
func (f *fakeDisk) RunImage(_ context.Context, _ string, t stack.Task) (stack.Ended, error) {
	f.ran = append(f.ran, t.Name)
	return stack.Ended{}, nil
}

// A restore that fills the disk of the database in use ends that: it is refused before
// anything is made. Where nothing is known of the room nobody is locked out.
func TestARestoreAsksForRoom(t *testing.T) {
	t.Parallel()
	const gb = 1 << 30
	for name, c := range map[string]struct {
		says  string
		exit  int
		taken backup.Backup
		needs string
		warns string
	}{
		"none":                              {says: "64424509440\n20971520\n", needs: "only 20480 MiB are free on its disk, and the restored one needs about 30720 MiB (at least half of the one in use"},
		"half of it may be dead":            {says: "64424509440\n41943040\n", warns: "only 40960 MiB are free on the disk of database shop, which takes 61440 MiB"},
		"half of it, and a larger dump":     {says: "64424509440\n41943040\n", taken: backup.Backup{Bytes: 41 * gb}, needs: "needs about 41984 MiB"},
		"half of it, and known to need all": {says: "64424509440\n41943040\n", taken: backup.Backup{DatabaseBytes: 60 * gb}, needs: "needs about 61440 MiB"},
		"enough":                            {says: "107374182400\n125829120\n"},
		"it was small then":                 {says: "107374182400\n20971520\n", taken: backup.Backup{DatabaseBytes: 10 * gb}},
		"it was large then":                 {says: "8000000\n20971520\n", taken: backup.Backup{DatabaseBytes: 30 * gb}, needs: "needs about 30720 MiB (it took that when the backup was taken)"},
		"the dump alone is larger":          {says: "8000000\n20971520\n", taken: backup.Backup{Bytes: 21 * gb}, needs: "needs about 21504 MiB"},
		"a unit without psql":               {exit: 127},
		"a unit that says something else":   {says: "df: no such folder"},
		"a size that is none":               {says: "many 20971520"},
		"free room that is none, as a word": {says: "8000000 -"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := &event.Recorder{}
			f := &fakeDisk{says: c.says, exit: c.exit}
			s := &backup.Store{Project: "shop", Dir: filepath.Join(t.TempDir(), "backups"), Files: disk.Files{}, Engine: f, Sink: said}
			b := c.taken
			b.ID, b.Service, b.Database = "db-1", "db", "shop"
			_, err := s.Restore(t.Context(), b, backup.Source{Service: "db"})
			assert.NotContains(t, f.argv, "s3cret-enough")
			assert.Equal(t, "s3cret-enough\n", f.stdin)
			if c.needs == "" {
				require.NoError(t, err)
				assert.Equal(t, []string{"heal", "restore"}, f.ran)
				warned := ""
				for _, e := range said.Events() {
					if e.Level == event.Warning {
						warned += e.Text
					}
				}
				assert.Equal(t, c.warns != "", warned != "", warned)
				assert.Contains(t, warned, c.warns)
				return
			}
			require.ErrorContains(t, err, c.needs)
			assert.ErrorContains(t, err, "database shop, which is as it was")
			assert.Equal(t, fault.Refused, fault.Of(err))
			assert.Contains(t, fault.Hint(err), "shop_replaced_")
			assert.Equal(t, []string{"heal"}, f.ran, "nothing was made")
		})
	}
}
