package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// site is one comparison of a package.
type site struct {
	file, function, text string
	line                 int
	begin, end           int // in the file
}

// mutant is a comparison that always has one value.
type mutant struct {
	*site
	id    int
	value bool
}

// key names a mutant wherever its lines move to.
func (m mutant) key() string {
	return fmt.Sprintf("%s %s: %s is %t", m.file, m.function, m.text, m.value)
}

// program is a package of which every comparison asks whether it is turned off.
type program struct {
	dir   string
	name  string
	sites []*site
	// files are the new contents by path.
	files map[string][]byte
}

// switchboard is the source that comparisons ask.
const switchboard = `package %s

import (
	"os"
	"strconv"
	"strings"
)

var mutantID, mutantValue = func() (int, bool) {
	id, value, _ := strings.Cut(os.Getenv("MUTANT"), "=")
	n, err := strconv.Atoi(id)
	if err != nil {
		return -1, false
	}
	return n, value == "true"
}()

func mutated(id int, value bool) bool {
	if id == mutantID {
		return mutantValue
	}
	return value
}
`

func instrument(dir, only string, without ...string) (*program, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	p := &program{dir: dir, files: map[string][]byte{}}
	for _, path := range paths {
		name := filepath.Base(path)
		if strings.HasSuffix(name, "_test.go") || !strings.Contains(name, only) || slices.Contains(without, name) {
			continue
		}
		if err := p.add(path); err != nil {
			return nil, err
		}
	}
	if len(p.sites) == 0 {
		return nil, fmt.Errorf("no comparison found in %s", dir)
	}
	p.files[filepath.Join(dir, "mutated_switchboard.go")] = fmt.Appendf(nil, switchboard, p.name)
	return p, nil
}

// add finds the comparisons of a file and makes its new content.
func (p *program) add(path string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path, source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.name = tree.Name.Name
	first := len(p.sites)
	for _, decl := range tree.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		for _, e := range conditions(f) {
			begin, end := set.Position(e.Pos()).Offset, set.Position(e.End()).Offset
			p.sites = append(p.sites, &site{file: filepath.Base(path), function: f.Name.Name, line: set.Position(e.Pos()).Line,
				text: strings.Join(strings.Fields(string(source[begin:end])), " "), begin: begin, end: end})
		}
	}
	p.files[path] = rewrite(source, p.sites[first:], first)
	return nil
}

// rewrite puts a call around every comparison.
func rewrite(source []byte, sites []*site, first int) []byte {
	type insert struct {
		at, nesting int
		text        string
	}
	var inserts []insert
	for i, s := range sites {
		// Of what begins at one place the longest begins first; of what ends there it
		// ends last.
		inserts = append(inserts, insert{s.begin, -s.end, fmt.Sprintf("mutated(%d, ", first+i)}, insert{s.end, -len(source) - s.begin - 1, ")"})
	}
	slices.SortStableFunc(inserts, func(a, b insert) int {
		if a.at != b.at {
			return a.at - b.at
		}
		return a.nesting - b.nesting
	})
	var out bytes.Buffer
	last := 0
	for _, n := range inserts {
		out.Write(source[last:n.at])
		out.WriteString(n.text)
		last = n.at
	}
	out.Write(source[last:])
	return out.Bytes()
}

// comparing are the operators that compare.
var comparing = []token.Token{token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ}

// deciding are the methods of a look whose second argument decides.
var deciding = []string{"need", "want", "know"}

// leaves collects the smallest parts of conditions, each once.
type leaves struct {
	found []ast.Expr
	seen  map[ast.Expr]bool
}

// add takes a condition apart: what !, && and || put together is several.
func (l *leaves) add(e ast.Expr) {
	switch x := e.(type) {
	case nil:
		return
	case *ast.ParenExpr:
		l.add(x.X)
		return
	case *ast.UnaryExpr:
		if x.Op == token.NOT {
			l.add(x.X)
			return
		}
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			l.add(x.X)
			l.add(x.Y)
			return
		}
		if isNil(x.X) || isNil(x.Y) {
			return // an error's way out compares nothing
		}
	case *ast.Ident:
		return // what it holds was decided where it was made
	case *ast.CallExpr:
		if decides(x) {
			return // what it compares is a site of its own
		}
	}
	if !l.seen[e] {
		l.seen[e] = true
		l.found = append(l.found, e)
	}
}

func isNil(e ast.Expr) bool {
	x, ok := e.(*ast.Ident)
	return ok && x.Name == "nil"
}

// visit adds what decides something in a node.
func (l *leaves) visit(n ast.Node) bool {
	switch x := n.(type) {
	case *ast.IfStmt:
		l.add(x.Cond)
	case *ast.ForStmt:
		l.add(x.Cond)
	case *ast.SwitchStmt:
		if x.Tag != nil {
			break
		}
		for _, c := range x.Body.List {
			for _, e := range c.(*ast.CaseClause).List {
				l.add(e)
			}
		}
	case *ast.BinaryExpr:
		if slices.Contains(comparing, x.Op) || x.Op == token.LAND || x.Op == token.LOR {
			l.add(x)
		}
	case *ast.UnaryExpr:
		if x.Op == token.NOT {
			l.add(x)
		}
	case *ast.CallExpr:
		if decides(x) {
			l.add(x.Args[1])
		}
	}
	return true
}

// decides tells whether a call is a comparison of a look.
func decides(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains(deciding, s.Sel.Name) && len(call.Args) > 1
}

// conditions are the smallest expressions of a function that are true or false and
// decide something.
func conditions(f *ast.FuncDecl) []ast.Expr {
	l := &leaves{seen: map[ast.Expr]bool{}}
	ast.Inspect(f.Body, l.visit)
	for _, e := range returned(f) {
		l.add(e)
	}
	return l.found
}

// returned are the results of a function that gives true or false.
func returned(f *ast.FuncDecl) (found []ast.Expr) {
	if f.Type.Results == nil || len(f.Type.Results.List) != 1 {
		return nil
	}
	if kind, ok := f.Type.Results.List[0].Type.(*ast.Ident); !ok || kind.Name != "bool" {
		return nil
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			if len(x.Results) == 1 {
				found = append(found, x.Results[0])
			}
		}
		return true
	})
	return found
}

// mutants are two for every comparison.
func (p *program) mutants() (all []mutant) {
	for id, s := range p.sites {
		all = append(all, mutant{s, id, true}, mutant{s, id, false})
	}
	return all
}
