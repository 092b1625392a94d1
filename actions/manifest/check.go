package manifest

import (
	"os"
	"strings"
	"testing"
)

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
