package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/shiksha/actions"

// layers are the packages from the top down. A package may import those of lower
// layers, and none of its own.
var layers = [][]string{
	{"."},
	{"actions/backup", "actions/build", "actions/deploy", "actions/rollback", "actions/verify"},
	{"actions/outcome", "pkg/backups", "pkg/deploy", "pkg/rollback", "pkg/verify"},
	{"actions/door", "actions/manifest", "pkg/build", "pkg/converge", "pkg/platform", "pkg/preflight"},
	{"actions/inputs", "pkg/action", "pkg/compose", "pkg/github", "pkg/notify", "pkg/preflight/image", "pkg/preflight/monitoring",
		"pkg/preflight/onhost", "pkg/preflight/swarm", "pkg/preflight/workflow", "pkg/rollout", "pkg/swarm", "pkg/target", "pkg/verify/kind"},
	{"pkg/backup", "pkg/checkout", "pkg/content", "pkg/engine", "pkg/extension", "pkg/gateway", "pkg/host", "pkg/plan", "pkg/preflight/finding",
		"pkg/probe", "pkg/release", "pkg/report", "pkg/strict"},
	{"pkg/check", "pkg/event", "pkg/fault", "pkg/grace", "pkg/layers", "pkg/stack", "pkg/suggest"},
}

// onlyDoors may speak to the runner.
const onlyDoors = "pkg/action"

type listed struct {
	ImportPath string
	Imports    []string
}

func TestArrowsPointDown(t *testing.T) {
	t.Parallel()
	layer := map[string]int{}
	for i, names := range layers {
		for _, name := range names {
			layer[name] = i
		}
	}
	for _, pkg := range packages(t) {
		from := local(pkg.ImportPath)
		if outside(from) {
			continue
		}
		if !assert.Contains(t, layer, from, "%s has no place in the layers: give it one", from) {
			continue
		}
		for _, path := range pkg.Imports {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			to := local(path)
			if !assert.False(t, outside(to), "%s imports %s, which is for tests and demonstrations", from, to) {
				continue
			}
			assert.Greater(t, layer[to], layer[from], "%s imports %s: arrows point down only", from, to)
			if to == onlyDoors {
				assert.True(t, isDoor(from), "%s imports %s: only doorways speak to the runner", from, to)
			}
		}
	}
}

// processCalls are what only a doorway may use: the rest is told by arguments
// and tells by results.
var processCalls = map[string][]string{
	"os":   {"Getenv", "LookupEnv", "Environ", "Setenv", "Exit", "Args", "Stdout", "Stderr", "Stdin"},
	"fmt":  {"Print", "Printf", "Println"},
	"log":  {"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln"},
	"slog": {"Info", "Warn", "Error", "Debug"},
}

func TestOnlyDoorsTouchTheProcess(t *testing.T) {
	t.Parallel()
	walk(t, "pkg", func(path string, file *ast.File, set *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := selector.X.(*ast.Ident); ok && x.Obj == nil && slices.Contains(processCalls[x.Name], selector.Sel.Name) {
				t.Errorf("%s uses %s.%s: only doorways touch the process", set.Position(n.Pos()), x.Name, selector.Sel.Name)
			}
			return true
		})
	})
}

// What is named for no job is a drawer.
func TestPackagesAreNamedForTheirJob(t *testing.T) {
	t.Parallel()
	for _, pkg := range packages(t) {
		for _, drawer := range []string{"util", "utils", "common", "helpers", "types", "misc"} {
			assert.NotEqual(t, drawer, path.Base(pkg.ImportPath))
		}
	}
}

// walk parses the files of a folder that are code, not tests or their data.
func walk(t *testing.T, root string, visit func(path string, file *ast.File, set *token.FileSet)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == "testdata" {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err == nil {
			visit(path, file, set)
		}
		return err
	})
	require.NoError(t, err)
}

// packages lists the module's packages with what their code (not their tests)
// imports.
func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg listed
		err := decoder.Decode(&pkg)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		all = append(all, pkg)
	}
	require.NotEmpty(t, all)
	return all
}

func local(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// outside tells what is no part of the product.
func outside(name string) bool {
	return strings.HasPrefix(name, "e2e") || strings.HasPrefix(name, "examples") || strings.HasPrefix(name, "tools")
}

func isDoor(name string) bool { return name == "." || strings.HasPrefix(name, "actions/") }
