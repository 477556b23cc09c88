package repo

import (
	"testing"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// A segment that lies in two packs was read in one of them: the other does not count as read for it, whoever refers to
// which.
func TestHeldInTwoPacks(t *testing.T) {
	ctx := t.Context()
	r, b := newInMemory(t)
	put := func(segments ...string) pack.ID {
		t.Helper()
		p := pack.NewBuilder(nil)
		for _, s := range segments {
			p.Add(pack.Sum([]byte(s)), []byte(s))
		}
		id, object, _ := p.Build()
		if _, err := b.Put(ctx, pack.Key(id), object, blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	shared, alone := pack.Sum([]byte("shared")), pack.Sum([]byte("alone"))
	one, two, three := put("shared"), put("shared", "another"), put("alone")

	v := &verifier{r: r, res: &VerifyResult{}, need: map[pack.ID]*packNeed{}, segments: map[pack.ID]*segmentNeed{}, bad: map[string]bool{}}
	chunk := []chunklist.Chunk{{Offset: 0, Length: 3}}
	for _, e := range []chunklist.Entry{{Segment: shared, Pack: one, Used: 1}, {Segment: shared, Pack: two, Used: 1}, {Segment: alone, Pack: three, Used: 1}} {
		if err := v.segment(ctx, &storedSet{}, e); err != nil {
			t.Fatal(err)
		}
		v.segments[e.Segment].add("ca", chunk[0])
	}
	v.held("ca", shared, one, chunk)
	v.held("ca", alone, two, chunk)
	v.held("another ca", alone, three, chunk)
	for id, n := range v.need {
		if _, done := n.done(); done {
			t.Errorf("pack %s counts as read", id)
		}
	}
	v.held("ca", shared, two, chunk)
	v.held("ca", alone, three, chunk)
	for id, want := range map[pack.ID]bool{one: false, two: true, three: true} {
		if _, done := v.need[id].done(); done != want {
			t.Errorf("pack %s: read is %v", id, done)
		}
	}
}
