//go:build !windows

package cakey

import (
	"errors"
	"fmt"
)

func openStore() (store, error) {
	return nil, fmt.Errorf("the Windows certificate store is on Windows only: %w", errors.ErrUnsupported)
}
