package repo

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// Results come in order, errors with them, never more at once than asked for, and nothing goes on at the end.
func TestInOrder(t *testing.T) {
	bad := errors.New("bad")
	rapid.Check(t, func(t *rapid.T) {
		fails := rapid.SliceOfN(rapid.Bool(), 0, 30).Draw(t, "fails")
		atOnce := rapid.IntRange(1, 5).Draw(t, "at once")
		stop := rapid.IntRange(1, 40).Draw(t, "stop") // after so many
		items := make([]int, len(fails))
		for i := range items {
			items[i] = i
		}
		var going, most atomic.Int64
		n := 0
		for o := range inOrder(context.Background(), items, atOnce, func(ctx context.Context, i int) (int, error) {
			defer going.Add(-1)
			now := going.Add(1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			if i >= stop { // nobody will ask for it: only the end of it all ends it
				<-ctx.Done()
				return 0, ctx.Err()
			}
			if fails[i] {
				return i, bad
			}
			return i, nil
		}) {
			if o.item != n || o.got != n || (o.err != nil) != fails[n] {
				t.Fatalf("item %d: %+v", n, o)
			}
			if n++; n == stop {
				break
			}
		}
		if want := min(stop, len(items)); n != want {
			t.Errorf("%d of %d", n, want)
		}
		if going.Load() != 0 || most.Load() > int64(atOnce) {
			t.Errorf("%d still going, %d at once", going.Load(), most.Load())
		}
	})
}
