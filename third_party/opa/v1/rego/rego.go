// Package rego stands where OPA's own does: see the README of third_party.
package rego

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown/print"
	"github.com/open-policy-agent/opa/v1/types"
)

// Rego would be an evaluation.
type Rego struct{}

// New takes the options of an evaluation.
func New(...func(*Rego)) *Rego { return &Rego{} }

// Eval refuses.
func (*Rego) Eval(context.Context) (ResultSet, error) { return nil, ast.ErrLeftOut }

// Partial refuses.
func (*Rego) Partial(context.Context) (*PartialQueries, error) { return nil, ast.ErrLeftOut }

// PartialQueries would be what is left of a policy.
type PartialQueries struct{ Support []*ast.Module }

// ResultSet would be what a policy says.
type ResultSet []Result

// Result would be one thing that it says.
type Result struct{ Expressions []*ExpressionValue }

// ExpressionValue would be the value of an expression.
type ExpressionValue struct {
	Value any
	Text  string
}

// BuiltinContext would be what a function is called in.
type BuiltinContext struct{ Context context.Context }

// Function declares a function for policies.
type Function struct {
	Name             string
	Description      string
	Decl             *types.Function
	Memoize          bool
	Nondeterministic bool
}

// The forms of such functions.
type (
	Builtin1 func(BuiltinContext, *ast.Term) (*ast.Term, error)
	Builtin2 func(BuiltinContext, *ast.Term, *ast.Term) (*ast.Term, error)
	Builtin3 func(BuiltinContext, *ast.Term, *ast.Term, *ast.Term) (*ast.Term, error)
)

func nothing(*Rego) {}

// Options, none of which matters to an evaluation that refuses.
func Function1(*Function, Builtin1) func(*Rego)  { return nothing }
func Function2(*Function, Builtin2) func(*Rego)  { return nothing }
func Function3(*Function, Builtin3) func(*Rego)  { return nothing }
func Compiler(*ast.Compiler) func(*Rego)         { return nothing }
func EnablePrintStatements(bool) func(*Rego)     { return nothing }
func Input(any) func(*Rego)                      { return nothing }
func Module(_, _ string) func(*Rego)             { return nothing }
func PrintHook(print.Hook) func(*Rego)           { return nothing }
func Query(string) func(*Rego)                   { return nothing }
func SetRegoVersion(ast.RegoVersion) func(*Rego) { return nothing }
func SkipPartialNamespace(bool) func(*Rego)      { return nothing }
func Unknowns([]string) func(*Rego)              { return nothing }
