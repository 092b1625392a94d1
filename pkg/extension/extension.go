// Package extension reads x-shiksha, the keys of a Compose file that say what
// Compose itself cannot: who balances a service, how it takes changed files, how
// it is drained. What it does not know it refuses, with the nearest known name.
package extension

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
)

// Key is where a Compose file holds what Compose cannot say.
const Key = "x-shiksha"

var serviceKeys = []string{"gateway", "port", "drain", "reload", "migrate", "backups", "exempt"}

// Error is a mistake in x-shiksha, at a path below it. Hint says what to write.
type Error struct{ Path, Text, Hint string }

// Error is the sentence for people.
func (e *Error) Error() string { return e.Text }

func bad(path, hint, format string, args ...any) *Error {
	return &Error{Path: path, Hint: hint, Text: fmt.Sprintf(format, args...)}
}

// ParseService reads the value of x-shiksha on a service, whatever it is.
func ParseService(value any) (stack.Extension, *Error) {
	ext := stack.Extension{Drain: stack.DefaultDrain}
	tree, ok := value.(map[string]any)
	if !ok {
		return ext, bad("", "write it as a mapping with "+strings.Join(serviceKeys, ", "), "x-shiksha has to be a mapping")
	}
	for _, key := range sortedKeys(tree) {
		var wrong *Error
		switch v := tree[key]; key {
		case "gateway":
			if ext.Gateway, ok = v.(string); !ok || ext.Gateway == "" {
				wrong = bad(key, "gateway: nginx", "x-shiksha.gateway has to be the name of a service")
			}
		case "port":
			ext.Port, wrong = parsePort(v)
		case "drain":
			if tree, ok := v.(map[string]any); ok {
				ext.Idle, wrong = parseIdle(tree)
				break
			}
			ext.Drain, wrong = parseDrain(v)
		case "migrate":
			ext.Migrate, wrong = parseMigrate(v)
		case "backups":
			ext.Backups, wrong = parseBackups(v)
		case "reload":
			ext.Reload, wrong = parseReload(v)
		case "exempt":
			ext.Exempt, wrong = parseExempt(v)
		default:
			wrong = unknown("x-shiksha", key, serviceKeys)
		}
		if wrong != nil {
			return stack.Extension{}, wrong
		}
	}
	switch {
	case ext.Gateway != "" && ext.Port == 0:
		return stack.Extension{}, bad("gateway", "add `port:`, the port of this service that "+ext.Gateway+" uses", "x-shiksha.gateway needs x-shiksha.port")
	case ext.Gateway == "" && ext.Port != 0:
		return stack.Extension{}, bad("port", "add `gateway:`, the service that balances this one", "x-shiksha.port means nothing without x-shiksha.gateway")
	}
	return ext, nil
}

func unknown(where, key string, known []string) *Error {
	if key == "checks" && where == Key {
		return bad(key, "write x-shiksha: {checks: [...]} at the top level of the file", "checks belong to the whole stack, not to a service")
	}
	hint := "it may have " + strings.Join(known, ", ")
	if near := suggest.Nearest(key, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return bad(key, hint, "unknown key %q in %s", key, where)
}

func parsePort(v any) (int, *Error) {
	wrong := bad("port", "port: 8000", "x-shiksha.port has to be a number from 1 to 65535")
	port, err := strconv.Atoi(fmt.Sprint(v))
	if _, float := v.(float64); err != nil || float || port < 1 || port > 65535 {
		return 0, wrong
	}
	return port, nil
}

func parseDrain(v any) (time.Duration, *Error) {
	wrong := bad("drain", "drain: 30s", "x-shiksha.drain has to be a duration of at most 24h")
	text, ok := v.(string)
	if !ok {
		return 0, wrong
	}
	drain, err := time.ParseDuration(text)
	if err != nil || drain < 0 || drain > 24*time.Hour {
		return 0, wrong
	}
	return drain, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
