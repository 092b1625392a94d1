package workflow

import (
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/suggest"
)

// valued are the flags of Compose's verbs that take what is no service, the short
// ones by their letters: -t is a time for one verb and a terminal for another.
var valued = map[string]struct {
	letters string
	long    []string
}{
	"up":      {"t", []string{"pull", "timeout", "wait-timeout"}},
	"pull":    {"", []string{"policy"}},
	"restart": {"t", []string{"timeout"}},
	"stop":    {"t", []string{"timeout"}},
	"run": {"elpuvw", []string{"cap-add", "cap-drop", "entrypoint", "env", "env-from-file", "label", "name", "publish", "pull", "user",
		"volume", "workdir"}},
	"exec": {"euw", []string{"env", "index", "user", "workdir"}},
}

// takesNext tells whether the word after a flag is its value.
func takesNext(verb, flag string) bool {
	if name, long := strings.CutPrefix(flag, "--"); long {
		return slices.Contains(valued[verb].long, name)
	}
	// Of letters in one word the first that takes a value has the rest for it.
	i := strings.IndexAny(flag, valued[verb].letters)
	return i >= 0 && i == len(flag)-1
}

// composeArguments are what stands after a verb of Compose: flags, then services.
// After run and exec, only the first is a service.
func (f *findings) composeArguments(where finding.Place, verb, arguments string) {
	words := strings.Fields(arguments)
	for i := 0; i < len(words); i++ {
		word := words[i]
		if strings.HasPrefix(word, "-") {
			if takesNext(verb, word) {
				i++
			}
			continue
		}
		if strings.ContainsAny(word, "=$'\"/\\{}<>()") {
			continue
		}
		if word == "true" || word == "false" || strings.Trim(word, "0123456789") == "" {
			continue
		}
		f.serviceName(where, word)
		if verb == "run" || verb == "exec" {
			return
		}
	}
}

func (f *findings) serviceName(where finding.Place, name string) {
	if f.Stack.Services[name] != nil {
		return
	}
	hint := "the Compose file has: " + strings.Join(f.Stack.Order, ", ")
	if near := suggest.Nearest(strings.ReplaceAll(name, "-", "_"), f.Stack.Order); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	f.Warn("P16.services", where, hint, "it names the service %s, which the Compose file does not have", name)
}
