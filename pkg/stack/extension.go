package stack

import (
	"fmt"
	"strings"
	"time"
)

// Extension is x-shiksha on a service: what Compose itself has no word for.
type Extension struct {
	// Gateway names the service that balances this one (nginx); Port is the
	// port it reaches it on.
	Gateway string
	Port    int
	// Reload is set on a service that can take changed files without being
	// recreated.
	Reload *Reload
	// Drain is how long the gateway's old workers may finish their requests
	// before the old units go anyway (WebSockets never end). Default 30 s.
	Drain time.Duration
	// Idle is set on a worker that is let finish its work before it is stopped.
	Idle *Idle
	// Migrate is set on a service that brings its database's schema along, Backups
	// on a database that is dumped.
	Migrate *Migrate
	Backups *Backups
	// Exempt are the preflight findings that this service is let off, each with
	// its reason: the name of the finding ("P02.health") to why.
	Exempt map[string]string `json:",omitempty"`
}

// DefaultDrain is the drain budget of a service that names none.
const DefaultDrain = 30 * time.Second

// Reload says how a service takes changed files: Test must end with 0 inside
// the unit before Signal is sent to its first process.
type Reload struct {
	Test   []string
	Signal string
}

// Idle says how a worker is let finish its work before it is stopped: Stop makes it
// take no more work, then Wait, asked again and again, ends with 0 when none is
// left. Budget bounds the waiting; after it the worker is stopped all the same.
type Idle struct {
	Stop, Wait []string
	Budget     time.Duration
}

// DefaultIdleBudget is how long a worker that names no budget may take.
const DefaultIdleBudget = 10 * time.Minute

// Migrate says how a service brings its database to the schema that it needs.
type Migrate struct {
	// Command runs once per release, from the new image, after a backup that was
	// read back whole and before any unit is replaced.
	Command []string
	// Timeout bounds it; LockTimeout is how long one of its statements may wait
	// for a lock (PGOPTIONS), 0 for as long as the server lets it.
	Timeout, LockTimeout time.Duration
	// Current prints the revision the database is at. Compatible ends with 0 when
	// its code can work with the schema that is there. Both may be empty.
	Current, Compatible []string
	// Elsewhere is set where the database is backed up by other means.
	Elsewhere bool
}

// Session gives the variable that makes statements of libpq's users give up waiting for a
// lock, so that a migration cannot queue everybody behind it; none where LockTimeout is 0:
// most poolers refuse a session with options.
func (m *Migrate) Session(env map[string]string) map[string]string {
	if m.LockTimeout == 0 {
		return map[string]string{}
	}
	options := fmt.Sprintf("-c lock_timeout=%d", m.LockTimeout.Milliseconds())
	return map[string]string{"PGOPTIONS": strings.TrimSpace(env["PGOPTIONS"] + " " + options)}
}

// What a migration that names no times gets.
const (
	DefaultMigrateTimeout = 10 * time.Minute
	DefaultLockTimeout    = 5 * time.Second
)

// Backups says how the database of a PostgreSQL service is dumped and how long the
// dumps are kept.
type Backups struct {
	// Database and User are those of the dump; "" takes what the unit's
	// POSTGRES_DB and POSTGRES_USER say, or the files that their _FILE names.
	Database string
	User     string
	// Keep is how long a dump is kept at least; the newest Least stay whatever
	// their age.
	Keep  time.Duration
	Least int
	// Timeout bounds one dump with its reading back, and again one copy.
	Timeout time.Duration
	// Copy, where it is set, is where each dump goes as well.
	Copy *Copy
}

// Copy is a folder on another host that dumps are copied to over SFTP. Keep and
// Least are as in Backups.
type Copy struct {
	// Address is user@host:port, Dir an absolute path there.
	Address, Dir string
	Keep         time.Duration
	Least        int
}

// String is the copy's address as the Compose file has it, but for the port.
func (c *Copy) String() string { return "sftp://" + c.Address + c.Dir }

// What a service with backups that says nothing more gets.
const (
	DefaultKeep          = 7 * 24 * time.Hour
	DefaultLeast         = 3
	DefaultBackupTimeout = time.Hour
)
