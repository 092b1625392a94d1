package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeServer is a unit with variables and files, and a server whose dumps have the
// tables that rows says.
type fakeServer struct {
	backup.Engine
	env, files map[string]string
	rows       string
	given      map[string]string
	need, has  string
	earlier    string // the manifest of a backup that was taken before
}

func (f *fakeServer) Inspect(context.Context, string) (stack.Unit, error) {
	return stack.Unit{Name: "shop-db-1", Env: f.env}, nil
}
func (*fakeServer) ClearTasks(context.Context, string) error { return nil }
func (f *fakeServer) Exec(_ context.Context, _ string, argv []string, _ []byte) (string, string, int, error) {
	text, ok := f.files[argv[len(argv)-1]]
	if !ok {
		return "", "cat: no such file", 1, nil
	}
	return text, "", 0, nil
}
func (f *fakeServer) RunImage(_ context.Context, _ string, t stack.Task) (stack.Ended, error) {
	f.given = t.Env
	final := t.Command[len(t.Command)-1]
	f.need = t.Command[5]
	sum := strings.Repeat("0", 64) + "\n4\npg_dump 15\n"
	return stack.Ended{}, errors.Join(os.WriteFile(final, []byte("dump"), 0o600), os.WriteFile(final+".rows", []byte(f.rows), 0o600),
		os.WriteFile(final+".sum", []byte(sum), 0o600), os.WriteFile(final+".has", []byte(f.has), 0o600))
}

// take has a backup taken of such a server and gives the warnings.
func (f *fakeServer) take(t *testing.T, o stack.Backups) (warnings []string, err error) {
	t.Helper()
	told := &event.Recorder{}
	dir := t.TempDir()
	s := &backup.Store{Project: "shop", Dir: filepath.Join(dir, "backups"), Metrics: filepath.Join(dir, "metrics"), Files: disk.Files{}, Engine: f, Sink: told}
	if f.earlier != "" {
		require.NoError(t, os.MkdirAll(s.Dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "db-1.json"), []byte(f.earlier), 0o600))
	}
	_, err = s.Take(t.Context(), backup.Source{Service: "db", Options: o})
	for _, e := range told.Events() {
		if e.Level == event.Warning {
			warnings = append(warnings, e.Text)
		}
	}
	return warnings, err
}

// What is dumped, and as whom, is what the unit was told, by variables or by the files
// that these name.
func TestWhichDatabaseIsDumped(t *testing.T) {
	t.Parallel()
	files := map[string]string{"/run/secrets/db": "shop\n", "/run/secrets/user": "seller\n", "/run/secrets/password": "s3cret-enough\n"}
	for name, c := range map[string]struct {
		env     string
		options stack.Backups
		want    string
	}{
		"nothing is said":             {"", stack.Backups{}, "postgres postgres "},
		"by variables":                {"POSTGRES_DB=shop POSTGRES_USER=seller POSTGRES_PASSWORD=p", stack.Backups{}, "shop seller p"},
		"the database by a file":      {"POSTGRES_DB_FILE=/run/secrets/db POSTGRES_PASSWORD_FILE=/run/secrets/password", stack.Backups{}, "shop postgres s3cret-enough"},
		"the user by a file":          {"POSTGRES_USER_FILE=/run/secrets/user", stack.Backups{}, "seller seller "},
		"the stack says it otherwise": {"POSTGRES_USER_FILE=/gone POSTGRES_DB_FILE=/gone", stack.Backups{Database: "a", User: "b"}, "a b "},
	} {
		f := &fakeServer{env: map[string]string{}, files: files, rows: "1\tpublic.orders\n"}
		for _, v := range strings.Fields(c.env) {
			key, value, _ := strings.Cut(v, "=")
			f.env[key] = value
		}
		warnings, err := f.take(t, c.options)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, f.given["PGDATABASE"]+" "+f.given["PGUSER"]+" "+f.given["PGPASSWORD"], name)
		assert.Empty(t, warnings, name)
	}
	for _, variable := range []string{"POSTGRES_DB_FILE", "POSTGRES_USER_FILE", "POSTGRES_PASSWORD_FILE"} {
		_, err := (&fakeServer{env: map[string]string{variable: "/gone"}}).take(t, stack.Backups{})
		require.EqualError(t, err, variable+" of shop-db-1 cannot be read: cat: no such file")
	}
}

// begunServer is a server that says which of a database and a user it has.
type begunServer struct {
	fakeServer
	says  string
	asked []string
	stdin string
}

func (b *begunServer) Exec(_ context.Context, _ string, argv []string, stdin []byte) (string, string, int, error) {
	b.asked, b.stdin = argv[4:], string(stdin)
	if b.says == "" {
		return "", "psql: error: no such role", 2, nil
	}
	return b.says, "", 0, nil
}

