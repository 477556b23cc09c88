package cadb

import (
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Rows come out in order, those of one number as they went in, however little memory
// there is.
func TestSorted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfN(rapid.Int64Range(0, 20), 0, 60).Draw(rt, "keys")
		most := rapid.IntRange(1, 20).Draw(rt, "rows in memory") * rowOverhead
		in := func(yield func(Attribute, error) bool) {
			for i, k := range keys {
				if !yield(Attribute{RequestID: k, Name: string(rune('0' + i))}, nil) {
					return
				}
			}
		}
		var got, want []Attribute
		for a, err := range sortedWith(t.Context(), in, func(a *Attribute) int64 { return a.RequestID }, func(*Attribute) int { return 0 }, most) {
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, a)
		}
		for a := range in {
			want = append(want, a)
		}
		slices.SortStableFunc(want, func(a, b Attribute) int { return int(a.RequestID - b.RequestID) })
		if !slices.Equal(got, want) {
			rt.Fatalf("%v, want %v", got, want)
		}
	})
	// Stopping early, and failing, end it.
	failing := func(yield func(Attribute, error) bool) {
		for range 10 {
			if !yield(Attribute{RequestID: rand.Int64()}, nil) {
				return
			}
		}
		yield(Attribute{}, errStopped)
	}
	byID, none := func(a *Attribute) int64 { return a.RequestID }, func(*Attribute) int { return 0 }
	for range sortedWith(t.Context(), failing, byID, none, 1) {
		t.Error("a row in spite of an error")
	}
	want := errors.New("broken")
	for _, err := range sortedWith(t.Context(), iter.Seq2[Attribute, error](func(yield func(Attribute, error) bool) { yield(Attribute{}, want) }), byID, none, 1) {
		if !errors.Is(err, want) {
			t.Errorf("%v", err)
		}
	}
}
