package esetest

import (
	"bytes"
	"errors"
	"fmt"
)

// extent is a run of pages.
type extent struct{ first, count uint32 }

func (e extent) end() uint32 { return e.first + e.count }

// tree is a B+ tree that is filled in the order of its keys. Its space comes in
// extents from the whole database, which belong to the tree and to the one it is
// part of.
type tree struct {
	w         *Writer
	object    uint32
	root      uint32
	flags     uint32 // that all its pages have
	nonUnique bool
	single    bool // one page without trees of space, as small trees have
	parent    *tree
	autoInc   uint64
	primary   uint32 // pages of the first extent, as it was given

	extents  []extent
	next     uint32 // first unused page of the last extent
	children []*tree

	levels []*level
	last   []byte // key and data of the last leaf node, as far as branches compare them
	count  uint64
	whole  []byte
}

// level is the page of a level that is being filled.
type level struct {
	page   *page
	prev   uint32 // the page before
	out    run
	closed bool // there is a page before

	// Branches only: the last child, which is not on the page yet because it is not
	// known whether it is the page's last, whose key is missing.
	child   uint32
	upper   []byte
	waiting bool
}

// minExtent is how many pages a tree that needs a page gets at least; maxPrefix bounds
// what a page repeats of its first key.
const (
	minExtent = 8
	maxPrefix = 255
)

var errOrder = errors.New("not in the order of the key")

// newTree makes a tree whose root, and the roots of its space, are the first three
// pages of its first extent.
func (w *Writer) newTree(object uint32, flags uint32, parent *tree) *tree {
	t := &tree{w: w, object: object, flags: flags, parent: parent}
	e := w.take(minExtent, 3)
	t.extents, t.root, t.next, t.primary = []extent{e}, e.first, e.first+3, e.count
	if parent != nil {
		parent.children = append(parent.children, t)
	}
	return t
}

// page returns a new page of the tree.
func (t *tree) page() uint32 {
	last := &t.extents[len(t.extents)-1]
	if t.next == last.end() {
		var total uint32
		for _, e := range t.extents {
			total += e.count
		}
		e := t.w.take(max(minExtent, total/4), 1)
		if e.first == last.end() {
			last.count += e.count
		} else {
			t.extents = append(t.extents, e)
		}
		t.next = e.first
	}
	t.next++
	return t.next - 1
}

// trim gives back what is left of the last extent.
func (t *tree) trim() {
	last := &t.extents[len(t.extents)-1]
	if n := last.end() - t.next; n > 0 {
		last.count -= n
		t.w.give(extent{t.next, n})
	}
}

func (t *tree) level(i int) *level {
	if i == len(t.levels) {
		p := newPage(t.w.o.PageSize)
		p.begin(nil)
		t.levels = append(t.levels, &level{page: p, out: run{w: t.w}})
	}
	return t.levels[i]
}

// add appends a leaf node. In a tree whose keys may repeat, key and data together
// give the order.
func (t *tree) add(key, data []byte) error {
	t.whole = append(t.whole[:0], key...)
	if t.nonUnique {
		t.whole = append(t.whole, data...)
	}
	if t.count > 0 && bytes.Compare(t.last, t.whole) >= 0 {
		return fmt.Errorf("object %d: key %x after %x: %w", t.object, t.whole, t.last, errOrder)
	}
	l := t.level(0)
	if !t.put(l, key, data, 0) {
		if err := t.close(0, separator(t.last, t.whole)); err != nil {
			return err
		}
		if !t.put(l, key, data, 0) {
			return fmt.Errorf("object %d: a node of %d bytes does not fit on a page", t.object, len(key)+len(data))
		}
	}
	t.last = append(t.last[:0], t.whole...)
	t.count++
	return nil
}

