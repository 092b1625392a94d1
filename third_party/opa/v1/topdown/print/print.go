// Package print stands where OPA's own does: see the README of third_party.
package print

import "fmt"

// Context is where a policy printed something.
type Context struct{ Location *Location }

// Location is a place in a policy.
type Location struct{}

// Format formats a text for the place.
func (*Location) Format(f string, a ...any) string { return fmt.Sprintf(f, a...) }

// Hook takes what policies print.
type Hook interface{ Print(Context, string) error }
