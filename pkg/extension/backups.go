package extension

import (
	"fmt"
	"strconv"
	"time"
)

// Backups says how the database of a PostgreSQL service is dumped and how long the
// dumps are kept.
type Backups struct {
	// Database and User are those of the dump; "" takes what the unit's
	// POSTGRES_DB and POSTGRES_USER say.
	Database string
	User     string
	// Keep is how long a dump is kept at least; the newest Least stay whatever
	// their age.
	Keep  time.Duration
	Least int
	// Timeout bounds one dump with its reading back.
	Timeout time.Duration
}

// What a service with backups that says nothing more gets.
const (
	DefaultKeep          = 7 * 24 * time.Hour
	DefaultLeast         = 3
	DefaultBackupTimeout = time.Hour
)

var backupsKeys = []string{"database", "user", "keep-days", "keep-least", "timeout"}

// parseBackups reads a mapping, which may be empty.
func parseBackups(v any) (*Backups, *Error) {
	b := &Backups{Keep: DefaultKeep, Least: DefaultLeast, Timeout: DefaultBackupTimeout}
	tree, ok := v.(map[string]any)
	if !ok {
		return nil, bad("backups", "backups: {database: shop, keep-days: 7}, or backups: {}", "x-shiksha.backups has to be a mapping")
	}
	for _, key := range sortedKeys(tree) {
		var wrong *Error
		switch v := tree[key]; key {
		case "database":
			b.Database, wrong = parseText("backups.database", v)
		case "user":
			b.User, wrong = parseText("backups.user", v)
		case "keep-days":
			var days int
			days, wrong = parseCount("backups.keep-days", v, 3650)
			b.Keep = time.Duration(days) * 24 * time.Hour
		case "keep-least":
			b.Least, wrong = parseCount("backups.keep-least", v, 1000)
		case "timeout":
			b.Timeout, wrong = parseTime("backups.timeout", v)
		default:
			wrong = unknown("x-shiksha.backups", key, backupsKeys)
		}
		if wrong != nil {
			return nil, wrong
		}
	}
	return b, nil
}

func parseText(path string, v any) (string, *Error) {
	text, ok := v.(string)
	if !ok || text == "" {
		return "", bad(path, "", "x-shiksha.%s has to be a name", path)
	}
	return text, nil
}

// parseCount reads a whole number from 1 to most.
func parseCount(path string, v any, most int) (int, *Error) {
	n, err := strconv.Atoi(fmt.Sprint(v))
	if _, float := v.(float64); err != nil || float || n < 1 || n > most {
		return 0, bad(path, "", "x-shiksha.%s has to be a number from 1 to %d", path, most)
	}
	return n, nil
}

// parseTime reads a time span above 0 and up to a day.
func parseTime(path string, v any) (time.Duration, *Error) {
	text, _ := v.(string)
	span, err := time.ParseDuration(text)
	if err != nil || span <= 0 || span > 24*time.Hour {
		return 0, bad(path, "write it with its unit, like 30s or 10m", "x-shiksha.%s has to be a duration of at most 24h", path)
	}
	return span, nil
}

// parseCommand reads a list: a command and its arguments.
func parseCommand(path string, v any) ([]string, *Error) {
	items, ok := v.([]any)
	var argv []string
	for _, item := range items {
		word, isText := item.(string)
		ok = ok && isText
		argv = append(argv, word)
	}
	if !ok || len(argv) == 0 || argv[0] == "" {
		return nil, bad(path, "write it as [program, argument, ...]", "x-shiksha.%s has to be a list: a command and its arguments", path)
	}
	return argv, nil
}
