package ese

import (
	"bytes"
	"iter"
)

func compare(a, b []byte) int { return bytes.Compare(a, b) }

// maxDepth is more than the levels that a tree can need: each has dozens of children.
const maxDepth = 16

// walk goes through a tree's leaves from left to right. It goes by the children that
// branches name, not by the leaves' links, so that one damaged page does not hide
// those behind it; the links are compared, and used only where a page stands between
// two leaves that the branches do not know yet (a split that a fuzzy copy caught half
// written).
type walk struct {
	db     *Database
	object uint32 // that all pages must be of
	stack  []frame
	seen   pageSet // nil: do not look
	last   *page   // the leaf before; nil at the start and behind a damaged one
	ahead  *page   // known to come next
	links  func(at uint32, err error)
}

type frame struct {
	p *page
	i int // the next child
}

// newWalk begins at a tree's root. links is told of neighbours that do not agree.
func (db *Database) newWalk(root, object uint32, links func(uint32, error)) (*walk, error) {
	w := &walk{db: db, object: object, seen: pageSet{}, links: links}
	p, err := w.open(root)
	if err != nil {
		return nil, err
	}
	if p.Flags&PageRoot == 0 {
		return nil, db.at(root, corrupt("it is no root of a tree"))
	}
	if p.leaf() {
		w.ahead = p
		return w, nil
	}
	w.stack = append(w.stack, frame{p: p})
	return w, nil
}

// open reads a page of the tree.
func (w *walk) open(number uint32) (*page, error) {
	if w.seen != nil && !w.seen.add(number) {
		return nil, w.db.at(number, corrupt("it is in a tree twice"))
	}
	p, err := w.db.page(number)
	if err != nil {
		return nil, err
	}
	if p.ObjectID != w.object {
		return nil, w.db.at(number, corrupt("it belongs to object %d, not %d", p.ObjectID, w.object))
	}
	return p, nil
}

// child opens the i-th child of a branch.
func (w *walk) child(parent *page, i int) (*page, error) {
	n, err := parent.node(i)
	if err != nil {
		return nil, w.db.at(parent.number, err)
	}
	number, err := n.child()
	if err != nil {
		return nil, w.db.at(parent.number, err)
	}
	p, err := w.open(number)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Flags&PageRoot != 0:
		return nil, w.db.at(number, corrupt("a root below page %d", parent.number))
	case p.leaf() != (parent.Flags&PageParentOfLeaf != 0):
		return nil, w.db.at(number, corrupt("not of the level below page %d", parent.number))
	}
	return p, nil
}

// next returns the next leaf: nil without an error behind the last one. After an
// error, it can be called again and goes on behind what was damaged.
func (w *walk) next() (*page, error) {
	p := w.ahead
	if w.ahead = nil; p == nil {
		var err error
		if p, err = w.descend(); err != nil {
			w.last = nil
			return nil, err
		}
		if between := w.between(p); between != nil {
			w.ahead, p = p, between
		}
	}
	if w.last != nil && w.links != nil {
		var next uint32
		if p != nil {
			next = p.number
			if p.Prev != w.last.number {
				w.links(next, corrupt("the page before is %d, it says %d", w.last.number, p.Prev))
			}
		}
		if w.last.Next != next {
			w.links(w.last.number, corrupt("the next page is %d, it says %d", next, w.last.Next))
		}
	}
	w.last = p
	return p, nil
}

// descend goes to the next leaf that a branch names.
func (w *walk) descend() (*page, error) {
	for len(w.stack) > 0 {
		top := &w.stack[len(w.stack)-1]
		if top.i >= top.p.nodes() {
			w.stack = w.stack[:len(w.stack)-1]
			continue
		}
		top.i++
		p, err := w.child(top.p, top.i-1)
		if err != nil || p.leaf() {
			return p, err
		}
		if len(w.stack) >= maxDepth {
			return nil, w.db.at(p.number, corrupt("a tree of more than %d levels", maxDepth))
		}
		w.stack = append(w.stack, frame{p: p})
	}
	return nil, nil
}

