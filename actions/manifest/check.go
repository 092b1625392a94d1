package manifest

import (
	"io"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/shiksha/actions/actions/inputs"
)

// Declared gives the inputs of a command as they are declared. commands is a pointer
// to a struct whose first field is the command.
func Declared(t *testing.T, commands any) []Input {
	t.Helper()
	parser, err := inputs.NewParser(commands, inputs.Source{}, io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return Inputs(parser.Model().Children[0])
}

// Generated compares action.yml and the tables of README.md in the test's folder
// with the declared inputs and outputs, or writes them. more has the README's other
// generated parts by their mark.
func Generated(t *testing.T, write bool, a Action, in []Input, more map[string]string) {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{"inputs": InputTables(in), "outputs": OutputTable(a.Outputs)}
	maps.Copy(parts, more)
	text := string(readme)
	for mark, part := range parts {
		if text, err = Fill(text, mark, part); err != nil {
			t.Fatal(err)
		}
	}
	Check(t, write, map[string]string{"action.yml": a.YAML(in), "README.md": text})
}

// Check compares generated files, by path, with what is there, or writes them.
func Check(t *testing.T, write bool, files map[string]string) {
	t.Helper()
	for path, want := range files {
		if write {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Error(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v; run: go generate ./...", err)
			continue
		}
		if line := firstDifference(want, string(have)); line > 0 {
			t.Errorf("%s differs from the declared inputs in line %d; run: go generate ./...", path, line)
		}
	}
}

// firstDifference gives the number of the first line that differs, 0 for none.
func firstDifference(want, have string) int {
	if want == have {
		return 0
	}
	wants, haves := strings.Split(want, "\n"), strings.Split(have, "\n")
	for i := range min(len(wants), len(haves)) {
		if wants[i] != haves[i] {
			return i + 1
		}
	}
	return min(len(wants), len(haves)) + 1
}
