package ese_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

// TestOldLongValues: old engines left out zeros at the beginning of a number.
func TestOldLongValues(t *testing.T) {
	d := edit(seed.Sample(4096, false), seed.LongRoot, func(p *seed.Page) {
		n := p.Nodes
		head, piece := n[0], n[1]
		head.Key, piece.Key = head.Key[3:], piece.Key[3:]
		p.Nodes = append(append([]seed.Node{}, n[2:5]...), head, piece, n[5], n[6])
	})
	blobs(t, requests(t, open(t, d.Bytes()))[2], "packed packed packed packed packed packed packed packed", "second")
}

// deepLongValues spreads the sample's long values over three leaves of a tree with two
// levels: the separator is the number of a value, and the pieces of that value are on
// two leaves.
func deepLongValues() seed.DB {
	d := seed.Sample(4096, false)
	n := d.Pages[seed.LongRoot].Nodes
	leaf := seed.Page{Object: seed.LongObject, Flags: seed.Leaf | seed.LongValue | seed.NewRecords}
	for i, nodes := range [][]seed.Node{n[:2], n[2:4], n[4:]} {
		p := leaf
		p.Nodes = nodes
		if i > 0 {
			p.Prev = uint32(12 + i)
		}
		if i < 2 {
			p.Next = uint32(14 + i)
		}
		d.Pages[uint32(13+i)] = p
	}
	return edit(d, seed.LongRoot, func(p *seed.Page) {
		p.Flags = p.Flags&^seed.Leaf | seed.ParentOfLeaf
		p.Nodes = []seed.Node{{Key: seed.Key(seed.PlainLong), Data: seed.Child(13)},
			{Key: append(seed.Key(seed.PlainLong), 0, 0, 0, 200), Data: seed.Child(14)}, {Data: seed.Child(15)}}
	})
}

func TestLongValuesOverLeaves(t *testing.T) {
	db := open(t, deepLongValues().Bytes())
	rows := requests(t, db)
	raw(t, rows[1], "RawRequest", seed.PlainLongBytes())
	raw(t, rows[2], "RawRequest", []byte("wide"))
	blobs(t, rows[2], "packed packed packed packed packed packed packed packed", "second")
	for err := range db.CheckTree(seed.LongRoot, seed.LongObject, true) {
		t.Error(err)
	}
	// A value can be read twice, and by two readers at a time.
	v, err := rows[1].Value("RawRequest")
	if err != nil {
		t.Fatal(err)
	}
	lv, err := v.LongValue()
	if err != nil || lv.Size() != 300 || lv.References() != 1 {
		t.Fatal(lv, err)
	}
	one, two := lv.Reader(), lv.Reader()
	for range 300 {
		var a, b [1]byte
		if _, err := one.Read(a[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := two.Read(b[:]); err != nil || a != b {
			t.Fatal(a, b, err)
		}
	}
}

// TestEndlessLongValue: five levels of branches, each of which names the same page a
// hundred times, come to ten thousand million leaves, all of them empty. Each page is
// visited once.
func TestEndlessLongValue(t *testing.T) {
	d := edit(deepLongValues(), 14, func(p *seed.Page) { p.Nodes = p.Nodes[:2] })
	d = edit(d, 15, func(p *seed.Page) { p.Nodes = nil })
	hundred := func(child uint32) (nodes []seed.Node) {
		for range 100 {
			nodes = append(nodes, seed.Node{Data: seed.Child(child)})
		}
		return nodes
	}
	d = edit(d, seed.LongRoot, func(p *seed.Page) { p.Flags &^= seed.ParentOfLeaf; p.Nodes = hundred(16) })
	for n := uint32(16); n <= 19; n++ {
		d.Pages[n] = seed.Page{Object: seed.LongObject, Flags: seed.LongValue, Nodes: hundred(n + 1)}
	}
	d.Pages[20] = seed.Page{Object: seed.LongObject, Flags: seed.LongValue | seed.ParentOfLeaf,
		Nodes: append([]seed.Node{{Data: seed.Child(14)}}, hundred(15)...)}
	row := requests(t, open(t, d.Bytes()))[1]
	if b, err := row.Bytes("RawRequest"); b != nil || !errors.Is(err, ese.ErrCorrupt) || !strings.Contains(err.Error(), "page 15 at offset 65536: damaged structure: it is in a tree twice") {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
