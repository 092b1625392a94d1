// Package fault gives every error of the program a kind, the place it is
// about and a hint what to do next. The kind decides the exit code, which is
// part of the interface: workflows branch on it.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what an error means for the host and for the caller. Its numeric
// value is the exit code of the program.
type Kind int

// The kinds, in the order of their exit codes (0 is success).
const (
	// Failed: the release failed and what served before serves again.
	Failed Kind = 1
	// Refused: nothing was changed, because something on the host or in the
	// stack forbids it.
	Refused Kind = 2
	// Input: an input is missing or cannot be used; nothing was changed.
	Input Kind = 3
	// Locked: somebody else is releasing this project on this host.
	Locked Kind = 4
	// Interrupted: users are served and running the same again heals, unless the message
	// says otherwise.
	Interrupted Kind = 5
	// Stuck: the release failed and could not go back; a person is needed.
	Stuck Kind = 6
)

// String names the kind as the `outcome` output of the actions does.
func (k Kind) String() string {
	switch k {
	case Failed:
		return "failed"
	case Refused:
		return "refused"
	case Input:
		return "bad-input"
	case Locked:
		return "locked"
	case Interrupted:
		return "interrupted"
	case Stuck:
		return "stuck"
	}
	return "unknown"
}

// Shell is the hint where a host answers with other words than those of what was run there:
// sshd runs all of that by the user's login shell, whatever it is and prints.
const Shell = "`ssh USER@HOST true` has to print nothing and end with 0: see the start files of that user's shell there, and that it is sh, bash, zsh or fish"

// Error is an error with its kind, the thing it is about and a hint.
// Message says what went wrong, Where names the input, file, service or host
// (empty when the message already does) and Hint says what to do next.
type Error struct {
	Kind  Kind
	Where string
	Hint  string
	Err   error
}

// Error gives the message without the hint, which the door prints on a line of
// its own.
func (e *Error) Error() string {
	if e.Where == "" {
		return e.Err.Error()
	}
	return e.Where + ": " + e.Err.Error()
}

// Unwrap gives the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of the given kind about where. The format takes %w.
func New(kind Kind, where, hint, format string, args ...any) *Error {
	return &Error{Kind: kind, Where: where, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// Of tells the kind of an error; an error without one counts as Failed.
func Of(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Failed
}

// Hint gives the hint nearest to the surface of the error, or "".
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// As gives err the kind it has to have at this place (a refusal before any
// change, say) unless it already has one, and keeps its text and hint.
func As(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Kind: kind, Err: err}
}

// Early gives an error from before the first change its kind. A run that was told to
// end was interrupted, whatever cut it off calls itself; all else is a refusal.
func Early(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return As(Refused, err)
	case err == nil || Of(err) == Interrupted:
		return err
	}
	return New(Interrupted, "", "run it again", "interrupted before anything was changed: %w", err)
}

// Code is the exit code for an error: 0 for nil, else its kind's number.
func Code(err error) int {
	if err == nil {
		return 0
	}
	return int(Of(err))
}
