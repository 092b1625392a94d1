package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/stack"
)

// ErrAbsent is why nothing is dumped of a server: the database that is to be dumped is not
// in it yet.
var ErrAbsent = errors.New("there is no such database yet")

// begunScript asks a server, as the user that its image makes, by the address that a dump
// is made by, whether it has a database and a user. The password comes by stdin: arguments
// are seen by everybody.
const begunScript = `IFS= read -r PGPASSWORD; export PGPASSWORD PGCONNECT_TIMEOUT=10
psql -h 127.0.0.1 -p "$1" -U "$2" -d template1 -wAtXq -v ON_ERROR_STOP=1 -v db="$3" -v role="$4" -f - <<'SQL'
SELECT count(*) FROM pg_database WHERE datname = :'db';
SELECT count(*) FROM pg_roles WHERE rolname = :'role';
SQL`

// Begun gives how a database is dumped whose server was brought up a moment ago. What
// x-shiksha.backups names may be what its first migration makes: where the database is
// missing the error is ErrAbsent, and where only the user is, the unit's own dumps it. A
// server that does not say is dumped as any other.
func (s *Store) Begun(ctx context.Context, from Source) (Source, error) {
	if from.Options.Database == "" && from.Options.User == "" {
		return from, nil
	}
	database, user, said, err := s.ask(ctx, from)
	if err == nil && len(said) != 2 {
		err = fmt.Errorf("it said %q", said)
	}
	switch {
	case err != nil:
		s.say(event.Debug, "whether %s has what is to be dumped is not known: %v", from.Service, err)
	case said[0] == "0":
		return from, fmt.Errorf("database %s of %s: %w", database, from.Service, ErrAbsent)
	case said[1] == "0":
		s.say(event.Warning, "%s has no user %s yet (x-shiksha.backups.user): the dump is made by the one that its image makes", from.Service, user)
		from.Options.User = ""
	}
	return from, nil
}

// ask gives the database and the user that a dump is of, and what the server says of them.
func (s *Store) ask(ctx context.Context, from Source) (database, user string, said []string, err error) {
	wanted, err := s.access(ctx, from)
	if err != nil {
		return "", "", nil, err
	}
	from.Options = stack.Backups{}
	own, err := s.access(ctx, from)
	if err != nil {
		return "", "", nil, err
	}
	database, user = wanted["PGDATABASE"], wanted["PGUSER"]
	out, errs, exit, err := s.Engine.Exec(ctx, from.Unit.ID, []string{"sh", "-c", begunScript, "begun", own["PGPORT"], own["PGUSER"], database, user},
		[]byte(own["PGPASSWORD"]+"\n"))
	if err == nil && exit != 0 {
		err = fmt.Errorf("it ended with %d: %s", exit, strings.TrimSpace(errs))
	}
	return database, user, strings.Fields(out), err
}

// listensScript asks whether a server takes connections where a dump connects.
const listensScript = `exec pg_isready -q -h 127.0.0.1 -p "$1" -t 3`

// What pg_isready ends with while a server comes up, and while there is none.
const rejecting, silent = 1, 2

// Await waits until a server that was brought up a moment ago takes connections where a
// dump connects: while it sets itself up it takes none on TCP, and none at all while it
// recovers from a crash, and without a healthcheck nobody has waited for that. Of one that
// does not in time (0 is what a throwaway server has), or cannot be asked, the dump itself
// says why.
func (s *Store) Await(ctx context.Context, from Source, limit time.Duration) error {
	access, err := s.access(ctx, from)
	if err != nil {
		return err
	}
	limit = cmp.Or(limit, startTime)
	for until, told := time.Now().Add(limit), false; ; told = true {
		_, _, exit, err := s.Engine.Exec(ctx, from.Unit.ID, []string{"sh", "-c", listensScript, "listens", access["PGPORT"]}, nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || exit != rejecting && exit != silent:
			return nil
		case time.Now().After(until):
			s.say(event.Warning, "%s takes no connections at 127.0.0.1:%s after %s (wait-timeout)", from.Service, access["PGPORT"], limit)
			return nil
		case !told:
			s.say(event.Info, "waiting until %s takes connections", from.Service)
		}
		if err := grace.Pause(ctx, time.Second); err != nil {
			return err
		}
	}
}
