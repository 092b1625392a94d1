package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
)

// A stack of sixty services lacks the same sixty times: people read it once, programs get
// all of it.
func TestWhatIsSaidOfManyIsSaidOnce(t *testing.T) {
	t.Parallel()
	var c Checks
	add := func(o check.Outcome, found string, line int, names ...string) {
		for _, name := range names {
			c.Results = append(c.Results, check.Result{Name: name, Outcome: o, Found: found, Hint: "mend it", File: "compose.yaml", Line: line})
			line++
		}
	}
	add(check.Fail, "its port is open", 1, "P02.ports a", "P02.ports b", "P02.ports c")
	add(check.Warn, "no limit", 11, "P02.memory a", "P02.memory b")
	add(check.Warn, "no rotation", 21, "P02.logs a", "P02.logs b", "P02.logs c")
	add(check.Warn, "another reason", 31, "P02.logs d")
	add(check.Warn, "not pinned", 41, "P16.pinned", "P16.pinned #2", "P16.pinned #3")
	var lines []string
	for line := range strings.Lines(c.Text()) {
		if f := strings.Join(strings.Fields(line), " "); !strings.HasPrefix(f, "do ") {
			lines = append(lines, f)
		}
	}
	assert.Equal(t, []string{
		"OUTCOME CHECK FOUND",
		"fail P02.ports a its port is open", "at compose.yaml:1",
		"fail P02.ports b its port is open", "at compose.yaml:2",
		"fail P02.ports c its port is open", "at compose.yaml:3",
		"warn P02.memory a no limit", "at compose.yaml:11",
		"warn P02.memory b no limit", "at compose.yaml:12",
		"warn P02.logs (3) no rotation", "at a, b, c",
		"warn P02.logs d another reason", "at compose.yaml:31",
		"warn P16.pinned (3) not pinned", "at compose.yaml:41, compose.yaml:42, compose.yaml:43",
		": 3 fail, 9 warn",
	}, lines)
	assert.Contains(t, c.Markdown(), "| P02.logs (3) | a, b, c | no rotation (mend it) |")
	data, err := c.JSON()
	assert.NoError(t, err)
	assert.Equal(t, 12, strings.Count(string(data), `"name"`))
}
