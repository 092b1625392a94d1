// Package metrics is empty: only tests of other modules import it, and `go mod tidy`
// wants to find it.
package metrics
