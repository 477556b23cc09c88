package csra

import (
	"context"
	"time"
)

// wait waits for done. When ctx has ended, and after some patience, it calls cut,
// which makes done come.
func wait(ctx context.Context, done <-chan struct{}, patience time.Duration, cut func()) {
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		cut()
		<-done
	}
}
