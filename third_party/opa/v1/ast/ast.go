// Package ast stands where OPA's own does: see the README of third_party.
package ast

import (
	"errors"

	"github.com/open-policy-agent/opa/v1/types"
)

// ErrLeftOut is what every use of a policy ends with: one that was ignored would
// be worse than a build that fails.
var ErrLeftOut = errors.New("policies in Rego are not evaluated by this program")

// RegoVersion is the version of the language.
type RegoVersion int

// RegoV1 is the first version.
const RegoV1 RegoVersion = 1

// Features are what a compiler may be able to.
var Features []string

// The parts of a policy, as far as somebody names them.
type (
	Value interface{ String() string }

	String  string
	Boolean bool
	Var     string
	Ref     []*Term
	Object  interface {
		Value
		Get(*Term) *Term
		Compare(Value) int
	}

	Term struct{ Value Value }

	Module struct {
		Package *Package
		Imports []*Import
		Rules   []*Rule
	}
	Package struct{ Path Ref }
	Import  struct{ Path *Term }
	Rule    struct {
		Head *Head
		Body Body
	}
	Head struct {
		Name  Var
		Args  []*Term
		Value *Term
	}
	Body []*Expr
	Expr struct{ With []*With }
	With struct{ Target, Value *Term }

	Builtin struct {
		Name string
		Decl *types.Function
	}
	Capabilities struct {
		Builtins []*Builtin
		Features []string
	}
	ParserOptions struct{ RegoVersion RegoVersion }
)

func (s String) String() string { return string(s) }
func (Boolean) String() string  { return "" }

// InputRootRef is the reference to a policy's input.
var InputRootRef Ref

func (*Term) Equal(*Term) bool { return false }
func (Ref) HasPrefix(Ref) bool { return false }
func (Ref) Equal(Ref) bool     { return false }
func (Ref) String() string     { return "" }

// Compiler would compile policies.
type Compiler struct{ Errors Errors }

// Errors are what a compiler found.
type Errors []error

func (e Errors) Error() string { return ErrLeftOut.Error() }

func NewCompiler() *Compiler                                 { return &Compiler{} }
func (c *Compiler) WithCapabilities(*Capabilities) *Compiler { return c }
func (c *Compiler) WithEnablePrintStatements(bool) *Compiler { return c }
func (c *Compiler) WithKeepModules(bool) *Compiler           { return c }
func (c *Compiler) WithModuleLoader(ModuleLoader) *Compiler  { return c }
func (c *Compiler) Compile(map[string]*Module)               { c.Errors = Errors{ErrLeftOut} }
func (c *Compiler) Failed() bool                             { return len(c.Errors) > 0 }

// ModuleLoader would load the modules that others import.
type ModuleLoader func(map[string]*Module) (map[string]*Module, error)

// What reads and makes the parts of a policy refuses, where it can say so.
func ParseModule(_, _ string) (*Module, error)                          { return nil, ErrLeftOut }
func ParseModuleWithOpts(_, _ string, _ ParserOptions) (*Module, error) { return nil, ErrLeftOut }
func InterfaceToValue(any) (Value, error)                               { return nil, ErrLeftOut }
func As(Value, any) error                                               { return ErrLeftOut }
func WalkRefs(any, func(Ref) bool)                                      {}
func NewTerm(v Value) *Term                                             { return &Term{Value: v} }
func StringTerm(s string) *Term                                         { return NewTerm(String(s)) }
func BooleanTerm(b bool) *Term                                          { return NewTerm(Boolean(b)) }
