package backup

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// Room is how much a database takes of its disk, with its indexes and what is dead in
// it, and how much is free there, in bytes.
type Room struct{ Size, Free int64 }

// roomScript asks inside the database's own unit, where its folder is: by its socket or
// else by its address. The password comes by stdin: arguments are seen by everybody.
const roomScript = `IFS= read -r PGPASSWORD; export PGPASSWORD PGUSER="$1" PGDATABASE="$2" PGPORT="$3" PGCONNECT_TIMEOUT=10
ask() { psql -wAtXqc "$1" || psql -h 127.0.0.1 -wAtXqc "$1"; }
size=$(ask 'SELECT pg_database_size(current_database())') && dir=$(ask 'SHOW data_directory') && free=$(df -Pk "$dir") || exit
echo "$size"; echo "$free" | tail -n 1 | awk '{print $4}'`

// Room asks a running database how large it is and what its folder has free.
func (s *Store) Room(ctx context.Context, of Source) (Room, error) {
	access, err := s.access(ctx, of)
	if err != nil {
		return Room{}, err
	}
	room, err := s.room(ctx, of.Unit.ID, access)
	if err != nil {
		return Room{}, fmt.Errorf("ask how large database %s of %s is: %w", access["PGDATABASE"], of.Service, err)
	}
	return room, nil
}

func (s *Store) room(ctx context.Context, id string, access map[string]string) (Room, error) {
	out, errs, exit, err := s.Engine.Exec(ctx, id, []string{"sh", "-c", roomScript, "room", access["PGUSER"], access["PGDATABASE"], access["PGPORT"]},
		[]byte(access["PGPASSWORD"]+"\n"))
	if err == nil && exit != 0 {
		err = fmt.Errorf("it ended with %d: %s", exit, strings.TrimSpace(errs))
	}
	if err != nil {
		return Room{}, err
	}
	words := strings.Fields(out)
	if len(words) != 2 {
		return Room{}, fmt.Errorf("it said %q", out)
	}
	size, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return Room{}, err
	}
	blocks, err := strconv.ParseInt(words[1], 10, 64)
	return Room{size, blocks << 10}, err
}

// fits refuses to restore what fills the disk of the database in use: a server that
// cannot write ends. What the database took when the dump was made is the best that is
// known of what it will take. Of an older dump only the one in use is known, half of which
// may be dead rows, or what a failed migration added: no reason to keep anybody from it.
func (s *Store) fits(ctx context.Context, b Backup, into Source) error {
	room, err := s.Room(ctx, into)
	if err != nil {
		s.say(event.Debug, "whether there is room to restore backup %s is not known: %v", b.ID, err)
		return nil
	}
	need, of := b.DatabaseBytes, "it took that when the backup was taken"
	if need == 0 {
		need, of = max(room.Size/2, b.Bytes), "at least half of the one in use, or as much as its dump"
	}
	if room.Free >= need {
		if b.DatabaseBytes == 0 && room.Free < room.Size {
			s.say(event.Warning, "only %d MiB are free on the disk of database %s, which takes %d MiB: if the restored one takes as much, the server runs out of room",
				room.Free>>20, b.Database, room.Size>>20)
		}
		return nil
	}
	return fault.New(fault.Refused, "restore-database", "free some there: databases that earlier restores put aside are named "+beside(b.Database, "_replaced_...")+
		"; or give the volume a larger disk",
		"backup %s is restored beside database %s, which is as it was: only %d MiB are free on its disk, and the restored one needs about %d MiB (%s)",
		b.ID, b.Database, room.Free>>20, need>>20, of)
}

const (
	// dense is how many times smaller a dump is than its database, at most, where only
	// one of the two is known.
	dense = 4
	// walRoom is what a server writes beside its tables while it is filled, in bytes.
	walRoom = 1 << 30
)

// dumpNeeds is the room that a dump needs in the folder for backups, with where that is
// known from: the last dump and a quarter, or a quarter of the database, 0 where neither is
// known. That folder is often on the disk of the database that serves.
func (s *Store) dumpNeeds(ctx context.Context, from Source, last Backup) (need int64, of string) {
	room, err := s.Room(ctx, from)
	if err != nil {
		s.say(event.Debug, "how large the dump gets is not known: %v", err)
	}
	switch {
	case last.Bytes == 0:
		return room.Size / dense, "a quarter of the database"
	case room.Size > 0 && room.Size < last.Bytes:
		return room.Size, "the database itself is no larger"
	}
	return last.Bytes + last.Bytes/4, "the last one, and a quarter"
}

// last is the newest backup of a database, an empty one where none is known.
func (s *Store) last(ctx context.Context, service, database string) Backup {
	all, _ := s.List(ctx) // a folder that cannot be read fails the dump itself
	i := slices.IndexFunc(all, func(b Backup) bool { return b.Service == service && b.Database == database })
	if i < 0 {
		return Backup{}
	}
	return all[i]
}

// provable refuses a proof that could fill the disk: the throwaway server has its folder
// where the one that serves has its own, as a rule.
func (s *Store) provable(ctx context.Context, b Backup, id string, access map[string]string) error {
	room, err := s.room(ctx, id, access)
	if err != nil {
		s.say(event.Debug, "whether there is room to prove backup %s is not known: %v", b.ID, err)
		return nil
	}
	need, of := b.DatabaseBytes, "the database took that when it was dumped"
	if need == 0 {
		need, of = b.Bytes*dense, "four times the dump"
	}
	if room.Free >= need+walRoom {
		return nil
	}
	return fault.New(fault.Refused, "", "free some where the engine keeps its volumes, or fetch the backup and prove it elsewhere",
		"only %d MiB are free on the disk of the throwaway server, and it needs about %d MiB (%s, and 1024 MiB beside it)", room.Free>>20, (need+walRoom)>>20, of)
}
