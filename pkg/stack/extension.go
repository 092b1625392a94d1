package stack

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// extensionKey holds what Compose cannot say.
const extensionKey = "x-shiksha"

var (
	extensionKeys = []string{"gateway", "port", "drain", "reload"}
	// laterKeys are known and mean something in a later version. To take them
	// silently now would promise a backup that nobody makes.
	laterKeys  = []string{"migrate", "backups", "checks"}
	reloadKeys = []string{"test", "signal"}
	signals    = []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT", "ALRM", "PIPE", "IO", "PWR"}
)

// extensionError is a mistake in x-shiksha, at a path below it.
type extensionError struct{ Path, Text, Hint string }

func (e *extensionError) Error() string { return e.Text }

func badExtension(path, hint, format string, args ...any) *extensionError {
	return &extensionError{Path: path, Hint: hint, Text: fmt.Sprintf(format, args...)}
}

// extension reads x-shiksha of a service.
func (l *loading) extension(s types.ServiceConfig) (Extension, error) {
	at := "services." + s.Name + "."
	for _, key := range sortedKeys(s.Extensions) {
		if near(key, extensionKey) {
			return Extension{}, l.input(at+key, fmt.Sprintf("did you mean %q?", extensionKey), "service %s: unknown key %q", s.Name, key)
		}
	}
	value, ok := s.Extensions[extensionKey]
	if !ok {
		return Extension{Drain: DefaultDrain}, nil
	}
	ext, bad := parseExtension(value)
	if bad != nil {
		path := at + extensionKey
		if bad.Path != "" {
			path += "." + bad.Path
		}
		return Extension{}, l.input(path, bad.Hint, "service %s: %w", s.Name, bad)
	}
	return ext, nil
}

// parseExtension reads the value of x-shiksha, whatever it is.
func parseExtension(value any) (Extension, *extensionError) {
	ext := Extension{Drain: DefaultDrain}
	tree, ok := value.(map[string]any)
	if !ok {
		return ext, badExtension("", "write it as a mapping with "+strings.Join(extensionKeys, ", "), "x-shiksha has to be a mapping")
	}
	for _, key := range sortedKeys(tree) {
		var bad *extensionError
		switch v := tree[key]; key {
		case "gateway":
			if ext.Gateway, ok = v.(string); !ok || ext.Gateway == "" {
				bad = badExtension(key, "gateway: nginx", "x-shiksha.gateway has to be the name of a service")
			}
		case "port":
			ext.Port, bad = parsePort(v)
		case "drain":
			ext.Drain, bad = parseDrain(v)
		case "reload":
			ext.Reload, bad = parseReload(v)
		default:
			bad = unknownExtension("x-shiksha", key, extensionKeys)
		}
		if bad != nil {
			return Extension{}, bad
		}
	}
	switch {
	case ext.Gateway != "" && ext.Port == 0:
		return Extension{}, badExtension("gateway", "add `port:`, the port of this service that "+ext.Gateway+" uses", "x-shiksha.gateway needs x-shiksha.port")
	case ext.Gateway == "" && ext.Port != 0:
		return Extension{}, badExtension("port", "add `gateway:`, the service that balances this one", "x-shiksha.port means nothing without x-shiksha.gateway")
	}
	return ext, nil
}

func unknownExtension(where, key string, known []string) *extensionError {
	if slices.Contains(laterKeys, key) && where == extensionKey {
		return badExtension(key, "take it out for now", "x-shiksha.%s is not supported by this version yet", key)
	}
	hint := "it may have " + strings.Join(known, ", ")
	if near := nearest(key, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return badExtension(key, hint, "unknown key %q in %s", key, where)
}

func parsePort(v any) (int, *extensionError) {
	bad := badExtension("port", "port: 8000", "x-shiksha.port has to be a number from 1 to 65535")
	port, err := strconv.Atoi(fmt.Sprint(v))
	if _, float := v.(float64); err != nil || float || port < 1 || port > 65535 {
		return 0, bad
	}
	return port, nil
}

func parseDrain(v any) (time.Duration, *extensionError) {
	bad := badExtension("drain", "drain: 30s", "x-shiksha.drain has to be a duration of at most 24h")
	text, ok := v.(string)
	if !ok {
		return 0, bad
	}
	drain, err := time.ParseDuration(text)
	if err != nil || drain < 0 || drain > 24*time.Hour {
		return 0, bad
	}
	return drain, nil
}

// parseReload reads "nginx", or a mapping of test and signal.
func parseReload(v any) (*Reload, *extensionError) {
	const example = "reload: nginx, or reload: {test: [nginx, -t], signal: HUP}"
	switch v := v.(type) {
	case string:
		if v == "nginx" {
			return &Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"}, nil
		}
		hint := example
		if near(v, "nginx") {
			hint = `did you mean "nginx"?`
		}
		return nil, badExtension("reload", hint, "x-shiksha.reload: %q is not known, only nginx is", v)
	case map[string]any:
		return parseReloadMapping(v)
	}
	return nil, badExtension("reload", example, "x-shiksha.reload has to be nginx, or a mapping of test and signal")
}

func parseReloadMapping(tree map[string]any) (*Reload, *extensionError) {
	reload := &Reload{}
	for _, key := range sortedKeys(tree) {
		switch key {
		case "test":
			items, ok := tree[key].([]any)
			for _, item := range items {
				word, isText := item.(string)
				ok = ok && isText
				reload.Test = append(reload.Test, word)
			}
			if !ok || len(items) == 0 || reload.Test[0] == "" {
				return nil, badExtension("reload.test", "test: [nginx, -t]", "x-shiksha.reload.test has to be a list: a command and its arguments")
			}
		case "signal":
			text, _ := tree[key].(string)
			reload.Signal = strings.TrimPrefix(strings.ToUpper(text), "SIG")
			if !slices.Contains(signals, reload.Signal) {
				return nil, badExtension("reload.signal", "signal: HUP", "x-shiksha.reload.signal has to be one of %s", strings.Join(signals, ", "))
			}
		default:
			return nil, unknownExtension("x-shiksha.reload", key, reloadKeys)
		}
	}
	if len(reload.Test) == 0 || reload.Signal == "" {
		return nil, badExtension("reload", "reload: {test: [nginx, -t], signal: HUP}", "x-shiksha.reload needs both test and signal")
	}
	return reload, nil
}

// verifyGateways makes sure that every gateway can reach what it balances.
func (l *loading) verifyGateways(s *Stack) error {
	for _, name := range sortedKeys(s.Services) {
		service := s.Services[name]
		if service.Ext.Gateway == "" {
			continue
		}
		at := "services." + name + "." + extensionKey + ".gateway"
		gateway, ok := s.Services[service.Ext.Gateway]
		if !ok {
			hint := "name a service of the stack"
			if near := nearest(service.Ext.Gateway, sortedKeys(s.Services)); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return l.input(at, hint, "service %s: its gateway %s is not in the stack", name, service.Ext.Gateway)
		}
		if gateway == service {
			return l.input(at, "name the service that balances it", "service %s cannot be its own gateway", name)
		}
		shared := slices.ContainsFunc(service.Networks, func(n string) bool { return slices.Contains(gateway.Networks, n) })
		if !shared {
			return l.input(at, "put both on one network", "service %s and its gateway %s share no network", name, gateway.Name)
		}
	}
	return nil
}

// nearest gives the known name with the fewest typos between, or "" when none
// is near enough to be meant.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// near tells whether name is a misspelling of known.
func near(name, known string) bool {
	return name != known && len(name) < 2*len(known) && distance(name, known) <= 2
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to get from a to b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
