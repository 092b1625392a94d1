// Package rest stands where Kubernetes' own does: see the README of third_party.
package rest

import "context"

// WarningHandlerWithContext takes the warnings of a Kubernetes server.
type WarningHandlerWithContext interface {
	HandleWarningHeaderWithContext(ctx context.Context, code int, agent, text string)
}

// WarningLogger would log them; nobody here speaks to a Kubernetes server.
type WarningLogger struct{}

// HandleWarningHeaderWithContext does nothing.
func (WarningLogger) HandleWarningHeaderWithContext(context.Context, int, string, string) {}
