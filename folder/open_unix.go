//go:build unix

package folder

import (
	"errors"
	"syscall"
)

// openFlags keep a hostile folder from leading elsewhere by a link, or from
// stopping us with a pipe that nobody writes to.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

func isLinkError(err error) bool {
	return errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK)
}
