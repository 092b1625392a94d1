package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

// sized is a thing and how large it is.
type sized struct {
	name string
	size int
}

// house is what was counted.
type house struct {
	module     string
	files      []sized             // lines of each file of code
	functions  []sized             // lines of each function
	interfaces []sized             // methods of each interface
	packages   map[string]int      // files of code of each folder
	imports    map[string][]string // folder -> folders of this module
	code, test int                 // lines
	exported   int
	bare       []string // exported and without a doc comment
}

// skipped are folders that are no part of the code.
var skipped = []string{"vendor", "third_party", "testdata", "examples", "node_modules", ".git", ".lab"}

// proofs is the folder of what proves the product from outside, benchmarks and the
// demonstration included: none of it is shipped.
const proofs = "e2e/"

func walk(root string) (*house, error) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("read the module's name: %w", err)
	}
	h := &house{module: modfile.ModulePath(mod), packages: map[string]int{}, imports: map[string][]string{}}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(skipped, entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		short, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return h.add(path, short)
	})
	return h, err
}

func (h *house) add(path, short string) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	if ast.IsGenerated(file) {
		return nil
	}
	lines := set.File(file.Pos()).LineCount()
	if strings.HasSuffix(short, "_test.go") {
		h.test += lines
		return nil
	}
	dir := filepath.Dir(short)
	if strings.HasPrefix(short, proofs) {
		h.test += lines
	} else {
		h.code += lines
	}
	h.files = append(h.files, sized{short, lines})
	h.packages[dir]++
	for _, spec := range file.Imports {
		if to, ok := h.local(spec.Path.Value); ok && !slices.Contains(h.imports[dir], to) {
			h.imports[dir] = append(h.imports[dir], to)
		}
	}
	for _, decl := range file.Decls {
		h.declared(decl, set, short)
	}
	return nil
}

// local gives the folder of an imported package of this module.
func (h *house) local(quoted string) (string, bool) {
	path, err := strconv.Unquote(quoted)
	if err != nil {
		return "", false
	}
	if path == h.module {
		return ".", true
	}
	return strings.CutPrefix(path, h.module+"/")
}

func (h *house) declared(decl ast.Decl, set *token.FileSet, short string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		h.functions = append(h.functions, sized{short + " " + d.Name.Name, set.Position(d.End()).Line - set.Position(d.Pos()).Line + 1})
		if d.Name.IsExported() && exportedReceiver(d) {
			h.export(short+" "+d.Name.Name, d.Doc != nil)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if i, ok := t.Type.(*ast.InterfaceType); ok {
				h.interfaces = append(h.interfaces, sized{short + " " + t.Name.Name, i.Methods.NumFields()})
			}
			if t.Name.IsExported() {
				h.export(short+" "+t.Name.Name, d.Doc != nil || t.Doc != nil)
			}
		}
	}
}

// exportedReceiver tells whether a function can be seen from outside: a method of
// a type that cannot be named there is its interface's, which has the sentence.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported()
}

func (h *house) export(name string, documented bool) {
	h.exported++
	if !documented {
		h.bare = append(h.bare, name)
	}
}
