//go:build !windows

package adcs

import (
	"runtime"

	"github.com/certkeep/certkeep/internal/hint"
)

func newSystem() (system, error) {
	return nil, hint.With(&osError{}, "run this on the authority's own machine, or go through the network: adcs://HOST")
}

// osError is [ErrNotWindows] with the name of what it is instead.
type osError struct{}

func (*osError) Error() string        { return ErrNotWindows.Error() + ": " + runtime.GOOS }
func (*osError) Is(target error) bool { return target == ErrNotWindows }
