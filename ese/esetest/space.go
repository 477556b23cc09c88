package esetest

import (
	"fmt"
	"slices"
)

// Flags of the header of space.
const (
	spaceMultiple  = 1
	spaceNonUnique = 2
)

// external is what the root's first tag points at: how the tree got its space. The
// long form, of engines that keep the highest automatic number there, begins with a
// byte that says what follows.
func (t *tree) external() []byte {
	b := make([]byte, 16, 25)
	parent := uint32(1)
	if t.parent != nil {
		parent = t.parent.root
	}
	if t.root == databaseRoot {
		parent = 0
	}
	le.PutUint32(b, t.primary)
	le.PutUint32(b[4:], parent)
	if !t.single {
		b[8] = spaceMultiple
		le.PutUint32(b[12:], t.root+1)
	}
	if t.nonUnique {
		b[8] |= spaceNonUnique
	}
	if t.autoInc != 0 {
		b = append([]byte{3}, b...)
		b = le.AppendUint64(b, t.autoInc)
	}
	return b
}

// merge joins extents that touch or overlap.
func merge(list []extent) (out []extent) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b extent) int { return int(int64(a.first) - int64(b.first)) })
	for _, e := range list {
		if n := len(out); n > 0 && e.first <= out[n-1].end() {
			out[n-1].count = max(out[n-1].end(), e.end()) - out[n-1].first
			continue
		}
		out = append(out, e)
	}
	return out
}

// owned is what the tree and those that are part of it have.
func (t *tree) owned() []extent {
	list := slices.Clone(t.extents)
	for _, c := range t.children {
		list = append(list, c.extents...)
	}
	return merge(list)
}

// writeSpace writes the two trees of space behind the root: owned and available
// extents, keyed by their last page.
func (t *tree) writeSpace(available []extent) error {
	if t.single {
		return nil
	}
	for i, list := range [][]extent{t.owned(), merge(available)} {
		p := newPage(t.w.o.PageSize)
		p.number = t.root + 1 + uint32(i)
		p.begin(make([]byte, 16)) // pages kept back for splits: none
		for _, e := range list {
			if !p.add(be.AppendUint32(nil, e.end()-1), le.AppendUint32(nil, e.count), 0) {
				return fmt.Errorf("object %d: %d extents do not fit on a page", t.object, len(list))
			}
		}
		p.seal(pageInfo{dbtime: t.w.tick(), object: t.object, flags: t.flags&^flagNonUnique | flagRoot | flagLeaf | flagSpace}, t.w.o.OldChecksums)
		if err := t.w.write(p.number, p.buf); err != nil {
			return err
		}
	}
	return nil
}

// take gives count pages to a tree, or less: what was given back is used first, if it
// is at least as much as the tree needs in one piece.
func (w *Writer) take(count, atLeast uint32) extent {
	for i, e := range w.spare {
		if e.count < atLeast {
			continue
		}
		if e.count <= count {
			w.spare = slices.Delete(w.spare, i, i+1)
			return e
		}
		w.spare[i] = extent{e.first + count, e.count - count}
		return extent{e.first, count}
	}
	w.pages += count
	return extent{w.pages - count + 1, count}
}

// give takes pages back.
func (w *Writer) give(e extent) {
	if e.end() == w.pages+1 {
		w.pages -= e.count
		return
	}
	w.spare = append(w.spare, e)
}
