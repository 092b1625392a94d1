package inputs

import (
	"strings"

	"github.com/shiksha/actions/pkg/fault"
)

// join makes one error of kind fault.Input of all problems, one line each, with
// the hint of each on its line when there are several.
func join(problems []error) error {
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return problems[0]
	}
	return &fault.Error{Kind: fault.Input, Err: &several{problems}, Hint: ""}
}

// several is more than one problem. It does not unwrap: the hint of one of them
// is not the hint of all.
type several struct{ problems []error }

// Error lists the problems, each on a line with its hint.
func (s *several) Error() string {
	lines := []string{"several inputs cannot be used"}
	for _, p := range s.problems {
		line := "  - " + p.Error()
		if hint := fault.Hint(p); hint != "" {
			line += " (" + hint + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
