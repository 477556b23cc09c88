package repo

import (
	"context"
	"errors"
)

// loading is something that one loads while others wait for it.
type loading struct {
	ready chan struct{} // closed when it is loaded
	err   error         // read it only then
}

// wait waits until it is loaded. again says that the one who was loading it lost interest, and this one has
// not: it is to be tried again.
func (l *loading) wait(ctx context.Context) (again bool, err error) {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if !errors.Is(l.err, context.Canceled) && !errors.Is(l.err, context.DeadlineExceeded) {
		return false, l.err
	}
	return ctx.Err() == nil, ctx.Err()
}
