// Package pause waits where nothing tells when it is over.
package pause

import (
	"context"
	"time"
)

// For waits for d, or until ctx ends, and then returns its error.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
