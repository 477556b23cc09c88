package esetest_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// extents reads a tree of space that is one page of 4 KiB: the pages of its
// extents, each of which may be there once.
func extents(t *testing.T, b []byte, number uint32) map[uint32]bool {
	t.Helper()
	p := esetest.PageOf(b, 4096, number)
	pages := make(map[uint32]bool)
	for i := 1; i < int(le.Uint16(p[34:])); i++ {
		node := p[40+le.Uint16(p[4096-4*i-2:]):]
		last, count := binary.BigEndian.Uint32(node[2:]), le.Uint32(node[6:])
		for n := last - count + 1; n <= last; n++ {
			if pages[n] {
				t.Errorf("page %d: page %d is in two extents", number, n)
			}
			pages[n] = true
		}
	}
	return pages
}

// TestSpace: every page of the file belongs to one tree or to nobody, by the trees of space
// and by what is on it.
func TestSpace(t *testing.T) {
	for what, b := range map[string][]byte{
		"types":     writeSample(t, esetest.Options{TempDir: t.TempDir(), Intrinsic: 50}, 400),
		"authority": authority(t, 700),
	} {
		db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		type tree struct{ root, object, parent uint32 }
		var trees []tree
		unique := make(map[uint32]bool)
		for _, table := range db.Tables() {
			trees = append(trees, tree{table.Root(), table.ID(), 1})
			unique[table.ID()] = true
			for _, x := range table.Indexes() {
				if !x.Primary() {
					trees = append(trees, tree{x.Root, x.ObjectID, table.Root()})
					unique[x.ObjectID] = x.Unique()
				}
			}
			if root, object := table.LongValues(); root != 0 {
				trees = append(trees, tree{root, object, table.Root()})
				unique[object] = true
			}
		}
		all, free := extents(t, b, 2), extents(t, b, 3)
		if uint32(len(all)) != db.Pages() {
			t.Errorf("%s: the root owns %d of %d pages", what, len(all), db.Pages())
		}
		owned := make(map[uint32]map[uint32]bool) // by root
		for _, x := range trees {
			head := esetest.PageOf(b, 4096, x.root)[40:56]
			flags := uint32(1)
			if x.object == 7 { // MSysLocales is one page
				flags = 0
			}
			if !unique[x.object] {
				flags |= 2
			}
			oe := le.Uint32(head[12:])
			if le.Uint32(head[4:]) != x.parent || le.Uint32(head[8:]) != flags || flags&1 != 0 && oe != x.root+1 {
				t.Errorf("%s: object %d: SPACE_HEADER %x, parent %d, flags %d", what, x.object, head, x.parent, flags)
			}
			if flags&1 == 0 {
				owned[x.root] = map[uint32]bool{x.root: true}
				continue
			}
			owned[x.root] = extents(t, b, oe)
			for n := range extents(t, b, oe+1) {
				if !owned[x.root][n] || !bytes.Equal(esetest.PageOf(b, 4096, n), make([]byte, 4096)) {
					t.Errorf("%s: object %d: page %d is available", what, x.object, n)
				}
			}
		}
		object := make(map[uint32]uint32) // whose each page is
		for n := uint32(1); n <= 3; n++ {
			object[n] = 1
		}
		for pass := range 2 { // tables first: what is part of them is part of theirs
			for _, x := range trees {
				if (x.parent == 1) != (pass == 0) {
					continue
				}
				for n := range owned[x.root] {
					if pass == 0 && object[n] != 0 || pass == 1 && !owned[x.parent][n] {
						t.Errorf("%s: page %d of object %d is also object %d's, or not its table's", what, n, x.object, object[n])
					}
					object[n] = x.object
				}
			}
		}
		for n := uint32(1); n <= db.Pages(); n++ {
			p := esetest.PageOf(b, 4096, n)
			used := le.Uint32(p[24:])
			switch {
			case free[n] == (object[n] != 0):
				t.Errorf("%s: page %d: free %v, object %d", what, n, free[n], object[n])
			case used != 0 && used != object[n]:
				t.Errorf("%s: page %d is of object %d, object %d owns it", what, n, used, object[n])
			}
		}
	}
}

func authority(t *testing.T, n int) []byte {
	t.Helper()
	var m esetest.Memory
	ca, err := esetest.CreateCA(&m, esetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fewRequests(t, n)(ca); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Close(); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}