// between returns the leaf that stands between the last one and p by the links of
// all three, if no branch names it.
func (w *walk) between(p *page) *page {
	if w.last == nil || w.last.Next == 0 || p != nil && w.last.Next == p.number || w.seen[w.last.Next>>pageSetBits].has(w.last.Next) {
		return nil
	}
	q, err := w.db.page(w.last.Next)
	if err != nil || q.ObjectID != w.object || !q.leaf() || q.Flags&PageRoot != 0 || q.Prev != w.last.number {
		return nil
	}
	if p == nil && q.Next != 0 || p != nil && q.Next != p.number {
		return nil
	}
	w.seen.add(q.number)
	return q
}

// seek goes to the first node whose key is not less than key. The leaf is nil if
// there is none.
func (w *walk) seek(root uint32, key []byte) (leaf *page, i int, err error) {
	p, err := w.open(root)
	if err != nil {
		return nil, 0, err
	}
	w.stack = w.stack[:0]
	for !p.leaf() {
		if len(w.stack) >= maxDepth {
			return nil, 0, w.db.at(p.number, corrupt("a tree of more than %d levels", maxDepth))
		}
		// A branch node's key is above all keys below it; the last one has none.
		i, err := w.search(p, func(n node) bool { return len(n.suffix)+n.prefix == 0 || p.compareKey(n, key) > 0 })
		if err != nil {
			return nil, 0, err
		}
		if i == p.nodes() {
			return nil, 0, w.db.at(p.number, corrupt("a branch that ends before its last key"))
		}
		w.stack = append(w.stack, frame{p, i + 1})
		if p, err = w.child(p, i); err != nil {
			return nil, 0, err
		}
	}
	i, err = w.search(p, func(n node) bool { return p.compareKey(n, key) >= 0 })
	if err != nil {
		return nil, 0, err
	}
	if i < p.nodes() {
		return p, i, nil
	}
	// Behind the last key of this leaf, so it is the first of the next.
	p, err = w.descend()
	return p, 0, err
}

// search is a binary search in the nodes of a page.
func (w *walk) search(p *page, atLeast func(node) bool) (int, error) {
	low, high := 0, p.nodes()
	for low < high {
		middle := (low + high) / 2
		n, err := p.node(middle)
		if err != nil {
			return 0, w.db.at(p.number, err)
		}
		if atLeast(n) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

// Node is an entry of a leaf.
type Node struct {
	Page uint32
	Tag  int
	Key  []byte // as the engine normalised it: keys compare byte by byte
	Data []byte // part of a page, not to be changed
}

// Nodes goes through the entries of the tree with that root, which belongs to that
// object, in the order of their keys. Deleted ones are left out. It yields an error
// for what is damaged and goes on behind it. Key is valid until the next entry.
func (db *Database) Nodes(root, object uint32) iter.Seq2[Node, error] {
	return db.nodes(root, object, nil)
}

func (db *Database) nodes(root, object uint32, links func(uint32, error)) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		var key []byte
		for p, err := range db.leaves(root, object, links) {
			if err != nil {
				if !yield(Node{}, err) {
					return
				}
				continue
			}
			for i := range p.nodes() {
				n, err := p.node(i)
				if n.deleted() {
					continue
				}
				out := Node{Page: p.number, Tag: i + p.first(), Data: n.data}
				if err == nil {
					key = p.key(key[:0], n)
					out.Key = key
				}
				if !yield(out, db.at(p.number, err)) {
					return
				}
			}
		}
	}
}

// leaves goes through the leaves of a tree.
func (db *Database) leaves(root, object uint32, links func(uint32, error)) iter.Seq2[*page, error] {
	return func(yield func(*page, error) bool) {
		w, err := db.newWalk(root, object, links)
		if err != nil {
			yield(nil, err)
			return
		}
		for {
			p, err := w.next()
			if p == nil && err == nil || !yield(p, err) {
				return
			}
		}
	}
}

// pageSet is a set of pages, small where there are few.
type pageSet map[uint32]*pageBits

type pageBits [1 << (pageSetBits - 6)]uint64

const pageSetBits = 12

func (b *pageBits) has(n uint32) bool {
	return b != nil && b[n%(1<<pageSetBits)/64]&(1<<(n%64)) != 0
}

// add says whether n is new.
func (s pageSet) add(n uint32) bool {
	b := s[n>>pageSetBits]
	if b == nil {
		b = new(pageBits)
		s[n>>pageSetBits] = b
	}
	if b.has(n) {
		return false
	}
	b[n%(1<<pageSetBits)/64] |= 1 << (n % 64)
	return true
}
