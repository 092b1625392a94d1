package main

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whoever looks a message up has to find it as it is printed: every heading of
// docs/troubleshooting.md that quotes one is text of the program.
func TestTroubleshootingQuotesTheProgram(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	for _, root := range []string{"pkg", "actions"} {
		walk(t, root, func(_ string, file *ast.File, _ *token.FileSet) {
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, err := strconv.Unquote(lit.Value)
					require.NoError(t, err)
					said.WriteString(text + "\n")
				}
				return true
			})
		})
	}
	page, err := os.ReadFile("docs/troubleshooting.md")
	require.NoError(t, err)
	quoted := regexp.MustCompile("(?m)^### `(.+)`$").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(quoted), 20)
	for _, q := range quoted {
		assert.Contains(t, said.String(), q[1], "docs/troubleshooting.md: nothing says this any more")
	}
}
