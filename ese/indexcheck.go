package ese

import (
	"hash/maphash"
	"iter"
	"slices"
)

// Flags of an index that say which rows are in it.
const (
	indexAllNulls    = 0x2 // all columns of the key may be NULL
	indexFirstNull   = 0x4
	indexSomeNulls   = 0x8
	indexTakesNulls  = indexAllNulls | indexFirstNull | indexSomeNulls
	indexRefusesNull = 0x10 // a row with a NULL in the key could not be written
)

// coversAll says that every row has an entry, by what the catalog says of the index.
func (x Index) coversAll() bool {
	return !x.partial && (x.Flags&indexTakesNulls == indexTakesNulls || x.Flags&indexRefusesNull != 0)
}

// IndexCheck is how a secondary index agrees with the rows of its table.
type IndexCheck struct {
	Index   Index
	Entries uint64
	Rows    uint64

	// Dangling is how many entries name a row that is not there. Page is where the
	// first of them stands.
	Dangling uint64
	Page     uint32

	// Missing is how many rows have no entry, if the index takes every row: those that
	// leave out NULLs, or have conditions, do not.
	Missing uint64

	// Unchecked says that the table has too many rows for that.
	Unchecked bool
}

// maxIndexedRows bounds the memory that a comparison takes, of eight bytes for a row. It
// is only needed if an index has not just one entry for each row.
const maxIndexedRows = 4 << 20

// CheckIndexes compares the secondary indexes with the rows, by the primary keys that
// their entries name. That shows pages with a right checksum that are older than the rest
// (a write that was lost), as long as a row was added or deleted since, which no checksum
// can. In a copy whose logs are not replayed, table and index can be of different times.
//
// Each tree is read once more. Nothing is yielded for a table or an index in which
// something is damaged: CheckTree has told that.
func (t *Table) CheckIndexes() iter.Seq[IndexCheck] {
	return func(yield func(IndexCheck) bool) {
		var known keySet
		known.seed = maphash.MakeSeed()
		counted := false
		walked := make(map[uint32]bool)
		for _, x := range t.indexes {
			if x.Primary() || x.Root == 0 || x.Root == t.root || walked[x.Root] {
				continue
			}
			walked[x.Root] = true
			if !counted {
				if !known.count(t.keys()) {
					return
				}
				counted = true
			}
			c, ok := t.checkIndex(x, &known)
			if ok && !yield(c) {
				return
			}
		}
	}
}

func (t *Table) checkIndex(x Index, rows *keySet) (c IndexCheck, ok bool) {
	c = IndexCheck{Index: x, Rows: rows.n}
	entries := keySet{seed: rows.seed}
	bookmarks := func() iter.Seq2[Node, error] { return t.db.Nodes(x.Root, x.ObjectID) }
	if !entries.count(named(bookmarks())) {
		return c, false
	}
	c.Entries = entries.n
	if entries.n == rows.n && entries.sum == rows.sum {
		return c, true
	}
	if rows.n > maxIndexedRows {
		c.Unchecked = true
		return c, true
	}
	if rows.sorted == nil && !rows.collect(t.keys()) {
		return c, false
	}
	seen := make([]uint64, (len(rows.sorted)+63)/64)
	for n, err := range bookmarks() {
		if err != nil {
			return c, false
		}
		i, found := slices.BinarySearch(rows.sorted, rows.hash(n.Data))
		if found {
			seen[i/64] |= 1 << (i % 64)
			continue
		}
		if c.Dangling++; c.Dangling == 1 {
			c.Page = n.Page
		}
	}
	if x.coversAll() {
		for i := range rows.sorted {
			if seen[i/64]&(1<<(i%64)) == 0 {
				c.Missing++
			}
		}
	}
	return c, true
}

// keys are the primary keys of the rows.
func (t *Table) keys() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for n, err := range t.db.Nodes(t.root, t.id) {
			if !yield(n.Key, err) {
				return
			}
		}
	}
}

// named are the primary keys that an index's entries name.
func named(nodes iter.Seq2[Node, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for n, err := range nodes {
			if !yield(n.Data, err) {
				return
			}
		}
	}
}

// keySet is what is kept of many keys: how many there are and a sum of hashes, which
// two sets have in common that are the same, and the hashes only if they are asked for.
type keySet struct {
	seed   maphash.Seed // a file cannot be made to fit it
	n, sum uint64
	sorted []uint64
}

func (s *keySet) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

// count is false if something could not be read.
func (s *keySet) count(keys iter.Seq2[[]byte, error]) bool {
	for key, err := range keys {
		if err != nil {
			return false
		}
		s.n++
		s.sum += s.hash(key)
	}
	return true
}

// collect keeps the hashes, in order and each once.
func (s *keySet) collect(keys iter.Seq2[[]byte, error]) bool {
	s.sorted = make([]uint64, 0, s.n)
	for key, err := range keys {
		if err != nil {
			return false
		}
		s.sorted = append(s.sorted, s.hash(key))
	}
	slices.Sort(s.sorted)
	s.sorted = slices.Compact(s.sorted)
	return true
}