// A server that was brought up a moment ago may lack the database or the user that the
// dump is of: its first migration makes them.
func TestWhatIsToBeDumpedMayNotBeThereYet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says    string
		options stack.Backups
		asked   string
		user    string
		absent  bool
		warns   string
	}{
		"both are there":       {"1\n1\n", stack.Backups{Database: "shop", User: "dumper"}, "5432 owner shop dumper", "dumper", false, ""},
		"the database is not":  {"0\n1\n", stack.Backups{Database: "shop"}, "5432 owner shop owner", "", true, ""},
		"neither is":           {"0\n0\n", stack.Backups{Database: "shop", User: "dumper"}, "5432 owner shop dumper", "dumper", true, ""},
		"the user is not":      {"1\n0\n", stack.Backups{User: "dumper"}, "5432 owner main dumper", "", false, "db has no user dumper yet"},
		"it does not say":      {"", stack.Backups{Database: "shop", User: "dumper"}, "5432 owner shop dumper", "dumper", false, ""},
		"it says nothing":      {"\n", stack.Backups{Database: "shop"}, "5432 owner shop owner", "", false, ""},
		"those that it starts": {"0\n0\n", stack.Backups{}, "", "", false, ""},
	} {
		told := &event.Recorder{}
		f := &begunServer{says: c.says}
		f.env = map[string]string{"POSTGRES_USER": "owner", "POSTGRES_DB": "main", "POSTGRES_PASSWORD": "s3cret-enough"}
		s := &backup.Store{Project: "shop", Engine: f, Sink: told}
		from, err := s.Begun(t.Context(), backup.Source{Service: "db", Options: c.options})
		assert.Equal(t, c.absent, errors.Is(err, backup.ErrAbsent), "%s: %v", name, err)
		assert.Equal(t, c.absent, err != nil, name)
		assert.Equal(t, []string{c.asked, c.user, c.options.Database}, []string{strings.Join(f.asked, " "), from.Options.User, from.Options.Database}, name)
		if c.asked != "" {
			assert.Equal(t, "s3cret-enough\n", f.stdin, "not in the arguments")
		}
		var warned string
		for _, e := range told.Events() {
			if e.Level == event.Warning {
				warned += e.Text
			}
		}
		assert.Equal(t, c.warns == "", warned == "", name)
		assert.Contains(t, warned, c.warns, name)
	}
}

// A dump without tables is told where nobody said which database is meant: the data may
// be in another.
func TestADumpWithoutTables(t *testing.T) {
	t.Parallel()
	for named, rows := range map[string]string{"": "", "shop": "", " ": "0\tpublic.orders\n"} {
		database := strings.TrimSpace(named)
		warnings, err := (&fakeServer{rows: rows}).take(t, stack.Backups{Database: database})
		require.NoError(t, err)
		want := named == ""
		assert.Equal(t, want, slices.ContainsFunc(warnings, func(w string) bool {
			return strings.Contains(w, "database postgres of db has no tables")
		}), "%q %v", named, warnings)
	}
}

// What a dump has not is told: other databases of the server, as a warning where the last
// dump did not say the same.
func TestDatabasesThatAreNotDumpedAreTold(t *testing.T) {
	t.Parallel()
	f := &fakeServer{rows: "1\tpublic.orders\n", has: "database\tbilling\ndatabase\tkeycloak\nrole\tmetabase\n"}
	warnings, err := f.take(t, stack.Backups{})
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "the server of db has databases that are not dumped, since a backup is of one: billing, keycloak")
	assert.Equal(t, "0", f.need, "how large it gets is not known")

	for others, warns := range map[string]bool{`"billing","keycloak"`: false, `"billing"`: true, ``: true} {
		f.earlier = `{"schema":1,"id":"db-1","service":"db","database":"postgres","bytes":1000,"others":[` + others + `]}`
		warnings, err = f.take(t, stack.Backups{})
		require.NoError(t, err)
		assert.Equal(t, warns, len(warnings) > 0, "%s: %v", others, warnings)
		assert.Equal(t, "1250", f.need, "the last one, and a quarter")
	}
}

// The ledger names the backup that a release brought back, and no more.
func TestTakenAt(t *testing.T) {
	t.Parallel()
	at, known := backup.TakenAt("shop-db-20260301T090000Z")
	assert.True(t, known)
	assert.Equal(t, time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), at)
	for _, id := range []string{"", "b1", "db-", "db-20260301", "db-20260301T090000Z-1"} {
		_, known := backup.TakenAt(id)
		assert.False(t, known, id)
	}
}
