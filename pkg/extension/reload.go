package extension

import (
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
)

var (
	reloadKeys = []string{"test", "signal"}
	signals    = []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT", "ALRM", "PIPE", "IO", "PWR"}
)

// parseReload reads "nginx", or a mapping of test and signal.
func parseReload(v any) (*stack.Reload, *Error) {
	const example = "reload: nginx, or reload: {test: [nginx, -t], signal: HUP}"
	switch v := v.(type) {
	case string:
		if v == "nginx" {
			return &stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"}, nil
		}
		hint := example
		if suggest.Near(v, "nginx") {
			hint = `did you mean "nginx"?`
		}
		return nil, bad("reload", hint, "x-shiksha.reload: %q is not known, only nginx is", v)
	case map[string]any:
		return parseReloadMapping(v)
	}
	return nil, bad("reload", example, "x-shiksha.reload has to be nginx, or a mapping of test and signal")
}

func parseReloadMapping(tree map[string]any) (*stack.Reload, *Error) {
	reload := &stack.Reload{}
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
				return nil, bad("reload.test", "test: [nginx, -t]", "x-shiksha.reload.test has to be a list: a command and its arguments")
			}
		case "signal":
			text, _ := tree[key].(string)
			reload.Signal = strings.TrimPrefix(strings.ToUpper(text), "SIG")
			if !slices.Contains(signals, reload.Signal) {
				return nil, bad("reload.signal", "signal: HUP", "x-shiksha.reload.signal has to be one of %s", strings.Join(signals, ", "))
			}
		default:
			return nil, unknown("x-shiksha.reload", key, reloadKeys)
		}
	}
	if len(reload.Test) == 0 || reload.Signal == "" {
		return nil, bad("reload", "reload: {test: [nginx, -t], signal: HUP}", "x-shiksha.reload needs both test and signal")
	}
	return reload, nil
}
