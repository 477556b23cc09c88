package repo

import (
	"context"
	"iter"
	"sync"
)

// How many things are asked of a store at once, which may be far away.
const (
	smallAtOnce    = 16 // objects of metadata, leases, deletions
	headersAtOnce  = 32 // of packs
	segmentsAtOnce = 8  // each takes a mebibyte
)

// outcome is what became of an item.
type outcome[A, B any] struct {
	item A
	got  B
	err  error
}

// inOrder calls do for all items, so many at once, and yields what became of them in the order of the items. An
// error does not end it: that is for the caller. When it has ended, nothing goes on.
func inOrder[A, B any](ctx context.Context, items []A, atOnce int, do func(context.Context, A) (B, error)) iter.Seq[outcome[A, B]] {
	return func(yield func(outcome[A, B]) bool) {
		var going sync.WaitGroup
		defer going.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		waiting := make(chan chan outcome[A, B], atOnce)
		next := 0
		start := func() {
			if next == len(items) {
				return
			}
			item, ready := items[next], make(chan outcome[A, B], 1)
			next++
			waiting <- ready // there is room
			going.Go(func() {
				got, err := do(ctx, item)
				ready <- outcome[A, B]{item, got, err}
			})
		}
		for range atOnce {
			start()
		}
		for range items {
			o := <-<-waiting
			start()
			if !yield(o) {
				return
			}
		}
	}
}
