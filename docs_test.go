package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/extension"
)

// said is every text of the program, one after the other.
func said(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, root := range []string{"pkg", "actions"} {
		walk(t, root, func(_ string, file *ast.File, _ *token.FileSet) {
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, err := strconv.Unquote(lit.Value)
					require.NoError(t, err)
					all.WriteString(text + "\n")
				}
				return true
			})
		})
	}
	return all.String()
}

// Whoever looks a message up has to find it as it is printed: every heading of
// docs/troubleshooting.md that quotes one is text of the program.
func TestTroubleshootingQuotesTheProgram(t *testing.T) {
	t.Parallel()
	said := said(t)
	page, err := os.ReadFile("docs/troubleshooting.md")
	require.NoError(t, err)
	quoted := regexp.MustCompile("(?m)^### `(.+)`$").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(quoted), 20)
	for _, q := range quoted {
		assert.Contains(t, said, q[1], "docs/troubleshooting.md: nothing says this any more")
	}
}

// A key of x-shiksha that a document or a message names is one that is read.
func TestKeysOfTheExtensionAreThere(t *testing.T) {
	t.Parallel()
	texts := map[string]string{"the program": said(t)}
	for _, file := range append(documents(t), "ARCHITECTURE.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	seen := 0
	for where, text := range texts {
		for _, found := range regexp.MustCompile(`x-shiksha\.([a-z]+(?:[.-][a-z]+)*)`).FindAllStringSubmatch(text, -1) {
			keys := strings.Split(found[1], ".")
			if slices.Contains([]string{"checks", "engine"}, keys[0]) {
				continue // they stand at the top level of the file
			}
			var value any
			for _, key := range slices.Backward(keys) {
				value = map[string]any{key: value}
			}
			seen++
			if _, wrong := extension.ParseService(value); wrong != nil {
				assert.NotContains(t, wrong.Text, "unknown key", "%s names %s", where, found[0])
			}
		}
	}
	assert.Greater(t, seen, 30)
}

// ARCHITECTURE.md is what is true: what it names is there, and every package of
// the product has its place in it.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("ARCHITECTURE.md")
	require.NoError(t, err)
	page := string(text)
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)

	for _, place := range regexp.MustCompile(`\b(?:pkg|actions|e2e|tools|docs|examples)/[a-z0-9/.-]*[a-z0-9]`).FindAllString(page, -1) {
		_, err := os.Stat(place)
		assert.NoError(t, err, "ARCHITECTURE.md names %s", place)
	}
	for _, target := range regexp.MustCompile("`make ([a-z0-9-]+)").FindAllStringSubmatch(page, -1) {
		assert.Contains(t, string(makefile), "\n"+target[1]+": ##", "ARCHITECTURE.md names make %s", target[1])
	}
	names := declared(t)
	for _, quoted := range regexp.MustCompile("`([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)`").FindAllStringSubmatch(page, -1) {
		assert.Contains(t, names, quoted[1], "ARCHITECTURE.md names %s", quoted[1])
	}
	for _, pkg := range packages(t) {
		if name := local(pkg.ImportPath); name != "." && !outside(name) && strings.HasPrefix(name, "pkg/") {
			assert.True(t, strings.Contains(page, name), "ARCHITECTURE.md does not name %s", name)
		}
	}
}

// declared are the names of all functions, methods and types, tests included.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				out[d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						out[s.Name.Name] = true
					}
				}
			}
		}
		return nil
	})
	require.NoError(t, err)
	return out
}
