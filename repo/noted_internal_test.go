package repo

import (
	"testing"
	"time"

	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// A table that a prune has noted as dead is stored anew under another hash: a run does not rely on the old one,
// and does not fail either.
func TestNotedTable(t *testing.T) {
	ctx := t.Context()
	r, _ := newInMemory(t)
	table := []chunklist.Entry{{Segment: pack.Sum([]byte("a segment")), Pack: pack.Sum([]byte("a pack")), Used: 1}}
	put := func() Ref {
		t.Helper()
		ref, err := r.putTable(ctx, table)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	first := put()
	if again := put(); again != first {
		t.Errorf("%v, and %v before a prune", again, first)
	}
	if _, err := r.Prune(ctx, PruneOptions{Grace: time.Hour}); err != nil {
		t.Fatal(err)
	}
	now := put()
	if now == first {
		t.Error("it relies on what a prune has noted as dead")
	}
	got, err := r.readTable(ctx, now)
	if err != nil || len(got) == 0 || got[0] != table[0] {
		t.Fatalf("%v, %v", got, err)
	}
	for _, e := range got[1:] {
		if e.Used != 0 {
			t.Errorf("%v is used", e)
		}
	}
}