// put appends a node to a level's page. The first key of a page is its prefix, if
// there is room for it and it is worth it.
func (t *tree) put(l *level, key, data []byte, room int) bool {
	p := l.page
	if p.tags > 1 {
		return p.add(key, data, room)
	}
	if n := min(len(key), maxPrefix); n > 3 {
		p.prefix = append(p.prefix[:0], key[:n]...)
		if t.flags&flagLong != 0 && n == t.w.longKey() {
			// The key of a long value's first piece goes on from that of its head. libesedb
			// finds only long values whose keys are all prefix.
			p.prefix = append(p.prefix, 0, 0, 0, 0)
		}
		p.begin(p.prefix)
		if p.add(key, data, room+n) {
			return true
		}
	}
	p.prefix = p.prefix[:0]
	p.begin(nil)
	return p.add(key, data, room)
}

// close writes the page of a level, behind which another one will come, all keys of
// which are at least upper.
func (t *tree) close(i int, upper []byte) error {
	l := t.levels[i]
	p := l.page
	if p.number == 0 {
		p.number = t.page()
	}
	var next uint32
	if upper != nil {
		next = t.page()
	}
	if err := t.write(l, i, next, 0); err != nil {
		return err
	}
	n := p.number
	l.prev, l.closed, p.number = n, true, next
	p.prefix = p.prefix[:0]
	p.begin(nil)
	return t.push(i+1, n, upper)
}

func (t *tree) write(l *level, i int, next, flags uint32) error {
	prev := l.prev
	switch i {
	case 0:
		flags |= flagLeaf
	case 1:
		flags |= flagParentOfLeaf
	}
	if i > 0 { // only leaves know their neighbours
		prev, next = 0, 0
	}
	l.page.seal(pageInfo{dbtime: t.w.tick(), prev: prev, next: next, object: t.object, flags: t.flags | flags}, t.w.o.OldChecksums)
	return l.out.add(l.page)
}

// lastChild is the room for a branch's last node, which has no key.
const lastChild = 2 + 4 + 4

// push adds a child to a branch, all keys of which are below upper; nil for the last.
func (t *tree) push(i int, child uint32, upper []byte) error {
	l := t.level(i)
	if l.waiting && !t.put(l, l.upper, le.AppendUint32(nil, l.child), lastChild) {
		l.page.add(nil, le.AppendUint32(nil, l.child), 0)
		if err := t.close(i, l.upper); err != nil {
			return err
		}
	}
	l.child, l.upper, l.waiting = child, upper, true
	return nil
}

// finish writes what is left. A level with one page becomes the root, if that page
// has room for the root's header and whole keys.
func (t *tree) finish() error {
	t.level(0)
	for i := 0; ; i++ {
		l := t.level(i)
		if i > 0 {
			l.page.add(nil, le.AppendUint32(nil, l.child), 0)
		}
		if !l.closed {
			root := newPage(len(l.page.buf))
			root.number = t.root
			root.begin(t.external())
			if l.page.nodes(func(key, data []byte) bool { return root.add(key, data, 0) }) {
				l.page = root
				if err := t.write(l, i, 0, flagRoot); err != nil {
					return err
				}
				break
			}
		}
		if err := t.close(i, nil); err != nil {
			return err
		}
	}
	for _, l := range t.levels {
		if err := l.out.flush(); err != nil {
			return err
		}
	}
	if !t.single {
		t.trim()
	}
	t.levels = nil
	return nil
}

// run gathers pages that stand one behind the other, to write them together.
type run struct {
	w     *Writer
	first uint32
	buf   []byte
}

const runBytes = 256 << 10

func (r *run) add(p *page) error {
	if len(r.buf) > 0 && (r.first+uint32(len(r.buf)/len(p.buf)) != p.number || len(r.buf) >= runBytes) {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if len(r.buf) == 0 {
		r.first = p.number
	}
	r.buf = append(r.buf, p.buf...)
	return nil
}

func (r *run) flush() error {
	if len(r.buf) == 0 {
		return nil
	}
	err := r.w.write(r.first, r.buf)
	r.buf = r.buf[:0]
	return err
}
