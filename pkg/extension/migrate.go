package extension

import (
	"fmt"

	"github.com/shiksha/actions/pkg/stack"
)

var migrateKeys = []string{"command", "timeout", "lock-timeout", "current", "compatible", "backed-up-elsewhere"}

// parseMigrate reads a command as a list, or a mapping.
func parseMigrate(v any) (*stack.Migrate, *Error) {
	m := &stack.Migrate{Timeout: stack.DefaultMigrateTimeout, LockTimeout: stack.DefaultLockTimeout}
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
			if text := fmt.Sprint(v); text != "0" && text != "0s" {
				m.LockTimeout, wrong = parseTime("migrate.lock-timeout", v)
			} else {
				m.LockTimeout = 0
			}
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
