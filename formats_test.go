package main

import (
	"errors"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// formats are what lies on a host, where versions of this program read it that others wrote:
// the type that is written as JSON, the constant with its number, and what an older version
// does with a key that it does not know.
var formats = map[string]struct{ pkg, kind, number, unknown string }{
	"record":   {"pkg/release", "Record", "Schema", "takes the record for damaged"},
	"chain":    {"pkg/release", "chain", "Schema", "takes the chain for damaged"},
	"sealed":   {"pkg/stack", "sealed", "sealedVersion", "brings the stack back without it"},
	"manifest": {"pkg/backup", "Backup", "schema", "loses it when it copies or proves the backup"},
	"lock":     {"pkg/release", "lockFile", "", "takes no notice of it"}, // each run signs anew: no number
}

// What is stored has a number for each list of its keys (testdata/stored): a key without a new
// number is lost or taken for damage by older versions, which refuse a newer number.
func TestStoredFormatsHaveNumbers(t *testing.T) {
	t.Parallel()
	for name, f := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := read(t, f.pkg)
			list := filepath.Join("testdata", "stored", name+".txt")
			todo := "where that is right, remove " + list + " and write it anew"
			if f.number != "" {
				list = filepath.Join("testdata", "stored", name+"-"+s.number(t, f.number)+".txt")
				todo = "raise " + f.number + " in " + f.pkg + ", go on reading what has the numbers before, and write the new list"
			}
			const how = "(go test -run TestStoredFormatsHaveNumbers . -write)"
			keys := strings.Join(s.keys(t, f.kind, ""), "\n") + "\n"
			want, err := os.ReadFile(list)
			if errors.Is(err, fs.ErrNotExist) && *write {
				require.NoError(t, os.MkdirAll(filepath.Dir(list), 0o755))
				require.NoError(t, os.WriteFile(list, []byte(keys), 0o644))
				return
			}
			require.NoError(t, err, "the keys of this number are not written down yet %s", how)
			assert.Equal(t, string(want), keys, "The keys of %s.%s are others than %s has. Hosts keep what was written with those: let none go, "+
				"nor its place, and give a new one omitempty or omitzero. An older version of shiksha %s: %s %s", f.pkg, f.kind, list, f.unknown, todo, how)
		})
	}
}

// source is what a package declares.
type source struct {
	types     map[string]ast.Expr
	constants map[string]ast.Expr
	writers   map[string]bool // types that write their JSON themselves
}

func read(t *testing.T, pkg string) source {
	t.Helper()
	s := source{types: map[string]ast.Expr{}, constants: map[string]ast.Expr{}, writers: map[string]bool{}}
	walk(t, pkg, func(_ string, file *ast.File, _ *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv != nil && (n.Name.Name == "MarshalJSON" || n.Name.Name == "MarshalText") {
					s.writers[named(n.Recv.List[0].Type)] = true
				}
				return false
			case *ast.TypeSpec:
				s.types[n.Name.Name] = n.Type
			case *ast.ValueSpec:
				for i, value := range n.Values {
					s.constants[n.Names[i].Name] = value
				}
			}
			return true
		})
	})
	return s
}

// named is the type that an expression of a type is made of, with its package.
func named(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return named(e.X)
	case *ast.ArrayType:
		return named(e.Elt)
	case *ast.MapType:
		return named(e.Value)
	case *ast.SelectorExpr:
		return named(e.X) + "." + e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func (s source) number(t *testing.T, constant string) string {
	t.Helper()
	value, ok := s.constants[constant].(*ast.BasicLit)
	require.True(t, ok, "there is no constant %s", constant)
	return value.Value
}

// written are the types that stand in the JSON for one that writes it itself; plain are those
// of other packages that are one value there.
var (
	written = map[string]string{"Checks": "storedChecks"}
	plain   = map[string]bool{"time.Time": true, "time.Duration": true, "json.RawMessage": true}
)

// keys are the keys of a struct as JSON has them, those of its parts behind its own, with
// what is left out where it is empty.
func (s source) keys(t *testing.T, kind, above string) (all []string) {
	t.Helper()
	if s.writers[kind] {
		require.Contains(t, written, kind, "%s writes its JSON itself: say here what", kind)
		kind = written[kind]
	}
	if other, mine := s.types[kind]; !mine {
		require.True(t, plain[kind] || !strings.Contains(kind, "."), "%s is of another package: say here whether it is one value", kind)
		return nil
	} else if _, ok := other.(*ast.StructType); !ok {
		return s.keys(t, named(other), above)
	}
	for _, field := range s.types[kind].(*ast.StructType).Fields.List {
		tag := ""
		if field.Tag != nil {
			text, err := strconv.Unquote(field.Tag.Value)
			require.NoError(t, err)
			tag = reflect.StructTag(text).Get("json")
		}
		of := named(field.Type)
		require.NotEmpty(t, of, "%s has a field whose type has no name", kind)
		if len(field.Names) == 0 {
			require.Empty(t, tag)
			all = append(all, s.keys(t, of, above)...)
		}
		name, options, _ := strings.Cut(tag, ",")
		for _, f := range field.Names {
			if !f.IsExported() || tag == "-" {
				continue
			}
			key := above + f.Name
			if name != "" {
				key = above + name
			}
			all = append(all, strings.TrimSuffix(key+","+options, ","))
			all = append(all, s.keys(t, of, key+".")...)
		}
	}
	return all
}
