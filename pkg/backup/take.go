package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/stack"
)

// The exit codes of the scripts, by which step failed.
const (
	dumpFailed = 10
	readFailed = 11
	noRoom     = 12
)

// dumpScript dumps, reads the dump back whole, counts its rows on the way, and only
// then gives it its name. pg_dump flushes its file to the disk itself.
const dumpScript = `set -o pipefail; umask 077; export LC_ALL=C
part=$1 need=$2 need_of=$3 final=$4
free=$(df -Pk "$(dirname "$part")" | tail -n 1 | awk '{print $4}')
if [ "$need" -gt 0 ] && [ "${free:-$need}" -lt $((need / 1024)) ]; then
  echo "$((free / 1024)) MiB are free in $(dirname "$part"), and the dump needs about $((need / 1048576)) MiB ($need_of)"; exit 12
fi
pg_dump --format=custom --no-password --lock-wait-timeout=60s --file="$part" || exit 10
pg_restore --file=- "$part" | awk '
  !rows && /^COPY .* FROM stdin;$/ { name = $0; sub(/^COPY /, "", name); sub(/ (\(.*\) )? *FROM stdin;$/, "", name); rows = 1; n = 0; next }
  rows && $0 == "\\." { print n "\t" name; rows = 0; next }
  rows { n++ }' > "$final.rows" || exit 11
sha256sum < "$part" | cut -c1-64 > "$final.sum" && wc -c < "$part" >> "$final.sum" && pg_dump --version >> "$final.sum" || exit 11
psql -AtXqc 'SELECT pg_database_size(current_database())' >> "$final.sum" || true
psql -AtXq -F "$(printf '\t')" -f - > "$final.has" <<'SQL' || true
` + hasQuery + `
SQL
mv "$part" "$final"`

// stamp is how the name of a backup says when it was taken.
const stamp = "20060102T150405Z"

// name is how the backup of a service from a moment is called.
func name(service string, at time.Time) string { return service + "-" + at.Format(stamp) }

// TakenAt reads when a backup was taken from its name, false where that does not say it.
func TakenAt(id string) (time.Time, bool) {
	at, err := time.Parse(stamp, id[strings.LastIndex(id, "-")+1:])
	return at, err == nil
}

// ServiceOf is the service that a backup is of, by its name.
func ServiceOf(id string) string { return id[:max(strings.LastIndex(id, "-"), 0)] }

// told is how often a long dump says how far it is.
const told = 10 * time.Second

// Take dumps a database and gives the backup. An error leaves no backup and touches
// none that is there; one that succeeds lets older ones go as its options say.
func (s *Store) Take(ctx context.Context, from Source) (Backup, error) {
	access, err := s.access(ctx, from)
	if err != nil {
		return Backup{}, err
	}
	if err := s.begin(ctx); err != nil {
		return Backup{}, err
	}
	if err := s.Engine.ClearTasks(ctx, s.Project); err != nil {
		return Backup{}, err
	}
	if err := s.sweep(ctx); err != nil {
		return Backup{}, err
	}
	now, err := s.unused(ctx, from.Service)
	if err != nil {
		return Backup{}, err
	}
	b := Backup{Schema: schema, ID: name(from.Service, now), Project: s.Project, Service: from.Service,
		Database: access["PGDATABASE"], Release: from.Release, Version: from.Version, Taken: now, Node: s.Node}
	last := s.last(ctx, from.Service, b.Database)
	need, of := s.dumpNeeds(ctx, from, last)
	s.say(event.Info, "dumping database %s of %s on %s", b.Database, from.Service, s.place())
	limited, cancel := context.WithTimeoutCause(ctx, from.Options.Timeout, fmt.Errorf("it took longer than %s (x-shiksha.backups.timeout)", from.Options.Timeout))
	defer cancel()
	defer s.progress(limited, b.ID)()
	began := time.Now()
	part := s.dump(b.ID) + ".part"
	ended, err := s.tool(limited, from, access, "backup", dumpScript, part, strconv.FormatInt(need, 10), of, s.dump(b.ID))
	if err == nil {
		err = failure(ended)
	}
	if err == nil {
		b.Seconds = time.Since(began).Seconds()
		err = s.complete(ctx, &b)
	}
	if err != nil {
		return Backup{}, s.failed(ctx, from.Service, err)
	}
	s.tell(b, last, from.Options)
	s.settle(ctx, b, from)
	return b, nil
}

// unused is now, or the next second where there is a backup of this one already: that must
// not go for another.
func (s *Store) unused(ctx context.Context, service string) (time.Time, error) {
	for {
		now := time.Now().UTC().Truncate(time.Second)
		switch _, err := s.Files.Read(ctx, s.manifest(name(service, now))); {
		case errors.Is(err, fs.ErrNotExist):
			return now, nil
		case err != nil:
			return now, fmt.Errorf("look for backups of %s: %w", service, err)
		}
		if err := grace.Pause(ctx, time.Until(now.Add(time.Second))); err != nil {
			return now, err
		}
	}
}

// tell says what a dump has, and what it has not: as a warning what the last one had, so that
// one who dumps a database each night is not warned of the others each night.
func (s *Store) tell(b, last Backup, o stack.Backups) {
	s.say(event.Notice, "backup %s: %d rows in %d tables, %.1f MB, read back whole in %.1f s", b.ID, b.Total(), len(b.Rows), float64(b.Bytes)/1e6, b.Seconds)
	if len(b.Rows) == 0 && o.Database == "" {
		s.say(event.Warning, "database %s of %s has no tables; if its data is in another, name that with x-shiksha.backups.database", b.Database, b.Service)
	}
	if len(b.Others) == 0 {
		return
	}
	level := event.Warning
	if slices.Equal(b.Others, last.Others) {
		level = event.Info
	}
	s.say(level, "the server of %s has databases that are not dumped, since a backup is of one: %s", b.Service, strings.Join(b.Others, ", "))
}

