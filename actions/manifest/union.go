package manifest

import (
	"slices"
	"strings"
)

// Command is one of the commands that a front door leads to.
type Command struct {
	Name   string
	Inputs []Input
}

// Union gives the inputs that a front door to several commands has: each name once,
// required only where every command requires it, with a default only where those
// that have it agree (the program has its own), and with a word which commands it
// is for.
func Union(commands []Command) []Input {
	var all []Input
	for _, c := range commands {
		for _, in := range c.Inputs {
			at := slices.IndexFunc(all, func(known Input) bool { return known.Name == in.Name })
			if at < 0 {
				all = append(all, in)
				continue
			}
			if all[at].Default != in.Default {
				all[at].Default = ""
			}
			if !slices.Equal(all[at].Enum, in.Enum) {
				all[at].Enum = nil
			}
		}
	}
	for i := range all {
		all[i].Required = true
		for _, c := range commands {
			in := find(c.Inputs, all[i].Name)
			all[i].Required = all[i].Required && in != nil && in.Required
		}
		all[i].Help = helpOf(all[i].Name, commands)
	}
	return all
}

func find(inputs []Input, name string) *Input {
	at := slices.IndexFunc(inputs, func(in Input) bool { return in.Name == name })
	if at < 0 {
		return nil
	}
	return &inputs[at]
}

// helpOf joins what the commands say of an input, each text once, after the names
// of the commands where it is not for all of them.
func helpOf(name string, commands []Command) string {
	var texts []string
	users := map[string][]string{}
	for _, c := range commands {
		if in := find(c.Inputs, name); in != nil {
			if users[in.Help] == nil {
				texts = append(texts, in.Help)
			}
			users[in.Help] = append(users[in.Help], c.Name)
		}
	}
	for i, text := range texts {
		if names := users[text]; len(names) < len(commands) {
			texts[i] = "(" + strings.Join(names, ", ") + ") " + text
		}
	}
	return strings.Join(texts, " ")
}
