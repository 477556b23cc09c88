package repo

import (
	"context"
	"iter"
	"sync"
)

// How many things are asked of a store at once, which may be far away.
const (
	smallAtOnce    = 16 // objects of metadata, leases, deletions
	segmentsAtOnce = 8  // each takes a mebibyte
)

// inOrder calls do for all items, so many at once, and yields what it returns in the order of the items. An
// error does not end it: that is for the caller. When it has ended, nothing goes on.
func inOrder[A, B any](ctx context.Context, items []A, atOnce int, do func(context.Context, A) (B, error)) iter.Seq2[B, error] {
	type result struct {
		b   B
		err error
	}
	return func(yield func(B, error) bool) {
		var going sync.WaitGroup
		defer going.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		waiting := make(chan chan result, atOnce)
		next := 0
		start := func() {
			if next == len(items) {
				return
			}
			item, ready := items[next], make(chan result, 1)
			next++
			waiting <- ready // there is room
			going.Go(func() {
				b, err := do(ctx, item)
				ready <- result{b, err}
			})
		}
		for range atOnce {
			start()
		}
		for range items {
			r := <-<-waiting
			start()
			if !yield(r.b, r.err) {
				return
			}
		}
	}
}
