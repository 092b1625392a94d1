package backup

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// checkSum ends with 0 when the dump is what its manifest says.
const checkSum = `sum=$(sha256sum < "$2") || { echo "$2 cannot be read by user $(id -u)"; exit 16; }
test "$(echo "$sum" | cut -c1-64)" = "$1" || { echo "the checksum of $2 does not fit: it was changed since it was taken"; exit 11; }`

// countRows prints count<tab>table for every table; an extension's, of which a
// dump has only a part, count as -1.
const countRows = `SELECT format('SELECT %s || E''\t'' || %L', CASE WHEN EXISTS (
    SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  THEN '-1' ELSE format('(SELECT count(*) FROM ONLY %s)', c.oid::regclass) END, c.oid::regclass)
FROM pg_class c WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
\gexec
`

// ErrUntried is in the error of a proof that restored nothing: it says nothing of the backup.
var ErrUntried = errors.New("nothing was restored")

const startTime, proveTime = time.Minute, 6 * time.Hour

// Prove restores a backup into a throwaway server, of the image of the unit that serves and
// without a network, and compares the rows of every table with the manifest's.
func (s *Store) Prove(ctx context.Context, b Backup, unit stack.Unit) (Backup, error) {
	ctx, cancel := context.WithTimeout(ctx, proveTime)
	defer cancel()
	s.say(event.Info, "restoring backup %s into a throwaway server", b.ID)
	err := s.prove(ctx, b, unit)
	if err != nil {
		hint := cmp.Or(fault.Hint(err), "take another with shiksha backup, and look at the disk of the host")
		return b, fault.New(fault.Failed, "", hint, "backup %s is not proven: %w", b.ID, err)
	}
	b.Proven = time.Now().UTC().Truncate(time.Second)
	s.say(event.Notice, "backup %s is proven: restored, with the same rows in all of %d tables", b.ID, len(b.Rows))
	return b, s.write(ctx, b)
}

func (s *Store) prove(ctx context.Context, b Backup, unit stack.Unit) error {
	// A server of its own that has no network, with a password that nobody knows.
	access := map[string]string{"PGUSER": "postgres", "PGDATABASE": "postgres", "PGPORT": "5432", "PGPASSWORD": rand.Text()}
	id, err := s.throwaway(ctx, unit, access["PGPASSWORD"])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUntried, err)
	}
	defer s.Engine.Discard(ctx, id)
	if err := s.provable(ctx, b, id, access); err != nil {
		return fmt.Errorf("%w: %w", ErrUntried, err)
	}
	if err := s.inside(ctx, id, "check", "bash", "-c", checkSum, "prove", b.SHA256, s.dump(b.ID)); err != nil {
		return err
	}
	if err := s.inside(ctx, id, "createdb", "createdb", "-h", "127.0.0.1", "-U", "postgres", "-T", "template0", "proof"); err != nil {
		return err
	}
	if _, err := s.psql(ctx, id, "make the roles that the dump names", makeRoles(b.Roles)); err != nil {
		return err
	}
	err = s.inside(ctx, id, "pg_restore", "pg_restore", "-h", "127.0.0.1", "-U", "postgres", "--exit-on-error", "--no-owner", "--no-acl", "--dbname=proof", s.dump(b.ID))
	if err != nil {
		return err
	}
	out, err := s.psql(ctx, id, "count the restored rows", "SET search_path = '';\n"+countRows)
	if err != nil {
		return err
	}
	restored, err := parseRows(out)
	if err != nil {
		return err
	}
	return compare(b.Rows, restored)
}

// throwaway starts a server like the one that serves.
func (s *Store) throwaway(ctx context.Context, unit stack.Unit, password string) (id string, err error) {
	like, err := s.Engine.Inspect(ctx, unit.ID)
	if err != nil {
		return "", err
	}
	id, err = s.Engine.StartImage(ctx, s.Project, stack.Task{Name: "prove", Image: unit.ImageID, Network: "none", Keep: true,
		Env:   map[string]string{"POSTGRES_USER": "postgres", "POSTGRES_DB": "postgres", "POSTGRES_PASSWORD": password, "PGPASSWORD": password},
		Binds: []string{s.Dir}, Command: append([]string{"postgres"}, preloads(like.Command)...), ShmSize: like.ShmSize})
	if err != nil {
		return "", err
	}
	if err := s.greets(ctx, id); err != nil {
		s.Engine.Discard(ctx, id)
		return "", err
	}
	return id, nil
}

// psql runs statements in the database of a proof.
func (s *Store) psql(ctx context.Context, id, what, text string) (string, error) {
	out, errs, exit, err := s.Engine.Exec(ctx, id, []string{"psql", "-h", "127.0.0.1", "-U", "postgres", "-AtXq", "-v", "ON_ERROR_STOP=1", "-f", "-", "proof"}, []byte(text))
	if err != nil || exit != 0 {
		return "", errors.Join(err, fmt.Errorf("%s: %s", what, strings.TrimSpace(errs)))
	}
	return out, nil
}

// preloads are those arguments of a server's command that say what it preloads: some
// extensions cannot be created without. Others are for the disk, the memory or the archive
// of the one that serves.
func preloads(command []string) (out []string) {
	const name = "shared_preload_libraries="
	for i, arg := range command {
		setting := strings.TrimPrefix(strings.TrimPrefix(arg, "--"), "-c")
		plain := setting == arg && i > 0 && command[i-1] == "-c"
		if strings.HasPrefix(strings.ReplaceAll(setting, "-", "_"), name) && (plain || setting != arg) {
			out = append(out, "-c", name+setting[len(name):])
		}
	}
	return out
}

// greets waits until the server takes connections; while it sets itself up it
// takes none on TCP.
func (s *Store) greets(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("the throwaway server did not start within %s", startTime))
	defer cancel()
	for {
		_, _, exit, err := s.Engine.Exec(ctx, id, []string{"pg_isready", "-q", "-h", "127.0.0.1"}, nil)
		if err == nil && exit == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
		if err != nil {
			return fmt.Errorf("the throwaway server does not stay up: %w", err)
		}
	}
}

func (s *Store) inside(ctx context.Context, id, what string, argv ...string) error {
	out, errs, exit, err := s.Engine.Exec(ctx, id, argv, nil)
	if err != nil {
		return err
	}
	if exit != 0 {
		return fmt.Errorf("%s ended with %d: %s", what, exit, strings.TrimSpace(out+errs))
	}
	return nil
}

// compare tells which tables came back with other rows than were dumped.
func compare(dumped, restored map[string]int64) error {
	var wrong []string
	for table, n := range dumped {
		got, there := restored[table]
		switch {
		case !there:
			wrong = append(wrong, table+" did not come back")
		case got != n && got >= 0:
			wrong = append(wrong, fmt.Sprintf("%s has %d rows, the dump has %d", table, got, n))
		}
	}
	for table, n := range restored {
		if _, there := dumped[table]; !there && n > 0 {
			wrong = append(wrong, fmt.Sprintf("%s has %d rows and is not in the dump", table, n))
		}
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		return fmt.Errorf("the restored rows differ: %s", strings.Join(wrong, "; "))
	}
	return nil
}
