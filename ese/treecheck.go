package ese

import (
	"encoding/binary"
	"iter"
)

// CheckTree goes through the whole tree with that root and yields everything in it
// that does not fit: pages that cannot be read or are not the tree's, neighbours that
// disagree, keys that are not in order. unique says that no key may be there twice. In a
// copy whose logs are not replayed, all but wrong checksums can be normal.
func (db *Database) CheckTree(root, object uint32, unique bool) iter.Seq[error] {
	return func(yield func(error) bool) {
		stop := false
		links := func(at uint32, err error) {
			if !stop && !yield(db.at(at, err)) {
				stop = true
			}
		}
		var last, key []byte
		first := true
		for n, err := range db.nodes(root, object, links) {
			if stop {
				return
			}
			if err != nil {
				if !yield(err) {
					return
				}
				continue
			}
			key = append(key[:0], n.Key...)
			if c := compare(key, last); !first && (c < 0 || c == 0 && unique) {
				how := "below"
				if c == 0 {
					how = "the same as"
				}
				if !yield(db.at(n.Page, corrupt("tag %d: its key is %s the one before", n.Tag, how))) {
					return
				}
			}
			last, key, first = key, last, false
		}
	}
}

// OwnedPages is how many pages the database says it has, by the space that its root
// owns. The file can have more.
func (db *Database) OwnedPages() (uint32, error) {
	const root, object = 1, 1
	p, err := db.page(root)
	if err != nil {
		return 0, err
	}
	s, err := p.space()
	if err != nil {
		return 0, db.at(root, err)
	}
	if s.owned == 0 {
		return s.pages, nil
	}
	var most uint32
	for n, err := range db.Nodes(s.owned, object) {
		if err != nil {
			return most, err
		}
		if len(n.Key) >= 4 {
			most = max(most, binary.BigEndian.Uint32(n.Key[len(n.Key)-4:]))
		}
	}
	return most, nil
}
