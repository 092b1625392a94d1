// Package manifest writes what GitHub and readers need to know of an action's
// inputs and outputs, from the one declaration of them: action.yml and the
// tables of the README. Only tests use it, to write the files and to fail when
// they differ.
package manifest

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// Action is everything in action.yml that is not an input.
type Action struct {
	Name, Description string
	// Icon and Color are the branding.
	Icon, Color string
	// Image is the Dockerfile's path from the action's folder; Args are its
	// arguments.
	Image string
	Args  []string
	// First are inputs that only this front door has.
	First   []Input
	Outputs []Output
}

// Input is one input of an action.
type Input struct {
	Name, Help, Default, Group string
	Required                   bool
	Enum                       []string
}

// Output is one output of an action.
type Output struct{ Name, Help string }

// Inputs lists the inputs that a command declares, in order. What is only for
// people on a command line (tag person) is left out.
func Inputs(command *kong.Node) []Input {
	var list []Input
	for _, flag := range command.Flags {
		if flag.Name == "help" || flag.Tag.Has("person") || flag.Hidden {
			continue
		}
		in := Input{Name: flag.Name, Help: flag.Help, Default: flag.Default, Required: flag.Tag.Required}
		if flag.Enum != "" {
			in.Enum = flag.EnumSlice()
		}
		if flag.Group != nil {
			in.Group = flag.Group.Title
		}
		list = append(list, in)
	}
	return list
}

const notice = "# Generated from the inputs' declaration by `go generate ./...`; do not edit.\n"

// YAML gives action.yml.
func (a Action) YAML(inputs []Input) string {
	var b strings.Builder
	b.WriteString(notice)
	fmt.Fprintf(&b, "name: %s\ndescription: %s\nauthor: Shiksha\nbranding:\n  icon: %s\n  color: %s\n",
		quote(a.Name), quote(a.Description), a.Icon, a.Color)
	b.WriteString("\ninputs:\n")
	for _, in := range append(append([]Input(nil), a.First...), inputs...) {
		help := in.Help
		if len(in.Enum) > 0 {
			help += " One of: " + strings.Join(in.Enum, ", ") + "."
		}
		fmt.Fprintf(&b, "  %s:\n    description: %s\n    required: %t\n", in.Name, quote(help), in.Required)
		if in.Default != "" {
			fmt.Fprintf(&b, "    default: %s\n", quote(in.Default))
		}
	}
	b.WriteString("\noutputs:\n")
	for _, out := range a.Outputs {
		fmt.Fprintf(&b, "  %s:\n    description: %s\n", out.Name, quote(out.Help))
	}
	fmt.Fprintf(&b, "\nruns:\n  using: docker\n  image: %s\n  args:\n", a.Image)
	for _, arg := range a.Args {
		fmt.Fprintf(&b, "    - %s\n", arg)
	}
	return b.String()
}

// quote makes a YAML string of single quotes.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// InputTables gives the inputs as Markdown tables, one a group.
func InputTables(inputs []Input) string {
	var b strings.Builder
	group := ""
	for i, in := range inputs {
		if i == 0 || in.Group != group {
			group = in.Group
			fmt.Fprintf(&b, "\n### %s\n\n| Input | Default | What it does |\n|---|---|---|\n", group)
		}
		def := ""
		switch {
		case in.Required:
			def = "**required**"
		case in.Default != "":
			def = "`" + in.Default + "`"
		}
		help := in.Help
		if len(in.Enum) > 0 {
			help += " One of `" + strings.Join(in.Enum, "`, `") + "`."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", in.Name, def, cell(help))
	}
	return b.String()
}

// OutputTable gives the outputs as a Markdown table.
func OutputTable(outputs []Output) string {
	var b strings.Builder
	b.WriteString("\n| Output | What it holds |\n|---|---|\n")
	for _, out := range outputs {
		fmt.Fprintf(&b, "| `%s` | %s |\n", out.Name, cell(out.Help))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

// Fill puts text between the marks <!-- name --> and <!-- end name --> of a
// document.
func Fill(document, name, text string) (string, error) {
	marks := regexp.MustCompile(`(?s)(<!-- ` + name + ` -->\n).*?(<!-- end ` + name + ` -->)`)
	if !marks.MatchString(document) {
		return "", fmt.Errorf("there are no marks <!-- %s --> and <!-- end %s -->", name, name)
	}
	return marks.ReplaceAllStringFunc(document, func(found string) string {
		m := marks.FindStringSubmatch(found)
		return m[1] + text + "\n" + m[2]
	}), nil
}
