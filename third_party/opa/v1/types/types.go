// Package types stands where OPA's own does: see the README of third_party.
package types

// Type is the type of a value in a policy.
type Type int

// The types that are named by who declares functions for policies.
const (
	S Type = iota // a string
	A             // anything
	B             // a boolean
)

// Function is the type of a function.
type Function struct{}

// Args are the types of a function's arguments.
func Args(list ...Type) []Type { return list }

// NewFunction is the type of a function with those arguments and that result.
func NewFunction([]Type, Type) *Function { return &Function{} }
