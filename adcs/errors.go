package adcs

import (
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/hint"
)

// Errors of this package, to be compared with errors.Is.
var (
	// ErrNotWindows says that this machine is no Windows machine.
	ErrNotWindows = errors.New("this is not a Windows machine")

	// ErrNoAuthority says that this machine has no certification authority, or
	// one that was never set up.
	ErrNoAuthority = errors.New("there is no certification authority on this machine")

	// ErrNoCertificate says that the authority's newest certificate is in none of
	// the machine's stores.
	ErrNoCertificate = errors.New("the authority's certificate is missing")

	// ErrChanged says that somebody changed what Withhold had set; it was left as
	// it is. The error is a [ChangedError].
	ErrChanged = errors.New("changed by somebody since it was withheld")

	// ErrState says that a file of the state directory is not what this package
	// wrote.
	ErrState = errors.New("not a state file of this authority")
)

// stateError is for a file of the state directory that is not believed.
func stateError(name, format string, args ...any) error {
	return hint.With(fmt.Errorf("%s: %w: %s", name, ErrState, fmt.Sprintf(format, args...)), "find out who wrote it, then move the file away; nothing is done by what it says")
}
