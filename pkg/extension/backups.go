package extension

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/stack"
)

var backupsKeys = []string{"database", "user", "keep-days", "keep-least", "timeout", "copy"}

var copyKeys = []string{"to", "keep-days", "keep-least"}

// parseBackups reads a mapping, which may be empty.
func parseBackups(v any) (*stack.Backups, *Error) {
	b := &stack.Backups{Keep: stack.DefaultKeep, Least: stack.DefaultLeast, Timeout: stack.DefaultBackupTimeout}
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
			b.Keep, wrong = parseDays("backups.keep-days", v)
		case "keep-least":
			b.Least, wrong = parseCount("backups.keep-least", v, 1000)
		case "timeout":
			b.Timeout, wrong = parseTime("backups.timeout", v)
		case "copy":
			b.Copy, wrong = parseCopy(v)
		default:
			wrong = unknown("x-shiksha.backups", key, backupsKeys)
		}
		if wrong != nil {
			return nil, wrong
		}
	}
	if b.Copy != nil {
		b.Copy.Keep, b.Copy.Least = orElse(b.Copy.Keep, b.Keep), orElse(b.Copy.Least, b.Least)
	}
	return b, nil
}

func orElse[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// parseCopy reads where copies go: an address, or a mapping with more.
func parseCopy(v any) (*stack.Copy, *Error) {
	c := &stack.Copy{}
	if text, ok := v.(string); ok {
		return c, parseAddress(c, text)
	}
	tree, ok := v.(map[string]any)
	if !ok {
		return nil, parseAddress(c, "")
	}
	for _, key := range sortedKeys(tree) {
		var wrong *Error
		switch v := tree[key]; key {
		case "to":
			text, _ := v.(string)
			wrong = parseAddress(c, text)
		case "keep-days":
			c.Keep, wrong = parseDays("backups.copy.keep-days", v)
		case "keep-least":
			c.Least, wrong = parseCount("backups.copy.keep-least", v, 1000)
		default:
			wrong = unknown("x-shiksha.backups.copy", key, copyKeys)
		}
		if wrong != nil {
			return nil, wrong
		}
	}
	if c.Address == "" {
		return nil, parseAddress(c, "")
	}
	return c, nil
}

// parseAddress reads sftp://user@host[:port]/folder. A password has no place in a
// Compose file, and the root of a host is no folder for backups.
func parseAddress(c *stack.Copy, text string) *Error {
	const example = "for example sftp://backup@vault.example.org/srv/backups; the key is the input backup-ssh-key"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "sftp" || u.Hostname() == "" || u.User.Username() == "" || u.RawQuery != "" || u.Fragment != "" {
		return bad("backups.copy.to", example, "x-shiksha.backups.copy has to be the address of a folder on another host, sftp://user@host/folder")
	}
	if _, has := u.User.Password(); has {
		return bad("backups.copy.to", example, "x-shiksha.backups.copy contains a password, which is never used")
	}
	if u.Path == "" || u.Path == "/" || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") {
		return bad("backups.copy.to", example, "x-shiksha.backups.copy names no folder, or not by its plain path: %q", u.Path)
	}
	c.Address, c.Dir = u.User.Username()+"@"+u.Host, path.Clean(u.Path)
	return nil
}

// parseDays reads a number of days.
func parseDays(where string, v any) (time.Duration, *Error) {
	days, wrong := parseCount(where, v, 3650)
	return time.Duration(days) * 24 * time.Hour, wrong
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