// begin makes the folder for backups, and has the host know of it first: whoever lists
// backups looks where the host says that there may be some.
func (s *Store) begin(ctx context.Context) error {
	if s.Announce != nil {
		if err := s.Announce(ctx); err != nil {
			return err
		}
	}
	if err := s.Files.MkdirAll(ctx, s.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for backups: %w", err)
	}
	return nil
}

// failed takes away what a failed dump left, and says that there is no new backup.
func (s *Store) failed(ctx context.Context, service string, err error) error {
	if context.Cause(ctx) == nil {
		err = errors.Join(err, s.sweep(ctx))
	}
	// Not the command alone: a release that was to migrate dumps by itself.
	return fault.New(fault.Refused, "", "mend it and run the same again; earlier backups are untouched",
		"no backup of %s was made, the database is as it was: %w", service, err)
}

// failure says which step of a script ended with what.
func failure(ended stack.Ended) error {
	text := strings.TrimSpace(ended.Output)
	switch ended.Exit {
	case 0:
		return nil
	case dumpFailed:
		return fmt.Errorf("pg_dump failed: %s", text)
	case readFailed:
		return fmt.Errorf("the dump does not read back whole: %s", text)
	case noRoom:
		return fmt.Errorf("only %s", text)
	}
	return fmt.Errorf("it ended with %d: %s", ended.Exit, text)
}

// complete reads what the script found out and writes the manifest, which makes
// the dump a backup.
func (s *Store) complete(ctx context.Context, b *Backup) error {
	rows, err := s.Files.Read(ctx, s.dump(b.ID)+".rows")
	if err != nil {
		return err
	}
	if b.Rows, err = parseRows(string(rows)); err != nil {
		return err
	}
	sum, err := s.Files.Read(ctx, s.dump(b.ID)+".sum")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(sum)), "\n")
	if len(lines) < 3 || len(lines[0]) != 64 {
		return fmt.Errorf("the checksum of the dump is not one: %q", sum)
	}
	b.SHA256, b.Server = lines[0], lines[2]
	if b.Bytes, err = strconv.ParseInt(strings.TrimSpace(lines[1]), 10, 64); err != nil || b.Bytes == 0 {
		return fmt.Errorf("the size of the dump is not one: %q", lines[1])
	}
	if len(lines) > 3 {
		b.DatabaseBytes, _ = strconv.ParseInt(strings.TrimSpace(lines[3]), 10, 64) // what cannot be read is not known
	}
	b.Roles, b.Others = s.has(ctx, b.ID)
	return s.write(ctx, *b)
}

// parseRows reads "count<tab>table" lines.
func parseRows(text string) (map[string]int64, error) {
	rows := map[string]int64{}
	for line := range strings.Lines(text) {
		count, table, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		n, err := strconv.ParseInt(count, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%q is no count of rows", line)
		}
		rows[table] = n
	}
	return rows, nil
}

// access is how the tools reach a database: the variables of libpq, with what the unit
// itself was given, by a variable or by the file that one names.
func (s *Store) access(ctx context.Context, from Source) (map[string]string, error) {
	unit, err := s.Engine.Inspect(ctx, from.Unit.ID)
	if err != nil {
		return nil, err
	}
	given := func(said, variable, otherwise string) string {
		if said == "" && err == nil {
			said, err = Given(unit, variable, func(argv []string) (string, string, int, error) {
				return s.Engine.Exec(ctx, from.Unit.ID, argv, nil)
			})
		}
		return cmp.Or(said, otherwise)
	}
	user := given(from.Options.User, "POSTGRES_USER", "postgres")
	out := map[string]string{
		"PGHOST": "127.0.0.1", "PGPORT": cmp.Or(unit.Env["PGPORT"], "5432"), "PGUSER": user, "PGCONNECT_TIMEOUT": "10",
		"PGDATABASE": given(from.Options.Database, "POSTGRES_DB", user), "PGPASSWORD": given("", "POSTGRES_PASSWORD", ""),
	}
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out, err
}

// Given is the value that a unit was given by a variable, as images take it: from the file
// where variable_FILE names one. exec runs a command in the unit.
func Given(u stack.Unit, variable string, exec func(argv []string) (stdout, stderr string, exit int, err error)) (string, error) {
	file := u.Env[variable+"_FILE"]
	if file == "" {
		return u.Env[variable], nil
	}
	text, errs, exit, err := exec([]string{"cat", file})
	if err == nil && exit != 0 {
		err = errors.New(strings.TrimSpace(errs))
	}
	if err != nil {
		return "", fmt.Errorf("%s_FILE of %s cannot be read: %w", variable, u.Name, err)
	}
	return strings.TrimRight(text, "\n"), nil
}

// progress tells now and then how large the dump is; the function it gives ends that.
func (s *Store) progress(ctx context.Context, id string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(told)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			infos, _ := s.Files.List(ctx, s.Dir)
			for _, info := range infos {
				if strings.HasPrefix(info.Name(), id) && strings.HasSuffix(info.Name(), ".part") {
					s.say(event.Info, "dumped %.1f MB so far", float64(info.Size())/1e6)
				}
			}
		}
	}()
	return cancel
}
