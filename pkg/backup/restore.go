package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// restoreScript makes a fresh database like the one there is and fills it. One that
// cannot be filled is taken away again.
const restoreScript = checkSum + "\n" + lacksScript + `fresh=$3; export PGOPTIONS="-c client_min_messages=warning"
psql -AtXq -v ON_ERROR_STOP=1 -v fresh="$fresh" -v db="$PGDATABASE" -d postgres -f - <<'SQL' || exit 12
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L',
  :'fresh', pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype) FROM pg_database WHERE datname = :'db'
\gexec
SELECT format('COMMENT ON DATABASE %I IS %L', :'fresh', '` + unfinished + `')
\gexec
SQL
pg_restore --no-password --exit-on-error --dbname="$fresh" "$2" && exit 0
dropdb --if-exists "$fresh"; exit 13`

// swapScript gives one database another's name and its mark, all at once. It ends
// every session of both first.
const swapScript = beyond + `set -e; from=$1 to=$2 aside=$3 mark=$4; export PGOPTIONS="-c client_min_messages=warning"
p() { psql -AtXq -v ON_ERROR_STOP=1 -v from="$from" -v to="$to" -v aside="$aside" -v mark="$mark" -d "$beyond" -f -; }
p <<'SQL'
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS false', d) FROM unnest(ARRAY[:'from', :'to']) d
\gexec
SQL
i=0
until p <<'SQL'
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname IN (:'from', :'to') \g /dev/null
BEGIN;
ALTER DATABASE :"to" RENAME TO :"aside";
ALTER DATABASE :"from" RENAME TO :"to";
SELECT format('COMMENT ON DATABASE %I IS %L', :'to', :'mark') WHERE :'mark' <> ''
\gexec
ALTER DATABASE :"to" ALLOW_CONNECTIONS true;
ALTER DATABASE :"aside" ALLOW_CONNECTIONS true;
COMMIT;
SQL
do i=$((i + 1)); if [ $i -ge 10 ]; then p <<'SQL'
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', d) FROM unnest(ARRAY[:'from', :'to']) d
\gexec
SQL
exit 14; fi; sleep 1; done`

// Restored is a backup in a database of its own, beside the one in use.
type Restored struct {
	store  *Store
	backup string
	from   Source
	access map[string]string
	// Database is the name in use, Fresh the restored one's until Swap, Aside the
	// replaced one's after it.
	Database, Fresh, Aside string
}

// Restore fills a fresh database from a backup, in the server that runs; nothing
// that is in use is touched. The backup has to be of that service's database.
func (s *Store) Restore(ctx context.Context, b Backup, into Source) (*Restored, error) {
	access, err := s.access(ctx, into)
	if err != nil {
		return nil, err
	}
	database := access["PGDATABASE"]
	if b.Service != into.Service || b.Database != database {
		return nil, fault.New(fault.Refused, "restore-database", "name a backup of that database: shiksha backups lists them",
			"backup %s is of database %s of %s, not of %s of %s", b.ID, b.Database, b.Service, database, into.Service)
	}
	if b.Away && into.Options.Copy == nil {
		// It was found where another database has its copies.
		return nil, fault.New(fault.Refused, "restore-database", fmt.Sprintf("bring %s.dump and %s.json from %s/%s to %s on %s", b.ID, b.ID, b.CopiedTo, s.Project, s.Dir, s.place()),
			"only a copy of backup %s is left, which cannot be fetched: %s has no x-shiksha.backups.copy; database %s is as it was", b.ID, into.Service, database)
	}
	if _, err := s.Heal(ctx, into); err != nil {
		return nil, err
	}
	if err := s.fits(ctx, b, into); err != nil {
		return nil, err
	}
	if b.Away {
		if err := s.fetch(ctx, b, into.Options.Copy); err != nil {
			return nil, fault.New(fault.Refused, "restore-database", "name another backup: shiksha backups lists them",
				"the copy of backup %s cannot be fetched, database %s is as it was: %w", b.ID, database, err)
		}
	}
	stamp := time.Now().UTC().Format("20060102t150405")
	r := &Restored{store: s, backup: b.ID, from: into, access: access, Database: database,
		Fresh: beside(database, "_restored_"+stamp), Aside: beside(database, "_replaced_"+stamp)}
	s.say(event.Info, "restoring backup %s into %s, beside database %s", b.ID, r.Fresh, database)
	ended, err := s.tool(ctx, into, access, "restore", restoreScript, b.SHA256, s.dump(b.ID), r.Fresh, strings.Join(b.Roles, "\n"))
	if err == nil && ended.Exit == lacksRoles {
		return nil, fault.New(fault.Refused, "restore-database", "create them in the server of "+into.Service+" first (CREATE ROLE); a dump has no roles",
			"backup %s could not be restored, database %s is as it was: the dump names roles that the server lacks: %s", b.ID, database, strings.TrimSpace(ended.Output))
	}
	if err := unwell(ended, err); err != nil {
		return nil, fault.New(fault.Refused, "restore-database", "mend that, or name another backup: shiksha backups lists them (STATE says which are proven)",
			"backup %s could not be restored, database %s is as it was: %w", b.ID, database, err)
	}
	return r, nil
}

// Swap gives the restored database the name in use and keeps the replaced one
// beside it. Every session is ended: stop what writes first. After an error it may
// have done so all the same, as when its answer was lost: Undo looks.
func (r *Restored) Swap(ctx context.Context) error {
	if err := r.run(ctx, "swap", swapScript, r.Fresh, r.Database, r.Aside, restoredFrom+r.backup); err != nil {
		return fmt.Errorf("the restored database %s could not take the name %s: %w", r.Fresh, r.Database, err)
	}
	r.store.say(event.Notice, "database %s is the restored one; the replaced one is kept as %s", r.Database, r.Aside)
	return nil
}

// Undo swaps back what was swapped, through the unit that the database has by then:
// the release may have replaced the one that it was restored through.
func (r *Restored) Undo(ctx context.Context, store *Store, now Source) error {
	state, healing := store.Heal(ctx, now)
	if healing == nil && state.Database == r.Database && !slices.Contains(state.Replaced, r.Aside) {
		store.say(event.Notice, "database %s is the one from before", r.Database)
		return nil
	}
	access, err := store.access(ctx, now)
	if err == nil {
		r.store, r.from, r.access = store, now, access
		err = r.run(ctx, "swap", swapScript, r.Aside, r.Database, r.Fresh, "")
	}
	if err != nil {
		return fmt.Errorf("database %s may be the restored one, and could not be swapped back; the replaced one is then %s: %w",
			r.Database, r.Aside, errors.Join(healing, err))
	}
	r.store.say(event.Warning, "database %s is the one from before again; the restored one is kept as %s", r.Database, r.Fresh)
	return nil
}

func (r *Restored) run(ctx context.Context, name, script string, args ...string) error {
	return unwell(r.store.tool(ctx, r.from, r.access, name, script, args...))
}

// unwell is the error of a script that did not end with 0.
func unwell(ended stack.Ended, err error) error {
	if err != nil {
		return err
	}
	if ended.Exit != 0 {
		return fmt.Errorf("it ended with %d: %s", ended.Exit, strings.TrimSpace(ended.Output))
	}
	return nil
}
