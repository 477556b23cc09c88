// Package hint ties to an error what its user can do about it. The command line shows
// it on a line of its own; whoever prints only the error loses nothing but that.
package hint

import (
	"errors"

	"github.com/certkeep/certkeep/certadm"
)

// Error is an error with a hint.
type Error struct {
	Err  error
	hint string
}

// With adds a hint to an error.
func With(err error, text string) error { return &Error{Err: err, hint: text} }

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *Error) Hint() string { return e.hint }

// Of is the hint that comes with an error, if any: that of a [certadm.Error], or of
// whatever has a method for it.
func Of(err error) string {
	var e *certadm.Error
	if errors.As(err, &e) && e.Hint != "" {
		return e.Hint
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
