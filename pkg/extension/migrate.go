package extension

import "time"

// Migrate says how a service brings its database to the schema that it needs.
type Migrate struct {
	// Command runs once per release, from the new image, after a proven backup and
	// before any unit is replaced.
	Command []string
	// Timeout bounds it; LockTimeout is how long one of its statements may wait
	// for a lock (PGOPTIONS).
	Timeout, LockTimeout time.Duration
	// Current prints the revision the database is at. Compatible ends with 0 when
	// its code can work with the schema that is there. Both may be empty.
	Current, Compatible []string
	// Elsewhere is set where the database is backed up by other means.
	Elsewhere bool
}

// What a migration that names no times gets.
const (
	DefaultMigrateTimeout = 10 * time.Minute
	DefaultLockTimeout    = 5 * time.Second
)

var migrateKeys = []string{"command", "timeout", "lock-timeout", "current", "compatible", "backed-up-elsewhere"}

// parseMigrate reads a command as a list, or a mapping.
func parseMigrate(v any) (*Migrate, *Error) {
	m := &Migrate{Timeout: DefaultMigrateTimeout, LockTimeout: DefaultLockTimeout}
	tree, ok := v.(map[string]any)
	if !ok {
		var wrong *Error
		m.Command, wrong = parseCommand("migrate", v)
		return m, wrong
	}
	for _, key := range sortedKeys(tree) {
		var wrong *Error
		switch v := tree[key]; key {
		case "command":
			m.Command, wrong = parseCommand("migrate.command", v)
		case "current":
			m.Current, wrong = parseCommand("migrate.current", v)
		case "compatible":
			m.Compatible, wrong = parseCommand("migrate.compatible", v)
		case "timeout":
			m.Timeout, wrong = parseTime("migrate.timeout", v)
		case "lock-timeout":
			m.LockTimeout, wrong = parseTime("migrate.lock-timeout", v)
		case "backed-up-elsewhere":
			if m.Elsewhere, ok = v.(bool); !ok {
				wrong = bad("migrate."+key, "true or false", "x-shiksha.migrate.%s has to be true or false", key)
			}
		default:
			wrong = unknown("x-shiksha.migrate", key, migrateKeys)
		}
		if wrong != nil {
			return nil, wrong
		}
	}
	if len(m.Command) == 0 {
		return nil, bad("migrate", "migrate: {command: [alembic, upgrade, head]}", "x-shiksha.migrate needs a command")
	}
	return m, nil
}
